"""ASiT: rebuild groups of patches that were spoilt, and agree with a teacher that saw them whole.

Three losses: the spoilt patches' values; each spoilt token's distribution beside that of the
teacher's token at the same place; the gathering token's beside the teacher's for the other view.
The teacher is the running average of the student; its outputs are centred and sharpened, so that
they do not collapse.

Source: Atito et al., "ASiT: Local-Global Audio Spectrogram vIsion Transformer" (arXiv 2211.13189),
section III; Caron et al., "DINO" (arXiv 2104.14294), for centring, sharpening and the heads.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from listen_embed.pretrain import masking
from listen_embed.pretrain.encoder import Architecture, Encoder
from listen_embed.pretrain.method import Batch, Losses, Method, hidden_of

_MASKED = 0.7
_STUDENT_TEMPERATURE = 0.1
_TEACHER_TEMPERATURE = 0.04
_MOMENTUM = 0.996
_CENTRE_MOMENTUM = 0.9
_BOTTLENECK = 64
# Without it the other two outweigh it thirtyfold in the gradient, and before anything has been
# learnt there is nothing in a teacher to agree with.
_REBUILDING = 10.0


class Asit(Method):
    """The student, its heads and its teacher.

    Parameters
    ----------
    architecture : Architecture
        With one extra token, which gathers the whole sound.
    """

    name = "asit"
    n_views = 2
    # A teacher that is an average does not keep up at SSAST's rate.
    rate = 5e-4
    borrows = True

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        self.encoder = Encoder(architecture)
        n_values = architecture.patch[0] * architecture.patch[1]
        self.rebuild = nn.Linear(architecture.width, n_values)
        self.agree = Agreement(architecture.width)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.teacher_agree = copy.deepcopy(self.agree).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(2, self.agree.n_classes))

    @classmethod
    def masks(cls, architecture: Architecture, rng: np.random.Generator) -> masking.Mask:
        """Return what one clip hides (n_views, N)."""
        return np.stack([masking.groups(architecture.grid, _MASKED, rng) for _ in range(2)])

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of a batch, clip by clip."""
        clean, mask = self._rows(batch)
        spoilt = _spoilt(clean, mask, self._fillers(batch))
        tokens = _gathered(self._seen(self.encoder, spoilt), mask)
        with torch.no_grad():
            taught = self.teacher_agree(_gathered(self._seen(self.teacher, clean), mask)).float()
            wanted = self._sharpened(taught)
        given = functional.log_softmax(self.agree(tokens).float() / _STUDENT_TEMPERATURE, -1)
        local = -(wanted[:, 1:] * given[:, 1:]).sum(-1).mean(1)
        other = wanted[:, 0].roll(len(wanted) // 2, 0)
        whole = -(other * given[:, 0]).sum(-1)
        painted = self.rebuild(tokens[:, 1:]).float() - hidden_of(clean, mask)
        if self.training:
            self._follow_centre(taught)
        # The two views of a clip stand half a batch apart.
        parts = {"reconstruction": painted.abs().mean((1, 2)), "local": local, "global": whole}
        means = {name: part.reshape(2, -1).mean(0) for name, part in parts.items()}
        total = _REBUILDING * means["reconstruction"] + means["local"] + means["global"]
        return Losses(total=total, parts=means)

    @torch.no_grad()
    def painted(self, batch: Batch) -> Tensor:
        """Return log-mels (B, F, T) with the hidden patches as the encoder imagines them."""
        clean, mask = self._rows(batch)
        tokens = self._seen(self.encoder, _spoilt(clean, mask, self._fillers(batch)))
        rows = torch.where(mask[..., None], self.rebuild(tokens[:, 1:]).to(clean.dtype), clean)
        return self.encoder.patches.joined(rows[: len(batch.log_mels)], batch.log_mels.shape[2])

    @torch.no_grad()
    def after_step(self, share: float) -> None:
        """Let the teacher follow; ever more slowly, and in the end not at all."""
        keep = 1 - (1 - _MOMENTUM) * (math.cos(math.pi * share) + 1) / 2
        pairs = ((self.teacher, self.encoder), (self.teacher_agree, self.agree))
        for teacher, student in pairs:
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the patches (2 B, N, values) and masks (2 B, N): first views, then second."""
        log_mels = batch.log_mels[:, :2].transpose(0, 1).flatten(0, 1)
        return self.encoder.patches(log_mels), batch.masks.transpose(0, 1).flatten(0, 1)

    def _fillers(self, batch: Batch) -> Tensor:
        fillers: Tensor = self.encoder.patches(batch.log_mels[:, 2])
        return fillers.repeat(2, 1, 1)

    def _seen(self, encoder: Encoder, rows: Tensor) -> Tensor:
        return encoder.tokens(encoder.embedded(rows))

    def _sharpened(self, taught: Tensor) -> Tensor:
        centred = torch.cat(
            [taught[:, :1] - self._centre_of(0), taught[:, 1:] - self._centre_of(1)], dim=1
        )
        return torch.softmax(centred / _TEACHER_TEMPERATURE, -1)

    def _centre_of(self, kind: int) -> Tensor:
        centre: Tensor = self.get_buffer("centre")
        return centre[kind]

    @torch.no_grad()
    def _follow_centre(self, taught: Tensor) -> None:
        means = torch.stack([taught[:, 0].mean(0), taught[:, 1:].mean((0, 1))])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(means)
            means /= distributed.get_world_size()
        self.get_buffer("centre").lerp_(means, 1 - _CENTRE_MOMENTUM)


class Agreement(nn.Module):
    """Tokens -> scores of classes that nobody named.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, _BOTTLENECK),
        )
        self.n_classes = 2 * width
        self.classes = nn.Parameter(torch.randn(self.n_classes, _BOTTLENECK))
        # With torch's own biases all tokens begin in nearly one direction. Source: dino,
        # vision_transformer.py, DINOHead.
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return cosines (..., n_classes) with each class's direction."""
        places = functional.normalize(self.layers(tokens), dim=-1)
        return functional.linear(places, functional.normalize(self.classes, dim=-1))


def _spoilt(clean: Tensor, mask: Tensor, fillers: Tensor) -> Tensor:
    """Return patches (B, N, values), the hidden ones those of the fillers."""
    return torch.where(mask[..., None], fillers, clean)


def _gathered(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the gathering token and those of the hidden patches (B, 1 + M, width)."""
    return torch.cat([tokens[:, :1], hidden_of(tokens[:, 1:], mask)], dim=1)
