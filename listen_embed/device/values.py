"""Of what type a network's values are in C, and what its integers stand for."""

from __future__ import annotations

from typing import Any

from listen_embed.graph import TensorInfo


def is_float(tensor: TensorInfo) -> bool:
    """Whether a tensor holds real values as they are."""
    return tensor.type == "FLOAT32"


def kind_of(tensor: TensorInfo) -> str:
    """Return the C type of one value."""
    return "float" if is_float(tensor) else f"{tensor.type.lower()}_t"


def constants(taken: TensorInfo, given: TensorInfo) -> dict[str, Any]:
    """Return the macros of listen_model.h about values, without their prefix."""
    if is_float(taken):
        return {"VALUES_ARE_FLOAT": 1, "OUTPUT_SCALE": 1.0, "OUTPUT_ZERO": "(0)"}
    return {
        "VALUES_ARE_FLOAT": 0,
        "INPUT_SCALE": taken.scales[0],
        "INPUT_ZERO": f"({taken.zero_points[0]})",
        "OUTPUT_SCALE": given.scales[0],
        "OUTPUT_ZERO": f"({given.zero_points[0]})",
        "VALUE_MIN": f"{taken.type}_MIN",
        "VALUE_MAX": f"{taken.type}_MAX",
    }
