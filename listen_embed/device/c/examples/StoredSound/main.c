/* Embeds a stored sound and says how far the result is from Python's. */
#include <math.h>
#include <stdio.h>

#include "listen_embed.h"

#include "sound.h"

int main(void)
{
    embed_value embedding[EMBED_SIZE];
    int i = 0;
    double apart = 0;
    embed_init();
    while (!embed_push(&SOUND[i], 1)) { /* over and over, until a frame is complete */
        i = (i + 1) % SOUND_SAMPLES;
    }
    embed_get_integers(embedding);
    for (i = 0; i < EMBED_SIZE; i++) {
        double difference = fabs((double)embedding[i] - EXPECTED[i]);
        apart = difference > apart ? difference : apart;
    }
    printf("steps from Python: %g\n", apart);
    return 0;
}
