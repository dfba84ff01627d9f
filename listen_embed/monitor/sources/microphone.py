"""A microphone, through sounddevice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from listen_embed.errors import MissingExtraError
from listen_embed.monitor.block import to_mono
from listen_embed.monitor.sources.pcm import Pcm
from listen_embed.monitor.sources.source import BLOCK_S, Item, Notice, Place, finite, new_clock


class MicrophoneItems:
    """What a sound card records, on a clock of its own."""

    def __init__(self, device: str, pcm: Pcm) -> None:
        self._sounddevice = load_sounddevice()
        self._device = int(device) if device.isdigit() else device or None
        self._pcm = pcm

    def __call__(self, place: Place | None, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the end or `stop`."""
        sounddevice = self._sounddevice
        clock, position = new_clock(), 0
        portion = int(self._pcm.rate * BLOCK_S)
        try:
            with sounddevice.InputStream(
                samplerate=self._pcm.rate,
                device=self._device,
                channels=self._pcm.channels,
                dtype="float32",
                blocksize=portion,
            ) as stream:
                while not stop.is_set():
                    samples, overflowed = stream.read(portion)
                    if overflowed:
                        yield Notice("lost", "the sound card's buffer overflowed")
                    yield finite(to_mono(samples), self._pcm.rate, position, clock)
                    position += len(samples)
        except sounddevice.PortAudioError as error:
            yield Notice("ended", str(error))


def load_sounddevice() -> Any:
    """Return the package, or raise `MissingExtraError`."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio itself is missing
        raise MissingExtraError(
            f"mic: needs sounddevice and PortAudio ({error}). Install with: "
            'pip install sounddevice (Debian also: apt install libportaudio2), or use "stdin:"'
        ) from error
    return sounddevice
