"""Which devices a query means, and in which form the model goes there."""

from __future__ import annotations

import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.deploy.targets import meant, targets
from listen_embed.fleet.things.describe_device import describe_device
from listen_embed.fleet.things.registry import Registry

from ..things.world import board, form, gateway, model


@pytest.fixture
def found() -> Registry:
    found = Registry()
    for device in (board("hall3-1"), board("hall3-2", ram=9), gateway("hall4-1")):
        found.add(describe_device(device))
    return found


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("hall3-*", ["hall3-1", "hall3-2"]),
        ("*", ["hall3-1", "hall3-2", "hall4-1"]),
        ("hall4-1", ["hall4-1"]),
        ("SELECT ?d { ?d le:ram ?ram FILTER(?ram < 10) }", ["hall3-2"]),
        (" prefix x: <urn:x> select ?d { ?d le:fpu 1 }", ["hall3-1", "hall3-2", "hall4-1"]),
    ],
)
def test_names_and_queries_mean_devices(found: Registry, query: str, titles: list[str]) -> None:
    assert [one.title for one in meant(found, query)] == titles


@pytest.mark.parametrize("query", ["hall5-*", "Hall3-1", "SELECT ?o { ?d le:ram ?o }"])
def test_a_query_that_means_nobody_is_an_error(found: Registry, query: str) -> None:
    with pytest.raises(InputError, match="means none of the 3 devices"):
        meant(found, query)


def test_a_query_that_is_none_says_so(found: Registry) -> None:
    with pytest.raises(InputError, match="no SPARQL query"):
        meant(found, "SELECT ?d {")


def test_each_device_gets_the_form_that_runs_there_or_a_reason(found: Registry) -> None:
    made = model(form(), form(kind="tflite", arithmetic="", resamples=True))
    devices = meant(found, "*")
    assert [one.form for one in targets(made, devices, "c")] == [made.forms[0], None, None]
    assert [one.form for one in targets(made, devices, "tflite")] == [None, None, made.forms[1]]
    whys = [one.why for one in targets(made, devices, "c")]
    assert whys[0] == ""
    assert "RAM: needs 1,000 bytes, has 9: 991 too few" in whys[1]
    assert whys[2].startswith("c-float: runtime: needs exported C, runs python")
    assert targets(model(form()), devices, "tflite")[0].why == "the model has no form tflite"
