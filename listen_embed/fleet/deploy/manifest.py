"""What a device is told to run: a canonical text, signed.

An envelope is JSON with the manifest's text, the signature over that very text and the key's name;
the text is the only one that its contents can have, so that equal manifests have equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from listen_embed.fleet import keys
from listen_embed.fleet.deploy.refusal import Refusal
from listen_embed.fleet.things.capabilities import Form

Action = Literal["install", "rollback"]
MAX_BYTES = 256_000
MAX_TOTAL_BYTES = 256_000_000
_FORMAT = 1
_MAX_FILES = 64
_LARGEST = 2**53
# No signature made for another purpose fits.
_PURPOSE = b"listen-embed deployment 1\0"
_FILE = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}/){0,3}[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file's sha256, hexadecimal, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one device shall run.

    Attributes
    ----------
    target : str
        Identifier of the device.
    model, digest : str
        The model's name, and the digest of its embeddings.
    sequence : int
        Higher than that of any manifest before.
    issued, expires : int
        Seconds since 1970.
    action : {"install", "rollback"}
        A rollback goes to the model that was there before, which must be `digest`.
    needs : Form or None
        What the model needs; None for a rollback.
    files : mapping of str to FileInfo
        By their places in the model folder.
    """

    target: str
    model: str
    digest: str
    sequence: int
    issued: int
    expires: int
    action: Action = "install"
    needs: Form | None = None
    files: Mapping[str, FileInfo] = field(default_factory=dict)

    def text(self) -> str:
        """Return the canonical text."""
        table = {name: getattr(self, name) for name in _SIMPLE}
        table["format"] = _FORMAT
        table["needs"] = None if self.needs is None else _form_table(self.needs)
        table["files"] = {name: dataclasses.asdict(one) for name, one in self.files.items()}
        return canonical(table)


_SIMPLE = {
    "target": str, "model": str, "digest": str, "action": str,
    "sequence": int, "issued": int, "expires": int,
}  # fmt: skip
_FORM = {one.name: one.type for one in dataclasses.fields(Form)}


def canonical(table: Mapping[str, Any]) -> str:
    """Return JSON in the only way that it can be written here."""
    return json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _form_table(form: Form) -> dict[str, Any]:
    return dataclasses.asdict(form) | {"operators": sorted(form.operators)}


def seal(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """Return a manifest in its signed envelope."""
    text = manifest.text()
    signature = key.sign(_PURPOSE + text.encode())
    table = {
        "key": keys.name_of(key.public_key()),
        "manifest": text,
        "signature": signature.hex(),
    }
    return canonical(table).encode()


def unseal(envelope: bytes, trusted: Iterable[Ed25519PublicKey]) -> Manifest:
    """Return the manifest of an envelope that a trusted key signed.

    Raises
    ------
    Refusal
        It is none, too large, signed by a key that is not trusted, or changed since.
    """
    if len(envelope) > MAX_BYTES:
        raise Refusal(f"the manifest has {len(envelope):,} bytes; {MAX_BYTES:,} are allowed")
    outer = _table(envelope)
    name, text, signed = (outer.get(part) for part in ("key", "manifest", "signature"))
    if not (isinstance(name, str) and isinstance(text, str) and isinstance(signed, str)):
        raise Refusal("the manifest is in no envelope: key, manifest and signature are texts")
    if canonical({"key": name, "manifest": text, "signature": signed}).encode() != envelope:
        raise Refusal("the manifest is in no envelope of ours: something was added or rewritten")
    key = keys.find(name, trusted)
    if key is None:
        raise Refusal(f"the manifest is signed by the key {name[:16]!r}, which is not trusted here")
    if not keys.fits(key, _bytes(signed), _PURPOSE + text.encode(errors="replace")):
        raise Refusal("the signature does not fit the manifest: one of them was changed")
    return parse(text)


def _bytes(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if found.hex() == text else b""


def _table(text: str | bytes) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the manifest is no JSON: {error}") from error
    if not isinstance(table, dict):
        raise Refusal("the manifest is no JSON object")
    return table


def parse(text: str) -> Manifest:
    """Return the manifest of a canonical text.

    Raises
    ------
    Refusal
        Something is missing, too much, of the wrong type or out of bounds.
    """
    table = _table(text)
    if table.get("format") != _FORMAT:
        raise Refusal(f"a manifest of format {table.get('format')!r}; this device knows {_FORMAT}")
    for name, kind in _SIMPLE.items():
        if type(table.get(name)) is not kind:
            raise Refusal(f"the manifest's {name} is {table.get(name)!r}; give {kind.__name__}")
    needs = None if table.get("needs") is None else _form(table["needs"])
    manifest = Manifest(
        **{name: table[name] for name in _SIMPLE}, needs=needs, files=_files(table.get("files"))
    )
    _check(manifest)
    if manifest.text() != text:
        raise Refusal("the manifest is not written canonically, or has parts that are not known")
    return manifest


def _check(manifest: Manifest) -> None:
    if manifest.action not in get_args(Action):
        raise Refusal(
            f"the manifest's action is {manifest.action!r}; allowed are install, rollback"
        )
    if not _DIGEST.fullmatch(manifest.digest):
        raise Refusal("the manifest's digest is not 64 hexadecimal digits")
    if not all(0 <= n < _LARGEST for n in (manifest.sequence, manifest.issued, manifest.expires)):
        raise Refusal("the manifest's sequence or times are out of bounds")
    if manifest.action == "install" and (manifest.needs is None or not manifest.files):
        raise Refusal("the manifest installs nothing: it lacks needs or files")


def _form(table: Any) -> Form:
    if not isinstance(table, dict) or set(table) != set(_FORM):
        raise Refusal(f"the manifest's needs are not {', '.join(_FORM)}")
    operators = table["operators"]
    if not isinstance(operators, list) or not all(isinstance(one, str) for one in operators):
        raise Refusal("the manifest's operators are not a list of texts")
    for name, kind in _FORM.items():
        if name != "operators" and type(table[name]).__name__ != kind:
            raise Refusal(f"the manifest's need of {name} is {table[name]!r}; give {kind}")
    return Form(**table | {"operators": frozenset(operators)})


def _files(table: Any) -> dict[str, FileInfo]:
    if not isinstance(table, dict) or len(table) > _MAX_FILES:
        raise Refusal(f"the manifest's files are no table of {_MAX_FILES} at most")
    files = {name: _file(name, one) for name, one in table.items()}
    if sum(one.size for one in files.values()) > MAX_TOTAL_BYTES:
        raise Refusal(f"the manifest's files have more than {MAX_TOTAL_BYTES:,} bytes")
    return files


def _file(name: str, table: Any) -> FileInfo:
    if not _FILE.fullmatch(name):
        raise Refusal(f"the manifest names a file {name!r}, which is no place in a model folder")
    if not isinstance(table, dict) or set(table) != {"sha256", "size"}:
        raise Refusal(f"the manifest's {name} does not state sha256 and size")
    digest, size = table["sha256"], table["size"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Refusal(f"the manifest's {name} has a sha256 that is none")
    if type(size) is not int or not 0 <= size <= MAX_TOTAL_BYTES:
        raise Refusal(f"the manifest's {name} has a size of {size!r}")
    return FileInfo(digest, size)
