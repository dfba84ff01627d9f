"""What a device sends, and what is let in of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Layer, Layout
from listen_embed.fleet.learning.updates import (
    _HEAD,
    Guard,
    RefusalError,
    Sending,
    Update,
    most_bytes,
    named_in,
    near_ones,
    pack,
    trimmed_mean,
    unpack,
)

LAYOUT = Layout((Layer("w", (30, 20)), Layer("b", (20,)), Layer("head", (20, 20))))
AGREED = bytes(range(32))


def sign(content: bytes) -> bytes:
    return bytes([sum(content) % 251]) * 64


def verify(content: bytes, signature: bytes) -> bool:
    return signature == sign(content)


def update(**changes: Any) -> Update:
    delta = np.random.default_rng(0).normal(size=LAYOUT.size).astype(np.float32)
    made = Update("n1", 7, AGREED, 12, delta, np.zeros(3, np.float32))
    return replace(made, **changes)


def message(sending: Sending | None = None, **changes: Any) -> bytes:
    return pack(update(**changes), LAYOUT, sending or Sending(), sign)


def resigned(content: bytes) -> bytes:
    """Return a message with its last 64 bytes made right again."""
    return content[:-64] + sign(content[:-64])


def with_scale(value: float) -> bytes:
    """Return a message in which the first scale is this."""
    content, place = bytearray(message()), _HEAD.size + 3
    content[place : place + 4] = np.array(value, "<f4").tobytes()
    return resigned(bytes(content))


def with_signal(value: float) -> bytes:
    """Return a message in which the last signal is this."""
    return resigned(message()[:-68] + np.array(value, "<f4").tobytes() + bytes(64))


def guard(**options: Any) -> Guard:
    return Guard(LAYOUT, AGREED, {"n1": verify, "n2": verify}, **options)


def test_what_is_packed_is_unpacked_to_half_a_step() -> None:
    got = unpack(message(), LAYOUT, verify)
    assert (got.node, got.round, got.agreement, got.n_samples) == ("n1", 7, AGREED, 12)
    for found, given in zip(LAYOUT.each(got.delta), LAYOUT.each(update().delta), strict=True):
        assert np.abs(found - given).max() <= np.abs(given).max() / 127 / 2 * 1.001


def test_a_thousand_values_take_less_than_1300_bytes() -> None:
    assert len(message()) / LAYOUT.size < 1.3 and LAYOUT.size == 1020


def test_the_largest_values_alone_are_sent() -> None:
    whole, part = message(), message(Sending(top=0.1))
    assert len(part) < 0.35 * len(whole)
    delta = unpack(part, LAYOUT, verify).delta
    layer = delta[LAYOUT.places["w"]]
    given = update().delta[LAYOUT.places["w"]]
    assert np.count_nonzero(layer) == 60
    assert np.abs(given[layer == 0]).max() <= np.abs(given[layer != 0]).min()


def test_layers_that_are_kept_never_leave() -> None:
    content = message(Sending(kept=frozenset({"head"})))
    assert len(content) < len(message()) - 400
    layers = LAYOUT.views(unpack(content, LAYOUT, verify).delta)
    assert not layers["head"].any() and layers["w"].any()


def test_no_message_is_longer_than_allowed() -> None:
    for top in (1.0, 0.9999, 0.5):
        assert len(message(Sending(top=top), node="x" * 64)) <= most_bytes(LAYOUT)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (message()[:50], "ends after"),
        (resigned(b"LEU2" + message()[4:]), "begins with b'LEU2', which no update does"),
        (message() + bytes(5000), "bytes, allowed are"),
        (resigned(message()[:-64] + bytes(70)), "6 bytes too many"),
        (resigned(message()[:200] + bytes(64)), "too soon"),
        (message()[:-1] + b"?", "signature is not that of node 'n1'"),
        (message(node="n2\n"), "names nobody"),
        (message(node=""), "names nobody"),
        (message(node="n3"), "node 'n3' is not a member"),
        (message(round=6), "of round 6, over; this is 7"),
        (message(round=8), "of round 8, not yet; this is 7"),
        (message(agreement=bytes(32)), "other classes, layers or embedder"),
        (message(n_samples=0), "learnt from no sample"),
        (with_scale(np.nan), "NaN or infinity"),
        (with_scale(np.inf), "NaN or infinity"),
        (with_scale(3e38), "beyond single precision"),
        (with_signal(np.nan), "NaN or infinity"),
    ],
)
def test_what_is_not_let_in(content: bytes, said: str) -> None:
    with pytest.raises(RefusalError, match=said):
        guard().admit(content, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_node_that_diverged_sends_nothing(value: float) -> None:
    with pytest.raises(InputError, match="learnt NaN or infinity in round 7; give it a lower rate"):
        message(delta=np.full(LAYOUT.size, value, np.float32))


def test_an_unknown_kind_of_layer_is_refused() -> None:
    content = bytearray(message())
    content[_HEAD.size + 2] = 9
    with pytest.raises(RefusalError, match="of kind 9; allowed are 0 to 2"):
        guard().admit(resigned(bytes(content)), 7)


def test_any_bytes_are_refused_and_nothing_else_happens() -> None:
    chance, whole = np.random.default_rng(0), message(Sending(top=0.3))
    for _ in range(300):
        content = bytearray(whole)
        for place in chance.integers(0, len(whole) - 64, 3):
            content[place] = chance.integers(256)
        try:
            got = guard().admit(resigned(bytes(content)[: chance.integers(1, len(whole))]), 7)
        except RefusalError:
            continue
        assert np.isfinite(got.update.delta).all()


def test_the_same_update_is_let_in_once_a_round() -> None:
    door = guard()
    door.admit(message(), 7)
    with pytest.raises(RefusalError, match="has sent its update of round 7 before"):
        door.admit(message(), 7)
    door.admit(message(node="n2"), 7)
    with pytest.raises(RefusalError, match="of round 7, over; this is 8"):
        door.admit(message(), 8)
    assert door.admit(message(round=8), 8).share == 1


def test_what_is_much_longer_than_usual_is_shortened() -> None:
    door = guard()
    usual = float(np.linalg.norm(update().delta))
    for round_ in range(3):
        assert door.admit(message(round=round_), round_).share == 1
    for round_ in range(3, 40):  # and insisting does not help
        got = door.admit(message(round=round_, delta=1000 * update().delta), round_)
        assert np.linalg.norm(got.update.delta) == pytest.approx(2 * usual, rel=0.01)


def test_shortening_can_be_left_out() -> None:
    door = guard(clip=False)
    for round_ in range(4):
        door.admit(message(round=round_), round_)
    assert door.admit(message(round=4, delta=1000 * update().delta), 4).share == 1


@pytest.mark.parametrize("poison", [1e6, -1e6, 3.0])
def test_one_of_ten_cannot_move_the_mean_beyond_the_others(poison: float) -> None:
    honest = np.random.default_rng(1).normal(size=(9, 50)).astype(np.float32)
    mean = trimmed_mean([*honest, np.full(50, poison, np.float32)], 0.1)
    assert (mean <= honest.max(axis=0)).all() and (mean >= honest.min(axis=0)).all()
    assert trimmed_mean(list(honest[:1]), 0.1) == pytest.approx(honest[0])
    assert trimmed_mean(list(honest[:2]), 0.1) == pytest.approx(honest[:2].mean(axis=0))


def test_what_is_far_from_all_others_is_left_out() -> None:
    honest = list(np.random.default_rng(1).normal(size=(9, 50)).astype(np.float32))
    noise = 4 * np.random.default_rng(2).normal(size=50).astype(np.float32)
    assert [id(one) for one in near_ones([*honest, noise])] == [id(one) for one in honest]
    assert len(near_ones([*honest[:3], noise])) == 4
    assert len(near_ones([np.zeros(3, np.float32)] * 6)) == 6


def test_a_message_names_its_node() -> None:
    assert named_in(message(node="Säge")) == "Säge"
    with pytest.raises(RefusalError, match="no text"):
        named_in(message()[: _HEAD.size] + b"\xff\xff" + bytes(99))


def test_odd_shares_are_refused() -> None:
    for top in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="top is"):
            Sending(top=top)
