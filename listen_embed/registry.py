"""Which models exist, and which one a request means.

Published models are rows of ``registry.toml``; ours are folders under ``weights/``, each with a
``model.toml`` of the same form, and so is any folder that ``listen-embed specialize`` makes.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

from listen_embed.errors import InputError, ModelNotFoundError
from listen_embed.spec import Download, FrontEnd, ModelSpec

CARD = "model.toml"
_MAX_CARD_BYTES = 1_000_000
_DEFAULT_TYPE = "sea"
# edgel3 called its pruned models "sparse": that type, and of its variants only edgel3's own.
_SPARSE, _SPARSE_VARIANTS = "sparse", ("ft-", "kd-")


@lru_cache(maxsize=1)
def models() -> tuple[ModelSpec, ...]:
    """Return every model that comes with the package, published and our own."""
    return (*_shipped(), *_published())


def find(
    model_type: str | os.PathLike[str] | None = None,
    emb_dim: int | None = None,
    variant: str | None = None,
) -> ModelSpec:
    """Return the model that a request means.

    Parameters
    ----------
    model_type : str or path, optional
        A type (``"teacher"``, ``"pruned"`` or its alias ``"sparse"``, ``"sea"``, ``"listen"``,
        ``"logmel"``), a whole name (``"sea/64/sonyc-ust"``), or the path of a model folder.
    emb_dim : int, optional
        Width of the embedding; with None the default one of the type and variant.
    variant : str, optional
        With None the default variant of the type and width.

    Raises
    ------
    ModelNotFoundError
        Nothing fits; the message lists what exists and names the closest match.
    InputError
        An argument of the wrong type.
    """
    _check_arguments(model_type, emb_dim, variant)
    if model_type is not None and _is_folder(model_type):
        return _from_folder(model_type, emb_dim, variant)
    if (model_type, emb_dim, variant) == (None, None, None):
        return _default()
    name = None if model_type is None else os.fspath(model_type)
    named = _Request.parse(name, emb_dim, variant)
    fitting = [spec for spec in models() if named.fits(spec)]
    if not fitting:
        raise ModelNotFoundError(_no_such_model(named))
    return max(fitting, key=lambda spec: spec.default)


# What edgel3 and openl3 called things, and how to say it here.
_FOREIGN = ("retrain_type", "sparsity", "input_repr", "content_type", "embedding_size", "model")


def check_foreign(
    foreign: Mapping[str, Any], model_type: Any = None, emb_dim: int | None = None
) -> None:
    """Raise `InputError` with the call that is meant if arguments of edgel3 or openl3 are given."""
    if not foreign:
        return
    unknown = [name for name in foreign if name not in _FOREIGN]
    if unknown:
        raise InputError(
            f"unknown argument {', '.join(unknown)}; allowed are model_type, emb_dim, variant, "
            "hop_size, center, frame_size, layout, threads, progress"
        )
    raise InputError(f"{', '.join(foreign)}: say {_new_call(foreign, model_type, emb_dim)}")


def _new_call(old: Mapping[str, Any], model_type: Any, emb_dim: int | None) -> str:
    if "model" in old:
        return "embedder = Embedder(...) once, then embedder.embed(audio, sr)"
    if "retrain_type" in old or "sparsity" in old:
        variant = f"{old.get('retrain_type', 'ft')}-{old.get('sparsity', 95.45)}"
        return f'get_embedding(audio, sr, "sparse", variant="{variant}")'
    size = old.get("embedding_size", emb_dim or 6144)
    variant = f"l3-{old.get('content_type', 'music')}-{old.get('input_repr', 'mel256')}"
    return f'get_embedding(audio, sr, "teacher", {size}, variant="{variant}")'


def _default() -> ModelSpec:
    """Return the model that is meant where none is named: the best ranked one in the package."""
    shipped = [spec for spec in _shipped() if spec.model_type == _DEFAULT_TYPE]
    if not shipped:
        raise ModelNotFoundError(
            "the default model is missing: this installation lacks the package "
            "listen_embed.weights. Install listen-embed anew (in a checkout: pip install -e .; a "
            "folder listen_embed/ in the working directory may hide the installed one), or name a "
            "model"
        )
    return max(shipped, key=lambda spec: spec.default)


def load_folder(folder: str | os.PathLike[str]) -> ModelSpec:
    """Return the model that a folder holds: ``model.toml`` and the .tflite that it names."""
    card = Path(folder) / CARD
    if not card.is_file():
        raise ModelNotFoundError(f"{folder} is no model folder: it has no {CARD}")
    if card.stat().st_size > _MAX_CARD_BYTES:
        raise InputError(f"{card}: larger than {_MAX_CARD_BYTES} bytes")
    try:
        table = tomllib.loads(card.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: not valid TOML ({error})") from error
    try:
        return _spec_of_folder(Path(folder), table)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{card}: {error}") from error
        raise InputError(f"{card}: missing or wrong entry ({error})") from error


def _spec_of_folder(folder: Path, table: Mapping[str, Any]) -> ModelSpec:
    facts = dict(table["model"])
    file_name = str(facts.pop("file"))
    if Path(file_name).name != file_name or file_name in ("", ".."):
        raise InputError(f"file must be a name inside the folder, is {file_name!r}")
    front_end = FrontEnd.from_dict(table["front_end"])
    facts["state"] = tuple(map(tuple, facts.get("state", ())))
    return ModelSpec(front_end=front_end, file=folder / file_name, **facts)


class _Request:
    """The three parts of a name, each of which may be open."""

    def __init__(self, model_type: str | None, emb_dim: int | None, variant: str | None) -> None:
        self.is_sparse = model_type == _SPARSE
        self.model_type = "pruned" if self.is_sparse else model_type
        self.emb_dim = emb_dim
        self.variant = variant

    @classmethod
    def parse(cls, model_type: str | None, emb_dim: int | None, variant: str | None) -> _Request:
        """Take a whole name apart; its parts after the type may stand in either order.

        A variant's name alone, such as ``"mn04"``, is enough too.
        """
        if model_type is None:
            return cls(None, emb_dim, variant)
        first, *parts = model_type.strip("/").split("/")
        if not parts and variant is None and first in {spec.variant for spec in models()}:
            return cls(None, emb_dim, first)
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(numbers) > 1:
            raise InputError(f"the name {model_type!r} has {len(numbers)} widths; a model has one")
        words = [part for part in parts if not part.isdecimal()]
        in_name = cls(first, numbers[0] if numbers else None, "/".join(words) if words else None)
        in_name._must_agree(model_type, "emb_dim", in_name.emb_dim, emb_dim)
        in_name._must_agree(model_type, "variant", in_name.variant, variant)
        in_name.emb_dim = emb_dim if in_name.emb_dim is None else in_name.emb_dim
        in_name.variant = in_name.variant or variant
        return in_name

    @staticmethod
    def _must_agree(name: str, argument: str, inside: Any, beside: Any) -> None:
        if inside is not None and beside is not None and inside != beside:
            raise InputError(f"the name {name!r} and {argument}={beside!r} contradict each other")

    def fits(self, spec: ModelSpec) -> bool:
        return (
            self.model_type in (None, spec.model_type)
            and self.emb_dim in (None, spec.emb_dim)
            and self.variant in (None, spec.variant)
            and (spec.variant.startswith(_SPARSE_VARIANTS) or not self.is_sparse)
        )

    def __str__(self) -> str:
        given = {"model_type": self.model_type, "emb_dim": self.emb_dim, "variant": self.variant}
        return ", ".join(f"{key}={value!r}" for key, value in given.items() if value is not None)


def _check_arguments(model_type: Any, emb_dim: Any, variant: Any) -> None:
    if model_type == "" or not isinstance(model_type, str | os.PathLike | None):
        raise InputError(f"model_type is {model_type!r}; allowed are a name, a folder or None")
    if emb_dim is not None and (isinstance(emb_dim, bool) or not isinstance(emb_dim, Integral)):
        raise InputError(f"emb_dim is {emb_dim!r}; allowed are a whole number or None")
    if variant is not None and not isinstance(variant, str):
        raise InputError(f"variant is {variant!r}; allowed are a string or None")


def _is_folder(model: str | os.PathLike[str]) -> bool:
    return not isinstance(model, str) or os.path.isdir(model) or model.startswith((".", "/", "~"))


def _from_folder(
    model: str | os.PathLike[str], emb_dim: int | None, variant: str | None
) -> ModelSpec:
    spec = load_folder(os.path.expanduser(model))
    if emb_dim not in (None, spec.emb_dim) or variant not in (None, spec.variant):
        raise ModelNotFoundError(
            f"{model} holds {spec.name}, not emb_dim={emb_dim!r}, variant={variant!r}"
        )
    return spec


def _no_such_model(request: _Request) -> str:
    """Say what was asked for, what exists nearest to it, and where the whole list is."""
    of_type = [spec.name for spec in models() if spec.model_type == request.model_type]
    if of_type:
        existing = f"{request.model_type!r} has: {', '.join(of_type)}"
    else:
        types = sorted({spec.model_type for spec in models()})
        existing = f"model types are: {', '.join(types)} (and the alias sparse)"
    wanted = "/".join(
        str(part) for part in (request.model_type, request.emb_dim, request.variant) if part
    )
    candidates = of_type or sorted({s.model_type for s in models()} | {s.name for s in models()})
    closest = difflib.get_close_matches(wanted.lower(), candidates, n=1, cutoff=0.0)
    if request.model_type in ("openl3", "l3", "edgel3"):
        existing += (
            '. OpenL3 is get_embedding(audio, sr, "teacher", 512, variant="l3-env-mel256"), '
            'EdgeL3 get_embedding(audio, sr, "sparse", variant="ft-95.45")'
        )
    return (
        f"no model with {request}. {existing}. Closest: {closest[0]}. "
        "All of them: listen-embed models"
    )


def _published() -> tuple[ModelSpec, ...]:
    table = tomllib.loads(Path(__file__).with_name("registry.toml").read_text(encoding="utf-8"))
    front_ends = {
        name: FrontEnd.from_dict(constants) for name, constants in table["front_end"].items()
    }
    return tuple(_spec_of_row(row, front_ends) for row in table["model"])


def _spec_of_row(row: dict[str, Any], front_ends: Mapping[str, FrontEnd]) -> ModelSpec:
    facts = dict(row)
    front_end = front_ends[facts.pop("front_end")]
    download = facts.pop("download", None)
    if download is not None:
        download = Download(**{**download, "urls": tuple(download["urls"])})
    return ModelSpec(front_end=front_end, download=download, **facts)


def _shipped() -> tuple[ModelSpec, ...]:
    """Return the models under ``weights/``, found without importing it."""
    package = importlib.util.find_spec("listen_embed.weights")
    if package is None or not package.submodule_search_locations:
        return ()
    folder = Path(package.submodule_search_locations[0])
    return tuple(load_folder(card.parent) for card in sorted(folder.glob(f"*/{CARD}")))
