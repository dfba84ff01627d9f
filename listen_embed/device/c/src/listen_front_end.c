#include "listen_front_end.h"

#if !LISTEN_FIXED_POINT

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

/* Loops that share a function share its registers, which are too few. */
#if defined(__GNUC__)
#define LISTEN_APART __attribute__((noinline))
#else
#define LISTEN_APART
#endif

/* int16 are 32768 times too large: a power of two, which the window takes out without rounding. */
#if LISTEN_SAMPLES_ARE_FLOAT
#define UNIT 1.0f
#else
#define UNIT (1.0f / 32768.0f)
#endif

/* ---- the windowed stretch, in the order that the transform takes ---- */

/* The window at `i`, up to its middle. */
static inline float window_at(int32_t i)
{
#if LISTEN_WINDOW_IS_COSINE
    return 0.5f * UNIT - 0.5f * UNIT * listen_cosines[i];
#else
    return UNIT * listen_window[i];
#endif
}

static inline float signal_at(const embed_sample *x, int32_t i)
{
#if LISTEN_HAS_PREEMPHASIS
    return (float)x[i + 1] - LISTEN_PREEMPHASIS * (float)x[i];
#else
    return (float)x[i];
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

#define MIDDLE ((LISTEN_WINDOW + 1) / 2)

/* Samples `i` and `i + 1` of the windowed stretch, `i` even. */
static inline void store(float *z, int32_t i, float first, float second)
{
    float *at = z + 2 * reversed((uint32_t)i >> 1);
    at[0] = first;
    at[1] = second;
}

static LISTEN_APART void load_inside(const embed_sample *x, float *z)
{
    int32_t i;
    for (i = 0; i + 1 < MIDDLE; i += 2) {
        store(z, i, signal_at(x, i) * window_at(i), signal_at(x, i + 1) * window_at(i + 1));
    }
    for (; i + 1 < LISTEN_WINDOW; i += 2) {
        int32_t mirrored = LISTEN_WINDOW_SYMMETRY - i;
        float first = signal_at(x, i) * window_at(i < MIDDLE ? i : mirrored);
        store(z, i, first, signal_at(x, i + 1) * window_at(mirrored - 1));
    }
    if (LISTEN_WINDOW % 2) {
        store(z, i, signal_at(x, i) * window_at(LISTEN_WINDOW_SYMMETRY - i), 0.0f);
    }
}

static float edge_at(const embed_sample *x, int32_t origin, int32_t begin, int32_t i)
{
    float window = window_at(i < MIDDLE ? i : LISTEN_WINDOW_SYMMETRY - i);
    return i < LISTEN_WINDOW ? padded_at(x, origin, begin + i) * window : 0.0f;
}

static LISTEN_APART void load_edge(const embed_sample *x, int32_t origin, int32_t begin, float *z)
{
    int32_t i;
    for (i = 0; i < LISTEN_WINDOW; i += 2) {
        store(z, i, edge_at(x, origin, begin, i), edge_at(x, origin, begin, i + 1));
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

/* Of three branches the real and the imaginary factor. */
typedef struct {
    float b_re, b_im, c_re, c_im, d_re, d_im;
} listen_turns;

static inline void butterfly(float *z0, int32_t span, const listen_turns *w)
{
    float *z1 = z0 + span, *z2 = z1 + span, *z3 = z2 + span;
    float b_re = z1[0] * w->b_re - z1[1] * w->b_im, b_im = z1[0] * w->b_im + z1[1] * w->b_re;
    float c_re = z2[0] * w->c_re - z2[1] * w->c_im, c_im = z2[0] * w->c_im + z2[1] * w->c_re;
    float d_re = z3[0] * w->d_re - z3[1] * w->d_im, d_im = z3[0] * w->d_im + z3[1] * w->d_re;
    float even_re = z0[0] + b_re, even_im = z0[1] + b_im;
    float rest_re = z0[0] - b_re, rest_im = z0[1] - b_im;
    float sum_re = c_re + d_re, sum_im = c_im + d_im;
    float gap_re = c_re - d_re, gap_im = c_im - d_im;
    z0[0] = even_re + sum_re;
    z0[1] = even_im + sum_im;
    z1[0] = rest_re + gap_im;
    z1[1] = rest_im - gap_re;
    z2[0] = even_re - sum_re;
    z2[1] = even_im - sum_im;
    z3[0] = rest_re - gap_im;
    z3[1] = rest_im + gap_re;
}

static LISTEN_APART void turned_butterflies(float *z, int32_t span, const listen_turns *turns)
{
    const float *end = z + LISTEN_FFT;
    listen_turns w = *turns;
    for (; z < end; z += 4 * span) {
        butterfly(z, span, &w);
    }
}

static LISTEN_APART void butterflies(float *z, int32_t span)
{
    static const listen_turns none = {1.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f};
    const float *end = z + LISTEN_FFT;
    for (; z < end; z += 4 * span) {
        butterfly(z, span, &none);
    }
}

/* Four transforms of `span` floats become one; the second and third lie in reversed order. */
static LISTEN_APART void stage(float *z, int32_t span)
{
    int32_t k, step = LISTEN_FFT / (2 * span);
    butterflies(z, span);
    for (k = 1; 2 * k < span; k++) {
        int32_t i = k * step;
        listen_turns w;
        w.b_re = cosine(2 * i);
        w.b_im = minus_sine(2 * i);
        w.c_re = cosine(i);
        w.c_im = minus_sine(i);
        w.d_re = cosine(3 * i);
        w.d_im = minus_sine(3 * i);
        turned_butterflies(z + 2 * k, span, &w);
    }
}

static void transform(float *z)
{
    int32_t j, span = 2;
    if (LISTEN_FFT_BITS % 2 == 0) { /* HALF is no power of four: one stage of two branches */
        for (j = 0; j < LISTEN_FFT; j += 4) {
            float re = z[j + 2], im = z[j + 3];
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

/* ---- energies of the bins ---- */

#if LISTEN_POWER == 1
#define ENERGY(re, im) sqrtf((re) * (re) + (im) * (im))
#else
#define ENERGY(re, im) ((re) * (re) + (im) * (im))
#endif

/* Place of a bin's energy: where its real part was; the last bin's, where bin 0 had its other. */
#define PLACE(bin) ((bin) == HALF ? 1 : 2 * (bin))

/* The transform of even and odd samples becomes that of all; only energies are kept. */
static LISTEN_APART void energies(float *z)
{
    int32_t k;
    float sum = z[0] + z[1], gap = z[0] - z[1];
    z[0] = ENERGY(sum, 0.0f);
    z[1] = ENERGY(gap, 0.0f);
    for (k = 1; k <= HALF / 2; k++) {
        float *a = z + 2 * k, *b = z + 2 * (HALF - k);
        float even_re = 0.5f * (a[0] + b[0]), even_im = 0.5f * (a[1] - b[1]);
        float odd_re = 0.5f * (a[1] + b[1]), odd_im = 0.5f * (b[0] - a[0]);
        float w_re = listen_cosines[k], w_im = listen_cosines[k + LISTEN_FFT / 4];
        float re = odd_re * w_re - odd_im * w_im, im = odd_re * w_im + odd_im * w_re;
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

#if LISTEN_MEL_SLOPES_SUM_TO_ONE
#define FALL(i) (1.0f - listen_rise[i])
#else
#define FALL(i) listen_fall[i]
#endif

static LISTEN_APART void finish(const float *z, listen_pixel *column)
{
    int32_t gap, bin = listen_mel_edges[0];
    float rising, falling, before = 0.0f;
    for (gap = 0; gap <= LISTEN_BANDS; gap++) {
        rising = falling = 0.0f;
        for (; bin < listen_mel_edges[gap + 1]; bin++) {
            float energy = z[PLACE(bin)];
            rising += energy * listen_rise[bin - listen_mel_edges[0]];
            falling += energy * FALL(bin - listen_mel_edges[0]);
        }
        if (gap > 0) {
            column[gap - 1] = pixel_of(before + falling);
        }
        before = rising;
    }
}
#else
static LISTEN_APART void finish(const float *z, listen_pixel *column)
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

#endif
