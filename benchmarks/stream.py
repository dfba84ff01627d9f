"""The model that streams: what a hop costs, what it remembers, and whether it drifts in a day.

    python benchmarks/stream.py [--hours 24] [--out docs/STREAMING.md]

Work: sound arrives a tenth of a second at a time, and both models give an embedding each time; one
thread, in turns, so that whatever else the machine does meets both; the fastest tenth counts.
Memory: after one sound comes
another, with two different firsts; how far apart the embeddings still are. Drift: a minute of noise
and a clip, then hours of other sound, then the same minute and clip again, at real length.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from listen_embed import Embedder, registry

STREAM, DEFAULT = "sea/64/stream", "sea/64/general"
SR, STEP = 32_000, 3_200
N_HOPS, N_PASTS = 600, 24
SHARES = (0.5, 0.1, 0.01, 1e-5)

Array = NDArray[np.float32]


def noise(rng: np.random.Generator, seconds: float) -> Array:
    """Return coloured noise that comes and goes: no two seconds of it are alike."""
    n = round(seconds * SR)
    corners = np.arange(0, n + SR // 4, SR // 4)
    slow = np.interp(np.arange(n), corners, rng.uniform(0, 1, len(corners)))
    white = rng.standard_normal(n)
    brown = np.convolve(white, np.ones(rng.integers(1, 40)), mode="same")
    return (0.1 * slow * brown / np.abs(brown).mean()).astype(np.float32)


def milliseconds_of_a_hop() -> dict[str, float]:
    """Return the time of a tenth of a second for both models, measured in turns.

    It is what one hop in ten stays below: others were interrupted, the longer the more often.
    """
    rng = np.random.default_rng(0)
    names = (STREAM, DEFAULT)
    streams = {name: Embedder(name, center=False, threads=1).stream(SR) for name in names}
    sound = noise(rng, 2 + N_HOPS / 10)
    taken: dict[str, list[float]] = {name: [] for name in streams}
    for stream in streams.values():
        stream.push(sound[: 2 * SR])
    for first in range(2 * SR, len(sound) - 50 * STEP + 1, 50 * STEP):
        for name, stream in streams.items():  # some hops in a row, as a stream has them
            for begin in range(first, first + 50 * STEP, STEP):
                clock = time.perf_counter()
                stream.push(sound[begin : begin + STEP])
                taken[name].append(time.perf_counter() - clock)
    return {name: 1000 * float(np.quantile(times, 0.1)) for name, times in taken.items()}


def forgetting(seconds: int = 60) -> Array:
    """Return the share of two pasts' distance that is left after each step of a common sound."""
    rng = np.random.default_rng(1)
    embedder = Embedder(STREAM, center=False, threads=1)
    left = []
    for _ in tqdm(range(N_PASTS), "memory", leave=False):
        one, other, then = noise(rng, 10), noise(rng, 10), noise(rng, seconds)
        paths = []
        for past in (one, other):
            stream = embedder.stream(SR)
            before, _ = stream.push(past)
            during, _ = stream.push(then)
            paths.append(np.concatenate([before[-1:], during[2:]]))
        apart = np.linalg.norm(paths[0] - paths[1], axis=1)
        left.append(apart[1:] / apart[0])
    return np.asarray(np.mean(left, axis=0), np.float32)


def drift(hours: float) -> float:
    """Return how far a clip's embeddings have moved after hours, at most."""
    rng = np.random.default_rng(2)
    warm_up, clip = noise(rng, 60), noise(rng, 10)
    again = np.concatenate([warm_up, clip])
    stream = Embedder(STREAM, center=False, threads=1).stream(SR)
    first, _ = stream.push(again)
    for minute in tqdm(minutes(rng, hours), "drift", total=round(60 * hours), leave=False):
        stream.push(minute)
    last, _ = stream.push(again)
    return float(np.abs(last[-95:] - first[-95:]).max())


def minutes(rng: np.random.Generator, hours: float) -> Iterator[Array]:
    """Yield so many hours of sound, a minute at a time, loud, quiet and silent."""
    sounds = [noise(rng, 60) for _ in range(8)]
    for index in range(round(60 * hours)):
        yield sounds[index % 8] * np.float32((0, 0.01, 1, 3)[index // 8 % 4])


def seconds_until(left: Array, share: float) -> str:
    """Return when no more than a share is left."""
    below = np.flatnonzero(left <= share)
    return f"{(below[0] + 1) / 10:.1f} s" if len(below) else f"more than {len(left) / 10:.0f} s"


def report(hours: float) -> str:
    """Measure everything and return it as Markdown."""
    times = milliseconds_of_a_hop()
    left = forgetting()
    spec = Embedder(STREAM).spec
    state = Embedder(STREAM)._network
    assert state is not None
    moved = drift(hours)
    costs = "\n".join(
        f"| {name} | {ms:.3f} | {ms / times[DEFAULT]:.3f} | {registry.find(name).macs / 1e6:.2f} |"
        for name, ms in times.items()
    )
    forgot = "\n".join(f"| {share:g} | {seconds_until(left, share)} |" for share in SHARES)
    return f"""# The model that streams

Written by `python benchmarks/stream.py`. `{STREAM}` hears every column once: a step is
{spec.step_seconds:g} s, its .tflite has {spec.size_bytes:,} bytes, and it carries
{state.state_bytes:,} bytes from step to step.

| an embedding every 0.1 s | ms, with front end | of `{DEFAULT}` | million MACs of the network |
|---|--:|--:|--:|
{costs}

Two sounds of ten seconds, then the same sound after both: what is left of the distance between the
two embeddings (mean of {N_PASTS} pairs).

| left | after |
|--:|--:|
{forgot}

A minute of noise and a clip of ten seconds, {hours:g} hours of other sound, loud, quiet and silent,
and the same minute and clip again: the clip's embeddings differ by at most {moved:.1e}.

`listen-embed export c sea/64/stream` is the same stream on a microcontroller
([DEVICES.md](DEVICES.md)), and `export onnx` one step of it, the state an input and an output
([ECOSYSTEM.md](ECOSYSTEM.md)).
"""


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24.0, help="of the drift's real length")
    parser.add_argument("--out", type=Path, help="file to write, such as docs/STREAMING.md")
    args = parser.parse_args()
    text = report(args.hours)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
