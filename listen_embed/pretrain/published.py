"""The weights that the authors of SSAST and SSAMBA gave out -> an encoder of ours.

Both are state dicts of networks that were saved as they were trained: SSAST's is timm's DeiT with
patches of one channel, SSAMBA's is Vision Mamba's "v2" with the gathering token in the middle. Only
arrays are read; nothing in the file is executed.

Source: ssast, src/models/ast_models.py; timm 0.4.5, vision_transformer.py; Vim, models_mamba.py and
mamba_simple.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.pretrain.encoder import N_BANDS, Architecture, Encoder
from listen_embed.upstream import torch_zip

# A base network is 350 MB.
_MAX_BYTES = 600_000_000

Tensors = Mapping[str, NDArray[Any]]

# Ours -> theirs, inside a block.
_ATTENTION = {
    "norm_attention": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "norm_hidden": "norm2",
    "hidden": "mlp.fc1",
    "out": "mlp.fc2",
}
_STATE_SPACE = {"norm.weight": "norm.weight"} | {
    f"{ours}.weight": f"mixer.{theirs}.weight"
    for ours, theirs in (("enter", "in_proj"), ("leave", "out_proj"))
}
_DIRECTION = {
    "convolution.weight": "conv1d{}.weight",
    "convolution.bias": "conv1d{}.bias",
    "select.weight": "x_proj{}.weight",
    "step.weight": "dt_proj{}.weight",
    "step_bias": "dt_proj{}.bias",
    "log_decay": "A{}_log",
    "skip": "D{}",
}


def read(path: str | os.PathLike[str]) -> Encoder:
    """Return the encoder of a published file of SSAST or SSAMBA.

    Parameters
    ----------
    path : path
        A ``.pth`` file, such as ``SSAST-Base-Patch-400.pth``.

    Raises
    ------
    ConversionError
        The file is no such state dict, or lacks some of it.
    """
    tensors = torch_zip.read_state_dict(Path(path), max_bytes=_MAX_BYTES)
    return from_tensors({name.removeprefix("module."): value for name, value in tensors.items()})


def from_tensors(tensors: Tensors) -> Encoder:
    """Return the encoder of a published state dict, given as arrays by their names.

    Raises
    ------
    ConversionError
        It is none of SSAST or SSAMBA, or lacks some of it.
    """
    if "v.blocks.0.attn.qkv.weight" in tensors:
        return _filled(_architecture(tensors, "blocks", ("cls_token", "dist_token")), tensors)
    if "v.layers.0.mixer.in_proj.weight" in tensors:
        return _filled(_architecture(tensors, "layers", ("cls_token",)), tensors)
    raise ConversionError(
        "neither SSAST nor SSAMBA: there is no v.blocks.0.attn.qkv.weight and no "
        f"v.layers.0.mixer.in_proj.weight among {', '.join(sorted(tensors)[:5])} ..."
    )


def _architecture(tensors: Tensors, blocks: str, extra: tuple[str, ...]) -> Architecture:
    patches = _taken(tensors, "v.patch_embed.proj.weight")
    width, _, bands, columns = patches.shape
    numbers = [re.match(rf"v\.{blocks}\.(\d+)\.", name) for name in tensors]
    n_extra = sum(f"v.{name}" in tensors for name in extra)
    n_patches = _taken(tensors, "v.pos_embed").shape[1] - n_extra
    return Architecture(
        kind="transformer" if blocks == "blocks" else "state-space",
        width=width,
        depth=1 + max(int(number[1]) for number in numbers if number),
        patch=(bands, columns),
        n_steps=n_patches * columns * bands // N_BANDS,
        n_extra=n_extra,
        decay="channel",
    )


def _filled(architecture: Architecture, tensors: Tensors) -> Encoder:
    encoder = Encoder(architecture)
    state = {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32))
        for name, value in _renamed(architecture, tensors).items()
    }
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:  # names and shapes that do not fit
        raise ConversionError(f"the weights do not fit together: {error}") from None
    return encoder.eval()


def _renamed(architecture: Architecture, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Return the arrays by our names, in our shapes."""
    width, n_extra = architecture.width, architecture.n_extra
    positions = _taken(tensors, "v.pos_embed")[0]
    is_attention = architecture.kind == "transformer"
    # In the middle of the patches, or before them.
    first = 0 if is_attention else (len(positions) - n_extra) // 2
    of_patches = np.concatenate([positions[:first], positions[first + n_extra :]])
    named = [_taken(tensors, f"v.{n}") for n in ("cls_token", "dist_token")[:n_extra]]
    arrays = {
        "to_token.weight": _taken(tensors, "v.patch_embed.proj.weight").reshape(width, -1),
        "to_token.bias": _taken(tensors, "v.patch_embed.proj.bias"),
        "extra": np.concatenate([np.zeros((0, width)), *(token[0] for token in named)]),
        "extra_position": positions[first : first + n_extra],
        "position": of_patches.T.reshape(width, *architecture.grid),
    }
    for number in range(architecture.depth):
        of_block = _attention(tensors, number) if is_attention else _state_space(tensors, number)
        arrays |= {f"blocks.{number}.{name}": value for name, value in of_block.items()}
    last = {"norm.weight": "v.norm.weight", "norm.bias": "v.norm.bias"}
    for ours, theirs in last.items() if is_attention else [("norm.weight", "v.norm_f.weight")]:
        arrays[ours] = _taken(tensors, theirs)
    return arrays


def _attention(tensors: Tensors, number: int) -> dict[str, NDArray[Any]]:
    return {
        f"{ours}.{part}": _taken(tensors, f"v.blocks.{number}.{theirs}.{part}")
        for ours, theirs in _ATTENTION.items()
        for part in ("weight", "bias")
    }


def _state_space(tensors: Tensors, number: int) -> dict[str, NDArray[Any]]:
    prefix = f"v.layers.{number}"
    arrays = {ours: _taken(tensors, f"{prefix}.{theirs}") for ours, theirs in _STATE_SPACE.items()}
    for direction, mark in (("forwards", ""), ("backwards", "_b")):
        for ours, theirs in _DIRECTION.items():
            value = _taken(tensors, f"{prefix}.mixer.{theirs.format(mark)}")
            # One more axis: ours convolves pictures of height one.
            is_kernel = ours == "convolution.weight"
            arrays[f"{direction}.{ours}"] = value[:, :, None] if is_kernel else value
    return arrays


def _taken(tensors: Tensors, name: str) -> NDArray[Any]:
    if name not in tensors:
        raise ConversionError(f"the file lacks {name}; it is not whole, or of another version")
    return tensors[name]
