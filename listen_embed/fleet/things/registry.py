"""Devices and models in a graph store: added, found by SPARQL, matched."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyoxigraph import DefaultGraph, Literal, NamedNode, Quad, QueryBoolean, QuerySolutions, Store

from listen_embed.errors import InputError, OutputError
from listen_embed.fleet.things.capabilities import Device, Form, Model, Runtime, form_iri
from listen_embed.fleet.things.match import Verdict, rules, verdict
from listen_embed.fleet.things.query import match_queries
from listen_embed.fleet.things.read_device import is_device, read_device
from listen_embed.fleet.things.read_model import is_model, read_model
from listen_embed.fleet.things.terms import PREFIXES, iri, runtime_iri, short_name
from listen_embed.fleet.things.triples import Triples, parsed

_TYPE = NamedNode(iri("rdf:type"))
_DEVICE, _MODEL = NamedNode(iri("le:Device")), NamedNode(iri("le:Model"))
_RUNTIME, _OPERATOR = NamedNode(iri("le:Runtime")), NamedNode(iri("le:operator"))
_COMES_WITH_OPERATORS = NamedNode(iri("le:comesWithOperators"))
MAX_ROWS = 10_000
# A service would be asked over the network.
_SERVICE = re.compile(r"\bservice\b", re.IGNORECASE)
Row = dict[str, str]


class Registry:
    """Descriptions of devices and models.

    Each description stands in a named graph of its own; the default graph has the facts that
    matching reads, in bytes and hertz. Of a folder's facts there is a copy in memory.

    Parameters
    ----------
    path : path, optional
        A folder that keeps them; None forgets them in the end.

    Attributes
    ----------
    n_changes : int
        How often something was added or removed.
    steady : lock
        While it is held nothing is.

    Raises
    ------
    OutputError
        The folder cannot be used, perhaps because another process does.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.n_changes = 0
        self.steady = threading.RLock()
        try:
            self.store = Store() if path is None else Store(os.fspath(path))
        except OSError as error:
            raise OutputError(f"{path}: no registry can be opened there ({error})") from error
        self._facts = self.store
        if path is not None:
            self._facts = Store()
            self._facts.bulk_extend(self.store.quads_for_pattern(None, None, None, DefaultGraph()))

    def add(
        self, document: bytes | str | dict[str, Any], about: str | None = None
    ) -> Device | Model:
        """Add a description, or put it in the place of an older one; return what it says.

        Parameters
        ----------
        document : bytes, str or dict
            JSON-LD.
        about : str, optional
            The identifier that it must have.

        Raises
        ------
        InputError
            It is no JSON-LD, or not clear; it says what. What was there before stays.
        """
        found_about, quads = parsed(document)
        if about not in (None, found_about):
            raise InputError(f"the description is one of {found_about}, not of {about}")
        found = _read(Triples(quads), found_about)
        with self.steady:
            self.store.extend(self._whole(found, quads))
        return found

    def add_all(self, documents: Iterable[bytes | str | dict[str, Any]]) -> int:
        """Add descriptions of things that are not there yet, fast; return how many."""
        added = 0

        def quads() -> Iterator[Quad]:
            nonlocal added
            for document in documents:
                about, found = parsed(document)
                yield from self._whole(_read(Triples(found), about), found)
                added += 1

        with self.steady:
            self.store.bulk_extend(quads())
        return added

    def _whole(self, found: Device | Model, quads: list[Quad]) -> Iterator[Quad]:
        """Yield a description in its graph, and its facts, after removing older ones."""
        graph = NamedNode(found.iri)
        self.n_changes += 1
        self.remove(found.iri)
        yield from (Quad(q.subject, q.predicate, q.object, graph) for q in quads)
        facts = list(_facts(found))
        if self._facts is not self.store:
            self._facts.extend(facts)
        yield from facts

    def remove(self, identifier: str) -> None:
        """Remove a description, if it is there."""
        graph = NamedNode(identifier)
        with self.steady:
            if self.store.contains_named_graph(graph):
                self._remove(graph)

    def _remove(self, graph: NamedNode) -> None:
        self.n_changes += 1
        self.store.remove_graph(graph)
        for quad in list(self._facts.quads_for_pattern(graph, None, None, DefaultGraph())):
            self.store.remove(quad)
            self._facts.remove(quad)

    def devices(self) -> list[str]:
        """Return the identifiers of all devices."""
        return self._all(_DEVICE)

    def models(self) -> list[str]:
        """Return the identifiers of all models."""
        return self._all(_MODEL)

    def _all(self, kind: NamedNode) -> list[str]:
        found = self._facts.quads_for_pattern(None, _TYPE, kind, DefaultGraph())
        return sorted(_text(quad.subject) for quad in found)

    def get(self, identifier: str) -> Device | Model:
        """Return a device or model by its identifier, title or name.

        Raises
        ------
        InputError
            There is none, or there are several.
        """
        about = self._identified(identifier)
        return _read(Triples(self.store.quads_for_pattern(None, None, None, about)), about.value)

    def _identified(self, name: str) -> NamedNode:
        if self._has(name):
            return NamedNode(name)
        everything = [*self.devices(), *self.models()]
        fitting = [one for one in everything if name in (one, _plain(one))]
        if len(fitting) != 1:
            known = ", ".join(sorted(map(_plain, everything))[:20]) or "nothing"
            raise InputError(f"{len(fitting)} things are called {name!r}; there are {known}")
        return NamedNode(fitting[0])

    def _has(self, identifier: str) -> bool:
        """Whether there is a device or model of this identifier; no others are looked at."""
        try:
            about = NamedNode(identifier)
        except ValueError:  # a title or a name
            return False
        return any(Quad(about, _TYPE, kind) in self._facts for kind in (_DEVICE, _MODEL))

    def match(self) -> dict[str, dict[str, list[str]]]:
        """Return which devices run which forms of which models, all found by SPARQL.

        Returns
        -------
        dict
            Identifier of the model -> name of the form -> identifiers of devices.
        """
        models = [self.get(about) for about in self.models()]
        found: dict[str, dict[str, list[str]]] = {one.iri: {} for one in models}
        forms = _forms(model for model in models if isinstance(model, Model))
        running = self._running(forms)
        for name in forms:
            about, _, form = name.rpartition("/")
            found[about][form] = running[name]
        return found

    def devices_for(self, model: Model) -> set[str]:
        """Return the identifiers of the devices that run a model in some form."""
        running = self._running(_forms([model]))
        return {device for devices in running.values() for device in devices}

    def _running(self, forms: Mapping[str, Form]) -> dict[str, list[str]]:
        """Return the devices for each form, by the forms' identifiers."""
        found: dict[str, list[str]] = {name: [] for name in forms}
        for query in match_queries(forms, rules(identified, self._runtimes())):
            for row in self._select(query):
                found[row["form"].value].append(row["device"].value)
        return found

    def _select(self, query: str) -> QuerySolutions:
        found = self._facts.query(query, prefixes=PREFIXES)
        assert isinstance(found, QuerySolutions)
        return found

    def _runtimes(self) -> Iterator[Runtime]:
        for one in [NamedNode(name) for name in self._all(_RUNTIME)]:
            told = self._facts.quads_for_pattern(one, None, None, DefaultGraph())
            said = [(quad.predicate, _text(quad.object)) for quad in told]
            operators = frozenset(value for what, value in said if what == _OPERATOR)
            comes_with = any(what == _COMES_WITH_OPERATORS for what, _ in said)
            name = short_name(one.value).partition("?")[0]
            yield Runtime(name, operators if comes_with else None)

    def why(self, device: str, model: str) -> Verdict:
        """Return whether a device runs a model, and what lacks, by how much."""
        has, needs = self.get(device), self.get(model)
        if not isinstance(has, Device) or not isinstance(needs, Model):
            raise InputError(f"{device!r} is no device or {model!r} no model")
        return verdict(needs, has)

    def select(self, query: str, limit: int = MAX_ROWS) -> list[Row]:
        """Answer a SPARQL query over all graphs, as texts.

        Raises
        ------
        InputError
            As `answer`.
        """
        _, rows = self.answer(query, limit)
        return [{name: _text(term) for name, term in row.items()} for row in rows]

    def answer(
        self, query: str, limit: int = MAX_ROWS, longest_s: float = 10.0
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Answer a SPARQL query over all graphs; nothing can be changed, nobody else is asked.

        Returns
        -------
        names : list of str
            Of the columns.
        rows : list of dict
            Terms by the columns' names; an ASK has one row with the column ``ask``.

        Raises
        ------
        InputError
            It is no SELECT or ASK, it has a SERVICE, too many rows, or takes too long to give them.
        """
        if _SERVICE.search(query):
            raise InputError("a query may not ask other services; leave SERVICE out")
        try:
            found = self.store.query(query, prefixes=PREFIXES, use_default_graph_as_union=True)
        except (SyntaxError, ValueError) as error:
            raise InputError(f"no SPARQL query: {error}") from error
        if isinstance(found, QueryBoolean):
            return ["ask"], [{"ask": Literal(bool(found))}]
        if not isinstance(found, QuerySolutions):
            raise InputError("give a SELECT or an ASK")
        names = [one.value for one in found.variables]
        return names, _rows(found, names, limit, time.monotonic() + longest_s)


def identified(runtime: Runtime) -> str:
    """Return the IRI of a runtime: two that have other operators are not the same."""
    whole = runtime_iri(runtime.name)
    if runtime.operators is None:
        return whole
    digest = hashlib.sha256(" ".join(sorted(runtime.operators)).encode()).hexdigest()
    return f"{whole}?{digest[:12]}"


def _read(told: Triples, about: str) -> Device | Model:
    if is_model(told, about):
        return read_model(told, about)
    if is_device(told, about):
        return read_device(told, about)
    raise InputError(
        f"{about} is neither s3n:SmartSensor (a device) nor nnet:NeuralNetwork (a model)"
    )


def _facts(found: Device | Model) -> Iterator[Quad]:
    about = NamedNode(found.iri)
    if isinstance(found, Model):
        yield Quad(about, _TYPE, _MODEL)
        return
    yield Quad(about, _TYPE, _DEVICE)
    for rule in rules(identified):
        for predicate, value in rule.facts(found):
            term = NamedNode(value) if isinstance(value, str) else Literal(value)
            yield Quad(about, NamedNode(iri(f"le:{predicate}")), term)
    for runtime in found.runtimes:
        yield from _runtime_facts(runtime)


def _runtime_facts(runtime: Runtime) -> Iterator[Quad]:
    about = NamedNode(identified(runtime))
    yield Quad(about, _TYPE, _RUNTIME)
    if runtime.operators is not None:
        yield Quad(about, _COMES_WITH_OPERATORS, Literal(True))
    for operator in sorted(runtime.operators or ()):
        yield Quad(about, _OPERATOR, Literal(operator))


def _text(term: Any) -> str:
    """Return a term as text: an IRI's or a value's own, all else as SPARQL writes it."""
    return str(term.value if hasattr(term, "value") else term)


def _forms(models: Iterable[Model]) -> dict[str, Form]:
    return {form_iri(model, form): form for model in models for form in model.forms}


def _plain(identifier: str) -> str:
    return short_name(identifier).partition("@")[0]


def _rows(
    found: QuerySolutions, names: list[str], limit: int, deadline: float
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for solution in found:
        if len(rows) == limit:
            raise InputError(f"the query has more than {limit:,} rows; add a LIMIT")
        if time.monotonic() > deadline:
            raise InputError("the query takes too long; ask for less")
        rows.append({name: term for name in names if (term := solution[name]) is not None})
    return rows
