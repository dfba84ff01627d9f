"""What a registry is filled with: descriptions in files, parts and models that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from listen_embed import registry, store
from listen_embed.device.parts import PARTS
from listen_embed.errors import InputError, blame
from listen_embed.fleet.things.describe_device import describe_device, device_of_part
from listen_embed.fleet.things.describe_model import describe_model
from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.triples import MAX_BYTES
from listen_embed.spec import ModelSpec

_SUFFIXES = (".jsonld", ".json")


def add_files(into: Registry, paths: Sequence[Path]) -> int:
    """Add the descriptions in files, and in folders of them; return how many.

    Raises
    ------
    InputError
        A file cannot be read, or what it says is not clear; with its name.
    """
    files = [file for path in paths for file in _files(path)]
    for file in tqdm(files, "descriptions", disable=None, delay=1, leave=False):
        _add_file(into, file)
    return len(files)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)


def _add_file(into: Registry, file: Path) -> None:
    try:
        with open(file, "rb") as opened:
            into.add(opened.read(MAX_BYTES + 1))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(blame(file, error)) from error


def add_parts(into: Registry) -> None:
    """Add a device of each part that this package knows."""
    for part in PARTS:
        into.add(describe_device(device_of_part(part)))


def add_models(into: Registry, specs: Sequence[ModelSpec] | None = None) -> None:
    """Add models; None adds all whose files are at hand."""
    chosen = at_hand() if specs is None else specs
    for spec in tqdm(chosen, "models", disable=None, delay=1, leave=False):
        into.add(describe_model(spec))


def at_hand() -> list[ModelSpec]:
    """Return the models that need no download."""
    return [spec for spec in registry.models() if store.state(spec) != "to download"]
