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

/* Two pixels with two channels. `depth` is a multiple of eight: the last half may be left out. */
static inline void vector_dots(const listen_pair *pair, const int8_t *first, int32_t depth,
                               int32_t sums[4])
{
    const int8_t *a = pair->a, *b = pair->b, *second = first + depth;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (; depth > 0; depth -= 16, a += 16, b += 16, first += 16, second += 16) {
        mve_pred16_t some = vctp8q((uint32_t)depth);
        int8x16_t x = vldrbq_z_s8(a, some), y = vldrbq_z_s8(b, some);
        int8x16_t v = vldrbq_z_s8(first, some), w = vldrbq_z_s8(second, some);
        s0 = vmladavaq_s8(s0, x, v);
        s1 = vmladavaq_s8(s1, y, v);
        s2 = vmladavaq_s8(s2, x, w);
        s3 = vmladavaq_s8(s3, y, w);
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#if LISTEN_REFERENCE

static void finish_vector(const listen_conv *op, const listen_channel *channel, int32_t n,
                          const int32_t *sums, int8_t *out)
{
    int32_t i;
    for (i = 0; i < n; i++) {
        out[i] = looked_up(op->steps.table, stepped(&op->steps, sums[i], channel[i].rate));
    }
}

#else

/* Sums of up to four channels of a pixel become outputs. */
static void finish_vector(const listen_conv *op, const listen_channel *channel, int32_t n,
                          const int32_t *sums, int8_t *out)
{
    const listen_steps *steps = &op->steps;
    mve_pred16_t some = vctp32q((uint32_t)n);
    uint32x4_t places = vidupq_n_u32(0, 2); /* of the rates, in turns with the biases */
    int32x4_t rates = vldrwq_gather_shifted_offset_z_s32(&channel->rate, places, some);
    int32x4_t values = vmulhq_s32(vldrwq_z_s32(sums, some), rates);
    values = vshlq_r_s32(vaddq_n_s32(values, steps->offset), -steps->shift);
    values = vminq_s32(vmaxq_s32(values, vdupq_n_s32(-128)), vdupq_n_s32(127));
    if (steps->table) {
        uint32x4_t at = vreinterpretq_u32_s32(vaddq_n_s32(values, 128));
        values = vldrbq_gather_offset_z_s32(steps->table - 128, at, some);
    }
    vstrbq_p_s32(out, values, some);
    if (vcmpltq_n_s32(rates, 0) & some) {
        int32_t i;
        for (i = 0; i < n; i++) {
            out[i] = looked_up(steps->table, stepped_anyhow(steps, sums[i], channel[i].rate));
        }
    }
}

#endif

static const int8_t *weights_at(const listen_conv *op, const listen_room *room, int32_t channel)
{
    int8_t *weights = (int8_t *)room->weights;
    if (op->is_wide) {
        return weights + channel * op->depth;
    }
    part(op->weights + channel * op->depth, weights, op->depth);
    return weights;
}

/* Channels from one to another, four at a time. */
static LISTEN_APART void run_channels(const listen_conv *op, const listen_room *room,
                                      const listen_pair *pair, int8_t *out, int32_t apart,
                                      int32_t from, int32_t n)
{
    int32_t i, j, a[4], b[4], sums[4];
    for (i = 0; i < n; i += 4, out += 4) {
        const listen_channel *channel = op->channels + from + i;
        int32_t some = least(4, n - i);
        for (j = 0; j < some; j += 2) {
            sums[0] = sums[1] = channel[j].bias;
            sums[2] = sums[3] = channel[j + 1].bias;
            vector_dots(pair, weights_at(op, room, from + i + j), op->depth, sums);
            a[j] = sums[0];
            a[j + 1] = sums[2];
            b[j] = sums[1];
            b[j + 1] = sums[3];
        }
        finish_vector(op, channel, some, b, out + apart);
        finish_vector(op, channel, some, a, out);
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
