"""A bounded memory in which everything that ever came has the same chance to be.

Source: Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical Software 11,
1985, algorithm R.
"""

from __future__ import annotations

import numpy as np


def slot(number: int, capacity: int, seed: int) -> int | None:
    """Return the place of the embedding that comes as `number`, from 0; None: it is not kept.

    The draw depends on seed and number alone, so one by one and all at once keep the same.
    """
    if number < capacity:
        return number
    drawn = int(np.random.default_rng([seed, number]).integers(number + 1))
    return drawn if drawn < capacity else None
