#include "listen_kernels.h"

#include <string.h>

#include "listen_contract.h"

#if defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32) && !defined(LISTEN_NO_SIMD)
#define LISTEN_SIMD 1
#else
#define LISTEN_SIMD 0
#endif

/* Single precision in software costs a hundred instructions where integers need twenty. */
#if !defined(LISTEN_SOFT_FLOAT)
#if defined(__arm__) && !defined(__ARM_FP)
#define LISTEN_SOFT_FLOAT 1
#else
#define LISTEN_SOFT_FLOAT 0
#endif
#endif

/* ---- sums of 32 bits to values of eight ---- */

static inline int8_t saturated(int32_t value)
{
#if LISTEN_SIMD
    __asm__("ssat %0, #8, %1" : "=r"(value) : "r"(value));
    return (int8_t)value;
#else
    value = value < -128 ? -128 : value;
    return (int8_t)(value > 127 ? 127 : value);
#endif
}

/* An activation leaves less than all of int8 only where it cuts at six or so. */
static void limit(const listen_range *range, int8_t *values, int32_t n)
{
    int32_t i, low = range->low, high = range->high;
    if (low == -128 && high == 127) {
        return;
    }
    for (i = 0; i < n; i++) {
        int32_t value = values[i] < low ? low : values[i];
        values[i] = (int8_t)(value > high ? high : value);
    }
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
static inline int32_t scaled(int32_t sum, listen_factor factor)
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

static inline int8_t finished(int32_t sum, listen_factor factor, int32_t zero)
{
    return saturated(scaled(sum, factor) + zero);
}

/* ---- sums of products ---- */

#if LISTEN_SIMD

static inline uint32_t word(const void *bytes)
{
    uint32_t loaded;
    memcpy(&loaded, bytes, sizeof loaded);
    return loaded;
}

/* Bytes 0 and 2, sign-extended, as two halves of a word. */
static inline uint32_t even_bytes(uint32_t packed)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(packed));
    return halves;
}

static inline uint32_t odd_bytes(uint32_t packed)
{
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(packed));
    return halves;
}

static inline uint32_t low_halves(uint32_t first, uint32_t second)
{
    uint32_t joined;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(joined) : "r"(first), "r"(second));
    return joined;
}

static inline uint32_t high_halves(uint32_t first, uint32_t second)
{
    uint32_t joined;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(joined) : "r"(first), "r"(second));
    return joined;
}

static inline int32_t add_products(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* Four int8 become two words of two int16, in the order 0 2, 1 3, in which `even_bytes` and
 * `odd_bytes` meet them again. */
static inline void widen_four(const int8_t *in, uint32_t *out)
{
    uint32_t packed = word(in);
    out[0] = even_bytes(packed);
    out[1] = odd_bytes(packed);
}

static inline void dots(const uint32_t *x, const int8_t *w, int32_t n, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint32_t *end = x + n;
    do {
        uint32_t first = word(w), second = word(w + 4);
        uint32_t w0 = even_bytes(first), w1 = even_bytes(second);
        uint32_t x0 = x[0], x1 = x[2];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w1, x0);
        s2 = add_products(s2, w0, x1);
        s3 = add_products(s3, w1, x1);
        w0 = odd_bytes(first);
        w1 = odd_bytes(second);
        x0 = x[1];
        x1 = x[3];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w1, x0);
        s2 = add_products(s2, w0, x1);
        s3 = add_products(s3, w1, x1);
        w += 8;
        x += 4;
    } while (x != end);
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static inline void depthwise_dots(const int8_t *const *taps, int32_t pairs, int32_t channel,
                                  const int8_t *w, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (; pairs > 0; pairs--, taps += 2, w += 8) {
        uint32_t a = word(taps[0] + channel), b = word(taps[1] + channel);
        uint32_t left = word(w), right = word(w + 4);
        uint32_t a_even = even_bytes(a), b_even = even_bytes(b);
        uint32_t a_odd = odd_bytes(a), b_odd = odd_bytes(b);
        s0 = add_products(s0, low_halves(a_even, b_even), even_bytes(left));
        s1 = add_products(s1, low_halves(a_odd, b_odd), odd_bytes(left));
        s2 = add_products(s2, high_halves(a_even, b_even), even_bytes(right));
        s3 = add_products(s3, high_halves(a_odd, b_odd), odd_bytes(right));
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#else

static inline void widen_four(const int8_t *in, uint32_t *out)
{
    memcpy(out, in, 4);
}

static inline void dots(const uint32_t *x, const int8_t *w, int32_t n, int32_t sums[4])
{
    int32_t i, s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const int8_t *bytes = (const int8_t *)x;
    for (; n > 0; n -= 4, bytes += 16, w += 8) {
        for (i = 0; i < 4; i++) {
            int32_t x0 = bytes[i], x1 = bytes[i + 8], w0 = w[i], w1 = w[i + 4];
            s0 += x0 * w0;
            s1 += x0 * w1;
            s2 += x1 * w0;
            s3 += x1 * w1;
        }
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static inline void depthwise_dots(const int8_t *const *taps, int32_t pairs, int32_t channel,
                                  const int8_t *w, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (; pairs > 0; pairs--, taps += 2, w += 8) {
        const int8_t *a = taps[0] + channel, *b = taps[1] + channel;
        s0 += a[0] * w[0] + b[0] * w[2];
        s1 += a[1] * w[1] + b[1] * w[3];
        s2 += a[2] * w[4] + b[2] * w[6];
        s3 += a[3] * w[5] + b[3] * w[7];
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#endif

/* ---- convolutions ---- */

/* Write the values under the kernel at one output pixel, one tap after the other. */
static void gather(const listen_conv *op, const int8_t *in, int32_t y, int32_t x, int8_t *patch)
{
    int32_t ky, kx, channels = op->in_channels;
    for (ky = 0; ky < op->kernel_height; ky++) {
        int32_t from_y = y * op->stride_y - op->pad_top + ky * op->dilation_y;
        for (kx = 0; kx < op->kernel_width; kx++, patch += channels) {
            int32_t from_x = x * op->stride_x - op->pad_left + kx * op->dilation_x;
            if (from_y < 0 || from_y >= op->in_height || from_x < 0 || from_x >= op->in_width) {
                memset(patch, op->in_zero, (size_t)channels);
            } else if (channels == 1) {
                *patch = in[from_y * op->in_width + from_x];
            } else {
                memcpy(patch, in + (from_y * op->in_width + from_x) * channels, (size_t)channels);
            }
        }
    }
}

/* Put a pixel's values between those of its neighbour: four of the one, four of the other. */
static void widen(const int8_t *in, uint32_t *out, int32_t n)
{
    for (; n > 0; n -= 4, in += 4, out += 4) {
        widen_four(in, out);
    }
}

static void load_pixel(const listen_conv *op, const int8_t *in, int32_t pixel, int8_t *patch,
                       uint32_t *wide)
{
    int32_t y = pixel / op->out_width;
    gather(op, in, y, pixel - y * op->out_width, patch);
    widen(patch, wide, op->depth);
}

/* Two pixels and two channels at a time; what is beyond an odd last one is computed in vain. */
static void pixel_pair(const listen_conv *op, const uint32_t *x, int8_t *out0, int8_t *out1)
{
    int32_t channel, sums[4], channels = op->out_channels, depth = op->depth;
    int32_t zero = op->range.zero;
    const int8_t *w = op->weights;
    const int32_t *bias = op->bias;
    const listen_factor *factors = op->factors;
    for (channel = 0; channel + 1 < channels; channel += 2, w += 2 * depth) {
        sums[0] = sums[2] = bias[channel];
        sums[1] = sums[3] = bias[channel + 1];
        dots(x, w, depth, sums);
        out1[channel] = finished(sums[2], factors[channel], zero);
        out1[channel + 1] = finished(sums[3], factors[channel + 1], zero);
        out0[channel] = finished(sums[0], factors[channel], zero);
        out0[channel + 1] = finished(sums[1], factors[channel + 1], zero);
    }
    if (channel < channels) {
        sums[0] = sums[2] = bias[channel];
        sums[1] = sums[3] = 0;
        dots(x, w, depth, sums);
        out1[channel] = finished(sums[2], factors[channel], zero);
        out0[channel] = finished(sums[0], factors[channel], zero);
    }
    limit(&op->range, out0, channels);
    limit(&op->range, out1, channels);
}

static int is_pointwise(const listen_conv *op)
{
    return op->kernel_height == 1 && op->kernel_width == 1 && op->stride_y == 1 &&
           op->stride_x == 1 && op->in_channels == op->depth;
}

void listen_conv_run(const listen_conv *op, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t pixel, depth = op->depth, pixels = (int32_t)op->out_height * op->out_width;
    uint32_t *x = scratch;
    int8_t *patch = (int8_t *)(x + depth);
    int direct = is_pointwise(op);
    memset(patch, 0, (size_t)depth);
    for (pixel = 0; pixel < pixels; pixel += 2) {
        int32_t next = pixel + 1 < pixels ? 1 : 0;
        if (direct) {
            widen(in + pixel * depth, x, depth);
            widen(in + (pixel + next) * depth, x + 2, depth);
        } else {
            load_pixel(op, in, pixel, patch, x);
            load_pixel(op, in, pixel + next, patch, x + 2);
        }
        pixel_pair(op, x, out, out + next * op->out_channels);
        out += 2 * op->out_channels;
    }
}

static void find_taps(const listen_depthwise *op, const int8_t *in, const int8_t *zeros, int32_t y,
                      int32_t x, const int8_t **taps)
{
    int32_t ky, kx, top = y * op->stride_y - op->pad_top, left = x * op->stride_x - op->pad_left;
    int32_t row = (top * op->in_width + left) * op->in_channels;
    for (ky = 0; ky < op->kernel_height; ky++) {
        int32_t from_y = top + ky * op->dilation_y, from_x = left, tap = row;
        for (kx = 0; kx < op->kernel_width; kx++) {
            int inside = from_y >= 0 && from_y < op->in_height && from_x >= 0 &&
                         from_x < op->in_width;
            *taps++ = inside ? in + tap : zeros;
            tap += op->dilation_x * op->in_channels;
            from_x += op->dilation_x;
        }
        row += op->dilation_y * op->in_width * op->in_channels;
    }
    *taps = zeros; /* of an odd number of taps the last has no partner */
}

static void depthwise_pixel(const listen_depthwise *op, const int8_t *const *taps, int8_t *out)
{
    int32_t channel, i, pairs = (op->kernel_height * op->kernel_width + 1) / 2;
    int32_t sums[4], channels = op->out_channels, zero = op->range.zero;
    const int8_t *w = op->weights;
    const int32_t *bias = op->bias;
    const listen_factor *factors = op->factors;
    for (channel = 0; channel + 3 < channels; channel += 4, w += 8 * pairs) {
        memcpy(sums, bias + channel, sizeof sums);
        depthwise_dots(taps, pairs, channel, w, sums);
        out[channel] = finished(sums[0], factors[channel], zero);
        out[channel + 1] = finished(sums[1], factors[channel + 1], zero);
        out[channel + 2] = finished(sums[2], factors[channel + 2], zero);
        out[channel + 3] = finished(sums[3], factors[channel + 3], zero);
    }
    if (channel < channels) {
        memset(sums, 0, sizeof sums);
        memcpy(sums, bias + channel, sizeof *sums * (size_t)(channels - channel));
        depthwise_dots(taps, pairs, channel, w, sums);
        for (i = 0; channel < channels; i++, channel++) {
            out[channel] = finished(sums[i], factors[channel], zero);
        }
    }
    limit(&op->range, out, channels);
}

void listen_depthwise_run(const listen_depthwise *op, const int8_t *in, int8_t *out, void *scratch)
{
    const int8_t *taps[LISTEN_MAX_TAPS];
    int32_t y, x;
    memset(scratch, op->in_zero, (size_t)((op->in_channels + 3) & ~3));
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x++, out += op->out_channels) {
            find_taps(op, in, scratch, y, x, taps);
            depthwise_pixel(op, taps, out);
        }
    }
}

/* ---- value by value ---- */

static inline int32_t following(int32_t i, int32_t period)
{
    return i + 1 == period ? 0 : i + 1;
}

/* `sign` counts in reference rounding, which rounds each term before it takes the other away. */
static inline int32_t added(const listen_add *op, int32_t a, int32_t b, int32_t sign)
{
#if LISTEN_REFERENCE
    a = scaled((a - op->zero_a) * (1 << 20), op->factor_a);
    b = scaled((b - op->zero_b) * (1 << 20), op->factor_b);
    return scaled(a + sign * b, op->factor_out);
#else
    int32_t sum = (a - op->zero_a) * op->factor_a + (b - op->zero_b) * op->factor_b;
    (void)sign;
    return (sum + (1 << (op->shift - 1))) >> op->shift;
#endif
}

void listen_add_run(const listen_add *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t i, i_a = 0, i_b = 0;
    for (i = 0; i < op->n; i++) {
        out[i] = saturated(added(op, a[i_a], b[i_b], 1) + op->range.zero);
        i_a = following(i_a, op->period_a);
        i_b = following(i_b, op->period_b);
    }
    limit(&op->range, out, op->n);
}

void listen_subtract_run(const listen_subtract *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    const listen_add *terms = &op->terms;
    int32_t row, i;
    for (row = 0; row < op->rows; row++) {
        const int8_t *of_a = a + row * op->row_a, *of_b = b + row * op->row_b;
        int8_t *given = out + row * op->columns;
        for (i = 0; i < op->columns; i++) {
            int32_t found = added(terms, of_a[i * op->column_a], of_b[i * op->column_b], -1);
            given[i] = saturated(found + terms->range.zero);
        }
    }
    limit(&terms->range, out, terms->n);
}

void listen_mul_run(const listen_mul *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t i, i_a = 0, i_b = 0;
    for (i = 0; i < op->n; i++) {
        int32_t product = (a[i_a] - op->zero_a) * (b[i_b] - op->zero_b);
        out[i] = finished(product, op->factor, op->range.zero);
        i_a = following(i_a, op->period_a);
        i_b = following(i_b, op->period_b);
    }
    limit(&op->range, out, op->n);
}

void listen_table_run(const int8_t *table, int32_t n, const int8_t *in, int8_t *out)
{
    int32_t i;
    for (i = 0; i < n; i++) {
        out[i] = table[in[i] + 128];
    }
}

/* ---- means ---- */

/* XNNPACK rounds a mean after it has added the zero points, all else before. */
static inline int8_t mean_of(int32_t sum, const listen_mean *op)
{
#if LISTEN_REFERENCE
    return finished(sum, op->factor, op->range.zero);
#else
    return saturated(nearest((float)sum * op->factor + op->offset));
#endif
}

void listen_mean_run(const listen_mean *op, const int8_t *in, int8_t *out)
{
    int32_t outer, i, inner;
    for (outer = 0; outer < op->outer; outer++, in += op->n * op->inner) {
        for (inner = 0; inner < op->inner; inner++) {
            int32_t sum = op->bias;
            for (i = 0; i < op->n; i++) {
                sum += in[i * op->inner + inner];
            }
            *out++ = mean_of(sum, op);
        }
    }
}

/* ---- windows, matrices and shares ---- */

static inline int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t most(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* To nearest, halves away from zero. */
static inline int32_t divided(int32_t sum, int32_t n)
{
    return sum > 0 ? (sum + n / 2) / n : (sum - n / 2) / n;
}

static void pool_pixel(const listen_pool *op, const int8_t *in, int32_t top, int32_t left,
                       int8_t *out)
{
    int32_t y, x, channel, from_y = most(top, 0), from_x = most(left, 0);
    int32_t end_y = least(top + op->kernel_height, op->in_height);
    int32_t end_x = least(left + op->kernel_width, op->in_width);
    int32_t n = (end_y - from_y) * (end_x - from_x);
    for (channel = 0; channel < op->channels; channel++) {
        int32_t sum = 0;
        for (y = from_y; y < end_y; y++) {
            for (x = from_x; x < end_x; x++) {
                sum += in[(y * op->in_width + x) * op->channels + channel];
            }
        }
        out[channel] = saturated(divided(sum, n));
    }
    limit(&op->range, out, op->channels);
}

void listen_pool_run(const listen_pool *op, const int8_t *in, int8_t *out)
{
    int32_t y, x;
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x++, out += op->channels) {
            pool_pixel(op, in, y * op->stride_y - op->pad_top, x * op->stride_x - op->pad_left,
                       out);
        }
    }
}

static inline int8_t matmul_value(const listen_matmul *op, const int8_t *row, const int8_t *column)
{
    int32_t i, sum = 0;
    for (i = 0; i < op->n; i++, column += op->columns) {
        sum += (row[i] - op->zero_a) * (*column - op->zero_b);
    }
    sum = listen_scaled(sum, op->factor.multiplier, op->factor.shift);
    return saturated(sum + op->range.zero);
}

void listen_matmul_run(const listen_matmul *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t batch, row, column;
    for (batch = 0; batch < op->batches; batch++, b += op->n * op->columns) {
        for (row = 0; row < op->rows; row++, a += op->n) {
            for (column = 0; column < op->columns; column++) {
                *out++ = matmul_value(op, a, b + column);
            }
        }
    }
}

#if LISTEN_REFERENCE

/* A product of numbers in 31 bits behind the point, some of them before it in the second one. */
#define TIMES listen_doubled_high

static inline int32_t doubled(int32_t value, int32_t exponent)
{
    int32_t limit = INT32_MAX >> exponent;
    return value > limit ? INT32_MAX : value < -limit - 1 ? INT32_MIN : value * (1 << exponent);
}

/* 1 / (1 + a) of 0 <= a < 1, in 31 bits behind the point: Newton's steps from 48/17 - 32/17 d, of
 * d = (1 + a) / 2, with 29 bits behind the point. Source: gemmlowp's fixed-point functions. */
static int32_t reciprocal(int32_t a)
{
    int32_t i, half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = INT32_C(1515870810) + TIMES(half, INT32_C(-1010580540));
    for (i = 0; i < 3; i++) {
        x += doubled(TIMES(x, (INT32_C(1) << 29) - TIMES(half, x)), 2);
    }
    return doubled(x, 1);
}

static int leading_zeros(uint32_t value)
{
    int zeros = 0;
    while (zeros < 32 && !(value & 0x80000000u)) {
        value <<= 1;
        zeros++;
    }
    return zeros;
}

static void softmax_of_row(const listen_softmax *op, const int8_t *in, int32_t peak, int8_t *out)
{
    int32_t i, sum = 0, share; /* 19 bits behind the point */
    int headroom;
    for (i = 0; i < op->n; i++) {
        sum += listen_halved(op->exponentials[peak - in[i]], 12);
    }
    headroom = leading_zeros((uint32_t)sum);
    share = reciprocal((int32_t)(((uint32_t)sum << headroom) - 0x80000000u));
    for (i = 0; i < op->n; i++) {
        int32_t value = TIMES(share, op->exponentials[peak - in[i]]);
        out[i] = saturated(listen_halved(value, 12 - headroom + 31 - 8) - 128);
    }
}

#else

static void softmax_of_row(const listen_softmax *op, const int8_t *in, int32_t peak, int8_t *out)
{
    int32_t i;
    float sum = 0.0f, share;
    for (i = 0; i < op->n; i++) {
        sum += op->exponentials[peak - in[i]];
    }
    share = 1.0f / (sum * (1.0f / 256.0f));
    for (i = 0; i < op->n; i++) {
        float value = op->exponentials[peak - in[i]] * share;
        int32_t whole = (int32_t)value;
        out[i] = saturated(whole + (value - (float)whole >= 0.5f) - 128);
    }
}

#endif

void listen_softmax_run(const listen_softmax *op, const int8_t *in, int8_t *out)
{
    int32_t row, i;
    for (row = 0; row < op->rows; row++, in += op->n, out += op->n) {
        int32_t peak = in[0];
        for (i = 1; i < op->n; i++) {
            peak = most(peak, in[i]);
        }
        softmax_of_row(op, in, peak, out);
    }
}

/* ---- moves ---- */

void listen_transpose_run(const listen_transpose *op, const void *in, void *out)
{
    const char *source = in;
    char *target = out;
    int32_t a, b, c, d;
    for (a = 0; a < op->sizes[0]; a++) {
        for (b = 0; b < op->sizes[1]; b++) {
            for (c = 0; c < op->sizes[2]; c++) {
                const char *from =
                    source + a * op->strides[0] + b * op->strides[1] + c * op->strides[2];
                for (d = 0; d < op->sizes[3]; d++, target += op->item) {
                    memcpy(target, from + d * op->strides[3], (size_t)op->item);
                }
            }
        }
    }
}

void listen_pad_run(const listen_pad *op, const int8_t *in, int8_t *out)
{
    int32_t at[4], i, size[4], inside;
    for (i = 0; i < 4; i++) {
        size[i] = op->before[i] + op->sizes[i] + op->after[i];
    }
    for (at[0] = 0; at[0] < size[0]; at[0]++) {
        for (at[1] = 0; at[1] < size[1]; at[1]++) {
            for (at[2] = 0; at[2] < size[2]; at[2]++) {
                for (at[3] = 0; at[3] < size[3]; at[3]++) {
                    inside = 1;
                    for (i = 0; i < 4; i++) {
                        int32_t place = at[i] - op->before[i];
                        inside = inside && place >= 0 && place < op->sizes[i];
                    }
                    *out++ = inside ? *in++ : (int8_t)op->value;
                }
            }
        }
    }
}

void listen_copy_run(int32_t n, int32_t size, int32_t from, int32_t to, const void *in, void *out)
{
    const char *source = in;
    char *target = out;
    for (; n > 0; n--, source += from, target += to) {
        memcpy(target, source, (size_t)size);
    }
}
