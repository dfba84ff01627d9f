/* Embeds a stored sound and says how far the result is from Python's. */
#include <stdio.h>
#include <stdlib.h>

#include "listen_embed.h"

#include "sound.h"

int main(void)
{
    embed_value embedding[EMBED_SIZE];
    int i = 0, apart = 0;
    embed_init();
    while (!embed_push(&SOUND[i], 1)) { /* over and over, until a frame is complete */
        i = (i + 1) % SOUND_SAMPLES;
    }
    embed_get_integers(embedding);
    for (i = 0; i < EMBED_SIZE; i++) {
        int difference = abs(embedding[i] - EXPECTED[i]);
        apart = difference > apart ? difference : apart;
    }
    printf("steps from Python: %d\n", apart);
    return 0;
}
