"""Embed sound as it arrives, 50 ms at a time, as a microphone would give it.

Usage: python streaming.py RECORDING
"""

import sys

import numpy as np
import soundfile

import listen_embed

path = sys.argv[1]
embedder = listen_embed.Embedder(hop_size=0.5)

with soundfile.SoundFile(path) as microphone:
    sr = microphone.samplerate
    stream = embedder.stream(sr)
    print(f"an embedding comes {stream.latency:.2f} s after the moment that it stands for")
    before = None
    for number, block in enumerate(microphone.blocks(sr // 20, dtype="float32")):
        embedding, timestamps = stream.push(block)  # often none, sometimes several
        for vector, timestamp in zip(embedding, timestamps, strict=True):
            change = 0.0 if before is None else float(np.sqrt(np.mean((vector - before) ** 2)))
            heard = (number + 1) / 20
            print(f"{heard:5.2f} s heard: embedding of {timestamp:4.1f} s, {change:5.2f} new")
            before = vector

embedding, timestamps = stream.push(np.zeros(0, np.float32), last=True)
print(f"the end adds {len(timestamps)} more")
