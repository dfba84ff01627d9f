"""One file to disk, and many files one after the other, as a Python user calls them."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import listen_embed
from listen_embed import Embedder, files
from listen_embed.errors import (
    AudioFileError,
    InputError,
    ListenEmbedWarning,
    ModelNotFoundError,
    OutputError,
)
from listen_embed.output import package_version
from listen_embed.progress import Bar

from .program import names_in, write_sound


def options_of(function: object) -> dict[str, object]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()  # type: ignore[arg-type]
    }


# ---- process_file ----------------------------------------------------------------------------


def test_process_file_writes_beside_the_sound(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a b.wav")
    target = listen_embed.process_file(source)
    assert target == tmp_path / "a b.npz"
    embedder = Embedder()
    embedding, timestamps = embedder.embed_file(source)
    with np.load(target, allow_pickle=False) as made:
        np.testing.assert_array_equal(made["embedding"], embedding)
        np.testing.assert_array_equal(made["timestamps"], timestamps)
        assert str(made["model"]) == embedder.spec.name
        assert str(made["digest"]) == embedder.digest
        assert str(made["version"]) == package_version()


@pytest.mark.parametrize(
    ("suffix", "name"), [(None, "a.npz"), ("", "a.npz"), ("sea", "a_sea.npz"), ("x.y", "a_x.y.npz")]
)
def test_process_file_names_as_edgel3_did(tmp_path: Path, suffix: str | None, name: str) -> None:
    source = write_sound(tmp_path / "a.wav")
    target = listen_embed.process_file(str(source), str(tmp_path / "out" / "deep"), suffix)
    assert target == tmp_path / "out" / "deep" / name
    assert target.is_file()


def test_process_file_takes_every_option(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.wav", 3.0)
    target = listen_embed.process_file(
        source,
        model_type="logmel",
        emb_dim=256,
        variant="48k",
        hop_size=0.5,
        center=False,
        threads=1,
        format="npy",
    )
    expected, _ = Embedder("logmel", 256, hop_size=0.5, center=False).embed_file(source)
    np.testing.assert_array_equal(np.load(target), expected)


def test_process_file_replaces_a_result_only_by_a_whole_one(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.wav")
    (tmp_path / "a.npz").write_bytes(b"old")
    listen_embed.process_file(source)
    good = (tmp_path / "a.npz").read_bytes()
    assert good != b"old"
    source.write_bytes(source.read_bytes()[:20])
    with pytest.raises(AudioFileError):
        listen_embed.process_file(source)
    assert (tmp_path / "a.npz").read_bytes() == good
    assert list(names_in(tmp_path)) == ["a.npz", "a.wav"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model_type": "nope"}, ModelNotFoundError),
        ({"hop_size": 0}, InputError),
        ({"format": "wav"}, InputError),
    ],
)
def test_process_file_refuses_nonsense(
    tmp_path: Path, options: dict[str, object], error: type
) -> None:
    source = write_sound(tmp_path / "a.wav")
    with pytest.raises(error):
        listen_embed.process_file(source, **options)  # type: ignore[arg-type]
    assert list(names_in(tmp_path)) == ["a.wav"]


def test_process_file_tells_what_cannot_be_written(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.wav")
    with pytest.raises(OutputError, match="cannot be written"):
        listen_embed.process_file(source, source)


# ---- embed_files -----------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    return [write_sound(tmp_path / f"ü {i}.wav", seconds=1 + i, seed=i) for i in range(4)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_embed_files_equals_embed_file(sounds: list[Path], jobs: int) -> None:
    embedder = Embedder("logmel", 128, hop_size=0.25, center=False)
    results = listen_embed.embed_files(
        map(str, sounds), "logmel", 128, hop_size=0.25, center=False, jobs=jobs
    )
    for source, result in zip(sounds, results, strict=True):
        assert (result.path, result.error) == (source, None)
        expected = embedder.embed_file(source)
        np.testing.assert_array_equal(result.embedding, expected[0])
        np.testing.assert_array_equal(result.timestamps, expected[1])
        assert (result.embedding.dtype, result.timestamps.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_file_is_a_result_among_the_others(sounds: list[Path], jobs: int) -> None:
    sounds[0].write_text("not audio")
    sounds[2].unlink()
    results = list(listen_embed.embed_files(sounds, "logmel", jobs=jobs))
    assert [result.path for result in results] == sounds
    assert [result.error is None for result in results] == [False, True, False, True]
    for bad, why in ((results[0], "not readable as audio"), (results[2], "does not exist")):
        assert isinstance(bad.error, AudioFileError)
        assert str(bad.error).startswith(f"{bad.path}: {why}")
        for name in ("embedding", "timestamps"):
            with pytest.raises(AudioFileError, match=why):
                getattr(bad, name)


def test_a_result_is_short_to_read_and_stays_as_it_is(sounds: list[Path]) -> None:
    (result,) = listen_embed.embed_files(sounds[:1], "logmel")
    assert repr(result) == f"FileResult(path={sounds[0]!r}, error=None)"
    with pytest.raises(AttributeError):
        result.path = sounds[1]  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.embedding, result.embedding)


def test_frames_of_another_length(sounds: list[Path]) -> None:
    options = {"hop_size": 0.5, "frame_size": 2.0}
    (result,) = listen_embed.embed_files(sounds[2:3], "pruned", 384, **options)  # type: ignore[arg-type]
    expected, _ = Embedder("pruned", 384, **options).embed_file(sounds[2])  # type: ignore[arg-type]
    np.testing.assert_allclose(result.embedding, expected, atol=1e-5)
    with pytest.raises(InputError, match="frame_size"):
        listen_embed.embed_files(sounds, frame_size=0.01)


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_embedding_for_a_whole_file(sounds: list[Path], jobs: int) -> None:
    embedder = Embedder("logmel")
    for result in listen_embed.embed_files(sounds, "logmel", clip=True, jobs=jobs):
        np.testing.assert_array_equal(result.embedding, embedder.embed_clip_file(result.path)[None])
        assert result.timestamps.tolist() == [0.0]


def test_embed_files_of_nothing_is_nothing() -> None:
    assert list(listen_embed.embed_files([])) == []


def test_embed_files_takes_paths_one_by_one(sounds: list[Path]) -> None:
    taken: list[Path] = []

    def taking() -> Iterator[Path]:
        for path in sounds:
            taken.append(path)
            yield path

    results = listen_embed.embed_files(taking())
    assert taken == []
    next(results)
    assert taken == sounds[:1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model_type": "nope"}, ModelNotFoundError),
        ({"hop_size": -1}, InputError),
        ({"jobs": -1}, InputError),
        ({"threads": 0}, InputError),
    ],
)
def test_embed_files_refuses_nonsense_at_once(options: dict[str, object], error: type) -> None:
    with pytest.raises(error):
        listen_embed.embed_files([], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("one", ["a.wav", Path("a.wav")])
def test_one_path_is_not_many(one: object) -> None:
    with pytest.raises(InputError, match="put it into a list"):
        listen_embed.embed_files(one)  # type: ignore[arg-type]


def test_progress_is_shown_when_asked_for(
    sounds: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "Bar", partial(Bar, patience=0.0))
    list(listen_embed.embed_files(sounds))
    assert capsys.readouterr().err == ""
    list(listen_embed.embed_files(sounds, progress=True))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "files" in shown.err
    assert "/10 s of audio" in shown.err


def test_warnings_are_the_users(sounds: list[Path], tmp_path: Path) -> None:
    short = write_sound(tmp_path / "short.wav", 0.2)
    with pytest.warns(ListenEmbedWarning, match="less than one frame"):
        list(listen_embed.embed_files([short]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ListenEmbedWarning)
        assert len(list(listen_embed.embed_files([short]))) == 1


# ---- both ------------------------------------------------------------------------------------


def test_options_have_one_name_and_one_default_everywhere() -> None:
    embedder = options_of(Embedder)
    for function in (listen_embed.process_file, listen_embed.embed_files):
        options = options_of(function)
        for name in set(embedder) - {"progress"}:
            assert options[name] == embedder[name], name


def test_the_length_of_a_file(tmp_path: Path) -> None:
    assert files.seconds_of(write_sound(tmp_path / "a.wav", 1.5)) == 1.5
    (tmp_path / "bad.wav").write_text("not audio")
    assert files.seconds_of(tmp_path / "bad.wav") == 0.0
    assert files.seconds_of(tmp_path / "none.wav") == 0.0
