"""How near the real values of a float network in C are to Python's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import ListenEmbedError

Floats = NDArray[Any]  # float32

# Of the largest value: what C and Python may be apart by their order of summing, and for a log-mel
# what a quiet band beside a loud one may, whose energy is all rounding, in Python as in C: 1.3e-4
# at 48 kHz, where windows have 4096 samples.
NEAR, _PICTURE_LIMIT = 1e-5, 5e-4
_LEAST_NEAR = 0.99


@dataclass(frozen=True, slots=True)
class Nearness:
    """The largest differences of values, as shares of the largest value.

    Attributes
    ----------
    pictures : float
        Share of the values of log-mels that are near.
    networks : float
        Of embeddings of equal log-mels.
    embeddings : float
        Of embeddings of the same sound.
    """

    pictures: float
    networks: float
    embeddings: float


def apart(wanted: Floats, given: Floats) -> float:
    """Return the largest difference, as a share of the largest value."""
    return float(np.abs(wanted - given).max() / np.abs(wanted).max())


def near_pictures(wanted: Floats, given: Floats) -> float:
    """Return the share of the values of log-mels that are near to each other.

    Raises
    ------
    ListenEmbedError
        Too few are, or one is far off.
    """
    largest = apart(wanted, given)
    near = float((np.abs(wanted - given) <= NEAR * np.abs(wanted).max()).mean())
    if not largest <= _PICTURE_LIMIT or near < _LEAST_NEAR:
        raise ListenEmbedError(
            f"the log-mels differ: {near:.2%} of the values are near, one is {largest:.1e} of the "
            "largest value off"
        )
    return near


def near_networks(wanted: Floats, given: Floats) -> float:
    """Return how far embeddings of equal log-mels are apart; see `apart`.

    Raises
    ------
    ListenEmbedError
        It is more than rounding.
    """
    largest = apart(wanted, given)
    if not largest <= NEAR:
        raise ListenEmbedError(f"the networks differ by {largest:.1e} of the largest value")
    return largest
