/* What an embedding means: which of the taught classes, how unlike them, how unlike normal sound.
 *
 * The heads were taught in Python; on the device the class means and the mean of normal sound may go
 * on learning, the metric stays. With EMBED_LEARNS_SPREAD defined as 1 the spread of normal sound
 * goes on learning, too, exactly as in Python; it takes 8 * LISTEN_HEAD_DIM * (LISTEN_HEAD_DIM + 4)
 * bytes of RAM. Embeddings are float, as embed_get gives them. Without the heads' own data
 * (listen_heads_model.h) this file is not compiled.
 */
#ifndef LISTEN_HEADS_H
#define LISTEN_HEADS_H

#include <stdint.h>

#include "listen_heads_model.h"

#ifndef EMBED_LEARNS_SPREAD
#define EMBED_LEARNS_SPREAD 0
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Take what Python taught. Called before anything else. */
void embed_heads_init(void);

#if LISTEN_CLASSES
#define EMBED_CLASSES LISTEN_CLASSES
#define EMBED_UNKNOWN (-1)

/* Return the number of the most likely class, or EMBED_UNKNOWN where all are too far.
 * `probabilities`, EMBED_CLASSES of them, may be NULL. */
int embed_classify(const float *embedding, float *probabilities);
/* How far from all that was taught; 0 or more. */
float embed_novelty(const float *embedding);
/* The name of a class, in UTF-8. */
const char *embed_label(int class_number);
/* Learn one example more of a class. */
void embed_learn(const float *embedding, int class_number);
#endif

#if LISTEN_ANOMALY_MAHALANOBIS || LISTEN_ANOMALY_NEIGHBORS
/* How unlike normal sound; 0 or more. */
float embed_anomaly_score(const float *embedding);
#endif
#if LISTEN_ANOMALY_MAHALANOBIS
/* Learn one embedding more of normal sound: its mean moves; its spread stays, or moves as well. */
void embed_anomaly_learn(const float *embedding);
#if EMBED_LEARNS_SPREAD
void listen_running_init(void); /* embed_heads_init calls it */
#endif
#endif

#ifdef __cplusplus
}
#endif

#endif
