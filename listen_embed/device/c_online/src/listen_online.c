#include "listen_online.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define DIM LISTEN_ONLINE_DIM
#define CLASSES LISTEN_ONLINE_CLASSES

/* As in listen_embed/heads: _running.py, _guard.py, _correction.py, _learner.py. */
#define MAX_COUNT 16777216u
#define FURTHEST 3.96875f /* 127 / 32 */
#define STEPS_PER_UNIT 32.0f
#define ENOUGH 4u
#define MARGIN 0.05f
#define LARGEST 8.0f
#define STEP LISTEN_ONLINE_STEP
#define SHARPNESS 8.0f
#define FADE 0.98f
#define TRUST 2.0f
#define FURTHEST_TRUST 40.0f
#define FEW 3u
#define GOLDEN 2654435769u
#define FURTHEST_VALUE 1e15f

/* ---- single precision, in order ---- */

/* e to the power of a number not above 0. */
static float power_of_e(float exponent)
{
    static const float taylor[7] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    float bounded = exponent < -87.0f ? -87.0f : exponent;
    int32_t twos = (int32_t)(bounded * 1.4426950408889634f - 0.5f);
    float whole = (float)twos;
    float rest = bounded - whole * 0.693145751953125f;
    float found = taylor[0], power;
    uint32_t bits = (uint32_t)(twos + 127) << 23;
    int i;
    rest = rest - whole * 1.42860682030941723e-6f;
    for (i = 1; i < 7; i++) {
        found = found * rest + taylor[i];
    }
    memcpy(&power, &bits, sizeof power);
    return found * power;
}

static void softmax(float *logits, uint32_t n)
{
    float most = logits[0], sum = 0.0f;
    uint32_t i;
    for (i = 1; i < n; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    for (i = 0; i < n; i++) {
        logits[i] = power_of_e(logits[i] - most);
        sum = i ? sum + logits[i] : logits[i];
    }
    for (i = 0; i < n; i++) {
        logits[i] = logits[i] / sum;
    }
}

static float bounded_value(float value)
{
    if (value > FURTHEST_VALUE) {
        return FURTHEST_VALUE;
    }
    return value < -FURTHEST_VALUE ? -FURTHEST_VALUE : value;
}

/* ---- running standardisation ---- */

static void hear(embed_online *l, const float *row)
{
    int i;
    l->count = l->count < MAX_COUNT ? l->count + 1 : MAX_COUNT;
    for (i = 0; i < DIM; i++) {
        float value = bounded_value(row[i]), before = value - l->mean[i];
        l->mean[i] = l->mean[i] + before / (float)l->count;
        l->squares[i] = l->squares[i] + before * (value - l->mean[i]);
    }
}

static float spread(const embed_online *l, int i)
{
    return sqrtf(l->squares[i] / (float)(l->count ? l->count : 1));
}

/* The least that values are divided by: the average deviation. */
static float least_scale(const embed_online *l)
{
    float sum = spread(l, 0);
    int i;
    for (i = 1; i < DIM; i++) {
        sum = sum + spread(l, i);
    }
    sum = sum / (float)DIM;
    return sum > 0 ? sum : 1.0f;
}

static float standardised(const embed_online *l, float value, int i, float least)
{
    float own = spread(l, i), unit;
    unit = (bounded_value(value) - l->mean[i]) / (own > least ? own : least);
    unit = unit < -FURTHEST ? -FURTHEST : unit;
    unit = unit > FURTHEST ? FURTHEST : unit;
    return unit * LISTEN_ONLINE_ROOT;
}

/* ---- answers ---- */

/* The logits of the nearest prototype, and with `weights` or `good` those of the correction added. */
static void logits(const embed_online *l, const float *row, float least, int with, float *near,
                   float *full)
{
    uint32_t k;
    int i;
    for (k = 0; k < l->classes; k++) {
        float squares = 0.0f, product = 0.0f, linear = 0.0f;
        for (i = 0; i < DIM; i++) {
            float place = standardised(l, l->prototypes[k][i], i, least);
            float weight = with == 1 ? l->weights[k][i] : (float)l->good[k][i] * STEP;
            squares = i ? squares + place * place : place * place;
            product = i ? product + row[i] * place : row[i] * place;
            linear = i ? linear + row[i] * weight : row[i] * weight;
        }
        near[k] = SHARPNESS * (product - squares * 0.5f);
        linear = linear + (with == 1 ? l->weights[k][DIM] : (float)l->good[k][DIM] * STEP);
        full[k] = near[k] + linear;
    }
}

/* Half the squared error; what is given becomes p - y. */
static float loss(float *given, uint32_t n, int code)
{
    float sum = 0.0f;
    uint32_t k;
    given[code] = given[code] - 1.0f;
    for (k = 0; k < n; k++) {
        sum = k ? sum + given[k] * given[k] : given[k] * given[k];
    }
    return sum * 0.5f;
}

/* The part of the answer that the correction has. */
static float share(const embed_online *l)
{
    float ahead = TRUST * (l->trust[1] - l->trust[0]), power, better;
    ahead = ahead < -FURTHEST_TRUST ? -FURTHEST_TRUST : ahead;
    ahead = ahead > FURTHEST_TRUST ? FURTHEST_TRUST : ahead;
    power = power_of_e(ahead < 0 ? ahead : -ahead);
    better = 1.0f / (1.0f + power);
    return ahead >= 0 ? better : power * better;
}

/* ---- the guard ---- */

static float held_out_loss(const embed_online *l, uint32_t n, int with, float least)
{
    float row[DIM], near[CLASSES], full[CLASSES], sum = 0.0f;
    uint32_t j;
    int i;
    for (j = 0; j < n; j++) {
        float one;
        for (i = 0; i < DIM; i++) {
            row[i] = (float)l->held_rows[j][i] / STEPS_PER_UNIT * LISTEN_ONLINE_ROOT;
        }
        logits(l, row, least, with, near, full);
        softmax(full, l->classes);
        one = loss(full, l->classes, l->held_codes[j]);
        sum = j ? sum + one : one;
    }
    return sum / (float)n;
}

static void hold_out(embed_online *l, const float *embedding, int code)
{
    uint32_t place = l->held % EMBED_ONLINE_HELD, n, k;
    float least = least_scale(l), now, good;
    int i;
    for (i = 0; i < DIM; i++) {
        float steps = standardised(l, embedding[i], i, least) / LISTEN_ONLINE_ROOT * STEPS_PER_UNIT;
        steps = steps < -127.0f ? -127.0f : steps;
        l->held_rows[place][i] = (int8_t)(steps > 127.0f ? 127.0f : steps);
    }
    l->held_codes[place] = (int16_t)code;
    l->held++;
    n = l->held < EMBED_ONLINE_HELD ? l->held : EMBED_ONLINE_HELD;
    if (n < ENOUGH) {
        return;
    }
    now = held_out_loss(l, n, 1, least);
    good = held_out_loss(l, n, 0, least);
    if (now > good + MARGIN) {
        for (k = 0; k < l->classes; k++) {
            for (i = 0; i <= DIM; i++) {
                l->weights[k][i] = (float)l->good[k][i] * STEP;
            }
        }
        l->rollbacks++;
    } else if (now <= good) {
        for (k = 0; k < l->classes; k++) {
            for (i = 0; i <= DIM; i++) {
                l->good[k][i] = (int16_t)(l->weights[k][i] / STEP);
            }
        }
    }
}

/* ---- learning ---- */

static void descend(embed_online *l, const float *row, const float *errors)
{
    float of_errors = 0.0f, of_row = 0.0f, norm, step;
    uint32_t k;
    int i;
    for (k = 0; k < l->classes; k++) {
        of_errors = k ? of_errors + errors[k] * errors[k] : errors[k] * errors[k];
    }
    for (i = 0; i < DIM; i++) {
        of_row = i ? of_row + row[i] * row[i] : row[i] * row[i];
    }
    norm = sqrtf(of_errors * (of_row + 1.0f));
    step = norm <= 1.0f ? LISTEN_ONLINE_RATE : LISTEN_ONLINE_RATE / norm;
    for (k = 0; k < l->classes; k++) {
        float *weights = l->weights[k], squares = 0.0f, length, by = step * errors[k];
        for (i = 0; i <= DIM; i++) {
            weights[i] = weights[i] - (i < DIM ? by * row[i] : by);
            squares = i ? squares + weights[i] * weights[i] : weights[i] * weights[i];
        }
        length = sqrtf(squares);
        if (length > LARGEST) {
            float shrink = LARGEST / length;
            for (i = 0; i <= DIM; i++) {
                weights[i] = weights[i] * shrink;
            }
        }
    }
}

static void learn(embed_online *l, const float *embedding, int code)
{
    float row[DIM], near[CLASSES], full[CLASSES], least = least_scale(l);
    int i;
    for (i = 0; i < DIM; i++) {
        row[i] = standardised(l, embedding[i], i, least);
    }
    logits(l, row, least, 1, near, full);
    softmax(full, l->classes);
    softmax(near, l->classes);
    l->trust[0] = FADE * l->trust[0] + loss(full, l->classes, code);
    l->trust[1] = FADE * l->trust[1] + loss(near, l->classes, code);
    descend(l, row, full);
    l->counts[code] = l->counts[code] < MAX_COUNT ? l->counts[code] + 1 : MAX_COUNT;
    for (i = 0; i < DIM; i++) {
        float *place = &l->prototypes[code][i];
        *place = *place + (bounded_value(embedding[i]) - *place) / (float)l->counts[code];
    }
}

static void begin_class(embed_online *l, const float *embedding)
{
    uint32_t k = l->classes++;
    int i;
    for (i = 0; i < DIM; i++) {
        l->prototypes[k][i] = bounded_value(embedding[i]);
    }
    memset(l->weights[k], 0, sizeof l->weights[k]);
    memset(l->good[k], 0, sizeof l->good[k]);
    l->counts[k] = 1;
}

/* ---- the public side ---- */

void embed_online_init(embed_online *l)
{
    memset(l, 0, sizeof *l);
    memcpy(l->mean, listen_online_mean, sizeof listen_online_mean);
    memcpy(l->squares, listen_online_squares, sizeof listen_online_squares);
    memcpy(l->prototypes, listen_online_prototypes, sizeof listen_online_prototypes);
    memcpy(l->weights, listen_online_weights, sizeof listen_online_weights);
    memcpy(l->trust, listen_online_trust, sizeof listen_online_trust);
    memcpy(l->counts, listen_online_counts, sizeof listen_online_counts);
    memcpy(l->good, listen_online_good, sizeof listen_online_good);
    memcpy(l->held_codes, listen_online_held_codes, sizeof l->held_codes);
    memcpy(l->held_rows, listen_online_held_rows, sizeof l->held_rows);
    l->count = LISTEN_ONLINE_COUNT;
    l->offered = LISTEN_ONLINE_OFFERED;
    l->held = LISTEN_ONLINE_HELD_COUNT;
    l->rollbacks = LISTEN_ONLINE_ROLLBACKS;
    l->classes = LISTEN_ONLINE_TAUGHT;
}

static int is_finite(const float *embedding)
{
    int i;
    for (i = 0; i < DIM; i++) {
        if (!(fabsf(embedding[i]) <= 3.402823466e38f)) {
            return 0;
        }
    }
    return 1;
}

int embed_online_learn(embed_online *l, const float *embedding, int code)
{
    int is_new = (uint32_t)code == l->classes;
    if (code < 0 || (uint32_t)code > l->classes || code >= CLASSES || !is_finite(embedding)) {
        return -1;
    }
    l->offered++;
    if (LISTEN_ONLINE_DUE && !is_new && l->counts[code] >= FEW &&
        l->offered * GOLDEN < LISTEN_ONLINE_DUE) {
        hold_out(l, embedding, code);
        return 0;
    }
    hear(l, embedding);
    if (is_new) {
        begin_class(l, embedding);
    } else {
        learn(l, embedding, code);
    }
    return 0;
}

int embed_online_classify(const embed_online *l, const float *embedding, float *probabilities)
{
    float row[DIM], near[CLASSES], full[CLASSES], least = least_scale(l), part = share(l);
    uint32_t k, best = 0;
    int i;
    if (l->classes == 0 || !is_finite(embedding)) {
        return -1;
    }
    for (i = 0; i < DIM; i++) {
        row[i] = standardised(l, embedding[i], i, least);
    }
    logits(l, row, least, 1, near, full);
    softmax(full, l->classes);
    softmax(near, l->classes);
    for (k = 0; k < l->classes; k++) {
        full[k] = part * full[k] + (1.0f - part) * near[k];
        best = full[k] > full[best] ? k : best;
    }
    if (probabilities != NULL) {
        memcpy(probabilities, full, l->classes * sizeof *full);
    }
    return (int)best;
}

const char *embed_online_label(int code)
{
    return code >= 0 && code < LISTEN_ONLINE_TAUGHT ? listen_online_labels[code] : NULL;
}
