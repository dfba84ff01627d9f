/* One filter for each channel, or several filters of one channel.
 *
 * A channel's rows are copied apart, widened to 16 bits, into a ring that holds as many of them as
 * the kernel is high. There the taps of a row lie side by side, so that one instruction multiplies
 * two of them; each row is read once, so that the output may lie in its place.
 */
#include "listen_rescaling.h"

#define PLANES 4   /* channels that are copied at once */
#define TOGETHER 4 /* outputs of a row that are summed up at once */

/* The ring, where it is on the image, and the filters that lie on it. */
typedef struct {
    int16_t *values; /* rows of the ring, of each plane; at last a row of zeros */
    int32_t *sums;   /* `tile` of each filter */
    int16_t *filters;
    int32_t planes, length; /* `length` is a row's */
    int32_t left;           /* the image's column of its first value */
    int32_t filled;         /* rows of the image that have been copied */
    int32_t n;              /* outputs of a row */
    const int16_t *rows[LISTEN_MAX_ROWS]; /* under the kernel */
    const int16_t *filter;                /* the first of some, as `prepare` made it */
    int32_t channel, together;            /* of the first filter, and how many these are */
} listen_ring;

static inline int32_t filter_size(const listen_geometry *place)
{
    return 2 * place->kernel_height * (place->kernel_width - 1);
}

/* ---- rows of the input ---- */

/* Rows of the image from the first under the kernel to the last. */
static inline int32_t reach_of(const listen_geometry *place)
{
    return (place->kernel_height - 1) * place->dilation_y + 1;
}

static inline int16_t *row_at(const listen_geometry *place, const listen_ring *ring, int32_t y)
{
    int32_t reach = reach_of(place), slot = y < 0 || y >= place->in_height ? reach : y % reach;
    return ring->values + slot * ring->planes * ring->length;
}

static void copy_one(const int8_t *in, int32_t apart, int32_t n, int16_t *out)
{
    const int16_t *end = out + n;
    for (; out < end; in += apart) {
        *out++ = *in;
    }
}

#if LISTEN_SIMD

static inline void put_word(int16_t *out, uint32_t halves)
{
    memcpy(out, &halves, sizeof halves);
}

/* Four channels of `n` pixels, two pixels at once. */
static void copy_four(const int8_t *in, int32_t apart, int32_t n, int16_t *out,
                                   int32_t length)
{
    const int16_t *end = out + (n & ~1);
    for (; out < end; out += 2, in += 2 * apart) {
        uint32_t a = word(in), b = word(in + apart);
        uint32_t a_even = even_bytes(a), b_even = even_bytes(b);
        uint32_t a_odd = odd_bytes(a), b_odd = odd_bytes(b);
        put_word(out, low_halves(a_even, b_even));
        put_word(out + length, low_halves(a_odd, b_odd));
        put_word(out + 2 * length, high_halves(a_even, b_even));
        put_word(out + 3 * length, high_halves(a_odd, b_odd));
    }
    for (end = out + PLANES * length; n % 2 && out < end; out += length) {
        *out = *in++;
    }
}

#endif

static void copy_row(const int8_t *in, int32_t apart, int32_t planes, int32_t n, int16_t *out,
                     int32_t length)
{
    int32_t plane;
#if LISTEN_SIMD
    if (planes == PLANES) {
        copy_four(in, apart, n, out, length);
        return;
    }
#endif
    for (plane = 0; plane < planes; plane++) {
        copy_one(in + plane, apart, n, out + plane * length);
    }
}

/* Copy `planes` channels of the rows before `end`. */
static LISTEN_APART void fill(const listen_geometry *place, listen_ring *ring, const int8_t *in, int32_t planes,
                 int32_t end)
{
    int32_t from = ring->left < 0 ? 0 : ring->left, apart = place->in_channels;
    int32_t n = least(ring->left + ring->length, place->in_width) - from;
    for (; ring->filled < least(end, place->in_height); ring->filled++) {
        copy_row(in + (ring->filled * place->in_width + from) * apart, apart, planes, n,
                 row_at(place, ring, ring->filled) + (from - ring->left), ring->length);
    }
}

/* ---- sums ---- */

/* Where a filter's channel begins in a row: all filters of one channel have the same. */
static inline int32_t from_of(const listen_ring *of, int32_t filter)
{
    return of->planes == 1 ? 0 : filter * of->length;
}

static inline void keep(int32_t *sums, int32_t s0, int32_t s1, int32_t s2, int32_t s3)
{
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* Taps of any number and distance, at every column, every other one, and so on. */
static inline void sum_every(const listen_depthwise *op, const listen_ring *of, int32_t filter,
                             int32_t *sums, int32_t step)
{
    int32_t height = op->place.kernel_height, width = op->place.kernel_width;
    int32_t dilation = op->place.dilation_x, row, column, from = from_of(of, filter);
    int32_t bias = op->channels[of->channel + filter].bias;
    const int8_t *taps = op->weights + (of->channel + filter) * height * width;
    const int32_t *end = sums + of->n;
    for (; sums < end; sums += TOGETHER, from += TOGETHER * step) {
        int32_t s0 = bias, s1 = bias, s2 = bias, s3 = bias;
        const int8_t *w = taps;
        for (row = 0; row < height; row++) {
            const int16_t *in = of->rows[row] + from;
            for (column = 0; column < width; column++, in += dilation) {
                int32_t weight = *w++;
                s0 += in[0] * weight;
                s1 += in[step] * weight;
                s2 += in[2 * step] * weight;
                s3 += in[3 * step] * weight;
            }
        }
        keep(sums, s0, s1, s2, s3);
    }
}

static LISTEN_APART void sum_any(const listen_depthwise *op, const listen_ring *of, int32_t filter,
                                 int32_t *sums)
{
    int32_t step = op->place.stride_x;
    if (step == 1) {
        sum_every(op, of, filter, sums, 1);
    } else if (step == 2) {
        sum_every(op, of, filter, sums, 2);
    } else {
        sum_every(op, of, filter, sums, step);
    }
}

#if LISTEN_SIMD

/* All taps of a row but its last one, then all but its first: so that two that lie side by side
 * begin at any of them. */
static LISTEN_APART void prepare(const listen_geometry *place, const int8_t *taps, int16_t *filter)
{
    int32_t row, i, n = place->kernel_width - 1;
    for (row = 0; row < place->kernel_height; row++, taps++) {
        for (i = 0; i < n; i++, taps++, filter++) {
            filter[0] = taps[0];
            filter[n] = taps[1];
        }
        filter += n;
    }
}

/* Three rows of three taps at every column: four outputs of them. */
static inline void add_3(const listen_word *in, const listen_word *w, int32_t sums[TOGETHER])
{
    uint32_t w01 = w[0], w12 = w[1], x01 = in[0], x23 = in[1], x45 = in[2];
    sums[0] = add_low_high(add_products(sums[0], x01, w01), x23, w12);
    sums[1] = add_high_low(add_products(sums[1], x23, w12), x01, w01);
    sums[2] = add_low_high(add_products(sums[2], x23, w01), x45, w12);
    sums[3] = add_high_low(add_products(sums[3], x45, w12), x23, w01);
}

/* The same at every other column. */
static inline void add_3_by_2(const listen_word *in, const listen_word *w, int32_t sums[TOGETHER])
{
    uint32_t w01 = w[0], w12 = w[1], x23 = in[1], x45 = in[2], x67 = in[3];
    sums[0] = add_low_high(add_products(sums[0], in[0], w01), x23, w12);
    sums[1] = add_low_high(add_products(sums[1], x23, w01), x45, w12);
    sums[2] = add_low_high(add_products(sums[2], x45, w01), x67, w12);
    sums[3] = add_low_high(add_products(sums[3], x67, w01), in[4], w12);
}

static inline void sum_3_by_3(const listen_depthwise *op, const listen_ring *of, int32_t filter,
                              int32_t *sums, int32_t step)
{
    const listen_word *w = (const listen_word *)(of->filter + filter * filter_size(&op->place));
    const listen_word *first = (const listen_word *)(of->rows[0] + from_of(of, filter));
    const listen_word *second = (const listen_word *)(of->rows[1] + from_of(of, filter));
    const listen_word *third = (const listen_word *)(of->rows[2] + from_of(of, filter));
    const int32_t *end = sums + of->n;
    int32_t bias = op->channels[of->channel + filter].bias;
    for (; sums < end; sums += TOGETHER) {
        int32_t four[TOGETHER] = {bias, bias, bias, bias};
        if (step == 1) {
            add_3(first, w, four);
            in_turn();
            add_3(second, w + 2, four);
            in_turn();
            add_3(third, w + 4, four);
        } else {
            add_3_by_2(first, w, four);
            in_turn();
            add_3_by_2(second, w + 2, four);
            in_turn();
            add_3_by_2(third, w + 4, four);
        }
        keep(sums, four[0], four[1], four[2], four[3]);
        first += step * TOGETHER / 2;
        second += step * TOGETHER / 2;
        third += step * TOGETHER / 2;
    }
}

static LISTEN_APART void sum_3(const listen_depthwise *op, const listen_ring *of, int32_t filter,
                               int32_t *sums)
{
    sum_3_by_3(op, of, filter, sums, 1);
}

static LISTEN_APART void sum_3_by_2(const listen_depthwise *op, const listen_ring *of,
                                    int32_t filter, int32_t *sums)
{
    sum_3_by_3(op, of, filter, sums, 2);
}

/* Rows of five taps at every column. */
static void sum_5(const listen_depthwise *op, const listen_ring *of, int32_t filter, int32_t *sums)
{
    int32_t from = from_of(of, filter), bias = op->channels[of->channel + filter].bias;
    const int16_t *weights = of->filter + filter * filter_size(&op->place);
    const int16_t *const *last = of->rows + op->place.kernel_height;
    const int32_t *end = sums + of->n;
    for (; sums < end; sums += TOGETHER, from += TOGETHER) {
        int32_t s0 = bias, s1 = bias, s2 = bias, s3 = bias;
        const int16_t *const *row = of->rows;
        const listen_word *w = (const listen_word *)weights;
        for (; row < last; row++, w += 4) {
            const listen_word *in = (const listen_word *)(*row + from);
            uint32_t w01 = w[0], w23 = w[1], w12 = w[2], w34 = w[3];
            uint32_t x01 = in[0], x23 = in[1], x45 = in[2], x67 = in[3];
            s0 = add_products(add_products(s0, x01, w01), x23, w23);
            s0 = add_low_high(s0, x45, w34);
            s1 = add_products(add_products(s1, x23, w12), x45, w34);
            s1 = add_high_low(s1, x01, w01);
            s2 = add_products(add_products(s2, x23, w01), x45, w23);
            s2 = add_low_high(s2, x67, w34);
            s3 = add_products(add_products(s3, x45, w12), x67, w34);
            s3 = add_high_low(s3, x23, w01);
        }
        keep(sums, s0, s1, s2, s3);
    }
}

/* Rows of five taps at every other column. */
static void sum_5_by_2(const listen_depthwise *op, const listen_ring *of, int32_t filter, int32_t *sums)
{
    int32_t from = from_of(of, filter), bias = op->channels[of->channel + filter].bias;
    const int16_t *weights = of->filter + filter * filter_size(&op->place);
    const int16_t *const *last = of->rows + op->place.kernel_height;
    const int32_t *end = sums + of->n;
    for (; sums < end; sums += TOGETHER, from += 2 * TOGETHER) {
        int32_t s0 = bias, s1 = bias, s2 = bias, s3 = bias;
        const int16_t *const *row = of->rows;
        const listen_word *w = (const listen_word *)weights;
        for (; row < last; row++, w += 4) {
            const listen_word *in = (const listen_word *)(*row + from);
            uint32_t w01 = w[0], w23 = w[1], w34 = w[3];
            uint32_t x01 = in[0], x23 = in[1], x45 = in[2], x67, x89;
            s0 = add_low_high(add_products(add_products(s0, x01, w01), x23, w23), x45, w34);
            x67 = in[3];
            s1 = add_low_high(add_products(add_products(s1, x23, w01), x45, w23), x67, w34);
            x89 = in[4];
            s2 = add_low_high(add_products(add_products(s2, x45, w01), x67, w23), x89, w34);
            s3 = add_low_high(add_products(add_products(s3, x67, w01), x89, w23), in[5], w34);
        }
        keep(sums, s0, s1, s2, s3);
    }
}

/* What no filter of the model needs is left out. */
static void sum_rows(const listen_depthwise *op, const listen_ring *of)
{
    int32_t i, width = op->place.dilation_x == 1 ? op->place.kernel_width : 0;
    int is_3 = LISTEN_MAX_ROWS >= 3 && width == 3 && op->place.kernel_height == 3;
    int32_t step = op->place.stride_x, *sums = of->sums;
    for (i = 0; i < of->together; i++, sums += op->tile) {
        if (is_3 && step == 1) {
            sum_3(op, of, i, sums);
        } else if (is_3 && step == 2) {
            sum_3_by_2(op, of, i, sums);
        } else if (LISTEN_MAX_COLUMNS >= 5 && width == 5 && step == 1) {
            sum_5(op, of, i, sums);
        } else if (LISTEN_MAX_COLUMNS >= 5 && width == 5 && step == 2) {
            sum_5_by_2(op, of, i, sums);
        } else if (LISTEN_ANY_FILTERS) {
            sum_any(op, of, i, sums);
        }
    }
}

#else

static LISTEN_APART void prepare(const listen_geometry *place, const int8_t *taps, int16_t *filter)
{
    (void)place;
    (void)taps;
    (void)filter;
}

static void sum_rows(const listen_depthwise *op, const listen_ring *of)
{
    int32_t i;
    for (i = 0; i < of->together; i++) {
        sum_any(op, of, i, of->sums + i * op->tile);
    }
}

#endif

/* ---- outputs ---- */

/* Sums of one filter become outputs. */
static LISTEN_APART void put_row(const listen_depthwise *op, const listen_ring *of, int32_t filter,
                                 int8_t *out)
{
    const listen_steps steps = op->steps; /* which outputs could change, as a compiler sees it */
    listen_rate rate = op->channels[of->channel + filter].rate;
    int32_t apart = op->place.out_channels;
    const int32_t *sums = of->sums + filter * op->tile, *end = sums + of->n;
    for (; sums < end; out += apart) {
        *out = looked_up(steps.table, stepped_anyhow(&steps, *sums++, rate));
    }
}

/* Sums of two filters become outputs. */
static LISTEN_APART void put_two_rows(const listen_depthwise *op, const listen_ring *of,
                                      int32_t filter, int8_t *out)
{
    const listen_steps steps = op->steps;
    const listen_channel *channels = op->channels + of->channel + filter;
    listen_rate first = channels[0].rate, second = channels[1].rate;
    int32_t apart = op->place.out_channels, tile = op->tile;
    const int32_t *sums = of->sums + filter * tile, *end = sums + of->n;
    for (; sums < end; sums++, out += apart) {
        int32_t s0 = stepped(&steps, sums[0], first), s1 = stepped(&steps, sums[tile], second);
        if (steps.table) {
            out[0] = steps.table[s0];
            out[1] = steps.table[s1];
        } else {
            out[0] = (int8_t)s0;
            out[1] = (int8_t)s1;
        }
    }
}

/* Pairs of filters, then once more those whose rate is no whole number. */
static void put_rows(const listen_depthwise *op, const listen_ring *of, int8_t *out)
{
    int32_t i, even = of->together & ~1;
    for (i = 0; i < even; i += 2) {
        put_two_rows(op, of, i, out + i);
    }
    for (i = 0; i < of->together; i++) {
        if (i == even || is_odd(op->channels[of->channel + i].rate)) {
            put_row(op, of, i, out + i);
        }
    }
}

/* ---- the image ---- */

/* The ring for output columns from `left` on; around the image lie the input's zeros. */
static LISTEN_APART void lay_ring(const listen_depthwise *op, int32_t left, void *scratch, listen_ring *ring)
{
    const listen_geometry *place = &op->place;
    int32_t i, n, width = (op->tile - 1) * place->stride_x;
    ring->values = scratch;
    ring->planes = place->in_channels == 1 ? 1 : PLANES;
    ring->length = (width + (place->kernel_width - 1) * place->dilation_x + 2) & ~1;
    ring->left = left * place->stride_x - place->pad_left;
    ring->n = least(op->tile, place->out_width - left);
    n = (reach_of(place) + 1) * ring->planes * ring->length;
    for (i = 0; i < n; i++) {
        ring->values[i] = (int16_t)op->in_zero;
    }
    ring->sums = (int32_t *)(void *)(ring->values + n);
    ring->filters = (int16_t *)(ring->sums + TOGETHER * op->tile);
}

/* A row of the outputs of `filters` filters from `channel` on. */
static LISTEN_APART void run_row(const listen_depthwise *op, listen_ring *ring, int32_t y,
                           int32_t channel, int32_t filters, int8_t *out)
{
    const listen_geometry *place = &op->place;
    int32_t i, top = y * place->stride_y - place->pad_top;
    for (i = 0; i < place->kernel_height; i++) {
        ring->rows[i] = row_at(place, ring, top + i * place->dilation_y);
    }
    ring->filter = ring->filters;
    for (i = 0; i < filters; i += TOGETHER) {
        ring->channel = channel + i;
        ring->together = least(TOGETHER, filters - i);
        sum_rows(op, ring);
        put_rows(op, ring, out + i);
        ring->filter += TOGETHER * filter_size(place);
    }
}

/* All rows of them; `in` and `out` are the places of the first one. */
static void run_filters(const listen_depthwise *op, listen_ring *ring, const int8_t *in,
                        int32_t channel, int32_t filters, int8_t *out)
{
    const listen_geometry *place = &op->place;
    int32_t i, y, taps = place->kernel_height * place->kernel_width;
    for (i = 0; i < filters; i++) {
        prepare(place, op->weights + (channel + i) * taps,
                ring->filters + i * filter_size(place));
    }
    ring->filled = 0;
    for (y = 0; y < place->out_height; y++, out += place->out_width * place->out_channels) {
        int32_t end = y * place->stride_y - place->pad_top + reach_of(place);
        fill(place, ring, in, ring->planes == 1 ? 1 : filters, end);
        run_row(op, ring, y, channel, filters, out);
    }
}

void listen_depthwise_run(const listen_depthwise *op, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t left, channel, channels = op->place.out_channels;
    listen_ring ring;
    for (left = 0; left < op->place.out_width; left += op->tile) {
        int32_t at = left * channels, most = op->place.in_channels == 1 ? channels : PLANES;
        lay_ring(op, left, scratch, &ring);
        for (channel = 0; channel < channels; channel += most) {
            int32_t filters = least(most, channels - channel);
            run_filters(op, &ring, in + channel, channel, filters, out + at + channel);
        }
    }
}
