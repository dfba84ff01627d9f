#include "listen_kernels16.h"

static inline int32_t within(int64_t value, int32_t low, int32_t high)
{
    value = value < low ? low : value;
    return (int32_t)(value > high ? high : value);
}

/* Sums of 32 bits: two roundings, halves away from zero. */
static inline int32_t scaled(int32_t sum, listen_exact factor)
{
    return listen_scaled(sum, factor.multiplier, factor.shift);
}

static inline int64_t shifted_up(int64_t value, int32_t shift)
{
    return shift > 0 ? (value + (INT64_C(1) << (shift - 1))) >> shift : value;
}

static int64_t rounded(int64_t sum, listen_exact factor, int32_t rounding)
{
    int32_t left = factor.shift > 0 ? factor.shift : 0, right = left - factor.shift;
    int64_t upper;
    switch (rounding) {
    case LISTEN_TWICE_AWAY:
        return scaled((int32_t)sum, factor);
    case LISTEN_TWICE_UP:
        upper = listen_doubled_high((int32_t)((uint32_t)sum << left), factor.multiplier);
        return shifted_up(upper, right);
    case LISTEN_ONCE:
        return shifted_up(sum * factor.multiplier, 31 - factor.shift);
    default:
        upper = factor.multiplier < 0x7FFF0000 ? (factor.multiplier + (1 << 15)) >> 16 : 0x7FFF;
        return shifted_up(sum * upper, 15 - factor.shift);
    }
}

void listen_dense16_run(const listen_dense16 *op, const void *in, void *out)
{
    const int16_t *x = in;
    int16_t *y = out;
    int32_t row, channel, i;
    for (row = 0; row < op->rows; row++, x += op->n_in) {
        const int8_t *w = op->weights;
        for (channel = 0; channel < op->n_out; channel++, w += op->n_in) {
            int32_t sum = 0; /* 2^15 * 2^7 * n_in: the exporter sees to it that this is enough */
            for (i = 0; i < op->n_in; i++) {
                sum += x[i] * w[i];
            }
            *y++ = (int16_t)within(
                rounded(sum + op->bias[channel], op->factors[channel], op->rounding),
                op->range.low, op->range.high);
        }
    }
}

void listen_matmul16_run(const listen_matmul16 *op, const void *a, const void *b, void *out)
{
    const int16_t *left = a, *right = b;
    int16_t *y = out;
    int32_t batch, row, column, i;
    for (batch = 0; batch < op->batches; batch++, right += op->n * op->columns) {
        for (row = 0; row < op->rows; row++, left += op->n) {
            for (column = 0; column < op->columns; column++) {
                int64_t sum = 0;
                for (i = 0; i < op->n; i++) {
                    sum += (int32_t)left[i] * right[i * op->columns + column];
                }
                *y++ = (int16_t)within(rounded(sum, op->factor, op->rounding), INT16_MIN,
                                       INT16_MAX);
            }
        }
    }
}

static inline int32_t following(int32_t i, int32_t period)
{
    return i + 1 == period ? 0 : i + 1;
}

void listen_add16_run(const listen_add16 *op, const void *a, const void *b, void *out)
{
    const int16_t *left = a, *right = b;
    int16_t *y = out;
    int32_t i, i_a = 0, i_b = 0;
    for (i = 0; i < op->n; i++) {
        int64_t first = rounded((int64_t)left[i_a] * (1 << 15), op->factor_a, op->rounding);
        int64_t second = rounded((int64_t)right[i_b] * (1 << 15), op->factor_b, op->rounding);
        int32_t sum = scaled((int32_t)(first + op->sign * second), op->factor_out);
        y[i] = (int16_t)within(sum, op->range.low, op->range.high);
        i_a = following(i_a, op->period_a);
        i_b = following(i_b, op->period_b);
    }
}

void listen_mean16_run(const listen_mean16 *op, const void *in, void *out)
{
    const int16_t *x = in;
    int16_t *y = out;
    int32_t outer, i, inner;
    for (outer = 0; outer < op->outer; outer++, x += op->n * op->inner) {
        for (inner = 0; inner < op->inner; inner++) {
            int32_t sum = 0;
            for (i = 0; i < op->n; i++) {
                sum += x[i * op->inner + inner];
            }
            *y++ = (int16_t)within(scaled(sum, op->factor), INT16_MIN, INT16_MAX);
        }
    }
}

void listen_scale16_run(const listen_scale16 *op, const void *in, void *out)
{
    const int16_t *x = in;
    int16_t *y = out;
    int32_t i;
    for (i = 0; i < op->n; i++) {
        y[i] = (int16_t)within(scaled(x[i], op->factor), op->range.low, op->range.high);
    }
}

/* Between two entries of a table, along a line. */
static int32_t looked_up(int32_t value, const int16_t *table)
{
    int32_t at = 256 + (value >> 7), beyond = value & 0x7F;
    return table[at] + (((table[at + 1] - table[at]) * beyond + 64) >> 7);
}

static int leading_zeros(uint32_t value)
{
    int zeros = 0;
    while (!(value & 0x80000000u)) {
        value <<= 1;
        zeros++;
    }
    return zeros;
}

static int32_t exponential(const listen_softmax16 *op, int32_t below_peak)
{
    int32_t place = scaled(below_peak, op->factor) + 32767;
    return looked_up(within(place, -32768, 32767), op->exponentials);
}

static void softmax_of_row(const listen_softmax16 *op, const int16_t *x, int16_t *y)
{
    int32_t i, peak = x[0], headroom, sum = 0, place, reciprocal, shift;
    for (i = 1; i < op->n; i++) {
        peak = x[i] > peak ? x[i] : peak;
    }
    for (i = 0; i < op->n; i++) {
        y[i] = (int16_t)exponential(op, x[i] - peak);
        sum += y[i];
    }
    headroom = leading_zeros((uint32_t)sum);
    place = (int32_t)((((int64_t)sum << (headroom - 1)) + (1 << 13)) >> 14);
    reciprocal =
        looked_up(within(place - (1 << 15) - (1 << 16), -32768, 32767), op->reciprocals);
    shift = 31 - headroom;
    for (i = 0; i < op->n; i++) {
        int32_t share = (y[i] * reciprocal + (1 << (shift - 1))) >> shift;
        y[i] = (int16_t)within(share, 0, 32767);
    }
}

void listen_softmax16_run(const listen_softmax16 *op, const void *in, void *out)
{
    const int16_t *x = in;
    int16_t *y = out;
    int32_t row;
    for (row = 0; row < op->rows; row++, x += op->n, y += op->n) {
        softmax_of_row(op, x, y);
    }
}
