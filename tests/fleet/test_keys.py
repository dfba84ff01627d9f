"""Keys on disk: made once, readable by their owner, and nothing else taken for one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from listen_embed.errors import InputError, OutputError
from listen_embed.fleet import keys


def test_a_new_key_signs_and_is_not_replaced(tmp_path: Path) -> None:
    public = keys.public(keys.make(tmp_path / "key"))
    private = keys.private(tmp_path / "key")
    assert keys.fits(public, private.sign(b"x"), b"x")
    assert not keys.fits(public, private.sign(b"x"), b"y")
    assert keys.find(keys.name_of(public), [public]) == public
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    with pytest.raises(OutputError, match="a key is not replaced"):
        keys.make(tmp_path / "key")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "curve").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "text").write_text("hello")
    keys.make(tmp_path / "key")
    for read, name, said in (
        (keys.private, "curve", "Ed25519 is needed"),
        (keys.private, "text", "no unencrypted private key"),
        (keys.private, "none", "cannot be read"),
        (keys.private, "key.pub", "no unencrypted private key"),
        (keys.public, "key", "no public key"),
    ):
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)


def test_a_public_key_goes_round_as_text(tmp_path: Path) -> None:
    public = keys.public(keys.make(tmp_path / "key"))
    verify = keys.verifier(keys.as_text(public))
    signature = keys.private(tmp_path / "key").sign(b"x")
    assert verify(b"x", signature) and not verify(b"y", signature)
    with pytest.raises(InputError, match="is no public key"):
        keys.verifier("AAAA")


@pytest.mark.parametrize("text", ["", "[members]", "members = 3", '[members]\nn="x"', "\0", "[[["])
def test_what_are_no_members(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=r"members|public key"):
        keys.read_members(tmp_path / "m.toml")
    with pytest.raises(InputError, match="no members can be read"):
        keys.read_members(tmp_path / "nothing.toml")
