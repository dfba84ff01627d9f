"""Encoders that learned without labels, as bases; and the one door to a base of any kind.

``listen-embed pretrain`` writes them; a frame is what an encoder says of one column of patches.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from listen_embed import registry
from listen_embed.classify import bases
from listen_embed.classify.bases import Base
from listen_embed.pretrain import encoder as encoders
from listen_embed.pretrain import pretrain
from listen_embed.pretrain.encoder import Encoder


class PatchColumns(nn.Module):
    """An encoder up to its tokens; the mean of its frames is the encoder's embedding."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, log_mels: Tensor) -> Tensor:
        """Return frames (B, T, emb_dim) of log-mels (B, 1, n_bands, n_steps)."""
        encoder, shape = self.encoder, self.encoder.architecture
        rows = encoder.patches(log_mels.flatten(1, 2))
        tokens = encoder.tokens(encoder.embedded(rows))[:, shape.n_extra :]
        columns = tokens.reshape(len(tokens), shape.grid[0], -1, shape.width)
        return columns.mean(1) if shape.pool == "mean" else columns.transpose(1, 2).flatten(2)

    @torch.no_grad()
    def lasting(self, n_steps: int) -> PatchColumns:
        """Return a copy whose positions are those of log-mels of so many columns."""
        made = copy.deepcopy(self)
        encoder, old = made.encoder, self.encoder.architecture
        encoder.architecture = replace(old, n_steps=n_steps)
        grid = encoder.architecture.grid
        positions = self.encoder.positions(grid[0] * grid[1])
        encoder.position = nn.Parameter(positions.T.reshape(old.width, *grid).clone())
        return made


def base_of(model: str) -> Base:
    """Return the base that a model's name gives, or a folder.

    Raises
    ------
    InputError
        The model is none that can be trained, or a damaged encoder.
    """
    spec = registry.find(model)
    folder = Path(model).expanduser()
    if not (folder / pretrain.WEIGHTS).is_file():
        return bases.of_model(model)
    found = of_encoder(spec.name, pretrain.load(folder))
    return replace(found, licence=spec.licence, source=spec.source)


def of_encoder(name: str, encoder: Encoder) -> Base:
    """Return an encoder as a base."""
    shape = encoder.architecture
    front_end = encoders.front_end(shape.n_steps)
    layers = (encoder.to_token, *encoder.blocks, encoder.norm)

    def fitting(n_samples: int) -> int:
        columns = shape.patch[1]
        hop, other = front_end.hop_samples, encoders.front_end(columns).frame_samples
        n_patches = 1 + max(0, round((n_samples - other) / (hop * columns)))
        return encoders.front_end(n_patches * columns).frame_samples

    return Base(name, PatchColumns(encoder), front_end, shape.emb_dim, layers, fitting=fitting)
