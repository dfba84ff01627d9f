"""SSAST: tell which hidden patch is which, and paint it.

Source: Gong et al., "SSAST: Self-Supervised Audio Spectrogram Transformer" (AAAI 2022), section
2.4; ssast, src/models/ast_models.py, ``mpc`` and ``mpg``. SSAMBA has the same objective.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from listen_embed.pretrain import masking
from listen_embed.pretrain.encoder import Architecture, Encoder
from listen_embed.pretrain.method import Batch, Losses, Method, hidden_of

# 400 of 512 patches. Source: ssast, run_mask_patch.sh.
_MASKED = 400 / 512
_GENERATIVE = 10.0


class Ssast(Method):
    """The encoder and its two heads.

    Parameters
    ----------
    architecture : Architecture
    """

    name = "ssast"
    n_views = 1

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.encoder = Encoder(architecture)
        n_values = architecture.patch[0] * architecture.patch[1]
        self.hidden = nn.Parameter(torch.zeros(architecture.width))
        nn.init.trunc_normal_(self.hidden, std=0.02)
        self.discriminative = _head(architecture.width, n_values)
        self.generative = _head(architecture.width, n_values)

    @classmethod
    def masks(cls, architecture: Architecture, rng: np.random.Generator) -> masking.Mask:
        """Return what one clip hides (n_views, N)."""
        high, long = architecture.grid
        return masking.clusters(architecture.grid, round(_MASKED * high * long), rng)[None]

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch, clip by clip."""
        rows, mask = self.encoder.patches(batch.log_mels[:, 0]), batch.masks[:, 0]
        tokens = self._hidden_tokens(rows, mask)
        wanted = hidden_of(rows, mask)
        # Which of the hidden patches, in rows, is each prediction, in columns?
        alike = wanted @ self.discriminative(tokens).float().transpose(1, 2)
        right = torch.arange(wanted.shape[1], device=rows.device).expand(len(rows), -1)
        found = functional.cross_entropy(alike, right, reduction="none").mean(1)
        painted = (self.generative(tokens).float() - wanted).pow(2).mean((1, 2))
        return Losses(
            total=found + _GENERATIVE * painted,
            parts={
                "InfoNCE": found,
                "reconstruction": painted,
                "found": (alike.argmax(1) == right).float().mean(1),
            },
        )

    @torch.no_grad()
    def painted(self, batch: Batch) -> Tensor:
        """Return log-mels (B, F, T) with the hidden patches as the encoder imagines them."""
        rows, mask = self.encoder.patches(batch.log_mels[:, 0]), batch.masks[:, 0]
        filled = rows.clone()
        filled[mask] = self.generative(self._hidden_tokens(rows, mask)).to(rows.dtype).flatten(0, 1)
        return self.encoder.patches.joined(filled, batch.log_mels.shape[2])

    def _hidden_tokens(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Return the tokens of the hidden patches (B, M, width)."""
        embedded = self.encoder.embedded(rows)
        shown = torch.where(mask[..., None], self.hidden.to(embedded.dtype), embedded)
        tokens = self.encoder.tokens(shown)[:, self.encoder.architecture.n_extra :]
        return hidden_of(tokens, mask)


def _head(width: int, n_values: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_values))
