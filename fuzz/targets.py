"""What is fuzzed: each function hands bytes to one reader of the package.

Allowed is a result or an error of the package's own; anything else is a finding, and so is taking
longer or more memory than `fuzz.__main__` allows. Formats with checksums have a second function
that puts the bytes behind the checksum, which mutated bytes would hardly ever pass.

The interpreter of .tflite files is not among them: it is native code that trusts a graph's
structure, and within seconds a fuzzer makes it crash or run without end. Damage does not reach it,
for a folder's model is held against its digest first; malice would, so a folder from a stranger is
to be trusted as far as the stranger.
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from listen_embed import audio, graph, heads, registry, self_check
from listen_embed.errors import ListenEmbedError
from listen_embed.fleet.deploy import manifest, status
from listen_embed.fleet.learning.layout import Agreement, Layer, Layout
from listen_embed.fleet.learning.messages import Founding, Question
from listen_embed.fleet.learning.updates import Guard
from listen_embed.fleet.things.registry import Registry
from listen_embed.framing import Framer
from listen_embed.frontend import FeatureExtractor
from listen_embed.heads import Anomaly, Classifier
from listen_embed.monitor import block
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.trace import STEPS_S
from listen_embed.upstream import keras_h5, torch_zip

CORPUS = Path(__file__).parent / "corpus"
STORAGE_BYTES = 64  # of the only storage that a pickle can refer to

_MAX_BYTES = 1 << 20  # that an unpacked file may hold
_MAX_FRAME = 1 << 18  # samples that are worth hearing
_MEMORY = Path("/dev/shm")  # where a file costs no time
_CRC = slice(12, 16)  # of a framed block

# What a fleet learns whose messages are fuzzed; a layer of two scales and one of a single value.
LAYOUT = Layout((Layer("a", (70,)), Layer("b", (1,))))
FOUNDING = Founding(bytes(16), Agreement("network", LAYOUT))
NODE = "n"


def torch_file(data: bytes) -> None:
    """Read a .pt."""
    with _file(data, "x.pt") as path:
        torch_zip.read_state_dict(path, max_bytes=_MAX_BYTES)


def torch_pickle(data: bytes) -> None:
    """Read a .pt whose zip is sound, around a pickle."""
    torch_file(_zip({"a/data.pkl": data, "a/data/0": bytes(STORAGE_BYTES)}))


def keras_file(data: bytes) -> None:
    """Read a .h5."""
    with _file(data, "x.h5") as path:
        keras_h5.read_layers(path, max_bytes=_MAX_BYTES)


def tflite_costs(data: bytes) -> None:
    """Count what a .tflite costs."""
    graph.macs(data)
    graph.peak_bytes(data)


def model_card(data: bytes) -> None:
    """Load the model.toml of a folder and let its front end hear a frame."""
    with _file(data, registry.CARD) as path:
        front_end = registry.load_folder(path.parent).front_end
    if front_end.frame_samples > _MAX_FRAME:
        return
    framer = Framer(front_end.frame_samples, Fraction(front_end.frame_samples), center=False)
    frame = np.ones(front_end.frame_samples, np.float32)
    for frames in framer.push(frame, last=True).batches(1):
        FeatureExtractor(front_end)(frames)


def head_file(data: bytes) -> None:
    """Load the heads of a .npz and ask them."""
    with _file(data, "x.npz") as path:
        for head in filter(None, heads.load(path)):
            _use(head)


def head_arrays(data: bytes) -> None:
    """Load heads of a sound zip, of which the array that the first byte chooses is replaced."""
    entries = dict(_heads())
    names = sorted(entries)
    if data:
        entries[names[data[0] % len(names)]] = data[1:]
    head_file(_zip(entries))


def golden_vectors(data: bytes) -> None:
    """Hold a model, which gives one embedding, against a folder's golden.npz."""
    with _file(data, self_check.FILE) as path:
        self_check.run(path.parent, str(path), lambda audio, sr: np.ones((1, 4), np.float32))


def framed_block(data: bytes) -> None:
    """Take a framed block; the first byte says whether its checksum is put right."""
    message = bytearray(data[1:])
    if data[:1] > b"\x7f" and len(message) >= block.HEADER.size:
        message[_CRC] = struct.pack("<I", zlib.crc32(message[block.HEADER.size :]))
    block.unpack(bytes(message))


def raw_samples(data: bytes) -> None:
    """Decode raw samples; the first byte chooses their dtype and channels."""
    kinds = sorted(block.DTYPES)
    kind = data[0] if data else 0
    block.decode(data[1:], kinds[kind % len(kinds)], 1 + kind // len(kinds))


def journal(data: bytes) -> None:
    """Open a journal and read all of it."""
    with _file(data, "x.sqlite") as path, contextlib.closing(Journal(path)) as opened:
        opened.after(0, 100)
        opened.events(0.0, 1e10, 100)
        for step_s in STEPS_S:
            opened.trace(0.0, 1e10, step_s)
        opened.check()
        opened.register("sink")
        opened.checkpoint("source")


def sound_file(data: bytes) -> None:
    """Decode a sound file."""
    with _file(data, "x") as path:
        for _ in audio.read_blocks(path):
            pass


def description(data: bytes) -> None:
    """Add a description of a device or a model to a registry."""
    Registry().add(data)


def deployment(data: bytes) -> None:
    """Read a manifest that somebody signed."""
    manifest.parse(data.decode(errors="replace"))


def device_status(data: bytes) -> None:
    """Read what a device says about itself, whoever signed it."""
    status.unseal(data, NODE, _anybody)


def node_update(data: bytes) -> None:
    """Let a node's update in, whoever signed it."""
    Guard(LAYOUT, FOUNDING.digest, {NODE: _anybody}).admit(data, 0)


def founding(data: bytes) -> None:
    """Read what a coordinator founds, whoever signed it."""
    Founding.unpack(data, _anybody)


def question(data: bytes) -> None:
    """Read a round's start, whoever signed it."""
    Question.unpack(data, FOUNDING, _anybody)


def _anybody(content: bytes, signature: bytes) -> bool:
    return True


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        torch_file,
        torch_pickle,
        keras_file,
        tflite_costs,
        model_card,
        head_file,
        head_arrays,
        golden_vectors,
        framed_block,
        raw_samples,
        journal,
        sound_file,
        description,
        deployment,
        device_status,
        node_update,
        founding,
        question,
    )
}


def run(name: str, data: bytes) -> None:
    """Give a target bytes; raise whatever is not allowed to come out of it."""
    with warnings.catch_warnings(), contextlib.suppress(ListenEmbedError):
        warnings.simplefilter("ignore")
        TARGETS[name](data)


def _use(head: Classifier | Anomaly) -> None:
    rows = np.zeros((2, head.emb_dim or 1))
    if isinstance(head, Classifier):
        head.predict(rows)
        head.learn_one(rows[0], head.labels[0]).predict(rows)
    else:
        head.probability(rows)
        head.learn_one(rows[0]).probability(rows)


@functools.cache
def _heads() -> dict[str, bytes]:
    with zipfile.ZipFile(CORPUS / "head_file" / "seed-knn") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


@contextlib.contextmanager
def _file(data: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path
