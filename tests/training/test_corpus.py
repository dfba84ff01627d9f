"""A folder of recordings as crops: what is kept, what is left out, and what a second call finds."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed import audio
from listen_embed.errors import InputError
from listen_embed.training import corpus
from listen_embed.training.corpus import Corpus

from .sounds import SR, decibels, noise, rms, silence, tone, write


def built(folder: Path, sr: int = SR, **recordings: Any) -> Corpus:
    """Write recordings, in alphabetical order, and build a corpus of them."""
    for name, samples in recordings.items():
        write(folder / "recordings" / f"{name}.wav", samples)
    found = corpus.find_recordings([folder / "recordings"])
    return corpus.build(found, folder / "corpus", sr, progress=False)


def test_crops_are_the_recordings_seconds(tmp_path: Path) -> None:
    first, second = noise(3, seed=1, level=0.1), noise(2.25, seed=2, level=0.01)
    made = built(tmp_path, a=first, b=second)
    assert made.sr == SR
    assert len(made) == 5  # the last quarter of a second is too short for a crop of its own
    assert made.starts.tolist() == [0, SR, 2 * SR, 3 * SR, 4 * SR]
    assert made.recording.tolist() == [0, 0, 0, 1, 1]
    assert made.bounds.tolist() == [0, 3 * SR, 3 * SR + len(second)]
    np.testing.assert_allclose(made.crop(1, SR), first[SR : 2 * SR], atol=1e-4)
    np.testing.assert_allclose(made.loudness_db, [-20, -20, -20, -40, -40], atol=0.3)


def test_half_a_second_and_more_is_a_crop(tmp_path: Path) -> None:
    assert len(built(tmp_path / "more", a=noise(2.6))) == 3
    assert len(built(tmp_path / "less", a=noise(2.4))) == 2


def test_crops_shift_but_stay_inside_their_recording(tmp_path: Path) -> None:
    first, second = noise(2, seed=1), noise(3, seed=2)
    made = built(tmp_path, a=first, b=second)
    shifted = made.crop(3, SR, shift=-400)
    np.testing.assert_allclose(shifted, second[SR - 400 : 2 * SR - 400], atol=1e-4)
    for index, shift, expected in [
        (0, -4000, first[:SR]),
        (1, 4000, first[-SR:]),
        (2, -4000, second[:SR]),
        (4, 10**6, second[-SR:]),
    ]:
        np.testing.assert_allclose(made.crop(index, SR, shift), expected, atol=1e-4)
    assert made.crop(0, SR).dtype == np.float32


def test_short_recordings_repeat(tmp_path: Path) -> None:
    short = noise(0.3)
    made = built(tmp_path, a=short)
    assert len(made) == 1
    np.testing.assert_allclose(made.crop(0, SR, 99), np.resize(short, SR), atol=1e-4)


def test_silence_is_left_out(tmp_path: Path) -> None:
    sound = np.concatenate([silence(2), noise(1, 1), silence(1), noise(2, 2), silence(3)])
    made = built(tmp_path, a=sound, b=silence(4), c=noise(1, 3, level=0.0005))  # c: -66 dB
    assert len(made) == 3
    assert made.recording.tolist() == [0, 1, 1]  # two runs, which no crop straddles
    assert len(made.samples) == 3 * SR
    np.testing.assert_allclose(made.crop(0, SR), sound[2 * SR : 3 * SR], atol=1e-4)


def test_repeats_are_left_out(tmp_path: Path) -> None:
    loop = noise(1, seed=5)
    made = built(tmp_path, a=noise(3, 1), b=noise(3, 1), c=np.tile(loop, 4), d=noise(2, 4))
    assert len(made) == 3 + 0 + 1 + 2


def test_stereo_is_averaged_and_rates_are_converted(tmp_path: Path) -> None:
    left, right = tone(440, 2), tone(880, 2)
    write(tmp_path / "recordings/stereo.flac", np.stack([left, right], axis=1))
    write(tmp_path / "recordings/wide.wav", tone(440, 2, sr=44_100), 44_100)
    made = built(tmp_path)
    np.testing.assert_allclose(made.crop(0, SR), (left + right)[:SR] / 2, atol=1e-4)
    wide = made.crop(2, SR)
    spectrum = np.abs(np.fft.rfft(wide))
    assert spectrum.argmax() == 440
    assert decibels(rms(wide) / 0.1) == pytest.approx(0, abs=0.1)


def test_long_recordings_stream(tmp_path: Path) -> None:
    sound = noise(25, seed=3)
    made = built(tmp_path, a=sound)
    assert len(made) == 25
    assert np.diff(made.bounds).max() <= 10 * SR
    together = np.concatenate([made.crop(i, SR) for i in range(25)])
    np.testing.assert_allclose(together, sound, atol=1e-4)


def test_clipped_audio_does_not_wrap(tmp_path: Path) -> None:
    import soundfile

    (tmp_path / "recordings").mkdir()
    loud = 3 * tone(100, 1, level=0.7)
    soundfile.write(tmp_path / "recordings/loud.wav", loud, SR, subtype="FLOAT")
    np.testing.assert_allclose(built(tmp_path).crop(0, SR), loud.clip(-1, 1), atol=1e-3)


def test_broken_files_are_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "recordings"
    write(folder / "good.wav", noise(2))
    (folder / "broken.wav").write_bytes(b"RIFF but not for long")
    (folder / "empty.flac").write_bytes(b"")
    (folder / "notes.txt").write_text("no sound, and not looked at")
    with caplog.at_level(logging.WARNING):
        made = built(tmp_path)
    assert len(made) == 2
    assert len(caplog.records) == 2
    assert "left out" in caplog.text
    assert "broken.wav" in caplog.text
    assert "empty.flac" in caplog.text


@pytest.mark.parametrize("content", [silence(3), None])
def test_nothing_left_is_an_error(tmp_path: Path, content: Any) -> None:
    if content is None:
        (tmp_path / "recordings").mkdir()
        (tmp_path / "recordings/broken.wav").write_bytes(b"no")
        content = {}
    else:
        content = {"a": content}
    with pytest.raises(InputError, match="none of 1 recordings has a second above -60 dB"):
        built(tmp_path, **content)
    assert not (tmp_path / "corpus/index.npz").exists()


def test_find_recordings(tmp_path: Path) -> None:
    first = write(tmp_path / "a/deep/down/x.WAV", noise(1))
    second = write(tmp_path / "b.flac", noise(1))
    unusual = tmp_path / "a/recording.dat"
    unusual.write_bytes(b"")
    assert corpus.find_recordings([tmp_path, second]) == [first, second]
    assert corpus.find_recordings([unusual]) == [unusual]  # named, so it is meant
    with pytest.raises(InputError, match="does not exist"):
        corpus.find_recordings([second, tmp_path / "nowhere"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"no sound files .*nothing; known are \.aif"):
        corpus.find_recordings([tmp_path / "nothing"])


# -- a second call -------------------------------------------------------------------------------


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows with every file decoded from now on."""
    seen: list[Path] = []
    genuine = corpus.audio.read_blocks

    def watched(path: Path) -> Any:
        seen.append(path)
        return genuine(path)

    monkeypatch.setattr(corpus.audio, "read_blocks", watched)
    return seen


def test_audio_is_mapped_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(tmp_path, a=noise(3))
    seen = decodes(monkeypatch)
    again = built(tmp_path)
    assert seen == []
    assert isinstance(again.samples, np.memmap)
    assert not again.samples.flags.writeable
    for name in ("samples", "starts", "loudness_db", "recording", "bounds"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_a_changed_recording_or_rate_builds_anew(tmp_path: Path) -> None:
    assert len(built(tmp_path, a=noise(3, 1), b=noise(1, 2))) == 4
    path = write(tmp_path / "recordings/b.wav", noise(1, 3))  # same size, other sound
    os.utime(path, ns=(1, 1))
    made = built(tmp_path)
    np.testing.assert_allclose(made.crop(3, SR), noise(1, 3), atol=1e-4)
    assert len(built(tmp_path, c=noise(2, 4))) == 6
    assert built(tmp_path, sr=16_000).sr == 16_000


class Interrupted(Exception):
    pass


def test_rates_are_converted_as_the_front_end_does(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", noise(2, sr=16_000), 16_000)
    by_soxr = np.array(corpus.build([file], tmp_path / "c", SR, False).samples)
    by_kaiser = corpus.build([file], tmp_path / "c", SR, False, "kaiser_best").samples
    assert not np.array_equal(by_soxr, by_kaiser)
    sound, _ = next(audio.read_blocks(file))
    wanted = audio.rate_converter(16_000, SR, "kaiser_best").push(sound, last=True)
    assert len(by_kaiser) > 15_900  # a rest of a few samples is no crop
    np.testing.assert_allclose(by_kaiser / 32767, wanted[: len(by_kaiser)], atol=1e-4)


def test_an_interrupted_build_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path) -> Any:
        yield noise(3, 9), SR
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(corpus.audio, "read_blocks", interrupt)
        built(tmp_path, a=noise(2, 1))
    assert not (tmp_path / "corpus/index.npz").exists()
    made = built(tmp_path)
    assert len(made) == 2
    np.testing.assert_allclose(made.crop(0, SR), noise(2, 1)[:SR], atol=1e-4)


@pytest.mark.parametrize("end", ["interrupted", "silent"])
def test_a_failed_build_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    built(tmp_path, a=noise(2, 1))
    found = corpus.find_recordings([tmp_path / "recordings"])
    other = write(tmp_path / "other/b.wav", silence(1))

    def interrupt(path: Path) -> Any:
        yield noise(3, 9), SR
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises((Interrupted, InputError)):
        if end == "interrupted":
            patch.setattr(corpus.audio, "read_blocks", interrupt)
        corpus.build([other], tmp_path / "corpus", SR, progress=False)
    seen = decodes(monkeypatch)
    made = corpus.build(found, tmp_path / "corpus", SR, progress=False)
    assert seen == []
    np.testing.assert_allclose(made.crop(1, SR), noise(2, 1)[SR:], atol=1e-4)
