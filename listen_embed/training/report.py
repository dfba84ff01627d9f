"""Pictures of a training run: how it went, what the reduction kept, how close int8 comes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listen_embed.graph import macs, peak_bytes
from listen_embed.output import replacing
from listen_embed.runtime import Network
from listen_embed.training import streaming_report
from listen_embed.training.distill import Lesson
from listen_embed.training.export import Trained
from listen_embed.training.reduction import Reduction
from listen_embed.training.shards import Shard
from listen_embed.training.verdict import OWN, Verdict

_N_CROPS = 256


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model costs and how well it follows its teacher, on held-out crops.

    Attributes
    ----------
    cosine_float, cosine_int8 : list of float
        Cosine of each crop's embedding to the reduced teacher embedding.
    float_to_int8 : float
        Mean cosine between the two models.
    float_bytes, int8_bytes, macs, arena_bytes : int
    float_ms, int8_ms : float
        Of one frame in the interpreter, one thread, measured side by side.
    state_bytes : int
        Of a model that streams: what it carries from step to step.
    forgetting : list of float
        Of a model that streams: after each step of one sound that follows two different pasts, the
        distance of the two embeddings, over what it was before that sound.
    """

    cosine_float: list[float]
    cosine_int8: list[float]
    float_to_int8: float
    float_bytes: int
    int8_bytes: int
    macs: int
    arena_bytes: int
    float_ms: float
    int8_ms: float
    state_bytes: int = 0
    forgetting: list[float] = field(default_factory=list)


def measure(trained: Trained, held_out: Shard, reduction: Reduction) -> Figures:
    """Return the figures of a model on crops that nothing was decided by."""
    features = np.asarray(held_out.features[0][:_N_CROPS], np.float32)
    wanted = reduction(held_out.targets[:_N_CROPS])
    wanted = wanted.reshape(-1, wanted.shape[-1])
    run = streaming_report.run if trained.stepping else _run
    by_float, float_ms = run(trained, trained.float_model, features)
    by_int8, int8_ms = run(trained, trained.int8_model, features)
    return Figures(
        cosine_float=_cosine(by_float, wanted).tolist(),
        cosine_int8=_cosine(by_int8, wanted).tolist(),
        float_to_int8=float(_cosine(by_float, by_int8).mean()),
        float_bytes=len(trained.float_model),
        int8_bytes=len(trained.int8_model),
        macs=macs(trained.int8_model),
        arena_bytes=peak_bytes(trained.int8_model),
        float_ms=float_ms,
        int8_ms=int8_ms,
        **streaming_report.memory(trained, features),
    )


def write(
    folder: Path,
    figures: Figures,
    reduction: Reduction,
    history: list[Lesson],
    verdict: Verdict | None,
    title: str,
) -> None:
    """Write ``report.json`` and ``report.png`` into a model folder."""
    content = asdict(figures) | {
        "variance_kept": reduction.variance_kept.tolist(),
        "history": [asdict(row) for row in history],
    }
    if verdict is not None:
        content["verdict"] = asdict(verdict) | {
            "sentence": verdict.sentence,
            "advice": verdict.advice,
        }
    with replacing(folder / "report.json") as file:
        file.write(json.dumps(content, indent=1).encode())
    draw(folder / "report.png", figures, reduction, history, verdict, title)


def in_words(figures: Figures, verdict: Verdict | None) -> str:
    """Return the figures, and the verdict if there is one, as Markdown for a model card."""
    rows = "\n".join(f"| {name} | {a} | {b} |" for name, a, b in _rows(figures)[1:4])
    text = f"| on crops that nothing was decided by | float | int8 |\n|---|--:|--:|\n{rows}\n"
    if figures.state_bytes:
        text += streaming_report.in_words(figures.state_bytes, figures.forgetting)
    if verdict is None:
        return text
    scores = "\n".join(f"| {name} | {score:.3f} |" for name, score in verdict.scores.items())
    told = (f"**{verdict.sentence}**", verdict.advice, f"Below is the {verdict.basis}.")
    return f"{text}\n{' '.join(filter(None, told))}\n\n| model | score |\n|---|--:|\n{scores}\n"


def draw(
    path: Path,
    figures: Figures,
    reduction: Reduction,
    history: list[Lesson],
    verdict: Verdict | None,
    title: str,
) -> None:
    """Draw one picture of four parts, or of five with a verdict."""
    from matplotlib.figure import Figure

    rows = ["ab", "cd"] if verdict is None else ["ab", "cd", "ee"]
    figure = Figure(figsize=(11, 3.75 * len(rows)), layout="constrained")
    figure.suptitle(f"{title}: {figures.int8_bytes / 1000:.0f} kB int8", fontsize=14)
    parts = figure.subplot_mosaic("\n".join(rows))
    _draw_history(parts["a"], history)
    _draw_variance(parts["b"], reduction)
    _draw_angles(parts["c"], figures)
    _draw_table(parts["d"], figures)
    if verdict is not None:
        _draw_verdict(parts["e"], verdict)
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format="png")


def _draw_verdict(axes: Any, verdict: Verdict) -> None:
    names, scores = list(verdict.scores)[::-1], list(verdict.scores.values())[::-1]
    colours = ["tab:orange" if name == OWN else "tab:blue" for name in names]
    bars = axes.barh(names, scores, color=colours)
    axes.bar_label(bars, [f"{score:.3f}" for score in scores], padding=3)
    axes.set(title=verdict.sentence, xlim=(0, 1.05), xlabel=verdict.basis)


def _draw_history(axes: Any, history: list[Lesson]) -> None:
    steps = np.arange(1, len(history) + 1)
    axes.plot(steps, [row.loss for row in history], color="tab:gray", label="training loss")
    axes.plot(steps, [row.error for row in history], color="tab:orange", label="held-out error")
    axes.set(title="Learning", xlabel="shards", ylabel="squared error / variance", yscale="log")
    other = axes.twinx()
    other.plot(steps, [row.cosine for row in history], color="tab:blue", label="held-out cosine")
    other.set(ylim=(0, 1), ylabel="cosine to the teacher")
    handles = axes.get_lines() + other.get_lines()
    axes.legend(handles, [line.get_label() for line in handles], loc="center right", frameon=False)


def _draw_variance(axes: Any, reduction: Reduction) -> None:
    kept = reduction.variance_kept
    axes.fill_between(np.arange(1, len(kept) + 1), 100 * kept, alpha=0.3)
    axes.plot(np.arange(1, len(kept) + 1), 100 * kept)
    axes.set(
        title=f"The reduction keeps {100 * kept[-1]:.1f} % of the variance",
        xlabel="components", ylabel="%", ylim=(0, 105), xlim=(1, max(2, len(kept))),
    )  # fmt: skip


def _draw_angles(axes: Any, figures: Figures) -> None:
    bins = np.linspace(min(0.0, *figures.cosine_float, *figures.cosine_int8), 1, 41)
    for name, values in (("float", figures.cosine_float), ("int8", figures.cosine_int8)):
        label = f"{name}: mean {np.mean(values):.3f}"
        axes.hist(values, bins, histtype="step", linewidth=2, label=label)
    axes.set(title="Held-out crops", xlabel="cosine to the teacher", ylabel="crops")
    axes.legend(loc="upper left", frameon=False)


def _draw_table(axes: Any, figures: Figures) -> None:
    axes.axis("off")
    rows = _rows(figures)
    table = axes.table(
        rows,
        colLabels=("", "float", "int8"),
        colWidths=(0.48, 0.26, 0.26),
        loc="center",
        cellLoc="right",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(11)
    table.scale(1, 1.8)


def _rows(figures: Figures) -> list[tuple[str, str, str]]:
    cosines = [f"{np.mean(cosine):.3f}" for cosine in (figures.cosine_float, figures.cosine_int8)]
    return [
        ("size", f"{figures.float_bytes:,} B", f"{figures.int8_bytes:,} B"),
        ("time of a frame", f"{figures.float_ms:.2f} ms", f"{figures.int8_ms:.2f} ms"),
        ("cosine to the teacher", cosines[0], cosines[1]),
        ("cosine float to int8", "", f"{figures.float_to_int8:.4f}"),
        ("multiply-accumulates", "", f"{figures.macs:,}"),
        ("tensor arena", "", f"{figures.arena_bytes:,} B"),
    ]


def _run(
    trained: Trained, model: bytes, features: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    network = Network(model, threads=1)
    network(features[:8])
    begin = time.perf_counter()
    embeddings = network(features)
    return embeddings, 1000 * (time.perf_counter() - begin) / len(features)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: NDArray[np.float32] = (a * b).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosine
