"""Teach a classifier one second of every sound, and let it name the rest of them.

Usage: python few_shot.py SOUND...
For example, in examples/audio: motor.flac motor-fault.flac fan.flac speech.flac
"""

import sys
from pathlib import Path

import listen_embed
from listen_embed.heads import Classifier

TAUGHT_SECONDS = 1.0

embedder = listen_embed.Embedder(center=False)
frame = embedder.spec.front_end.frame_seconds
taught, labels, rest = [], [], {}
for path in sys.argv[1:]:
    embedding, timestamps = embedder.embed_file(path)
    label = Path(path).stem
    # A frame that starts within the first second still hears a little of the next.
    is_taught = timestamps <= TAUGHT_SECONDS
    taught.extend(embedding[is_taught])
    labels.extend([label] * int(is_taught.sum()))
    rest[label] = embedding[timestamps >= TAUGHT_SECONDS + frame]

classifier = Classifier(embedder).learn(taught, labels)
for label, embedding in rest.items():
    answers = classifier.predict(embedding)
    print(f"{label}: {answers.count(label)} of {len(answers)} frames named rightly")
