"""Manifests: canonical, signed, and refused where anything is wrong with them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from listen_embed.fleet.deploy.manifest import canonical, parse, seal, unseal
from listen_embed.fleet.deploy.refusal import Refusal

from ..things.world import NANO
from .world import KEY, STRANGER, TRUSTED, manifest, rollback


def changed(**parts: Any) -> str:
    """Return the text of a manifest with parts exchanged; None removes one."""
    table = json.loads(manifest().text()) | parts
    return canonical({name: part for name, part in table.items() if part != "gone"})


def test_what_is_sealed_is_unsealed() -> None:
    for one in (manifest(), rollback(NANO, 7)):
        assert unseal(seal(one, KEY), TRUSTED) == one


def test_equal_manifests_have_equal_bytes() -> None:
    one = manifest()
    files = dict(reversed(list(one.files.items())))
    assert seal(manifest(files=files), KEY) == seal(one, KEY)


def test_another_key_is_not_trusted() -> None:
    with pytest.raises(Refusal, match=r"signed by the key '[0-9a-f]{16}', which is not trusted"):
        unseal(seal(manifest(), STRANGER), TRUSTED)


def test_a_stranger_who_uses_a_trusted_name_is_found_out() -> None:
    table = json.loads(seal(manifest(), STRANGER))
    table["key"] = json.loads(seal(manifest(), KEY))["key"]
    with pytest.raises(Refusal, match="the signature does not fit"):
        unseal(canonical(table).encode(), TRUSTED)


def test_every_changed_byte_is_found_out() -> None:
    whole = seal(manifest(), KEY)
    rng = random.Random(1)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        with pytest.raises(Refusal):
            unseal(bytes(damaged), TRUSTED)


@pytest.mark.parametrize(
    "envelope",
    [b"", b"{", b"[]", b'"x"', b"[" * 100_000, b'{"key":1,"manifest":2,"signature":3}', b"\xff"],
)
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    with pytest.raises(Refusal, match=r"no JSON|no envelope"):
        unseal(envelope, TRUSTED)


def test_too_large_an_envelope_is_not_even_read() -> None:
    with pytest.raises(Refusal, match="256,001 bytes; 256,000 are allowed"):
        unseal(b" " * 256_001, TRUSTED)


FILE = {"sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed(format=2), "format 2; this device knows 1"),
        (changed(sequence="1"), "sequence is '1'; give int"),
        (changed(sequence=True), "sequence is True; give int"),
        (changed(target="gone"), "target is None; give str"),
        (changed(action="erase"), "action is 'erase'; allowed are install, rollback"),
        (changed(sequence=-1), "out of bounds"),
        (changed(expires=2**60), "out of bounds"),
        (changed(digest="0"), "not 64 hexadecimal digits"),
        (changed(files={}), "installs nothing"),
        (changed(needs=None), "installs nothing"),
        (changed(needs={}), "needs are not kind"),
        (changed(needs=json.loads(manifest().text())["needs"] | {"ram": "1"}), "need of ram"),
        (changed(needs=json.loads(manifest().text())["needs"] | {"operators": [1]}), "operators"),
        (changed(files={"../x": FILE}), r"names a file '\.\./x'"),
        (changed(files={"/etc/passwd": FILE}), "no place in a model folder"),
        (changed(files={".hidden": FILE}), "no place in a model folder"),
        (changed(files={"x\n": FILE}), "no place in a model folder"),
        (changed(files={"x": FILE | {"more": 1}}), "does not state sha256 and size"),
        (changed(files={"x": FILE | {"sha256": "0"}}), "has a sha256 that is none"),
        (changed(files={"x": FILE | {"size": -1}}), "has a size of -1"),
        (changed(files={"x": FILE | {"size": 1.0}}), "has a size of 1.0"),
        (
            changed(files={str(i): FILE | {"size": 10**8} for i in range(3)}),
            "more than 256,000,000 bytes",
        ),
        (changed(files={str(i): FILE for i in range(65)}), "no table of 64"),
        (changed(more=1), "not written canonically"),
        (manifest().text() + " ", "not written canonically"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        parse(text)
