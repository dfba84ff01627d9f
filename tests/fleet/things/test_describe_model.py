"""A model's description is counted from its files, and holds on real hardware's tools."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from listen_embed import registry, store
from listen_embed.device import boards
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.fleet.things.describe_model import c_form, describe_model, model_of_spec
from listen_embed.fleet.things.read_model import read_model
from listen_embed.fleet.things.terms import iri
from listen_embed.fleet.things.triples import Triples, parsed
from listen_embed.graph import operators

from .world import NANO

NAMES = (NANO, "listen/64/workshop", "logmel/128/16k")


@pytest.mark.parametrize("name", NAMES)
def test_a_description_reads_as_the_model(name: str) -> None:
    spec = registry.find(name)
    about, quads = parsed(json.dumps(describe_model(spec)))
    assert read_model(Triples(quads), about) == model_of_spec(spec)


def test_facts_are_those_of_card_and_file() -> None:
    spec = registry.find(NANO)
    content = store.load(spec)
    model = model_of_spec(spec)
    assert model.digest == spec.digest(content)
    assert (model.emb_dim, model.macs, model.size_bytes) == (32, spec.macs, len(content))
    tflite = next(form for form in model.forms if form.kind == "tflite")
    assert tflite.operators == set(operators(content))
    assert {form.rate for form in model.forms} == {spec.front_end.sample_rate}


def test_layers_have_the_authors_terms_where_there_are_any() -> None:
    told = describe_model(registry.find(NANO))
    layers = [told["nnet:inputLayer"], *told["nnet:middleLayer"], told["nnet:outputLayer"]]
    assert [one["le:operator"] for one in layers] == operators(store.load(registry.find(NANO)))
    kinds = {one["le:operator"]: one.get("nnet:hasLayerType") for one in layers}
    assert kinds["CONV_2D"] == {"@id": "nnet:Conv2D"}
    assert kinds["MEAN"] is None
    assert told["nnet:hasQuantization"] == {"@id": "nnet:Int8"}


def test_a_way_that_there_is_not_says_why() -> None:
    workshop = model_of_spec(registry.find("listen/64/workshop"))
    assert "no front end in integers" in workshop.lacking["c-fixed"]
    assert [form.name for form in workshop.forms] == ["c-float", "tflite"]
    statistics = model_of_spec(registry.find("logmel/128/16k"))
    assert "has no network" in statistics.lacking["c-float"]


@pytest.mark.parametrize("name", ["sea/64/general", "sea/64/stream"])
def test_flash_and_ram_suffice_for_what_the_compiler_links(name: str, tmp_path: Path) -> None:
    if not boards.are_installed():
        pytest.skip(f"{boards.COMPILER} and {boards.EMULATOR} are not installed")
    spec, content = registry.find(name), store.load(registry.find(name))
    export_c(spec, tmp_path / "out")
    took = boards.sizes(boards.build(tmp_path / "out", boards.BOARDS[0], tmp_path))
    form = c_form(spec, content, Options())
    assert 0.95 * form.flash < took.flash <= form.flash
    assert 0.95 * form.ram < took.ram <= form.ram


def test_no_identifier_needs_the_network() -> None:
    told = json.dumps(describe_model(registry.find(NANO))["@context"])
    assert iri("nnet:Layer").startswith("https://w3id.org/tinyml-schema/neural-network-schema#")
    assert not re.search(r'"@import"|"https?://[^"]*\.jsonld"', told)
