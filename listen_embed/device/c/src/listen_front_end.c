#include "listen_front_end.h"

#if !LISTEN_FIXED_POINT

#include <math.h>
#include <string.h>

#include "listen_contract.h"
#include "listen_logarithm.h"

typedef float listen_real;
typedef float listen_energy;
#define ONE 1.0f

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

#include "listen_transform.h"

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

static void load(const embed_sample *x, int32_t origin, int32_t begin, float *z)
{
    if (is_inside(begin)) {
        load_inside(x + (begin - origin), z);
    } else {
        load_edge(x, origin, begin, z);
    }
}

/* ---- the transform's stages ---- */

typedef struct {
    listen_complex b, c, d;
} listen_turns;

static inline listen_complex turn(int32_t i)
{
    listen_complex w;
    w.re = cosine(i);
    w.im = minus_sine(i);
    return w;
}

static inline listen_complex turned(const float *z, const listen_complex *w)
{
    listen_complex product;
    product.re = z[0] * w->re - z[1] * w->im;
    product.im = z[0] * w->im + z[1] * w->re;
    return product;
}

static inline void butterfly(float *z, int32_t span, const listen_turns *w)
{
    combine(z, span, turned(z + span, &w->b), turned(z + 2 * span, &w->c),
            turned(z + 3 * span, &w->d));
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
    static const listen_turns none = {{1.0f, 0.0f}, {1.0f, 0.0f}, {1.0f, 0.0f}};
    const float *end = z + LISTEN_FFT;
    for (; z < end; z += 4 * span) {
        butterfly(z, span, &none);
    }
}

static LISTEN_APART void stage(float *z, int32_t span)
{
    int32_t k, step = LISTEN_FFT / (2 * span);
    butterflies(z, span);
    for (k = 1; 2 * k < span; k++) {
        int32_t i = k * step;
        listen_turns w;
        w.b = turn(2 * i);
        w.c = turn(i);
        w.d = turn(3 * i);
        turned_butterflies(z + 2 * k, span, &w);
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

static inline float energy_of(const float *z, int32_t bin)
{
    return z[PLACE(bin)];
}

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

static float logarithm_of_band(float band)
{
#if LISTEN_MEL_ROOT
    band = sqrtf(band);
#endif
    band = band > LISTEN_LOG_FLOOR ? band : LISTEN_LOG_FLOOR;
    band += LISTEN_LOG_OFFSET;
    return listen_logarithm(band) * LISTEN_LOG_UNIT;
}

#if LISTEN_VALUES_ARE_FLOAT
listen_value listen_quantised(float value)
{
    return (value + LISTEN_SHIFT) * LISTEN_SCALE;
}
#else
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
#endif

static inline listen_pixel pixel_of(float band)
{
#if LISTEN_DEPENDS_ON_FRAME
    return logarithm_of_band(band);
#else
    return listen_quantised(logarithm_of_band(band));
#endif
}

#include "listen_bands.h"

#endif
