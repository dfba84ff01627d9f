"""Read the weights of a Keras 2 .h5 or .h5.gz file, layer by layer.

A file holds, under ``model_weights`` or at its root, one group per layer. The attribute
``layer_names`` gives the layers' order, each group's ``weight_names`` the order of its arrays.
Numbering differs between files, so callers map by order and by kind of array.
"""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError, RuntimeUnavailableError
from listen_embed.upstream import small_files

# Names longer than this, or more of them, are not a weights file's.
_MAX_NAMES = 4096
_MAX_NAME_BYTES = 1024


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its name and its arrays by kind (kernel, bias, gamma, ...)."""

    name: str
    arrays: dict[str, NDArray[np.float32]]

    def array(self, kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return one array.

        Raises
        ------
        ConversionError
            It is absent, of another shape, or holds values that are not finite.
        """
        if kind not in self.arrays:
            found = ", ".join(self.arrays) or "nothing"
            raise ConversionError(f"Layer {self.name} holds {found}, but no {kind}.")
        array = self.arrays[kind]
        if array.shape != shape:
            raise ConversionError(
                f"Layer {self.name}: {kind} has the shape {array.shape}, expected {shape}."
            )
        if not np.isfinite(array).all():
            raise ConversionError(f"Layer {self.name}: {kind} holds values that are not finite.")
        return array


def read_layers(path: Path, *, max_bytes: int = small_files.MAX_BYTES) -> list[Layer]:
    """Return the layers that have weights, in the order of the network.

    Parameters
    ----------
    path : Path
        A .h5 file, or the same gzipped.
    max_bytes : int
        The most that the unpacked file, and its arrays together, may hold.

    Raises
    ------
    ConversionError
        Not such a file, too large, or with links or types that a weights file has no use for.
    """
    h5py = _h5py()
    data = small_files.read(path, max_bytes)
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _Reader(h5py, path.name, max_bytes).layers(file)
    except ConversionError:
        raise
    except Exception as error:  # h5py turns the C library's complaints into any builtin error
        raise ConversionError(f"{path.name} is not a readable HDF5 file: {error}.") from error


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"Reading a Keras .h5 file needs h5py ({error}). Install with: pip install h5py"
        ) from error


class _Reader:
    """Walks one open file, trusting nothing in it."""

    def __init__(self, h5py: Any, file_name: str, max_bytes: int) -> None:
        self._h5py = h5py
        self._file_name = file_name
        self._bytes_left = max_bytes

    def layers(self, file: Any) -> list[Layer]:
        root = self._child(file, "model_weights") if "model_weights" in file else file
        layers = [self._layer(root, name) for name in self._names(root, "layer_names")]
        return [layer for layer in layers if layer.arrays]

    def _layer(self, root: Any, name: str) -> Layer:
        group = self._child(root, name)
        arrays = {}
        for weight_name in self._names(group, "weight_names"):
            kind = weight_name.rsplit("/", 1)[-1].partition(":")[0]
            arrays[kind] = self._array(group, weight_name)
        return Layer(name, arrays)

    def _names(self, group: Any, attribute: str) -> list[str]:
        if attribute not in group.attrs:
            self._refuse(f"{group.name} has no attribute {attribute}; is it a Keras 2 file?")
        stored = group.attrs.get_id(attribute)
        size = int(np.prod(stored.shape, dtype=np.int64))
        if size > _MAX_NAMES or stored.dtype.itemsize > _MAX_NAME_BYTES:
            self._refuse(f"{group.name}: {attribute} is too long ({size} names)")
        names = np.ravel(group.attrs[attribute])
        return [name.decode() if isinstance(name, bytes) else str(name) for name in names]

    def _array(self, group: Any, name: str) -> NDArray[np.float32]:
        dataset = self._child(group, name)
        if not isinstance(dataset, self._h5py.Dataset) or dataset.dtype.kind != "f":
            self._refuse(f"{dataset.name} is not an array of floats")
        if dataset.external or dataset.is_virtual:
            self._refuse(f"{dataset.name} keeps its data in another file")
        self._bytes_left -= dataset.size * max(dataset.dtype.itemsize, 4)
        if self._bytes_left < 0:
            self._refuse("its arrays are larger than is accepted")
        with np.errstate(over="ignore"):  # what overflows is refused where it is used
            return np.asarray(dataset[()], np.float32)

    def _child(self, group: Any, path: str) -> Any:
        """Follow a path of plain links only: others could lead to another file."""
        for part in path.split("/"):
            link = group.get(part, getlink=True) if self._is_group(group) else None
            if not isinstance(link, self._h5py.HardLink):
                kind = "missing" if link is None else f"a {type(link).__name__}"
                self._refuse(f"{path} is {kind}")
            group = group[part]
        return group

    def _is_group(self, item: Any) -> bool:
        return isinstance(item, self._h5py.Group)

    def _refuse(self, why: str) -> None:
        raise ConversionError(f"{self._file_name}: {why}.")
