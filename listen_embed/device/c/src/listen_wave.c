#include "listen_wave.h"

#if LISTEN_WAVE_SAMPLES

#include <math.h>
#include <string.h>

#include "listen_contract.h"
#include "listen_logarithm.h"

#define REACH (LISTEN_WAVE_TAPS / 2)
#define SUMMED 128 /* squares, before their sum joins the others: fewer digits are lost */

#if LISTEN_SAMPLES_ARE_FLOAT
#define UNIT 1.0f
#else
#define UNIT (1.0f / 32768.0f)
#endif

static inline int32_t place_of(int32_t begin, int32_t i)
{
    begin += i;
    return begin < LISTEN_FRAME_SAMPLES ? begin : begin - LISTEN_FRAME_SAMPLES;
}

/* A value of the low pass whose taps all lie in the frame, and do not run around the ring. */
static float filtered_inside(const embed_sample *x)
{
    int32_t tap;
    float sum = 0.0f;
    for (tap = 0; tap < LISTEN_WAVE_TAPS; tap++) {
        sum += (float)x[tap] * listen_low_pass[tap];
    }
    return sum * UNIT;
}

static float filtered_at_edge(const embed_sample *frame, int32_t begin, int32_t first)
{
    int32_t tap;
    float sum = 0.0f;
    for (tap = 0; tap < LISTEN_WAVE_TAPS; tap++) {
        int32_t i = first + tap;
        if (i >= 0 && i < LISTEN_FRAME_SAMPLES) {
            sum += (float)frame[place_of(begin, i)] * listen_low_pass[tap];
        }
    }
    return sum * UNIT;
}

static float filtered(const embed_sample *frame, int32_t begin, int32_t k)
{
    int32_t first = k * LISTEN_WAVE_STEP - REACH;
    if (first >= 0 && first + LISTEN_WAVE_TAPS <= LISTEN_FRAME_SAMPLES) {
        int32_t place = place_of(begin, first);
        if (place + LISTEN_WAVE_TAPS <= LISTEN_FRAME_SAMPLES) {
            return filtered_inside(frame + place);
        }
    }
    return filtered_at_edge(frame, begin, first);
}

static float rms_of(const embed_sample *frame, int32_t begin)
{
    int32_t k = 0;
    float total = 0.0f;
    while (k < LISTEN_WAVE_SAMPLES) {
        int32_t end = k + SUMMED < LISTEN_WAVE_SAMPLES ? k + SUMMED : LISTEN_WAVE_SAMPLES;
        float sum = 0.0f;
        for (; k < end; k++) {
            float value = filtered(frame, begin, k);
            sum += value * value;
        }
        total += sum;
    }
    return sqrtf(total / (float)LISTEN_WAVE_SAMPLES);
}

/* Within -1 and 1, the mu-law of telephony. */
static float companded(float value)
{
    float size;
    value = value > -1.0f ? value : -1.0f;
    value = value < 1.0f ? value : 1.0f;
    size = value < 0.0f ? -value : value;
    size = listen_logarithm(1.0f + LISTEN_WAVE_MU * size) / LISTEN_WAVE_LOG;
    return value < 0.0f ? -size : size;
}

static listen_value quantised(float value)
{
    float steps = value / LISTEN_WAVE_SCALE;
    float low = (float)(LISTEN_VALUE_MIN - LISTEN_WAVE_ZERO);
    float high = (float)(LISTEN_VALUE_MAX - LISTEN_WAVE_ZERO);
    uint32_t bits;
    steps = steps > low ? steps : low;
    steps = steps < high ? steps : high;
    steps += 12582912.0f; /* 1.5 * 2^23: to nearest, halves to even */
    memcpy(&bits, &steps, sizeof bits);
    return (listen_value)((int32_t)(bits - 0x4B400000u) + LISTEN_WAVE_ZERO);
}

void listen_wave(const embed_sample *frame, int32_t begin, listen_value *wave)
{
    int32_t k;
    float rms = rms_of(frame, begin), loudness;
    rms = rms > LISTEN_WAVE_LEAST_RMS ? rms : LISTEN_WAVE_LEAST_RMS;
    loudness = rms * LISTEN_WAVE_HEADROOM;
    for (k = 0; k < LISTEN_WAVE_SAMPLES; k++) {
        wave[k] = quantised(companded(filtered(frame, begin, k) / loudness));
    }
}

#endif
