/* A frame's samples as a wave encoder hears them: at 16 kHz, of one loudness, companded. */
#ifndef LISTEN_WAVE_H
#define LISTEN_WAVE_H

#include <stdint.h>

#include "listen_embed.h"

#ifdef __cplusplus
extern "C" {
#endif

#if LISTEN_WAVE_SAMPLES
/* Fill LISTEN_WAVE_SAMPLES values. `frame` is a ring of LISTEN_FRAME_SAMPLES, the oldest of which
 * lies at `begin`. */
void listen_wave(const embed_sample *frame, int32_t begin, listen_value *wave);
#endif

#ifdef __cplusplus
}
#endif

#endif
