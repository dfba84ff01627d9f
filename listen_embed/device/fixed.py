"""Constants of the front end in integers, for parts without a floating-point unit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.picture import DB_OF_NEPER, is_cosine, slopes_within, sums_to_one
from listen_embed.device.steps import Array
from listen_embed.errors import InputError
from listen_embed.frontend import window_of
from listen_embed.graph import TensorInfo
from listen_embed.spec import FrontEnd

_ENERGY_SHIFT = 12
_WEIGHT_BITS = 15
_SUM_BITS = 15  # of a sample, and what the transform's length and the window add to it
_PIXEL_BITS, _LOG_BITS = 20, 20


def check(front_end: FrontEnd, taken: TensorInfo, samples: str) -> None:
    """Raise `InputError` where there is no integer form of a front end."""
    needed = {
        "samples": (samples, "int16"),
        "activations": (taken.type.lower(), "int8"),
        "features": (front_end.features, "log-mel"),
        "power": (front_end.power, 2),
        "mel_root": (front_end.mel_root, False),
        "reference": (front_end.reference, "none"),
        "dynamic_range": (front_end.dynamic_range, 0),
    }
    wrong = [f"{name}={is_!r}" for name, (is_, wanted) in needed.items() if is_ != wanted]
    if wrong or not front_end.n_mels:
        found = ", ".join(wrong or ["n_mels=0"])
        raise InputError(f"there is no front end in integers for {found}; take the float one")


def constants(front_end: FrontEnd, taken: TensorInfo) -> dict[str, Any]:
    """Return the macros of listen_model.h that the integers need, without their prefix."""
    guard = _guard_bits(front_end)
    # What an energy of 1 is after all shifts; the largest weight of a band is _WEIGHT_BITS.
    unit = 2.0 ** (2 * (15 + guard) - _ENERGY_SHIFT + _WEIGHT_BITS) / _largest_weight(front_end)
    neper = DB_OF_NEPER if front_end.log == "db" else 1.0
    steps = front_end.scale / taken.scales[0]
    bias = (front_end.shift - math.log2(unit) * math.log(2) * neper) * steps + taken.zero_points[0]
    factor = math.log(2) * neper * steps
    return {
        "GUARD_BITS": guard,
        "PREEMPHASIS_Q14": round(front_end.preemphasis * (1 << 14)),
        "ENERGY_SHIFT": _ENERGY_SHIFT,
        "LOG_FLOOR_FIXED": f"UINT64_C({round(front_end.log_floor * unit)})",
        "LOG_OFFSET_FIXED": f"UINT64_C({max(1, round(front_end.log_offset * unit))})",
        "PIXEL_FACTOR": f"INT64_C({round(factor * (1 << _PIXEL_BITS))})",
        "PIXEL_BIAS": f"INT64_C({round((bias + 0.5) * (1 << (_PIXEL_BITS + _LOG_BITS)))})",
    }


def tables(front_end: FrontEnd) -> dict[str, Array]:
    """Return the constant arrays of the front end by their names in C."""
    n = front_end.n_fft
    turns = np.cos(2 * np.pi * np.arange(n // 2 + 1) / n) * (1 << 31)
    logarithms = np.log2(1 + np.arange(65) / 64) * (1 << _LOG_BITS)
    found = {
        "listen_cosines": _whole("int32_t", np.clip(turns, -(1 << 31), (1 << 31) - 1)),
        "listen_logarithms": _whole("int32_t", logarithms),
    }
    if not is_cosine(front_end):
        half = -(-front_end.window_samples // 2)
        found["listen_window"] = _whole("uint16_t", window_of(front_end)[: half + 1] * 65535.0)
    edges, rise, fall = slopes_within(front_end)
    if not sums_to_one(front_end):
        rise, fall = _used(edges, rise, fall)
    raised = (1 << _WEIGHT_BITS) / _largest_weight(front_end)
    found["listen_mel_edges"] = _whole("uint16_t", edges)
    found["listen_rise"] = _whole("uint16_t", rise.astype(np.float64) * raised)
    if not sums_to_one(front_end):
        found["listen_fall"] = _whole("uint16_t", fall.astype(np.float64) * raised)
    return found


def _guard_bits(front_end: FrontEnd) -> int:
    """Return the bits that samples may gain before sums of the transform overflow."""
    doubled = 1 if front_end.preemphasis else 0
    return _SUM_BITS - (front_end.n_fft.bit_length() - 1) - doubled


def _largest_weight(front_end: FrontEnd) -> float:
    if sums_to_one(front_end):
        return 1.0
    rise, fall = _used(*slopes_within(front_end))
    return float(max(rise.max(), fall.max()))


def _used(
    edges: NDArray[np.intp], rise: NDArray[np.float32], fall: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slopes that are 0 where there is no band to rise or to fall in."""
    first, last = edges[1] - edges[0], edges[-2] - edges[0]
    fall, rise = fall.copy(), rise.copy()
    fall[:first], rise[last:] = 0, 0
    return rise, fall


def _whole(kind: str, values: NDArray[Any]) -> Array:
    return Array(kind, np.rint(np.asarray(values, np.float64)).astype(np.int64))
