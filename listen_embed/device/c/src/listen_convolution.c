/* Convolutions as products of matrices: two pixels with two channels at once. */
#include "listen_rescaling.h"

/* ---- sums of products ---- */

#if LISTEN_SIMD

/* Of each four bytes 0 and 2 become one word, 1 and 3 another one, two words behind: between them
 * lie those of a second row. */
static void widen(const int8_t *in, uint32_t *out, int32_t n)
{
    const int8_t *end = in + n;
    for (; in < end; in += 4, out += 4) {
        uint32_t packed = word(in);
        out[0] = even_bytes(packed);
        out[2] = odd_bytes(packed);
    }
}

/* Two pixels, widened, with the weights of two channels as they are stored. */
static void narrow_dots(const uint32_t *x, const int8_t *w, int32_t n, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint32_t *end = x + n;
    do {
        uint32_t first = word(w), second = word(w + 4);
        uint32_t w0 = even_bytes(first), w1 = even_bytes(second);
        uint32_t x0 = x[0], x1 = x[1];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w0, x1);
        s2 = add_products(s2, w1, x0);
        s3 = add_products(s3, w1, x1);
        w0 = odd_bytes(first);
        w1 = odd_bytes(second);
        x0 = x[2];
        x1 = x[3];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w0, x1);
        s2 = add_products(s2, w1, x0);
        s3 = add_products(s3, w1, x1);
        w += 8;
        x += 4;
    } while (x != end);
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* The same with weights that are widened, as the pixels are. */
static void wide_dots(const uint32_t *x, const uint32_t *w, int32_t n, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint32_t *end = x + n;
    do {
        uint32_t w0 = w[0], w1 = w[1], x0 = x[0], x1 = x[1];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w0, x1);
        s2 = add_products(s2, w1, x0);
        s3 = add_products(s3, w1, x1);
        w0 = w[2];
        w1 = w[3];
        x0 = x[2];
        x1 = x[3];
        s0 = add_products(s0, w0, x0);
        s1 = add_products(s1, w0, x1);
        s2 = add_products(s2, w1, x0);
        s3 = add_products(s3, w1, x1);
        w += 4;
        x += 4;
    } while (x != end);
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#else

static void dots(const int8_t *a, const int8_t *b, const int8_t *w, int32_t n, int32_t sums[4])
{
    int32_t i, s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const int8_t *end = a + n;
    for (; a < end; a += 4, b += 4, w += 8) {
        for (i = 0; i < 4; i++) {
            s0 += a[i] * w[i];
            s1 += b[i] * w[i];
            s2 += a[i] * w[i + 4];
            s3 += b[i] * w[i + 4];
        }
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#endif

/* ---- pixels ---- */

/* Write the values under the kernel at one output pixel, one tap after the other. */
static void gather(const listen_conv *op, const int8_t *in, int32_t pixel, int8_t *patch)
{
    const listen_geometry *at = &op->window;
    int32_t ky, kx, channels = at->in_channels;
    int32_t top = pixel / at->out_width * at->stride_y - at->pad_top;
    int32_t left = pixel % at->out_width * at->stride_x - at->pad_left;
    for (ky = 0; ky < at->kernel_height; ky++) {
        int32_t y = top + ky * at->dilation_y;
        for (kx = 0; kx < at->kernel_width; kx++, patch += channels) {
            int32_t x = left + kx * at->dilation_x;
            if (y < 0 || y >= at->in_height || x < 0 || x >= at->in_width) {
                memset(patch, op->in_zero, (size_t)channels);
            } else {
                memcpy(patch, in + (y * at->in_width + x) * channels, (size_t)channels);
            }
        }
    }
}

static int is_pointwise(const listen_conv *op)
{
    const listen_geometry *at = &op->window;
    return at->kernel_height == 1 && at->kernel_width == 1 && at->stride_y == 1 &&
           at->stride_x == 1 && at->in_channels == op->depth;
}

/* ---- pairs of pixels with pairs of channels ---- */

/* What two pixels are multiplied with, and from where. */
typedef struct {
    const int8_t *a, *b; /* the pixels' values, `depth` of each */
    uint32_t *x;         /* them widened, where that is done */
    const void *weights;
} listen_pair;

static inline void pair_dots(const listen_conv *op, const listen_pair *pair, int32_t channel,
                             int32_t sums[4])
{
    int32_t depth = op->depth;
#if LISTEN_SIMD
    if (op->is_wide) {
        wide_dots(pair->x, (const uint32_t *)pair->weights + channel * depth / 2, depth, sums);
    } else {
        narrow_dots(pair->x, (const int8_t *)pair->weights + channel * depth, depth, sums);
    }
#else
    dots(pair->a, pair->b, (const int8_t *)pair->weights + channel * depth, depth, sums);
#endif
}

/* Both pixels' channels; a last one has a partner of zeros, which is not kept. */
static void pixel_pair(const listen_conv *op, const listen_pair *pair, int8_t *a, int8_t *b)
{
    int32_t channel, sums[4], channels = op->window.out_channels;
    for (channel = 0; channel < channels; channel += 2) {
        sums[0] = sums[1] = op->bias[channel];
        sums[2] = sums[3] = op->bias[channel + 1];
        pair_dots(op, pair, channel, sums);
        finish_two(&op->steps, op->rates[channel], &sums[0], &sums[1]);
        b[channel] = (int8_t)sums[1];
        a[channel] = (int8_t)sums[0];
        if (channel + 1 < channels) {
            finish_two(&op->steps, op->rates[channel + 1], &sums[2], &sums[3]);
            b[channel + 1] = (int8_t)sums[3];
            a[channel + 1] = (int8_t)sums[2];
        }
    }
}

/* Scratch memory holds two pixels widened, their values where they are gathered, and the weights
 * widened where there is room for that. */
static void prepare(const listen_conv *op, void *scratch, listen_pair *pair, int8_t **patches)
{
    int32_t depth = op->depth;
    pair->x = scratch;
    pair->weights = op->weights;
    *patches = (int8_t *)(pair->x + depth);
    memset(*patches, 0, (size_t)(is_pointwise(op) ? 0 : 2 * depth));
#if LISTEN_SIMD
    if (op->is_wide) {
        uint32_t *weights = pair->x + depth + (is_pointwise(op) ? 0 : depth / 2);
        int32_t i, n = (op->window.out_channels + 1) / 2 * 2 * depth;
        for (i = 0; i < n; i += 8) {
            widen(op->weights + i, weights + i / 2, 4);
            widen(op->weights + i + 4, weights + i / 2 + 1, 4);
        }
        pair->weights = weights;
    }
#endif
}

static inline const int8_t *pixel_at(const listen_conv *op, const int8_t *in, int32_t pixel,
                                     int8_t *patch)
{
    if (is_pointwise(op)) {
        return in + pixel * op->depth;
    }
    gather(op, in, pixel, patch);
    return patch;
}

void listen_conv_run(const listen_conv *op, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t pixel, depth = op->depth, channels = op->window.out_channels;
    int32_t pixels = (int32_t)op->window.out_height * op->window.out_width;
    int8_t *patches;
    listen_pair pair;
    prepare(op, scratch, &pair, &patches);
    for (pixel = 0; pixel < pixels; pixel += 2, out += 2 * channels) {
        int32_t next = pixel + 1 < pixels; /* the last of an odd number goes with itself */
        pair.a = pixel_at(op, in, pixel, patches);
        pair.b = pixel_at(op, in, pixel + next, patches + depth);
#if LISTEN_SIMD
        widen(pair.a, pair.x, depth);
        widen(pair.b, pair.x + 1, depth);
#endif
        pixel_pair(op, &pair, out, out + next * channels);
    }
}
