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

/* Two pixels, widened, with the weights of two channels as they are stored; returns the next ones.
 * Compilers find too few of the fourteen registers for this loop. */
static inline const void *narrow_dots(const uint32_t *x, const void *w, int32_t n, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint32_t *end = x + n;
    uint32_t x0, x1, even0, even1, odd0, odd1;
    __asm__ volatile("0: ldr %[odd0], [%[w]], #4\n" /* from any address, as ldrd does not */
                     "ldr %[odd1], [%[w]], #4\n"
                     "ldrd %[x0], %[x1], [%[x]], #8\n"
                     "sxtb16 %[even0], %[odd0]\n"
                     "sxtb16 %[even1], %[odd1]\n"
                     "smlad %[s0], %[even0], %[x0], %[s0]\n"
                     "smlad %[s1], %[even0], %[x1], %[s1]\n"
                     "smlad %[s2], %[even1], %[x0], %[s2]\n"
                     "smlad %[s3], %[even1], %[x1], %[s3]\n"
                     "ldrd %[x0], %[x1], [%[x]], #8\n"
                     "sxtb16 %[odd0], %[odd0], ror #8\n"
                     "sxtb16 %[odd1], %[odd1], ror #8\n"
                     "smlad %[s0], %[odd0], %[x0], %[s0]\n"
                     "smlad %[s1], %[odd0], %[x1], %[s1]\n"
                     "smlad %[s2], %[odd1], %[x0], %[s2]\n"
                     "smlad %[s3], %[odd1], %[x1], %[s3]\n"
                     "cmp %[x], %[end]\n"
                     "bne 0b\n"
                     : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [x] "+r"(x),
                       [w] "+r"(w), [x0] "=&r"(x0), [x1] "=&r"(x1), [even0] "=&r"(even0),
                       [even1] "=&r"(even1), [odd0] "=&r"(odd0), [odd1] "=&r"(odd1)
                     : [end] "r"(end)
                     : "cc", "memory");
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return w;
}

/* The same with weights that are widened, as the pixels are. */
static inline const void *wide_dots(const uint32_t *x, const void *w, int32_t n, int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    const uint32_t *end = x + n;
    uint32_t x0, x1, w0, w1;
    __asm__ volatile("0: ldrd %[w0], %[w1], [%[w]], #8\n"
                     "ldrd %[x0], %[x1], [%[x]], #8\n"
                     "smlad %[s0], %[w0], %[x0], %[s0]\n"
                     "smlad %[s1], %[w0], %[x1], %[s1]\n"
                     "smlad %[s2], %[w1], %[x0], %[s2]\n"
                     "smlad %[s3], %[w1], %[x1], %[s3]\n"
                     "ldrd %[w0], %[w1], [%[w]], #8\n"
                     "ldrd %[x0], %[x1], [%[x]], #8\n"
                     "smlad %[s0], %[w0], %[x0], %[s0]\n"
                     "smlad %[s1], %[w0], %[x1], %[s1]\n"
                     "smlad %[s2], %[w1], %[x0], %[s2]\n"
                     "smlad %[s3], %[w1], %[x1], %[s3]\n"
                     "cmp %[x], %[end]\n"
                     "bne 0b\n"
                     : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [x] "+r"(x),
                       [w] "+r"(w), [x0] "=&r"(x0), [x1] "=&r"(x1), [w0] "=&r"(w0),
                       [w1] "=&r"(w1)
                     : [end] "r"(end)
                     : "cc", "memory");
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
    return w;
}

#else

static inline const void *dots(const int8_t *a, const int8_t *b, const int8_t *w, int32_t n,
                               int32_t sums[4])
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
    return w;
}

#endif

/* ---- pixels ---- */

/* Write the values under the kernel at one output pixel, one tap after the other. */
static void gather(const listen_conv *op, const int8_t *in, int32_t pixel, int8_t *patch)
{
    const listen_geometry *at = &op->place;
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
    const listen_geometry *at = &op->place;
    return at->kernel_height == 1 && at->kernel_width == 1 && at->stride_y == 1 &&
           at->stride_x == 1 && at->in_channels == op->depth;
}

/* ---- pairs of pixels with pairs of channels ---- */

/* Two pixels, as the products take them, and the weights beside them. */
typedef struct {
    const int8_t *a, *b; /* `depth` values of each */
    uint32_t *x;         /* them widened, where that is done */
    const void *weights;
} listen_pair;

#if LISTEN_SIMD

static inline void widen_pair(const listen_pair *pair, int32_t depth)
{
    widen(pair->a, pair->x, depth);
    widen(pair->b, pair->x + 1, depth);
}

/* Weights of two channels lie in turns, four values of each. */
static void widen_weights(const int8_t *in, uint32_t *out, int32_t n)
{
    const int8_t *end = in + n;
    for (; in < end; in += 8, out += 4) {
        widen(in, out, 4);
        widen(in + 4, out + 1, 4);
    }
}

static inline const void *pair_dots(const listen_conv *op, const listen_pair *pair, const void *w,
                                    int32_t sums[4])
{
    if (op->is_wide) {
        return wide_dots(pair->x, w, op->depth, sums);
    }
    return narrow_dots(pair->x, w, op->depth, sums);
}

#else

static inline void widen_pair(const listen_pair *pair, int32_t depth)
{
    (void)pair;
    (void)depth;
}

static inline const void *pair_dots(const listen_conv *op, const listen_pair *pair, const void *w,
                                    int32_t sums[4])
{
    return dots(pair->a, pair->b, w, op->depth, sums);
}

#endif

/* Two channels of two pixels, whose outputs lie `apart`. */
static inline void put_four(const int8_t *table, const int32_t sums[4], int8_t *out, int32_t apart)
{
    int8_t *next = out + apart;
    if (table) {
        next[0] = table[sums[1]];
        next[1] = table[sums[3]];
        out[0] = table[sums[0]];
        out[1] = table[sums[2]];
    } else {
        next[0] = (int8_t)sums[1];
        next[1] = (int8_t)sums[3];
        out[0] = (int8_t)sums[0];
        out[1] = (int8_t)sums[2];
    }
}

/* Pairs of channels of two pixels; returns the next weights. */
static LISTEN_APART const void *run_channels(const listen_conv *op, const listen_pair *pair,
                                             const void *weights, int32_t from, int32_t end,
                                             int8_t *out, int32_t apart)
{
    int32_t sums[4];
    const listen_channel *channel = op->channels + from, *last = op->channels + end;
    for (; channel < last; out += 2, channel += 2) {
        sums[0] = sums[1] = channel[0].bias;
        sums[2] = sums[3] = channel[1].bias;
        weights = pair_dots(op, pair, weights, sums);
        finish_four(&op->steps, channel[0].rate, channel[1].rate, sums);
        put_four(op->steps.table, sums, out, apart);
    }
    return weights;
}

/* Of an odd number of channels the last has a partner of zeros, which is not kept. */
static void run_pair(const listen_conv *op, const listen_pair *pair, int8_t *out, int32_t apart)
{
    int32_t n = op->place.out_channels, even = n & ~1;
    const void *weights = run_channels(op, pair, pair->weights, 0, even, out, apart);
    if (even < n) {
        int8_t both[4];
        run_channels(op, pair, weights, even, n, both, 2);
        out[apart + even] = both[2];
        out[even] = both[0];
    }
}

/* Scratch memory holds two pixels widened, their values where they are gathered, and the weights
 * widened where there is room for that. */
static int8_t *prepare(const listen_conv *op, void *scratch, listen_pair *pair)
{
    int32_t depth = op->depth;
    int8_t *patches;
    pair->x = scratch;
    pair->weights = op->weights;
    patches = (int8_t *)(pair->x + depth);
    memset(patches, 0, (size_t)(2 * depth));
#if LISTEN_SIMD
    if (op->is_wide) {
        uint32_t *wide = pair->x + depth + depth / 2;
        widen_weights(op->weights, wide, (op->place.out_channels + 1) / 2 * 2 * depth);
        pair->weights = wide;
    }
#endif
    return patches;
}

void listen_conv_run(const listen_conv *op, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t pixel, depth = op->depth, channels = op->place.out_channels;
    int32_t pixels = (int32_t)op->place.out_height * op->place.out_width;
    int direct = is_pointwise(op);
    listen_pair pair;
    int8_t *patches = prepare(op, scratch, &pair);
    for (pixel = 0; pixel < pixels; pixel += 2, out += 2 * channels) {
        int32_t next = pixel + 1 < pixels; /* the last of an odd number goes with itself */
        pair.a = direct ? in + pixel * depth : patches;
        pair.b = direct ? pair.a + next * depth : patches + depth;
        if (!direct) {
            gather(op, in, pixel, patches);
            gather(op, in, pixel + next, patches + depth);
        }
        widen_pair(&pair, depth);
        run_pair(op, &pair, out, next * channels);
    }
}
