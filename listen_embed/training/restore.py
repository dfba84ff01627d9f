"""A shipped int8 .tflite -> the `Student` it was made of, to go on with or to write anew.

int8 weights stand on their steps, so nothing is lost but what the activations were rounded to.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from listen_embed.errors import ConversionError
from listen_embed.graph import read_graph
from listen_embed.training.layers import Layer, layers
from listen_embed.training.network import (
    Activation,
    Architecture,
    Block,
    ConvNorm,
    HardSwish,
    SqueezeExcite,
    Student,
)


def restore(model: bytes) -> Student:
    """Return the student, its norms folded, that an int8 .tflite of this family was made of.

    Parameters
    ----------
    model : bytes
        As `convert.to_int8` writes it. Where a hard-swish's sixth stands in the weights that read
        it, there it stays.

    Raises
    ------
    ConversionError
        The graph is not that of a `Student`.
    """
    try:
        return _restored(layers(read_graph(model)))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(f"the graph is not that of a student of ours ({error})") from error


def _restored(found: list[Layer]) -> Student:
    stem, *rest = found
    blocks, stages = _blocks(rest, stem.n_rows)
    tail = rest[len([layer for stage in stages for layer in stage]) :]
    if len(tail) not in (1, 2) or tail[0].kind != "CONV_2D":
        raise ConversionError("the graph does not end as a student's does")
    emb_dim = len(tail[1].weight) if len(tail) == 2 else 0
    architecture = Architecture(
        len(stem.weight),
        blocks,
        len(tail[0].weight),
        emb_dim,
        _activation(tail[0]),
        stem.stride,
        stem_kernel=stem.weight.shape[2:],
        stem_activation=_activation(stem),
    )
    student = cast(Student, _without_norms(Student(architecture)))
    _load(student.stem, stem)
    for block, stage in zip(student.residuals, stages, strict=True):
        targets: list[nn.Module] = [block.depthwise, block.project]
        if isinstance(block.excite, SqueezeExcite):
            targets[1:1] = [block.excite.reduce, block.excite.expand]
        if isinstance(block.expand, ConvNorm):
            targets.insert(0, block.expand)
        for target, layer in zip(targets, stage, strict=True):
            _load(target, layer)
    _load(student.last, tail[0])
    if emb_dim:
        _load(student.to_embedding, tail[1])
    return student.eval()


def _activation(layer: Layer) -> Activation:
    return "hardswish" if layer.is_hard_swish else "relu"


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


def _blocks(given: list[Layer], n_rows: int) -> tuple[tuple[Block, ...], list[list[Layer]]]:
    """Return the inverted residuals in order, and each one's layers."""
    blocks, stages, at = [], [], 0
    while any(layer.kind == "DEPTHWISE_CONV_2D" for layer in given[at:]):
        expands = given[at].kind == "CONV_2D"
        depthwise = given[at + expands]
        squeezes = given[at + expands + 1].kind == "FULLY_CONNECTED"
        end = at + expands + 1 + 2 * squeezes + 1
        stage = given[at:end]
        blocks.append(
            Block(
                kernel=depthwise.weight.shape[-1],
                stride=-(-n_rows // depthwise.n_rows),
                hidden=len(depthwise.weight),
                out=len(stage[-1].weight),
                squeeze=len(stage[-3].weight) if squeezes else 0,
                activation=_activation(depthwise),
                expands=expands,
            )
        )
        stages.append(stage)
        at, n_rows = end, depthwise.n_rows
    return tuple(blocks), stages


def _load(module: nn.Module, layer: Layer) -> None:
    """Set a layer, and tell its hard-swish where the sixth stands."""
    _set(module.convolution if isinstance(module, ConvNorm) else module, layer)
    if layer.leaves_sixth:
        cast(HardSwish, cast(ConvNorm, module)[-1]).leave_sixth()


@torch.no_grad()
def _set(module: nn.Module, layer: Layer) -> None:
    for target, values in ((module.weight, layer.weight), (module.bias, layer.bias)):
        assert isinstance(target, torch.Tensor)
        target.copy_(torch.from_numpy(values.reshape(target.shape).copy()))
