#include "listen_front_end.h"

#include <math.h>
#include <string.h>

/* The same picture on every processor: no fused multiply-add, which some have and some do not. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#define HALF (LISTEN_FFT / 2) /* complex values of the transform */

#if LISTEN_SAMPLES_ARE_FLOAT
#define REAL(sample) (sample)
#else
#define REAL(sample) ((float)(sample) * (1.0f / 32768.0f))
#endif

/* ---- the windowed stretch, in the order that the transform takes ---- */

static inline float windowed(float sample, int32_t i)
{
#if LISTEN_WINDOW_IS_COSINE
    return sample * (0.5f - 0.5f * listen_cosines[i <= HALF ? i : LISTEN_FFT - i]);
#else
    return sample * listen_window[2 * i < LISTEN_WINDOW ? i : LISTEN_WINDOW_SYMMETRY - i];
#endif
}

static inline float signal_at(const embed_sample *x, int32_t i)
{
#if LISTEN_HAS_PREEMPHASIS
    return REAL(x[i + 1]) - LISTEN_PREEMPHASIS * REAL(x[i]);
#else
    return REAL(x[i]);
#endif
}

static int is_inside(int32_t begin)
{
    return begin >= 0 && begin + LISTEN_WINDOW <= LISTEN_SIGNAL_SAMPLES;
}

/* The signal beyond the ends of the frame. */
static float padded_at(const embed_sample *x, int32_t origin, int32_t i)
{
#if LISTEN_PADS_BY_REFLECTION
    i = i < 0 ? -i : i;
    i = i >= LISTEN_SIGNAL_SAMPLES ? 2 * (LISTEN_SIGNAL_SAMPLES - 1) - i : i;
#else
    if (i < 0 || i >= LISTEN_SIGNAL_SAMPLES) {
        return 0.0f;
    }
#endif
    return signal_at(x, i - origin);
}

/* The number after `reversed`, both with their bits in reverse. */
static inline uint32_t reversed_next(uint32_t reversed)
{
    uint32_t bit = HALF / 2;
    while (reversed & bit) {
        reversed ^= bit;
        bit >>= 1;
    }
    return reversed | bit;
}

static void load_inside(const embed_sample *x, float *z)
{
    uint32_t to = 0;
    int32_t i;
    for (i = 0; i + 1 < LISTEN_WINDOW; i += 2, to = reversed_next(to)) {
        z[2 * to] = windowed(signal_at(x, i), i);
        z[2 * to + 1] = windowed(signal_at(x, i + 1), i + 1);
    }
    if (LISTEN_WINDOW % 2) {
        z[2 * to] = windowed(signal_at(x, i), i);
    }
}

static void load_edge(const embed_sample *x, int32_t origin, int32_t begin, float *z)
{
    uint32_t to = 0;
    int32_t i;
    for (i = 0; i < LISTEN_WINDOW; i++) {
        z[2 * to + (i & 1)] = windowed(padded_at(x, origin, begin + i), i);
        to = i & 1 ? reversed_next(to) : to;
    }
}

/* ---- Fourier transform: HALF complex values in place, four branches at a time ---- */

/* cos and -sin of a turn * i / LISTEN_FFT. */
static inline float cosine(int32_t i)
{
    return listen_cosines[i <= HALF ? i : LISTEN_FFT - i];
}

static inline float minus_sine(int32_t i)
{
    return cosine(i + LISTEN_FFT / 4);
}

typedef struct {
    float re, im;
} listen_turn;

static inline listen_turn turn(int32_t i)
{
    listen_turn w;
    w.re = cosine(i);
    w.im = minus_sine(i);
    return w;
}

static inline listen_turn turned(const float *z, listen_turn w)
{
    listen_turn product;
    product.re = z[0] * w.re - z[1] * w.im;
    product.im = z[0] * w.im + z[1] * w.re;
    return product;
}

static inline listen_turn unturned(const float *z)
{
    listen_turn same;
    same.re = z[0];
    same.im = z[1];
    return same;
}

static inline void combine(float *z, int32_t span, listen_turn b, listen_turn c, listen_turn d)
{
    float *z1 = z + 2 * span, *z2 = z1 + 2 * span, *z3 = z2 + 2 * span;
    float even_re = z[0] + b.re, even_im = z[1] + b.im;
    float rest_re = z[0] - b.re, rest_im = z[1] - b.im;
    float sum_re = c.re + d.re, sum_im = c.im + d.im;
    float gap_re = c.re - d.re, gap_im = c.im - d.im;
    z[0] = even_re + sum_re;
    z[1] = even_im + sum_im;
    z1[0] = rest_re + gap_im;
    z1[1] = rest_im - gap_re;
    z2[0] = even_re - sum_re;
    z2[1] = even_im - sum_im;
    z3[0] = rest_re - gap_im;
    z3[1] = rest_im + gap_re;
}

/* Four transforms of `span` values become one; the second and third lie in reversed order. */
static void stage(float *z, int32_t span)
{
    int32_t k, j, step = LISTEN_FFT / (4 * span);
    for (j = 0; j < HALF; j += 4 * span) {
        float *at = z + 2 * j;
        combine(at, span, unturned(at + 2 * span), unturned(at + 4 * span),
                unturned(at + 6 * span));
    }
    for (k = 1; k < span; k++) {
        listen_turn w1 = turn(2 * k * step), w2 = turn(k * step), w3 = turn(3 * k * step);
        for (j = k; j < HALF; j += 4 * span) {
            float *at = z + 2 * j;
            combine(at, span, turned(at + 2 * span, w1), turned(at + 4 * span, w2),
                    turned(at + 6 * span, w3));
        }
    }
}

static void transform(float *z)
{
    int32_t j, span = 1;
    if (LISTEN_FFT_BITS % 2 == 0) { /* HALF is no power of four: one stage of two branches */
        for (j = 0; j < 2 * HALF; j += 4) {
            float re = z[j + 2], im = z[j + 3];
            z[j + 2] = z[j] - re;
            z[j + 3] = z[j + 1] - im;
            z[j] += re;
            z[j + 1] += im;
        }
        span = 2;
    }
    for (; span < HALF; span *= 4) {
        stage(z, span);
    }
}

/* ---- energies of the bins ---- */

#if LISTEN_POWER == 1
#define ENERGY(re, im) sqrtf((re) * (re) + (im) * (im))
#else
#define ENERGY(re, im) ((re) * (re) + (im) * (im))
#endif

/* Place of a bin's energy: where its real part was; the last bin's, where bin 0 had its other. */
#define PLACE(bin) ((bin) == HALF ? 1 : 2 * (bin))

/* The transform of even and odd samples becomes that of all; only energies are kept. */
static void energies(float *z)
{
    int32_t k;
    float sum = z[0] + z[1], gap = z[0] - z[1];
    z[0] = ENERGY(sum, 0.0f);
    z[1] = ENERGY(gap, 0.0f);
    for (k = 1; k <= HALF / 2; k++) {
        float *a = z + 2 * k, *b = z + 2 * (HALF - k);
        float even_re = 0.5f * (a[0] + b[0]), even_im = 0.5f * (a[1] - b[1]);
        float odd_re = 0.5f * (a[1] + b[1]), odd_im = 0.5f * (b[0] - a[0]);
        listen_turn w = turn(k);
        float re = odd_re * w.re - odd_im * w.im, im = odd_re * w.im + odd_im * w.re;
        float up_re = even_re + re, up_im = even_im + im;
        float down_re = even_re - re, down_im = im - even_im;
        a[0] = ENERGY(up_re, up_im);
        b[0] = ENERGY(down_re, down_im);
    }
}

/* ---- bands, their logarithms, and the network's steps ---- */

/* ln(x) of a positive normal number, to one part in 2^23. */
static float logarithm(float x)
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

static float logarithm_of_band(float band)
{
#if LISTEN_MEL_ROOT
    band = sqrtf(band);
#endif
    band = band > LISTEN_LOG_FLOOR ? band : LISTEN_LOG_FLOOR;
    band += LISTEN_LOG_OFFSET;
    return logarithm(band) * LISTEN_LOG_UNIT;
}

listen_value listen_quantised(float value)
{
    float steps = (value + LISTEN_SHIFT) * LISTEN_SCALE / LISTEN_INPUT_SCALE;
    float low = (float)(LISTEN_VALUE_MIN - LISTEN_INPUT_ZERO);
    float high = (float)(LISTEN_VALUE_MAX - LISTEN_INPUT_ZERO);
    uint32_t bits;
    steps = steps > low ? steps : low;
    steps = steps < high ? steps : high;
    steps += 12582912.0f; /* 1.5 * 2^23: to nearest, halves to even */
    memcpy(&bits, &steps, sizeof bits);
    return (listen_value)((int32_t)(bits - 0x4B400000u) + LISTEN_INPUT_ZERO);
}

static inline listen_pixel pixel_of(float band)
{
#if LISTEN_DEPENDS_ON_FRAME
    return logarithm_of_band(band);
#else
    return listen_quantised(logarithm_of_band(band));
#endif
}

#if LISTEN_HAS_MELS
static void finish(const float *z, listen_pixel *column)
{
    int32_t gap, bin = listen_mel_edges[0];
    float rising, falling, before = 0.0f;
    for (gap = 0; gap <= LISTEN_BANDS; gap++) {
        rising = falling = 0.0f;
        for (; bin < listen_mel_edges[gap + 1]; bin++) {
            float energy = z[PLACE(bin)];
            rising += energy * listen_rise[bin - listen_mel_edges[0]];
            falling += energy * listen_fall[bin - listen_mel_edges[0]];
        }
        if (gap > 0) {
            column[gap - 1] = pixel_of(before + falling);
        }
        before = rising;
    }
}
#else
static void finish(const float *z, listen_pixel *column)
{
    int32_t bin;
    for (bin = 0; bin < LISTEN_BANDS; bin++) {
        column[bin] = pixel_of(z[PLACE(bin)]);
    }
}
#endif

void listen_column(const embed_sample *samples, int32_t origin, int32_t begin, void *scratch,
                   listen_pixel *column)
{
    float *z = scratch;
    if (LISTEN_WINDOW < LISTEN_FFT) {
        memset(z, 0, sizeof(float) * LISTEN_FFT);
    }
    if (is_inside(begin)) {
        load_inside(samples + (begin - origin), z);
    } else {
        load_edge(samples, origin, begin, z);
    }
    transform(z);
    energies(z);
    finish(z, column);
}
