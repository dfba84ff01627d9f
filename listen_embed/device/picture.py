"""A front end as constants of C: tables, and when which column of which frame is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.device.steps import Array
from listen_embed.errors import InputError
from listen_embed.frontend import mel_matrix, window_of
from listen_embed.spec import FrontEnd

DB_OF_NEPER = 10 / math.log(10)
_SLOPE_TOLERANCE = 1e-6


def check(front_end: FrontEnd) -> None:
    """Raise `InputError` where there is no C for a front end."""
    if front_end.features == "waveform" or front_end.normalise != "none":
        raise InputError(
            "there is C for log-mels of frames as they are; this front end has "
            f"features={front_end.features!r}, normalise={front_end.normalise!r}"
        )
    if front_end.n_fft & (front_end.n_fft - 1) or front_end.n_fft < 8:
        raise InputError(f"n_fft is {front_end.n_fft}; C takes powers of two from 8")
    if not Columns.of(front_end).n_inner:
        raise InputError("every column of a frame is padded; C needs one that is not")


@dataclass(frozen=True)
class Columns:
    """The columns of a frame: those that reach beyond its ends, and those that frames share.

    Attributes
    ----------
    n_left, n_inner, n_right : int
        They come in this order.
    first_at : int
        Where the window of column 0 begins, in samples of the frame.
    """

    n_left: int
    n_inner: int
    n_right: int
    first_at: int

    @classmethod
    def of(cls, front_end: FrontEnd) -> Columns:
        """Return the columns of a front end."""
        first_at = (front_end.n_fft - front_end.window_samples) // 2 - front_end.pad_left
        begins = [first_at + i * front_end.hop_samples for i in range(front_end.n_steps)]
        last = front_end.signal_samples - front_end.window_samples
        n_left = sum(begin < 0 for begin in begins)
        n_inner = sum(0 <= begin <= last for begin in begins)
        return cls(n_left, n_inner, front_end.n_steps - n_left - n_inner, first_at)


@dataclass(frozen=True)
class Schedule:
    """When what happens in a stream, in samples; the names are those of listen_model.h."""

    first_inner_ends: int
    first_column_at: int
    columns_to_skip: int
    left_at: int
    left_slots: int
    capacity: int
    ring_columns: int
    hop_columns: int

    @classmethod
    def of(cls, front_end: FrontEnd, frame_hop: int) -> Schedule:
        """Return the schedule of frames that lie `frame_hop` samples apart.

        Raises
        ------
        InputError
            Frames that do not lie whole columns apart.
        """
        hop, frame = front_end.hop_samples, front_end.frame_samples
        if frame_hop < 1 or frame_hop % hop:
            raise InputError(
                f"frames lie {frame_hop} samples apart; in C their step is a multiple of "
                f"{hop} samples ({hop / front_end.sample_rate:g} s), the step between columns"
            )
        columns = Columns.of(front_end)
        reach = front_end.window_samples + (1 if front_end.preemphasis else 0)
        ends = columns.first_at + columns.n_left * hop + reach
        left_at = _on_grid(_left_need(front_end, columns), ends, hop)
        n_ready = (frame - ends) // hop + 1
        last_event = ends + (n_ready - 1) * hop
        right_need = _right_need(front_end, columns)
        capacity = max(reach, hop, left_at if columns.n_left else 0)
        capacity = max(
            capacity, right_need + (hop if last_event < frame else 0) - (frame - last_event)
        )
        return cls(
            first_inner_ends=ends,
            first_column_at=(ends - 1) % hop + 1,
            columns_to_skip=(ends - 1) // hop,
            left_at=left_at,
            left_slots=(frame - left_at) // frame_hop + 1,
            capacity=capacity,
            ring_columns=n_ready,
            hop_columns=frame_hop // hop,
        )


def _on_grid(need: int, ends: int, hop: int) -> int:
    """Return the first moment, of those when columns end, at which `need` samples are there."""
    first = (ends - 1) % hop + 1
    return first + max(0, -(-(need - first) // hop)) * hop


def _left_need(front_end: FrontEnd, columns: Columns) -> int:
    """Return how many samples of a frame its left columns need."""
    last = columns.first_at + (columns.n_left - 1) * front_end.hop_samples
    reached = [last + front_end.window_samples]
    if front_end.padding == "reflect":
        reached.append(1 - columns.first_at)
    return max(1, *reached) + (1 if front_end.preemphasis else 0)


def _right_need(front_end: FrontEnd, columns: Columns) -> int:
    """Return how many of a frame's last samples its right columns need."""
    if not columns.n_right:
        return 0
    n_before = columns.n_left + columns.n_inner
    begin = columns.first_at + n_before * front_end.hop_samples
    end = columns.first_at + (front_end.n_steps - 1) * front_end.hop_samples
    beyond = end + front_end.window_samples - front_end.signal_samples
    first = begin
    if front_end.padding == "reflect":
        first = min(begin, front_end.signal_samples - 1 - beyond)
    return front_end.frame_samples - first


def constants(front_end: FrontEnd, frame_hop: int) -> dict[str, Any]:
    """Return the macros of listen_model.h that tell of the front end, without their prefix."""
    columns, schedule = Columns.of(front_end), Schedule.of(front_end, frame_hop)
    return {
        "SAMPLE_RATE": front_end.sample_rate,
        "FRAME_SAMPLES": front_end.frame_samples,
        "FRAME_HOP": frame_hop,
        "FFT": front_end.n_fft,
        "FFT_BITS": front_end.n_fft.bit_length() - 1,
        "WINDOW": front_end.window_samples,
        "WINDOW_IS_COSINE": int(is_cosine(front_end)),
        "WINDOW_SYMMETRY": front_end.window_samples - int(front_end.window == "hann-symmetric"),
        "HAS_PREEMPHASIS": int(bool(front_end.preemphasis)),
        "PREEMPHASIS": float(front_end.preemphasis),
        "SIGNAL_SAMPLES": front_end.signal_samples,
        "PADS_BY_REFLECTION": int(front_end.padding == "reflect"),
        "POWER": front_end.power,
        "HAS_MELS": int(bool(front_end.n_mels)),
        "MEL_SLOPES_SUM_TO_ONE": int(sums_to_one(front_end)),
        "MEL_ROOT": int(front_end.mel_root),
        "LOG_FLOOR": float(front_end.log_floor),
        "LOG_OFFSET": float(front_end.log_offset),
        "LOG_UNIT": DB_OF_NEPER if front_end.log == "db" else 1.0,
        "DEPENDS_ON_FRAME": int(_depends_on_frame(front_end)),
        "SUBTRACTS_PEAK": int(front_end.reference == "frame-max"),
        "DYNAMIC_RANGE": float(front_end.dynamic_range),
        "SHIFT": float(front_end.shift),
        "SCALE": float(front_end.scale),
        "BANDS": front_end.n_bands,
        "STEPS": front_end.n_steps,
        "LEFT_COLUMNS": columns.n_left,
        "INNER_COLUMNS": columns.n_inner,
        "RIGHT_COLUMNS": columns.n_right,
        "COLUMN_0_AT": f"({columns.first_at})",
        "COLUMN_HOP": front_end.hop_samples,
        "FIRST_INNER_ENDS": schedule.first_inner_ends,
        "FIRST_COLUMN_AT": schedule.first_column_at,
        "COLUMNS_TO_SKIP": schedule.columns_to_skip,
        "LEFT_AT": schedule.left_at,
        "LEFT_SLOTS": schedule.left_slots,
        "CAPACITY": schedule.capacity,
        "RING_COLUMNS": schedule.ring_columns,
        "HOP_COLUMNS": schedule.hop_columns,
        "FRONT_END_BYTES": scratch_bytes(front_end),
    }


def scratch_bytes(front_end: FrontEnd) -> int:
    """Return the bytes of the arena that a column needs while it is computed."""
    return 4 * front_end.n_fft + 8  # in integers the last bin has a place of its own


def column_bytes(front_end: FrontEnd, frame_hop: int, are_float: bool = False) -> int:
    """Return the bytes of RAM that columns are kept in; `are_float`: as the network takes them."""
    columns, schedule = Columns.of(front_end), Schedule.of(front_end, frame_hop)
    n = schedule.ring_columns + columns.n_left * schedule.left_slots + columns.n_right
    return n * front_end.n_bands * (4 if are_float or _depends_on_frame(front_end) else 1)


def sample_bytes(front_end: FrontEnd, frame_hop: int, are_float: bool) -> int:
    """Return the bytes of RAM that samples are kept in."""
    return Schedule.of(front_end, frame_hop).capacity * (4 if are_float else 2)


def tables(front_end: FrontEnd) -> dict[str, Array]:
    """Return the constant arrays of the front end by their names in C."""
    n = front_end.n_fft
    found = {"listen_cosines": _floats(np.cos(2 * np.pi * np.arange(n // 2 + 1) / n))}
    if not is_cosine(front_end):
        half = -(-front_end.window_samples // 2)
        found["listen_window"] = _floats(window_of(front_end)[: half + 1])
    if front_end.n_mels:
        found |= _mel_tables(front_end)
    return found


def _mel_tables(front_end: FrontEnd) -> dict[str, Array]:
    edges, rise, fall = slopes_within(front_end)
    found = {"listen_mel_edges": Array("uint16_t", edges), "listen_rise": _floats(rise)}
    if not sums_to_one(front_end):
        found["listen_fall"] = _floats(fall)
    return found


def slopes_within(
    front_end: FrontEnd,
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Return a filter bank by its slopes.

    Between two edges every bin rises in one band, and falls in the one before. No band falls in the
    first gap, none rises in the last; there each slope completes the other.

    Returns
    -------
    edges : ndarray, intp (n_mels + 2,)
        The first bin of each of the n_mels + 1 gaps, and the bin after the last.
    rise, fall : ndarray, float32
        Of the bins between.
    """
    weights = mel_matrix(front_end)
    n_mels = weights.shape[1]
    used = np.flatnonzero(weights.any(axis=1))
    bins = np.arange(used[0], used[-1] + 1)
    gaps = np.maximum.accumulate([_gap_of(weights, i) for i in bins])
    edges = used[0] + np.searchsorted(gaps, np.arange(n_mels + 2))
    padded = np.pad(weights, ((0, 0), (1, 1)))
    rise, fall = padded[bins, gaps + 1], padded[bins, gaps]
    rise[gaps == n_mels] = 1 - fall[gaps == n_mels]
    fall[gaps == 0] = 1 - rise[gaps == 0]
    return edges, rise, fall


def _gap_of(weights: NDArray[np.float32], i: int) -> int:
    """Return between which edges a bin lies; 0 where it is in no band."""
    bands = np.flatnonzero(weights[i])
    if len(bands) != 1:
        return int(bands[-1]) if len(bands) else 0
    band, peak = int(bands[0]), int(weights[:, bands[0]].argmax())
    is_falling = i > peak or (i == peak and band == weights.shape[1] - 1)
    return band + int(is_falling)


def sums_to_one(front_end: FrontEnd) -> bool:
    """Whether one slope tells the other, which saves a table."""
    if not front_end.n_mels:
        return False
    _, rise, fall = slopes_within(front_end)
    return bool(np.abs(rise + fall - 1).max() < _SLOPE_TOLERANCE)


def _floats(values: NDArray[Any]) -> Array:
    return Array("float", values.astype(np.float32))


def is_cosine(front_end: FrontEnd) -> bool:
    """Whether the window is made of the Fourier transform's own cosines."""
    return front_end.window == "hann" and front_end.window_samples == front_end.n_fft


def _depends_on_frame(front_end: FrontEnd) -> bool:
    return front_end.reference == "frame-max" or front_end.dynamic_range > 0
