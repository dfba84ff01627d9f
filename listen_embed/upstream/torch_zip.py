"""Read the tensors of a torch .pt or .pth file without torch and without pickle.

Such a file is a zip: ``<name>/data.pkl`` is a pickle that describes a dictionary of tensors,
``<name>/data/<key>`` the raw bytes of each storage. A pickle is a program that may call anything,
so none is run here: its instructions are read one by one, and the few that build dictionaries,
tuples and tensors are carried out on plain data. Every other instruction, and every name that it
mentions beyond those of tensors, is refused.

An `Unpickler` whose `find_class` knows these names alone would be shorter, but not as safe: nine
bytes that memoise under a large number take gigabytes of it, and a dictionary's key made of thirty
nested tuples, 67 bytes, takes it half a minute to hash.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ConversionError
from listen_embed.upstream import small_files

Array: TypeAlias = NDArray[Any]

_MAX_ENTRIES = 20_000
_MAX_PICKLE_BYTES = 8_000_000

_DICTIONARY = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_STORAGES = {
    "torch HalfStorage": "f2",
    "torch FloatStorage": "f4",
    "torch DoubleStorage": "f8",
    "torch IntStorage": "i4",
    "torch LongStorage": "i8",
}
_NAMES = {_DICTIONARY, _TENSOR, *_STORAGES}
_BYTE_ORDERS = {b"little": "<", b"big": ">"}


class StateDict(dict[str, Array]):
    """Tensors by name, as native arrays that own their memory."""

    def tensor(self, name: str, *shape: int | None) -> NDArray[np.float64]:
        """Return one tensor as float64; a None in the shape allows any size there.

        Raises
        ------
        ConversionError
            It is absent, of another shape, or holds values that are not finite.
        """
        if name not in self:
            raise ConversionError(f"The file has no tensor {name!r}, which this network needs.")
        array = self[name]
        fits = len(shape) == array.ndim and all(
            size in (None, found) for size, found in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ConversionError(f"{name} has the shape {array.shape}, expected ({wanted}).")
        if not np.isfinite(array).all():
            raise ConversionError(f"{name} holds values that are not finite.")
        return array.astype(np.float64)


def read_state_dict(path: Path, *, max_bytes: int = small_files.MAX_BYTES) -> StateDict:
    """Return the tensors of a saved state dict.

    Parameters
    ----------
    path : Path
        A file that ``torch.save`` wrote (torch 1.6 or later) from a flat dictionary of tensors.
    max_bytes : int
        The most that the unpacked file, and the tensors together, may hold.

    Raises
    ------
    ConversionError
        Not such a file, too large, damaged, or with anything in it but tensors.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise ConversionError(f"it has more than the {max_bytes} bytes that are accepted.")
        with zipfile.ZipFile(path) as archive:
            state = _Program(_Archive(archive, max_bytes), max_bytes).run()
    except ConversionError as error:
        raise ConversionError(f"{path.name}: {error}") from error
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise ConversionError(f"{path.name} is not a torch file: {error}.") from error
    return state


class _Archive:
    """The zip's entries, each at most as large as was agreed before anything is read."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > _MAX_ENTRIES or unpacked > max_bytes:
            raise ConversionError(
                f"{len(entries)} entries of {unpacked} bytes in all are more than the "
                f"{_MAX_ENTRIES} entries and {max_bytes} bytes that are accepted."
            )
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ConversionError("A compressed entry: torch writes none.")
        self._archive = archive
        self._entries = {entry.filename: entry for entry in entries}
        self._folder = self._find_folder()
        self.byte_order = self._find_byte_order()

    def pickle(self) -> bytes:
        return self._read("data.pkl", at_most=_MAX_PICKLE_BYTES)

    def storage(self, key: str, size_bytes: int) -> bytes:
        data = self._read(f"data/{key}", at_most=size_bytes)
        if len(data) != size_bytes:
            raise ConversionError(f"Storage {key} has {len(data)} bytes, expected {size_bytes}.")
        return data

    def _find_folder(self) -> str:
        found = [name for name in self._entries if name.count("/") == 1]
        folders = [name.removesuffix("data.pkl") for name in found if name.endswith("/data.pkl")]
        if len(folders) != 1:
            raise ConversionError(f"{len(folders)} files named data.pkl, expected one.")
        return folders[0]

    def _find_byte_order(self) -> str:
        if f"{self._folder}byteorder" not in self._entries:
            return "<"
        written = self._read("byteorder", at_most=16)
        if written not in _BYTE_ORDERS:
            raise ConversionError(f"Byte order {written!r}, expected little or big.")
        return _BYTE_ORDERS[written]

    def _read(self, name: str, at_most: int) -> bytes:
        entry = self._entries.get(self._folder + name)
        if entry is None:
            raise ConversionError(f"There is no {name} in it.")
        if entry.file_size > at_most:
            raise ConversionError(f"{name} has {entry.file_size} bytes, expected {at_most}.")
        return self._archive.read(entry)


@dataclass(frozen=True)
class _Name:
    """A mention of something importable; nothing is imported for it."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """The numbers behind one or more tensors."""

    values: Array


class _Program:
    """Carries out a pickle's harmless instructions on a stack of plain values."""

    def __init__(self, archive: _Archive, max_bytes: int) -> None:
        self._archive = archive
        self._bytes_left = max_bytes
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._storages: dict[str, _Storage] = {}

    def run(self) -> StateDict:
        code = _Code(self._archive.pickle())
        instruction = b""
        try:
            while (instruction := code.take(1)) != _STOP:
                self._carry_out(instruction, code)
        except ConversionError:
            raise
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ConversionError(f"Its pickle is damaged at {instruction!r}: {error}.") from error
        return _state_dict(self._stack)

    def _carry_out(self, instruction: bytes, code: _Code) -> None:
        step = _STEPS.get(instruction)
        if step is None:
            raise ConversionError(
                f"Its pickle has the instruction {instruction!r}, which no tensor needs. Refused."
            )
        step(self, code)

    # -- values ----------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self, kind: type[Any] | tuple[type[Any], ...]) -> Any:
        value = self._stack.pop()
        if not isinstance(value, kind):
            raise ConversionError(f"Its pickle has a {type(value).__name__} in a wrong place.")
        return value

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def get(self, key: int) -> None:
        self.push(self._memo[key])

    def tuple_of(self, count: int) -> None:
        values = [self._stack.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def set_items(self, values: list[Any]) -> None:
        target = self.pop(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                raise ConversionError("Its pickle has a key that is not text.")
            target[key] = value
        self.push(target)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self.set_items([key, value])

    # -- names, calls, storages ------------------------------------------------------------

    def name(self, text: str) -> None:
        if text not in _NAMES:
            raise ConversionError(
                f"Its pickle mentions {text[:80]!r}, which no tensor needs. Refused."
            )
        self.push(_Name(text))

    def call(self) -> None:
        arguments, function = self.pop(tuple), self.pop(_Name)
        if function.text == _DICTIONARY and not arguments:
            self.push({})
        elif function.text == _TENSOR:
            self.push(self._tensor(*arguments[:4]))
        else:
            raise ConversionError(f"Its pickle calls {function.text!r} in an unknown way. Refused.")

    def ignore_state(self) -> None:
        """BUILD: torch hangs its ``_metadata`` on the dictionary; it is dropped."""
        self.pop(dict)
        self.push(self.pop(dict))

    def storage(self) -> None:
        label, kind, key, _device, count = self.pop(tuple)
        known = label == "storage" and isinstance(kind, _Name) and kind.text in _STORAGES
        if not (known and isinstance(key, str) and _is_count(count)):
            raise ConversionError("Its pickle refers to a storage of an unknown kind.")
        if key not in self._storages:
            dtype = np.dtype(self._archive.byte_order + _STORAGES[kind.text])
            data = self._archive.storage(key, count * dtype.itemsize)
            self._storages[key] = _Storage(np.frombuffer(data, dtype))
        self.push(self._storages[key])

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Array:
        plain = isinstance(storage, _Storage) and isinstance(shape, tuple | list)
        if not (plain and isinstance(strides, tuple | list) and len(shape) == len(strides) <= 8):
            raise ConversionError("Its pickle describes a tensor in an unknown way.")
        if not all(_is_count(number) for number in (offset, *shape, *strides)):
            raise ConversionError("A tensor's shape, strides and offset must be counts.")
        values = storage.values
        self._bytes_left -= math.prod(shape) * values.itemsize
        if self._bytes_left < 0:
            raise ConversionError("Its tensors together are larger than is accepted.")
        native = values.dtype.newbyteorder("=")
        if 0 in shape:
            return np.zeros(shape, native)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if last >= values.size:
            raise ConversionError(f"A tensor of {shape} reaches beyond its storage.")
        steps = [stride * values.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
        return np.array(view, native, order="C")


class _Code:
    """A pickle's bytes, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self._position : self._position + count]
        if len(taken) < count:
            raise IndexError("the end comes too early")
        self._position += count
        return taken

    def number(self, count: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def text(self) -> str:
        return self.take(self.number(4)).decode()

    def name(self) -> str:
        return f"{self._line()} {self._line()}"

    def _line(self) -> str:
        length = self._data.index(b"\n", self._position) - self._position
        line = self.take(length).decode()
        self._position += 1
        return line


# Of pickle's instructions, those that torch.save needs for a dictionary of tensors.
_STEPS: dict[bytes, Callable[[_Program, _Code], Any]] = {
    b"\x80": lambda program, code: code.take(1),  # PROTO
    b"c": lambda program, code: program.name(code.name()),  # GLOBAL
    b"R": lambda program, code: program.call(),  # REDUCE
    b"b": lambda program, code: program.ignore_state(),  # BUILD
    b"Q": lambda program, code: program.storage(),  # BINPERSID
    b"(": lambda program, code: program.mark(),  # MARK
    b"t": lambda program, code: program.push(tuple(program.pop_to_mark())),  # TUPLE
    b")": lambda program, code: program.push(()),  # EMPTY_TUPLE
    b"\x85": lambda program, code: program.tuple_of(1),  # TUPLE1
    b"\x86": lambda program, code: program.tuple_of(2),  # TUPLE2
    b"\x87": lambda program, code: program.tuple_of(3),  # TUPLE3
    b"}": lambda program, code: program.push({}),  # EMPTY_DICT
    b"s": lambda program, code: program.set_item(),  # SETITEM
    b"u": lambda program, code: program.set_items(program.pop_to_mark()),  # SETITEMS
    b"N": lambda program, code: program.push(None),  # NONE
    b"\x88": lambda program, code: program.push(True),  # NEWTRUE
    b"\x89": lambda program, code: program.push(False),  # NEWFALSE
    b"X": lambda program, code: program.push(code.text()),  # BINUNICODE
    b"J": lambda program, code: program.push(code.number(4, signed=True)),  # BININT
    b"K": lambda program, code: program.push(code.number(1)),  # BININT1
    b"M": lambda program, code: program.push(code.number(2)),  # BININT2
    b"\x8a": lambda program, code: program.push(code.number(code.number(1), signed=True)),  # LONG1
    b"q": lambda program, code: program.put(code.number(1)),  # BINPUT
    b"r": lambda program, code: program.put(code.number(4)),  # LONG_BINPUT
    b"h": lambda program, code: program.get(code.number(1)),  # BINGET
    b"j": lambda program, code: program.get(code.number(4)),  # LONG_BINGET
}
_STOP = b"."


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _state_dict(stack: list[Any]) -> StateDict:
    result = stack[-1] if len(stack) == 1 else None
    if isinstance(result, dict) and all(isinstance(v, np.ndarray) for v in result.values()):
        return StateDict(result)
    raise ConversionError("It holds something else than one flat dictionary of tensors.")
