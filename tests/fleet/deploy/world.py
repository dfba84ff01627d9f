"""A device, an operator's key, and manifests, that the tests of deployment share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from listen_embed import registry
from listen_embed.fleet import keys
from listen_embed.fleet.deploy import package
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest
from listen_embed.fleet.things.capabilities import TFLITE, Form
from listen_embed.fleet.things.describe_model import model_of_spec

from ..things.world import NANO, gateway

OTHER = "listen/64/workshop"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TRUSTED = (KEY.public_key(),)
VERIFY = keys.verifier(keys.as_text(KEY.public_key()))


class Everybody(dict[str, keys.Verify]):
    """Members who all have the same key."""

    def get(self, name: str, default: Any = None) -> keys.Verify:
        """Return what checks anybody's signature."""
        return VERIFY


DEVICE = gateway()
NOW = int(time.time())


@functools.cache
def files(name: str = NANO) -> dict[str, bytes]:
    """Return a model's files."""
    return package.files_of(registry.find(name))


@functools.cache
def needs(name: str = NANO) -> tuple[Form, str]:
    """Return what a model needs in an interpreter, and its digest."""
    model = model_of_spec(registry.find(name))
    return next(form for form in model.forms if form.kind == TFLITE), model.digest


def manifest(name: str = NANO, sequence: int = 1, **changes: Any) -> Manifest:
    """Return a manifest that the device obeys, changed."""
    form, digest = needs(name)
    usual: dict[str, Any] = {
        "target": DEVICE.iri, "model": name, "digest": digest, "sequence": sequence,
        "issued": NOW, "expires": NOW + 3600, "needs": form, "files": package.infos(files(name)),
    }  # fmt: skip
    return Manifest(**usual | changes)


def rollback(to: str, sequence: int) -> Manifest:
    """Return a manifest that takes a device back to a model."""
    return manifest(to, sequence, action="rollback", needs=None, files={})


def fetching(*names: str) -> Callable[[FileInfo], bytes]:
    """Return what gives the files of models by their digests."""
    contents = [content for name in names or (NANO, OTHER) for content in files(name).values()]
    by_digest = {package.info(content).sha256: content for content in contents}
    return lambda wanted: by_digest[wanted.sha256]


def installed(folder: Path) -> set[str]:
    """Return the names in a device's folder."""
    return {path.name for path in folder.iterdir()}
