"""The microphone, through a stand-in for sounddevice."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.errors import MissingExtraError
from listen_embed.monitor.sources import microphone, open_source

from ..world import play, sound

SAMPLES = sound(("low", 2.0), ("high", 1.0))


def test_the_microphone_through_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        n_reads = 0

        def __init__(self, **options: object) -> None:
            assert (options["samplerate"], options["device"], options["channels"]) == (8000, 3, 2)

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, n: int) -> tuple[np.ndarray, bool]:
            Stream.n_reads += 1
            if Stream.n_reads > 3:
                raise Sounddevice.PortAudioError("unplugged")
            return np.full((n, 2), [0.2, 0.4], np.float32), Stream.n_reads == 2

    class Sounddevice:
        InputStream = Stream

        class PortAudioError(Exception):
            pass

    monkeypatch.setattr(microphone, "load_sounddevice", lambda: Sounddevice)
    samples, notices = play(open_source("mic:3?sr=8000&channels=2"))
    assert notices == ["lost", "ended"]
    np.testing.assert_allclose(samples, np.full(2400, 0.3), rtol=1e-6)


def test_no_sounddevice_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match="pip install sounddevice"):
        open_source("mic:")
