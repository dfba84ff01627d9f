/* One logarithm for all, so that every processor gives the same bytes. */
#ifndef LISTEN_LOGARITHM_H
#define LISTEN_LOGARITHM_H

#include <stdint.h>
#include <string.h>

#include "listen_contract.h"

/* ln(x) of a positive normal number, to one part in 2^23. */
static inline float listen_logarithm(float x)
{
    uint32_t bits, raised;
    int32_t exponent;
    float m, s, q;
    memcpy(&bits, &x, sizeof bits);
    raised = bits - 0x3F3504F3u; /* sqrt(1/2): the mantissa then lies around 1 */
    exponent = (int32_t)raised >> 23;
    bits -= (uint32_t)exponent << 23;
    memcpy(&m, &bits, sizeof m);
    s = (m - 1.0f) / (m + 1.0f);
    q = s * s;
    q = q * (0.66666667f + q * (0.4f + q * (0.28571429f + q * 0.22222222f)));
    return (float)exponent * 0.69314718f + (2.0f * s + s * q);
}

#endif
