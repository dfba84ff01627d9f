"""Rounds and their journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning.coordinator import Coordinator, Members
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.local import anybody
from listen_embed.fleet.learning.messages import Founding, Question
from listen_embed.fleet.learning.node import Node, unsigned
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.record import Record
from listen_embed.fleet.learning.reptile import Plan
from listen_embed.fleet.learning.updates import RefusalError

from .world import DIM, prior, prior_nodes

NAMES = [f"n{i}" for i in range(4)]


def coordinator(path: Path, rounds: int = 5, at_once: int = 4, **agreed: Any) -> Coordinator:
    model, agreement = prior()
    members = Members(dict.fromkeys(NAMES, anybody), at_once)
    made = Agreement(**{**agreement.__dict__, **agreed})
    return Coordinator(model, made, Plan(rounds, 1.0, 0.5), members, Record(path))


def nodes(of: Coordinator) -> dict[str, Node]:
    made = prior_nodes(4)
    for node in made:
        node.bound_to = of.founding.digest
    return {node.name: node for node in made}


def hold(of: Coordinator) -> None:
    """Hold one round with everybody."""
    question, there = of.ask(NAMES), nodes(of)
    for name in question.asked:
        assert of.take(name, there[name].answer(question.start)) is None
    of.end_round()


def test_a_killed_coordinator_goes_on_mid_round_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, killed = coordinator(tmp_path / "a"), coordinator(tmp_path / "b")
    for _ in range(5):
        hold(whole)
    hold(killed)
    question, there = killed.ask(NAMES), nodes(killed)
    killed.take("n1", there["n1"].answer(question.start))  # let in, and then no more of it
    again = coordinator(tmp_path / "b")
    assert again.founding == killed.founding and again.state.round == 1
    question = again.ask(NAMES)
    assert again.missing == {"n0", "n2", "n3"}
    for name in NAMES:  # n1 sends once more, as the broker may
        assert again.take(name, there[name].answer(question.start)) is None
    again.end_round()
    while not again.is_done:
        hold(again)
    assert again._record.remarks() == []
    assert np.allclose(again.state.vector, whole.state.vector, atol=1e-6)


def test_nodes_take_turns(tmp_path: Path) -> None:
    serial = coordinator(tmp_path / "a", at_once=1)
    asked = []
    for _ in range(5):
        asked += serial.ask(NAMES).asked
        serial.end_round()
    assert asked == ["n0", "n1", "n2", "n3", "n0"] and serial.is_done
    assert serial.ask(NAMES).is_last and not serial.ask(NAMES).asked


def test_strangers_are_not_asked(tmp_path: Path) -> None:
    assert coordinator(tmp_path / "a").ask(["n2", "eve"]).asked == ("n2",)
    assert coordinator(tmp_path / "b").ask([]).asked == ()


def test_refusals_are_noted_and_the_round_goes_on(tmp_path: Path) -> None:
    of = coordinator(tmp_path / "a")
    question, there = of.ask(NAMES), nodes(of)
    there["n0"].bound_to = bytes(32)
    said = of.take("n0", there["n0"].answer(question.start))
    assert said is not None and "other classes, layers or embedder" in said
    old = there["n1"].answer(question.start)
    assert of.take("n1", old) is None
    of.end_round()
    assert of._record.remarks() == [
        (0, "n0", said),
        *((0, name, "lost: it was asked and did not answer") for name in ("n0", "n2", "n3")),
    ]
    of.ask(NAMES)
    assert "of round 0, over; this is 1" in str(of.take("n1", old))
    assert "no update does" in str(of.take("n1", b"LEU9" + old[4:]))


def test_the_journal_of_another_fleet_is_left_alone(tmp_path: Path) -> None:
    coordinator(tmp_path / "a")
    with pytest.raises(InputError, match=r"journal of another fleet: the classes are in another"):
        coordinator(tmp_path / "a", labels=("saw", "drill", "mill", "off"))
    with pytest.raises(InputError, match="another fleet: the embedder's digest is 'cd34'"):
        coordinator(tmp_path / "a", embedder_digest="cd34")
    (tmp_path / "b").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="no journal of a fleet can be kept there"):
        Record(tmp_path / "b")
    with pytest.raises(InputError, match="no journal of a fleet can be kept there"):
        Record(tmp_path)


def test_the_journal_does_not_grow(tmp_path: Path) -> None:
    of = coordinator(tmp_path / "a", rounds=30)
    while not of.is_done:
        hold(of)
    counted = sqlite3.connect(tmp_path / "a").execute(
        "select (select count(*) from states), (select count(*) from updates)"
    )
    assert counted.fetchone() == (2, 0)


def founding() -> Founding:
    return Founding(bytes(16), prior()[1])


def question(**changes: Any) -> Question:
    made = coordinator(Path(":memory:")).ask(NAMES)
    return Question(**{**made.__dict__, **changes})


def test_what_the_coordinator_says_is_read_as_it_was_said() -> None:
    assert Founding.unpack(founding().pack(unsigned), anybody) == founding()
    said = question()
    heard = Question.unpack(said.pack(founding(), unsigned), founding(), anybody)
    assert (heard.asked, heard.rounds, heard.start.round) == (tuple(NAMES), 5, 0)
    assert np.array_equal(heard.start.vector, said.start.vector)
    assert np.array_equal(heard.start.rates, said.start.rates)


def nobody(content: bytes, signature: bytes) -> bool:
    return False


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "begins with"),
        (b"LES1" + bytes(64), "too few"),
        (bytes(200), "begins with"),
        (bytes(10**6), "bytes, allowed are"),
        (question().pack(Founding(b"1" * 16, founding().agreement), unsigned), "another run"),
        (question().pack(founding(), unsigned)[:-65] + bytes(64), "values, .* are agreed on"),
        (question().pack(founding(), unsigned).replace(b'["n0', b'["n\xff'), "names nobody"),
        (question(asked={"n0": 1}).pack(founding(), unsigned), "names nobody"),
        (question(start=question().start._replace(rates=np.full(3, np.nan, np.float32))).pack(
            founding(), unsigned), "NaN or infinity"),
    ],
)  # fmt: skip
def test_starts_that_are_not_believed(message: bytes, said: str) -> None:
    with pytest.raises(RefusalError, match=said):
        Question.unpack(message, founding(), anybody)


def test_what_the_coordinator_has_not_signed_is_not_believed() -> None:
    with pytest.raises(RefusalError, match="not signed"):
        Question.unpack(question().pack(founding(), unsigned), founding(), nobody)
    with pytest.raises(RefusalError, match="not signed"):
        Founding.unpack(founding().pack(unsigned), nobody)
    with pytest.raises(InputError, match="no agreement"):
        Founding.unpack(b"LEA1" + bytes(16) + b"{}" + bytes(64), anybody)


def test_a_prior_needs_values_and_classes() -> None:
    with pytest.raises(InputError, match="emb_dim is 0"):
        Prior(0, 3)
    with pytest.raises(InputError, match="n_classes 1"):
        Prior(DIM, 1)
