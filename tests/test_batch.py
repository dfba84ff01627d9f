"""Many files, in order, in one process or several; whatever happens to some of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from listen_embed import batch
from listen_embed.batch import Options, check_jobs, in_order, reaching
from listen_embed.embedder import Embedder
from listen_embed.errors import (
    AudioFileError,
    InputError,
    ListenEmbedError,
    ListenEmbedWarning,
    ModelNotFoundError,
)
from listen_embed.progress import Unseen

from .program import write_sound

OPTIONS = Options(model_type="logmel", emb_dim=128)


def count_frames(embedder: Embedder, path: Path, reach: batch.Reach) -> tuple[int, int]:
    pieces = list(reaching(embedder.iter_file(path), reach))
    return sum(len(timestamps) for _, timestamps in pieces), os.getpid()


def die(embedder: Embedder, path: Path, reach: batch.Reach) -> None:
    os._exit(9)


def wait(embedder: Embedder, path: Path, reach: batch.Reach) -> None:
    path.with_suffix(".begun").touch()
    time.sleep(60)


def terminate_oneself(embedder: Embedder, path: Path, reach: batch.Reach) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    finally:
        path.with_suffix(".tidied").touch()


def threads_of(embedder: Embedder, path: Path, reach: batch.Reach) -> int | None:
    assert embedder._network is not None
    return embedder._network._made_of[1]


def run(
    work: batch.Work[Path, object], paths: list[Path], jobs: int, options: Options = OPTIONS
) -> list[tuple[Path, object]]:
    return list(in_order(work, paths, options.load(), options, jobs, Unseen()))


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    return [write_sound(tmp_path / f"{i}.wav", seconds=1 + i / 2) for i in range(6)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_and_failures_among_them(sounds: list[Path], jobs: int) -> None:
    sounds[2].write_text("not audio")
    sounds[4].unlink()
    results = run(count_frames, sounds, jobs)
    assert [path for path, _ in results] == sounds
    counts = [r if isinstance(r, ListenEmbedError) else r[0] for _, r in results]  # type: ignore[index]
    assert [counts[i] for i in (0, 1, 3, 5)] == [6, 11, 21, 31]
    for i in (2, 4):
        assert isinstance(counts[i], AudioFileError)
        assert str(sounds[i]) in str(counts[i])


def test_several_processes_share_the_work(sounds: list[Path]) -> None:
    pids = {result[1] for _, result in run(count_frames, sounds, 2)}  # type: ignore[index]
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_few_tasks_are_taken_ahead(sounds: list[Path]) -> None:
    n_taken = 0

    def taking() -> Iterator[Path]:
        nonlocal n_taken
        for _ in range(50):
            n_taken += 1
            yield sounds[0]

    results = in_order(count_frames, taking(), OPTIONS.load(), OPTIONS, 2, Unseen())
    next(results)
    assert n_taken <= 5
    results.close()  # type: ignore[attr-defined]


def test_one_thread_for_each_of_several_processes(sounds: list[Path]) -> None:
    assert run(threads_of, sounds[:1], 2, Options())[0][1] == 1
    chosen = Options(threads=3)
    assert run(threads_of, sounds[:1], 2, chosen)[0][1] == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_warnings_arrive(tmp_path: Path, jobs: int) -> None:
    short = write_sound(tmp_path / "short.wav", seconds=0.3)
    with pytest.warns(ListenEmbedWarning, match="short.wav lasts 0.300 s"):
        run(count_frames, [short], jobs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_warnings_are_summed_up(sounds: list[Path], tmp_path: Path, jobs: int) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 16_000)
    short = [write_sound(tmp_path / f"short {i}.wav", seconds=0.3) for i in range(9)]
    with pytest.warns(ListenEmbedWarning) as caught:
        run(count_frames, [*short, sounds[0], silent], jobs)
    messages = [str(warning.message) for warning in caught]
    assert len([m for m in messages if "lasts 0.300 s" in m]) == 5
    assert len([m for m in messages if "silent.wav is silent" in m]) == 1
    assert messages[-1] == "4 more files, 9 in all, with this warning: zeros fill it up"
    assert {warning.filename for warning in caught} == {__file__}


def test_a_process_that_dies_is_told(sounds: list[Path]) -> None:
    with pytest.raises(ListenEmbedError, match=r"0\.wav: a worker process ended abruptly"):
        run(die, sounds[:2], 2)


def test_who_stops_listening_stops_the_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    quick, slow = write_sound(tmp_path / "quick.wav"), write_sound(tmp_path / "slow.wav")
    # More than there are processes: some are handed over, but not begun.
    tasks = [quick, slow, slow, slow]
    results = in_order(wait_if_slow, tasks, OPTIONS.load(), OPTIONS, 2, Unseen())
    next(results)
    while not slow.with_suffix(".begun").exists():
        time.sleep(0.01)
    begin = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 10
    assert capfd.readouterr() == ("", "")


def wait_if_slow(embedder: Embedder, path: Path, reach: batch.Reach) -> None:
    if path.stem == "slow":
        wait(embedder, path, reach)


def test_a_worker_that_is_terminated_tidies_up(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav")
    with pytest.raises(SystemExit) as leaving:
        run(terminate_oneself, [sound], 2)
    assert leaving.value.code == 128 + signal.SIGTERM
    assert sound.with_suffix(".tidied").exists()


def test_jobs_are_checked() -> None:
    assert check_jobs(3) == 3
    assert check_jobs(0) == os.cpu_count()
    assert type(check_jobs(np.int64(3))) is int
    for wrong in (-1, 1.5, "2", True, None):
        with pytest.raises(InputError, match="allowed are whole numbers"):
            check_jobs(wrong)


def test_options_are_an_embedders() -> None:
    options = Options(model_type="logmel", emb_dim=256, hop_size=0.25, center=False)
    for hush in (True, False):
        embedder = Options(**{**vars(options), "hush": hush}).load()
        assert embedder.spec.name == "logmel/256/48k"
        assert (embedder.hop_size, embedder.center) == (0.25, False)
    with pytest.raises(ModelNotFoundError):
        Options(model_type="nope", hush=True).load()


# ---- LiteRT's notes --------------------------------------------------------------------------


def test_notes_are_dropped_and_all_else_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with batch._hushed():
        os.write(2, b"INFO: Created a delegate.\nERROR: something real\nINFO: more\n")
    os.write(2, b"INFO: after\n")
    assert capfd.readouterr().err == "ERROR: something real\nINFO: after\n"


def test_notes_pass_through_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), batch._hushed():
        os.write(2, b"WARNING: look\n")
        raise ValueError("wrong")
    assert capfd.readouterr().err == "WARNING: look\n"


def test_a_closed_standard_error_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", refuse)
    with batch._hushed():
        ran = True
    assert ran


def test_the_interpreter_is_quiet(mirror: object, capfd: pytest.CaptureFixture[str]) -> None:
    Options(model_type="listen", hush=True).load()
    sys.stderr.flush()
    assert "INFO" not in capfd.readouterr().err
