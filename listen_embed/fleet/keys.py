"""Ed25519 keys in PEM files: private ones, public ones that somebody trusts, also as text."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from listen_embed.atomic import replacing
from listen_embed.errors import InputError, OutputError

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]

_MAX_BYTES = 10_000
_MAX_MEMBERS_BYTES = 10 << 20
_OWNER_ONLY = 0o600


def make(path: Path) -> Path:
    """Write a new private key, readable by its owner only, and beside it its ``.pub``.

    Raises
    ------
    OutputError
        The file exists: a key in use is not replaced.
    """
    if path.exists():
        raise OutputError(f"{path} exists; a key is not replaced, give another name")
    key = Ed25519PrivateKey.generate()
    public = path.with_name(path.name + ".pub")
    with replacing(path) as file:
        os.fchmod(file.fileno(), _OWNER_ONLY)
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with replacing(public) as file:
        file.write(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def private(path: Path) -> Ed25519PrivateKey:
    """Return the private key of a PEM file; raise `InputError` for anything else."""
    content = _read(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no unencrypted private key in PEM ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: a key of another kind; Ed25519 is needed (fleet key)")
    return key


def public(path: Path) -> Ed25519PublicKey:
    """Return the public key of a PEM file; raise `InputError` for anything else."""
    content = _read(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no public key in PEM ({error})") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: a key of another kind; Ed25519 is needed (fleet key)")
    return key


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def name_of(key: Ed25519PublicKey) -> str:
    """Return by which name a key is meant: the start of its digest."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def find(name: str, trusted: Iterable[Ed25519PublicKey]) -> Ed25519PublicKey | None:
    """Return the trusted key of a name, or None."""
    return next((key for key in trusted if name_of(key) == name), None)


def fits(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    """Whether a signature is this key's, of this content."""
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def as_text(key: Ed25519PublicKey) -> str:
    """Return a public key as text, to be given to those who shall believe it."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def verifier(text: str) -> Verify:
    """Return what checks (content, signature) by a public key; raise `InputError` if it is none."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"{text[:60]!r} is no public key; give what listen-embed fleet key prints"
        ) from error
    return lambda content, signature: fits(key, signature, content)


def read_members(path: Path) -> dict[str, Verify]:
    """Return who belongs to a fleet: a TOML file's table ``members``, name = "public key".

    Raises
    ------
    InputError
        The file cannot be read, names nobody, or a key is none.
    """
    try:
        if path.stat().st_size > _MAX_MEMBERS_BYTES:
            raise InputError(f"{path}: is larger than {_MAX_MEMBERS_BYTES} bytes")
        members = tomllib.loads(path.read_text(encoding="utf-8")).get("members")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: no members can be read ({error})") from error
    if not isinstance(members, dict) or not members:
        raise InputError(f'{path}: names no members; write [members] and name = "public key"')
    return {name: verifier(str(key)) for name, key in members.items()}
