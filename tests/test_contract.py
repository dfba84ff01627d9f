"""The contract of every model in the registry: one function for each promise."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from listen_embed import registry, upstream
from listen_embed.embedder import Embedder
from listen_embed.errors import ListenEmbedWarning
from listen_embed.spec import ModelSpec

from .conftest import PUBLISHED
from .web import Web

MODELS = registry.models()
# SPDX names, and the one model whose authors stated nothing.
LICENCES = {"MIT", "Apache-2.0", "CC-BY-4.0"}
UNLICENSED = {"listen/64/cnc"}


def is_at_hand(spec: ModelSpec) -> bool:
    """Whether the tests can have the model: in the wheel, without a network, or in the mirror."""
    return spec.download is None or spec.download.file_name in PUBLISHED


AT_HAND = [spec for spec in MODELS if is_at_hand(spec)]
every = pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
every_at_hand = pytest.mark.parametrize("spec", AT_HAND, ids=lambda spec: spec.name)

Load = Callable[[ModelSpec], Embedder]


@pytest.fixture(scope="module")
def loaded() -> dict[str, Embedder]:
    return {}


@pytest.fixture
def load(loaded: dict[str, Embedder], request: pytest.FixtureRequest) -> Load:
    """Load a model once for all promises; the mirror is needed for published ones only."""

    def get(spec: ModelSpec) -> Embedder:
        if spec.name not in loaded:
            if spec.download is not None:
                request.getfixturevalue("mirror")
            loaded[spec.name] = Embedder(spec.name, hop_size=0.5, threads=1)
        return loaded[spec.name]

    return get


def sound(spec: ModelSpec, seconds: float = 1.6) -> NDArray[np.float32]:
    """A hum with harmonics and noise, at the model's own rate."""
    sr = spec.front_end.sample_rate
    time = np.arange(round(seconds * sr)) / sr
    rng = np.random.default_rng(440)
    hum = sum(np.sin(2 * np.pi * 123 * k * time) / k for k in range(1, 9))
    signal = 0.05 * np.asarray(hum) + 0.01 * rng.standard_normal(len(time))
    return signal.astype(np.float32)


# ---- what the table says ---------------------------------------------------------------------


@every
def test_its_name_can_be_typed(spec: ModelSpec) -> None:
    assert re.fullmatch(r"[a-z0-9]+/\d+/[a-z0-9][a-z0-9.-]*", spec.name)
    assert registry.find(spec.name) == spec


@every
def test_it_states_licence_and_source(spec: ModelSpec) -> None:
    assert spec.licence in LICENCES or spec.name in UNLICENSED
    assert len(spec.source) > 10
    if spec.name in UNLICENSED:
        assert spec.licence == "none stated"
        assert spec.file is None, "it may not travel in the wheel"


@every
def test_its_download_can_be_verified(spec: ModelSpec) -> None:
    if spec.download is None:
        return
    for url in spec.download.urls:
        assert url.startswith("https://")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}|git-blob:[0-9a-f]{40}", spec.download.digest)
    assert spec.download.converter in upstream.converters()
    assert 0 < spec.download.size_bytes <= 64_000_000


@every
def test_its_size_and_work_are_stated(spec: ModelSpec) -> None:
    if not spec.has_network:
        assert (spec.size_bytes, spec.macs) == (0, 0)
        return
    assert 10_000 < spec.size_bytes < 100_000_000
    assert 10_000 < spec.macs < 20_000_000_000


@every
def test_its_frame_is_about_a_second(spec: ModelSpec) -> None:
    if spec.streams:  # it remembers a second or two instead
        assert spec.step_seconds <= spec.front_end.frame_seconds < 0.5
        return
    assert 0.9 < spec.front_end.frame_seconds <= 1.0


@pytest.fixture(scope="module")
def digests_elsewhere() -> dict[str, str]:
    """Return every model's digest as a process computes it that orders sets otherwise."""
    program = (
        "import json; from listen_embed import registry\n"
        "print(json.dumps({spec.name: spec.digest(b'weights') for spec in registry.models()}))"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    command = [sys.executable, "-c", program]
    said = subprocess.check_output(command, env=os.environ | {"PYTHONHASHSEED": seed})
    found: dict[str, str] = json.loads(said)
    return found


@every
def test_it_is_the_same_in_every_process(
    spec: ModelSpec, digests_elsewhere: dict[str, str]
) -> None:
    """The digest depends on the constants and the network alone."""
    assert digests_elsewhere[spec.name] == spec.digest(b"weights")
    assert spec.digest(b"weights") != spec.digest(b"others")
    assert spec.digest() not in {
        other.digest() for other in MODELS if other.front_end != spec.front_end
    }


# ---- what the model does ---------------------------------------------------------------------


@every_at_hand
def test_shape_dtype_and_time(spec: ModelSpec, load: Load) -> None:
    embedding, timestamps = load(spec).embed(sound(spec), spec.front_end.sample_rate)
    assert embedding.dtype == np.float32
    assert timestamps.dtype == np.float64
    assert embedding.shape == (len(timestamps), spec.emb_dim)
    np.testing.assert_allclose(timestamps, 0.5 * np.arange(len(timestamps)), atol=1e-12)
    assert np.isfinite(embedding).all()
    assert embedding.flags.c_contiguous
    assert embedding.flags.writeable


@every_at_hand
def test_it_is_deterministic(spec: ModelSpec, load: Load) -> None:
    signal, sr = sound(spec), spec.front_end.sample_rate
    first, _ = load(spec).embed(signal, sr)
    np.testing.assert_array_equal(load(spec).embed(signal, sr)[0], first)
    spread = np.repeat(signal, 2)[::2]  # neither in a row nor to be written to
    spread.flags.writeable = False
    np.testing.assert_array_equal(load(spec).embed(spread, sr)[0], first)
    again, _ = Embedder(spec.name, hop_size=0.5, threads=1).embed(signal, sr)
    np.testing.assert_array_equal(again, first)


@every_at_hand
def test_it_tells_sounds_apart(spec: ModelSpec, load: Load) -> None:
    sr = spec.front_end.sample_rate
    hum = load(spec).embed(sound(spec), sr)[0][1]
    chirp = np.sin(2 * np.pi * 0.1 * np.arange(2 * sr) ** 1.1).astype(np.float32)
    other = load(spec).embed(chirp, sr)[0][1]
    assert np.linalg.norm(hum - other) > 0.1 * np.linalg.norm(hum)


@every_at_hand
def test_silence_is_finite(spec: ModelSpec, load: Load) -> None:
    sr = spec.front_end.sample_rate
    with pytest.warns(ListenEmbedWarning, match="silent"):
        embedding, _ = load(spec).embed(np.zeros(2 * sr, np.float32), sr)
    assert np.isfinite(embedding).all()
    if not spec.streams:  # one that remembers knows how long it has been silent
        np.testing.assert_array_equal(embedding, embedding[:1].repeat(len(embedding), axis=0))


@every_at_hand
def test_the_loudest_and_the_faintest_sound_are_finite(spec: ModelSpec, load: Load) -> None:
    signal, sr = sound(spec), spec.front_end.sample_rate
    with pytest.warns(ListenEmbedWarning, match="reaches"):
        loudest, _ = load(spec).embed(signal * np.float32(1e11), sr)
    faintest, _ = load(spec).embed(signal * np.float32(1e-30), sr)
    assert np.isfinite([loudest, faintest]).all()


@every_at_hand
def test_gain_does_what_the_front_end_says(spec: ModelSpec, load: Load) -> None:
    """Relative to the frame's peak: no effect. Statistics of log-mels: a shift in dB.

    Else: an effect, for a loud machine is no quiet one (LISTEN's is upside down: it divides by the
    level and by the deviation too).
    """
    front_end = spec.front_end
    signal = sound(spec)
    load(spec)
    embedder = Embedder(spec.name, hop_size=0.5, center=False, threads=1)
    loud = embedder.embed(signal, front_end.sample_rate)[0][:1]
    quiet = embedder.embed(signal / 4, front_end.sample_rate)[0][:1]
    difference = np.abs(loud - quiet).max()
    peak = np.abs(loud).max()
    if front_end.reference == "frame-max":
        assert difference < 1e-3 * peak
    elif not spec.has_network:
        means, deviations = np.split(loud - quiet, 2, axis=1)
        np.testing.assert_allclose(means, 20 * np.log10(4), atol=1e-3)
        np.testing.assert_allclose(deviations, 0, atol=1e-3)
    else:
        assert difference > 1e-2 * peak


@every_at_hand
def test_any_rate_gives_about_the_same(spec: ModelSpec, load: Load) -> None:
    """A sound below 3.5 kHz, sampled at 44.1 kHz and resampled, or sampled at the model's rate."""
    sr = spec.front_end.sample_rate
    rng = np.random.default_rng(3)
    partials = [(hz, rng.uniform(0, 6)) for hz in rng.uniform(60, 3500, 400)]

    def sampled(rate: int) -> NDArray[np.float32]:
        time = np.arange(int(1.6 * rate)) / rate
        waves = sum(np.sin(2 * np.pi * hz * time + phase) for hz, phase in partials)
        return (0.01 * np.asarray(waves)).astype(np.float32)

    load(spec)
    embedder = Embedder(spec.name, hop_size=0.5, center=False, threads=1)
    native = embedder.embed(sampled(sr), sr)[0][0]
    resampled = embedder.embed(sampled(44100), 44100)[0][0]
    cosine = native @ resampled / np.linalg.norm(native) / np.linalg.norm(resampled)
    assert cosine > 0.97


# ---- the converted network -------------------------------------------------------------------


def macs_of(content: bytes) -> int:
    """Count the multiply-accumulates of a .tflite's convolutions, products and matrix products."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}

    def shape(index: int) -> tuple[int, ...]:
        return tuple(int(n) for n in graph.Tensors(index).ShapeAsNumpy())

    total = 0
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = codes[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        out = int(np.prod(shape(operator.Outputs(0))))
        if kind in ("CONV_2D", "FULLY_CONNECTED"):
            total += out * int(np.prod(shape(operator.Inputs(1))[1:]))
        elif kind == "DEPTHWISE_CONV_2D":
            total += out * int(np.prod(shape(operator.Inputs(1))[1:3]))
        elif kind == "BATCH_MATMUL":
            total += out * shape(operator.Inputs(0))[-1]
    return total


@every_at_hand
def test_stated_size_and_work_are_those_of_the_network(spec: ModelSpec, load: Load) -> None:
    if not spec.has_network:
        return
    load(spec)
    from listen_embed import store

    content = store.load(spec)
    assert spec.size_bytes == len(content)
    assert spec.macs == pytest.approx(macs_of(content), rel=0.02)


# ---- what travels in the wheel ---------------------------------------------------------------


def test_what_travels_in_the_wheel_is_small_and_ours() -> None:
    inside = [spec for spec in MODELS if spec.file is not None]
    assert sum(Path(spec.file).stat().st_size for spec in inside if spec.file) < 3_000_000
    for spec in inside:
        assert spec.licence == "MIT"
        assert spec.file is not None
        assert (spec.file.parent / "README.md").is_file(), "a model card"


def test_the_mirror_serves_what_it_says(mirror: Web, shared: Path) -> None:
    """The files used above are the published ones: their digests are the registry's."""
    wanted: dict[str, Any] = {
        spec.download.file_name: spec.download.sha256
        for spec in AT_HAND
        if spec.download is not None
    }
    sums = dict(
        reversed(line.split(maxsplit=1))
        for line in (shared / "weights-upstream/SHA256SUMS").read_text().splitlines()
    )
    for name, place in PUBLISHED.items():
        (listed,) = (digest for path, digest in sums.items() if path.strip().endswith(place))
        assert wanted[name] == listed
