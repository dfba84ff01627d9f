/* Operators of a network in single precision, whose weights are int8 or float.
 *
 * Every sum is taken in one order, whatever the processor, and nothing is fused: equal inputs give
 * equal bytes everywhere. LiteRT sums in another order; its values are the same but for rounding. */
#ifndef LISTEN_KERNELS32_H
#define LISTEN_KERNELS32_H

#include <math.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How products of a layer become its output: sum * scale + bias of the channel, within limits.
 * Weights are either whole or singles. */
typedef struct {
    const int8_t *whole;
    const float *singles;
    const float *scales;
    const float *bias;
    float low, high;
} listen_sums32;

/* `rows` products of `n_in` values with a matrix of (n_out, n_in) weights. */
typedef struct {
    int32_t rows, n_in, n_out;
    listen_sums32 sums;
} listen_dense32;

/* A convolution of (out_channels, kernel_height, kernel_width, in_channels) weights; a depthwise
 * one has (kernel_height, kernel_width, channels). */
typedef struct {
    int32_t in_height, in_width, in_channels;
    int32_t out_height, out_width, out_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, dilation_y, dilation_x;
    int32_t pad_top, pad_left;
    listen_sums32 sums;
} listen_conv32;

/* Two tensors value by value; operands repeat after `period` values. */
typedef struct {
    int32_t n, period_a, period_b;
    float low, high;
} listen_pairwise32;

typedef struct {
    int32_t outer, n, inner;
} listen_mean32;

/* (rows, n) times (n, columns), `batches` times. */
typedef struct {
    int32_t batches, rows, n, columns;
} listen_matmul32;

/* Each row's exponentials by their sum. */
typedef struct {
    int32_t rows, n;
    float beta;
} listen_softmax32;

void listen_dense32_run(const listen_dense32 *op, const void *in, void *out);
/* `scratch` has room for four patches, aligned to four bytes. */
void listen_conv32_run(const listen_conv32 *op, const void *in, void *out, void *scratch);
void listen_depthwise32_run(const listen_conv32 *op, const void *in, void *out);
void listen_add32_run(const listen_pairwise32 *op, const void *a, const void *b, void *out);
void listen_sub32_run(const listen_pairwise32 *op, const void *a, const void *b, void *out);
void listen_mul32_run(const listen_pairwise32 *op, const void *a, const void *b, void *out);
void listen_div32_run(const listen_pairwise32 *op, const void *a, const void *b, void *out);
void listen_mean32_run(const listen_mean32 *op, const void *in, void *out);
void listen_matmul32_run(const listen_matmul32 *op, const void *a, const void *b, void *out);
void listen_softmax32_run(const listen_softmax32 *op, const void *in, void *out);
void listen_relu32_run(int32_t n, const void *in, void *out);
void listen_hard_swish32_run(int32_t n, const void *in, void *out);
void listen_logistic32_run(int32_t n, const void *in, void *out);

#ifdef __cplusplus
}
#endif

#endif
