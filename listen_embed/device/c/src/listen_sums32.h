/* The innermost loops of listen_kernels32.c, for weights of one type.
 *
 * For it alone: it is included once for each type, with WEIGHT the type and OF(name) the name that
 * a function shall have. Each sum runs over its products in order, from the first to the last. */

/* Four rows with the weights of two channels: sums[2 * row + channel]. */
static LISTEN_APART void OF(rows)(const float *const *rows, const WEIGHT *v, const WEIGHT *w,
                                  int32_t n, float *sums)
{
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    float a_v = 0.0f, b_v = 0.0f, c_v = 0.0f, d_v = 0.0f;
    float a_w = 0.0f, b_w = 0.0f, c_w = 0.0f, d_w = 0.0f;
    const WEIGHT *end = v + n;
    while (v < end) {
        float first = (float)*v++, second = (float)*w++, x = *a++;
        a_v += x * first;
        a_w += x * second;
        x = *b++;
        b_v += x * first;
        b_w += x * second;
        x = *c++;
        c_v += x * first;
        c_w += x * second;
        x = *d++;
        d_v += x * first;
        d_w += x * second;
    }
    sums[0] = a_v;
    sums[1] = a_w;
    sums[2] = b_v;
    sums[3] = b_w;
    sums[4] = c_v;
    sums[5] = c_w;
    sums[6] = d_v;
    sums[7] = d_w;
}

/* One row with the weights of two channels. */
static LISTEN_APART void OF(row)(const float *row, const WEIGHT *v, const WEIGHT *w, int32_t n,
                                 float *sums)
{
    float first = 0.0f, second = 0.0f;
    const WEIGHT *end = v + n;
    while (v < end) {
        float x = *row++;
        first += x * (float)*v++;
        second += x * (float)*w++;
    }
    sums[0] = first;
    sums[1] = second;
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
