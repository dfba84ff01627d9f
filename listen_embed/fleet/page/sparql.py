"""Answers to SPARQL queries in the form that every client of SPARQL reads (JSON)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from pyoxigraph import BlankNode, Literal, NamedNode

from listen_embed.errors import InputError
from listen_embed.fleet.page.bounded import bounded
from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.terms import iri

MEDIA_TYPE = "application/sparql-results+json"
_LONGEST_S = 10.0
_MORE_MEMORY = 1 << 30
_REFUSED = b"!"  # no JSON begins so


def answer(registry: Registry, query: str, longest_s: float = _LONGEST_S) -> bytes:
    """Return the results of a SELECT or an ASK as JSON, found by a process of its own.

    Raises
    ------
    InputError
        It is none, is not allowed, or takes too long or too much.
    """
    work = partial(_told_of, registry, query)
    told = bounded(work, longest_s, _MORE_MEMORY, registry.steady)
    if told[:1] == _REFUSED:
        raise InputError(told[1:].decode())
    return told


def _told_of(registry: Registry, query: str) -> bytes:
    try:
        return json.dumps(results(registry, query)).encode()
    except (InputError, OSError) as error:
        return _REFUSED + str(error).encode(errors="replace")


def results(registry: Registry, query: str) -> dict[str, Any]:
    """Return the results of a SELECT or an ASK; raise `InputError` for anything else."""
    names, rows = registry.answer(query)
    if names == ["ask"]:
        return {"head": {}, "boolean": rows[0]["ask"].value == "true"}
    bindings = [{name: _told(term) for name, term in row.items()} for row in rows]
    return {"head": {"vars": names}, "results": {"bindings": bindings}}


def _told(term: Any) -> dict[str, str]:
    if isinstance(term, NamedNode):
        return {"type": "uri", "value": term.value}
    if isinstance(term, BlankNode):
        return {"type": "bnode", "value": term.value}
    assert isinstance(term, Literal)
    told = {"type": "literal", "value": term.value}
    if term.language:
        return told | {"xml:lang": term.language}
    if term.datatype.value != iri("xsd:string"):
        told["datatype"] = term.datatype.value
    return told
