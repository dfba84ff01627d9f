"""The arrays of an .npz from anywhere: bounded before they are made, never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_ARRAYS = 64


def read(path: Path, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of numbers and texts in an .npz, read-only, by name.

    Parameters
    ----------
    path : Path
        The file.
    max_bytes : int
        The most that the file, and its arrays together, may take.

    Raises
    ------
    Exception
        Whatever hostile bytes make the parsers raise: callers turn it into an error of their own.
    """
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"it has {path.stat().st_size} bytes, allowed are {max_bytes}")
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > _MAX_ARRAYS or sum(info.file_size for info in infos) > max_bytes:
            raise ValueError("its arrays are too many or too large")
        return {info.filename.removesuffix(".npy"): _array(archive, info) for info in infos}


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an entry's array; its header is held against the bytes before it is believed."""
    with archive.open(info) as entry:
        data = entry.read(info.file_size)  # not one byte more, whatever it unpacks to
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array has an unknown version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "fiU" or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"an array of {dtype} and shape {shape} is not what it should be")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
