/* Run inputs through a library and write what it gives.
 *
 * Input: int32 block size, int32 number of network inputs, int32 number of samples; the network
 * inputs, which are steps in order for one that streams; the samples, and they twice more, of which
 * the beginning is counted. Output: for each network input its embedding; for each frame its picture,
 * its waveform if any, and its embedding; at last six int32: frames, ticks of the network alone, of a
 * first frame (of one that streams: of a later step) and of a loop that tells what a tick is, bytes of
 * stack and of
 * memory.
 */
#include "check.h"

#include "listen_embed.h"

#define LOOPS 1000000

static listen_value input[LISTEN_INPUT_SIZE + LISTEN_WAVE_SAMPLES];
static embed_value embedding[EMBED_SIZE];
static embed_sample block[4096];

static void write_picture(const listen_value *values, void *context)
{
    (void)context;
    check_write(values, LISTEN_INPUT_SIZE * sizeof *values);
#if LISTEN_WAVE_SAMPLES
    check_write(embed_wave(), LISTEN_WAVE_SAMPLES * sizeof *values);
#endif
}

static void write_embedding(const embed_value *values, void *context)
{
    (void)context;
    check_write(values, sizeof embedding);
}

/* Twice LOOPS instructions, to tell what a tick is. */
static uint32_t ticks_of_loops(void)
{
    uint32_t before = check_ticks();
#if defined(__arm__)
    uint32_t n = LOOPS;
    __asm__ volatile("1: subs %0, %0, #1\n bne 1b" : "+r"(n) : : "cc");
#endif
    return check_ticks() - before;
}

static uint32_t run_networks(int32_t n)
{
    uint32_t ticks = 0;
    for (; n > 0; n--) {
        uint32_t before;
        check_read(input, sizeof input);
        before = check_ticks();
        embed_run_network(input, embedding);
        ticks = check_ticks() - before;
        check_write(embedding, sizeof embedding);
    }
    return ticks;
}

/* Without handlers, so that nothing but the library is counted. */
static uint32_t push(int32_t left)
{
    uint32_t ticks = 0;
    int32_t taken;
    for (; left > 0; left -= taken) {
        uint32_t before;
        taken = left < 4096 ? left : 4096;
        check_read(block, (size_t)taken * sizeof *block);
        before = check_ticks();
        embed_push(block, (size_t)taken);
        ticks += check_ticks() - before;
    }
    return ticks;
}

static uint32_t run_one_frame(void)
{
    embed_init();
#if LISTEN_STATE_BYTES
    push(LISTEN_FRAME_SAMPLES);
    return push(LISTEN_FRAME_HOP);
#else
    return push(LISTEN_FRAME_HOP > LISTEN_FRAME_SAMPLES ? LISTEN_FRAME_HOP : LISTEN_FRAME_SAMPLES);
#endif
}

static int32_t run_stream(int32_t size, int32_t n)
{
    int32_t taken, frames = 0;
    embed_init();
    embed_on_picture(write_picture, NULL);
    embed_on_frame(write_embedding, NULL);
    for (; n > 0; n -= taken) {
        taken = n < size ? n : size;
        check_read(block, (size_t)taken * sizeof *block);
        frames += embed_push(block, (size_t)taken);
    }
    return frames;
}

int main(void)
{
    int32_t head[3];
    uint32_t tail[6];
    check_open();
    check_read(head, sizeof head);
    embed_init();
    tail[1] = run_networks(head[1]);
    tail[0] = (uint32_t)run_stream(head[0], head[2]);
    tail[2] = run_one_frame();
    tail[3] = ticks_of_loops();
    tail[4] = check_stack_bytes();
    tail[5] = check_memory_bytes();
    check_write(tail, sizeof tail);
    check_close();
    return 0;
}
