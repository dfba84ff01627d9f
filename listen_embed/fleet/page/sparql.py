"""Answers to SPARQL queries in the form that every client of SPARQL reads (JSON)."""

from __future__ import annotations

from typing import Any

from pyoxigraph import BlankNode, Literal, NamedNode

from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.terms import iri

MEDIA_TYPE = "application/sparql-results+json"


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
