"""A model from its description."""

from __future__ import annotations

from pyoxigraph import NamedNode

from listen_embed.errors import InputError
from listen_embed.fleet.things.capabilities import Form, Model
from listen_embed.fleet.things.read_device import quantity
from listen_embed.fleet.things.terms import iri, short_name
from listen_embed.fleet.things.triples import Node, Triples
from listen_embed.fleet.things.units import BYTES, HERTZ


def is_model(told: Triples, about: str) -> bool:
    """Whether a description is that of a model."""
    return iri("nnet:NeuralNetwork") in told.classes(NamedNode(about))


def read_model(told: Triples, about: str) -> Model:
    """Return what a model is and needs.

    Raises
    ------
    InputError
        It lacks something, or states it twice or without a unit.
    """
    try:
        return _model(told, about)
    except InputError as error:
        raise InputError(f"{short_name(about)}: {error}") from error


def _model(told: Triples, about: str) -> Model:
    node = NamedNode(about)
    output = told.one(node, "ssn:hasOutput")
    lacks = told.all(node, "le:lacks")
    return Model(
        iri=about,
        name=told.text(node, "schema:name") or short_name(about),
        digest=told.text(node, "nnet:hasID"),
        licence=told.text(node, "schema:license"),
        emb_dim=_whole(told, output, "le:embeddingSize") if output is not None else 0,
        macs=_whole(told, node, "nnet:hasMultiplyAccumulateOps"),
        size_bytes=_bytes(told, node, "le:size"),
        forms=tuple(sorted(_forms(told, node), key=lambda form: form.name)),
        lacking={told.text(one, "le:form"): told.text(one, "le:reason") for one in lacks},
    )


def _whole(told: Triples, node: Node, predicate: str) -> int:
    said = told.text(node, predicate)
    if not said.isdecimal():
        raise InputError(f"{predicate} is {said!r}; give a whole number")
    return int(said)


def _bytes(told: Triples, node: Node, predicate: str) -> int:
    """Return an amount that may be left out."""
    stated = told.one(node, predicate)
    return 0 if stated is None else quantity(told, stated, predicate, BYTES)


def _forms(told: Triples, model: Node) -> list[Form]:
    features = told.all(model, "s3n:hasProcedureFeature")
    return [_form(told, node) for node in features if iri("le:Form") in told.classes(node)]


def _form(told: Triples, node: Node) -> Form:
    rate = told.one(node, "le:sampleRate")
    if rate is None:
        raise InputError("a form states no le:sampleRate")
    return Form(
        kind=told.text(node, "le:kind"),
        arithmetic=told.text(node, "le:arithmetic"),
        ram=_needed(told, node, "RAM"),
        flash=_needed(told, node, "Flash"),
        arena=_bytes(told, node, "le:arena"),
        front_end=_bytes(told, node, "le:frontEnd"),
        needs_fpu=told.flag(node, "le:needsFloatingPointUnit"),
        rate=quantity(told, rate, "the sample rate", HERTZ),
        resamples=told.flag(node, "le:resamples"),
        operators=frozenset(str(one.value) for one in told.all(node, "le:operator")),
    )


def _needed(told: Triples, form: Node, kind: str) -> int:
    conditions = told.all(form, "ssn-system:inCondition")
    found = [one for one in conditions if iri(f"le:{kind}") in told.classes(one)]
    if len(found) != 1:
        raise InputError(f"a form states {len(found)} needs of {kind}; state one")
    return quantity(told, found[0], kind, BYTES, ("schema:minValue",))
