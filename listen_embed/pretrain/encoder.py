"""Encoders: log-mels -> patches -> tokens, by attention or by a state space.

Source: Gong et al., "SSAST" (AAAI 2022), section 2; Shams et al., "SSAMBA" (SLT 2024), section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from listen_embed.errors import InputError
from listen_embed.pretrain.state_space import StateSpaceBlock
from listen_embed.pretrain.transformer import AttentionBlock
from listen_embed.spec import FrontEnd

Kind = Literal["transformer", "state-space"]
Pool = Literal["mean", "bands"]
Size = Literal["micro", "tiny", "small", "base"]

# Width, and depth of either kind; a state-space block has about half the weights of the other's.
_SIZES: dict[str, tuple[int, dict[str, int]]] = {
    "micro": (128, {"transformer": 6, "state-space": 11}),
    "tiny": (192, {"transformer": 12, "state-space": 24}),
    "small": (384, {"transformer": 12, "state-space": 24}),
    "base": (768, {"transformer": 12, "state-space": 24}),
}
_HEAD_WIDTH = 64
_MICRO_HEAD_WIDTH = 32

# Kaldi's filter bank as SSAST and SSAMBA take it, and their normalisation by AudioSet's mean and
# twice its deviation. Source: ssast, src/dataloader.py and run_mask_patch.sh.
N_BANDS = 128
_MEAN, _DEVIATION = -4.2677393, 4.5689974


def front_end(n_steps: int = 256) -> FrontEnd:
    """Return what all encoders hear: 16 kHz, 128 bands, a column every 10 ms.

    Parameters
    ----------
    n_steps : int
        Columns of a frame; 256 are 2.6 s.
    """
    hop, n_fft = 160, 512
    return FrontEnd(
        sample_rate=16_000,
        frame_samples=(n_steps - 1) * hop + n_fft + 1,  # pre-emphasis takes one
        preemphasis=0.97,
        n_fft=n_fft,
        window_samples=400,
        window="hann-symmetric",
        hop_samples=hop,
        n_mels=N_BANDS,
        mel_scale="kaldi",
        f_min=20.0,
        f_max=8000.0,
        log="ln",
        log_floor=1.1920929e-07,
        shift=-_MEAN,
        scale=1 / (2 * _DEVIATION),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Everything that decides an encoder's shape.

    Parameters
    ----------
    kind : {"transformer", "state-space"}
    width, depth : int
        Of a token; blocks.
    patch : (int, int)
        Bands and columns of a patch: (16, 16), or (128, 2) for stretches of time.
    n_steps : int
        Columns that the positions were learnt for; others are interpolated.
    n_extra : int
        Tokens beside those of the patches: 0, or 1 that gathers the whole sound (ASiT), or the 2
        that SSAST has from DeiT.
    decay : {"head", "channel"}
        What shares a decay in a state space; "channel" is what published weights have.
    pool : {"mean", "bands"}
        What the embedding is: the mean of all tokens, as published, or the mean over time of each
        row of patches, one beside the other, which keeps where in frequency a sound lies.
    """

    kind: Kind = "transformer"
    width: int = 128
    depth: int = 6
    patch: tuple[int, int] = (16, 16)
    n_steps: int = 256
    n_extra: int = 0
    decay: Literal["head", "channel"] = "head"
    pool: Pool = "mean"

    def __post_init__(self) -> None:
        bands, columns = self.patch
        if N_BANDS % bands or self.n_steps % columns:
            raise InputError(
                f"patches of {bands} bands and {columns} columns do not tile {N_BANDS} x "
                f"{self.n_steps}; take 16x16 or 128x2, and a multiple of the columns"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """How many patches lie over frequency, and over time."""
        return N_BANDS // self.patch[0], self.n_steps // self.patch[1]

    @property
    def emb_dim(self) -> int:
        """Width of the embedding."""
        return self.width * (self.grid[0] if self.pool == "bands" else 1)


def sized(size: Size, kind: Kind = "transformer", **others: object) -> Architecture:
    """Return an architecture of a published size, or "micro", which a laptop trains.

    Parameters
    ----------
    size : {"micro", "tiny", "small", "base"}
        128, 192, 384 and 768 wide.
    kind : {"transformer", "state-space"}
    **others
        Other fields of `Architecture`.

    Raises
    ------
    InputError
        No such size or kind.
    """
    if size not in _SIZES or kind not in get_args(Kind):
        raise InputError(
            f"size {size!r} and encoder {kind!r}: sizes are {', '.join(_SIZES)}, encoders are "
            f"{', '.join(get_args(Kind))}"
        )
    width, depths = _SIZES[size]
    return Architecture(kind=kind, width=width, depth=depths[kind], **others)  # type: ignore[arg-type]


class Patches(nn.Module):
    """Cut log-mels into patches, each a row of its values; no weights.

    Parameters
    ----------
    patch : (int, int)
    """

    def __init__(self, patch: tuple[int, int]) -> None:
        super().__init__()
        self.bands, self.columns = patch

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, bands * columns) of (B, F, T): patch after patch, first over time."""
        size, n_bands, n_steps = x.shape
        tiles = x.reshape(
            size, n_bands // self.bands, self.bands, n_steps // self.columns, self.columns
        )
        return tiles.transpose(2, 3).reshape(size, -1, self.bands * self.columns)

    def joined(self, rows: Tensor, n_bands: int) -> Tensor:
        """Return (B, F, T) of (B, N, bands * columns): the way back."""
        tiles = rows.reshape(len(rows), n_bands // self.bands, -1, self.bands, self.columns)
        return tiles.transpose(2, 3).reshape(len(rows), n_bands, -1)


class Encoder(nn.Module):
    """Tokens of log-mels, and their means, which are the embedding.

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture.width
        self.patches = Patches(architecture.patch)
        self.to_token = nn.Linear(architecture.patch[0] * architecture.patch[1], width)
        # Without such tokens nothing is learnt of them, which several processes must know.
        shape, is_learnt = (architecture.n_extra, width), architecture.n_extra > 0
        self.extra = nn.Parameter(torch.zeros(shape), requires_grad=is_learnt)
        self.extra_position = nn.Parameter(torch.zeros(shape), requires_grad=is_learnt)
        self.position = nn.Parameter(torch.zeros(width, *architecture.grid))
        self.blocks = nn.ModuleList(_block(architecture) for _ in range(architecture.depth))
        self.norm = _norm(architecture)
        for tokens in (self.extra, self.extra_position, self.position):
            nn.init.trunc_normal_(tokens, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return embeddings (B, emb_dim) of log-mels (B, 1, F, T)."""
        tokens = self.tokens(self.embedded(self.patches(x.flatten(1, 2))))
        return self.pooled(tokens[:, self.architecture.n_extra :])

    def pooled(self, tokens: Tensor) -> Tensor:
        """Return embeddings (B, emb_dim) of the patches' tokens (B, N, width)."""
        if self.architecture.pool == "mean":
            return tokens.mean(1)
        high = self.architecture.grid[0]
        rows = tokens.reshape(len(tokens), high, -1, self.architecture.width)
        return rows.mean(2).flatten(1)

    def embedded(self, rows: Tensor) -> Tensor:
        """Return (B, N, width) of patches (B, N, values), without positions."""
        return self.to_token(rows)  # type: ignore[no-any-return]

    def tokens(self, embedded: Tensor) -> Tensor:
        """Return (B, n_extra + N, width): what the blocks make of embedded patches."""
        tokens = embedded + self.positions(embedded.shape[1])
        n_extra, first = self.architecture.n_extra, self._first_extra(embedded.shape[1])
        if n_extra:
            extra = (self.extra + self.extra_position).expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :first], extra.to(tokens.dtype), tokens[:, first:]], 1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if first:
            n_behind = tokens.shape[1] - first - n_extra
            before, extra, behind = tokens.split([first, n_extra, n_behind], 1)
            tokens = torch.cat([extra, before, behind], 1)
        return tokens

    def _first_extra(self, n_patches: int) -> int:
        """Return where the extra tokens stand among those of the patches.

        Attention sees everything from anywhere; scans from both ends meet in the middle.
        """
        in_the_middle = self.architecture.kind == "state-space" and self.architecture.n_extra > 0
        return n_patches // 2 if in_the_middle else 0

    def positions(self, n_patches: int) -> Tensor:
        """Return (N, width); for other lengths than the learnt one they are interpolated."""
        high, long = self.architecture.grid
        position: Tensor = self.position
        if n_patches != high * long:
            asked = (high, n_patches // high)
            position = functional.interpolate(
                position[None], asked, mode="bilinear", align_corners=False
            )[0]
        return position.flatten(1).T


def _norm(architecture: Architecture) -> nn.Module:
    """Return the last norm, of the kind that the blocks have."""
    if architecture.kind == "state-space":
        return nn.RMSNorm(architecture.width, eps=1e-5)
    return nn.LayerNorm(architecture.width, eps=1e-6)


def _block(architecture: Architecture) -> nn.Module:
    if architecture.kind == "state-space":
        return StateSpaceBlock(architecture.width, architecture.decay)
    is_micro = architecture.width < 2 * _HEAD_WIDTH + _HEAD_WIDTH
    return AttentionBlock(
        architecture.width, architecture.width // (_MICRO_HEAD_WIDTH if is_micro else _HEAD_WIDTH)
    )


def count_weights(encoder: nn.Module) -> int:
    """Return how many weights a network has."""
    return sum(cast(Tensor, weight).numel() for weight in encoder.parameters())
