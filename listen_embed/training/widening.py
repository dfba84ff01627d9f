"""A larger student from a smaller model: all that the small one knows, and room for more.

The file of a model is read back into a network, and channels are added beside those it has. What
they give is read with zeros at first, so the wider network starts as just what the narrow one is.

Source: Chen, Goodfellow, Shlens, "Net2Net", ICLR 2016, for starting wider networks from narrower
ones; zeros stand here in the place of copied channels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from listen_embed.errors import InputError
from listen_embed.graph import read_graph
from listen_embed.training.layers import Layer, layers
from listen_embed.training.network import (
    Architecture,
    Block,
    ConvNorm,
    Student,
    estimate_bytes,
)
from listen_embed.training.quantize import folded

_MULTIPLE = 8  # channels come in eights, as vector units like them
_KNOWN = {
    "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "TRANSPOSE", "MEAN", "FULLY_CONNECTED",
}  # fmt: skip
_FACTORS = tuple(1 + step / 16 for step in range(48, -1, -1))


def widened(model: bytes, budget_bytes: int, emb_dim: int, n_bands: int) -> Student:
    """Return a student without norms that holds a model, as wide as a budget allows.

    Parameters
    ----------
    model : bytes
        The .tflite of a plain student: convolutions and ReLUs, as `network.grown` has them.
    budget_bytes : int
        Size of the int8 .tflite.
    emb_dim : int
        Width of a new linear layer at the end (zeros; fit or train it).
    n_bands : int
        Bands of the log-mels: a short cut for their levels is added, zeros too.

    Raises
    ------
    InputError
        The budget is too small even for the model as it is, or the model is of another kind.
    """
    convolutions = _convolutions(model)
    narrow = replace(_architecture(convolutions), emb_dim=emb_dim, n_bands=n_bands)
    student = folded(Student(wider(narrow, budget_bytes)))
    assert isinstance(student, Student)
    for convolution, layer in zip(_modules(student), convolutions, strict=False):
        _fill(convolution, layer)
    n_read = student.architecture.last + 2 * n_bands
    student.set_readout(torch.zeros(emb_dim, n_read), torch.zeros(emb_dim))
    return student


def wider(narrow: Architecture, budget_bytes: int) -> Architecture:
    """Return the widest architecture of a kind that fits a budget."""
    for factor in _FACTORS:
        architecture = _times(narrow, factor)
        if estimate_bytes(architecture) <= budget_bytes:
            return architecture
    least = estimate_bytes(_times(narrow, 1.0))
    raise InputError(
        f"a budget of {budget_bytes} bytes is too small for a student that starts from a model "
        f"which needs {least}; raise the budget, or let a student grow from scratch"
    )


def least_bytes(model: bytes, emb_dim: int) -> int:
    """Return the size of a student that holds a model and nothing more, without a short cut."""
    return estimate_bytes(replace(_architecture(_convolutions(model)), emb_dim=emb_dim))


def _times(narrow: Architecture, factor: float) -> Architecture:
    def more(width: int) -> int:
        return max(width, _MULTIPLE * int(factor * width / _MULTIPLE))

    blocks = tuple(replace(b, hidden=more(b.hidden), out=more(b.out)) for b in narrow.blocks)
    return replace(narrow, stem=more(narrow.stem), blocks=blocks, last=more(narrow.last))


def _convolutions(model: bytes) -> list[Layer]:
    """Return the convolutions of a .tflite in order, the linear layer at its end left out."""
    graph = read_graph(model)
    if unknown := {operator.name for operator in graph.operators} - _KNOWN:
        raise InputError(f"a student cannot start from a model with {', '.join(sorted(unknown))}")
    return [layer for layer in layers(graph) if layer.kind != "FULLY_CONNECTED"]


def _architecture(convolutions: list[Layer]) -> Architecture:
    """Return the shape of a network of separable blocks: depthwise, then to other channels."""
    stem, *inner, last = convolutions
    blocks = tuple(
        Block(
            depthwise.weight.shape[-1], depthwise.stride[0], len(depthwise.weight),
            len(project.weight), 0, "relu", expands=False,
        )
        for depthwise, project in zip(inner[::2], inner[1::2], strict=True)
    )  # fmt: skip
    return Architecture(len(stem.weight), blocks, len(last.weight), 0, "relu")


def _modules(student: Student) -> list[nn.Conv2d]:
    blocks: list[ConvNorm] = [student.stem]
    for block in student.residuals:
        blocks += [block.depthwise, block.project]
    return [block.convolution for block in (*blocks, student.last)]


@torch.no_grad()
def _fill(convolution: nn.Conv2d, layer: Layer) -> None:
    """Give the first channels a layer's weights; let them not hear the new ones yet."""
    n_out, n_in = layer.weight.shape[:2]
    weight: Tensor = convolution.weight
    weight[:n_out, n_in:] = 0
    weight[:n_out, :n_in] = torch.from_numpy(np.ascontiguousarray(layer.weight))
    assert convolution.bias is not None
    convolution.bias.zero_()
    convolution.bias[:n_out] = torch.from_numpy(layer.bias)
