"""How well do the ways to a classifier do? Writes docs/CLASSIFICATION.md and its picture.

    python benchmarks/classify.py DATA --cache FOLDER [--sets esc50 us8k multi]
                                  [--bases yamnet mn04] [--fsd50k FOLDER] [--out docs]
    python benchmarks/classify.py DATA --cache FOLDER --prepare yamnet mn04 logmel
    python benchmarks/classify.py DATA --cache FOLDER --cost

DATA is a folder with ``esc50-16k`` and ``us8k-part`` (docs/DATA.md). No shipped weights have heard
them. The multi-label set is made of ESC-50: one to four clips of one fold, each at -10 to 10 dB, at
random places in ten seconds. Everything is trained on training folds alone, with one fold of them
(or a sixth of their groups) to stop by, and measured on the fold that was left out. What is trained
hears as `classify train --method lean` does: whole clips, three times more with another clip of the
same fold mixed in. What frozen parts hear is kept in the cache, and so is every figure: a call goes
on where the last one stopped. ``--prepare`` only fills the cache; ``--cost`` trains each way on
ESC-50 once more, fold 5 left out, and asks its .tflite files: size, time, float and int8 accuracy.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from listen_embed import Embedder
from listen_embed.classify import (
    bases,
    finishing,
    fit,
    frames,
    head,
    lean,
    linear,
    parts,
    scores,
    wave,
    windows,
)
from listen_embed.classify.labelled import LabelledClips, read_labelled
from listen_embed.classify.layer import Kind, activated
from listen_embed.classify.network import Fusion, FusionShape
from listen_embed.graph import macs
from listen_embed.runtime import Network

Array = NDArray[np.float32]
BASES = {"yamnet": "teacher/1024/yamnet", "mn04": "pruned/384/mn04"}
N_FOLDS = {"esc50": 5, "us8k": 2, "multi": 5, "fsd50k": 1}
SETS = ("esc50", "us8k", "multi")
SECONDS = {"esc50": 5.0, "us8k": 4.0, "multi": 10.0, "fsd50k": 10.0}
TITLES = {
    "esc50": "ESC-50, 5 folds",
    "us8k": "UrbanSound8K, part, fold 1 <-> 3",
    "multi": "multi-label mixtures, 5 folds",
    "fsd50k": "FSD50K, official splits",
}
EMB_DIM = 128
N_MIXTURES = 200  # of each fold
EPOCHS = 25


@dataclass(frozen=True)
class Row:
    """A way to a classifier: which frozen parts, and how they are joined."""

    name: str
    base: str
    join: str

    @property
    def title(self) -> str:
        """What a table calls it."""
        return (
            self.name
            if self.join == "wave" or not self.base
            else f"{BASES[self.base]}, {self.name}"
        )

    @property
    def is_linear(self) -> bool:
        """Whether a seed changes nothing."""
        return self.join in ("linear", "statistics")

    @property
    def needs_wave(self) -> bool:
        """Whether it hears the wave encoder."""
        return self.join in ("wave", "pooled", "attention")


def rows_of(base: str) -> list[Row]:
    """Return the ways on one base."""
    return [
        Row("linear", base, "linear"),
        Row("MLP over frames", base, "none"),
        Row("joined without attention", base, "pooled"),
        Row("LEAN", base, "attention"),
    ]


STATISTICS = Row("log-mel statistics, linear", "", "statistics")
WAVE = Row("wave encoder alone", "mn04", "wave")  # what it hears is kept beside a base's frames


def all_rows() -> list[Row]:
    """Return all ways, in a table's order."""
    return [STATISTICS, WAVE, *(row for base in BASES for row in rows_of(base))]


# ---- the sets ----------------------------------------------------------------------------------


def labelled_set(name: str, data: Path, cache: Path) -> LabelledClips:
    """Return a labelled set with its folds."""
    if name == "fsd50k":
        return read_labelled(cache / "fsd50k.csv", multi=True)
    if name == "multi":
        return read_labelled(mixtures(data / "esc50-16k", cache / "multi"), multi=True)
    return read_labelled(data / {"esc50": "esc50-16k", "us8k": "us8k-part"}[name] / "meta.csv")


def fsd50k(folder: Path, cache: Path) -> None:
    """Write FSD50K's ground truth as a CSV of ours: dev's train and val, and eval."""
    rows = []
    for part in ("dev", "eval"):
        truth = folder / "FSD50K.ground_truth" / f"{part}.csv"
        with open(truth, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                path = folder / f"FSD50K.{part}_audio" / f"{row['fname']}.wav"
                split = {"val": "valid"}.get(row.get("split", "test"), row.get("split", "test"))
                labels = row["labels"].replace(",", ";")
                rows.append({"path": path.absolute(), "label": labels, "split": split})
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "fsd50k.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "split"])
        writer.writeheader()
        writer.writerows(rows)


def mixtures(esc50: Path, folder: Path) -> Path:
    """Write the multi-label set, if it is not there, and return its CSV."""
    table = folder / "meta.csv"
    if table.exists():
        return table
    folder.mkdir(parents=True, exist_ok=True)
    with open(esc50 / "meta.csv", newline="", encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    rng, rows = np.random.default_rng(50), []
    for fold in "12345":
        of_fold = [clip for clip in clips if clip["fold"] == fold]
        for number in range(N_MIXTURES):
            chosen = rng.choice(len(of_fold), rng.integers(1, 5), replace=False)
            sound = mixture([esc50 / of_fold[i]["path"] for i in chosen], rng)
            name = f"{fold}-{number:03d}.flac"
            soundfile.write(folder / name, sound, 16_000)
            labels = ";".join(sorted({of_fold[i]["label"] for i in chosen}))
            rows.append({"path": name, "label": labels, "fold": fold})
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "label", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    return table


def mixture(paths: list[Path], rng: np.random.Generator) -> Array:
    """Return ten seconds with every clip at a random place and level."""
    sound = np.zeros(160_000, np.float32)
    for path in paths:
        clip, _ = soundfile.read(path, dtype="float32")
        level = np.sqrt(np.mean(clip**2)) + 1e-6
        gain = 0.03 / level * 10 ** (rng.uniform(-10, 10) / 20)
        begin = rng.integers(0, len(sound) - len(clip) + 1) if len(clip) < len(sound) else 0
        sound[begin : begin + len(clip)] += gain * clip
    return np.clip(sound, -1, 1)


# ---- what frozen parts hear --------------------------------------------------------------------


@dataclass(frozen=True)
class Set:
    """A labelled set as frozen parts hear it: V versions of each clip, the first as it is."""

    labelled: LabelledClips
    folds: NDArray[np.str_]
    frames: NDArray[np.float16]  # (V, N, T, D)
    steps: NDArray[np.float16] | None  # (V, N, S, W)
    targets: Array  # (V, N, C)

    def part(self, row: Row, clips: NDArray[np.intp], n_versions: int) -> frames.Heard:
        """Return what a way takes of some clips."""

        def of(values: NDArray) -> NDArray:
            return values[:n_versions, clips].reshape(-1, *values.shape[2:])

        return frames.Heard(
            of(self.frames) if row.join != "wave" else None,
            of(self.steps) if row.needs_wave and self.steps is not None else None,
            of(self.targets),
        )


def load(name: str, base: str, data: Path, cache: Path) -> Set:
    """Return a set as a base and the wave encoder hear it; without a base, log-mel statistics."""
    labelled = labelled_set(name, data, cache)
    path = cache / f"{name}-{base or 'logmel'}.npz"
    if not path.exists():
        made = statistics_of(labelled) if not base else heard_by(labelled, name, base, cache)
        np.savez(path, **made)
    kept = np.load(path)
    folds = np.array([clip.fold or clip.split for clip in labelled.clips])
    return Set(labelled, folds, kept["frames"], kept.get("steps"), kept["targets"])


def statistics_of(labelled: LabelledClips) -> dict[str, NDArray]:
    """Return the mean over time of each clip's log-mel statistics."""
    found = head.embedded(Embedder("logmel/128"), labelled)
    sums = np.zeros((len(labelled), found.values.shape[1]))
    np.add.at(sums, found.clip, found.values)
    means = sums / np.bincount(found.clip)[:, None]
    return {"frames": means[None, :, None].astype(np.float32), "targets": labelled.targets[None]}


def heard_by(labelled: LabelledClips, name: str, base: str, cache: Path) -> dict[str, NDArray]:
    """Return what a base, and the wave encoder, hear of the first window of each clip."""
    network = bases.of_model(BASES[base])
    some = windows.windows_of(
        labelled, network.lasting(SECONDS[name]), cache / f"{name}-{base}-windows"
    )
    first = np.unique(some.clip, return_index=True)[1]
    names = [clip.fold or clip.split for clip in labelled.clips]
    folds = np.unique(names, return_inverse=True)[1]
    encoder = wave.pretrained() if wave.WEIGHTS.is_file() else None
    encoder = wave.pretrained() if wave.WEIGHTS.is_file() else None
    found = frames.heard(
        some, first, labelled.targets, network, encoder,
        versions=lean.VERSIONS, is_multi=labelled.is_multi, among=folds,
    )  # fmt: skip
    given = {"frames": found.frames, "steps": found.steps, "targets": found.targets}
    shape = (lean.VERSIONS, len(labelled))
    return {k: v.reshape(*shape, *v.shape[1:]) for k, v in given.items() if v is not None}


# ---- one training ------------------------------------------------------------------------------


def splits(one: Set) -> list[tuple[str, NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """Return (fold, learn, choose, measure) for every fold that is left out in its turn."""
    if "train" in one.folds:
        given = parts.parts_of(one.labelled)
        return [("eval", given.learn, given.choose, given.measure)]
    names, found = sorted(np.unique(one.folds)), []
    for i, fold in enumerate(names):
        measure = np.flatnonzero(one.folds == fold)
        rest = np.flatnonzero(one.folds != fold)
        if len(names) > 2:
            choose = np.flatnonzero(one.folds == names[i - 1])
            learn = np.setdiff1d(rest, choose)
        else:
            learn, choose = parts.drawn(one.labelled, rest, 0.17, 0)
        found.append((str(fold), learn, choose, measure))
    return found


def measured(row: Row, one: Set, learn, choose, measure, seed: int) -> dict[str, float]:
    """Return the figures of one way on one split."""
    started = time.process_time()
    if row.is_linear:
        probabilities = linear_answers(one, np.concatenate([learn, choose]), measure)
    else:
        network = trained(row, one, learn, choose, seed)
        found = logits(network, one.part(row, measure, 1)).astype(np.float64)
        probabilities = activated(found, kind_of(one))
    truth = one.targets[0, measure]
    return {
        "accuracy": scores.accuracy(truth, probabilities),
        "map": scores.mean_average_precision(truth, probabilities),
        "seconds": time.process_time() - started,
    }


def kind_of(one: Set) -> Kind:
    return "sigmoid" if one.labelled.is_multi else "softmax"


def linear_answers(one: Set, learn, measure) -> Array:
    """Return a linear layer's probabilities, the better of the two kinds on held-out clips."""
    x, targets = one.frames[0].astype(np.float32).mean(1), one.targets[0]
    folds = parts.folds_of(one.labelled, 5)[learn]
    if len(np.unique(folds)) < 2:  # as `head` does
        folds = parts.drawn_folds(one.labelled, 5)[learn]
    layer = linear.several_of(x[learn], targets[learn], folds)
    return layer.probabilities(x[measure])


def trained(row: Row, one: Set, learn, choose, seed: int) -> Fusion:
    """Return a fusion that some clips taught."""
    torch.manual_seed(seed)
    fusion = Fusion(
        FusionShape(
            n_frame=one.frames.shape[-1] if row.join != "wave" else 0,
            n_step=one.steps.shape[-1] if row.needs_wave and one.steps is not None else 0,
            join=row.join if row.join in ("attention", "pooled") else "none",
            emb_dim=EMB_DIM,
            n_classes=one.targets.shape[-1],
        )
    )
    held_out = one.part(row, choose, 1)
    result = fit.fit(
        fusion,
        frames.HeardLessons(one.part(row, learn, lean.VERSIONS), seed),
        lambda network: (held_out.targets, logits(network, held_out)),
        kind_of(one),
        fit.settings_of(kind_of(one), epochs=EPOCHS, seed=seed),
        weights=fit.class_weights(one.targets[0, learn]),
        progress=False,
    )
    return result.network


@torch.no_grad()
def logits(network: torch.nn.Module, heard: frames.Heard) -> Array:
    every = np.arange(len(heard))
    pieces = np.array_split(every, max(1, len(every) // 256))
    return torch.cat([network(*heard.part(rows)) for rows in pieces]).numpy()


# ---- all of them -------------------------------------------------------------------------------


def run(name: str, base: str, rows: list[Row], data: Path, cache: Path, seeds: list[int]) -> None:
    """Measure what is not in the cache yet, fold by fold."""
    results = cache / f"results-{name}-{base or 'none'}.jsonl"
    done = {tuple(line["key"]) for line in read_results(results)}
    one = load(name, base, data, cache)
    for row, seed, split in itertools.product(rows, seeds, splits(one)):
        fold, learn, choose, measure = split
        key = (name, row.base, row.name, fold, seed)
        if key in done or (row.needs_wave and one.steps is None) or (seed and row.is_linear):
            continue
        found = measured(row, one, learn, choose, measure, seed)
        print(*key, {k: round(v, 4) for k, v in found.items()}, flush=True)
        with open(results, "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **found}) + "\n")


def read_results(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- cost --------------------------------------------------------------------------------------


def cost(row: Row, data: Path, cache: Path) -> dict[str, float]:
    """Return what a way's .tflite files cost and say; once measured, from the cache."""
    path = cache / f"cost-{row.base}-{row.join}.json"
    if not path.exists():
        path.write_text(json.dumps(measured_cost(row, data, cache)), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def measured_cost(row: Row, data: Path, cache: Path) -> dict[str, float]:
    """Return kB, milliseconds and MMAC per second of sound, float and int8 accuracy and mAP."""
    one = load("esc50", row.base, data, cache)
    _, learn, choose, measure = splits(one)[-1]
    fusion = trained(row, one, learn, choose, 0)
    base = bases.of_model(BASES[row.base])
    front_end = base.lasting(SECONDS["esc50"])
    some = windows.windows_of(one.labelled, front_end, cache / f"esc50-{row.base}-windows")
    few = np.random.default_rng(0).permutation(some.of(learn))[: finishing.N_TYPICAL]
    encoder = wave.pretrained() if row.needs_wave else None
    made = lean.converted_of(some, few, None if row.join == "wave" else base, encoder, fusion)
    layer, rows = lean.fusion_layer(fusion, "softmax"), some.of(measure)
    found: dict[str, float] = {"weights": sum(p.numel() for p in fusion.parameters())}
    for name, model in (("float", made.float_model), ("int8", made.int8_model)):
        embeddings = finishing.embeddings_of(model, some, rows, encoder is not None)
        probabilities = activated(layer.logits(embeddings), "softmax")
        truth = one.targets[0, measure]
        found[f"{name} accuracy"] = scores.accuracy(truth, probabilities)
        found[f"{name} mAP"] = scores.mean_average_precision(truth, probabilities)
    (given,) = finishing.inputs_of(some, rows[:1], encoder is not None)
    found["ms"] = 1000 * fastest(made.int8_model, given) / front_end.frame_seconds
    found["MMAC"] = macs(made.int8_model) / front_end.frame_seconds / 1e6
    return found | {"kB": len(made.int8_model) / 1000}


def fastest(model: bytes, inputs: tuple[Array, ...]) -> float:
    """Return the least seconds of ten runs, one thread."""
    network = Network(model)
    given = np.concatenate([part.ravel() for part in inputs])[None]
    times = []
    for _ in range(11):
        started = time.perf_counter()
        network(given)
        times.append(time.perf_counter() - started)
    return min(times)


# ---- the page ----------------------------------------------------------------------------------


def all_results(cache: Path) -> dict[tuple[str, str, str], dict[str, list[float]]]:
    """Return the figures of every fold and seed by (set, base, way), where no fold is missing."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for path in sorted(cache.glob("results-*.jsonl")):
        for line in read_results(path):
            name, base, way, _, _ = line["key"]
            figures = found.setdefault((name, base, way), {"accuracy": [], "map": []})
            figures["accuracy"].append(line["accuracy"])
            figures["map"].append(line["map"])
    return {key: f for key, f in found.items() if len(f["map"]) % N_FOLDS[key[0]] == 0}


def tables(cache: Path) -> str:
    """Return a table for each set, as Markdown."""
    results, pieces = all_results(cache), []
    for name, title in TITLES.items():
        rows = all_rows()
        known = [row for row in rows if (name, row.base, row.name) in results]
        if not known:
            continue
        pieces += [f"### {title}", "", "| way | accuracy | mAP | trainings |", "|---|---|---|---|"]
        for row in known:
            figures = results[name, row.base, row.name]
            accuracy = f"{np.mean(figures['accuracy']):.3f}" if name in ("esc50", "us8k") else ""
            precision, n = np.mean(figures["map"]), len(figures["map"])
            pieces.append(f"| {row.title} | {accuracy} | {precision:.3f} | {n} |")
        pieces.append("")
    return "\n".join(pieces)


def parameters(row: Row, cost: dict[str, float]) -> float:
    """Return how many numbers a way has learned, the frozen parts' among them."""
    frozen = [wave.pretrained()] if row.needs_wave else []
    frozen += [] if row.join == "wave" else [bases.of_model(BASES[row.base]).network]
    return cost["weights"] + sum(p.numel() for part in frozen for p in part.parameters())


def cost_table(cache: Path) -> str:
    """Return what the ways cost, as far as it was measured."""
    lines = [
        "| way | .tflite, kB | parameters | MMAC a second | ms a second "
        "| accuracy, mAP: float | int8 |",
        "|---|--:|--:|--:|--:|---|---|",
    ]
    for row in all_rows():
        path = cache / f"cost-{row.base}-{row.join}.json"
        if path.exists():
            c = json.loads(path.read_text(encoding="utf-8"))
            told = [f"{c[f'{n} accuracy']:.3f}, {c[f'{n} mAP']:.3f}" for n in ("float", "int8")]
            size = f"{c['kB']:.0f} | {parameters(row, c):,.0f}"
            figures = f"{size} | {c['MMAC']:.1f} | {c['ms']:.2f} | {' | '.join(told)}"
            lines.append(f"| {row.title} | {figures} |")
    return "\n".join(lines) if len(lines) > 2 else "Not measured yet: `--cost`."


def draw(cache: Path, target: Path) -> None:
    """Write a picture: bars of every way on every set, an error bar for the folds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = all_results(cache)
    names = [name for name in TITLES if any(key[0] == name for key in results)]
    rows = all_rows()
    figure = Figure(figsize=(5 * len(names), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        known = [row for row in rows if (name, row.base, row.name) in results]
        found = [results[name, row.base, row.name]["map"] for row in known]
        axes.barh(range(len(known)), [np.mean(f) for f in found], xerr=[np.std(f) for f in found])
        axes.set_yticks(range(len(known)), [row.title for row in known], fontsize=7)
        axes.invert_yaxis()
        axes.set(title=f"mAP, {TITLES[name]}", xlim=(0, 1))
    figure.savefig(target, dpi=100)


def write_page(cache: Path, out: Path) -> None:
    """Put tables and picture into the page, between its marks; what stands around them is ours."""
    page = out / "CLASSIFICATION.md"
    text = page.read_text(encoding="utf-8")
    for mark, content in (("figures", tables(cache)), ("cost", cost_table(cache))):
        begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n\n{content}\n{end}{rest.split(end, 1)[1]}"
    page.write_text(text, encoding="utf-8")
    draw(cache, out / "classification.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--bases", nargs="+", choices=tuple(BASES), default=tuple(BASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--prepare", nargs="*", choices=(*BASES, "logmel"))
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--fsd50k", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.fsd50k is not None:
        fsd50k(args.fsd50k, args.cache)
    for name in ["fsd50k"] if args.fsd50k is not None else args.sets:
        if not args.cost:
            measure_set(name, args)
    for row in [row for row in all_rows() if args.cost and not row.is_linear]:
        if row.base in args.bases:
            print(row.title, cost(row, args.data, args.cache), flush=True)
    if args.prepare is None:
        write_page(args.cache, args.out)


def measure_set(name: str, args: argparse.Namespace) -> None:
    """Hear one set, and measure all ways on it."""
    for part in args.prepare or ():
        load(name, {"logmel": ""}.get(part, part), args.data, args.cache)
    if args.prepare is not None:
        return
    for base in args.bases:
        run(name, base, rows_of(base), args.data, args.cache, args.seeds)
    if WAVE.base in args.bases:
        run(name, WAVE.base, [WAVE], args.data, args.cache, args.seeds)
    run(name, "", [STATISTICS], args.data, args.cache, args.seeds)


if __name__ == "__main__":
    main()
