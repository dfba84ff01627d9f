/* Mean and spread of normal sound that both go on learning: the same running sums as in Python, in
 * double precision, since what is small in one direction is told beside what is large in others. */
#include "listen_heads.h"

#if LISTEN_ANOMALY_MAHALANOBIS && EMBED_LEARNS_SPREAD

#include <math.h>

#define DIM LISTEN_HEAD_DIM
#define TRIANGLE (DIM * (DIM + 1) / 2) /* row by row, up to the diagonal */

static struct {
    double count, mean[DIM];
    double scatter[TRIANGLE]; /* sum of y yT, where y is an embedding minus the mean */
    double cubic[DIM];        /* sum of |y|^2 y */
    double quartic;           /* sum of |y|^4 */
    double factor[TRIANGLE];  /* L, where L LT is the shrunk covariance */
    int is_known;             /* whether the factor is that of the sums */
} normal;

void listen_running_init(void)
{
    int i;
    for (i = 0; i < DIM; i++) {
        normal.mean[i] = listen_normal_mean[i];
        normal.cubic[i] = listen_normal_cubic[i];
    }
    for (i = 0; i < TRIANGLE; i++) {
        normal.scatter[i] = listen_normal_scatter[i];
    }
    normal.quartic = LISTEN_NORMAL_QUARTIC;
    normal.count = LISTEN_NORMAL_COUNT;
    normal.is_known = 0;
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0.0;
    while (n-- > 0) {
        sum += *a++ * *b++;
    }
    return sum;
}

static double trace(void)
{
    double sum = 0.0;
    int i, place = 0;
    for (i = 0; i < DIM; place += ++i + 1) {
        sum += normal.scatter[place];
    }
    return sum;
}

/* scatter times a vector. */
static void turn(const double *vector, double *turned)
{
    const double *at = normal.scatter;
    int i, j;
    for (i = 0; i < DIM; i++) {
        turned[i] = 0.0;
        for (j = 0; j < i; j++, at++) {
            turned[i] += *at * vector[j];
            turned[j] += *at * vector[i];
        }
        turned[i] += *at++ * vector[i];
    }
}

/* Add weight * v vT. */
static void add_square(const double *v, double weight)
{
    double *at = normal.scatter;
    int i, j;
    for (i = 0; i < DIM; i++) {
        for (j = 0; j <= i; j++) {
            *at++ += weight * v[i] * v[j];
        }
    }
}

/* The sums around a mean that moves by `shift`. */
static void move(const double *shift)
{
    double turned[DIM], square = dot(shift, shift, DIM), sum = trace();
    int i;
    turn(shift, turned);
    normal.quartic += -4.0 * dot(shift, normal.cubic, DIM) + 2.0 * square * sum +
                      4.0 * dot(shift, turned, DIM) + normal.count * square * square;
    for (i = 0; i < DIM; i++) {
        normal.cubic[i] -= 2.0 * turned[i] + (sum + normal.count * square) * shift[i];
        normal.mean[i] += shift[i];
    }
    add_square(shift, normal.count);
}

void embed_anomaly_learn(const float *embedding)
{
    double away[DIM], shift[DIM], square;
    int i;
    for (i = 0; i < DIM; i++) {
        shift[i] = (embedding[i] - normal.mean[i]) / (normal.count + 1.0);
    }
    move(shift);
    for (i = 0; i < DIM; i++) {
        away[i] = embedding[i] - normal.mean[i];
    }
    square = dot(away, away, DIM);
    for (i = 0; i < DIM; i++) {
        normal.cubic[i] += square * away[i];
    }
    normal.quartic += square * square;
    add_square(away, 1.0);
    normal.count += 1.0;
    normal.is_known = 0;
}

/* How much of a sphere the covariance becomes: Ledoit and Wolf, as listen_embed/heads. */
static double shrinkage(double variance)
{
    double square = 0.0, misfit, weight;
    const double *at = normal.scatter;
    int i, j;
    for (i = 0; i < DIM; i++) {
        for (j = 0; j <= i; j++, at++) {
            square += (i == j ? 1.0 : 2.0) * *at * *at;
        }
    }
    square /= normal.count * normal.count;
    misfit = square - variance * variance * DIM;
    weight = misfit > 0.0 ? (normal.quartic / normal.count - square) / normal.count / misfit : 0.0;
    weight = weight < LISTEN_MIN_SHRINKAGE ? LISTEN_MIN_SHRINKAGE : weight;
    return weight > 1.0 ? 1.0 : weight;
}

/* Cholesky's factor of the shrunk covariance. */
static void find_factor(void)
{
    double variance = trace() / normal.count / DIM, weight = shrinkage(variance);
    double level = dot(normal.mean, normal.mean, DIM) / DIM;
    double ridge = weight * variance + LISTEN_NOISE * level + LISTEN_MIN_VARIANCE;
    double *row = normal.factor;
    const double *at = normal.scatter;
    int i, j;
    for (i = 0; i < DIM; row += ++i) {
        const double *before = normal.factor;
        for (j = 0; j <= i; before += ++j) {
            double value = (1.0 - weight) * *at++ / normal.count - dot(row, before, j);
            row[j] = i == j ? sqrt(value + ridge) : value / before[j];
        }
    }
    normal.is_known = 1;
}

float embed_anomaly_score(const float *embedding)
{
    double z[DIM];
    const double *row = normal.factor;
    int i;
    if (!normal.is_known) {
        find_factor();
    }
    for (i = 0; i < DIM; row += ++i) {
        z[i] = (embedding[i] - normal.mean[i] - dot(row, z, i)) / row[i];
    }
    return (float)sqrt(dot(z, z, DIM));
}

#endif
