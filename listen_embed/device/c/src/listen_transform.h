/* What the front ends in float and in integers do alike, up to the transform.
 *
 * For them alone: before they include it they define `listen_real`, the type they compute in, and
 * `signal_at`, a sample of the signal; `stage` they define after it. */
#ifndef LISTEN_TRANSFORM_H
#define LISTEN_TRANSFORM_H

#include "listen_apart.h"
#include "listen_front_end.h"

#define HALF (LISTEN_FFT / 2) /* complex values of the transform */
#define MIDDLE ((LISTEN_WINDOW + 1) / 2)

/* ---- the signal ---- */

static int is_inside(int32_t begin)
{
    return begin >= 0 && begin + LISTEN_WINDOW <= LISTEN_SIGNAL_SAMPLES;
}

/* The signal beyond the ends of the frame. */
static listen_real padded_at(const embed_sample *x, int32_t origin, int32_t i)
{
#if LISTEN_PADS_BY_REFLECTION
    i = i < 0 ? -i : i;
    i = i >= LISTEN_SIGNAL_SAMPLES ? 2 * (LISTEN_SIGNAL_SAMPLES - 1) - i : i;
#else
    if (i < 0 || i >= LISTEN_SIGNAL_SAMPLES) {
        return 0;
    }
#endif
    return signal_at(x, i - origin);
}

/* Where the transform takes its complex value `i` from: the bits of `i` in reverse. */
static inline uint32_t reversed(uint32_t i)
{
#if defined(__GNUC__) && defined(__ARM_ARCH) && __ARM_ARCH >= 7
    __asm__("rbit %0, %1" : "=r"(i) : "r"(i));
    return i >> (33 - LISTEN_FFT_BITS);
#else
    uint32_t turned = 0, bit;
    for (bit = 1; bit < HALF; bit <<= 1) {
        turned = turned << 1 | (i & 1);
        i >>= 1;
    }
    return turned;
#endif
}

/* ---- Fourier transform: HALF complex values in place, four branches at a time ---- */

typedef struct {
    listen_real re, im;
} listen_complex;

/* cos of a turn * i / LISTEN_FFT; -sin is a quarter of a turn further. */
static inline listen_real cosine(int32_t i)
{
    return listen_cosines[i <= HALF ? i : LISTEN_FFT - i];
}

static inline listen_real minus_sine(int32_t i)
{
    return cosine(i + LISTEN_FFT / 4);
}

/* The branch at `z0` and three others, which are turned already, become one. */
static inline void combine(listen_real *z0, int32_t span, listen_complex b, listen_complex c,
                           listen_complex d)
{
    listen_real *z1 = z0 + span, *z2 = z1 + span, *z3 = z2 + span;
    listen_real even_re = z0[0] + b.re, even_im = z0[1] + b.im;
    listen_real rest_re = z0[0] - b.re, rest_im = z0[1] - b.im;
    listen_real sum_re = c.re + d.re, sum_im = c.im + d.im;
    listen_real gap_re = c.re - d.re, gap_im = c.im - d.im;
    z0[0] = even_re + sum_re;
    z0[1] = even_im + sum_im;
    z1[0] = rest_re + gap_im;
    z1[1] = rest_im - gap_re;
    z2[0] = even_re - sum_re;
    z2[1] = even_im - sum_im;
    z3[0] = rest_re - gap_im;
    z3[1] = rest_im + gap_re;
}

/* Four transforms of `span` numbers become one; the second and third lie in reversed order. */
static void stage(listen_real *z, int32_t span);

static void transform(listen_real *z)
{
    int32_t j, span = 2;
    if (LISTEN_FFT_BITS % 2 == 0) { /* HALF is no power of four: one stage of two branches */
        for (j = 0; j < LISTEN_FFT; j += 4) {
            listen_real re = z[j + 2], im = z[j + 3];
            z[j + 2] = z[j] - re;
            z[j + 3] = z[j + 1] - im;
            z[j] += re;
            z[j + 1] += im;
        }
        span = 4;
    }
    for (; span < LISTEN_FFT; span *= 4) {
        stage(z, span);
    }
}

#endif
