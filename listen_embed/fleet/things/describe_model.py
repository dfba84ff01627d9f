"""A model's description, generated from its card and its .tflite; no fact of it is typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from listen_embed import store
from listen_embed.device import model_source
from listen_embed.device.model_source import ARITHMETICS, Options
from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.fleet.things.capabilities import TFLITE, C, Form, Model, form_iri
from listen_embed.fleet.things.describe_device import quantity
from listen_embed.fleet.things.terms import OWN_CONTEXT, model_iri
from listen_embed.graph import Graph, peak_bytes, read_graph
from listen_embed.spec import FrontEnd, ModelSpec

# The authors' terms for operators and types; the other operators have none.
_LAYERS = {
    "AVERAGE_POOL_2D": "AveragePool2D", "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "DEQUANTIZE": "Dequantize", "FULLY_CONNECTED": "FullyConnected", "LOGISTIC": "Logistic",
    "MAX_POOL_2D": "MaxPool2D", "QUANTIZE": "Quantize", "RELU": "Relu", "RESHAPE": "Reshape",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor", "SOFTMAX": "Softmax",
}  # fmt: skip
_QUANTIZATIONS = {"FLOAT32": "Float32", "FLOAT16": "Float16", "INT16": "Int16", "INT8": "Int8"}
_FLOAT_BYTES = 4


def model_of_spec(spec: ModelSpec, content: bytes | None = None) -> Model:
    """Return what a model needs, counted from its card and its .tflite.

    Parameters
    ----------
    spec : ModelSpec
    content : bytes, optional
        Its .tflite; None loads it.
    """
    network = _network(spec, content)
    forms, lacking = _forms(spec, network)
    digest = spec.digest(network)
    return Model(
        iri=model_iri(spec.name, digest),
        name=spec.name,
        digest=digest,
        licence=spec.licence,
        emb_dim=spec.emb_dim,
        macs=spec.macs,
        size_bytes=len(network),
        forms=forms,
        lacking=lacking,
    )


def _network(spec: ModelSpec, content: bytes | None) -> bytes:
    if content is not None:
        return content
    return store.load(spec) if spec.has_network else b""


def _forms(spec: ModelSpec, network: bytes) -> tuple[tuple[Form, ...], dict[str, str]]:
    forms, lacking = [_tflite_form(spec, network)], {}
    for arithmetic in ARITHMETICS:
        try:
            forms.append(c_form(spec, network, Options(arithmetic=arithmetic)))
        except ListenEmbedError as error:
            lacking[f"{C}-{arithmetic}"] = str(error)
    return tuple(sorted(forms, key=lambda form: form.name)), lacking


def c_form(spec: ModelSpec, network: bytes, options: Options) -> Form:
    """Return what a model needs as C that was exported with these options.

    Raises
    ------
    InputError
        There is no C for it.
    """
    if not network:
        raise InputError(f"{spec.name} has no network; there is C for models that have one")
    memory = model_source.model_source(network, spec, options, "").memory
    return Form(
        kind=C,
        arithmetic=options.arithmetic,
        ram=memory.ram,
        flash=memory.flash,
        arena=memory.arena,
        front_end=memory.columns + memory.samples,
        needs_fpu=options.arithmetic == "float",
        rate=spec.front_end.sample_rate,
    )


def _tflite_form(spec: ModelSpec, network: bytes) -> Form:
    """Return what a model needs in an interpreter: file, tensors and frame, all else aside."""
    front_end = spec.front_end
    frame = _FLOAT_BYTES * (front_end.frame_samples + max(1, front_end.n_steps) * front_end.n_fft)
    tensors = peak_bytes(network) if network else 0
    names = {one.name for one in read_graph(network).operators} if network else set()
    return Form(
        kind=TFLITE,
        ram=len(network) + tensors + frame,
        flash=len(network),
        arena=tensors,
        front_end=frame,
        rate=front_end.sample_rate,
        resamples=True,
        operators=frozenset(names),
    )


def describe_model(spec: ModelSpec, content: bytes | None = None) -> dict[str, Any]:
    """Return a model's description as JSON-LD."""
    network = _network(spec, content)
    model = model_of_spec(spec, network)
    told = {
        "@context": OWN_CONTEXT,
        "@id": model.iri,
        "@type": "nnet:NeuralNetwork",
        "schema:name": model.name,
        "schema:license": model.licence,
        "schema:description": spec.source,
        "nnet:hasID": model.digest,
        "nnet:hasMultiplyAccumulateOps": model.macs,
        "le:size": quantity(model.size_bytes, "BYTE"),
        "ssn:hasInput": _input(spec.front_end),
        "ssn:hasOutput": {"@type": "nnet:NetworkOutput", "le:embeddingSize": model.emb_dim},
        "s3n:hasProcedureFeature": [_feature(model, form) for form in model.forms],
        "le:lacks": [{"le:form": name, "le:reason": why} for name, why in model.lacking.items()],
    }
    return told | (_layers(read_graph(network)) if network else {})


def _input(front_end: FrontEnd) -> dict[str, Any]:
    return {
        "@type": "nnet:NetworkInput",
        "le:sampleRate": quantity(front_end.sample_rate, "HZ"),
        "le:frameSamples": front_end.frame_samples,
    }


def _feature(model: Model, form: Form) -> dict[str, Any]:
    return {
        "@id": form_iri(model, form),
        "@type": ["s3n:ProcedureFeature", "le:Form"],
        "le:kind": form.kind,
        "le:arithmetic": form.arithmetic,
        "le:needsFloatingPointUnit": form.needs_fpu,
        "le:resamples": form.resamples,
        "le:sampleRate": quantity(form.rate, "HZ"),
        "le:operator": sorted(form.operators),
        "le:arena": quantity(form.arena, "BYTE"),
        "le:frontEnd": quantity(form.front_end, "BYTE"),
        "ssn-system:inCondition": [_memory("RAM", form.ram), _memory("Flash", form.flash)],
    }


def _memory(kind: str, n_bytes: int) -> dict[str, Any]:
    return {
        "@type": ["s3n:Memory", f"le:{kind}"],
        "schema:minValue": n_bytes,
        "qudt:hasUnit": {"@id": "unit:BYTE"},
    }


def _layers(graph: Graph) -> dict[str, Any]:
    layers = list(_each_layer(graph))
    kind = graph.tensors[graph.inputs[0]].type
    told: dict[str, Any] = {"nnet:inputLayer": layers[0], "nnet:outputLayer": layers[-1]}
    if len(layers) > 2:
        told["nnet:middleLayer"] = layers[1:-1]
    if kind in _QUANTIZATIONS:
        told["nnet:hasQuantization"] = {"@id": f"nnet:{_QUANTIZATIONS[kind]}"}
    return told


def _each_layer(graph: Graph) -> Iterator[dict[str, Any]]:
    for index, operator in enumerate(graph.operators):
        told: dict[str, Any] = {
            "@type": "nnet:Layer",
            "nnet:hasIndex": index,
            "le:operator": operator.name,
            "nnet:shapeIn": _shape(graph, operator.inputs),
            "nnet:shapeOut": _shape(graph, operator.outputs),
        }
        if operator.name in _LAYERS:
            told["nnet:hasLayerType"] = {"@id": f"nnet:{_LAYERS[operator.name]}"}
        yield told


def _shape(graph: Graph, tensors: tuple[int, ...]) -> str:
    return "x".join(map(str, graph.tensors[tensors[0]].shape)) if tensors else ""
