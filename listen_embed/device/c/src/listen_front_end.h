/* Samples to columns of a log-mel picture; every constant stands in listen_model.h. */
#ifndef LISTEN_FRONT_END_H
#define LISTEN_FRONT_END_H

#include <stdint.h>

#include "listen_embed.h"
#include "listen_model.h"

#ifdef __cplusplus
extern "C" {
#endif

#if LISTEN_DEPENDS_ON_FRAME
typedef float listen_pixel; /* the logarithm: what it becomes depends on the whole frame */
#else
typedef listen_value listen_pixel; /* what the network takes */
#endif

/* Compute one column, LISTEN_BANDS pixels.
 *
 * `samples[0]` has the number `origin` in a frame; the column's window begins at `begin` of the
 * frame, and may reach beyond it. `scratch` is LISTEN_FRONT_END_BYTES, aligned to four. */
void listen_column(const embed_sample *samples, int32_t origin, int32_t begin, void *scratch,
                   listen_pixel *column);

/* What the network takes of a real value. */
listen_value listen_quantised(float value);

#ifdef __cplusplus
}
#endif

#endif
