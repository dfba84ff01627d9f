"""Lines for a person are printable, go to standard error, and keep quiet when asked."""

from __future__ import annotations

import warnings

import pytest

from listen_embed.console import Console, printable
from listen_embed.errors import ListenEmbedWarning
from listen_embed.progress import Bar


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Küche/車.wav: ok", "Küche/車.wav: ok"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("bad\udcffname", "bad\\udcffname"),
        ("a\rb\tc", "a\\rb\\tc"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("something happened")
    console.note("by the way")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "listen-embed: something happened\nlisten-embed: by the way\n"


def test_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(is_quiet=True)
    console.say("something happened")
    console.note("by the way")
    assert capsys.readouterr().err == "listen-embed: something happened\n"


def test_a_path_of_ours_is_shown_under_its_alias(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.aliases["/tmp/x/stdin"] = "stdin"
    console.say("/tmp/x/stdin: not readable as audio")
    assert capsys.readouterr().err == "listen-embed: stdin: not readable as audio\n"


def test_a_line_does_not_run_into_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    with Bar([10.0], patience=0.0) as console.progress:
        console.progress.reach(5.0)
        console.say("between")
    assert "\rlisten-embed: between\n" in capsys.readouterr().err


def test_warnings_of_ours_become_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().showing_warnings():
        warnings.warn("a.wav is silent", ListenEmbedWarning, stacklevel=1)
        warnings.warn("a.wav is silent", ListenEmbedWarning, stacklevel=1)
    assert capsys.readouterr().err == "listen-embed: warning: a.wav is silent\n" * 2


def test_other_warnings_keep_their_way() -> None:
    with Console().showing_warnings(), pytest.warns(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
