/* Sound in, embeddings out.
 *
 *     embed_init();
 *     for (;;) {
 *         if (embed_push(samples, n)) {
 *             float embedding[EMBED_SIZE];
 *             embed_get(embedding);
 *         }
 *     }
 *
 * Blocks may have any length; the embeddings are those of the same sound in one piece. All memory is
 * static. One stream for each program, and not to be called from two threads at once.
 */
#ifndef LISTEN_EMBED_H
#define LISTEN_EMBED_H

#include <stddef.h>
#include <stdint.h>

#include "listen_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Samples are mono, at EMBED_SAMPLE_RATE Hz: int16, or float from -1 to 1. */
#if LISTEN_SAMPLES_ARE_FLOAT
typedef float embed_sample;
#else
typedef int16_t embed_sample;
#endif

/* A value of the embedding: real value = EMBED_SCALE * (value - EMBED_ZERO). Values are integers, or
 * float with a scale of 1, as LISTEN_VALUES_ARE_FLOAT tells. */
typedef listen_value embed_value;

#define EMBED_SIZE LISTEN_EMBEDDING_SIZE            /* values of an embedding */
#define EMBED_SCALE LISTEN_OUTPUT_SCALE
#define EMBED_ZERO LISTEN_OUTPUT_ZERO
#define EMBED_SAMPLE_RATE LISTEN_SAMPLE_RATE        /* Hz */
#define EMBED_FRAME_SAMPLES LISTEN_FRAME_SAMPLES    /* samples that one embedding sees */
#define EMBED_HOP_SAMPLES LISTEN_FRAME_HOP          /* samples between embeddings */

/* Start anew, at sample 0. Called before anything else. */
void embed_init(void);

/* Take `n` samples; return how many frames they completed. The newest embedding is kept: push at
 * most EMBED_HOP_SAMPLES at once to see each, or set a handler. */
int embed_push(const embed_sample *samples, size_t n);

/* Copy the newest embedding, EMBED_SIZE values; as integers where the network computes in them. */
void embed_get(float *embedding);
void embed_get_integers(embed_value *embedding);

/* Call `handler` for every embedding, inside embed_push; NULL calls none. */
typedef void (*embed_handler)(const embed_value *embedding, void *context);
void embed_on_frame(embed_handler handler, void *context);

/* Run the network alone on one input, already quantised: bands by steps, and behind them the
 * waveform where it takes one. One that streams goes on from what it remembers. For tests. */
void embed_run_network(const listen_value *input, embed_value *embedding);

/* The picture of the newest frame, as the network takes it; valid until the network runs. For tests:
 * call it from a handler set by this function. */
typedef void (*embed_picture_handler)(const listen_value *picture, void *context);
void embed_on_picture(embed_picture_handler handler, void *context);

#if LISTEN_WAVE_SAMPLES
/* The waveform beside it, LISTEN_WAVE_SAMPLES values, valid as long. */
const listen_value *embed_wave(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
