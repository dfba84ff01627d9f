#include "listen_heads.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define DIM LISTEN_HEAD_DIM
#define HAS_FIXED_SPREAD (LISTEN_ANOMALY_MAHALANOBIS && !EMBED_LEARNS_SPREAD)

static struct {
#if LISTEN_CLASSES
    float prototypes[LISTEN_CLASSES][DIM]; /* in the metric */
    float counts[LISTEN_CLASSES];
#endif
#if HAS_FIXED_SPREAD
    float mean[DIM];
    float count;
#endif
    float place; /* so that the struct is never empty */
} heads;

void embed_heads_init(void)
{
    memset(&heads, 0, sizeof heads);
#if LISTEN_CLASSES
    memcpy(heads.prototypes, listen_prototypes, sizeof heads.prototypes);
    memcpy(heads.counts, listen_counts, sizeof heads.counts);
#endif
#if HAS_FIXED_SPREAD
    memcpy(heads.mean, listen_normal_mean, sizeof heads.mean);
    heads.count = LISTEN_NORMAL_COUNT;
#elif LISTEN_ANOMALY_MAHALANOBIS
    listen_running_init();
#endif
}

#if LISTEN_CLASSES || HAS_FIXED_SPREAD
/* (x - center) times an upper triangle that is stored column by column. */
static void whiten(const float *x, const float *center, const float *triangle, float *z)
{
    int row, column;
    for (column = 0; column < DIM; column++) {
        float sum = 0.0f;
        for (row = 0; row <= column; row++) {
            sum += (x[row] - center[row]) * *triangle++;
        }
        z[column] = sum;
    }
}
#endif

#if LISTEN_CLASSES || LISTEN_ANOMALY_NEIGHBORS
static float squared_distance(const float *a, const float *b)
{
    int i;
    float sum = 0.0f;
    for (i = 0; i < DIM; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sum;
}
#endif

#if LISTEN_CLASSES

static float softened(float *distances, int best)
{
    int i;
    float total = 0.0f, nearest = distances[best];
    for (i = 0; i < LISTEN_CLASSES; i++) {
        distances[i] = expf((nearest - distances[i]) * (0.5f / LISTEN_TEMPERATURE));
        total += distances[i];
    }
    return total;
}

/* Distances from the class means; returns the smallest, each in units of its own uncertainty. */
static float measure(const float *embedding, float *distances, int *best)
{
    float z[DIM], least = INFINITY;
    int i;
    *best = 0;
    whiten(embedding, listen_center, listen_metric, z);
    for (i = 0; i < LISTEN_CLASSES; i++) {
        float certain;
        distances[i] = squared_distance(z, heads.prototypes[i]);
        certain = distances[i] * heads.counts[i] / (heads.counts[i] + 1.0f);
        least = certain < least ? certain : least;
        *best = distances[i] < distances[*best] ? i : *best;
    }
    return sqrtf(least);
}

int embed_classify(const float *embedding, float *probabilities)
{
    float distances[LISTEN_CLASSES];
    int i, best;
    float novelty = measure(embedding, distances, &best);
    if (probabilities != NULL) {
        float total = softened(distances, best);
        for (i = 0; i < LISTEN_CLASSES; i++) {
            probabilities[i] = distances[i] / total;
        }
    }
    return LISTEN_REJECTS && novelty > LISTEN_NOVELTY_THRESHOLD ? EMBED_UNKNOWN : best;
}

float embed_novelty(const float *embedding)
{
    float distances[LISTEN_CLASSES];
    int best;
    return measure(embedding, distances, &best);
}

const char *embed_label(int class_number)
{
    return class_number < 0 || class_number >= LISTEN_CLASSES ? "unknown"
                                                              : listen_labels[class_number];
}

void embed_learn(const float *embedding, int class_number)
{
    float z[DIM];
    int i;
    if (class_number < 0 || class_number >= LISTEN_CLASSES) {
        return;
    }
    whiten(embedding, listen_center, listen_metric, z);
    heads.counts[class_number] += 1.0f;
    for (i = 0; i < DIM; i++) {
        float *mean = &heads.prototypes[class_number][i];
        *mean += (z[i] - *mean) / heads.counts[class_number];
    }
}

#endif

#if HAS_FIXED_SPREAD

float embed_anomaly_score(const float *embedding)
{
    float z[DIM], sum = 0.0f;
    int i;
    whiten(embedding, heads.mean, listen_normal_metric, z);
    for (i = 0; i < DIM; i++) {
        sum += z[i] * z[i];
    }
    return sqrtf(sum);
}

void embed_anomaly_learn(const float *embedding)
{
    int i;
    heads.count += 1.0f;
    for (i = 0; i < DIM; i++) {
        heads.mean[i] += (embedding[i] - heads.mean[i]) / heads.count;
    }
}

#endif

#if LISTEN_ANOMALY_NEIGHBORS

/* Mean distance to the nearest remembered embeddings, which are kept in rising order. */
float embed_anomaly_score(const float *embedding)
{
    float nearest[LISTEN_NEIGHBORS], sum = 0.0f;
    int i, place, n = 0;
    for (i = 0; i < LISTEN_REMEMBERED; i++) {
        float distance = squared_distance(embedding, listen_memory + (size_t)i * DIM);
        if (n == LISTEN_NEIGHBORS && distance >= nearest[n - 1]) {
            continue;
        }
        n += n < LISTEN_NEIGHBORS;
        for (place = n - 1; place > 0 && nearest[place - 1] > distance; place--) {
            nearest[place] = nearest[place - 1];
        }
        nearest[place] = distance;
    }
    for (i = 0; i < n; i++) {
        sum += sqrtf(nearest[i]);
    }
    return sum / (float)n;
}

#endif
