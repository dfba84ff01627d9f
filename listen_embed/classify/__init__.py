"""Labelled sound -> a classifier: heads on frozen embeddings, LEAN, fine-tuning.

`train` makes a classifier's folder of labelled clips, and needs the extra ``training``;
`SoundClassifier` uses one, and needs nothing beyond the package. Reading order: `labelled` (clips
and their labels), `parts` (what is learned from, what is held out), then the methods `head`,
`lean` and `finetune`, each of which gives a model and a `layer` of classes; `folder` writes them,
`classifier` reads them.
"""

from listen_embed.classify.classifier import SoundClassifier
from listen_embed.classify.labelled import LabelledClips, read_labelled

__all__ = ["LabelledClips", "SoundClassifier", "read_labelled"]
