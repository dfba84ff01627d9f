/* Pairs of pixels with pairs of channels, by Helium: sixteen products at once.
 *
 * For listen_convolution.c alone. */
#ifndef LISTEN_VECTORS_H
#define LISTEN_VECTORS_H

/* Weights of two channels lie in turns, four values of each; here, one behind the other. */
static LISTEN_APART void part(const int8_t *in, int8_t *first, int32_t depth)
{
    const int8_t *end = first + depth;
    int8_t *second = first + depth;
    for (; first < end; in += 8, first += 4, second += 4) {
        memcpy(first, in, 4);
        memcpy(second, in + 4, 4);
    }
}

static void part_pairs(const listen_conv *op, const int8_t *in, int8_t *out, int32_t pairs)
{
    int32_t size = 2 * op->depth;
    for (; pairs > 0; pairs--, in += size, out += size) {
        part(in, out, op->depth);
    }
}

/* Sums of products of two pixels with two channels: `depth` is a multiple of eight. */
static inline void vector_dots(const int8_t *a, const int8_t *b, const int8_t *first, int32_t depth,
                               int32_t *of_a, int32_t *of_b)
{
    const int8_t *second = first + depth;
    int32_t left, s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (left = depth >> 4; left > 0; left--, a += 16, b += 16, first += 16, second += 16) {
        int8x16_t x = vldrbq_s8(a), y = vldrbq_s8(b);
        int8x16_t v = vldrbq_s8(first), w = vldrbq_s8(second);
        s0 = vmladavaq_s8(s0, x, v);
        s1 = vmladavaq_s8(s1, y, v);
        s2 = vmladavaq_s8(s2, x, w);
        s3 = vmladavaq_s8(s3, y, w);
    }
    if (depth & 8) {
        int16x8_t x = vldrbq_s16(a), y = vldrbq_s16(b);
        int16x8_t v = vldrbq_s16(first), w = vldrbq_s16(second);
        s0 = vmladavaq_s16(s0, x, v);
        s1 = vmladavaq_s16(s1, y, v);
        s2 = vmladavaq_s16(s2, x, w);
        s3 = vmladavaq_s16(s3, y, w);
    }
    of_a[0] = s0;
    of_b[0] = s1;
    of_a[1] = s2;
    of_b[1] = s3;
}

#if LISTEN_REFERENCE

static void finish_row(const listen_conv *op, const listen_channel *channel, const int32_t *sums,
                       int32_t n, int8_t *out)
{
    const listen_channel *end = channel + n;
    for (; channel < end; channel++, sums++) {
        int32_t value = stepped(&op->steps, *sums + channel->bias, channel->rate);
        *out++ = looked_up(op->steps.table, value);
    }
}

#else

/* The few lanes in single precision whose rates no whole number stands for. */
static inline int32x4_t with_odd_ones(int32x4_t values, int32x4_t sums, int32x4_t rates,
                                      int32_t zero, mve_pred16_t odd)
{
    int32x4_t bits = vandq_s32(rates, vdupq_n_s32(INT32_MAX));
    float32x4_t exact = vmulq_f32(vcvtq_f32_s32(sums), vreinterpretq_f32_s32(bits));
    return vpselq_s32(vaddq_n_s32(vcvtnq_s32_f32(exact), zero), values, odd);
}

/* Sums of `n` channels of a pixel become outputs. */
static LISTEN_APART void finish_row(const listen_conv *op, const listen_channel *channel,
                                    const int32_t *sums, int32_t n, int8_t *out)
{
    const listen_steps steps = op->steps; /* which outputs could change, as a compiler sees it */
    uint32x4_t places = vidupq_n_u32(0, 2); /* biases and rates lie in turns */
    int32x4_t low = vdupq_n_s32(-128), high = vdupq_n_s32(127);
    for (; n > 0; n -= 4, channel += 4, sums += 4, out += 4) {
        mve_pred16_t odd, some = vctp32q((uint32_t)n);
        int32x4_t biases = vldrwq_gather_shifted_offset_z_s32(&channel->bias, places, some);
        int32x4_t rates = vldrwq_gather_shifted_offset_z_s32(&channel->rate, places, some);
        int32x4_t sum = vaddq_s32(vldrwq_z_s32(sums, some), biases);
        int32x4_t values = vaddq_n_s32(vmulhq_s32(sum, rates), steps.offset);
        values = vshlq_r_s32(values, -steps.shift);
        odd = vcmpltq_n_s32(rates, 0);
        if (odd) {
            values = with_odd_ones(values, sum, rates, steps.zero, odd);
        }
        values = vminq_s32(vmaxq_s32(values, low), high);
        if (steps.table) {
            uint32x4_t at = vreinterpretq_u32_s32(vaddq_n_s32(values, 128));
            values = vldrbq_gather_offset_s32(steps.table - 128, at);
        }
        vstrbq_p_s32(out, values, some);
    }
}

#endif

/* Pairs of channels; their sums lie in scratch memory, of one pixel after the other. */
static LISTEN_APART void run_parted(const listen_conv *op, const listen_pair *pair,
                                    const int8_t *weights, int32_t *sums, int8_t *out,
                                    int32_t apart, int32_t from, int32_t n)
{
    const int8_t *a = pair->a, *b = pair->b;
    int32_t i, depth = op->depth, *of_a = sums, *of_b = sums + n;
    for (i = 0; i < n; i += 2, weights += 2 * depth) {
        vector_dots(a, b, weights, depth, of_a + i, of_b + i);
    }
    finish_row(op, op->channels + from, of_b, n, out + apart);
    finish_row(op, op->channels + from, of_a, n, out);
}

static void run_channels(const listen_conv *op, const listen_room *room, const listen_pair *pair,
                         int8_t *out, int32_t apart, int32_t from, int32_t n)
{
    int8_t *weights = (int8_t *)room->weights;
    int32_t i, depth = op->depth;
    if (op->is_wide) { /* half of the room is left for sums */
        int32_t *sums = (int32_t *)room->weights + (op->place.out_channels + 1) / 2 * depth / 2;
        run_parted(op, pair, weights + from * depth, sums, out, apart, from, n);
        return;
    }
    for (i = from; i < from + n; i += 2, out += 2) {
        part(op->weights + i * depth, weights, depth);
        run_parted(op, pair, weights, (int32_t *)room->x, out, apart, i, 2);
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
    if (op->is_wide) {
        int32_t pairs = (op->place.out_channels + 1) / 2;
        part_pairs(op, op->weights, (int8_t *)room->weights, pairs);
    }
}

#endif
