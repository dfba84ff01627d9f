"""Which requirement fails, and by how much; in words and in SPARQL the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

from listen_embed.device.parts import PARTS, Microphone
from listen_embed.fleet.things.capabilities import C, Device, Form, Runtime, form_iri
from listen_embed.fleet.things.describe_device import describe_device, python_runtime
from listen_embed.fleet.things.match import shortfalls, verdict
from listen_embed.fleet.things.registry import Registry

from .world import board, form, gateway, interpreter, model


@pytest.mark.parametrize(
    ("needs", "has", "said"),
    [
        ({"ram": 500}, {"ram": 499}, "RAM: needs 500 bytes, has 499: 1 too few"),
        ({"flash": 9000}, {"flash": 500}, "flash: needs 9,000 bytes, has 500: 8,500 too few"),
        ({}, {"ram": None}, "RAM: needs 1,000 bytes, the device states none"),
        ({}, {"has_fpu": False}, "floating-point unit: needs one, cortex-m4 has none"),
        ({}, {"microphones": ()}, "microphone: needs one of 16,000 Hz, has none"),
        (
            {"rate": 48_000},
            {},
            "sample rate: needs 48,000 Hz, and C does not resample; has 16,000 Hz",
        ),
        (
            {"rate": 48_000, "resamples": True},
            {},
            "sample rate: needs 48,000 Hz or more, reaches 16,000: 32,000 too few",
        ),
        (
            {"kind": C},
            {"runtimes": (python_runtime(),)},
            "runtime: needs exported C, runs python",
        ),
        (
            {"kind": "tflite", "operators": frozenset({"ADD", "FFT9", "MEAN"})},
            {"runtimes": (interpreter("ADD"), interpreter("MEAN", "ADD"))},
            "operators: FFT9: 1 of 3 lack",
        ),
        ({"kind": "tflite"}, {}, "runtime: needs an interpreter of .tflite, runs c"),
    ],
)
def test_what_lacks_is_said_with_the_amount(
    needs: dict[str, Any], has: dict[str, Any], said: str
) -> None:
    assert shortfalls(form(**needs), board(**has)) == (said,)


def test_nothing_lacks_at_exactly_the_bounds() -> None:
    assert shortfalls(form(ram=500, flash=500), board(ram=500, flash=500)) == ()


def test_an_operator_that_nobody_has_is_named() -> None:
    needs = form(kind="tflite", resamples=True, operators=frozenset({"ADD", "NO_SUCH"}))
    assert shortfalls(needs, gateway()) == ("operators: NO_SUCH: 1 of 2 lack",)


def test_two_microphones_are_not_one_with_both_their_rates() -> None:
    ears = (Microphone("left", (16_000,)), Microphone("right", (32_000, 48_000)))
    device = board(microphones=ears)
    assert shortfalls(form(rate=16_000), device) == ()
    assert shortfalls(form(rate=32_000), device) == ()
    found = Registry()
    found.add(describe_device(device))
    assert found.devices_for(model(form(rate=16_000), form(rate=48_000))) == {device.iri}
    assert "has 16,000, 32,000, 48,000 Hz" in shortfalls(form(rate=44_100), device)[0]


def test_a_verdict_prefers_floating_point_and_keeps_every_reason() -> None:
    made = model(form(), form(arithmetic="fixed", needs_fpu=False), form(kind="tflite", ram=10**9))
    found = verdict(made, board())
    assert [one.name for one in found.forms] == ["c-float", "c-fixed"]
    assert list(found.reasons) == ["tflite-float"]


def _devices(rng: random.Random, n: int) -> list[Device]:
    runtimes = [(Runtime(C),), (python_runtime(),), (Runtime(C), interpreter("ADD")), ()]
    return [
        board(
            f"device {i}",
            rng.choice(PARTS).name,
            ram=rng.choice([None, 10, 20, 30]),
            total_ram=None,
            flash=rng.choice([10, 20, 30]),
            total_flash=30,
            has_fpu=rng.random() < 0.5,
            microphones=tuple(
                Microphone(str(k), tuple(sorted(rng.sample([8_000, 16_000, 48_000], 2))))
                for k in range(rng.randrange(3))
            ),
            runtimes=rng.choice(runtimes),
        )
        for i in range(n)
    ]


def _random_form(rng: random.Random) -> Form:
    kind = rng.choice([C, "tflite"])
    return Form(
        kind=kind,
        ram=rng.choice([10, 20, 30]),
        flash=rng.choice([10, 20, 30]),
        needs_fpu=rng.random() < 0.3,
        rate=rng.choice([8_000, 16_000, 48_000]),
        resamples=kind == "tflite",
        operators=frozenset(rng.sample(["ADD", "MEAN"], rng.randrange(3))),
    )


def test_words_and_sparql_agree_about_every_pair() -> None:
    rng = random.Random(7)
    devices, found = _devices(rng, 120), Registry()
    for device in devices:
        found.add(describe_device(device))
    pairs = agreed = 0
    for number in range(40):
        made = model(_random_form(rng), name=f"m{number}")
        running = found.devices_for(made)
        assert running == {one.iri for one in devices if verdict(made, one).forms}
        pairs, agreed = pairs + len(devices), agreed + len(running)
    assert 0.02 < agreed / pairs < 0.5
    assert form_iri(made, made.forms[0]).startswith(made.iri)
