"""How good is an encoder, without labels: it should know which recording a crop is from.

Two crops of a stretch of sound, as far apart as they can be, should be nearer to each other than to
any other's. Log-mel statistics answer the same question beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from listen_embed.pretrain.encoder import Encoder, front_end
from listen_embed.pretrain.material import log_mels_of
from listen_embed.training.corpus import Corpus

Array = NDArray[np.float32]

_MOST = 400
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Pairs:
    """Crops that belong together.

    Attributes
    ----------
    log_mels : ndarray, float32 (2, n, F, T)
        Row i of the first and row i of the second are of one stretch of sound.
    """

    log_mels: Array

    def score(self, embeddings: Array) -> float:
        """Return the share of first crops whose nearest second crop is their own.

        Parameters
        ----------
        embeddings : ndarray, float32 (2, n, D)
        """
        flat = embeddings.reshape(-1, embeddings.shape[-1])
        scaled = (embeddings - flat.mean(0)) / (flat.std(0) + 1e-6)
        scaled /= np.linalg.norm(scaled, axis=-1, keepdims=True) + 1e-12
        alike = scaled[0] @ scaled[1].T
        return float(np.mean(alike.argmax(1) == np.arange(len(alike))))

    def statistics(self) -> Array:
        """Return means and deviations over time of every band (2, n, 2 F)."""
        parts = [self.log_mels.mean(-1), self.log_mels.std(-1)]
        return np.concatenate(parts, axis=-1)

    def embedded(self, encoder: Encoder) -> Array:
        """Return an encoder's embeddings (2, n, D); it is left in the mode it was found in."""
        was_training = encoder.training
        encoder.eval()
        flat = self.log_mels.reshape(-1, *self.log_mels.shape[2:])
        embeddings = embedded(encoder, flat)
        encoder.train(was_training)
        return embeddings.reshape(*self.log_mels.shape[:2], -1)


def pairs_of(heard: Corpus, n_steps: int, seed: int = 0) -> Pairs:
    """Return pairs of crops from the longest stretches of a corpus, at most 400."""
    n = front_end(n_steps).frame_samples
    lengths = np.diff(heard.bounds)
    long_enough = np.flatnonzero(lengths >= 2 * n)
    chosen = np.random.default_rng(seed).permutation(long_enough)[:_MOST]
    firsts = [heard.samples[heard.bounds[s] : heard.bounds[s] + n] for s in chosen]
    lasts = [heard.samples[heard.bounds[s + 1] - n : heard.bounds[s + 1]] for s in chosen]
    sounds = np.array([firsts, lasts], np.float32).reshape(-1, n) / np.float32(32768)
    if not len(chosen):
        return Pairs(np.zeros((2, 0, 1, 1), np.float32))
    log_mels = log_mels_of(sounds, n_steps)
    return Pairs(log_mels.reshape(2, len(chosen), *log_mels.shape[1:]))


@torch.no_grad()
def embedded(encoder: Encoder, log_mels: Array) -> Array:
    """Return embeddings (n, D) of log-mels (n, F, T), float32."""
    device = next(encoder.parameters()).device
    parts = [
        encoder(torch.from_numpy(log_mels[i : i + _AT_ONCE, None]).to(device)).float().cpu().numpy()
        for i in range(0, len(log_mels), _AT_ONCE)
    ]
    return np.concatenate(parts)
