"""Hostile JSON-LD as triples: bounded, with no network."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pyoxigraph import BlankNode, NamedNode, Quad, RdfFormat, parse

from listen_embed.errors import InputError
from listen_embed.fleet.things.terms import KNOWN_CONTEXTS, THING_CONTEXT, iri

MAX_BYTES = 1_000_000
_MAX_TRIPLES = 20_000

Node = NamedNode | BlankNode


def parsed(document: bytes | str | dict[str, Any]) -> tuple[str, list[Quad]]:
    """Return what a JSON-LD document is about, and its triples, in the default graph.

    Raises
    ------
    InputError
        It is too large, no JSON-LD, names no absolute identifier, or a context that is not known.
    """
    tree = _tree(document)
    about = tree.get("id", tree.get("@id"))
    if not isinstance(about, str) or ":" not in about:
        raise InputError(f"a description's id is {about!r}; give an absolute IRI")
    tree["@context"] = _inlined(tree.get("@context", []))
    try:
        # Blank nodes get names of their own, so that those of two documents are never the same.
        found = parse(json.dumps(tree), RdfFormat.JSON_LD, rename_blank_nodes=True)
        quads = _bounded(Quad(q.subject, q.predicate, q.object) for q in found)
        return str(NamedNode(about).value), quads
    except (SyntaxError, ValueError, OSError) as error:
        raise InputError(f"{about}: no JSON-LD that can be read: {error}") from error


def _tree(document: bytes | str | dict[str, Any]) -> dict[str, Any]:
    if not isinstance(document, dict):
        if len(document) > MAX_BYTES:
            raise InputError(f"a description has more than {MAX_BYTES:,} bytes")
        try:
            document = json.loads(document)
        except (ValueError, RecursionError) as error:
            raise InputError(f"a description is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"a description is a JSON object, not {type(document).__name__}")
    return dict(document)


def _inlined(context: Any) -> list[Any]:
    """Return a context with ours in place of the published ones for Things."""
    parts = context if isinstance(context, list) else [context]
    return [_known(part) for part in parts]


def _known(part: Any) -> Any:
    if part in KNOWN_CONTEXTS:
        return THING_CONTEXT
    if isinstance(part, str):
        raise InputError(
            f"the context {part} is not known, and nothing is fetched; inline its terms, or take "
            f"{KNOWN_CONTEXTS[0]}"
        )
    return part


def _bounded(quads: Iterator[Quad]) -> list[Quad]:
    kept = []
    for quad in quads:
        kept.append(quad)
        if len(kept) > _MAX_TRIPLES:
            raise InputError(f"a description has more than {_MAX_TRIPLES:,} triples")
    return kept


class Triples:
    """Triples by their subjects."""

    def __init__(self, quads: Iterable[Quad]) -> None:
        self._told: dict[Node, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for quad in quads:
            assert isinstance(quad.subject, Node)  # JSON-LD has no triples about triples
            self._told[quad.subject][quad.predicate.value].append(quad.object)

    def of_class(self, *classes: str) -> list[Node]:
        """Return what has one of the classes, given as ``prefix:name``."""
        wanted = {iri(one) for one in classes}
        return [node for node in self._told if wanted & self.classes(node)]

    def classes(self, node: Node) -> set[str]:
        """Return the IRIs of a node's classes."""
        return {one.value for one in self.all(node, "rdf:type")}

    def all(self, node: Node, *predicates: str) -> list[Any]:
        """Return the objects of any of the predicates."""
        told = self._told.get(node, {})
        return [found for one in predicates for found in told.get(iri(one), [])]

    def one(self, node: Node, *predicates: str) -> Any | None:
        """Return the only object of any of the predicates, or None.

        Raises
        ------
        InputError
            There are several that differ.
        """
        found = list(dict.fromkeys(self.all(node, *predicates)))
        if len(found) > 1:
            said = ", ".join(sorted(str(one.value) for one in found))
            raise InputError(f"{predicates[0]} is stated {len(found)} times: {said}; state one")
        return found[0] if found else None

    def text(self, node: Node, *predicates: str) -> str:
        """Return the only value of any of the predicates, whatever language it is tagged with."""
        found = self.one(node, *predicates)
        return "" if found is None else str(found.value)

    def flag(self, node: Node, predicate: str) -> bool:
        """Return a boolean; what is not stated is false."""
        said = self.text(node, predicate)
        if said not in ("", "true", "false", "1", "0"):
            raise InputError(f"{predicate} is {said!r}; allowed are true and false")
        return said in ("true", "1")
