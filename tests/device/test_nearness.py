"""How near is near: rounding passes, anything more does not."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.device.nearness import apart, near_networks, near_pictures
from listen_embed.errors import ListenEmbedError

WANTED = np.linspace(-1, 4, 1000, dtype=np.float32).reshape(10, 100)


def off_by(share: float, n: int = 1) -> object:
    given = WANTED.copy()
    given.ravel()[:n] += np.float32(4 * share)
    return given


def test_shares_are_of_the_largest_value() -> None:
    assert apart(WANTED, off_by(0.25)) == pytest.approx(0.25)
    assert near_networks(WANTED, off_by(5e-6)) == pytest.approx(5e-6, rel=0.1)
    assert near_pictures(WANTED, off_by(5e-5, 10)) == 0.99


@pytest.mark.parametrize("share", [2e-5, float("nan")])
def test_networks_that_differ_are_refused(share: float) -> None:
    with pytest.raises(ListenEmbedError, match="the networks differ by"):
        near_networks(WANTED, off_by(share))


@pytest.mark.parametrize(("share", "n"), [(6e-4, 1), (5e-5, 20), (float("nan"), 1)])
def test_log_mels_that_differ_are_refused(share: float, n: int) -> None:
    with pytest.raises(ListenEmbedError, match="the log-mels differ"):
        near_pictures(WANTED, off_by(share, n))
