/* Integer rescaling, as in gemmlowp: a rounding multiplication, then a rounding shift. */
#ifndef LISTEN_ROUNDING_H
#define LISTEN_ROUNDING_H

#include <stdint.h>

/* Real factor: multiplier * 2^(shift - 31). */
typedef struct {
    int32_t multiplier;
    int32_t shift;
} listen_exact;

/* The high half of 2 * a * b, to nearest, halves away from zero for positive products and towards
 * zero for negative ones. */
static inline int32_t listen_doubled_high(int32_t a, int32_t b)
{
    int64_t product = (int64_t)a * b;
    int64_t nudge = product >= 0 ? INT32_C(1) << 30 : 1 - (INT32_C(1) << 30);
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    return (int32_t)((product + nudge) / (INT64_C(1) << 31));
}

/* value / 2^exponent, to nearest, halves away from zero. */
static inline int32_t listen_halved(int32_t value, int32_t exponent)
{
    int32_t mask = (int32_t)((INT64_C(1) << exponent) - 1);
    int32_t threshold = (mask >> 1) + (value < 0);
    return (value >> exponent) + ((value & mask) > threshold);
}

/* sum * multiplier * 2^(shift - 31). */
static inline int32_t listen_scaled(int32_t sum, int32_t multiplier, int32_t shift)
{
    uint32_t raised = (uint32_t)sum << (shift > 0 ? shift : 0);
    return listen_halved(listen_doubled_high((int32_t)raised, multiplier), shift > 0 ? 0 : -shift);
}

#endif
