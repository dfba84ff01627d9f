"""A model -> one ONNX graph, and the proof that both give the same embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from listen_embed import store
from listen_embed.embedder import Embedder, PathLike
from listen_embed.errors import ConversionError
from listen_embed.onnx.front_end import add_front_end, add_statistics
from listen_embed.onnx.graph import Graph
from listen_embed.onnx.operators import Converter
from listen_embed.onnx.reader import Network, read
from listen_embed.output import replacing
from listen_embed.spec import ModelSpec

Samples = NDArray[np.float32]

# Largest difference allowed, as a share of the largest value of the embedding.
TOLERANCE = 1e-4
# An integer network rounds at every step. Sums of floats fall on the neighbouring step now and
# then, and TFLite's own HARD_SWISH of 8 bits is coarser than the function that it stands for.
INTEGER_COSINE = 0.98
_N_CHECKED = 12


@dataclass(frozen=True)
class Agreement:
    """How an ONNX graph compares with its model on the same frames.

    Attributes
    ----------
    difference : float
        Largest difference, as a share of the largest value.
    cosine : float
        Smallest cosine between both embeddings of a frame.
    equal : float
        Share of values that differ by less than `TOLERANCE`.
    is_integer : bool
        Whether the network computes with integers.
    """

    difference: float
    cosine: float
    equal: float
    is_integer: bool

    @property
    def is_kept(self) -> bool:
        """Whether the graph may be used for the model."""
        if self.is_integer:
            return self.cosine >= INTEGER_COSINE
        return self.difference <= TOLERANCE


def to_onnx(model: PathLike | None = None, *, with_front_end: bool = True) -> onnx.ModelProto:
    """Return a model as ONNX.

    Parameters
    ----------
    model : str or path, optional
        As for `Embedder`.
    with_front_end : bool
        Take ``samples``, float32 (1, frame_samples) at the model's rate; else ``features``,
        float32 (1, ...), what `listen_embed.frontend` gives.

    Returns
    -------
    ModelProto
        Output ``embedding``, float32 (1, emb_dim); the metadata tells model, digest, rate and frame
        length. An integer network is QDQ, its weights integers. Of a model that streams a run is
        one step: its state comes in, zeros at first, and goes out, by the names that the metadata
        has as ``state``; steps lie ``step_samples`` apart.

    Raises
    ------
    ConversionError
        An operator that ONNX is not known for here.
    """
    embedder = Embedder(model)
    spec = embedder.spec
    graph = Graph()
    front_end = spec.front_end
    if with_front_end:
        value = graph.input("samples", (1, front_end.frame_samples))
        value = add_front_end(graph, front_end, value)
    else:
        value = graph.input("features", (1, *front_end.input_shape))
    if spec.has_network:
        value = _add_network(graph, read(store.load(spec), spec.state), value)
    else:
        value = add_statistics(graph, value)
    flat = graph.node("Reshape", value, graph.ints(1, spec.emb_dim))
    return graph.finish(flat, "embedding", (1, spec.emb_dim), _facts(spec, embedder.digest))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph, replacing the file at once.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with replacing(path) as file:
        file.write(model.SerializeToString(deterministic=True))


def compare(model: onnx.ModelProto, embedder: Embedder) -> Agreement:
    """Run a graph through onnxruntime and the model through its own interpreter.

    The frames are noise and tones, loud and quiet.

    Raises
    ------
    ConversionError
        onnxruntime refuses the graph.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ConversionError(f"onnxruntime refuses the graph: {error}") from error
    front_end = embedder.spec.front_end
    if embedder.spec.streams:
        sound = np.concatenate(_frames(embedder.spec.step_samples, front_end.sample_rate))
        ours, frames = _steps(embedder, sound)
    else:
        frames = _frames(front_end.frame_samples, front_end.sample_rate)
        ours = _embedded(embedder, frames)
    theirs = _run(session, embedder, frames)
    return _agreement(ours, theirs, _is_integer(embedder.spec))


def _embedded(embedder: Embedder, frames: list[Samples]) -> Samples:
    """Return the embeddings of frames that know nothing of each other."""
    sr = embedder.spec.front_end.sample_rate
    stream = embedder.stream(sr, hop_size=60.0, center=False)
    embeddings = []
    for frame in frames:
        stream.reset()
        embeddings.append(stream.push(frame, last=True)[0][0])
    return np.array(embeddings)


def _steps(embedder: Embedder, sound: Samples) -> tuple[Samples, list[Samples]]:
    """Return the embeddings of the steps of a sound, and what each step hears."""
    spec = embedder.spec
    stream = embedder.stream(spec.front_end.sample_rate, hop_size=spec.step_seconds, center=False)
    embeddings, _ = stream.push(sound)
    begins = range(0, len(embeddings) * spec.step_samples, spec.step_samples)
    return embeddings, [sound[i : i + spec.front_end.frame_samples] for i in begins]


def _run(session: Any, embedder: Embedder, frames: list[Samples]) -> Samples:
    """Return what a graph makes of frames, in order where it has a state."""
    given, *before = session.get_inputs()
    _, *after = (output.name for output in session.get_outputs())
    state = {one.name: np.zeros(one.shape, np.float32) for one in before}
    embeddings = []
    for frame in frames:
        fed = frame if given.name == "samples" else _features(embedder, frame)
        embedding, *following = session.run(None, {given.name: fed[None], **state})
        following_of = dict(zip(after, following, strict=True))
        state = {name: following_of[then] for name, then in embedder.spec.state}
        embeddings.append(embedding[0])
    return np.array(embeddings)


def _features(embedder: Embedder, frame: Samples) -> NDArray[np.float32]:
    from listen_embed.framing import Frames
    from listen_embed.frontend import FeatureExtractor

    extractor = FeatureExtractor(embedder.spec.front_end)
    features: NDArray[np.float32] = extractor(Frames(frame, 0, [0], len(frame)))[0]
    return features


def _frames(n: int, sr: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    frames = []
    for i in range(_N_CHECKED):
        level = 10 ** rng.uniform(-3, 0)
        hz = 100 * 1.5 ** rng.uniform(0, np.log(0.45 * sr / 100) / np.log(1.5))
        tone = np.sin(2 * np.pi * hz * np.arange(n) / sr)
        noise = rng.standard_normal(n) * rng.uniform(0.01, 0.3)
        frames.append((level * (noise if i % 3 == 0 else 0.3 * tone + noise)).astype(np.float32))
    return frames


def _agreement(
    ours: NDArray[np.float32], theirs: NDArray[np.float32], is_integer: bool
) -> Agreement:
    scale = float(np.abs(ours).max())
    apart = np.abs(ours - theirs) / scale
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / np.maximum(lengths, 1e-30)
    return Agreement(
        float(apart.max()), float(cosines.min()), float((apart < TOLERANCE).mean()), is_integer
    )


def _is_integer(spec: ModelSpec) -> bool:
    if not spec.has_network:
        return False
    network = read(store.load(spec), spec.state)
    return network.tensors[network.output].dtype in (np.int8, np.int16)


def _add_network(graph: Graph, network: Network, value: str) -> str:
    shapes = [network.tensors[index].shape for index in network.inputs]
    parts = [value] if len(shapes) == 1 else _split(graph, value, [math.prod(s) for s in shapes])
    shaped = (
        graph.node("Reshape", part, graph.ints(*s)) for part, s in zip(parts, shapes, strict=True)
    )
    return Converter(network, graph).convert(*shaped)


def _split(graph: Graph, row: str, sizes: list[int]) -> list[str]:
    """Return the inputs of a network, which lie one behind the other in a row (1, n)."""
    ends = np.cumsum([0, *sizes]).tolist()
    axis = graph.ints(1)
    return [
        graph.node("Slice", row, graph.ints(begin), graph.ints(end), axis)
        for begin, end in pairwise(ends)
    ]


def _facts(spec: ModelSpec, digest: str) -> dict[str, str]:
    step = {
        "step_samples": str(spec.step_samples),
        "state": " ".join(f"{before}={after}" for before, after in spec.state),
    }
    return {
        **(step if spec.streams else {}),
        "model": spec.name,
        "digest": digest,
        "licence": spec.licence,
        "sample_rate": str(spec.front_end.sample_rate),
        "frame_samples": str(spec.front_end.frame_samples),
    }
