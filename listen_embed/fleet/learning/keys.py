"""Who said it: Ed25519 keys in PEM files, public ones as text."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from listen_embed.errors import InputError
from listen_embed.fleet.learning.updates import Verify

_MAX_PEM_BYTES = 10_000


def make_key(path: Path) -> Ed25519PrivateKey:
    """Make a new key and write it to a file that only its owner may read.

    Raises
    ------
    InputError
        There is a file already, or none can be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        raise InputError(f"{path}: no key can be written there ({error.strerror})") from error
    return key


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in a PEM file; raise `InputError` if there is none."""
    try:
        with open(path, "rb") as file:
            key = load_pem_private_key(file.read(_MAX_PEM_BYTES), None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: no key can be read; make one with listen-embed fleet key ({error})"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is no Ed25519 key; make one with listen-embed fleet key")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half of a key as text, to be given to those who shall believe it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def verifier(text: str) -> Verify:
    """Return what checks (content, signature) by a public key; raise `InputError` if it is none."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"{text[:60]!r} is no public key; give what listen-embed fleet key prints"
        ) from error

    def verify(content: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    return verify
