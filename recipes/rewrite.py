"""Write shipped students anew: the weights as they are, the graph as the converter makes it today.

    python recipes/rewrite.py RECORDINGS... [--only NAME] --run training-runs

So a better form of a graph (a hard-swish that the CPU's delegate takes, means without a transpose)
reaches models without training. The ranges of int8 are chosen anew, on crops of the recordings. Of
this version's students `sea/128/general` and `pruned/384/mn04` were made so from 0.1.0's: going on
to train them (`continue.py`) made clips or frames of ESC-50 worse by up to 1.3 points. `--weights`
is a folder of 0.1.0's models, as there.

`listen/64/workshop` had 16-bit activations, which no delegate takes; its integers are written as
the numbers that they stand for, and its weights in int8 again, so that it computes in float32.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from students import build_corpora, plans, recipes

from listen_embed import registry
from listen_embed.graph import macs, peak_bytes, read_graph
from listen_embed.pretrain.export import cosine_of
from listen_embed.runtime import Network
from listen_embed.spec import ModelSpec
from listen_embed.training import convert, export, quantize
from listen_embed.training.restore import restore
from listen_embed.training.shards import shards

REWRITTEN = "| written anew | the weights as they were, by `python "
CALIBRATION = slice(512, 1024)


def rewrite(slug: str, identity: export.Identity, features: Any, weights: Path, run: Path) -> None:
    """Write a shipped folder anew; `features` are crops, float16 (N, n_bands, n_steps)."""
    spec = registry.load_folder(weights / slug)
    before = (weights / slug / "model.tflite").read_bytes()
    student = quantize.folded(restore(before))
    float_model = convert.to_float(student, spec.front_end.input_shape)
    typical = np.asarray(features[CALIBRATION], np.float32)
    after = convert.to_int8(float_model, typical)
    held_out = np.asarray(features[: CALIBRATION.start], np.float32)
    models = (before, after, float_model)
    old, new, exact = (Network(model)(held_out) for model in models)
    print(f"{slug}: {len(before)} -> {len(after)} bytes, cosine to float: "
          f"{cosine_of(old, exact):.4f} before, {cosine_of(new, exact):.4f} now")  # fmt: skip
    trained = export.Trained(float_model, after)
    put(slug, identity, spec, trained, weights, run, len(before))


def put(
    slug: str, identity: export.Identity, spec: ModelSpec, trained: export.Trained,
    weights: Path, run: Path, size: int,
) -> None:  # fmt: skip
    """Write a model in the place of one of `size` bytes; card and report keep how it was made."""
    folder = run / "rewritten" / slug
    folder.parent.mkdir(parents=True, exist_ok=True)
    export.write_folder(folder, identity, spec.front_end, trained, as_c=False)
    for name in ("model.toml", "model.tflite", "golden.npz"):
        shutil.copyfile(folder / name, weights / slug / name)
    update_card(weights / slug / "README.md", size, trained.float_model, trained.int8_model)
    update_report(weights / slug / "report.json", trained.float_model, trained.int8_model)


def in_float(model: bytes) -> bytes:
    """Return the float32 .tflite whose constants are what an integer one's stand for."""
    kinds = convert.schema().TensorType
    types = {
        kinds.INT8: np.int8,
        kinds.INT16: np.int16,
        kinds.INT32: np.int32,
        kinds.INT64: np.int64,
    }
    tree = convert.schema().ModelT.InitFromPackedBuf(model, 0)
    (graph,) = tree.subgraphs
    for tensor in graph.tensors:
        scales = None if tensor.quantization is None else tensor.quantization.scale
        if tensor.type not in types or scales is None or not len(scales):
            continue  # shapes and axes stay whole numbers
        buffer = tree.buffers[tensor.buffer]
        if buffer.data is not None and len(buffer.data):
            steps = np.frombuffer(bytes(buffer.data), types[tensor.type]).reshape(tensor.shape)
            values = (steps - _zero(tensor)) * _spread(scales, tensor, steps.ndim)
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        tensor.type, tensor.quantization = kinds.FLOAT32, None
    return convert.slimmed(convert.pack(tree))


def _zero(tensor: Any) -> int:
    """Return the zero point, of which a tensor of channels has only zeros."""
    points = tensor.quantization.zeroPoint
    return 0 if points is None or len(points) != 1 else int(points[0])


def _spread(scales: np.ndarray, tensor: Any, n_axes: int) -> np.ndarray:
    """Return scales beside the values: one, or one for each channel along its axis."""
    if len(scales) == 1:
        return np.asarray(scales, np.float64).reshape(())
    shape = [1] * n_axes
    shape[tensor.quantization.quantizedDimension] = len(scales)
    return np.asarray(scales, np.float64).reshape(shape)


def rewrite_in_float(slug: str, identity: export.Identity, weights: Path, run: Path) -> None:
    """Write a shipped folder anew whose activations were integers, as one of float32."""
    spec = registry.load_folder(weights / slug)
    before = (weights / slug / "model.tflite").read_bytes()
    float_model = in_float(before)
    after = convert.to_int8_weights(float_model)
    print(f"{slug}: {len(before)} -> {len(after)} bytes")
    put(slug, identity, spec, export.Trained(float_model, after), weights, run, len(before))


def update_card(card: Path, size: int, float_model: bytes, int8_model: bytes) -> None:
    """Put the new facts into a model card."""
    facts = {
        "int8 .tflite": f"{len(int8_model):,} bytes",
        "float .tflite": f"{len(float_model):,} bytes",
        "multiply-accumulates of a frame": f"{macs(int8_model):,}",
        "tensor arena (peak of live tensors)": f"{peak_bytes(int8_model):,} bytes",
        "bits of the activations": _bits(int8_model),
    }
    lines = []
    for line in card.read_text(encoding="utf-8").splitlines():
        name = line.split("|")[1].strip() if line.startswith("| ") else ""
        if line.startswith(REWRITTEN):
            continue
        lines.append(f"| {name} | {facts[name]} |" if name in facts else line)
        if name == "made by":
            lines.append(f"{REWRITTEN}recipes/rewrite.py RECORDINGS --only {card.parent.name}` |")
    card.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _bits(model: bytes) -> str:
    graph = read_graph(model)
    return {"INT8": "8", "FLOAT32": "32"}[graph.tensors[graph.outputs[0]].type]


def update_report(report: Path, float_model: bytes, int8_model: bytes) -> None:
    """Put the new sizes into a report; its figures of the training stay."""
    content = json.loads(report.read_text(encoding="utf-8"))
    content |= {
        "float_bytes": len(float_model),
        "int8_bytes": len(int8_model),
        "macs": macs(int8_model),
        "arena_bytes": peak_bytes(int8_model),
    }
    report.write_text(json.dumps(content, indent=1), encoding="utf-8")


def main() -> None:
    """Write the named students anew, or all that can be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recordings", nargs="+", type=Path)
    every = [shipped for shipped in plans(Path()) if shipped.material in ("general", "workshop")]
    parser.add_argument("--only", action="append", choices=[shipped.slug for shipped in every])
    parser.add_argument("--run", type=Path, default=Path("training-runs"))
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    args = parser.parse_args()
    chosen = [shipped for shipped in every if not args.only or shipped.slug in args.only]
    for shipped in chosen:
        if shipped.material == "workshop":
            rewrite_in_float(shipped.slug, shipped.plan.identity, args.weights, args.run)
    if general := [shipped for shipped in chosen if shipped.material == "general"]:
        recipe = recipes(build_corpora(args.recordings, args.run))["general"]
        held_out = next(shards(args.run / "general", recipe, 0, 1, workers=0))
        for shipped in general:
            features = held_out.features[recipe.front_ends.index(shipped.plan.front_end)]
            rewrite(shipped.slug, shipped.plan.identity, features, args.weights, args.run)


if __name__ == "__main__":
    main()
