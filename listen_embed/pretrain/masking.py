"""Which patches an encoder does not see.

Source: Gong et al., "SSAST" (AAAI 2022), section 2.3; Atito et al., "ASiT" (TASLP 2024), section
III-A, and "SiT" (2104.03602), whose groups of patches it takes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_CLUSTER_SIDES = (3, 4, 5)


def clusters(grid: tuple[int, int], n_masked: int, rng: np.random.Generator) -> Mask:
    """Return SSAST's mask: squares of 3 to 5 patches a side until enough are hidden.

    Parameters
    ----------
    grid : (int, int)
        Patches over frequency and over time; one row of patches gets stretches of time.
    n_masked : int
        Exactly so many patches are hidden, at most all of them.
    rng : Generator

    Returns
    -------
    ndarray, bool (grid[0] * grid[1],)
    """
    side = int(rng.choice(_CLUSTER_SIDES))
    mask = np.zeros(grid, bool)
    while mask.sum() < n_masked:
        low, left = (int(rng.integers(n)) for n in grid)
        mask[low : low + side, left : left + side] = True
    return _without(mask.ravel(), int(mask.sum()) - n_masked, rng)


def groups(grid: tuple[int, int], share: float, rng: np.random.Generator) -> Mask:
    """Return ASiT's mask: connected blocks of any size and shape until a share is hidden.

    Parameters
    ----------
    grid : (int, int)
    share : float
        Of the patches, in (0, 1).
    rng : Generator

    Returns
    -------
    ndarray, bool (grid[0] * grid[1],)
    """
    wanted = round(share * grid[0] * grid[1])
    mask = np.zeros(grid, bool)
    while mask.sum() < wanted:
        sides = [int(rng.integers(1, max(2, n // 2 + 1))) for n in grid]
        low, left = (int(rng.integers(n - side + 1)) for n, side in zip(grid, sides, strict=True))
        mask[low : low + sides[0], left : left + sides[1]] = True
    return _without(mask.ravel(), int(mask.sum()) - wanted, rng)


def _without(mask: Mask, n_too_many: int, rng: np.random.Generator) -> Mask:
    """Show some hidden patches again, so that every clip hides as many."""
    mask[rng.choice(np.flatnonzero(mask), n_too_many, replace=False)] = False
    return mask
