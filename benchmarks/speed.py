"""How fast, and how much memory? Every model side by side, in one run.

    python benchmarks/speed.py [--models NAME ...] [--readme README.md]

For each model, on one minute of noise at the model's own rate, one thread, at hops of 1 s and of
0.1 s: milliseconds per frame in the front end and in the network; the time of a fresh process to
its first embedding, and that process's peak memory. Absolute times belong to the machine and the
moment; the table for the README holds ratios to sea/64/sonyc-ust, which every figure in it was
measured beside.

The L3 files weigh 18 MB; where they cannot be downloaded, --seeded-l3 builds a network of the same
shape with random weights, which takes the same time.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from listen_embed import Embedder, registry, upstream
from listen_embed.runtime import Network

REFERENCE = "sea/64/sonyc-ust"
L3 = "teacher/512/l3-env-mel256"
DEFAULT = (
    "logmel/128/16k", "logmel/256/48k", REFERENCE, "listen/64/cnc", "teacher/384/mn04",
    "teacher/1024/yamnet", L3,
)  # fmt: skip
_FRESH = """
import json, re, resource, sys, time
begin = time.perf_counter()
import numpy as np, listen_embed
sr, seconds = int(sys.argv[2]), int(sys.argv[3])
embedding, _ = listen_embed.get_embedding(np.ones(sr, np.float32) * .1, sr, sys.argv[1])
first = time.perf_counter() - begin
rng = np.random.default_rng(0)
embedder = listen_embed.Embedder(sys.argv[1])
stream = embedder.stream(sr)
for _ in range(seconds): stream.push(rng.standard_normal(sr).astype(np.float32) * .1)
try:  # the peak of this program alone: ru_maxrss on Linux remembers the parent's too
    peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
except OSError:
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([first, peak_kb / 1024]))
"""


HOPS = (1.0, 0.1)
N_PASSES = 5


class Timed:
    """A network that says how long it took."""

    def __init__(self, network: Network) -> None:
        self.network, self.spent = network, 0.0

    def start(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the network from a fresh start, as `Network.start` does."""
        run = self.network.start()

        def timed(features: np.ndarray) -> np.ndarray:
            begin = time.perf_counter()
            result = run(features)
            self.spent += time.perf_counter() - begin
            return result

        return timed


@dataclass(frozen=True)
class Frame:
    """Milliseconds of one frame at one hop."""

    total_ms: float
    network_ms: float


@dataclass(frozen=True)
class Measured:
    """What one model needs."""

    name: str
    frames: dict[float, Frame]  # by hop
    first_s: float
    peak_mb: float


def measure(name: str, seconds: int) -> Measured:
    """Measure one model."""
    first, peak = _fresh_process(name, Embedder(name).spec.front_end.sample_rate)
    return Measured(
        name if "/" in name and not Path(name).exists() else L3,
        {hop: _frame(name, hop, seconds) for hop in HOPS},
        first,
        peak,
    )


def _frame(name: str, hop: float, seconds: int) -> Frame:
    """Return the best of some passes, since others use the machine too."""
    embedder = Embedder(name, hop_size=hop, threads=1)
    sr = embedder.spec.front_end.sample_rate
    noise = np.random.default_rng(0).standard_normal(seconds * sr).astype(np.float32)
    sound = noise * np.float32(0.1)
    embedder.embed(sound[: 3 * sr], sr)
    passes = [_one_pass(embedder, sound) for _ in range(N_PASSES)]
    return min(passes, key=lambda frame: frame.total_ms)


def _one_pass(embedder: Embedder, sound: np.ndarray) -> Frame:
    network = embedder._network
    timed = Timed(network) if network is not None else None
    embedder._network = timed
    begin = time.perf_counter()
    embedding, _ = embedder.embed(sound, embedder.spec.front_end.sample_rate)
    total = time.perf_counter() - begin
    embedder._network = network
    spent = 0.0 if timed is None else timed.spent
    return Frame(1000 * total / len(embedding), 1000 * spent / len(embedding))


def _fresh_process(name: str, sr: int, seconds: int = 20) -> tuple[float, float]:
    command = [sys.executable, "-c", _FRESH, name, str(sr), str(seconds)]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    return min(first for first, _ in runs), max(peak for _, peak in runs)


def seeded_l3(folder: Path) -> str:
    """Build an L3 of the published shape with random weights; return its model folder."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from listen_embed.training.export import Identity, write_model
    from tests.upstream.seeded_l3 import write_seeded_l3

    spec = registry.find(L3)
    published = folder / "seeded.h5.gz"
    write_seeded_l3(published, "openl3_mel256")
    model = upstream.convert(
        published, "keras_l3", input_shape=spec.front_end.input_shape, emb_dim=512
    )
    identity = Identity(
        model_type="seeded", emb_dim=512, variant="l3", licence="none", source="random"
    )
    target = folder / "l3"
    target.mkdir()
    write_model(target, identity, spec.front_end, model)
    return str(target)


def as_text(rows: list[Measured]) -> str:
    """Return the absolute figures of this run."""
    return "\n".join(
        f"{row.name:28} "
        + "".join(
            f"hop {hop:g} s: {frame.total_ms:6.3f} ms, {frame.network_ms:6.3f} in the network; "
            for hop, frame in row.frames.items()
        )
        + f"first {row.first_s:4.2f} s, peak {row.peak_mb:3.0f} MB"
        for row in rows
    )


def as_ratios(rows: list[Measured]) -> str:
    """Return the README's table: time of a frame relative to sea/64/sonyc-ust, and memory."""
    (reference,) = [row for row in rows if row.name == REFERENCE]
    heads = [f"hop {hop:g} s | of it in the network" for hop in HOPS]
    lines = [f"| model | {' | '.join(heads)} | peak memory |", "|---" + "|--:" * 5 + "|"]
    for row in rows:
        times = [
            f"{frame.total_ms / reference.frames[hop].total_ms:.2f} "
            f"| {frame.network_ms / frame.total_ms:.0%}"
            for hop, frame in row.frames.items()
        ]
        lines.append(f"| {row.name} | {' | '.join(times)} | {row.peak_mb:.0f} MB |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print; with --readme, replace the table between its markers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeded-l3", action="store_true")
    parser.add_argument("--readme", type=Path)
    args = parser.parse_args()
    shipped = [spec.name for spec in registry.models() if spec.file is not None]
    names = list(args.models or (*shipped, *DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        if args.seeded_l3 and L3 in names:
            names[names.index(L3)] = seeded_l3(Path(folder))
        rows = [measure(name, args.seconds if "l3" not in name else 5) for name in names]
    print(as_text(rows))
    if args.readme:
        text = args.readme.read_text(encoding="utf-8")
        marked = re.compile(r"(<!-- speed -->\n).*?(\n<!-- /speed -->)", re.DOTALL)
        table = as_ratios(rows)
        args.readme.write_text(marked.sub(lambda m: m[1] + table + m[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
