"""The bar counts seconds of audio, waits a moment before it shows, and makes room for lines."""

from __future__ import annotations

import pytest

from listen_embed.progress import Bar, Unseen


def test_a_bar_counts_seconds_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar([10.0, 30.0], patience=0.0) as bar:
        bar.reach(5.0)
        assert bar._bar.n == 5.0
        bar.finish_file()
        assert bar._bar.n == 10.0
        bar.reach(15.0)
        assert bar._bar.n == 25.0
        bar.finish_file()
        assert bar._bar.n == 40.0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1/2 files" in shown.err
    assert "/40 s of audio" in shown.err
    assert "left]" in shown.err


def test_a_quick_batch_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar([10.0], patience=3600.0) as bar:
        bar.reach(5.0)
        bar.clear()
        bar.finish_file()
    assert capsys.readouterr().err == ""


def test_a_bar_never_passes_the_length_stated(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar([10.0, 0.0], patience=0.0) as bar:
        bar.reach(11.5)
        assert bar._bar.n == 10.0
        for _ in range(3):
            bar.finish_file()
        bar.reach(99.0)
        assert bar._bar.n == 109.0  # a file nobody announced
    assert "%" in capsys.readouterr().err


def test_a_bar_lets_lines_pass(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar([10.0], patience=0.0) as bar:
        bar.reach(5.0)
        capsys.readouterr()
        bar.clear()
        assert capsys.readouterr().err.strip() == ""


def test_no_bar_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Unseen() as bar:
        bar.reach(5.0)
        bar.finish_file()
        bar.clear()
    assert capsys.readouterr().err == ""
