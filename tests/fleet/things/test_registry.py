"""The registry: added, replaced, kept, asked; hostile and foreign descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from listen_embed import registry as models
from listen_embed.errors import InputError, OutputError
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.describe_device import describe_device
from listen_embed.fleet.things.describe_model import describe_model
from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.terms import TD_CONTEXT

from .world import NANO, board, form, gateway, model, ram, with_memory, written


@pytest.fixture
def found() -> Registry:
    found = Registry()
    found.add(describe_device(board()))
    found.add(describe_device(gateway()))
    found.add(describe_model(models.find(NANO)))
    return found


def test_what_was_added_is_found_by_name_and_identifier(found: Registry) -> None:
    assert found.get("one") == found.get(board().iri) == board()
    assert found.get(NANO).name == NANO
    with pytest.raises(InputError, match="0 things are called 'two'; there are gateway, one, sea"):
        found.get("two")


def test_everything_is_matched_with_everything(found: Registry) -> None:
    (forms,) = found.match().values()
    assert forms == {
        "c-fixed": [board().iri],
        "c-float": [board().iri],
        "tflite": [gateway().iri],
    }
    assert found.why("gateway", NANO).reasons["c-float"] == (
        "runtime: needs exported C, runs python",
        "sample rate: needs 16,000 Hz, and C does not resample; has 44,100, 48,000 Hz",
    )
    with pytest.raises(InputError, match="is no device"):
        found.why(NANO, "one")


def test_a_newer_description_takes_the_place_of_the_older(found: Registry) -> None:
    before = len(found.store)
    found.add(describe_device(board(ram=9)))
    assert len(found.store) == before
    assert found.get("one").ram == 9
    assert found.devices_for(model(form())) == set()
    found.remove(board().iri)
    found.remove(board().iri)
    assert found.devices() == [gateway().iri]
    assert found.select("SELECT ?p WHERE { <urn:listen-embed:thing:one> ?p ?o }") == []


def test_a_wrong_description_leaves_the_older_one(found: Registry) -> None:
    before = len(found.store)
    with pytest.raises(InputError):
        found.add(with_memory(ram("64")))
    assert len(found.store) == before
    assert found.get("one") == board()


def test_nobody_describes_another(found: Registry) -> None:
    with pytest.raises(InputError, match=r"one of urn:listen-embed:thing:one, not of urn:.*:two"):
        found.add(describe_device(board(ram=9)), board("two").iri)
    assert found.get("one") == board()


def test_a_folder_keeps_descriptions(tmp_path: Path) -> None:
    kept = Registry(tmp_path / "kept")
    assert kept.add_all([json.dumps(describe_device(board(f"d{i}"))) for i in range(20)]) == 20
    with pytest.raises(OutputError, match="no registry can be opened"):
        Registry(tmp_path / "kept")
    del kept
    again = Registry(tmp_path / "kept")
    assert len(again.devices()) == 20
    assert len(again.devices_for(model(form()))) == 20


def test_loading_many_is_adding_each(found: Registry) -> None:
    other = Registry()
    documents: list[Any] = [describe_device(board()), describe_device(gateway())]
    assert other.add_all([*documents, describe_model(models.find(NANO))]) == 3
    assert len(other.store) == len(found.store)
    assert other.match() == found.match()


AMOUNTS = [
    (ram(64, {"@id": "unit:KibiBYTE"}), 65_536),
    (ram("64", {"@id": "om:kilobyte"}), 64_000),
    (ram("64", "om:kilobyte"), 64_000),
    (ram({"@value": "80", "@language": "en"}, {"@id": "unit:KiloBYTE"}), 80_000),
    (ram(64, "kB", kind="s3n_extend:RAM"), 64_000),
    ({"@type": "s3n:Memory", "schema:value": "129", "schema:unitCode": "2P"}, 129_000),
]


@pytest.mark.parametrize(("memory", "n_bytes"), AMOUNTS)
def test_units_and_language_tags_of_others_are_understood(
    memory: dict[str, Any], n_bytes: int
) -> None:
    document = with_memory(memory)
    document["@context"][1] = document["@context"][1] | {
        "om": "http://www.ontology-of-units-of-measure.org/resource/om-2/",
        "s3n_extend": "http://tinyml-schema.org/s3n_extend/",
    }
    device = Registry().add(document)
    assert isinstance(device, Device)
    assert device.ram == n_bytes


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (with_memory(ram("64")), "one: RAM is 64 without a unit"),
        (with_memory(ram("64 kB", "B")), "RAM is '64 kB'; give a number"),
        (with_memory(ram(64, {"@id": "unit:HZ"})), "allowed units are unit:BYTE"),
        (with_memory(ram(64, "kB"), ram(64, "KiB")), "RAM is stated as 64,000 bytes and 65,536"),
        (with_memory(ram([64, 65], "kB")), "qudt:numericValue is stated 2 times: 64, 65"),
        (written(**{"le:hasFloatingPointUnit": "maybe"}), "'maybe'; allowed are true and false"),
        (
            with_memory(
                ram(1, "kB"), ram(2, "kB") | {"@type": ["s3n:Memory", "le:RAM", "le:Free"]}
            ),
            "2,000 bytes of RAM are free, more than there are",
        ),
        (describe_device(board()) | {"id": "one"}, "give an absolute IRI"),
        (describe_device(board()) | {"id": "urn:x: y"}, "no JSON-LD that can be read"),
        (describe_device(board()) | {"@type": "le:Cup"}, "neither s3n:SmartSensor .a device"),
        (describe_device(board()) | {"ssn:hasSubSystem": []}, "0 nodes s3n:MicroController"),
        (
            describe_device(board()) | {"@context": "https://example.org/mine.jsonld"},
            "context https://example.org/mine.jsonld is not known, and nothing is fetched",
        ),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is a JSON object, not list"),
        (b" " * 1_000_001, "more than 1,000,000 bytes"),
    ],
)
def test_what_is_not_clear_is_refused_by_name(document: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Registry().add(document)


def test_a_microphone_without_a_rate_is_refused() -> None:
    document = describe_device(board())
    del document["ssn:hasSubSystem"][1]["le:sampleRate"]
    with pytest.raises(InputError, match="sample rate of microphone 'MP34DT05' is not stated"):
        Registry().add(document)


def test_too_many_triples_are_refused() -> None:
    document = describe_device(board()) | {"le:note": list(range(20_001))}
    with pytest.raises(InputError, match="more than 20,000 triples"):
        Registry().add(document)


def test_the_published_contexts_are_read_without_the_network() -> None:
    assert describe_device(board())["@context"][0] == TD_CONTEXT
    older = describe_device(board())
    older["@context"][0] = "https://www.w3.org/2019/wot/td/v1"
    assert Registry().add(older) == board()


def test_queries_see_all_graphs_and_change_nothing(found: Registry) -> None:
    rows = found.select("SELECT ?d WHERE { ?d a s3n:SmartSensor ; le:ram ?ram FILTER(?ram > 1e6) }")
    assert rows == [{"d": gateway().iri}]
    assert found.select("ASK { ?d a le:Device }") == [{"ask": "true"}]
    for query, said in (
        ("DROP ALL", "no SPARQL query"),
        ("SELECT", "no SPARQL query"),
        ("CONSTRUCT WHERE { ?s ?p ?o }", "give a SELECT or an ASK"),
        ("SELECT * { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }", "leave SERVICE out"),
    ):
        with pytest.raises(InputError, match=said):
            found.select(query)
    with pytest.raises(InputError, match="more than 3 rows; add a LIMIT"):
        found.select("SELECT * { ?s ?p ?o }", limit=3)
    assert len(found.devices()) == 2
