"""What the training loop asks of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from listen_embed.pretrain.encoder import Architecture, Encoder
from listen_embed.pretrain.masking import Mask


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips to learn from.

    Attributes
    ----------
    log_mels : Tensor, float32 (B, V, F, T)
        V views of each clip, the method's `n_views`; where it `borrows` there is one more, of
        noise with groups of patches of another sound.
    masks : Tensor, bool (B, V, N)
        Hidden patches of each view.
    """

    log_mels: Tensor
    masks: Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """What a batch gave.

    Attributes
    ----------
    total : Tensor (B,)
        The loss of each clip.
    parts : mapping of str to Tensor (B,)
        What people like to watch.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


class Method(nn.Module, ABC):
    """An encoder and what teaches it.

    Attributes
    ----------
    name : str
    n_views : int
        Views of a clip that it looks at.
    rate : float
        The learning rate that suits it at "micro".
    borrows : bool
        Whether it puts noise and patches of other sounds in the place of hidden ones.
    encoder : Encoder
        What is wanted of it in the end.
    """

    name: ClassVar[str]
    n_views: ClassVar[int] = 1
    rate: ClassVar[float] = 1e-3
    borrows: ClassVar[bool] = False
    encoder: Encoder

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()

    @classmethod
    @abstractmethod
    def masks(cls, architecture: Architecture, rng: np.random.Generator) -> Mask:
        """Return what one clip hides, bool (n_views, N)."""

    @abstractmethod
    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch, clip by clip."""

    @abstractmethod
    def painted(self, batch: Batch) -> Tensor:
        """Return log-mels (B, F, T) with the hidden patches as the encoder imagines them."""

    def after_step(self, share: float) -> None:
        """Follow the encoder, where something does; `share` of the run is over."""


def hidden_of(rows: Tensor, mask: Tensor) -> Tensor:
    """Return (B, M, d) of (B, N, d), where every clip hides M."""
    return rows[mask].reshape(len(rows), -1, rows.shape[-1])
