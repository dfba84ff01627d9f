"""bfloat16 where the processor has matrix units for it, float32 elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch


@lru_cache(maxsize=1)
def has_matrix_units() -> bool:
    """Whether products in bfloat16 are many times as fast as in float32 here."""
    is_tiled = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(is_tiled and is_tiled())


def mixed() -> AbstractContextManager[Any]:
    """Return a context in which forward passes take bfloat16 where that pays."""
    context: AbstractContextManager[Any] = torch.autocast(
        "cpu", torch.bfloat16, enabled=has_matrix_units()
    )
    return context
