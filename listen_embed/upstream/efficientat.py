"""EfficientAT's MobileNetV3 (mn04, mn10, ...): widths are read off the file's tensors.

A stem, fifteen inverted residuals with squeeze-excitation over channels where the file has it,
a last 1x1 convolution, and the average over frequency and time as the embedding.

Source: Schmid et al., "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation", ICASSP 2023; Howard et al., "Searching for MobileNetV3", ICCV 2019 (table 1);
repository fschmid56/EfficientAT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.upstream import batch_norm, torch_zip
from listen_embed.upstream.graph import GraphBuilder, Padding, Tensor

Activation: TypeAlias = Literal["none", "relu", "hard_swish"]

_EPSILON = 1e-3
_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)
_RELU_BLOCKS = 6  # the later ones use hard swish


def convert(path: Path, *, input_shape: tuple[int, ...], emb_dim: int) -> bytes:
    """Return the .tflite bytes of an EfficientAT MobileNetV3 up to its global average.

    Parameters
    ----------
    path : Path
        A published .pt file with squeeze-excitation over channels only.
    input_shape : (int, int)
        Mel bands and time steps of a log-mel.
    emb_dim : int
        Channels of the last convolution.

    Raises
    ------
    ConversionError
        The file has another layout, or gives embeddings of another length.
    """
    if len(input_shape) != 2:
        raise ConversionError(f"input_shape {input_shape} must be (n_mels, n_steps).")
    network = _Network(torch_zip.read_state_dict(path))
    x = network.graph.input((1, *input_shape, 1), "logmel")
    x = network.convolution(x, "features.0", stride=2, activation="hard_swish")
    for block, stride in enumerate(_STRIDES, start=1):
        x = network.block(x, f"features.{block}.block", stride, relu=block <= _RELU_BLOCKS)
    x = network.convolution(x, f"features.{len(_STRIDES) + 1}", activation="hard_swish")
    if x.shape[3] != emb_dim:
        raise ConversionError(f"emb_dim is {emb_dim}, but the file gives {x.shape[3]} values.")
    return network.graph.finish([network.graph.mean(x, (1, 2))])


class _Network:
    """Adds the file's layers to a graph, by their torch names."""

    def __init__(self, state: torch_zip.StateDict) -> None:
        self.state = state
        self.graph = GraphBuilder()

    def block(self, x: Tensor, name: str, stride: int, *, relu: bool) -> Tensor:
        """Add an inverted residual: expand, depthwise, squeeze-excite, project."""
        activation: Activation = "relu" if relu else "hard_swish"
        y, part = x, 0
        if self._kernel_size(f"{name}.0") == 1:
            y, part = self.convolution(y, f"{name}.0", activation=activation), 1
        y = self.depthwise(y, f"{name}.{part}", stride=stride, activation=activation)
        if f"{name}.{part + 1}.conc_se_layers.0.fc1.weight" in self.state:
            y, part = self.squeeze_excite(y, f"{name}.{part + 1}.conc_se_layers"), part + 1
        y = self.convolution(y, f"{name}.{part + 1}")
        return self.graph.add(x, y) if x.shape == y.shape and stride == 1 else y

    def convolution(
        self, x: Tensor, name: str, *, stride: int = 1, activation: Activation = "none"
    ) -> Tensor:
        """Add a convolution with its batch norm folded in."""
        size = self._kernel_size(name)
        kernel = self.state.tensor(f"{name}.0.weight", None, x.shape[3], size, size)
        weights, bias = self._folded(kernel, name)
        x, padding = self._padded(x, size, stride)
        y = self.graph.conv2d(
            x,
            weights.transpose(0, 2, 3, 1),
            bias,
            stride=stride,
            padding=padding,
            activation="relu" if activation == "relu" else "none",
        )
        return self.graph.hard_swish(y) if activation == "hard_swish" else y

    def depthwise(self, x: Tensor, name: str, *, stride: int, activation: Activation) -> Tensor:
        """Add a depthwise convolution with its batch norm folded in."""
        size = self._kernel_size(name)
        kernel = self.state.tensor(f"{name}.0.weight", x.shape[3], 1, size, size)
        weights, bias = self._folded(kernel, name)
        x, padding = self._padded(x, size, stride)
        y = self.graph.depthwise_conv2d(
            x,
            weights[:, 0].transpose(1, 2, 0),
            bias,
            stride=stride,
            padding=padding,
            activation="relu" if activation == "relu" else "none",
        )
        return self.graph.hard_swish(y) if activation == "hard_swish" else y

    def squeeze_excite(self, x: Tensor, name: str) -> Tensor:
        """Scale each channel by a gate computed from all channels' averages."""
        if f"{name}.1.fc1.weight" in self.state:
            raise ConversionError(f"{name}: squeeze-excitation over channels only is supported.")
        channels = x.shape[3]
        squeeze = self.state.tensor(f"{name}.0.fc1.weight", None, channels)
        excite = self.state.tensor(f"{name}.0.fc2.weight", channels, len(squeeze))
        squeeze_bias = self.state.tensor(f"{name}.0.fc1.bias", len(squeeze))
        excite_bias = self.state.tensor(f"{name}.0.fc2.bias", channels)
        gate = self.graph.mean(x, (1, 2))
        gate = self.graph.fully_connected(gate, squeeze, squeeze_bias, activation="relu")
        gate = self.graph.logistic(self.graph.fully_connected(gate, excite, excite_bias))
        return self.graph.mul(x, self.graph.reshape(gate, (1, 1, 1, channels)))

    def _kernel_size(self, name: str) -> int:
        kernel = self.state.get(f"{name}.0.weight")
        if kernel is None or kernel.ndim != 4 or kernel.shape[3] % 2 == 0:
            raise ConversionError(f"The file has no convolution with an odd kernel at {name}.0.")
        return int(kernel.shape[3])

    def _folded(self, kernel: NDArray[np.float64], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        kinds = ("weight", "bias", "running_mean", "running_var")
        arrays = (self.state.tensor(f"{name}.1.{kind}", len(kernel)) for kind in kinds)
        norm = batch_norm.affine(*arrays, epsilon=_EPSILON)
        return batch_norm.folded(kernel, np.zeros(len(kernel)), norm)

    def _padded(self, x: Tensor, size: int, stride: int) -> tuple[Tensor, Padding]:
        """Pad as torch does: alike on both sides, which TFLite's "same" does at stride 1 only."""
        if stride == 1:
            return x, "same"
        side = ((size - 1) // 2,) * 2
        return self.graph.pad(x, [(0, 0), side, side, (0, 0)]), "valid"
