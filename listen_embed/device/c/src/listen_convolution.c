/* Convolutions as products of matrices: two pixels with two channels at once. */
#include "listen_rescaling.h"

/* ---- sums of products ---- */

#if LISTEN_SIMD && !LISTEN_VECTORS

/* Two rows of bytes, side by side in 16 bits: of each four bytes 0 and 2 in one word, 1 and 3 in
 * another one. Four of a row lie `apart` from the next four. */
static LISTEN_APART void widen(const int8_t *a, const int8_t *b, int32_t apart, uint32_t *out,
                               int32_t n)
{
    const uint32_t *end = out + n;
    for (; out < end; a += apart, b += apart, out += 4) {
        uint32_t first = word(a), second = word(b);
        out[0] = even_bytes(first);
        out[1] = even_bytes(second);
        out[2] = odd_bytes(first);
        out[3] = odd_bytes(second);
    }
}

/* Two values of each pixel and of each channel. */
#define TWO_DEEP                           \
    "ldrd %[w0], %[w1], [%[w]], #8\n"      \
    "ldrd %[x0], %[x1], [%[x]], #8\n"      \
    "smlad %[s0], %[w0], %[x0], %[s0]\n"   \
    "smlad %[s1], %[w0], %[x1], %[s1]\n"   \
    "smlad %[s2], %[w1], %[x0], %[s2]\n"   \
    "smlad %[s3], %[w1], %[x1], %[s3]\n"

/* Two pixels with the weights of two channels, all of them widened; returns the next weights.
 * Compilers find too few of the fourteen registers for this loop. */
static inline const uint32_t *wide_dots(const uint32_t *x, const uint32_t *end, const uint32_t *w,
                                        int32_t sums[4])
{
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    uint32_t x0, x1, w0, w1;
    __asm__ volatile("0:\n" TWO_DEEP TWO_DEEP TWO_DEEP TWO_DEEP
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

#elif !LISTEN_VECTORS

/* One value of each pixel with one of each channel, which lie four apart. */
static inline void add_four(int32_t x, int32_t y, const int8_t *w, int32_t sums[4])
{
    sums[0] += x * w[0];
    sums[1] += y * w[0];
    sums[2] += x * w[4];
    sums[3] += y * w[4];
}

static inline const int8_t *dots(const int8_t *a, const int8_t *b, int32_t n, const int8_t *w,
                                 int32_t sums[4])
{
    const int8_t *end = a + n;
    for (; a < end; a += 4, b += 4, w += 8) {
        add_four(a[0], b[0], w, sums);
        add_four(a[1], b[1], w + 1, sums);
        add_four(a[2], b[2], w + 2, sums);
        add_four(a[3], b[3], w + 3, sums);
    }
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

/* Two pixels, `depth` values of each, and where their outputs go, which lie `apart`. */
typedef struct {
    const int8_t *a, *b;
    int8_t *out;
    int32_t apart;
} listen_pair;

/* Scratch memory: two pixels widened, then their values where these are gathered, then weights. */
typedef struct {
    uint32_t *x;
    int8_t *patches;
    uint32_t *weights;
} listen_room;

#if LISTEN_VECTORS
#include "listen_vectors.h"
#else

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

#if LISTEN_SIMD

/* Pairs of channels with weights that are widened. */
static LISTEN_APART void run_wide(const listen_conv *op, const listen_room *room, int8_t *out,
                                  int32_t apart, const listen_channel *channel, int32_t n)
{
    const listen_steps steps = op->steps; /* which outputs could change, as a compiler sees it */
    const uint32_t *x = room->x, *end = x + op->depth, *w = room->weights;
    const int8_t *last = out + n;
    int32_t sums[4];
    w += op->is_wide ? (channel - op->channels) / 2 * op->depth : 0;
    for (; out < last; out += 2, channel += 2) {
        sums[0] = sums[1] = channel[0].bias;
        sums[2] = sums[3] = channel[1].bias;
        w = wide_dots(x, end, w, sums);
        finish_four(&steps, channel[0].rate, channel[1].rate, sums);
        put_four(steps.table, sums, out, apart);
    }
}

/* The same where there is room for the weights of one pair of channels. */
static void run_narrow(const listen_conv *op, const listen_room *room, int8_t *out, int32_t apart,
                       const listen_channel *channel, int32_t n)
{
    int32_t i;
    for (i = 0; i < n; i += 2, channel += 2) {
        const int8_t *weights = op->weights + (channel - op->channels) * op->depth;
        widen(weights, weights + 4, 8, room->weights, op->depth);
        run_wide(op, room, out + i, apart, channel, 2);
    }
}

static inline void run_channels(const listen_conv *op, const listen_room *room,
                                const listen_pair *pair, int8_t *out, int32_t apart, int32_t from,
                                int32_t n)
{
    (void)pair;
    if (op->is_wide) {
        run_wide(op, room, out, apart, op->channels + from, n);
    } else {
        run_narrow(op, room, out, apart, op->channels + from, n);
    }
}

static inline void widen_pair(const listen_conv *op, const listen_room *room,
                              const listen_pair *pair)
{
    widen(pair->a, pair->b, 4, room->x, op->depth);
}

static void widen_all(const listen_conv *op, const listen_room *room)
{
    if (op->is_wide) {
        int32_t pairs = (op->place.out_channels + 1) / 2;
        widen(op->weights, op->weights + 4, 8, room->weights, pairs * op->depth);
    }
}

#else

static void run_channels(const listen_conv *op, const listen_room *room, const listen_pair *pair,
                         int8_t *out, int32_t apart, int32_t from, int32_t n)
{
    const listen_steps steps = op->steps;
    const listen_channel *channel = op->channels + from;
    const int8_t *w = op->weights + from * op->depth, *last = out + n;
    int32_t sums[4];
    (void)room;
    for (; out < last; out += 2, channel += 2) {
        sums[0] = sums[1] = channel[0].bias;
        sums[2] = sums[3] = channel[1].bias;
        w = dots(pair->a, pair->b, op->depth, w, sums);
        finish_four(&steps, channel[0].rate, channel[1].rate, sums);
        put_four(steps.table, sums, out, apart);
    }
}

static void widen_pair(const listen_conv *op, const listen_room *room, const listen_pair *pair)
{
    (void)op;
    (void)room;
    (void)pair;
}

static void widen_all(const listen_conv *op, const listen_room *room)
{
    (void)op;
    (void)room;
}

#endif

#endif

/* The last one of an odd number of channels: it has a partner of zeros, which is not kept. */
static void run_last(const listen_conv *op, const listen_room *room, const listen_pair *pair)
{
    int32_t from = op->place.out_channels - 1;
    int8_t both[4];
    run_channels(op, room, pair, both, 2, from, 2);
    pair->out[pair->apart + from] = both[2];
    pair->out[from] = both[0];
}

static listen_room room_in(const listen_conv *op, void *scratch, int direct)
{
    listen_room room;
    size_t n = direct ? 0 : 2 * (size_t)op->depth;
    room.x = scratch;
    room.patches = (int8_t *)(room.x + op->depth);
    room.weights = room.x + op->depth + n / 4;
    memset(room.patches, 0, n);
    return room;
}

void listen_conv_run(const listen_conv *op, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t pixel, depth = op->depth, channels = op->place.out_channels;
    int32_t pixels = (int32_t)op->place.out_height * op->place.out_width;
    int direct = !LISTEN_ANY_PATCHES || is_pointwise(op);
    listen_room room = room_in(op, scratch, direct);
    listen_pair pair;
    widen_all(op, &room);
    for (pixel = 0; pixel < pixels; pixel += 2) {
        int32_t next = pixel + 1 < pixels; /* the last of an odd number goes with itself */
        pair.a = direct ? in + pixel * depth : room.patches;
        pair.b = direct ? pair.a + next * depth : room.patches + depth;
        pair.out = out + pixel * channels;
        pair.apart = next * channels;
        if (!direct) {
            gather(op, in, pixel, room.patches);
            gather(op, in, pixel + next, room.patches + depth);
        }
        widen_pair(op, &room, &pair);
        run_channels(op, &room, &pair, pair.out, pair.apart, 0, channels & ~1);
        if (channels & 1) {
            run_last(op, &room, &pair);
        }
    }
}
