"""The classifier that learns one by one, in C against Python: the same bits."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry
from listen_embed.device import boards
from listen_embed.device.export import ONLINE, export_c
from listen_embed.device.heads_source import Model
from listen_embed.device.online_source import online_source
from listen_embed.errors import HeadError, InputError
from listen_embed.heads import OnlineClassifier

from .one import WARNINGS

SPEC = registry.find("sea/64/general")
DIM, CLASSES, DIGEST = 64, 10, "ab12"
HERE = Path(__file__).parent
Samples = list[tuple[Any, int]]


def samples(n: int, seed: int, n_classes: int = CLASSES) -> Samples:
    """Return embeddings of classes that begin one after the other, some labels wrong."""
    world = np.random.default_rng(3)
    centres = world.normal(size=(CLASSES, DIM)) * np.geomspace(0.1, 3, DIM)
    chance = np.random.default_rng(seed)
    codes = [
        min(i, c) if i < n_classes else c for i, c in enumerate(chance.integers(n_classes, size=n))
    ]
    seen: list[int] = []
    given = []
    for code in codes:
        number = seen.index(code) if code in seen else len(seen)
        if number == len(seen):
            seen.append(code)
        row = centres[code] + chance.normal(size=DIM) * np.geomspace(3, 0.2, DIM)
        wrong = chance.random() < 0.1
        given.append((row.astype(np.float32), int(chance.integers(len(seen))) if wrong else number))
    return given


def taught(n: int = 30, n_classes: int = 4) -> OnlineClassifier:
    head = OnlineClassifier(Model(SPEC, DIGEST), rate=0.5)
    for row, code in samples(n, 1, n_classes):
        head.learn_one(row, f"class {code}")
    return head


def exported(head: OnlineClassifier, place: Path) -> Path:
    head.save(place / "online.npz")
    source = place / "src"
    source.mkdir()
    texts = online_source(place / "online.npz", SPEC, DIGEST)
    for path in (ONLINE / "src").iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for name, text in texts.items():
        (source / name).write_text(text)
    return source


def library(source: Path) -> Any:
    built = source.parent / "online.so"
    files = [source / "listen_online.c", source / "listen_online_model.c"]
    subprocess.run(["gcc", *WARNINGS, "-shared", "-fPIC", "-I", source, *files, "-lm", "-o", built],
                   check=True)  # fmt: skip
    loaded = ctypes.CDLL(str(built))
    loaded.embed_online_label.restype = ctypes.c_char_p
    return loaded


def pointer(values: Any) -> Any:
    return values.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.needs("gcc")
def test_c_goes_on_as_python_does_bit_for_bit(tmp_path: Path) -> None:
    head = taught()
    c, memory = library(exported(head, tmp_path)), ctypes.create_string_buffer(20_000)
    c.embed_online_init(memory)
    assert c.embed_online_label(3) == b"class 3" and c.embed_online_label(4) is None
    names = [f"class {i}" for i in range(CLASSES)]
    found = np.zeros(CLASSES, np.float32)
    for number, (row, code) in enumerate(samples(400, 2)):
        code = min(code, len(head.labels))
        assert c.embed_online_learn(memory, pointer(row), code) == 0
        head.learn_one(row, names[code])
        if number % 10 == 0:
            best = c.embed_online_classify(memory, pointer(row), pointer(found))
            wanted = head.predict_proba(row[None])[0]
            assert np.array_equal(found[: len(wanted)], wanted)
            assert best == wanted.argmax()
    assert len(head.labels) == CLASSES and head.count == 430


@pytest.mark.needs("gcc")
def test_a_correction_is_taken_back_alike(tmp_path: Path) -> None:
    head = taught(300, CLASSES)
    assert head._learner is not None
    harm = np.random.default_rng(0).normal(size=head._learner.correction.weights.shape)
    head._learner.correction.weights = np.clip(harm, -1, 1).astype(np.float32)
    c, memory = library(exported(head, tmp_path)), ctypes.create_string_buffer(20_000)
    c.embed_online_init(memory)
    found = np.zeros(CLASSES, np.float32)
    for row, code in samples(60, 5):
        c.embed_online_learn(memory, pointer(row), code)
        head.learn_one(row, head.labels[code])
        c.embed_online_classify(memory, pointer(row), pointer(found))
        assert np.array_equal(found, head.predict_proba(row[None])[0])
    assert head.rollbacks >= 1


@pytest.mark.needs("gcc")
def test_what_cannot_be_learnt_is_refused_on_the_device(tmp_path: Path) -> None:
    c, memory = library(exported(taught(), tmp_path)), ctypes.create_string_buffer(20_000)
    c.embed_online_init(memory)
    before = memory.raw
    row = np.zeros(DIM, np.float32)
    for code in (-1, 5, 10, 2**31 - 1):
        assert c.embed_online_learn(memory, pointer(row), code) == -1
    for bad in (np.nan, np.inf, -np.inf):
        row[7] = bad
        assert c.embed_online_learn(memory, pointer(row), 0) == -1
        assert c.embed_online_classify(memory, pointer(row), None) == -1
    assert memory.raw == before


@pytest.mark.needs("arm-none-eabi-gcc", "qemu-system-arm")
def test_a_cortex_m4_learns_the_same_in_8_kb(tmp_path: Path) -> None:
    head = taught()
    source, board = exported(head, tmp_path), boards.BOARDS[1]
    assert board.processor == "cortex-m4"
    program = tmp_path / "check.elf"
    files = [source / "listen_online.c", source / "listen_online_model.c", HERE / "online_check.c"]
    link = [f"-Wl,--defsym={name}={value}" for name, value in
            (("VECTORS", board.vectors), ("FLASH", board.flash), ("RAM", board.ram))]  # fmt: skip
    boards.run([
        boards.COMPILER, "-mcpu=cortex-m4", "-mthumb", *board.flags, "-std=gnu99", "-O2",
        "-ffp-contract=off", "-I", str(source), "-I", str(boards.HARNESS), *map(str, files),
        str(boards.HARNESS / "board.c"), "-nostartfiles", "-Wl,--no-warn-rwx-segments",
        *link, "-T", str(boards.HARNESS / "board.ld"), "-lm", "-o", str(program),
    ])  # fmt: skip
    given, wanted = b"", []
    for number, (row, code) in enumerate(samples(200, 2)):
        code = min(code, len(head.labels))
        given += np.int32(code).tobytes() + row.tobytes()
        head.learn_one(row, f"class {code}")
        if number % 20 == 19:
            given += np.int32(-1).tobytes() + row.tobytes()
            known = head.predict_proba(row[None])[0]
            wanted.append(np.pad(known, (0, CLASSES - len(known))))
    content = boards.execute(program, board, given)
    stack, size = np.frombuffer(content[-8:], np.uint32)
    values = np.frombuffer(content[:-8], np.float32)
    learner = head._learner
    assert learner is not None and len(head.labels) == CLASSES
    last = np.concatenate([learner.correction.weights.ravel(), learner.prototypes.ravel()])
    assert np.array_equal(values[len(wanted) * CLASSES :], last)
    assert np.array_equal(values[: len(wanted) * CLASSES].reshape(-1, CLASSES), wanted)
    assert size + stack <= 8192, (size, stack)


def test_other_models_and_too_little_room_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "online.npz"
    taught().save(path)
    with pytest.raises(HeadError, match="sea/64"):
        online_source(path, SPEC, "cd34")
    with pytest.raises(InputError, match="room for 3 classes; 4 were taught"):
        online_source(path, SPEC, DIGEST, classes=3)
    narrow = OnlineClassifier(Model(SPEC, DIGEST)).learn_one(np.zeros(8), "a")
    narrow.save(path)
    with pytest.raises(InputError, match="takes embeddings of 8 values, the model gives 64"):
        online_source(path, SPEC, DIGEST)


@pytest.mark.needs("gcc")
def test_an_export_has_it_beside_the_model(tmp_path: Path) -> None:
    from listen_embed import Embedder

    embedder = Embedder(SPEC.name)
    OnlineClassifier(embedder).learn_one(np.zeros(DIM), "a").save(tmp_path / "online.npz")
    export_c(SPEC, tmp_path / "out", online=tmp_path / "online.npz")
    source = tmp_path / "out" / "src"
    assert {"listen_online.c", "listen_online_model.h"} <= {path.name for path in source.iterdir()}
    subprocess.run(["gcc", *WARNINGS, "-fsyntax-only", "-I", source, source / "listen_online.c"],
                   check=True)  # fmt: skip
