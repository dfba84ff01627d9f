"""Thing Descriptions: by the official schema, and the same triples for ever."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from listen_embed.device.parts import PARTS, Microphone
from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.describe_device import describe_device, device_of_part, part_named
from listen_embed.fleet.things.read_device import read_device
from listen_embed.fleet.things.this_computer import microphone, this_computer
from listen_embed.fleet.things.triples import Triples, parsed

from .world import TD_SCHEMA, board, gateway, interpreter

DEVICES = [
    *map(device_of_part, PARTS),
    gateway(),
    this_computer("here"),
    board("both", runtimes=(*board().runtimes, interpreter("ADD", "CONV_2D"))),
    board("two ears", microphones=(Microphone("a", (8_000,)), Microphone("b", (48_000,)))),
    board("online", base="mqtt://broker/fleet/things/online/"),
    board("vague", ram=None, flash=None, total_ram=None, total_flash=None, clock_hz=None),
]
# Of one description, as pyoxigraph reads it; other parsers give other numbers.
N_TRIPLES, N_BLANK = 45, 10


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.title)
def test_a_description_reads_as_what_was_described(device: Device) -> None:
    about, quads = parsed(json.dumps(describe_device(device)))
    assert about == device.iri
    found = read_device(Triples(quads), about)
    if device.ram == device.total_ram:
        assert found.ram == device.ram
    assert found == device


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.title)
def test_a_description_keeps_to_the_official_schema(device: Device) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if not TD_SCHEMA.is_file():
        pytest.skip("the official schema is not there; .ci/run fetches it with npm")
    schema = json.loads(TD_SCHEMA.read_text())
    check = jsonschema.Draft7Validator(schema)
    assert list(check.iter_errors(json.loads(json.dumps(describe_device(device))))) == []
    wrong = describe_device(device) | {"security": 7}
    assert list(check.iter_errors(wrong))


def test_the_triples_of_a_description_stay_the_same() -> None:
    _, quads = parsed(describe_device(board()))
    assert len(quads) == N_TRIPLES
    nodes = {str(quad.subject) for quad in quads}
    assert len([one for one in nodes if one.startswith("_:")]) == N_BLANK
    plain = {(q.predicate.value, str(q.object)) for q in quads if "_:" not in str(q.object)}
    for predicate, thing in (
        ("https://www.w3.org/2019/wot/td#title", '"one"'),
        ("http://qudt.org/schema/qudt/hasUnit", "<http://qudt.org/vocab/unit/BYTE>"),
        ("http://www.w3.org/1999/02/22-rdf-syntax-ns#type", "<http://w3id.org/s3n/Memory>"),
        ("http://www.w3.org/1999/02/22-rdf-syntax-ns#type", "<http://www.w3.org/ns/sosa/Sensor>"),
    ):
        assert (predicate, thing) in plain


def test_a_part_that_there_is_not_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no part 'nano34'; there are nano33, pico"):
        part_named("nano34")


def test_microphones_are_given_as_text() -> None:
    assert microphone("desk=48000,16000") == Microphone("desk", (16_000, 48_000))
    for wrong in ("desk", "desk=", "=16000", "desk=16k", "desk=0"):
        with pytest.raises(InputError, match="NAME=RATE"):
            microphone(wrong)


def test_this_computer_has_memory_and_all_operators() -> None:
    here = this_computer("here")
    assert here.ram and here.total_ram and here.ram <= here.total_ram
    assert {"CONV_2D", "BATCH_MATMUL"} <= (here.runtimes[0].operators or set())
    assert replace(here, title="x").iri == here.iri
