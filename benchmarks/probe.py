"""How good are the embeddings? Frozen features, a linear probe, log-mel statistics beside.

    python benchmarks/probe.py DATA [--models NAME ...] [--float RUN] [--out docs] [--cache FOLDER]

DATA is a folder with ``esc50-16k``, ``us8k-part``, ``cnc-onsite`` and ``uav-propeller``
(docs/DATA.md says where they come from, and their licences). No shipped model was trained on any of
them. A clip's embedding is the mean (or the mean and the standard deviation) of its one-second
frames, or of all steps where a model streams; the probe is logistic regression on standardised
features, its regularisation chosen inside the training folds. With --float, the folder in which
`make students` worked, every shipped model is set beside its own float twin.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

import listen_embed
from listen_embed import audio, registry
from listen_embed.errors import ConversionError, InputError

Array = NDArray[np.float32]
STRENGTHS = (0.01, 0.1, 1.0)
MACHINE_NOISE = ("air_conditioner", "drilling", "engine_idling", "jackhammer")
N_DRAWS = 20
PROTOCOL = 2  # raised when a score comes to mean something else, so that none is remembered


@dataclass(frozen=True)
class Clips:
    """Embedded clips: one row each, and what the data set says about them."""

    mean: Array
    mean_std: Array
    rows: list[dict[str, str]]

    def column(self, name: str) -> NDArray[np.str_]:
        """Return one column of meta.csv."""
        return np.array([row[name] for row in self.rows])


class Embeddings:
    """A model's embeddings of data sets, computed once and kept on disk.

    "random" is sea/64/general's front end with a network of the same family that learnt nothing;
    "NAME:means" is the first half of a log-mel model, its means alone.
    """

    def __init__(self, data: Path, model: str, cache: Path) -> None:
        self.data = data
        model, _, self._part = model.partition(":")
        folder = random_model(cache) if model == "random" else model
        hop_size = registry.find(folder).step_seconds or 1.0
        self.embedder = listen_embed.Embedder(folder, hop_size=hop_size, center=False)
        self.name = "random network" if model == "random" else self.embedder.spec.name
        self.name += f", {self._part} only" if self._part else ""
        self.cache = cache

    def of(self, dataset: str, prepare: Callable[..., Array] | None = None, tag: str = "") -> Clips:
        """Return a data set's clips; `prepare` changes the sound first, `tag` names the change."""
        rows = read_meta(self.data / dataset)
        key = hashlib.sha256(f"{self.embedder.digest} {dataset} {tag}".encode()).hexdigest()[:24]
        path = self.cache / f"{key}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, self._compute(dataset, rows, prepare, tag))
        both = np.load(path)
        if self._part:  # of [mean, std] over time of [means, deviations] over columns
            quarter = both.shape[1] // 4
            both = np.concatenate([both[:, :quarter], both[:, 2 * quarter : 3 * quarter]], axis=1)
        return Clips(both[:, : both.shape[1] // 2], both, rows)

    def clips(self, dataset: str, way: Literal["mean", "whole"]) -> Array:
        """Return a vector of each clip, (n, D), by one of `embed_clip`'s two ways."""
        rows = read_meta(self.data / dataset)
        key = hashlib.sha256(f"{self.embedder.digest} {dataset} clip {way}".encode()).hexdigest()
        path = self.cache / f"{key[:24]}.npy"
        if not path.exists():
            self.embedder.spec = replace(self.embedder.spec, clip=way)
            vectors = [
                self.embedder.embed_clip(*load(self.data / dataset / row["path"]))
                for row in tqdm(rows, f"{self.name} {dataset} clips, {way}", leave=False)
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.stack(vectors))
        vectors = np.load(path)
        return vectors[:, : vectors.shape[1] // 2] if self._part else vectors

    def _compute(
        self,
        dataset: str,
        rows: list[dict[str, str]],
        prepare: Callable[..., Array] | None,
        tag: str,
    ) -> Array:
        pooled = []
        for index, row in enumerate(tqdm(rows, f"{self.name} {dataset} {tag}", leave=False)):
            sound, sr = load(self.data / dataset / row["path"])
            frames, _ = self.embedder.embed(prepare(sound, sr, index) if prepare else sound, sr)
            spec = self.embedder.spec
            each = spec.step_seconds or spec.front_end.frame_seconds
            n_whole = max(1, int(len(sound) / sr / each))
            frames = frames[:n_whole]  # the last, mostly padded frame would blur steady sounds
            pooled.append(np.concatenate([frames.mean(0), frames.std(0)]))
        return np.stack(pooled)


def read_meta(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a data set's meta.csv."""
    with open(folder / "meta.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(path: Path) -> tuple[Array, int]:
    """Return a clip as mono float32, and its rate."""
    blocks = list(audio.read_blocks(path))
    return np.concatenate([block for block, _ in blocks]), blocks[0][1]


def probe(strength: float) -> Pipeline:
    """Return the linear probe."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200, tol=1e-3))


def best_strength(x: Array, y: NDArray[np.str_], groups: NDArray[np.str_]) -> float:
    """Choose the regularisation on one group held out of the training data."""
    inner = groups == np.unique(groups)[0]
    scores = {c: probe(c).fit(x[~inner], y[~inner]).score(x[inner], y[inner]) for c in STRENGTHS}
    return max(scores, key=lambda c: (scores[c], -c))


def across_folds(x: Array, y: NDArray[np.str_], folds: NDArray[np.str_]) -> float:
    """Return the mean accuracy over official folds."""
    scores = []
    for fold in np.unique(folds):
        test = folds == fold
        strength = 0.1
        if len(np.unique(folds[~test])) > 1:
            strength = best_strength(x[~test], y[~test], folds[~test])
        scores.append(probe(strength).fit(x[~test], y[~test]).score(x[test], y[test]))
    return float(np.mean(scores))


def few_shot(clips: Clips, n_clips: int) -> float:
    """Return the macro-F1 on cnc-onsite's test clips from `n_clips` a class, mean of many draws."""
    y, is_train = clips.column("label"), clips.column("split") == "train"
    test = ~is_train
    scores = []
    for draw in range(1 if n_clips == 20 else N_DRAWS):
        rng = np.random.default_rng(draw)
        chosen = np.concatenate(
            [
                rng.permutation(np.flatnonzero(is_train & (y == label)))[:n_clips]
                for label in np.unique(y)
            ]
        )
        fitted = probe(1.0).fit(clips.mean[chosen], y[chosen])
        scores.append(f1_score(y[test], fitted.predict(clips.mean[test]), average="macro"))
    return float(np.mean(scores))


def anomaly_auc(clips: Clips) -> float:
    """Return the AUC of the distance to the nearest normal training clip (1-NN, standardised)."""
    is_train = clips.column("split") == "train"
    scaler = StandardScaler().fit(clips.mean[is_train])
    normal, test = scaler.transform(clips.mean[is_train]), scaler.transform(clips.mean[~is_train])
    distance = np.linalg.norm(test[:, None] - normal[None], axis=2).min(axis=1)
    return float(roc_auc_score(clips.column("label")[~is_train] == "anomaly", distance))


class Noise:
    """Machine noise of us8k-part, mixed into a level-normalised clip at a signal-to-noise ratio."""

    def __init__(self, data: Path, snr_db: float | None) -> None:
        self._folder = data / "us8k-part"
        self._paths = sorted(
            row["path"] for row in read_meta(self._folder) if row["label"] in MACHINE_NOISE
        )
        self._snr_db = snr_db

    def __call__(self, sound: Array, sr: int, index: int) -> Array:
        """Return the clip, its RMS set to 0.1, with the noise that its index draws."""
        level = sound * np.float32(0.1 / (np.sqrt(np.mean(sound**2)) + 1e-9))
        if self._snr_db is None:
            return level
        rng = np.random.default_rng(index)
        noise, noise_sr = load(self._folder / self._paths[rng.integers(len(self._paths))])
        assert noise_sr == sr, "both sets are at 16 kHz"
        noise = np.roll(np.resize(noise, len(sound)), int(rng.integers(len(sound))))
        noise *= np.float32(0.1 / (np.sqrt(np.mean(noise**2)) + 1e-9))
        return level + noise * np.float32(10 ** (-self._snr_db / 20))


def general_scores(model: Embeddings) -> dict[str, float]:
    """Return the scores on everyday sounds."""
    esc = model.of("esc50-16k")
    label, fold = esc.column("label"), esc.column("fold")
    in_esc10 = esc.column("esc10") == "1"
    us8k = model.of("us8k-part")
    return {
        "ESC-50": across_folds(esc.mean, label, fold),
        "ESC-50 mean+std": across_folds(esc.mean_std, label, fold),
        "ESC-10": across_folds(esc.mean[in_esc10], label[in_esc10], fold[in_esc10]),
        "US8K 1<->3": across_folds(us8k.mean, us8k.column("label"), us8k.column("fold")),
    }


def clip_scores(model: Embeddings) -> dict[str, float]:
    """Return the scores of one vector a clip, by both ways; without a network they are one."""
    scores = {}
    for title, dataset in (("ESC-50", "esc50-16k"), ("US8K 1<->3", "us8k-part")):
        rows = read_meta(model.data / dataset)
        label, fold = (np.array([row[c] for row in rows]) for c in ("label", "fold"))
        for way in ("mean", "whole"):
            try:
                vectors = model.clips(dataset, way)
            except (InputError, ConversionError):  # a network of one length
                vectors = model.clips(dataset, "mean")
            scores[f"{title} {way}"] = across_folds(vectors, label, fold)
    return scores


def machine_scores(model: Embeddings) -> dict[str, float]:
    """Return the scores on machines."""
    cnc = model.of("cnc-onsite")
    scores = {f"CNC {k} clips": few_shot(cnc, k) for k in (1, 5, 20)}
    for name, snr_db in (("clean", None), ("0 dB", 0.0), ("-10 dB", -10.0)):
        uav = model.of("uav-propeller", Noise(model.data, snr_db), f"noise {name}")
        config = across_folds(uav.mean, uav.column("config"), uav.column("fold"))
        scores[f"UAV config {name}"] = config
        scores[f"UAV AUC {name}"] = anomaly_auc(uav)
    return scores


def cost(model: Embeddings) -> dict[str, float]:
    """Return what a model costs; times are of one frame, measured here and now."""
    spec = model.embedder.spec
    rng = np.random.default_rng(0)
    sr = spec.front_end.sample_rate
    sound = rng.standard_normal(20 * sr).astype(np.float32) * np.float32(0.1)
    model.embedder.embed(sound[: 2 * sr], sr)
    begin = time.perf_counter()
    frames, _ = model.embedder.embed(sound, sr)
    return {
        "kB": spec.size_bytes / 1000,
        "MMAC/s": spec.macs_per_second / 1e6,
        "ms/frame": 1000 * (time.perf_counter() - begin) / len(frames),
    }


def random_model(folder: Path) -> str:
    """Write a student with random weights as a model folder, and return its path."""
    target = folder / "random"
    if not target.exists():
        import torch

        from listen_embed.training import convert, export
        from listen_embed.training.network import Student, grown
        from listen_embed.training.starts import NANO_FRONT_END

        torch.manual_seed(0)
        student = Student(grown(2.5, 64)).eval()
        shape = NANO_FRONT_END.input_shape
        model = convert.to_float(student, (shape[0], shape[1]))
        identity = export.Identity(
            model_type="random", emb_dim=64, variant="network", licence="MIT", source="seeded"
        )
        typical = np.random.default_rng(0).standard_normal((32, *shape)).astype(np.float32)
        trained = export.Trained(model, convert.to_int8(model, typical))
        target.parent.mkdir(parents=True, exist_ok=True)
        export.write_folder(target, identity, NANO_FRONT_END, trained)
    return str(target / "float")


BASELINES = (
    "logmel/128/16k",
    "logmel/256/48k",
    "logmel/256/48k:means",
    "random",
    "teacher/384/mn04",
    "teacher/1024/yamnet",
    "sea/64/sonyc-ust",
    "listen/64/cnc",
)
# Beside the shipped models, those whose clips are embedded as wholes, too.
CLIPS = ("logmel/128/16k", "logmel/256/48k", "teacher/384/mn04", "teacher/1024/yamnet")
Row = dict[str, float]


def table(title: str, rows: dict[str, Row], digits: int = 3) -> str:
    """Return rows as a Markdown table, the best of each score in bold."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    best = {c: max(row[c] for row in rows.values()) for c in columns}
    for name, row in rows.items():
        cells = [f"{row[c]:.{digits}f}" if digits else _three_digits(row[c]) for c in columns]
        if digits:
            cells = [
                f"**{cell}**" if row[c] == best[c] else cell
                for c, cell in zip(columns, cells, strict=True)
            ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def draw(path: Path, costs: dict[str, Row], scores: dict[str, Row], x: str, label: str) -> None:
    """Draw score against cost, everyday sounds and machines side by side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(12, 5.2), layout="constrained")
    for axes, task in zip(figure.subplots(1, 2), ("ESC-50", "CNC 5 clips"), strict=True):
        for name, row in scores.items():
            at = max(costs[name][x], 0.05 if x == "kB" else 1e-3)
            ours = (
                name.split("/")[-1] in ("general", "nano", "workshop") or name == "pruned/384/mn04"
            )
            axes.scatter(at, row[task], s=60, color="tab:red" if ours else "tab:gray")
            axes.annotate(
                name, (at, row[task]), xytext=(5, 4), textcoords="offset points", fontsize=8
            )
        axes.set(xscale="log", xlabel=label, ylabel=task, title=task)
        axes.margins(x=0.25)  # room for the names
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def remembered(model: Embeddings, task: Callable[[Embeddings], Row]) -> Row:
    """Return a task's scores of a model, computed once and kept beside its embeddings."""
    key = f"{PROTOCOL} {model.embedder.digest} {model.name} {task.__name__}"
    path = model.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not path.exists():
        path.write_text(json.dumps(task(model)), encoding="utf-8")
    scores: Row = json.loads(path.read_text(encoding="utf-8"))
    return scores


def differences(models: dict[str, Embeddings], scores: dict[str, Row]) -> str:
    """Return a Markdown table of how many points each int8 model scores above its float twin."""
    rows = {}
    for name, twin in models.items():
        in_float = remembered(twin, general_scores) | remembered(twin, machine_scores)
        rows[name] = {task: 100 * (scores[name][task] - in_float[task]) for task in in_float}
    columns = list(next(iter(rows.values())))
    lines = [f"| int8 - float, points | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[task]:+.1f}" for task in columns) + " |")
    return "\n".join(lines)


def report(models: list[Embeddings], twins: dict[str, Embeddings], out: Path) -> None:
    """Measure all models and write BENCHMARKS.md and its pictures."""
    costs, general, clips, machines = {}, {}, {}, {}
    for model in tqdm(models, "models"):
        costs[model.name] = cost(model)
        general[model.name] = remembered(model, general_scores)
        if model.name in CLIPS or model.embedder.spec.file is not None:
            clips[model.name] = remembered(model, clip_scores)
        machines[model.name] = remembered(model, machine_scores)
        tqdm.write(f"{model.name}: {general[model.name]} {machines[model.name]}")
    out.mkdir(parents=True, exist_ok=True)
    everything = {name: general[name] | machines[name] for name in general}
    draw(out / "score-size.png", costs, everything, "kB", "kB of the .tflite (log-mel: none)")
    draw(out / "score-time.png", costs, everything, "ms/frame", "ms of a one-second frame")
    text = TEXT.format(
        general=table("everyday sounds (accuracy)", general),
        clips=table("clips (accuracy)", clips),
        machines=table("machines", machines),
        costs=table("cost", costs, 0),
    )
    if twins:
        text += TWINS.format(differences=differences(twins, everything))
    (out / "BENCHMARKS.md").write_text(text, encoding="utf-8")


TEXT = """# Benchmarks

Written by `python benchmarks/probe.py DATA`. Frozen embeddings, the mean over one-second frames,
standardised features, logistic regression with the regularisation chosen inside the training folds.
No model of ours saw any of these recordings: they were trained on other audio (weights/README.md).
LISTEN's `cnc` was made by the people who recorded the CNC set. Every table has the log-mel
statistics beside the networks: on steady machine sound they are hard to beat, and their means alone
harder still.

{general}

One vector for a whole clip, `Embedder.embed_clip`: the mean over whole frames that cover it, or one
pass over all of it. Each model's card says which of the two is its own. A model whose network takes
frames of one length only has the mean in both columns.

{clips}

CNC: macro-F1 on cnc-onsite's test clips after 1, 5 or 20 training clips a class (the mean of twenty
draws; 20 are all there are). UAV: 16 fault configurations of uav-propeller (accuracy over
recording-disjoint folds), and the AUC of telling broken propellers by the distance to the nearest
normal flight; levels are normalised, and machine noise of us8k-part is mixed in. 124 flights make
steps of 0.008: a difference of a few steps means little. The constants behind `listen/64/workshop`
were chosen with this table in view (weights/README.md).

{machines}

Times are of one machine and moment: compare them with each other, not with other tables.
Multiply-accumulates are per second of audio without overlap.

{costs}

![score against size](score-size.png)
![score against time](score-time.png)
"""


TWINS = """
## What int8 costs

The same weights in int8 and in float, every score of one minus that of the other. One clip is 0.05
points on ESC-50, 0.6 on CNC and 0.8 on UAV, and a probe on one or five clips a class may turn on a
single one of them.

{differences}
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", help="all baselines and shipped models by default")
    parser.add_argument("--float", type=Path, metavar="RUN", help="where `make students` worked")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--cache", type=Path, default=Path("training-runs/probe"))
    args = parser.parse_args()
    shipped = [spec.name for spec in listen_embed.registry.models() if spec.file is not None]
    folders = {
        name: args.float / "models" / name.replace("/", "-") / "float"
        for name in shipped
        if args.float
    }
    folders = {name: folder for name, folder in folders.items() if folder.is_dir()}
    warnings.simplefilter("ignore", listen_embed.ListenEmbedWarning)
    models = [Embeddings(args.data, m, args.cache) for m in args.models or (*BASELINES, *shipped)]
    measured = {model.name for model in models}
    twins = {
        name: Embeddings(args.data, str(folder), args.cache)
        for name, folder in folders.items()
        if name in measured
    }
    report(models, twins, args.out)


if __name__ == "__main__":
    main()
