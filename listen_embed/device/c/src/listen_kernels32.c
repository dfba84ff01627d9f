#include "listen_kernels32.h"

#include <string.h>

#include "listen_apart.h"
#include "listen_contract.h"

#define ROWS 4
#define CHANNELS 4

/* Where the taps of a depthwise kernel lie that are inside the image: values from tap to tap, and
 * from the end of a row of taps to the next. */
typedef struct {
    int32_t rows, columns;
    int32_t x_step, w_step, x_row, w_row;
} listen_taps;

static inline float within(float value, float low, float high)
{
    value = value < low ? low : value;
    return value > high ? high : value;
}

static inline float finished(const listen_sums32 *op, int32_t channel, float sum)
{
    return within(sum * op->scales[channel] + op->bias[channel], op->low, op->high);
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t most(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

#define WEIGHT int8_t
#define OF(name) name##_of_whole
#include "listen_sums32.h"
#undef WEIGHT
#undef OF
#define WEIGHT float
#define OF(name) name##_of_singles
#include "listen_sums32.h"
#undef WEIGHT
#undef OF

/* ---- rows with a matrix ---- */

/* Up to ROWS rows of `n` values, one after the other; those that are missing are the last one. */
static void multiply(const listen_sums32 *op, const float *x, int32_t n_rows, int32_t n,
                     int32_t n_out, float *y)
{
    const float *rows[ROWS];
    float sums[ROWS * CHANNELS];
    int32_t row, channel, i;
    for (row = 0; row < ROWS; row++) {
        rows[row] = x + least(row, n_rows - 1) * n;
    }
    for (channel = 0; channel < n_out; channel += CHANNELS) {
        int32_t together = least(CHANNELS, n_out - channel);
        if (op->whole) {
            products_of_whole(rows, n_rows, op->whole + channel * n, together, n, sums);
        } else {
            products_of_singles(rows, n_rows, op->singles + channel * n, together, n, sums);
        }
        for (i = 0; i < together; i++) {
            float scale = op->scales[channel + i], bias = op->bias[channel + i];
            for (row = 0; row < n_rows; row++) {
                y[row * n_out + channel + i] =
                    within(sums[CHANNELS * row + i] * scale + bias, op->low, op->high);
            }
        }
    }
}

void listen_dense32_run(const listen_dense32 *op, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t row;
    for (row = 0; row < op->rows; row += ROWS) {
        multiply(&op->sums, x + row * op->n_in, least(ROWS, op->rows - row), op->n_in, op->n_out,
                 y + row * op->n_out);
    }
}

void listen_matmul32_run(const listen_matmul32 *op, const void *a, const void *b, void *out)
{
    const float *left = a, *right = b;
    float *y = out;
    int32_t batch, row, column, i;
    for (batch = 0; batch < op->batches; batch++, right += op->n * op->columns) {
        for (row = 0; row < op->rows; row++, left += op->n) {
            for (column = 0; column < op->columns; column++) {
                float sum = 0.0f;
                for (i = 0; i < op->n; i++) {
                    sum += left[i] * right[i * op->columns + column];
                }
                *y++ = sum;
            }
        }
    }
}

/* ---- convolutions ---- */

/* The first tap at or after `at` that lies inside, and the number of those that do. */
static int32_t first_tap(int32_t at, int32_t dilation)
{
    return at < 0 ? (-at + dilation - 1) / dilation : 0;
}

static int32_t inside(int32_t at, int32_t dilation, int32_t size, int32_t taps)
{
    int32_t beyond = at < size ? (size - at + dilation - 1) / dilation : 0;
    return most(0, least(taps, beyond) - first_tap(at, dilation));
}

/* What the kernel sees at a place of the output, zeros beyond the image. */
static void gather(const listen_conv32 *op, const float *in, int32_t y, int32_t x, float *patch)
{
    int32_t n = op->in_channels, width = op->kernel_width * n, row, column;
    int32_t at_x = x * op->stride_x - op->pad_left, first = first_tap(at_x, op->dilation_x);
    int32_t columns = inside(at_x, op->dilation_x, op->in_width, op->kernel_width);
    int32_t together = op->dilation_x == 1 ? columns : 1; /* neighbours lie side by side */
    memset(patch, 0, (size_t)(op->kernel_height * width) * sizeof *patch);
    for (row = 0; row < op->kernel_height; row++) {
        int32_t at_y = y * op->stride_y - op->pad_top + row * op->dilation_y;
        if (at_y < 0 || at_y >= op->in_height) {
            continue;
        }
        for (column = first; column < first + columns; column += together) {
            int32_t from = at_y * op->in_width + at_x + column * op->dilation_x;
            memcpy(patch + row * width + column * n, in + from * n,
                   (size_t)(together * n) * sizeof *patch);
        }
    }
}

void listen_conv32_run(const listen_conv32 *op, const void *in, void *out, void *scratch)
{
    int32_t y, x, i, depth = op->kernel_height * op->kernel_width * op->in_channels;
    float *to = out, *patches = scratch;
    for (y = 0; y < op->out_height; y++) {
        for (x = 0; x < op->out_width; x += ROWS) {
            int32_t n = least(ROWS, op->out_width - x);
            for (i = 0; i < n; i++) {
                gather(op, in, y, x + i, patches + i * depth);
            }
            multiply(&op->sums, patches, n, depth, op->out_channels, to);
            to += n * op->out_channels;
        }
    }
}

/* All channels at one place of the output. */
static void all_channels(const listen_sums32 *op, const listen_taps *taps, const float *x,
                         int32_t weight, int32_t n, float *y)
{
    int32_t channel, i;
    float sums[CHANNELS];
    for (channel = 0; channel < n; channel += i) {
        const float *from = x + channel;
        int32_t at = weight + channel;
        int32_t together = n - channel >= CHANNELS ? CHANNELS : 1;
        if (op->whole) {
            (together == 1 ? tap_of_whole : taps_of_whole)(taps, from, op->whole + at, sums);
        } else {
            (together == 1 ? tap_of_singles : taps_of_singles)(taps, from, op->singles + at, sums);
        }
        for (i = 0; i < together; i++) {
            y[channel + i] = finished(op, channel + i, sums[i]);
        }
    }
}

void listen_depthwise32_run(const listen_conv32 *op, const void *in, void *out)
{
    int32_t y, x, n = op->in_channels;
    float *to = out;
    listen_taps taps;
    taps.x_step = op->dilation_x * n;
    taps.w_step = n;
    for (y = 0; y < op->out_height; y++) {
        int32_t at_y = y * op->stride_y - op->pad_top;
        int32_t row = first_tap(at_y, op->dilation_y);
        taps.rows = inside(at_y, op->dilation_y, op->in_height, op->kernel_height);
        for (x = 0; x < op->out_width; x++, to += n) {
            int32_t at_x = x * op->stride_x - op->pad_left;
            int32_t column = first_tap(at_x, op->dilation_x);
            int32_t from = (at_y + row * op->dilation_y) * op->in_width + at_x +
                           column * op->dilation_x;
            taps.columns = inside(at_x, op->dilation_x, op->in_width, op->kernel_width);
            taps.x_row = op->dilation_y * op->in_width * n - taps.columns * taps.x_step;
            taps.w_row = (op->kernel_width - taps.columns) * n;
            all_channels(&op->sums, &taps, (const float *)in + from * n,
                         (row * op->kernel_width + column) * n, n, to);
        }
    }
}

/* ---- value by value ---- */

static inline int32_t following(int32_t i, int32_t period)
{
    return i + 1 == period ? 0 : i + 1;
}

#define PAIRWISE(name, sign)                                                                       \
    void listen_##name##32_run(const listen_pairwise32 *op, const void *a, const void *b,          \
                               void *out)                                                          \
    {                                                                                              \
        const float *left = a, *right = b;                                                         \
        float *y = out;                                                                            \
        int32_t i, i_a = 0, i_b = 0;                                                               \
        for (i = 0; i < op->n; i++) {                                                              \
            y[i] = within(left[i_a] sign right[i_b], op->low, op->high);                           \
            i_a = following(i_a, op->period_a);                                                    \
            i_b = following(i_b, op->period_b);                                                    \
        }                                                                                          \
    }

PAIRWISE(add, +)
PAIRWISE(sub, -)
PAIRWISE(mul, *)
PAIRWISE(div, /)

void listen_relu32_run(int32_t n, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t i;
    for (i = 0; i < n; i++) {
        y[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}

void listen_hard_swish32_run(int32_t n, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t i;
    for (i = 0; i < n; i++) {
        y[i] = x[i] * (within(x[i] + 3.0f, 0.0f, 6.0f) * 0.16666667f);
    }
}

/* e^x, the same on all machines, which libm's is not: e^x = 2^k e^r with r within half of ln 2,
 * where seven terms of Taylor's series are within half a step of single precision. */
static float exponential(float x)
{
    float k, r, sum;
    uint32_t bits;
    x = x > -87.0f ? x : -87.0f;
    x = x < 87.0f ? x : 87.0f;
    k = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: to the nearest whole number */
    memcpy(&bits, &k, sizeof bits);
    k -= 12582912.0f;
    r = x - k * 0.693359375f + k * 2.12194440e-4f; /* ln 2 in two parts */
    sum = 1.0f / 5040.0f;
    sum = sum * r + 1.0f / 720.0f;
    sum = sum * r + 1.0f / 120.0f;
    sum = sum * r + 1.0f / 24.0f;
    sum = sum * r + 1.0f / 6.0f;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    bits = (bits - 0x4B400000u + 127u) << 23;
    memcpy(&k, &bits, sizeof k);
    return sum * k;
}

void listen_logistic32_run(int32_t n, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t i;
    for (i = 0; i < n; i++) {
        y[i] = 1.0f / (1.0f + exponential(-x[i]));
    }
}

static float largest(const float *x, int32_t n)
{
    float peak = x[0];
    int32_t i;
    for (i = 1; i < n; i++) {
        peak = x[i] > peak ? x[i] : peak;
    }
    return peak;
}

void listen_softmax32_run(const listen_softmax32 *op, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t row, i;
    for (row = 0; row < op->rows; row++, x += op->n, y += op->n) {
        float peak = largest(x, op->n), sum = 0.0f;
        for (i = 0; i < op->n; i++) {
            y[i] = exponential((x[i] - peak) * op->beta);
            sum += y[i];
        }
        for (i = 0; i < op->n; i++) {
            y[i] /= sum;
        }
    }
}

/* ---- reductions ---- */

void listen_mean32_run(const listen_mean32 *op, const void *in, void *out)
{
    const float *x = in;
    float *y = out;
    int32_t outer, i, inner;
    for (outer = 0; outer < op->outer; outer++, x += op->n * op->inner) {
        for (inner = 0; inner < op->inner; inner++) {
            float sum = 0.0f;
            for (i = 0; i < op->n; i++) {
                sum += x[i * op->inner + inner];
            }
            *y++ = sum / (float)op->n;
        }
    }
}
