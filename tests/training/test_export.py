"""Model folders: whole, readable whatever their names are, and never half written."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed import registry
from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.graph import macs, peak_bytes
from listen_embed.training import export
from listen_embed.training.export import Identity, Trained
from listen_embed.training.starts import NANO_FRONT_END

IDENTITY = Identity(
    model_type="own",
    emb_dim=16,
    variant="pümpen \N{FACTORY} #1",
    licence='CC BY 4.0, "hall 3"',
    source="C:\\sounds\n[model]\tnot = 'a table'",
    default=3,
)


@pytest.fixture(scope="module")
def trained(specialised: Any) -> Trained:
    read = [specialised.folder / name for name in ("float/model.tflite", "model.tflite")]
    return Trained(read[0].read_bytes(), read[1].read_bytes())


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export") / "deep" / "down" / IDENTITY.variant
    settings = {"teachers": "logmel/128/16k", "seed": 7, "rates": (3e-3, 0.1 * 3e-3)}

    def complete(inside: Path) -> None:
        export.write_card(
            inside, IDENTITY, NANO_FRONT_END, trained, settings, "Quite good.\n", place.name
        )

    export.write_folder(place, IDENTITY, NANO_FRONT_END, trained, complete)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_folder_stands_alone_and_is_whole(folder: Path) -> None:
    names = contents(folder).keys()
    assert {name for name in names if not name.startswith("c/")} == {
        "model.toml", "model.tflite", "float/model.toml", "float/model.tflite", "README.md",
        "golden.npz",
    }  # fmt: skip
    assert {"c/README.md", "c/Makefile", "c/src/listen_embed.h", "c/src/listen_model.c"} <= names
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failed_write_leaves_the_old_folder_and_nothing_else(
    folder: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    before = sorted(path.name for path in folder.parent.iterdir())
    card = (folder / "README.md").read_bytes()
    with pytest.raises(OSError, match="disk full"):
        export.write_folder(folder, IDENTITY, NANO_FRONT_END, trained, fail)
    monkeypatch.setattr(export, "write_golden", fail)
    with pytest.raises(OSError, match="disk full"):
        export.write_folder(folder, IDENTITY, NANO_FRONT_END, trained)
    assert sorted(path.name for path in folder.parent.iterdir()) == before
    assert (folder / "README.md").read_bytes() == card


@pytest.mark.parametrize("part", [".", "float"])
def test_what_is_written_is_read(folder: Path, trained: Trained, part: str) -> None:
    model = trained.float_model if part == "float" else trained.int8_model
    spec = registry.load_folder(folder / part)
    assert spec.front_end == NANO_FRONT_END
    for name in ("model_type", "emb_dim", "variant", "licence", "source", "default"):
        assert getattr(spec, name) == getattr(IDENTITY, name)
    assert spec.file is not None
    assert spec.file.read_bytes() == model
    assert spec.sha256 == hashlib.sha256(model).hexdigest()
    assert (spec.size_bytes, spec.macs) == (len(model), macs(model))


def test_only_constants_that_differ_are_written(folder: Path) -> None:
    table = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
    assert table["front_end"]["log_offset"] == 1e-5
    assert table["front_end"]["f_max"] == 8000.0
    assert "preemphasis" not in table["front_end"]
    front_end = replace(NANO_FRONT_END, mel_root=True, resampler="kaiser_best")
    assert export._changed_fields(front_end).items() >= {
        ("mel_root", True), ("resampler", "kaiser_best"),
    }  # fmt: skip


def test_the_golden_embedding_is_the_models(folder: Path) -> None:
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        sound, rate = golden["audio"], int(golden["sr"])
        found, timestamps = Embedder(folder, hop_size=0.5).embed(sound, rate)
        np.testing.assert_allclose(golden["embedding"], found, atol=1e-5)
        np.testing.assert_array_equal(golden["timestamps"], timestamps)
    np.testing.assert_array_equal(sound, export.golden_sound())
    assert found.shape == (len(timestamps), 16)
    assert np.all(np.ptp(found, axis=0) > 0)  # a sound with something in it


def test_the_golden_sound_has_sound_and_a_pause() -> None:
    sound = export.golden_sound().astype(np.float64)
    assert len(sound) == 1.5 * export.GOLDEN_RATE
    assert np.abs(sound).max() < 32767
    assert np.all(sound[int(1.3 * export.GOLDEN_RATE) :] == 0)
    seconds = np.array_split(sound[: int(1.3 * export.GOLDEN_RATE)], 13)
    assert min(np.std(part) for part in seconds) > 3000


def test_the_card_tells_name_licence_sizes_and_settings(folder: Path, trained: Trained) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# own/16/{IDENTITY.variant}\n")
    assert IDENTITY.source in card
    for row in (
        f"| int8 .tflite | {len(trained.int8_model):,} bytes |",
        f"| float .tflite | {len(trained.float_model):,} bytes |",
        f"| multiply-accumulates of a frame | {macs(trained.int8_model):,} |",
        f"| tensor arena (peak of live tensors) | {peak_bytes(trained.int8_model):,} bytes |",
        f"| licence | {IDENTITY.licence} |",
        "| teachers | logmel/128/16k |",
        "| seed | 7 |",
        "| rates | 0.003, 0.0003 |",  # and no 0.00030000000000000003
        "## How good it is\n\nQuite good.\n",
        "| sample_rate | 16000 |",
        "| preemphasis | 0 |",  # the whole front end, defaults too
    ):
        assert row in card


def test_strings_of_all_kinds_are_toml() -> None:
    values = {
        "a": 'quo"te',
        "b": "back\\slash",
        "c": "line\nbreak\t\x1b",
        "d": "\N{FACTORY}",
        "e": "",
    }
    numbers = {"i": -3, "f": 1e-10, "g": 4.5, "t": True}
    assert tomllib.loads(export._to_toml({"x": values, "y": numbers})) == {
        "x": values, "y": json.loads(json.dumps(numbers)),
    }  # fmt: skip


# -- its place -----------------------------------------------------------------------------------


def test_an_older_model_gives_way(trained: Trained, tmp_path: Path) -> None:
    place = tmp_path / "m"
    export.write_folder(place, replace(IDENTITY, variant="old"), NANO_FRONT_END, trained)
    (place / "report.json").write_text("{}")
    export.write_folder(place, replace(IDENTITY, variant="new"), NANO_FRONT_END, trained)
    assert registry.load_folder(place).variant == "new"
    assert not (place / "report.json").exists()
    assert list(tmp_path.iterdir()) == [place]


def test_an_empty_folder_may_be_filled(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    export.write_folder(tmp_path / "m", IDENTITY, NANO_FRONT_END, trained)
    assert registry.load_folder(tmp_path / "m").emb_dim == 16


def test_what_is_no_model_is_not_replaced(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "photo.jpg").write_bytes(b"pixels")
    (tmp_path / "file").write_bytes(b"bytes")
    for name in ("m", "file"):
        with pytest.raises(InputError, match=f"{name} exists and is no model folder; choose"):
            export.write_folder(tmp_path / name, IDENTITY, NANO_FRONT_END, trained)
    assert contents(tmp_path) == {"m/photo.jpg": b"pixels", "file": b"bytes"}


def test_a_failure_leaves_the_older_model_as_it_was(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "m"
    export.write_folder(place, IDENTITY, NANO_FRONT_END, trained)
    before = contents(place)

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(export, "export_c", fail)
        export.write_folder(place, replace(IDENTITY, default=9), NANO_FRONT_END, trained)
    assert contents(place) == before
    export.write_folder(place, replace(IDENTITY, default=9), NANO_FRONT_END, trained)
    assert registry.load_folder(place).default == 9
    assert list(tmp_path.iterdir()) == [place]  # nor does the failure leave anything behind
