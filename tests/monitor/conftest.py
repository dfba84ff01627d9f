"""Fixtures of the monitor's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .world import (
    BROKER_CONFIG,
    Broker,
    end_all,
    free_port,
    needs,
    sound,
    write_wav,
)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """End what a test started."""
    yield
    end_all()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Start brokers, with more configuration where wanted; stop them in the end."""
    program = needs("mosquitto")
    brokers: list[Broker] = []

    def make(extra: str = "", anonymous: str = "true") -> Broker:
        folder = tmp_path / f"broker{len(brokers)}"
        folder.mkdir()
        port = free_port()
        text = BROKER_CONFIG.format(port=port, folder=folder, extra=extra, anonymous=anonymous)
        brokers.append(Broker(program, folder, port, text))
        brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop(kill=True)


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A broker that lets everybody in."""
    return make_broker()


MODEL = "logmel/128/16k"
RATE = 16000


@pytest.fixture(scope="session")
def machine_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine of three states, learnt with a real model from ten seconds of each."""
    from listen_embed.embedder import Embedder
    from listen_embed.monitor.adapt import adapt

    clips = tmp_path_factory.mktemp("clips")
    for number, state in enumerate(("off", "low", "high")):
        (clips / state).mkdir()
        write_wav(clips / state / "a.wav", sound((state, 10.0), rate=RATE, seed=number), RATE)
    embedder = Embedder(MODEL, hop_size=0.25, center=False, threads=1)
    path = clips / "machine.npz"
    adapt(clips, embedder).machine.save(path)
    return path
