"""Tell how unlike a sound machine other recordings of it, or of others, are.

Usage: python compare_machines.py NORMAL OTHER...
For example, in examples/audio: motor.flac motor-again.flac motor-fault.flac fan.flac
"""

import sys

import numpy as np

import listen_embed
from listen_embed.heads import Anomaly

normal, *others = sys.argv[1:]

# Steady sound is what log-mel statistics tell best; uncentred frames hold no silence before it.
embedder = listen_embed.Embedder("logmel", hop_size=0.05, center=False)
embedding, _ = embedder.embed_file(normal)
first, second = np.array_split(embedding, 2)
anomaly = Anomaly(embedder, kind="knn").learn(first)
usual = float(np.median(anomaly.score(second)))

print(f"score 1: as far from the first half of {normal} as its own second half")
for result in listen_embed.embed_files(others, "logmel", hop_size=0.05, center=False):
    score = float(np.median(anomaly.score(result.embedding))) / usual
    print(f"{result.path}: score {score:.1f}{'  <- listen to this one' if score > 5 else ''}")
