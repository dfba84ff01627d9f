"""A model for frames of another length: the same weights, tensors of other shapes.

A network that ends in a mean over time takes any length. How a graph's shapes follow from that of
its input is the interpreter's to say; here they are written into the file, so that all that reads
it (kernels, memory plan, checks) needs to know nothing about it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from listen_embed.errors import InputError, RuntimeUnavailableError
from listen_embed.spec import ModelSpec
from listen_embed.upstream.graph import pack, unpack


def lasting(
    spec: ModelSpec, model: bytes, frame_size: float | None
) -> tuple[ModelSpec, bytes, str]:
    """Return a model and its .tflite for frames of `frame_size` seconds, and the model's digest.

    The digest is that of the model as it is published: the embeddings are as comparable as those of
    an `Embedder` with a `frame_size`, and heads fit both.

    Raises
    ------
    InputError
        A length out of range, or a model that takes frames of one length only.
    RuntimeUnavailableError
        ai-edge-litert is absent.
    """
    digest = spec.digest(model)
    if frame_size is None:
        return spec, model, digest
    longer = spec.lasting(frame_size)
    return longer, _resized(model, longer), digest


def _resized(model: bytes, spec: ModelSpec) -> bytes:
    tree = unpack(model)
    (graph,) = tree.subgraphs
    shapes = _shapes_of(model, spec)
    for index, tensor in enumerate(graph.tensors):
        if tree.buffers[tensor.buffer].data is None:
            tensor.shape = tensor.shapeSignature = np.array(shapes[index], np.int32)
    return pack(tree)


def _shapes_of(model: bytes, spec: ModelSpec) -> dict[int, tuple[int, ...]]:
    """Return the shapes of all tensors where the picture has a front end's columns."""
    interpreter = _interpreter(model)
    (given,) = interpreter.get_input_details()
    bands_and_steps = spec.front_end.input_shape
    shape = (int(given["shape"][0]), *bands_and_steps, *map(int, given["shape"][3:]))
    try:
        interpreter.resize_tensor_input(given["index"], shape)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{spec.name} takes frames of one length only; leave frame_size out"
        ) from error
    return {one["index"]: tuple(one["shape"]) for one in interpreter.get_tensor_details()}


def _interpreter(model: bytes) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise RuntimeUnavailableError(
            "another frame_size in C needs ai-edge-litert. Install with: pip install ai-edge-litert"
        ) from error
    # A delegate would keep the shapes of the tensors within it to itself.
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=model, experimental_op_resolver_type=kernels)
