"""A front end in ONNX: one frame of samples -> the picture that the network takes.

Step by step as `listen_embed.frontend` does it, from the same `FrontEnd`; the filter bank and the
window are its own.
"""

from __future__ import annotations

import numpy as np

from listen_embed.frontend import HEADROOM, LEAST_RMS, MU, low_pass, mel_matrix, window_of
from listen_embed.onnx.graph import Graph
from listen_embed.spec import WAVE_RATE, FrontEnd


def add_front_end(graph: Graph, front_end: FrontEnd, samples: str) -> str:
    """Return what one frame (1, frame_samples) becomes: (1, n_bands, n_steps), or as it is.

    Where a wave encoder hears samples beside the log-mel, both in a row.
    """
    if front_end.features == "waveform":
        return samples
    picture = _add_log_mel(graph, front_end, samples)
    if front_end.features == "log-mel":
        return picture
    flat = graph.node("Reshape", picture, graph.ints(1, front_end.n_bands * front_end.n_steps))
    return graph.node("Concat", flat, _add_wave(graph, front_end, samples), axis=1)


def _add_log_mel(graph: Graph, front_end: FrontEnd, samples: str) -> str:
    signal = _normalised(graph, samples) if front_end.normalise == "rms-std" else samples
    bands = _bands(graph, front_end, _segments(graph, front_end, signal))
    columns = _finished(graph, front_end, _logarithm(graph, front_end, bands))
    return graph.node("Transpose", columns, perm=[0, 2, 1])


def _add_wave(graph: Graph, front_end: FrontEnd, samples: str) -> str:
    """Return a frame at 16 kHz, of one loudness and companded, (1, wave_samples)."""
    wave = _at_wave_rate(graph, front_end, samples)
    mean = graph.node("ReduceMean", graph.node("Mul", wave, wave), graph.ints(1), keepdims=1)
    rms = graph.node("Max", graph.node("Sqrt", mean), graph.floats(LEAST_RMS))
    scaled = graph.node("Div", wave, graph.node("Mul", rms, graph.floats(HEADROOM)))
    loud = graph.node("Clip", scaled, graph.floats(-1.0), graph.floats(1.0))
    raised = graph.node("Mul", graph.node("Abs", loud), graph.floats(MU))
    level = graph.node("Log", graph.node("Add", raised, graph.floats(1.0)))
    level = graph.node("Div", level, graph.floats(np.log1p(MU)))
    return graph.node("Mul", level, graph.node("Sign", loud))


def _at_wave_rate(graph: Graph, front_end: FrontEnd, samples: str) -> str:
    factor = front_end.sample_rate // WAVE_RATE
    if factor == 1:
        return samples
    taps = low_pass(factor)
    channel = graph.node("Unsqueeze", samples, graph.ints(1))
    weights, reach = graph.constant(taps[None, None]), len(taps) // 2
    heard = graph.node("Conv", channel, weights, strides=[factor], pads=[reach, reach])
    ends = graph.ints(0), graph.ints(front_end.wave_samples), graph.ints(2)
    return graph.node("Squeeze", graph.node("Slice", heard, *ends), graph.ints(1))


def add_statistics(graph: Graph, log_mels: str) -> str:
    """Return mean and standard deviation over time of every band, (1, 2 * n_bands)."""
    axes = graph.ints(2)
    mean = graph.node("ReduceMean", log_mels, axes, keepdims=1)
    centred = graph.node("Sub", log_mels, mean)
    variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes, keepdims=1)
    both = graph.node("Concat", mean, graph.node("Sqrt", variance), axis=1)
    return graph.node("Squeeze", both, axes)


def _normalised(graph: Graph, samples: str) -> str:
    axes, tiny = graph.ints(1), graph.floats(1e-6)
    squares = graph.node("ReduceMean", graph.node("Mul", samples, samples), axes, keepdims=1)
    rms = graph.node("Add", graph.node("Sqrt", squares), tiny)
    mean = graph.node("ReduceMean", samples, axes, keepdims=1)
    centred = graph.node("Sub", samples, mean)
    n_less_one = graph.node("Sub", graph.node("Cast", _length(graph, samples), to=1),
                            graph.floats(1.0))  # fmt: skip
    total = graph.node("ReduceSum", graph.node("Mul", centred, centred), axes, keepdims=1)
    std = graph.node("Add", graph.node("Sqrt", graph.node("Div", total, n_less_one)), tiny)
    return graph.node("Div", graph.node("Sub", graph.node("Div", samples, rms), mean), std)


def _length(graph: Graph, samples: str) -> str:
    return graph.node("Gather", graph.node("Shape", samples), graph.constant(np.int64(1)))


def _segments(graph: Graph, front_end: FrontEnd, signal: str) -> str:
    """Return windowed segments, (1, n_steps, window_samples)."""
    if front_end.preemphasis:
        begin, end, axis = graph.ints(1), graph.ints(front_end.frame_samples), graph.ints(1)
        later = graph.node("Slice", signal, begin, end, axis)
        earlier = graph.node(
            "Slice", signal, graph.ints(0), graph.ints(front_end.frame_samples - 1), axis
        )
        scaled = graph.node("Mul", earlier, graph.floats(front_end.preemphasis))
        signal = graph.node("Sub", later, scaled)
    if front_end.pad_left or front_end.pad_right:
        widths = graph.ints(0, front_end.pad_left, 0, front_end.pad_right)
        mode = "reflect" if front_end.padding == "reflect" else "constant"
        signal = graph.node("Pad", signal, widths, mode=mode)
    first = (front_end.n_fft - front_end.window_samples) // 2
    starts = first + front_end.hop_samples * np.arange(front_end.n_steps)
    positions = starts[:, None] + np.arange(front_end.window_samples)
    segments = graph.node("Gather", signal, graph.constant(positions.astype(np.int64)), axis=1)
    return graph.node("Mul", segments, graph.constant(window_of(front_end)))


def _bands(graph: Graph, front_end: FrontEnd, segments: str) -> str:
    """Return band energies, (1, n_steps, n_bands)."""
    n_missing = front_end.n_fft - front_end.window_samples
    if n_missing:
        segments = graph.node("Pad", segments, graph.ints(0, 0, 0, 0, 0, n_missing))
    real = graph.node("Unsqueeze", segments, graph.ints(3))
    n_fft, axis = graph.constant(np.int64(front_end.n_fft)), graph.constant(np.int64(2))
    spectrum = graph.node("DFT", real, n_fft, axis, onesided=1)
    squares = graph.node("Mul", spectrum, spectrum)
    bands = graph.node("ReduceSum", squares, graph.ints(3), keepdims=0)
    if front_end.power == 1:
        bands = graph.node("Sqrt", bands)
    if front_end.n_mels:
        bands = graph.node("MatMul", bands, graph.constant(mel_matrix(front_end)))
    return graph.node("Sqrt", bands) if front_end.mel_root else bands


def _logarithm(graph: Graph, front_end: FrontEnd, bands: str) -> str:
    if front_end.log_floor:
        bands = graph.node("Max", bands, graph.floats(front_end.log_floor))
    if front_end.log_offset:
        bands = graph.node("Add", bands, graph.floats(front_end.log_offset))
    logarithm = graph.node("Log", bands)
    if front_end.log == "ln":
        return logarithm
    return graph.node("Mul", logarithm, graph.floats(10 / np.log(10)))


def _finished(graph: Graph, front_end: FrontEnd, columns: str) -> str:
    if front_end.reference == "frame-max" or front_end.dynamic_range:
        peak = graph.node("ReduceMax", columns, graph.ints(1, 2), keepdims=1)
        if front_end.dynamic_range:
            floor = graph.node("Sub", peak, graph.floats(front_end.dynamic_range))
            columns = graph.node("Max", columns, floor)
        if front_end.reference == "frame-max":
            columns = graph.node("Sub", columns, peak)
    if front_end.shift:
        columns = graph.node("Add", columns, graph.floats(front_end.shift))
    if front_end.scale != 1:
        columns = graph.node("Mul", columns, graph.floats(front_end.scale))
    return columns
