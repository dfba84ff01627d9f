#include "listen_embed.h"

#include <string.h>

#include "listen_front_end.h"
#include "listen_wave.h"

/* All memory of the network and of the front end, which never run at once. */
static union {
    int8_t bytes[LISTEN_ARENA_BYTES];
    float aligned_for_floats;
    int64_t aligned_for_sums;
} arena;

/* The stream. Columns whose window lies inside the sound are computed once and kept in a ring;
 * those that reach beyond an end of their frame are computed for each frame, the left ones as soon
 * as their samples are there. */
static struct {
    embed_sample samples[LISTEN_CAPACITY];
#if LISTEN_WAVE_SAMPLES
    embed_sample frame[LISTEN_FRAME_SAMPLES]; /* a ring */
    int32_t frame_next;
#endif
    listen_pixel ring[LISTEN_RING_COLUMNS][LISTEN_BANDS];
#if LISTEN_LEFT_COLUMNS
    listen_pixel left[LISTEN_LEFT_SLOTS][LISTEN_LEFT_COLUMNS][LISTEN_BANDS];
    int32_t left_written, left_read;
#endif
#if LISTEN_RIGHT_COLUMNS
    listen_pixel right[LISTEN_RIGHT_COLUMNS][LISTEN_BANDS];
#endif
    int32_t n_samples;
    int32_t until_column, until_left, until_frame; /* samples */
    int32_t columns_to_skip, column_of_hop, ring_next;
#if LISTEN_STATE_BYTES
    float state[LISTEN_STATE_BYTES / sizeof(float)]; /* what the network remembers */
#endif
    embed_value embedding[LISTEN_EMBEDDING_SIZE];
    embed_handler handler;
    void *context;
    embed_picture_handler picture_handler;
    void *picture_context;
} stream;

void embed_init(void)
{
    memset(&stream, 0, sizeof stream);
    stream.until_column = LISTEN_FIRST_COLUMN_AT;
    stream.until_left = LISTEN_LEFT_AT;
    stream.until_frame = LISTEN_FRAME_SAMPLES;
    stream.columns_to_skip = LISTEN_COLUMNS_TO_SKIP;
}

/* ---- columns ---- */

/* `now`: how many samples of the frame have arrived. */
static void compute(int32_t now, int32_t column, listen_pixel *to)
{
    listen_column(stream.samples, now - stream.n_samples,
                  column * LISTEN_COLUMN_HOP + LISTEN_COLUMN_0_AT, arena.bytes, to);
}

static void add_column(void)
{
    int needed = LISTEN_HOP_COLUMNS <= LISTEN_RING_COLUMNS ||
                 stream.column_of_hop < LISTEN_RING_COLUMNS;
    if (stream.columns_to_skip > 0) {
        stream.columns_to_skip--;
        return;
    }
    if (needed) {
        compute(LISTEN_FIRST_INNER_ENDS, LISTEN_LEFT_COLUMNS, stream.ring[stream.ring_next]);
        stream.ring_next = (stream.ring_next + 1) % LISTEN_RING_COLUMNS;
    }
    stream.column_of_hop = (stream.column_of_hop + 1) % LISTEN_HOP_COLUMNS;
}

static void add_left_columns(void)
{
#if LISTEN_LEFT_COLUMNS
    int32_t column;
    for (column = 0; column < LISTEN_LEFT_COLUMNS; column++) {
        compute(LISTEN_LEFT_AT, column, stream.left[stream.left_written][column]);
    }
    stream.left_written = (stream.left_written + 1) % LISTEN_LEFT_SLOTS;
#endif
}

static void add_right_columns(void)
{
#if LISTEN_RIGHT_COLUMNS
    int32_t column;
    for (column = 0; column < LISTEN_RIGHT_COLUMNS; column++) {
        compute(LISTEN_FRAME_SAMPLES, LISTEN_LEFT_COLUMNS + LISTEN_INNER_COLUMNS + column,
                stream.right[column]);
    }
#endif
}

static const listen_pixel *column_of_frame(int32_t column)
{
    int32_t inner = column - LISTEN_LEFT_COLUMNS;
#if LISTEN_LEFT_COLUMNS
    if (inner < 0) {
        return stream.left[stream.left_read][column];
    }
#endif
#if LISTEN_RIGHT_COLUMNS
    if (inner >= LISTEN_INNER_COLUMNS) {
        return stream.right[inner - LISTEN_INNER_COLUMNS];
    }
#endif
    return stream.ring[(stream.ring_next + inner) % LISTEN_RING_COLUMNS];
}

/* ---- frames ---- */

#if LISTEN_DEPENDS_ON_FRAME
static float peak_of_frame(void)
{
    int32_t column, band;
    float peak = column_of_frame(0)[0];
    for (column = 0; column < LISTEN_STEPS; column++) {
        const float *values = column_of_frame(column);
        for (band = 0; band < LISTEN_BANDS; band++) {
            peak = values[band] > peak ? values[band] : peak;
        }
    }
    return peak;
}

static listen_value finished(float value, float peak)
{
    float lowest = peak - LISTEN_DYNAMIC_RANGE;
    value = LISTEN_DYNAMIC_RANGE > 0.0f && value < lowest ? lowest : value;
    return listen_quantised(LISTEN_SUBTRACTS_PEAK ? value - peak : value);
}
#else
#define peak_of_frame() 0
#define finished(value, peak) ((void)(peak), (value))
#endif

/* Put bands before time, which is how the network takes the picture. */
static void draw(listen_value *picture)
{
    int32_t column, band;
    listen_pixel peak = peak_of_frame();
    for (column = 0; column < LISTEN_STEPS; column++) {
        const listen_pixel *values = column_of_frame(column);
        for (band = 0; band < LISTEN_BANDS; band++) {
            picture[band * LISTEN_STEPS + column] = finished(values[band], peak);
        }
    }
}

#if LISTEN_WAVE_SAMPLES
static listen_value *wave_of_frame(void)
{
    return (listen_value *)(void *)(arena.bytes + LISTEN_WAVE_AT);
}

const listen_value *embed_wave(void)
{
    return wave_of_frame();
}
#endif

static void run_network(embed_value *embedding)
{
#if LISTEN_STATE_BYTES
    listen_network(arena.bytes, (int8_t *)stream.state);
#else
    listen_network(arena.bytes);
#endif
    memcpy(embedding, arena.bytes + LISTEN_OUTPUT_AT, sizeof stream.embedding);
}

static void finish_frame(void)
{
    listen_value *picture = (listen_value *)(void *)(arena.bytes + LISTEN_INPUT_AT);
    add_right_columns();
    draw(picture);
#if LISTEN_WAVE_SAMPLES
    listen_wave(stream.frame, stream.frame_next, wave_of_frame());
#endif
#if LISTEN_LEFT_COLUMNS
    stream.left_read = (stream.left_read + 1) % LISTEN_LEFT_SLOTS;
#endif
    if (stream.picture_handler) {
        stream.picture_handler(picture, stream.picture_context);
    }
    run_network(stream.embedding);
    if (stream.handler) {
        stream.handler(stream.embedding, stream.context);
    }
}

/* ---- samples ---- */

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* A wave encoder hears the frame as a whole, when all of it has arrived. */
static void keep_frame(const embed_sample *samples, int32_t n)
{
#if LISTEN_WAVE_SAMPLES
    int32_t first = least(n, LISTEN_FRAME_SAMPLES - stream.frame_next);
    memcpy(stream.frame + stream.frame_next, samples, (size_t)first * sizeof(embed_sample));
    memcpy(stream.frame, samples + first, (size_t)(n - first) * sizeof(embed_sample));
    stream.frame_next = (stream.frame_next + n) % LISTEN_FRAME_SAMPLES;
#else
    (void)samples;
    (void)n;
#endif
}

static void forget_old_samples(void)
{
    int32_t kept = least(stream.n_samples, LISTEN_CAPACITY - LISTEN_COLUMN_HOP);
    memmove(stream.samples, stream.samples + (stream.n_samples - kept),
            (size_t)kept * sizeof(embed_sample));
    stream.n_samples = kept;
}

/* Whatever is due now, the oldest need for samples first. */
static int fire(void)
{
    int frames = 0, is_column_due = stream.until_column == 0;
    if (stream.until_left == 0) {
        add_left_columns();
        stream.until_left = LISTEN_FRAME_HOP;
    }
    if (is_column_due) {
        add_column();
        stream.until_column = LISTEN_COLUMN_HOP;
    }
    if (stream.until_frame == 0) {
        finish_frame();
        stream.until_frame = LISTEN_FRAME_HOP;
        frames = 1;
    }
    if (is_column_due) {
        forget_old_samples();
    }
    return frames;
}

int embed_push(const embed_sample *samples, size_t n)
{
    int frames = 0;
    while (n > 0) {
        int32_t due = least(stream.until_column, least(stream.until_left, stream.until_frame));
        int32_t taken = n < (size_t)due ? (int32_t)n : due;
        memcpy(stream.samples + stream.n_samples, samples, (size_t)taken * sizeof(embed_sample));
        keep_frame(samples, taken);
        stream.n_samples += taken;
        stream.until_column -= taken;
        stream.until_left -= taken;
        stream.until_frame -= taken;
        samples += taken;
        n -= (size_t)taken;
        frames += fire();
    }
    return frames;
}

/* ---- results ---- */

void embed_get(float *embedding)
{
    int32_t i;
    for (i = 0; i < LISTEN_EMBEDDING_SIZE; i++) {
        embedding[i] = (float)(stream.embedding[i] - LISTEN_OUTPUT_ZERO) * LISTEN_OUTPUT_SCALE;
    }
}

void embed_get_integers(embed_value *embedding)
{
    memcpy(embedding, stream.embedding, sizeof stream.embedding);
}

void embed_on_frame(embed_handler handler, void *context)
{
    stream.handler = handler;
    stream.context = context;
}

void embed_on_picture(embed_picture_handler handler, void *context)
{
    stream.picture_handler = handler;
    stream.picture_context = context;
}

void embed_run_network(const listen_value *input, embed_value *embedding)
{
    memcpy(arena.bytes + LISTEN_INPUT_AT, input,
           sizeof(listen_value) * LISTEN_BANDS * LISTEN_STEPS);
#if LISTEN_WAVE_SAMPLES
    memcpy(wave_of_frame(), input + LISTEN_BANDS * LISTEN_STEPS,
           sizeof(listen_value) * LISTEN_WAVE_SAMPLES);
#endif
    run_network(embedding);
}
