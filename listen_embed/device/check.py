"""Does the C give what Python gives? Built for this computer and, under QEMU, for Cortex-M."""

from __future__ import annotations

import math
import shutil
import struct
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device import boards
from listen_embed.device.length import lasting
from listen_embed.device.lowering import inputs_of
from listen_embed.device.model_source import ModelSource, Options
from listen_embed.device.nearness import Nearness, apart, near_networks, near_pictures
from listen_embed.device.values import is_float
from listen_embed.errors import ListenEmbedError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.graph import TensorInfo, read_graph
from listen_embed.runtime import Network, StateNames
from listen_embed.simplified import without_state
from listen_embed.spec import ModelSpec

_N_FRAMES, _BLOCK, _TAIL = 4, 1000, struct.Struct("<6I")
_N_STEPS = 50  # of a model that streams; boards hear as many frames as of other models
_HEAD = struct.Struct("<3i")
# Steps that values of a log-mel may be apart, and the share that must be equal. In integers more
# values end on the other side.
_TOLERANCES = {"float": (1, 0.999), "fixed": (1, 0.99)}
# Instructions of the loop by which a tick is told.
_LOOP_INSTRUCTIONS = 2_000_000
_FULL_SCALE = 32768

Values = NDArray[Any]  # int8 or float32
Samples = NDArray[Any]  # int16 or float32, (n,)


@dataclass(frozen=True, slots=True)
class Given:
    """What a library gave.

    Attributes
    ----------
    networks : ndarray (N, emb_dim)
        Of inputs to the network alone.
    pictures : ndarray (T, n_bands * n_steps)
    embeddings : ndarray (T, emb_dim)
    network_instructions, frame_instructions : int
        Of the network alone, and of a first frame with its network (of a model that streams, of a
        later step); 0 where unknown.
    stack_bytes, memory_bytes : int
        Most of the stack, and bytes of the library's memory, that were written; 0 where unknown.
    content : bytes
        All values, as they were written.
    """

    networks: Values
    pictures: Values
    embeddings: Values
    network_instructions: int
    frame_instructions: int
    stack_bytes: int
    memory_bytes: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Report:
    """How C and Python agree.

    Attributes
    ----------
    n_frames : int
    pictures_equal : float
        Share of equal values of log-mels and waveforms; the others are one step of int8 off, or
        less. Of float ones, share of those that are near: see `listen_embed.device.nearness`.
    networks_equal : float
        Share of equal values of the embeddings of equal log-mels.
    embedding_steps : int
        Largest difference between embeddings of the same sound, in steps of the output.
    boards : tuple of str
        Processors of emulated boards that gave the same bytes; larger programs run on none.
    nearness : Nearness or None
        Of a network that computes in float, which has no equal values and no steps.
    """

    n_frames: int
    pictures_equal: float
    networks_equal: float | None
    embedding_steps: int | None
    boards: tuple[str, ...]
    nearness: Nearness | None = None


def check(
    folder: Path, spec: ModelSpec, model: bytes, options: Options, made: ModelSource
) -> Report:
    """Build an export and compare it with this package.

    Raises
    ------
    ListenEmbedError
        No C compiler; or the two differ, and in what.
    """
    spec, model, _ = lasting(spec, model, options.frame_size)
    n_frames = _N_STEPS if spec.streams else _N_FRAMES
    sound = check_sound(spec, made.frame_hop, options, n_frames)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        program = build_for_host(folder, work)
        given = run_on_host(program, sound, spec, model)
        report = _compared(given, sound, spec, model, options, made.frame_hop)
        some = sound[: spec.front_end.frame_samples + (_N_FRAMES - 1) * made.frame_hop]
        wanted = run_on_host(program, some, spec, model)
        roomy = [board for board in boards.BOARDS if made.memory.flash < board.flash_bytes]
        same = _boards_that_agree(roomy, folder, work, some, spec, model, wanted)
    return replace(report, boards=same)


def check_sound(
    spec: ModelSpec, frame_hop: int, options: Options, n_frames: int = _N_FRAMES
) -> Samples:
    """Return sound with a bit of everything: a sweep, clicks, noise, silence."""
    rate = spec.front_end.sample_rate
    n = spec.front_end.frame_samples + (n_frames - 1) * frame_hop
    time = np.arange(n) / rate
    sweep = 0.3 * np.sin(2 * np.pi * (100 * time + 0.1 * rate * time**2 / time[-1] / 2))
    noise = 0.05 * np.random.default_rng(0).standard_normal(n) * (np.sin(9 * time) > 0)
    clicks = 0.5 * (np.arange(n) % (rate // 5) < 8)
    sound = (sweep + noise + clicks) * (time < 0.9 * time[-1])
    full = (sound * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE - 1)
    integers: NDArray[np.int16] = full.astype(np.int16)
    if options.samples == "int16":
        return integers
    return integers.astype(np.float32) / np.float32(_FULL_SCALE)


def build_for_host(folder: Path, work: Path, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """Build an export and the check for this computer; return the program."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise ListenEmbedError("checking the C needs a C compiler (cc, gcc or clang) on the path")
    program = work / "check"
    sources = [*sorted((folder / "src").glob("*.c")), boards.HARNESS / "check.c"]
    boards.run(
        [compiler, "-std=c99", *flags, "-Wall", "-Wextra", "-Werror", "-I", str(folder / "src"),
         "-I", str(boards.HARNESS), *map(str, sources), str(boards.HARNESS / "host.c"), "-lm",
         "-o", str(program)]
    )  # fmt: skip
    return program


def run_on_host(
    program: Path,
    sound: Samples,
    spec: ModelSpec,
    model: bytes,
    block: int = _BLOCK,
) -> Given:
    """Run a program that `build_for_host` built."""
    return _parsed(boards.run([str(program)], given=_input(sound, spec, model, block)), spec, model)


def run_on_board(
    program: Path,
    board: boards.Board,
    sound: Samples,
    spec: ModelSpec,
    model: bytes,
) -> Given:
    """Run a program that `listen_embed.device.boards.build` built."""
    return _parsed(boards.execute(program, board, _input(sound, spec, model, _BLOCK)), spec, model)


def network_inputs(model: bytes, n: int = 2, state: StateNames = ()) -> Values:
    """Return inputs of all values that an input can have, (n, size); of float ones, noise."""
    takens, _ = _ends(model, state)
    size = sum(_sizes(takens))
    chance = np.random.default_rng(1)
    if is_float(takens[0]):
        return chance.standard_normal((n, size), np.float32)
    info = np.iinfo(takens[0].type.lower())
    return chance.integers(info.min, info.max + 1, (n, size)).astype(takens[0].type.lower())


def through_interpreter(inputs: Values, model: bytes, state: StateNames = ()) -> Values:
    """Return the values of embeddings that LiteRT makes of inputs (T, size), of the same types.

    They are steps of one sound where the network has a state.
    """
    takens, given = _ends(model, state)
    if is_float(takens[0]):
        return Network(model, state=state)(inputs)
    real = [
        (part.astype(np.float32) - taken.zero_points[0]) * np.float32(taken.scales[0])
        for part, taken in zip(_parts(inputs, takens), takens, strict=True)
    ]
    found = Network(model)(np.concatenate(real, axis=1))
    steps = np.rint(found / np.float32(given.scales[0])) + given.zero_points[0]
    return steps.astype(given.type.lower())  # type: ignore[no-any-return]


def pictures_of(sound: Samples, spec: ModelSpec, model: bytes, hop: int) -> Values:
    """Return what Python makes of a sound, log-mels and waveforms as the network takes them."""
    takens, _ = _ends(model, spec.state)
    samples = sound.astype(np.float32)
    if sound.dtype == np.int16:
        samples /= _FULL_SCALE
    front_end = spec.front_end
    n = 1 + (len(samples) - front_end.frame_samples) // hop
    frames = Frames(samples, 0, [i * hop for i in range(n)], front_end.frame_samples)
    real = FeatureExtractor(front_end)(frames).reshape(n, -1)
    if is_float(takens[0]):
        return real
    parts = zip(_parts(real, takens), takens, strict=True)
    return np.concatenate([_quantised(part, taken) for part, taken in parts], axis=1)


def _quantised(real: NDArray[np.float32], taken: TensorInfo) -> Values:
    info = np.iinfo(taken.type.lower())
    steps = np.rint(real / np.float32(taken.scales[0])) + taken.zero_points[0]
    return np.clip(steps, info.min, info.max).astype(taken.type.lower())  # type: ignore[no-any-return]


def _parts(rows: NDArray[Any], takens: list[TensorInfo]) -> list[NDArray[Any]]:
    """Return the columns of each input, which lie one behind the other."""
    return np.split(rows, np.cumsum(_sizes(takens))[:-1], axis=1)


def _sizes(tensors: list[TensorInfo]) -> list[int]:
    return [math.prod(tensor.shape) for tensor in tensors]


def _ends(model: bytes, state: StateNames) -> tuple[list[TensorInfo], TensorInfo]:
    """Return the inputs beside a state, in their order, and the output."""
    graph, _ = without_state(read_graph(model), state)
    return [graph.tensors[i] for i in inputs_of(graph)], graph.tensors[graph.outputs[0]]


def _input(sound: Samples, spec: ModelSpec, model: bytes, block: int) -> bytes:
    """Return what the harness reads; the first stretch goes through it once more, to be counted."""
    inputs = network_inputs(model, state=spec.state)
    head = _HEAD.pack(block, len(inputs), len(sound))
    return head + inputs.tobytes() + sound.tobytes() * 3


def _parsed(content: bytes, spec: ModelSpec, model: bytes) -> Given:
    takens, given = _ends(model, spec.state)
    n_frames, network, frame, loop, stack, memory = _TAIL.unpack(content[-_TAIL.size :])
    kind = np.dtype(given.type.lower())
    values = np.frombuffer(content[: -_TAIL.size], kind)
    n_networks = len(network_inputs(model, state=spec.state))
    size = sum(_sizes(takens))
    alone = values[: n_networks * spec.emb_dim].reshape(n_networks, -1)
    rows = values[n_networks * spec.emb_dim :].reshape(n_frames, size + spec.emb_dim)
    each = _LOOP_INSTRUCTIONS / loop if loop else 0
    return Given(
        alone,
        rows[:, :size],
        rows[:, size:],
        round(network * each),
        round(frame * each),
        stack,
        memory,
        content[: -_TAIL.size],
    )


def _compared(
    given: Given,
    sound: Samples,
    spec: ModelSpec,
    model: bytes,
    options: Options,
    hop: int,
) -> Report:
    """Return how a library agrees with Python, before it ran on a board."""
    pictures = pictures_of(sound, spec, model, hop)
    if pictures.shape != given.pictures.shape:
        raise ListenEmbedError(f"C gave {len(given.pictures)} frames, Python {len(pictures)}")
    if pictures.dtype == np.float32:
        nearness = nearness_of(given, pictures, spec, model)
        return Report(len(pictures), nearness.pictures, None, None, (), nearness)
    off = np.abs(pictures.astype(np.int32) - given.pictures)
    equal = float((off == 0).mean())
    allowed, least = _TOLERANCES[options.arithmetic]
    if off.max() > allowed or equal < least:
        raise ListenEmbedError(
            f"the log-mels differ: {equal:.2%} of the values are equal, up to {off.max()} steps"
        )
    if options.mode == "reference":
        return Report(len(pictures), equal, None, None, ())
    inputs = np.concatenate([network_inputs(model), given.pictures])
    outputs = np.concatenate([given.networks, given.embeddings])
    same = float((through_interpreter(inputs, model) == outputs).mean())
    if same < 1:
        raise ListenEmbedError(f"the networks differ: {same:.2%} of the values are equal")
    wanted = through_interpreter(pictures, model).astype(np.int32)
    steps = int(np.abs(wanted - given.embeddings).max())
    return Report(len(pictures), equal, same, steps, ())


def nearness_of(given: Given, pictures: Values, spec: ModelSpec, model: bytes) -> Nearness:
    """Return how near a library is, whose network computes in float, to Python's log-mels.

    Raises
    ------
    ListenEmbedError
        It is further off than rounding takes it.
    """
    state = spec.state
    near = near_pictures(pictures, given.pictures)
    alone = through_interpreter(network_inputs(model, state=state), model, state)
    same = through_interpreter(given.pictures, model, state)
    networks = max(near_networks(alone, given.networks), near_networks(same, given.embeddings))
    embeddings = apart(through_interpreter(pictures, model, state), given.embeddings)
    return Nearness(near, networks, embeddings)


def _boards_that_agree(
    asked: list[boards.Board],
    folder: Path,
    work: Path,
    sound: Samples,
    spec: ModelSpec,
    model: bytes,
    wanted: Given,
) -> tuple[str, ...]:
    if not boards.are_installed():
        return ()
    for board in asked:
        place = work / board.machine
        place.mkdir()
        program = boards.build(folder, board, place)
        if run_on_board(program, board, sound, spec, model).content != wanted.content:
            raise ListenEmbedError(f"{board.processor} gives other bytes than this computer")
    return tuple(board.processor for board in asked)
