"""Write torch .pt files, honest and hostile, by assembling their zip and pickle by hand."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

START, STOP = b"\x80\x02", b"."
DICTIONARY = b"ccollections\nOrderedDict\n)R"
_STORAGES = {"f2": "Half", "f4": "Float", "f8": "Double", "i4": "Int", "i8": "Long"}


def text(value: str) -> bytes:
    """Push a string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """Push an integer."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    """Push a tuple of integers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str, count: int, kind: str = "Float") -> bytes:
    """Push the storage with this key."""
    name = f"ctorch\n{kind}Storage\n".encode()
    return b"(" + text("storage") + name + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    stored: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> bytes:
    """Push a tensor that views a storage."""
    arguments = stored + number(offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89" + DICTIONARY + b"tR"


def dictionary(items: dict[str, bytes]) -> bytes:
    """Push an OrderedDict of values that are given by their instructions."""
    return DICTIONARY + b"(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def write_archive(
    path: Path,
    program: bytes,
    storages: dict[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """Write a torch file around a pickle and its storages."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in (extra or {}).items():
            archive.writestr(f"archive/{name}", data)
    return path


def write_state(path: Path, state: dict[str, NDArray[Any]], *, byte_order: str = "<") -> Path:
    """Write a state dict as torch.save does, each tensor with its own storage."""
    items, storages = {}, {}
    for index, (name, array) in enumerate(state.items()):
        kind = _STORAGES[array.dtype.str[1:]]
        steps = np.zeros(array.shape, "i1").strides  # in items: that dtype has one byte
        items[name] = tensor(storage(str(index), array.size, kind), array.shape, steps)
        storages[str(index)] = array.astype(array.dtype.newbyteorder(byte_order)).tobytes()
    order = b"little" if byte_order == "<" else b"big"
    program = START + dictionary(items) + STOP
    return write_archive(path, program, storages, extra={"byteorder": order, "version": b"3\n"})
