"""Networks on log-mels as torch modules that give frames: what fusions and fine-tunings stand on.

Anything with a torch module and a `FrontEnd` is a `Base`; `of_model` makes one of our students'
.tflite, or of YAMNet's as published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed import registry, store
from listen_embed.errors import ConversionError, InputError
from listen_embed.graph import TensorInfo, read_graph
from listen_embed.spec import FrontEnd, ModelSpec
from listen_embed.training.network import Student
from listen_embed.training.restore import restore

Array = NDArray[np.float32]
YAMNET = "teacher/1024/yamnet"


@dataclass(frozen=True, slots=True)
class Base:
    """A network that hears log-mels.

    Attributes
    ----------
    name : str
        The model it was made of.
    network : nn.Module
        Log-mels (B, 1, n_bands, n_steps) in, frames (B, T, width) out.
    front_end : FrontEnd
        Of its log-mels; the length of its frames is that of the model.
    width : int
        Values of a frame.
    layers : tuple of nn.Module
        From the input on, for learning rates that grow towards the output.
    licence, source : str
        Of its weights.
    fitting : callable, optional
        The samples of a frame of about so many, where not every length will do.
    """

    name: str
    network: nn.Module
    front_end: FrontEnd
    width: int
    layers: tuple[nn.Module, ...] = ()
    licence: str = ""
    source: str = ""
    fitting: Callable[[int], int] | None = None

    def lasting(self, seconds: float) -> FrontEnd:
        """Return the front end of a window of about so many seconds."""
        n = round(seconds * self.front_end.sample_rate)
        n = self.fitting(n) if self.fitting else max(self.front_end.frame_samples, n)
        return replace(self.front_end, frame_samples=n)


class Channels(nn.Module):
    """A student up to its last convolution; a frame is a column of its last picture."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, log_mels: Tensor) -> Tensor:
        """Return frames (B, T, last) of log-mels (B, 1, n_bands, n_steps)."""
        student = self.student
        x: Tensor = student.last(student.blocks(student.stem(student.input(log_mels))))
        return x.permute(0, 2, 3, 1).mean(1)


def of_model(model: str | None) -> Base:
    """Return the base that a model gives.

    Raises
    ------
    InputError
        The model is none that can be trained; which are is said.
    """
    spec = registry.find(model)
    if spec.name == YAMNET:
        body = yamnet(store.load(spec))
        return Base(
            spec.name, body, YAMNET_FRONT_END, spec.emb_dim,
            licence=spec.licence, source=spec.source, fitting=whole_patches,
        )  # fmt: skip
    if not spec.has_network or spec.front_end.features != "log-mel":
        raise _cannot_be_trained(spec)
    found = of_student(spec.name, _student(spec), spec.front_end)
    return replace(found, licence=spec.licence, source=spec.source)


def of_student(name: str, student: Student, front_end: FrontEnd) -> Base:
    """Return a student as a base."""
    width = student.architecture.last
    return Base(name, Channels(student), front_end, width, layers_of(student))


def layers_of(student: Student) -> tuple[nn.Module, ...]:
    """Return a student's layers from the input on."""
    return (student.stem, *student.residuals, student.last)


def _student(spec: ModelSpec) -> Student:
    try:
        if spec.download is not None and spec.download.converter == "efficientat":
            return _published_student(spec)
        return restore(store.load(spec))
    except ConversionError as error:
        raise _cannot_be_trained(spec) from error


def _published_student(spec: ModelSpec) -> Student:
    import tempfile
    from pathlib import Path

    from listen_embed.training.network import from_efficientat
    from listen_embed.upstream import torch_zip

    assert spec.download is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.pt"
        store.obtain(spec.download, path)
        return from_efficientat(torch_zip.read_state_dict(path))


def _cannot_be_trained(spec: ModelSpec) -> InputError:
    return InputError(
        f"{spec.name} cannot be trained here: its graph is not that of a student of ours. Give "
        "--method head, which trains no base, or a base such as pruned/384/mn04, teacher/384/mn04, "
        "sea/64/general, a folder of listen-embed pretrain, or teacher/1024/yamnet (method lean)"
    )


# YAMNet hears 0.96 s (96 columns) at a time, every 0.48 s.
PATCH, PATCH_HOP = 96, 48
# As the published graph computes it: 25 ms Hann windows every 10 ms, magnitudes, 64 bands.
YAMNET_FRONT_END = FrontEnd(
    sample_rate=16_000,
    frame_samples=(PATCH - 1) * 160 + 512,
    n_fft=512,
    window_samples=400,
    hop_samples=160,
    power=1,
    n_mels=64,
    mel_scale="kaldi",  # TensorFlow's triangles are straight in mel, too
    f_min=125.0,
    f_max=7_500.0,
    log="ln",
    log_offset=1e-3,
)


def whole_patches(n_samples: int) -> int:
    """Return the samples of as many of YAMNet's patches as lie in so many, one at least."""
    hop, n_fft = YAMNET_FRONT_END.hop_samples, YAMNET_FRONT_END.n_fft
    n_columns = max(PATCH, (n_samples - n_fft) // hop + 1)
    n_patches = 1 + (n_columns - PATCH) // PATCH_HOP
    return (PATCH + (n_patches - 1) * PATCH_HOP - 1) * hop + n_fft


class Yamnet(nn.Module):
    """YAMNet's body: MobileNet on patches of 96 columns; batch-norms folded, as published."""

    def __init__(self, kernels: list[tuple[Array, Array, bool, int]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for weight, bias, is_depthwise, stride in kernels:
            n_out, n_in, size, _ = weight.shape
            if stride > 1:  # TensorFlow's SAME, where the input's sides are even
                layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
            groups = n_out if is_depthwise else 1
            padding = size // 2 if stride == 1 else 0
            convolution = nn.Conv2d(n_in * groups, n_out, size, stride, padding, groups=groups)
            with torch.no_grad():
                convolution.weight.copy_(torch.from_numpy(weight.copy()))
                assert convolution.bias is not None
                convolution.bias.copy_(torch.from_numpy(bias.copy()))
            layers += [convolution, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, log_mels: Tensor) -> Tensor:
        """Return frames (B, T, 1024) of log-mels (B, 1, 64, n_steps)."""
        n_patches = 1 + (log_mels.shape[3] - PATCH) // PATCH_HOP
        begins = range(0, n_patches * PATCH_HOP, PATCH_HOP)
        patches = torch.cat([log_mels[..., begin : begin + PATCH] for begin in begins])
        pictures = patches.transpose(2, 3)  # YAMNet has time first
        found = self.layers(pictures).permute(0, 2, 3, 1).mean((1, 2))
        return found.unflatten(0, (n_patches, -1)).transpose(0, 1)  # type: ignore[no-any-return]


def yamnet(model: bytes) -> Yamnet:
    """Return the body of the published graph, its int8 weights as the numbers they stand for.

    Raises
    ------
    ConversionError
        The graph is not YAMNet's.
    """
    from ai_edge_litert.interpreter import Interpreter

    graph = read_graph(model)
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    kernels = []
    for op in graph.operators:
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight = _dequantised(interpreter.get_tensor(op.inputs[1]), graph.tensors[op.inputs[1]])
            is_depthwise = op.name == "DEPTHWISE_CONV_2D"
            order = (3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2)
            bias = interpreter.get_tensor(op.inputs[2]).astype(np.float32)
            kernels.append((weight.transpose(order), bias, is_depthwise, op.options["strideH"]))
    if len(kernels) != 27:
        raise ConversionError(f"YAMNet has 27 convolutions, this graph has {len(kernels)}")
    return Yamnet(kernels).eval()


def _dequantised(values: NDArray[Any], tensor: TensorInfo) -> Array:
    scales = np.array(tensor.scales, np.float32)
    if not len(scales) or values.dtype == np.float32:
        return values.astype(np.float32)
    axis = tensor.axis if len(scales) > 1 else 0
    shape = [1] * values.ndim
    shape[axis] = len(scales)
    zeros = np.array(tensor.zero_points or (0,), np.float32)
    zero = zeros.reshape(shape) if len(zeros) > 1 else zeros
    found: Array = (values.astype(np.float32) - zero) * scales.reshape(shape)
    return found
