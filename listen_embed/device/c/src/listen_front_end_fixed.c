/* The front end in integers, for parts without a floating-point unit. */
#include "listen_front_end.h"

#if LISTEN_FIXED_POINT

#include <string.h>

typedef int32_t listen_real;
typedef uint64_t listen_energy;
#define ONE (1u << 15)

/* Samples keep LISTEN_GUARD_BITS more than they came with; the transform's sums fit 31 then. */

static inline int32_t high(int64_t product)
{
    return (int32_t)(product >> 32);
}

static inline int32_t window_at(int32_t i)
{
#if LISTEN_WINDOW_IS_COSINE
    return 0x3FFFFFFF - (listen_cosines[i] >> 1);
#else
    return (int32_t)listen_window[i] << 15;
#endif
}

/* A sample, raised by one bit more than the guard bits, which the window takes out again. */
static inline int32_t signal_at(const embed_sample *x, int32_t i)
{
#if LISTEN_HAS_PREEMPHASIS
    int32_t raised = (int32_t)x[i + 1] * (1 << 14) - LISTEN_PREEMPHASIS_Q14 * x[i];
    return (raised + (1 << (12 - LISTEN_GUARD_BITS))) >> (13 - LISTEN_GUARD_BITS);
#else
    return (int32_t)x[i] * (1 << (LISTEN_GUARD_BITS + 1));
#endif
}

#include "listen_transform.h"

static void load(const embed_sample *x, int32_t origin, int32_t begin, int32_t *z)
{
    int inside = is_inside(begin);
    int32_t i;
    for (i = 0; i < LISTEN_WINDOW; i++) {
        int32_t window = window_at(i < MIDDLE ? i : LISTEN_WINDOW_SYMMETRY - i);
        int32_t sample = inside ? signal_at(x, begin + i - origin) : padded_at(x, origin, begin + i);
        int64_t product = (int64_t)sample * window + INT64_C(0x80000000);
        z[2 * reversed((uint32_t)i >> 1) + (i & 1)] = high(product);
    }
}

/* ---- the transform's stages ---- */

/* z times a turn of i / LISTEN_FFT. */
static inline listen_complex turned(const int32_t *z, int32_t re, int32_t im)
{
    listen_complex product;
    product.re = (int32_t)(((int64_t)z[0] * re - (int64_t)z[1] * im + (1 << 30)) >> 31);
    product.im = (int32_t)(((int64_t)z[0] * im + (int64_t)z[1] * re + (1 << 30)) >> 31);
    return product;
}

static inline listen_complex unturned(const int32_t *z)
{
    listen_complex same;
    same.re = z[0];
    same.im = z[1];
    return same;
}

static void stage(int32_t *z, int32_t span)
{
    int32_t k, j, step = LISTEN_FFT / (2 * span);
    for (j = 0; j < LISTEN_FFT; j += 4 * span) {
        int32_t *at = z + j;
        combine(at, span, unturned(at + span), unturned(at + 2 * span), unturned(at + 3 * span));
    }
    for (k = 1; 2 * k < span; k++) {
        int32_t i = k * step;
        int32_t b_re = cosine(2 * i), b_im = minus_sine(2 * i);
        int32_t c_re = cosine(i), c_im = minus_sine(i);
        int32_t d_re = cosine(3 * i), d_im = minus_sine(3 * i);
        for (j = 2 * k; j < LISTEN_FFT; j += 4 * span) {
            int32_t *at = z + j;
            combine(at, span, turned(at + span, b_re, b_im), turned(at + 2 * span, c_re, c_im),
                    turned(at + 3 * span, d_re, d_im));
        }
    }
}

/* ---- energies, bands and their logarithms ---- */

static inline void put_energy(int32_t *z, int32_t bin, int32_t re, int32_t im)
{
    uint64_t energy = (uint64_t)((int64_t)re * re) + (uint64_t)((int64_t)im * im);
    energy = (energy + (1u << (LISTEN_ENERGY_SHIFT - 1))) >> LISTEN_ENERGY_SHIFT;
    memcpy(z + 2 * bin, &energy, sizeof energy);
}

static inline uint64_t energy_of(const int32_t *z, int32_t bin)
{
    uint64_t energy;
    memcpy(&energy, z + 2 * bin, sizeof energy);
    return energy;
}

static void energies(int32_t *z)
{
    int32_t k, sum = z[0] + z[1], gap = z[0] - z[1];
    put_energy(z, 0, sum, 0);
    put_energy(z, HALF, gap, 0);
    for (k = 1; k <= HALF / 2; k++) {
        const int32_t *a = z + 2 * k, *b = z + 2 * (HALF - k);
        int32_t even_re = (a[0] + b[0]) >> 1, even_im = (a[1] - b[1]) >> 1;
        int32_t odd[2];
        listen_complex w;
        odd[0] = (a[1] + b[1]) >> 1;
        odd[1] = (b[0] - a[0]) >> 1;
        w = turned(odd, listen_cosines[k], listen_cosines[k + LISTEN_FFT / 4]);
        put_energy(z, HALF - k, even_re - w.re, w.im - even_im);
        put_energy(z, k, even_re + w.re, even_im + w.im);
    }
}

/* log2 of a number above zero, in 2^-20: 64 lines between the powers of two. */
static int32_t logarithm(uint64_t x)
{
    int32_t whole = 63, place, beyond;
    uint32_t mantissa;
    if (!(x >> 32)) {
        x <<= 32;
        whole -= 32;
    }
    while (!(x >> 63)) {
        x <<= 1;
        whole--;
    }
    mantissa = (uint32_t)(x >> 31); /* without its leading one */
    place = (int32_t)(mantissa >> 26);
    beyond = (int32_t)((mantissa >> 14) & 0xFFF);
    return whole * (1 << 20) + listen_logarithms[place] +
           (((listen_logarithms[place + 1] - listen_logarithms[place]) * beyond) >> 12);
}

static listen_pixel pixel_of(uint64_t band)
{
    int64_t value;
    band = band > LISTEN_LOG_FLOOR_FIXED ? band : LISTEN_LOG_FLOOR_FIXED;
    value = logarithm(band + LISTEN_LOG_OFFSET_FIXED);
    value = (value * LISTEN_PIXEL_FACTOR + LISTEN_PIXEL_BIAS) >> 40;
    value = value < LISTEN_VALUE_MIN ? LISTEN_VALUE_MIN : value;
    return (listen_pixel)(value > LISTEN_VALUE_MAX ? LISTEN_VALUE_MAX : value);
}

#include "listen_bands.h"

#endif
