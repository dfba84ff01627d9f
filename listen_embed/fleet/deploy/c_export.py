"""A model for microcontrollers: the C that was matched, and a signed manifest for each device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from listen_embed.atomic import replacing
from listen_embed.device import Options, export_c
from listen_embed.device.model_source import Arithmetic, ModelSource
from listen_embed.errors import ListenEmbedError
from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.manifest import Manifest, seal
from listen_embed.fleet.deploy.rollout import Order, next_sequence
from listen_embed.fleet.deploy.targets import Target
from listen_embed.fleet.things.capabilities import Form, Model
from listen_embed.spec import ModelSpec

_SOURCES = ("*.c", "*.h")
_ARITHMETICS: dict[str, Arithmetic] = {"float": "float", "fixed": "fixed"}


def export(
    spec: ModelSpec, model: Model, chosen: Iterable[Target], folder: Path, order: Order
) -> dict[str, Manifest]:
    """Write the C of every form that was matched, and a manifest for each device beside them.

    A form stands in ``FORM/``, a device's manifest in ``NAME.manifest.json``; its files are those
    of ``FORM/src``.

    Raises
    ------
    ListenEmbedError
        What was exported is not what was matched.
    """
    manifests = {}
    for target in chosen:
        if target.form is None:
            continue
        place = folder / target.form.name
        if not place.exists():
            check(target.form, model, export_c(spec, place, options(target.form)))
        manifests[target.device.name] = _manifest(target, target.form, model, place, order)
    for name, manifest in manifests.items():
        with replacing(folder / f"{quote(name, safe=' ')}.manifest.json") as file:
            file.write(seal(manifest, order.key))
    return manifests


def options(form: Form) -> Options:
    """Return the options that give the C of a form."""
    return Options(arithmetic=_ARITHMETICS[form.arithmetic])


def check(form: Form, model: Model, made: ModelSource) -> None:
    """Raise unless exported C is the form that was matched, of the model that was matched."""
    found = (made.digest, made.memory.flash, made.memory.ram)
    if found != (model.digest, form.flash, form.ram):
        raise ListenEmbedError(
            f"{model.name} was matched as {form.name} with {form.flash:,} bytes of flash and "
            f"{form.ram:,} of RAM, but its C needs {found[1]:,} and {found[2]:,}; describe it again"
        )


def _manifest(target: Target, form: Form, model: Model, place: Path, order: Order) -> Manifest:
    sources = sorted(path for kind in _SOURCES for path in (place / "src").glob(kind))
    return Manifest(
        target=target.device.iri,
        model=model.name,
        digest=model.digest,
        sequence=next_sequence(None, order.now),
        issued=order.issued,
        expires=order.expires,
        needs=form,
        files={f"src/{path.name}": package.info(path.read_bytes()) for path in sources},
    )
