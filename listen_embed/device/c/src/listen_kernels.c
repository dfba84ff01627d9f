#include "listen_rescaling.h"

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

/* ---- value by value ---- */

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

/* `n` values, in which no operand begins anew. */
static LISTEN_APART void add_values(const listen_add *kept, const int8_t *a, const int8_t *b,
                                    int8_t *out, int32_t n)
{
    const listen_add op = *kept; /* which outputs could change, for all that a compiler knows */
    const int8_t *end = out + n;
    while (out < end) {
        *out++ = (int8_t)saturated(added(&op, *a++, *b++, 1) + op.range.zero);
    }
}

void listen_add_run(const listen_add *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t i, n = least(op->period_a, op->period_b);
    for (i = 0; i < op->n; i += n) {
        add_values(op, a + i % op->period_a, b + i % op->period_b, out + i, n);
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
            given[i] = (int8_t)saturated(found + terms->range.zero);
        }
    }
    limit(&terms->range, out, terms->n);
}

static LISTEN_APART void multiply_values(const listen_mul *kept, const int8_t *a, const int8_t *b,
                                         int8_t *out, int32_t n)
{
    const listen_mul op = *kept;
    const int8_t *end = out + n;
    if (is_odd(op.rate)) {
        while (out < end) {
            int32_t product = (*a++ - op.zero_a) * (*b++ - op.zero_b);
            *out++ = looked_up(op.steps.table, stepped_anyhow(&op.steps, product, op.rate));
        }
    }
    while (out < end) {
        int32_t product = (*a++ - op.zero_a) * (*b++ - op.zero_b);
        *out++ = looked_up(op.steps.table, stepped(&op.steps, product, op.rate));
    }
}

void listen_mul_run(const listen_mul *op, const int8_t *a, const int8_t *b, int8_t *out)
{
    int32_t i, n = least(op->period_a, op->period_b);
    for (i = 0; i < op->n; i += n) {
        multiply_values(op, a + i % op->period_a, b + i % op->period_b, out + i, n);
    }
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
    return (int8_t)saturated(scaled(sum, op->factor) + op->range.zero);
#else
    return (int8_t)saturated(nearest((float)sum * op->factor + op->offset));
#endif
}

static void one_mean(const listen_mean *op, const int8_t *in, int8_t *out)
{
    int32_t i, sum = op->bias;
    for (i = 0; i < op->n; i++, in += op->inner) {
        sum += *in;
    }
    *out = mean_of(sum, op);
}

static LISTEN_APART void four_means(const listen_mean *op, const int8_t *in, int8_t *out)
{
    int32_t i, a = op->bias, b = a, c = a, d = a, n = op->n, inner = op->inner;
    for (i = 0; i < n; i++, in += inner) {
        a += in[0];
        b += in[1];
        c += in[2];
        d += in[3];
    }
    out[0] = mean_of(a, op);
    out[1] = mean_of(b, op);
    out[2] = mean_of(c, op);
    out[3] = mean_of(d, op);
}

void listen_mean_run(const listen_mean *op, const int8_t *in, int8_t *out)
{
    int32_t outer, i;
    for (outer = 0; outer < op->outer; outer++, in += op->n * op->inner, out += op->inner) {
        for (i = 0; i + 4 <= op->inner; i += 4) {
            four_means(op, in + i, out + i);
        }
        for (; i < op->inner; i++) {
            one_mean(op, in + i, out + i);
        }
    }
}

/* ---- windows, matrices and shares ---- */

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
        out[channel] = (int8_t)saturated(divided(sum, n));
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
    return (int8_t)saturated(sum + op->range.zero);
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
        out[i] = (int8_t)saturated(listen_halved(value, 12 - headroom + 31 - 8) - 128);
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
        out[i] = (int8_t)saturated(whole + (value - (float)whole >= 0.5f) - 128);
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
