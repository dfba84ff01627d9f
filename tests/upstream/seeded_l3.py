"""Write L3 weights files with seeded values, laid out as the published ones.

The genuine large files cannot travel with the tests; embeddings of the genuine code with these
very values are in the golden files, so a file from here can stand in for them.
"""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Kind:
    """What differs between the published files."""

    filters: tuple[int, ...]  # one per block
    normed_end: bool  # the last convolution has a batch norm and a ReLU
    n_fft: int = 0  # 0: no front end in the file
    n_mels: int = 0


KINDS = {
    "sparse": Kind((64, 128, 256, 512), False, 2048, 256),
    "sea_512": Kind((64, 128, 256, 512), True, 1024, 64),
    "sea_256": Kind((32, 64, 128, 256), True, 1024, 64),
    "sea_128": Kind((32, 64, 128, 128), True, 1024, 64),
    "openl3_mel256": Kind((64, 128, 256, 512), False),
    "openl3_mel128": Kind((64, 128, 256, 512), False),
    "openl3_linear": Kind((64, 128, 256, 512), False),
    "tiny_sea": Kind((4, 6, 8, 10), True, 64, 16),
    "tiny_openl3": Kind((4, 6, 8, 10), False),
}


def seeded_convolution(index: int, shape: tuple[int, ...]) -> Arrays:
    """Return kernel and bias of the convolution with this number, counted from 0."""
    rng = np.random.default_rng(1000 + index)
    kernel = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:3]))
    bias = 0.1 * rng.standard_normal(shape[3])
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}


def seeded_norm(index: int, channels: int) -> Arrays:
    """Return the arrays of the batch norm with this number; 0 is the one on the log-mel."""
    if index == 0:
        values = [np.array([value]) for value in (1.0, 0.1, -45.0, 400.0)]
    else:
        rng = np.random.default_rng(2000 + index)
        gamma, beta, mean, variance = (rng.standard_normal(channels) for _ in range(4))
        values = [1 + 0.1 * gamma, 0.1 * beta, 0.1 * mean, np.exp(0.2 * variance)]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {name: value.astype(np.float32) for name, value in zip(names, values, strict=True)}


def seeded_layers(kind: str) -> list[tuple[str, Arrays]]:
    """Return the layers of a network, (Keras name, arrays by kind) each, in the file's order."""
    spec = KINDS[kind]
    layers: list[tuple[str, Arrays]] = [("input_1", {})]
    if spec.n_fft:
        layers.append(("melspectrogram_1", _front_end(spec)))
    layers.append(("batch_normalization_1", seeded_norm(0, 1)))
    channels = 1
    for index in range(8):
        filters = spec.filters[index // 2]
        last = index == 7
        name = "audio_embedding_layer" if last else f"conv2d_{index + 1}"
        layers.append((name, seeded_convolution(index, (3, 3, channels, filters))))
        if spec.normed_end or not last:
            layers.append((f"batch_normalization_{index + 2}", seeded_norm(index + 1, filters)))
            layers.append((f"activation_{index + 1}", {}))
        if index % 2:
            layers.append((f"max_pooling2d_{index // 2 + 1}", {}))
        channels = filters
    return [*layers, ("flatten_1", {})]


def _front_end(spec: Kind) -> Arrays:
    bins = spec.n_fft // 2 + 1
    kernels = np.broadcast_to(np.float32(0), (spec.n_fft, 1, 1, bins))
    mel = np.zeros((bins, spec.n_mels), np.float32)
    return {"real_kernels": kernels, "imag_kernels": kernels, "Variable": mel}


def write_layers(path: Path, layers: list[tuple[str, Arrays]], *, root: str = "") -> Path:
    """Write layers as Keras 2 does, gzipped when the name ends in .gz."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        group: Any = file.create_group(root) if root else file
        # Old files have names of one length, newer ones of any: the genuine ones have both.
        names = [name.encode() for name, _ in layers]
        group.attrs["layer_names"] = np.array(names) if root else names
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = b"2.0.9"
        for name, arrays in layers:
            _write_layer(group.create_group(name), name, arrays)
    data = memory.getvalue()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def _write_layer(group: Any, name: str, arrays: Arrays) -> None:
    names = [f"{name}/{kind}:0" for kind in arrays]
    group.attrs["weight_names"] = [weight.encode() for weight in names]
    for weight, array in zip(names, arrays.values(), strict=True):
        group.create_dataset(weight, data=array)


def write_seeded_l3(path: Path, kind: str) -> Path:
    """Write the seeded stand-in for a published file and return its path.

    Parameters
    ----------
    path : Path
        Ends in .h5 or .h5.gz.
    kind : str
        A key of KINDS. EdgeL3 files keep their layers under ``model_weights``, OpenL3 files at
        the root.
    """
    root = "model_weights" if KINDS[kind].n_fft else ""
    return write_layers(path, seeded_layers(kind), root=root)
