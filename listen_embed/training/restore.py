"""A shipped int8 .tflite -> the `Student` it was made of, to go on with or to write anew.

int8 weights stand on their steps, so nothing is lost but what the activations were rounded to. The
graph of a student is a chain, so its layers in order are enough to tell its architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from listen_embed.errors import ConversionError
from listen_embed.graph import Graph, OperatorInfo, read_graph
from listen_embed.training import quantize
from listen_embed.training.network import (
    Activation,
    Architecture,
    Block,
    ConvNorm,
    SqueezeExcite,
    Student,
)

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer with weights, as torch has them."""

    kind: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    n_rows: int  # of the picture that it gives
    is_hard_swish: bool


def restore(model: bytes) -> Student:
    """Return the student, its norms folded, that an int8 .tflite of this family was made of.

    Parameters
    ----------
    model : bytes
        As `convert.to_int8` wrote it, with its hard-swishes as operators or as sums and products.

    Raises
    ------
    ConversionError
        The graph is not that of a `Student`.
    """
    layers, sixths_are_folded = _layers(model)
    stem, *rest = layers
    blocks, stages = _blocks(rest, stem.n_rows)
    tail = rest[len([layer for stage in stages for layer in stage]) :]
    if len(tail) not in (1, 2) or tail[0].kind != "CONV_2D":
        raise ConversionError("the graph does not end as a student's does")
    emb_dim = len(tail[1].weight) if len(tail) == 2 else 0
    activation: Activation = "hardswish" if stem.is_hard_swish else "relu"
    architecture = Architecture(len(stem.weight), blocks, len(tail[0].weight), emb_dim, activation)
    student = cast(Student, _without_norms(Student(architecture)))
    _set(student.stem[0], stem)
    for block, stage in zip(student.residuals, stages, strict=True):
        targets: list[nn.Module] = [block.depthwise[0], block.project[0]]
        if isinstance(block.excite, SqueezeExcite):
            targets[1:1] = [block.excite.reduce, block.excite.expand]
        if isinstance(block.expand, ConvNorm):
            targets.insert(0, block.expand[0])
        for target, layer in zip(targets, stage, strict=True):
            _set(target, layer)
    _set(student.last[0], tail[0])
    if emb_dim:
        _set(student.to_embedding, tail[1])
    if sixths_are_folded:
        quantize.unfold_sixths(student)
    return student.eval()


def _without_norms(student: Student) -> nn.Module:
    """Return a student whose norms are gone, each hard-swish still whole."""
    for module in student.modules():
        if isinstance(module, ConvNorm):
            convolution = module.convolution
            module[0] = nn.Conv2d(
                convolution.in_channels,
                convolution.out_channels,
                convolution.kernel_size,  # type: ignore[arg-type]
                convolution.stride,  # type: ignore[arg-type]
                convolution.padding,  # type: ignore[arg-type]
                groups=convolution.groups,
            )
            module[1] = nn.Identity()
    return student


def _layers(model: bytes) -> tuple[list[_Layer], bool]:
    """Return the layers in order, and whether those behind a hard-swish hold its sixth."""
    from ai_edge_litert.interpreter import Interpreter

    graph = read_graph(model)
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    readers: dict[int, set[str]] = {}
    for op in graph.operators:
        for tensor in op.inputs:
            readers.setdefault(tensor, set()).add(op.name)
    are_products = {"ADD", "MUL"} in readers.values()
    swished = {i for i, names in readers.items() if names in ({"ADD", "MUL"}, {"HARD_SWISH"})}
    layers = []
    for op in graph.operators:
        if op.name in _WEIGHTED:
            weight = _dequantised(interpreter, graph, op.inputs[1])
            bias = _dequantised(interpreter, graph, op.inputs[2])
            rows = graph.tensors[op.outputs[0]].shape[1]
            is_swish = op.outputs[0] in swished
            layers.append(_Layer(op.name, _as_torch(op, weight), bias, rows, is_swish))
    return layers, are_products


def _dequantised(interpreter: object, graph: Graph, tensor: int) -> NDArray[np.float32]:
    values = interpreter.get_tensor(tensor).astype(np.float32)  # type: ignore[attr-defined]
    scales = np.array(graph.tensors[tensor].scales, np.float32)
    if values.ndim == 4 and values.shape[0] == 1 and len(scales) == values.shape[3]:
        return cast(NDArray[np.float32], values * scales)
    return cast(NDArray[np.float32], values * scales.reshape(-1, *[1] * (values.ndim - 1)))


def _as_torch(op: OperatorInfo, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    if op.name == "DEPTHWISE_CONV_2D":
        return weight.transpose(3, 0, 1, 2)
    return weight.transpose(0, 3, 1, 2) if op.name == "CONV_2D" else weight


def _blocks(layers: list[_Layer], n_rows: int) -> tuple[tuple[Block, ...], list[list[_Layer]]]:
    """Return the inverted residuals in order, and each one's layers."""
    blocks, stages, at = [], [], 0
    while any(layer.kind == "DEPTHWISE_CONV_2D" for layer in layers[at:]):
        expands = layers[at].kind == "CONV_2D"
        depthwise = layers[at + expands]
        squeezes = layers[at + expands + 1].kind == "FULLY_CONNECTED"
        end = at + expands + 1 + 2 * squeezes + 1
        stage = layers[at:end]
        blocks.append(
            Block(
                kernel=depthwise.weight.shape[-1],
                stride=-(-n_rows // depthwise.n_rows),
                hidden=len(depthwise.weight),
                out=len(stage[-1].weight),
                squeeze=len(stage[-3].weight) if squeezes else 0,
                activation="hardswish" if depthwise.is_hard_swish else "relu",
                expands=expands,
            )
        )
        stages.append(stage)
        at, n_rows = end, depthwise.n_rows
    return tuple(blocks), stages


@torch.no_grad()
def _set(module: nn.Module, layer: _Layer) -> None:
    for target, values in ((module.weight, layer.weight), (module.bias, layer.bias)):
        assert isinstance(target, torch.Tensor)
        target.copy_(torch.from_numpy(values.reshape(target.shape).copy()))
