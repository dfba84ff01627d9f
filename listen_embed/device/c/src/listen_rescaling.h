/* Sums of 32 bits to values of eight. */
#ifndef LISTEN_RESCALING_H
#define LISTEN_RESCALING_H

#include <string.h>

#include "listen_apart.h"
#include "listen_contract.h"
#include "listen_kernels.h"
#include "listen_products.h"

/* Single precision in software costs a hundred instructions where integers need twenty. */
#if !defined(LISTEN_SOFT_FLOAT)
#if defined(__arm__) && !defined(__ARM_FP)
#define LISTEN_SOFT_FLOAT 1
#else
#define LISTEN_SOFT_FLOAT 0
#endif
#endif

static inline int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

#if !LISTEN_REFERENCE

/* To nearest, halves to even. The exporter sees to it that no value exceeds 2^22. */
static inline int32_t nearest(float value)
{
    int32_t whole;
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FP)
    __asm__("vcvtr.s32.f32 %0, %0" : "+t"(value));
    memcpy(&whole, &value, sizeof whole);
    return whole;
#else
    value += 12582912.0f; /* 1.5 * 2^23 leaves no room for a fraction */
    memcpy(&whole, &value, sizeof whole);
    return whole - 0x4B400000;
#endif
}

#endif

#if LISTEN_REFERENCE

static inline int32_t scaled(int32_t sum, listen_factor factor)
{
    return listen_scaled(sum, factor.multiplier, factor.shift);
}

#elif LISTEN_SOFT_FLOAT

/* p / 2^n to nearest, halves to even. */
static inline uint64_t rounded_shift(uint64_t p, int n)
{
    uint64_t half, rest;
    if (n <= 0) {
        return p;
    }
    if (n > 62) {
        return 0;
    }
    half = UINT64_C(1) << (n - 1);
    rest = p & (2 * half - 1);
    p >>= n;
    return p + (rest > half || (rest == half && (p & 1)));
}

static inline int bits_of(uint64_t p)
{
    int bits = 0;
    while (p) {
        p >>= 1;
        bits++;
    }
    return bits;
}

/* The same number as the single-precision product below, made of integers. */
static LISTEN_APART int32_t scaled(int32_t sum, listen_factor factor)
{
    uint32_t bits, fraction, magnitude = sum < 0 ? 0u - (uint32_t)sum : (uint32_t)sum;
    uint64_t product, half;
    int32_t result;
    int shift;
    memcpy(&bits, &factor, sizeof bits);
    shift = 150 - (int)(bits >> 23);
    fraction = (bits & 0x7FFFFF) | 0x800000;
    if (magnitude >> 24) { /* more digits than a float has */
        int excess = bits_of(magnitude) - 24;
        magnitude = (uint32_t)(rounded_shift(magnitude, excess) << excess);
    }
    product = (uint64_t)magnitude * fraction;
    half = shift > 0 && shift < 62 ? UINT64_C(1) << (shift - 1) : 0;
    if (shift > 26 && shift < 62 &&
        ((product & (2 * half - 1)) - half + (1 << 25)) >> 26) { /* far from a tie */
        result = (int32_t)((product + half) >> shift);
    } else { /* near one, the product's own rounding to 24 bits may make it a tie */
        int excess = bits_of(product) - 24;
        product = excess > 0 ? rounded_shift(product, excess) << excess : product;
        result = (int32_t)rounded_shift(product, shift);
    }
    return sum < 0 ? -result : result;
}

#else

static inline int32_t scaled(int32_t sum, listen_factor factor)
{
    return nearest((float)sum * factor);
}

#endif

#if LISTEN_REFERENCE

static inline int32_t stepped(const listen_steps *steps, int32_t sum, listen_rate rate)
{
    return saturated(scaled(sum, rate) + steps->zero);
}

static inline int is_odd(listen_rate rate)
{
    (void)rate;
    return 0;
}

static inline int32_t stepped_anyhow(const listen_steps *steps, int32_t sum, listen_rate rate)
{
    return stepped(steps, sum, rate);
}

#else

static inline int32_t stepped(const listen_steps *steps, int32_t sum, listen_rate rate)
{
    return saturated(add_high_product(steps->offset, sum, rate) >> steps->shift);
}

/* Whether it is one of the few rates that no whole number stands for. */
static inline int is_odd(listen_rate rate)
{
    return rate < 0;
}

static inline int32_t stepped_anyhow(const listen_steps *steps, int32_t sum, listen_rate rate)
{
    uint32_t bits = (uint32_t)rate & 0x7FFFFFFF;
    float factor;
    if (!is_odd(rate)) {
        return stepped(steps, sum, rate);
    }
    memcpy(&factor, &bits, sizeof factor);
    return saturated(scaled(sum, factor) + steps->zero);
}

#endif

static inline int8_t looked_up(const int8_t *table, int32_t value)
{
    return (int8_t)(table ? table[value] : value);
}

static LISTEN_APART void finish_odd(const listen_steps *steps, listen_rate first,
                                    listen_rate second, int32_t sums[4])
{
    int32_t i;
    for (i = 0; i < 4; i++) {
        sums[i] = stepped_anyhow(steps, sums[i], i < 2 ? first : second);
    }
}

/* Sums become steps of the output: two of the one channel, two of the other. */
static inline void finish_four(const listen_steps *steps, listen_rate first, listen_rate second,
                               int32_t sums[4])
{
    if (is_odd(first) | is_odd(second)) {
        int32_t odd[4]; /* which has an address: the others stay in registers */
        memcpy(odd, sums, sizeof odd);
        finish_odd(steps, first, second, odd);
        memcpy(sums, odd, sizeof odd);
        return;
    }
    sums[0] = stepped(steps, sums[0], first);
    sums[1] = stepped(steps, sums[1], first);
    sums[2] = stepped(steps, sums[2], second);
    sums[3] = stepped(steps, sums[3], second);
}

#endif
