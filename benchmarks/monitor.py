"""Measure the monitor on the LISTEN paper's on-site CNC clips; write docs/MONITOR.md's figures.

    python benchmarks/monitor.py FOLDER [--models NAME ...] [--minutes 10]

FOLDER holds ``audio/train/<label>/*.flac`` and ``audio/test/<label>/*.flac``. What is measured:
adapting from 20 s per mode, macro-F1 over the test clips as one stream, time per hop, and the
memory of a monitor in a process of its own. Everything goes through the monitor's own pipeline.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from listen_embed.embedder import Embedder
from listen_embed.monitor.adapt import Adapted, adapt, find_clips
from listen_embed.monitor.block import Block
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.confusion import Confusion
from listen_embed.monitor.debounce import DebounceRules
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.pipeline import Hop, Pipeline
from listen_embed.monitor.run import make_ear, make_rules
from listen_embed.monitor.sources import Item, Notice
from listen_embed.monitor.sources.backlog import Pulled

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True)
class Result:
    """What was measured of one model."""

    model: str
    adapt_s: float
    adapted: Adapted
    clips: Confusion
    states: Confusion
    alarms: float
    latencies_ms: np.ndarray
    memory_mb: float


def read(clips: list[tuple[str, Path]]) -> tuple[np.ndarray, int, list[str]]:
    """Return all clips after each other, one second each, their rate, and a label per second."""
    parts, labels, rate = [], [], 0
    for label, path in clips:
        samples, rate = soundfile.read(path, dtype="float32")
        parts.append(np.resize(samples, rate) if len(samples) < rate else samples[:rate])
        labels.append(label)
    return np.concatenate(parts), rate, labels


def stream(samples: np.ndarray, rate: int) -> Pulled:
    """Return samples as a source of blocks of a tenth of a second."""

    def items(place: object, stop: object) -> Iterator[Item]:
        for first in range(0, len(samples), rate // 10):
            yield Block(samples[first : first + rate // 10], rate, first)
        yield Notice("ended")

    return Pulled("benchmark:", items)


def listen(
    adapted: Adapted,
    samples: np.ndarray,
    rate: int,
    hop_s: float,
    rules: DebounceRules | None,
    folder: Path,
) -> tuple[list[Hop], list[float]]:
    """Run the pipeline over samples; return its hops and how long each took, in milliseconds."""
    hops: list[Hop] = []
    ear = make_ear(adapted.machine, hop_s)
    chosen = rules or make_rules(ear, MonitorConfig("", "", hop_s=hop_s))
    journal = Journal(folder / f"{time.monotonic_ns()}.sqlite")
    pipeline = Pipeline(
        ear, adapted.machine, chosen, journal, stream(samples, rate), on_hop=hops.append
    )
    pipeline.run(threading.Event())
    journal.close()
    return hops, list(pipeline.latencies_ms)


def measure_states(hops: list[Hop], labels: list[str], frame_s: float) -> Confusion:
    """Compare the debounced state at the end of each second with the truth, changes left out.

    A second counts from when a whole window of frames has heard the new state.
    """
    truth, given = [], []
    for hop in hops:
        second = round(hop.time_s) - 1
        settled = max(0, second - 3)
        if (
            abs(hop.time_s - round(hop.time_s)) < 1e-6
            and len(set(labels[settled : second + 1])) == 1
        ):
            truth.append(labels[second])
            given.append(hop.point.state or "none")
    return Confusion.of(truth, given)


def measure_memory(machine: Path, samples: np.ndarray, rate: int, folder: Path) -> float:
    """Return the most memory, in MB, that a monitor with a page holds in a minute of sound."""
    wav = folder / "minute.wav"
    soundfile.write(wav, np.resize(samples, 60 * rate), rate)
    code = (
        "import re, sys; from listen_embed.cli import main; main(sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "monitor",
            "run",
            "--head",
            str(machine),
            "--from",
            str(wav),
            "--journal",
            str(folder / "memory.sqlite"),
            "--jsonl",
            str(folder / "events.jsonl"),
            "--page",
            "127.0.0.1:0",
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout
    return int(said.split()[-1]) / 1024


def measure(model: str, data: Path, minutes: float, folder: Path) -> Result:
    embedder = Embedder(model, hop_size=0.5, center=False, threads=1)
    begun = time.perf_counter()
    adapted = adapt(data / "audio/train", embedder)
    adapted.machine.save(folder / "machine.npz")
    adapt_s = time.perf_counter() - begun
    samples, rate, labels = read(find_clips(data / "audio/test"))
    one_by_one, _ = listen(adapted, samples, rate, 1.0, DebounceRules(1, 3.0), folder)
    clips = Confusion.of(labels, [hop.judgement.label for hop in one_by_one])
    hops, _ = listen(adapted, samples, rate, 0.1, None, folder)
    long, latencies = listen(
        adapted, np.resize(samples, int(minutes * 60 * rate)), rate, 0.1, None, folder
    )
    assert len(long) == len(latencies)
    return Result(
        model,
        adapt_s,
        adapted,
        clips,
        measure_states(hops, labels, 1.0),
        float(np.mean([hop.point.anomaly for hop in hops])),
        np.array(latencies),
        measure_memory(folder / "machine.npz", samples, rate, folder),
    )


def table(results: list[Result], minutes: float) -> str:
    rows = [
        "| model | macro-F1, clips | accuracy | macro-F1, settled states | alarm on | adapt, s "
        f"| ms per hop, median / 99 % ({minutes:g} min) | memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        middle, high = np.percentile(r.latencies_ms, [50, 99])
        rows.append(
            f"| {r.model} | **{r.clips.macro_f1:.4f}** | {r.clips.accuracy:.4f} "
            f"| {r.states.macro_f1:.4f} | {100 * r.alarms:.1f} % | {r.adapt_s:.2f} "
            f"| {middle:.2f} / {high:.2f} | {r.memory_mb:.0f} |"
        )
    return "\n".join(rows)


def write(results: list[Result], minutes: float) -> None:
    best = results[0]
    picture = DOCS / "monitor-confusion.svg"
    picture.write_text(best.clips.svg(f"{best.model}, test clips"), encoding="utf-8")
    text = "\n\n".join(
        [
            BEGIN,
            f"Python {platform.python_version()}, {os.cpu_count()} cores, one thread a model.",
            table(results, minutes),
            f"Each test clip with {best.model}, the frame that hears exactly that clip:",
            best.clips.markdown(),
            "![Which mode was heard as which](monitor-confusion.svg)",
            END,
        ]
    )
    page = DOCS / "MONITOR.md"
    old = page.read_text(encoding="utf-8")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: text, old, flags=re.DOTALL)
    page.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["logmel/256/48k", "logmel/128/16k"])
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    results = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(model, args.folder, args.minutes, Path(folder)))
        print(table(results[-1:], args.minutes))
        print(results[-1].clips.text())
    write(results, args.minutes)


if __name__ == "__main__":
    main()
