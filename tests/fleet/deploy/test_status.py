"""What devices say about themselves is read, or refused."""

from __future__ import annotations

import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.deploy.status import Status, read_status


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
