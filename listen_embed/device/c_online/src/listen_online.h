/* A classifier that goes on learning on the device, one labelled embedding at a time.
 *
 * It starts from what Python taught (listen_online_model.h) and does what OnlineClassifier does there,
 * bit for bit: compile with -ffp-contract=off (which -std=c99 implies with GCC), so that no product
 * and sum are fused. All memory is in one struct of fixed size; nothing is allocated.
 */
#ifndef LISTEN_ONLINE_H
#define LISTEN_ONLINE_H

#include <stdint.h>

#include "listen_online_model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMBED_ONLINE_CLASSES LISTEN_ONLINE_CLASSES
#define EMBED_ONLINE_HELD 8

typedef struct {
    float mean[LISTEN_ONLINE_DIM];
    float squares[LISTEN_ONLINE_DIM];
    float prototypes[LISTEN_ONLINE_CLASSES][LISTEN_ONLINE_DIM];
    float weights[LISTEN_ONLINE_CLASSES][LISTEN_ONLINE_DIM + 1]; /* the bias last */
    float trust[2];
    uint32_t counts[LISTEN_ONLINE_CLASSES];
    uint32_t count, offered, held, rollbacks, classes;
    int16_t good[LISTEN_ONLINE_CLASSES][LISTEN_ONLINE_DIM + 1];
    int16_t held_codes[EMBED_ONLINE_HELD];
    int8_t held_rows[EMBED_ONLINE_HELD][LISTEN_ONLINE_DIM];
} embed_online;

/* Take what Python taught; also forgets what was learnt here. */
void embed_online_init(embed_online *learner);
/* Learn an embedding of a class: a known one, or `learner->classes` for a new one.
 * Return 0, or -1 where there is no such class, no room for another, or a value is not finite. */
int embed_online_learn(embed_online *learner, const float *embedding, int class_number);
/* Return the most likely class, or -1 where none is known; `probabilities`, one for each known
 * class, may be NULL. */
int embed_online_classify(const embed_online *learner, const float *embedding, float *probabilities);
/* The name of a class that Python taught, in UTF-8; NULL for one that began on the device. */
const char *embed_online_label(int class_number);

#ifdef __cplusplus
}
#endif

#endif
