"""Makes the stored corpus again: ``python -m fuzz.seeds``. Needs torch, for its files only."""

from __future__ import annotations

import io
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch

from fuzz import targets
from listen_embed import heads, registry
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest
from listen_embed.fleet.deploy.status import Status, seal
from listen_embed.fleet.learning.messages import Question
from listen_embed.fleet.learning.node import Start, unsigned
from listen_embed.fleet.learning.updates import Sending, Update, pack
from listen_embed.fleet.things.capabilities import Form
from listen_embed.fleet.things.describe_device import describe_device, device_of_part, part_named
from listen_embed.fleet.things.describe_model import describe_model
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor import block
from listen_embed.monitor.events import Event
from listen_embed.monitor.journal import Checkpoint, Journal
from listen_embed.monitor.trace import TracePoint
from listen_embed.upstream.graph import GraphBuilder

_SOUNDS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "PCM_24"),
    ("AU", "ULAW"),
    ("MP3", "MPEG_LAYER_III"),
)

Seeds = Iterator[tuple[str, bytes]]


def torch_file() -> Seeds:
    """Yield what torch saves."""
    yield "state", _saved({"w": torch.ones(2, 3), "n": torch.tensor(4), "h": torch.ones(2).half()})


def _saved(state: dict[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def torch_pickle() -> Seeds:
    """Yield the pickle of tensors that fill the one storage that the target has."""
    storage = torch.zeros(targets.STORAGE_BYTES // 4)
    saved = _saved({"all": storage, "some": storage.view(4, 4)[:, 1:3]})
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        yield "state", archive.read(name)


def keras_file() -> Seeds:
    """Yield weights as Keras 2 lays them out."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([b"conv", b"relu"])
        root.create_group("relu").attrs["weight_names"] = np.array([], "S1")
        layer = root.create_group("conv")
        layer.attrs["weight_names"] = np.array([b"conv/kernel:0", b"conv/bias:0"])
        layer["conv/kernel:0"] = np.ones((2, 2, 1, 2), np.float32)
        layer["conv/bias:0"] = np.zeros(2, np.float32)
    yield "conv", buffer.getvalue()


def tflite_costs() -> Seeds:
    """Yield a small network of each kind of operator that ours have."""
    ones = np.ones
    graph = GraphBuilder()
    x = graph.relu(graph.conv2d(graph.input((1, 6, 6, 1)), ones((2, 3, 3, 1)), ones(2)))
    x = graph.depthwise_conv2d(graph.max_pool(x, (2, 2)), ones((3, 3, 2)), ones(2), stride=2)
    x = graph.mean(graph.mul(x, graph.logistic(x)), (1, 2))
    yield "convolutions", graph.finish([graph.fully_connected(x, ones((3, 2)), ones(3))])
    graph = GraphBuilder()
    x = graph.reshape(graph.input((1, 4, 3, 1)), (1, 4, 3))
    x = graph.batch_matmul(graph.softmax(graph.batch_matmul(x, x, transpose_y=True)), x)
    yield "attention", graph.finish([graph.mean(x, (1,))])


def model_card() -> Seeds:
    """Yield the cards of two of our models."""
    for spec in registry.models():
        if spec.file is not None and spec.name in ("sea/32/nano", "listen/64/workshop"):
            yield spec.variant, (spec.file.parent / registry.CARD).read_bytes()


def head_file() -> Seeds:
    """Yield heads of every kind."""
    rows = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    classifier = Classifier(reject=0.1).learn(rows, [0, 1] * 6)
    for kind in ("knn", "mahalanobis"):
        anomaly = Anomaly(kind=kind, min_count=5, capacity=8).learn(rows)
        with tempfile.TemporaryDirectory() as folder:
            heads.save(Path(folder) / "x.npz", classifier=classifier, anomaly=anomaly)
            yield kind, (Path(folder) / "x.npz").read_bytes()


def head_arrays() -> Seeds:
    """Yield each array of a file, its number in front."""
    content = dict(head_file())["knn"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for number, name in enumerate(sorted(archive.namelist())):
            yield name.removesuffix(".npy").replace("/", "-"), bytes([number]) + archive.read(name)


def golden_vectors() -> Seeds:
    """Yield vectors that the target meets."""
    buffer = io.BytesIO()
    ones = np.ones((1, 4), np.float32)
    np.savez_compressed(buffer, audio=np.zeros(8, np.int16), sr=16_000, embedding=ones)
    yield "met", buffer.getvalue()


def framed_block() -> Seeds:
    """Yield blocks of every dtype."""
    sound = block.Block(np.linspace(-1, 1, 8, dtype=np.float32), 16_000, 80, ends=True)
    for dtype in block.DTYPES:
        yield dtype, b"\xff" + block.pack(sound, stream=3, sequence=1, dtype=dtype, channels=2)


def raw_samples() -> Seeds:
    """Yield samples of every dtype."""
    for number, dtype in enumerate(sorted(block.DTYPES)):
        yield dtype, bytes([number]) + block.encode(np.linspace(-1, 1, 8, dtype=np.float32), dtype)


def journal() -> Seeds:
    """Yield a journal with something in every table, in the smallest pages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        database = sqlite3.connect(path)
        database.executescript("PRAGMA page_size=512; VACUUM")
        kept = Journal(path)
        kept.append(
            [Event("source", "c", 3, 16_000, 1.0, "state", {"state": "on"})],
            source="source",
            checkpoint=Checkpoint("c", 16_000, 1.0),
            trace=[TracePoint(1.0, "on", 0.5, False, 2.0, -30.0, 0.1, -0.2, b"\1\2")],
        )
        kept.advance("sink", 1)
        kept.close()
        database.execute("PRAGMA journal_mode=DELETE")
        database.close()
        yield "events", path.read_bytes()


def sound_file() -> Seeds:
    """Yield a short sound in every kind of format."""
    sound = 0.5 * np.sin(np.arange(400) / 5)
    for container, subtype in _SOUNDS:
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 8000, format=container, subtype=subtype)
        yield f"{container}-{subtype}".lower(), buffer.getvalue()


def description() -> Seeds:
    """Yield a device's and a model's description."""
    device = device_of_part(part_named("nano33"))
    yield "device", json.dumps(describe_device(device)).encode()
    yield "model", json.dumps(describe_model(registry.find("logmel/128/16k"))).encode()


def deployment() -> Seeds:
    """Yield the text of a manifest of each action."""
    usual = Manifest(
        target="urn:x", model="a/1/b", digest="0" * 64, sequence=1, issued=0, expires=9,
        needs=Form(kind="c", arithmetic="float", ram=1, flash=1, rate=16_000),
        files={"src/x.c": FileInfo("0" * 64, 1)},
    )  # fmt: skip
    yield "install", usual.text().encode()
    back = replace(usual, action="rollback", needs=None, files={})
    yield "rollback", back.text().encode()


def device_status() -> Seeds:
    """Yield what a device says."""
    well = Status(time=1.0, model="a/1/b", digest="0" * 64, sequence=3)
    yield "well", seal(well, targets.NODE, unsigned)


def node_update() -> Seeds:
    """Yield updates with every kind of layer."""
    delta = np.linspace(-1, 1, targets.LAYOUT.size, dtype=np.float32)
    update = Update(targets.NODE, 0, targets.FOUNDING.digest, 3, delta, np.zeros(2, np.float32))
    for name, sending in {"dense": Sending(), "sparse": Sending(frozenset({"b"}), 0.3)}.items():
        yield name, pack(update, targets.LAYOUT, sending, unsigned)


def founding() -> Seeds:
    """Yield what a fleet agrees on."""
    yield "network", targets.FOUNDING.pack(unsigned)


def question() -> Seeds:
    """Yield a round's start."""
    vector = np.linspace(-1, 1, targets.LAYOUT.size, dtype=np.float32)
    start = Start(1, vector, np.full(2, 0.02, np.float32))
    yield "asked", Question(start, 3, (targets.NODE,)).pack(targets.FOUNDING, unsigned)


MAKERS = (torch_file, torch_pickle, keras_file, tflite_costs, model_card, head_file,
          head_arrays, golden_vectors, framed_block, raw_samples, journal, sound_file,
          description, deployment, device_status, node_update, founding, question)  # fmt: skip


def main() -> None:
    """Write every seed; findings that were added by hand stay."""
    for maker in MAKERS:
        folder = targets.CORPUS / maker.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in maker():
            (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
