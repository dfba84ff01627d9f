"""Networks of 16-bit activations against LiteRT and TFLite Micro, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry, store

from .one import Values, by_litert, by_tflm, in_c, model

WORKSHOP = "listen/64/workshop"


def pictures(n: int = 4) -> Any:
    """Return inputs of workshop: smooth ones, and noise at full scale."""
    chance = np.random.default_rng(0)
    smooth = np.cumsum(chance.normal(0, 1500, (n, 1, 128, 46, 1)), axis=3)
    smooth[0] = chance.integers(-32768, 32768, smooth[0].shape)
    return np.clip(smooth, -32768, 32767).astype(np.int16)


def sums(name: str, scales: tuple[float, float, float], rows: int = 300) -> bytes:
    shape = (rows, 40)
    chance = np.random.default_rng(1)
    other = chance.integers(-32768, 32768, shape).astype(np.int16)
    kind = {"dtype": np.int16}
    tensors = [
        Values(shape, scales[0], **kind),
        Values(shape, scales[1], 0, other),
        Values(shape, scales[2], **kind),
    ]
    return model(name, tensors, f"{name.title()}Options")


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("mode", ["xnn", "reference"])
def test_workshop_equals_its_interpreter(mode: Any, tmp_path: Path) -> None:
    content = store.load(registry.find(WORKSHOP))
    run = in_c(content, tmp_path / "network", mode)
    interpreter = by_litert if mode == "xnn" else by_tflm
    for picture in pictures():
        assert np.array_equal(run(picture).view(np.int16), interpreter(content, picture))


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_sums_round_as_litert_does(name: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    for trial in range(4):
        scales = [float(np.float32(x)) for x in chance.uniform(1e-4, 6e-4, 3)]
        content = sums(name, (scales[0], scales[1], scales[2] + 2e-4))
        run = in_c(content, tmp_path / str(trial))
        given = chance.integers(-32768, 32768, (300, 40)).astype(np.int16)
        assert np.array_equal(run(given).view(np.int16), by_litert(content, given))
