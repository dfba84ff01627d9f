"""What does training without labels give? Encoders side by side, log-mel statistics beside.

    python benchmarks/pretrain.py DATA RUNS [--steps 3000] [--methods SSAST ASiT SSAMBA]
                                   [--only train probe tune teach scale steps]

DATA is as in benchmarks/probe.py, with ``fsdd-mini`` and unlabelled recordings (``unlabelled`` and
``unlabelled-2``), which alone the encoders hear. RUNS keeps checkpoints, models and scores: what is
there is not made again. Writes docs/PRETRAINING.md and its pictures.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import probe
import torch
from numpy.typing import NDArray

from listen_embed.output import replacing
from listen_embed.pretrain import export, pretrain
from listen_embed.pretrain.encoder import Encoder, count_weights, front_end, sized
from listen_embed.pretrain.material import log_mels_of
from listen_embed.pretrain.method import Batch
from listen_embed.pretrain.pretrain import Options
from listen_embed.training import convert, corpus
from listen_embed.training.export import Trained
from listen_embed.training.precision import autocast
from listen_embed.training.specialize import Options as SpecializeOptions
from listen_embed.training.specialize import specialize
from listen_embed.training.starts import TEACHER

Array = NDArray[np.float32]

# ASiT hears two views of a clip: half as many clips are as many crops a step.
METHODS: dict[str, dict[str, Any]] = {
    "SSAST": {"method": "ssast"},
    "ASiT": {"method": "asit", "batch": 16},
    "SSAMBA": {"method": "ssast", "encoder": "state-space"},
}
POOLS = ("mean", "bands")
STATISTICS = "logmel/128/16k"
LENGTHS = (512, 1024, 2048, 4096, 8192, 22_000)
FORMS = ("attention as published", "fused attention", "state space")
SHARES = (0.1, 0.5, 1.0)
TUNING_STEPS = 300
MACHINE_STEPS = 600
TAUGHT = SpecializeOptions(n_shards=16, shard_size=1024, passes=3, int8_shards=2, workers=0)
VERDICT = """## What the curves say

The right-hand picture asks, without labels, whether a crop finds the recording that it was cut
from among 400. SSAST and SSAMBA rise there for half of the run and stay; on ESC-50 both are well
ahead of what `--steps 1000` gives. By the mean of its tokens SSAMBA is ahead of the untrained
network on every row, and by a quarter on average, where the goal was a fifth. By bands it is not,
and SSAST and ASiT are not: everyday sound gains, machines lose.

Machines differ in level and in their mean spectrum. The random projection of an untrained network
keeps both, log-mel statistics are both, and telling the patches of one clip apart takes neither:
there statistics stay ahead of all.

ASiT learns later than SSAST: for half of the run its curve falls, and then it rises, since its
teacher is an average of a network that must know something first. On everyday sound it has passed
the untrained network, and its averages stay behind SSAST's. More steps, and larger batches, which
its centres are estimated from, are the levers; the same command takes a CUDA device where there is
one.

Of the two students of machines, that of the encoder which heard machines is ahead on propellers in
noise, and that of mn04 on the states of a CNC machine, although there its teacher is not.

Trained on with labels, SSAST and SSAMBA are ahead of the same networks from scratch at every share
of the labels.
"""
PARTS = ("probe", "tune", "teach", "scale", "steps")


def trained(data: Path, runs: Path, name: str, steps: int) -> Path:
    """Return a pretrained encoder's folder."""
    folder = runs / name
    if not (folder / "model.toml").exists():
        recordings = [data / part for part in ("unlabelled", "unlabelled-2")]
        options = Options(n_steps=steps, keep=True, **METHODS[name])
        pretrain.pretrain([path for path in recordings if path.exists()], folder, options)
    return folder


def pooled(runs: Path, name: str, encoder: Encoder, pool: str) -> Path:
    """Return the model folder of an encoder with one of the two embeddings."""
    folder = runs / f"{name}-{pool}"
    if not (folder / "model.toml").exists():
        architecture = encoder.architecture
        fields = {f: getattr(architecture, f) for f in architecture.__slots__} | {"pool": pool}
        other = Encoder(type(architecture)(**fields))
        other.load_state_dict(encoder.state_dict())
        n_steps = Options().n_frame_steps
        float_model = convert.to_float(other.eval(), (128, n_steps))
        both = Trained(float_model, float_model)
        export.write(folder, other, both, n_steps, "-", {}, "", lambda place: None)
    return folder


def encoders(data: Path, runs: Path, steps: int, methods: list[str]) -> dict[str, Encoder]:
    """Return all encoders by name, the untrained ones too."""
    found: dict[str, Encoder] = {}
    for name in methods:
        kind = METHODS[name].get("encoder", "transformer")
        if f"untrained {kind}" not in found:
            torch.manual_seed(0)
            found[f"untrained {kind}"] = Encoder(sized("micro", kind)).eval()
        found[name] = pretrain.load(trained(data, runs, name, steps))
    return found


def frozen(model: probe.Embeddings) -> dict[str, float]:
    """Return what a linear probe on frozen embeddings makes of each set."""
    esc, us8k = model.of("esc50-16k"), model.of("us8k-part")
    digits = model.of("fsdd-mini")
    uav = model.of("uav-propeller", probe.Noise(model.data, 0.0), "noise 0 dB")
    return {
        "ESC-50": probe.across_folds(esc.mean, esc.column("label"), esc.column("fold")),
        "US8K 1<->3": probe.across_folds(us8k.mean, us8k.column("label"), us8k.column("fold")),
        "digits": probe.across_folds(digits.mean, digits.column("label"), digits.column("speaker")),
        "CNC 5 clips": probe.few_shot(model.of("cnc-onsite"), 5),
        "UAV config 0 dB": probe.across_folds(uav.mean, uav.column("config"), uav.column("fold")),
    }


def probe_all(
    data: Path, runs: Path, steps: int, methods: list[str]
) -> dict[str, dict[str, float]]:
    """Return the table of frozen probes."""
    scores: dict[str, dict[str, float]] = {}
    for name, encoder in encoders(data, runs, steps, methods).items():
        for pool in POOLS:
            folder = pooled(runs, name.replace(" ", "-"), encoder, pool)
            row = frozen(probe.Embeddings(data, str(folder), runs / "cache"))
            scores[f"{name}, {pool}"] = row
            print(name, pool, row, flush=True)
    for model in (STATISTICS, f"{STATISTICS}:means"):
        row = frozen(probe.Embeddings(data, model, runs / "cache"))
        scores[model.replace(":", ", ")] = row
    return scores


def crops_of(data: Path, fold: str) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return ESC-50's log-mels (n, F, T) and labels: training folds, and the fold that is asked."""
    rows = probe.read_meta(data / "esc50-16k")
    names = sorted({row["label"] for row in rows})
    n = front_end().frame_samples
    sounds = [probe.load(data / "esc50-16k" / row["path"])[0] for row in rows]
    log_mels = log_mels_of(np.stack([np.resize(s, 2 * n)[:n] for s in sounds]), 256)
    labels = np.array([names.index(row["label"]) for row in rows])
    asked = np.array([row["fold"] == fold for row in rows])
    return (log_mels[~asked], labels[~asked]), (log_mels[asked], labels[asked])


def tuned(encoder: Encoder, known: tuple[Array, Array], asked: tuple[Array, Array]) -> float:
    """Return the accuracy of an encoder that was trained on with labels, end to end."""
    torch.manual_seed(0)
    encoder = copy.deepcopy(encoder).train()
    head = torch.nn.Linear(encoder.architecture.emb_dim, 50)
    weights = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW([w for w in weights if w.requires_grad], lr=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, TUNING_STEPS)
    rng = np.random.default_rng(0)
    for _ in range(TUNING_STEPS):
        rows = rng.integers(len(known[0]), size=32)
        shifts = rng.integers(-64, 64, 32)
        log_mels = np.stack([np.roll(known[0][r], s, 1) for r, s in zip(rows, shifts, strict=True)])
        with autocast():
            scores = head(encoder(torch.from_numpy(log_mels)[:, None]))
        loss = torch.nn.functional.cross_entropy(scores.float(), torch.from_numpy(known[1][rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    encoder.eval()
    with torch.no_grad():
        parts = torch.from_numpy(asked[0])[:, None].split(64)
        said = torch.cat([head(encoder(part)).argmax(1) for part in parts]).numpy()
    return float(np.mean(said == asked[1]))


def tune_all(data: Path, runs: Path, steps: int, methods: list[str]) -> dict[str, dict[str, float]]:
    """Return the table of fine-tuned encoders, fold 1 of ESC-50 asked."""
    known, asked = crops_of(data, "1")
    order = np.random.default_rng(0).permutation(len(known[0]))
    scores = kept(runs, "tune")
    for name, encoder in encoders(data, runs, steps, methods).items():
        row: dict[str, float] = {}
        for share in SHARES if name not in scores else ():
            some = order[: round(share * len(order))]
            score = tuned(encoder, (known[0][some], known[1][some]), asked)
            row[f"{share:.0%} of the labels"] = score
            print(name, share, score, flush=True)
        if row:
            scores[name] = row
            (runs / "tune.json").write_text(json.dumps(scores, indent=1))
    return scores


def machines(data: Path) -> list[Path]:
    """Return the unlabelled recordings of machines."""
    folders = [data / part for part in ("unlabelled", "unlabelled-2") if (data / part).exists()]
    return [
        folder / row["path"]
        for folder in folders
        for row in probe.read_meta(folder)
        if row["category"] == "machine"
    ]


def machine_encoder(data: Path, runs: Path) -> Path:
    """Return the model folder of an encoder that has heard machines alone."""
    folder = runs / "machines"
    if not (folder / "model.toml").exists():
        options = Options(n_steps=MACHINE_STEPS, keep=True, **METHODS["SSAMBA"])
        pretrain.pretrain(machines(data), folder, options)
    return pooled(runs, "machines", pretrain.load(folder), "bands")


def teach_all(data: Path, runs: Path) -> dict[str, dict[str, float]]:
    """Return the machine table of students of two teachers, and of those themselves."""
    own = str(machine_encoder(data, runs))
    scores: dict[str, dict[str, float]] = {}
    for name, teacher in {"encoder of machines": own, "mn04": TEACHER}.items():
        folder = runs / f"taught-by-{Path(teacher).name}"
        if not (folder / "model.toml").exists():
            specialize(machines(data), folder, replace(TAUGHT, teachers=(teacher,)))
        for title, model in {
            f"student of {name}": str(folder),
            f"teacher: {name}": teacher,
        }.items():
            scores[title] = probe.machine_scores(probe.Embeddings(data, model, runs / "cache"))
            print(title, scores[title], flush=True)
    for model in (STATISTICS, f"{STATISTICS}:means"):
        row = probe.machine_scores(probe.Embeddings(data, model, runs / "cache"))
        scores[model.replace(":", ", ")] = row
    return scores


def cost_of(form: str, n_tokens: int) -> dict[str, float]:
    """Return seconds and peak memory of a tiny encoder on so many tokens, in a fresh process."""
    command = [sys.executable, __file__, "--cost", form, str(n_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def measure(form: str, n_tokens: int) -> None:
    """Print what `cost_of` returns."""
    from listen_embed.pretrain import transformer

    torch.set_num_threads(1)
    transformer._LONG = n_tokens if form == FORMS[0] else 0
    kind = "state-space" if form == FORMS[2] else "transformer"
    encoder = Encoder(sized("tiny", kind)).eval()
    high = encoder.architecture.grid[0]
    rows = torch.randn(1, n_tokens // high * high, encoder.architecture.width)
    with torch.no_grad():
        encoder.tokens(rows[:, : 8 * high])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        encoder.tokens(rows)
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "MB": peak / 1024}))


def scale_all() -> dict[str, dict[str, float]]:
    """Return time and memory by form and length."""
    table: dict[str, dict[str, float]] = {}
    for n_tokens in LENGTHS:
        row: dict[str, float] = {}
        for form in FORMS:
            cost = cost_of(form, n_tokens)
            row |= {f"{form}, s": cost["seconds"], f"{form}, MB": cost["MB"]}
        table[f"{n_tokens}"] = row
        print(n_tokens, row, flush=True)
    return table


def seconds_of_step(name: str) -> dict[str, float]:
    """Return what a step of 32 crops takes on noise, the batch being there: the fastest of five."""
    options = Options(**METHODS[name])
    kind = pretrain.METHODS[options.method]
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    method = kind(options.architecture)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-4)
    n_steps, n_views = options.architecture.n_steps, kind.n_views + kind.borrows
    log_mels = 0.5 * torch.randn(options.batch, n_views, 128, n_steps)
    masks = np.stack([kind.masks(options.architecture, rng) for _ in range(options.batch)])
    batch = Batch(log_mels, torch.from_numpy(masks))
    taken = []
    for _ in range(6):
        begin = time.perf_counter()
        with autocast():
            loss = method(batch).total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        taken.append(time.perf_counter() - begin)
    return {"seconds a step": min(taken[1:])}


def step_all() -> dict[str, dict[str, float]]:
    """Return what a training step takes, method by method."""
    return {name: seconds_of_step(name) for name in METHODS}


def gains(scores: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return by how many percent each trained encoder is ahead of the same one untrained."""
    found = {}
    for name in METHODS:
        kind = METHODS[name].get("encoder", "transformer")
        for pool in POOLS:
            row, start = (scores.get(f"{n}, {pool}") for n in (name, f"untrained {kind}"))
            if row and start:
                percents = {task: 100 * (row[task] / start[task] - 1) for task in row}
                found[f"{name}, {pool}"] = percents | {"average": np.mean([*percents.values()])}
    return found


def draw_scale(path: Path, table: dict[str, dict[str, float]]) -> None:
    """Draw time and memory over the length."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axes, unit in zip(panels, ("s", "MB"), strict=True):
        for form in FORMS:
            rows = {int(n): row[f"{form}, {unit}"] for n, row in table.items()}
            axes.loglog(rows.keys(), rows.values(), marker="o", label=form)
        axes.set(xlabel="tokens", ylabel=unit)
    panels[0].legend()
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)


def draw_curves(path: Path, runs: Path) -> None:
    """Draw the error of imagined patches, and how often a crop finds its own recording."""
    import matplotlib.pyplot as plt

    figure, (errors, found) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in METHODS:
        if not (runs / name / "report.json").exists():
            continue
        told = json.loads((runs / name / "report.json").read_text(encoding="utf-8"))
        rows = {row["step"]: row["parts"]["reconstruction"] for row in told["history"]}
        errors.plot(rows.keys(), rows.values(), label=name)
        found.plot(*zip(*told["probe"], strict=True), marker="o", label=name)
        found.axhline(told["log-mel statistics"], color="gray", linestyle=":")
    errors.set(xlabel="step", ylabel="error of imagined patches", yscale="log")
    found.set(xlabel="step", ylabel="crops that find their recording")
    found.set_title("dotted: log-mel statistics")
    errors.legend()
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)


def page(runs: Path, steps: int) -> str:
    """Return docs/PRETRAINING.md."""
    found = {part: kept(runs, part) for part in PARTS}
    weights = {
        kind: count_weights(Encoder(sized("micro", kind)))
        for kind in ("transformer", "state-space")
    }
    hours = json.loads((runs / "sound.json").read_text(encoding="utf-8"))["hours"]
    text = [
        "# Training without labels",
        "",
        "Made by `python benchmarks/pretrain.py DATA RUNS`. Micro encoders "
        f"({weights['transformer']:,} weights with attention, {weights['state-space']:,} with a "
        f"state space) heard {hours:.1f} hours of unlabelled sound: {steps} steps of 32 crops of "
        "2.6 s. None of the sets below was among it.",
        "",
    ]
    if found["probe"]:
        text += [
            "Frozen embeddings, a linear probe; *mean* is the mean of all tokens, *bands* one "
            "vector for each of the eight rows of patches. Digits are asked of speakers that the "
            "probe has not heard. The untrained rows are the same networks before the first step.",
            "",
            probe.table("Frozen", found["probe"]),
            "",
            "By how many percent training has improved on the untrained network:",
            "",
            probe.table("Percent", gains(found["probe"]), 1),
            "",
        ]
    if found["tune"]:
        text += [
            "Trained on with labels, end to end, "
            f"{TUNING_STEPS} steps; ESC-50, fold 1 asked, 2.6 s of each clip.",
            "",
            probe.table("Fine-tuned", found["tune"]),
            "",
        ]
    if found["teach"]:
        text += [
            f"A teacher from one's own sound: a SSAMBA encoder after {MACHINE_STEPS} steps on the "
            "unlabelled recordings of machines alone, and mn04, each teaching a 64 kB student "
            "through `specialize` on these recordings, same settings. Columns as in the machine "
            "table of BENCHMARKS.md.",
            "",
            probe.table("Machines", found["teach"]),
            "",
        ]
    if found["scale"]:
        text += [
            "A whole tiny encoder on one sound, float32, one thread: seconds, and what its memory "
            "grew by.",
            "",
            probe.table("Length", found["scale"], 0),
            "![time and memory over the length](pretraining-scale.png)",
            "",
        ]
    if found["steps"]:
        text += [
            "A step of 32 crops on one thread, without making the batch, the fastest of five:",
            "",
            probe.table("Step", found["steps"], 0),
            "",
        ]
    text += ["![error and probe over training](pretraining-curves.png)", "", VERDICT]
    return "\n".join(text)


def kept(runs: Path, part: str) -> dict[str, dict[str, float]]:
    """Return what an earlier call measured."""
    path = runs / f"{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--only", nargs="*", default=["train", *PARTS])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if "train" in args.only:
        for name in args.methods:
            trained(args.data, args.runs, name, args.steps)
    heard = corpus.open_corpus(args.runs / "SSAST.work" / "corpus")
    sound = {"hours": len(heard.samples) / heard.sr / 3600}
    (args.runs / "sound.json").write_text(json.dumps(sound))
    tasks = {
        "probe": lambda: probe_all(args.data, args.runs, args.steps, args.methods),
        "tune": lambda: tune_all(args.data, args.runs, args.steps, args.methods),
        "teach": lambda: teach_all(args.data, args.runs),
        "scale": scale_all,
        "steps": step_all,
    }
    for part, task in tasks.items():
        if part in args.only:
            rows = kept(args.runs, part) | task()  # other methods' rows stay
            (args.runs / f"{part}.json").write_text(json.dumps(rows, indent=1))
    if scale := kept(args.runs, "scale"):
        draw_scale(args.out / "pretraining-scale.png", scale)
    draw_curves(args.out / "pretraining-curves.png", args.runs)
    (args.out / "PRETRAINING.md").write_text(page(args.runs, args.steps), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cost"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
