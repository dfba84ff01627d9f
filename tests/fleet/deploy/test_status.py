"""What devices say about themselves is read, or refused."""

from __future__ import annotations

import json

import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.deploy.status import Status, read_status, seal, unseal

from .world import KEY, STRANGER, VERIFY

SAID = Status(time=1.5, model="m", sequence=3)


def test_a_status_is_read_as_it_was_sent() -> None:
    said = Status(time=1.5, model="m", digest="d", sequence=3, refused="no", learning="bearing")
    assert read_status(said.json()) == said
    assert read_status(b'{"time": 3}') == Status(time=3.0)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"time": "now"}', b'{"time": NaN}',
        b'{"time": -1}', b'{"time": 1, "model": 3}', b'{"time": 1, "sequence": true}',
        b'{"time": 1, "sequence": -1}', b'{"time": 1, "sequence": 1e3}',
        b'{"time": 1, "colour": "red"}', b'{"time": 1, "model": "' + b"x" * 20_000 + b'"}',
    ],
)  # fmt: skip
def test_what_is_no_status_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="no status of a device"):
        read_status(content)


def test_a_signed_status_is_believed_of_its_device_only() -> None:
    envelope = seal(SAID, "east", KEY.sign)
    assert unseal(envelope, "east", VERIFY) == SAID
    changed = envelope.replace(b"3", b"4")
    for content, name, verify, why in (
        (envelope, "west", VERIFY, "not signed by the key of 'west'"),
        (changed, "east", VERIFY, "not signed by the key of 'east'"),
        (seal(SAID, "east", STRANGER.sign), "east", VERIFY, "foreign, or changed"),
        (envelope, "east", None, "'east', who is not among the members"),
        (SAID.json(), "east", VERIFY, "the status is not signed"),
        (b'{"status": 3, "signature": ""}', "east", VERIFY, "no signed status"),
        (b'{"status": "", "signature": "x"}', "east", VERIFY, "no signed status"),
        (b"[" * 100_000, "east", VERIFY, "no signed status"),
        (b"[]", "east", VERIFY, "no signed status"),
        (b"\xff", "east", VERIFY, "no signed status"),
    ):
        with pytest.raises(InputError, match=why):
            unseal(content, name, verify)


def test_a_manifests_signature_is_none_of_a_status() -> None:
    text = SAID.json()
    envelope = json.dumps({"status": text.decode(), "signature": KEY.sign(text).hex()}).encode()
    with pytest.raises(InputError, match="not signed by the key"):
        unseal(envelope, "east", VERIFY)
