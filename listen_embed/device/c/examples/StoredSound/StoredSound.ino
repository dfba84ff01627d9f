// Embeds a stored sound, without any wiring, and says how far the result is from Python's.
#include <listen_embed.h>

#include "sound.h"

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
}

void loop() {
  embed_init();
  unsigned long begin = millis();
  int sample = 0;
  while (!embed_push(&SOUND[sample], 1)) {  // over and over, until a frame is complete
    sample = (sample + 1) % SOUND_SAMPLES;
  }
  unsigned long spent = millis() - begin;
  embed_value embedding[EMBED_SIZE];
  embed_get_integers(embedding);
  float apart = 0;
  for (int i = 0; i < EMBED_SIZE; i++) {
    apart = fmaxf(apart, fabsf(embedding[i] - EXPECTED[i]));
  }
  Serial.print(spent);
  Serial.print(" ms, steps from Python: ");
  Serial.println(apart, 7);
  delay(1000);
}
