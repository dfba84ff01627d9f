"""The samples beside a log-mel as constants of C: their rate, loudness and companding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from listen_embed.device.steps import Array
from listen_embed.frontend import HEADROOM, LEAST_RMS, MU, low_pass
from listen_embed.graph import TensorInfo
from listen_embed.spec import WAVE_RATE, FrontEnd


def constants(front_end: FrontEnd, taken: TensorInfo, at: int) -> dict[str, Any]:
    """Return the macros of listen_model.h that tell of a waveform, without their prefix.

    Parameters
    ----------
    front_end : FrontEnd
    taken : TensorInfo
        The network's second input.
    at : int
        Its place in the arena.
    """
    factor = front_end.sample_rate // WAVE_RATE
    return {
        "WAVE_SAMPLES": front_end.wave_samples,
        "WAVE_AT": at,
        "WAVE_SCALE": taken.scales[0],
        "WAVE_ZERO": f"({taken.zero_points[0]})",
        "WAVE_STEP": factor,
        "WAVE_TAPS": len(low_pass(factor)),
        "WAVE_HEADROOM": HEADROOM,
        "WAVE_LEAST_RMS": LEAST_RMS,
        "WAVE_MU": MU,
        "WAVE_LOG": math.log1p(MU),
    }


def tables(front_end: FrontEnd) -> dict[str, Array]:
    """Return the constant arrays of a waveform by their names in C; none where there is none."""
    if not has_wave(front_end):
        return {}
    taps = low_pass(front_end.sample_rate // WAVE_RATE)
    return {"listen_low_pass": Array("float", taps.astype(np.float32))}


def has_wave(front_end: FrontEnd) -> bool:
    """Whether a network hears samples beside its log-mel."""
    return front_end.features == "log-mel+waveform"


def sample_bytes(front_end: FrontEnd, are_float: bool) -> int:
    """Return the bytes of RAM that a frame's samples take until it is complete."""
    return front_end.frame_samples * (4 if are_float else 2) if has_wave(front_end) else 0
