"""Find the moments of a recording that sound like a given one.

Usage: python find_similar.py RECORDING SECONDS
For example: audio/pump.flac 4.0, a moment when the pump cavitates.
"""

import sys

import numpy as np

import listen_embed

path, moment = sys.argv[1], float(sys.argv[2])

embedder = listen_embed.Embedder(hop_size=0.25)
embedding, timestamps = embedder.embed_file(path)

# What the whole recording has in common says nothing about a moment of it.
deviations = embedding - embedding.mean(axis=0)
unit = deviations / np.linalg.norm(deviations, axis=1, keepdims=True)
asked = int(np.argmin(np.abs(timestamps - moment)))
likeness = unit @ unit[asked]

print(f"{path}: likeness to {timestamps[asked]:.2f} s, by {embedder.spec.name}")
for time, value in zip(timestamps, likeness, strict=True):
    print(f"{time:7.2f} s  {value:+.2f}  {'#' * round(40 * max(0, value))}")
