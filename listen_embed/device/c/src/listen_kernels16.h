/* Operators of a network of int8 weights and int16 activations; zero points are zero.
 *
 * LiteRT and TensorFlow Lite for Microcontrollers both rescale these by integers, each operator in a
 * way of its own, which `rounding` names.
 */
#ifndef LISTEN_KERNELS16_H
#define LISTEN_KERNELS16_H

#include <stdint.h>

#include "listen_rounding.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t low, high;
} listen_range16;

enum {
    LISTEN_TWICE_AWAY, /* to 32 bits, then by the shift; halves away from zero */
    LISTEN_TWICE_UP,   /* to 32 bits, then by the shift, there halves up */
    LISTEN_ONCE,       /* from 64 bits at once, halves up */
    LISTEN_SHORT       /* with the upper 16 bits of the multiplier, halves up */
};

/* `rows` products of `n_in` values with a matrix of (n_out, n_in) weights. */
typedef struct {
    int32_t rows, n_in, n_out, rounding;
    const int8_t *weights;
    const int64_t *bias;
    const listen_exact *factors;
    listen_range16 range;
} listen_dense16;

/* (rows, n) times (n, columns), `batches` times. */
typedef struct {
    int32_t batches, rows, n, columns, rounding;
    listen_exact factor;
} listen_matmul16;

/* a + b, or with `sign` -1 a - b; operands repeat after `period` values, `rounding` is theirs. */
typedef struct {
    int32_t n, period_a, period_b, sign, rounding;
    listen_exact factor_a, factor_b, factor_out;
    listen_range16 range;
} listen_add16;

typedef struct {
    int32_t outer, n, inner;
    listen_exact factor;
} listen_mean16;

/* The value times a factor, within limits. */
typedef struct {
    int32_t n;
    listen_exact factor;
    listen_range16 range;
} listen_scale16;

/* Each row's exponentials by their sum; both tables have 513 values, 128 steps apart. */
typedef struct {
    int32_t rows, n;
    listen_exact factor;
    const int16_t *exponentials;
    const int16_t *reciprocals;
} listen_softmax16;

void listen_dense16_run(const listen_dense16 *op, const void *in, void *out);
void listen_matmul16_run(const listen_matmul16 *op, const void *a, const void *b, void *out);
void listen_add16_run(const listen_add16 *op, const void *a, const void *b, void *out);
void listen_mean16_run(const listen_mean16 *op, const void *in, void *out);
void listen_scale16_run(const listen_scale16 *op, const void *in, void *out);
void listen_softmax16_run(const listen_softmax16 *op, const void *in, void *out);

#ifdef __cplusplus
}
#endif

#endif
