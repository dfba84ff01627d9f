/* Operators of a quantised network in plain C99: no heap, no globals, no dependency.
 *
 * Tensors are int8, channels last. Two roundings exist for one .tflite, and LISTEN_REFERENCE of
 * listen_model.h says which of them is compiled: 0 rescales sums in single precision, as LiteRT
 * with XNNPACK does; 1 rescales them with integer multipliers, as TensorFlow Lite for
 * Microcontrollers does. Both are exact, to the last bit, on every processor.
 */
#ifndef LISTEN_KERNELS_H
#define LISTEN_KERNELS_H

#include <stdint.h>

#include "listen_model.h"
#include "listen_rounding.h"

#ifdef __cplusplus
extern "C" {
#endif

#if LISTEN_REFERENCE
typedef listen_exact listen_factor;
#else
typedef float listen_factor;
#endif

/* How 32-bit sums become int8: by a factor, a zero point, and limits. */
typedef struct {
    int32_t zero;
    int32_t low;
    int32_t high;
} listen_range;

/* How much of a step of the output each step of a channel's sum is. Not negative, it is a whole
 * multiplier: (sum * rate / 2^32 + offset) >> shift. Negative, it is a factor in single precision,
 * its bits with a sign: of the few channels that no whole multiplier rounds alike. */
#if LISTEN_REFERENCE
typedef listen_exact listen_rate;
#else
typedef int32_t listen_rate;
#endif

/* What a channel's sum begins with, the input's zero point taken out, and its rate. */
typedef struct {
    int32_t bias;
    listen_rate rate;
} listen_channel;

/* How sums become what a convolution gives. `table`, if any, is a function that follows it: it
 * points to the function of 0, between that of -1 and that of 1. */
typedef struct {
    int32_t zero;
#if !LISTEN_REFERENCE
    int32_t offset, shift;
#endif
    const int8_t *table;
} listen_steps;

/* Where a kernel lies on an image. */
typedef struct {
    int32_t in_width, out_width; /* of a waveform they are long */
    int16_t in_height, in_channels;
    int16_t out_height, out_channels;
    int16_t kernel_height, kernel_width;
    int16_t pad_top, pad_left;
    uint8_t stride_y, stride_x, dilation_y, dilation_x;
} listen_geometry;

/* Convolution and, with one pixel, a fully connected layer. An output channel has
 * kernel_height * kernel_width * in_channels weights, then zeros up to `depth`, a multiple of eight.
 * `weights` holds channels in pairs: four of the one, four of the other, and so on; a missing last
 * channel is zeros, in `channels` too. */
typedef struct {
    listen_geometry place;
    int32_t depth;
    int32_t in_zero;
    int32_t is_wide; /* whether the scratch memory has room for all weights in 16 bits */
    const int8_t *weights;
    const listen_channel *channels;
    listen_steps steps;
} listen_conv;

/* One filter for each channel; or several of an input's only channel. `weights` are those of the
 * first filter, row by row, of the second, and so on. */
typedef struct {
    listen_geometry place;
    int32_t tile; /* columns of the output that are computed before all others, a multiple of four */
    int32_t in_zero;
    const int8_t *weights;
    const listen_channel *channels;
    listen_steps steps;
} listen_depthwise;

/* a + b; operands repeat after `period` values. */
typedef struct {
    int32_t n, period_a, period_b;
    int32_t zero_a, zero_b;
#if LISTEN_REFERENCE
    listen_factor factor_a, factor_b, factor_out;
#else
    int32_t factor_a, factor_b, shift;
#endif
    listen_range range;
} listen_add;

/* a - b of `rows` times `columns`: for each operand, how far its next row and column are. */
typedef struct {
    listen_add terms; /* factor_b takes b away where the factors are whole */
    int32_t rows, columns;
    int32_t row_a, column_a, row_b, column_b;
} listen_subtract;

/* a * b; operands repeat after `period` values. */
typedef struct {
    int32_t n, period_a, period_b;
    int32_t zero_a, zero_b;
    listen_rate rate;
    listen_steps steps;
} listen_mul;

/* The mean over the middle one of three axes. `bias` and `offset` take the zero points into account:
 * the one before the rescaling, in reference rounding, the other after it. */
typedef struct {
    int32_t outer, n, inner;
    int32_t bias;
    listen_factor factor, offset;
    listen_range range;
} listen_mean;

/* The mean of the values under a window, of those that lie inside, for each channel. */
typedef struct {
    int32_t in_height, in_width, channels;
    int32_t out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x;
    int32_t pad_top, pad_left;
    listen_range range;
} listen_pool;

/* (rows, n) times (n, columns), `batches` times; both roundings are the same here. */
typedef struct {
    int32_t batches, rows, n, columns;
    int32_t zero_a, zero_b;
    listen_exact factor;
    listen_range range;
} listen_matmul;

/* Each row's exponentials by their sum, in steps of 1/256 from -128 on. `exponentials` has 256
 * values: of the peak, of one step below it, and so on. */
typedef struct {
    int32_t rows, n;
#if LISTEN_REFERENCE
    const int32_t *exponentials; /* times 2^31 */
#else
    const float *exponentials;
#endif
} listen_softmax;

/* Up to four axes in another order: output axis i steps through the input by strides[i] bytes. */
typedef struct {
    int32_t item; /* bytes of a value */
    int32_t sizes[4];
    int32_t strides[4];
} listen_transpose;

/* A frame of one value around four axes. */
typedef struct {
    int32_t sizes[4];
    int32_t before[4];
    int32_t after[4];
    int32_t value;
} listen_pad;

/* `scratch` is memory that the planner set aside, aligned to four bytes. */
void listen_conv_run(const listen_conv *op, const int8_t *in, int8_t *out, void *scratch);
void listen_depthwise_run(const listen_depthwise *op, const int8_t *in, int8_t *out, void *scratch);
void listen_add_run(const listen_add *op, const int8_t *a, const int8_t *b, int8_t *out);
void listen_subtract_run(const listen_subtract *op, const int8_t *a, const int8_t *b, int8_t *out);
void listen_mul_run(const listen_mul *op, const int8_t *a, const int8_t *b, int8_t *out);
void listen_mean_run(const listen_mean *op, const int8_t *in, int8_t *out);
void listen_pool_run(const listen_pool *op, const int8_t *in, int8_t *out);
void listen_matmul_run(const listen_matmul *op, const int8_t *a, const int8_t *b, int8_t *out);
void listen_softmax_run(const listen_softmax *op, const int8_t *in, int8_t *out);
/* Any function of one value: table[value + 128]. */
void listen_table_run(const int8_t *table, int32_t n, const int8_t *in, int8_t *out);
void listen_transpose_run(const listen_transpose *op, const void *in, void *out);
void listen_pad_run(const listen_pad *op, const int8_t *in, int8_t *out);
/* Copy `n` pieces of `size` bytes that lie `from` and `to` bytes apart. */
void listen_copy_run(int32_t n, int32_t size, int32_t from, int32_t to, const void *in, void *out);

#ifdef __cplusplus
}
#endif

#endif
