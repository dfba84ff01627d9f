/* What the front ends in float and in integers do alike, after the transform.
 *
 * For them alone: before they include it they define `listen_energy`, the type of sums of energies,
 * ONE, a slope's greatest weight, `load`, `energies`, `energy_of` a bin and `pixel_of` a band. */
#ifndef LISTEN_BANDS_H
#define LISTEN_BANDS_H

#include <string.h>

#include "listen_transform.h"

#if LISTEN_HAS_MELS

#if LISTEN_MEL_SLOPES_SUM_TO_ONE
#define FALL(i) (ONE - listen_rise[i])
#else
#define FALL(i) listen_fall[i]
#endif

static LISTEN_APART void finish(const listen_real *z, listen_pixel *column)
{
    int32_t gap, bin = listen_mel_edges[0];
    listen_energy rising, falling, before = 0;
    for (gap = 0; gap <= LISTEN_BANDS; gap++) {
        rising = falling = 0;
        for (; bin < listen_mel_edges[gap + 1]; bin++) {
            listen_energy energy = energy_of(z, bin);
            rising += energy * listen_rise[bin - listen_mel_edges[0]];
            falling += energy * FALL(bin - listen_mel_edges[0]);
        }
        if (gap > 0) {
            column[gap - 1] = pixel_of(before + falling);
        }
        before = rising;
    }
}

#else

static LISTEN_APART void finish(const listen_real *z, listen_pixel *column)
{
    int32_t bin;
    for (bin = 0; bin < LISTEN_BANDS; bin++) {
        column[bin] = pixel_of(energy_of(z, bin));
    }
}

#endif

void listen_column(const embed_sample *samples, int32_t origin, int32_t begin, void *scratch,
                   listen_pixel *column)
{
    listen_real *z = scratch;
    if (LISTEN_WINDOW < LISTEN_FFT) {
        memset(z, 0, sizeof(listen_real) * LISTEN_FFT);
    }
    load(samples, origin, begin, z);
    transform(z);
    energies(z);
    finish(z, column);
}

#endif
