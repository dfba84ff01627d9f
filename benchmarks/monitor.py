"""Measure the monitor on the LISTEN paper's on-site CNC clips; write docs/MONITOR.md's figures.

    python benchmarks/monitor.py FOLDER [--models NAME ...] [--minutes 10]
    python benchmarks/monitor.py --alarms DATA [--models NAME ...]

FOLDER holds ``audio/train/<label>/*.flac`` and ``audio/test/<label>/*.flac``. What is measured:
adapting from 20 s per mode, macro-F1 over the test clips as one stream, time per hop, and the
memory of a monitor in a process of its own. Everything goes through the monitor's own pipeline.

With ``--alarms``, DATA holds ``uav-propeller``, ``cnc-onsite`` and ``dcase2020-id00-sample``, each
with ``meta.csv``. Measured are the alarms on normal sound of recordings that were not learnt from,
heard for ten hours or more in all, and how many anomalous clips end in alarm.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from listen_embed.embedder import Embedder
from listen_embed.errors import ListenEmbedWarning
from listen_embed.monitor.adapt import Adapted, adapt, find_clips, learn
from listen_embed.monitor.block import Block
from listen_embed.monitor.config import MonitorConfig
from listen_embed.monitor.confusion import Confusion
from listen_embed.monitor.debounce import Debouncer, DebounceRules
from listen_embed.monitor.examples import Examples
from listen_embed.monitor.journal import Journal
from listen_embed.monitor.machine import Machine
from listen_embed.monitor.pipeline import Hop, Pipeline
from listen_embed.monitor.run import make_ear, make_embedder, make_rules
from listen_embed.monitor.sources import Item, Notice
from listen_embed.monitor.sources.backlog import Pulled
from listen_embed.monitor.tune import outcome

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
    ear = make_ear(make_embedder(adapted.machine, hop_s))
    chosen = rules or make_rules(adapted.machine, ear, MonitorConfig("", "", hop_s=hop_s))
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
    one_by_one, _ = listen(adapted, samples, rate, 1.0, DebounceRules(1, 1.0), folder)
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
            f"Python {platform.python_version()}, {os.cpu_count()} cores, one thread a model.",
            table(results, minutes),
            f"Each test clip with {best.model}, the frame that hears exactly that clip:",
            best.clips.markdown(),
            "![Which mode was heard as which](monitor-confusion.svg)",
        ]
    )
    replace_part(BEGIN, END, text)


# ---- false alarms ---------------------------------------------------------------------------

ALARMS_BEGIN, ALARMS_END = "<!-- alarms: begin -->", "<!-- alarms: end -->"
HOURS, N_SPLITS = 12.0, 6
LEARN_EVERY = 5  # frames 0.1 s apart are heard, 0.5 s apart learnt
CNC_KNOWN = ("Mode1", "Mode2", "Mode3", "Mode4")
CNC_STRANGE = ("Mode5", "Mode6", "Mode7", "Mode8")


@dataclass(frozen=True)
class Sound:
    """A stretch of one recording: its state, and which recording it is of."""

    label: str
    recording: str
    embeddings: np.ndarray  # a hop of 0.1 s


@dataclass(frozen=True)
class Split:
    """Sound to learn, other normal sound, and anomalous sound."""

    learnt: list[Sound]
    normal: list[Sound]
    strange: list[Sound]


@dataclass(frozen=True)
class AlarmResult:
    """What happened on the splits of one set."""

    data: str
    model: str
    minutes: float
    n_normal: int
    n_alarms: int
    hours: float
    caught: float
    n_strange: int


def rows_of(data: Path) -> list[dict[str, str]]:
    with open(data / "meta.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def embed_sound(samples: np.ndarray, rate: int, embedder: Embedder) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ListenEmbedWarning)
        embedding, starts = embedder.embed(samples, rate)
    whole = starts + embedder.spec.front_end.frame_seconds <= len(samples) / rate + 1e-6
    return embedding[whole]


def read_rows(data: Path, embedder: Embedder, state: str, recording: str) -> list[Sound]:
    """Return the sounds of a set, one a file; `state` and `recording` name columns."""
    found = []
    for row in rows_of(data):
        samples, rate = soundfile.read(data / row["path"], dtype="float32")
        label = row[state] if row["label"] != "anomaly" else "anomaly"
        found.append(Sound(label, row[recording], embed_sound(samples, rate, embedder)))
    return found


def random_splits(sounds: list[Sound]) -> Iterator[Split]:
    """Yield splits that learn 60 % of the normal recordings; anomalies are never learnt."""
    normal = [sound for sound in sounds if sound.label != "anomaly"]
    strange = [sound for sound in sounds if sound.label == "anomaly"]
    names = sorted({sound.recording for sound in normal})
    rng = np.random.default_rng(0)
    for _ in range(N_SPLITS):
        chosen = set(rng.permutation(names)[: round(0.6 * len(names))])
        yield Split(
            [sound for sound in normal if sound.recording in chosen],
            [sound for sound in normal if sound.recording not in chosen],
            strange,
        )


def cnc_splits(data: Path, embedder: Embedder, *, sessions: int) -> Iterator[Split]:
    """Yield four known modes and four strange ones; learnt from one time of the day or from two."""
    files: dict[tuple[str, str], list[Path]] = {}
    for row in rows_of(data):
        files.setdefault((row["split"], row["label"]), []).append(data / row["path"])

    def stretch(split: str, label: str, first: int, last: int | None) -> Sound:
        parts = [soundfile.read(path, dtype="float32") for path in files[split, label][first:last]]
        rate = parts[0][1]
        samples = np.concatenate([part for part, _ in parts])
        return Sound(label, f"{split} {label} {first}", embed_sound(samples, rate, embedder))

    # Five clips, one second each, recorded right after each other, are a recording.
    learnt = [stretch("train", label, n, n + 5) for label in CNC_KNOWN for n in range(0, 20, 5)]
    half = 0 if sessions == 1 else 7
    if half:
        learnt += [stretch("test", label, n, n + 3) for label in CNC_KNOWN for n in (0, 4)]
    yield Split(
        learnt,
        [stretch("test", label, half, None) for label in CNC_KNOWN],
        [stretch("test", label, 0, None) for label in CNC_STRANGE],
    )


def teach(learnt: list[Sound], embedder: Embedder) -> Machine:
    """Return a machine that knows these sounds, learnt as `adapt` learns."""
    kept = [sound.embeddings[::LEARN_EVERY] for sound in learnt]
    names = sorted({sound.recording for sound in learnt})
    recordings = [
        np.full(len(rows), names.index(s.recording)) for rows, s in zip(kept, learnt, strict=True)
    ]
    stretches = [np.full(len(rows), number) for number, rows in enumerate(kept)]
    labels = [s.label for rows, s in zip(kept, learnt, strict=True) for _ in rows]
    if len(set(labels)) == 1:  # one state: a classifier wants two; the alarm does not ask it
        labels = [f"{label}{n % 2}" for n, label in enumerate(labels)]
    examples = Examples(
        np.concatenate(kept),
        labels,
        np.concatenate(stretches),
        np.concatenate(recordings),
        np.zeros(len(labels), np.float32),
        LEARN_EVERY * embedder.hop_size,
        embedder.spec.front_end.frame_seconds,
        embedder.spec.front_end.sample_rate,
    )
    return learn(examples, embedder).machine


def scores_of(machine: Machine, sound: Sound) -> list[float]:
    return [machine.judge(row).score for row in sound.embeddings]


def measure_alarms(name: str, splits: Iterator[Split], embedder: Embedder) -> AlarmResult:
    """Listen to other normal sound, shuffled, until the hours are full; then to what is strange."""
    rng = np.random.default_rng(1)
    n_alarms, hours, caught, minutes, n_normal = 0, 0.0, [], [], []
    for split in (found := list(splits)):
        machine = teach(split.learnt, embedder)
        frame_s = embedder.spec.front_end.frame_seconds
        rules = DebounceRules.over(1.0, frame_s, embedder.hop_size, machine.threshold)
        normal = [scores_of(machine, sound) for sound in split.normal]
        length = sum(map(len, normal)) * embedder.hop_size / 3600
        for _ in range(math.ceil(HOURS / len(found) / length)):
            order = rng.permutation(len(normal))
            told = outcome([s for n in order for s in normal[n]], rules, embedder.hop_size)
            n_alarms, hours = n_alarms + told.n_alarms, hours + told.hours
        for sound in split.strange:
            decided = Debouncer(rules)
            for hop, score in enumerate(scores_of(machine, sound)):
                decided.take_score(hop, score)
            caught.append(decided.anomaly)
        minutes.append(sum(len(s.embeddings) for s in split.learnt) * embedder.hop_size / 60)
        n_normal.append(len(split.normal))
    return AlarmResult(
        name,
        embedder.spec.name,
        float(np.mean(minutes)),
        round(float(np.mean(n_normal))),
        n_alarms,
        hours,
        float(np.mean(caught)),
        len(caught) // len(found),
    )


def alarm_table(results: list[AlarmResult]) -> str:
    rows = [
        "| sound | model | learnt, min | other normal recordings | false alarms | hours heard "
        "| false alarms in 10 h | anomalous sounds caught |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {r.data} | {r.model} | {r.minutes:.1f} | {r.n_normal} | {r.n_alarms} | {r.hours:.1f} "
        f"| {10 * r.n_alarms / r.hours:.1f} | {r.caught:.0%} of {r.n_strange} |"
        for r in results
    ]
    return "\n".join(rows)


def measure_all_alarms(data: Path, models: list[str]) -> list[AlarmResult]:
    results = []
    for model in models:
        embedder = Embedder(model, hop_size=0.1, center=False, threads=1)
        uav = read_rows(data / "uav-propeller", embedder, "class", "recording")
        results.append(measure_alarms("UAV, intact propellers", random_splits(uav), embedder))
        pump = read_rows(data / "dcase2020-id00-sample", embedder, "label", "path")
        results.append(measure_alarms("DCASE 2020, one machine", random_splits(pump), embedder))
        for sessions, text in ((1, "one time of the day"), (2, "two times of the day")):
            splits = cnc_splits(data / "cnc-onsite", embedder, sessions=sessions)
            name = f"CNC, four of eight modes, {text}"
            results.append(measure_alarms(name, splits, embedder))
        print(alarm_table(results[-4:]))
    return results


def replace_part(begin: str, end: str, text: str) -> None:
    page = DOCS / "MONITOR.md"
    old = page.read_text(encoding="utf-8")
    whole = "\n\n".join([begin, text, end])
    new = re.sub(f"{begin}.*{end}", lambda _: whole, old, flags=re.DOTALL)
    page.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["logmel/256/48k", "logmel/128/16k"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--alarms", action="store_true")
    args = parser.parse_args()
    if args.alarms:
        found = measure_all_alarms(args.folder, args.models)
        replace_part(ALARMS_BEGIN, ALARMS_END, alarm_table(found))
        return
    results = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(model, args.folder, args.minutes, Path(folder)))
        print(table(results[-1:], args.minutes))
        print(results[-1].clips.text())
    write(results, args.minutes)


if __name__ == "__main__":
    main()
