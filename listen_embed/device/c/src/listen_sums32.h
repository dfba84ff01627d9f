/* The innermost loops of listen_kernels32.c, for weights of one type.
 *
 * For it alone: it is included once for each type, with WEIGHT the type and OF(name) the name that
 * a function shall have. Each sum runs over its products in order, from the first to the last. */

/* Four rows, each `n` values, with the weights of four channels: sums[4 * row + channel]. */
static LISTEN_APART void OF(rows)(const float *const *rows, const WEIGHT *const *channels,
                                  int32_t n, float *sums)
{
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    const WEIGHT *p = channels[0], *q = channels[1], *r = channels[2], *s = channels[3];
    const WEIGHT *end = p + n;
    float a_p = 0.0f, a_q = 0.0f, a_r = 0.0f, a_s = 0.0f;
    float b_p = 0.0f, b_q = 0.0f, b_r = 0.0f, b_s = 0.0f;
    float c_p = 0.0f, c_q = 0.0f, c_r = 0.0f, c_s = 0.0f;
    float d_p = 0.0f, d_q = 0.0f, d_r = 0.0f, d_s = 0.0f;
    while (p < end) {
        float w, x = *a++, y = *b++, z = *c++, u = *d++;
        w = (float)*p++;
        a_p += x * w;
        b_p += y * w;
        c_p += z * w;
        d_p += u * w;
        w = (float)*q++;
        a_q += x * w;
        b_q += y * w;
        c_q += z * w;
        d_q += u * w;
        w = (float)*r++;
        a_r += x * w;
        b_r += y * w;
        c_r += z * w;
        d_r += u * w;
        w = (float)*s++;
        a_s += x * w;
        b_s += y * w;
        c_s += z * w;
        d_s += u * w;
    }
    sums[0] = a_p;
    sums[1] = a_q;
    sums[2] = a_r;
    sums[3] = a_s;
    sums[4] = b_p;
    sums[5] = b_q;
    sums[6] = b_r;
    sums[7] = b_s;
    sums[8] = c_p;
    sums[9] = c_q;
    sums[10] = c_r;
    sums[11] = c_s;
    sums[12] = d_p;
    sums[13] = d_q;
    sums[14] = d_r;
    sums[15] = d_s;
}

/* One row with the weights of four channels. */
static LISTEN_APART void OF(row)(const float *row, const WEIGHT *const *channels, int32_t n,
                                 float *sums)
{
    const WEIGHT *p = channels[0], *q = channels[1], *r = channels[2], *s = channels[3];
    const WEIGHT *end = p + n;
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    while (p < end) {
        float x = *row++;
        a += x * (float)*p++;
        b += x * (float)*q++;
        c += x * (float)*r++;
        d += x * (float)*s++;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* Up to four rows with up to four channels; those that are missing are the last one. */
static void OF(products)(const float *const *rows, int32_t n_rows, const WEIGHT *weights,
                         int32_t n_channels, int32_t n, float *sums)
{
    const WEIGHT *channels[CHANNELS];
    int32_t i;
    for (i = 0; i < CHANNELS; i++) {
        channels[i] = weights + least(i, n_channels - 1) * n;
    }
    if (n_rows == 1) {
        OF(row)(rows[0], channels, n, sums);
    } else {
        OF(rows)(rows, channels, n, sums);
    }
}

/* Four channels of a depthwise kernel; `x` and `w` are those of its first tap in the image. */
static LISTEN_APART void OF(taps)(const listen_taps *taps, const float *x, const WEIGHT *w,
                                  float *sums)
{
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
    int32_t row, column;
    for (row = 0; row < taps->rows; row++, x += taps->x_row, w += taps->w_row) {
        for (column = 0; column < taps->columns; column++, x += taps->x_step, w += taps->w_step) {
            a += x[0] * (float)w[0];
            b += x[1] * (float)w[1];
            c += x[2] * (float)w[2];
            d += x[3] * (float)w[3];
        }
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* One channel of it. */
static LISTEN_APART void OF(tap)(const listen_taps *taps, const float *x, const WEIGHT *w,
                                 float *sum)
{
    float a = 0.0f;
    int32_t row, column;
    for (row = 0; row < taps->rows; row++, x += taps->x_row, w += taps->w_row) {
        for (column = 0; column < taps->columns; column++, x += taps->x_step, w += taps->w_step) {
            a += x[0] * (float)w[0];
        }
    }
    *sum = a;
}
