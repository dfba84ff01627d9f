/* What JavaScript calls: samples and results pass through memory that both sides see. */
#include "listen_embed.h"

#if LISTEN_HAS_HEADS
#include "listen_heads.h"
#endif

#define EXPORTED(name) __attribute__((export_name(name)))
#define BLOCK 4096

static embed_sample samples[BLOCK];
static float embedding[EMBED_SIZE];
#if LISTEN_HAS_HEADS && LISTEN_CLASSES
static float probabilities[EMBED_CLASSES];
#endif

EXPORTED("init") void web_init(void)
{
    embed_init();
#if LISTEN_HAS_HEADS
    embed_heads_init();
#endif
}

EXPORTED("samples") embed_sample *web_samples(void)
{
    return samples;
}

EXPORTED("embedding") float *web_embedding(void)
{
    return embedding;
}

/* Take `n` samples, BLOCK and a hop at most; return whether they completed a frame. */
EXPORTED("push") int web_push(int n)
{
    int frames = embed_push(samples, (size_t)n);
    if (frames > 0) {
        embed_get(embedding);
    }
    return frames;
}

EXPORTED("block") int web_block(void)
{
    return BLOCK < EMBED_HOP_SAMPLES ? BLOCK : EMBED_HOP_SAMPLES;
}

EXPORTED("size") int web_size(void)
{
    return EMBED_SIZE;
}

EXPORTED("rate") int web_rate(void)
{
    return EMBED_SAMPLE_RATE;
}

EXPORTED("hop") int web_hop(void)
{
    return EMBED_HOP_SAMPLES;
}

#if LISTEN_HAS_HEADS && LISTEN_CLASSES
EXPORTED("classes") int web_classes(void)
{
    return EMBED_CLASSES;
}

EXPORTED("classify") int web_classify(void)
{
    return embed_classify(embedding, probabilities);
}

EXPORTED("probabilities") float *web_probabilities(void)
{
    return probabilities;
}

EXPORTED("label") const char *web_label(int number)
{
    return embed_label(number);
}
#endif

#if LISTEN_HAS_HEADS && (LISTEN_ANOMALY_MAHALANOBIS || LISTEN_ANOMALY_NEIGHBORS)
EXPORTED("anomaly") float web_anomaly(void)
{
    return embed_anomaly_score(embedding);
}
#endif
