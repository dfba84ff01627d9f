"""LEAN, which hears a log-mel and a waveform, in C and in ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import Embedder
from listen_embed.device import check
from listen_embed.device.export import export_c
from listen_embed.device.model_source import Options
from listen_embed.graph import read_graph
from listen_embed.registry import load_folder

from ..device.one import by_tflm, in_c


@pytest.mark.parametrize("mode", ["xnn", "reference"])
def test_c_gives_the_bytes_of_its_interpreter(
    lean_folder: Path, tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check.boards, "are_installed", lambda: False)  # they would take minutes
    spec, model = load_folder(lean_folder), (lean_folder / "model.tflite").read_bytes()
    made = export_c(spec, tmp_path / "c", Options(mode=mode), model)
    report = check.check(tmp_path / "c", spec, model, Options(mode=mode), made)
    assert report.pictures_equal > 0.999
    if mode == "xnn":
        assert report.networks_equal == 1.0
        return
    run, graph = in_c(model, tmp_path / "network", mode), read_graph(model)
    for seed in range(3):
        chance = np.random.default_rng(seed)
        shapes = [graph.tensors[i].shape for i in graph.inputs]
        given = [chance.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
        found = run(*given)
        assert np.array_equal(found, by_tflm(model, *given)) and len(np.unique(found)) > 8


def test_onnx_takes_samples_or_both_features(lean_folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    from listen_embed.onnx.export import compare, to_onnx

    for with_front_end in (True, False):
        agreement = compare(
            to_onnx(lean_folder, with_front_end=with_front_end), Embedder(lean_folder)
        )
        assert agreement.is_integer and agreement.is_kept
    in_float = lean_folder / "float"
    assert compare(to_onnx(in_float), Embedder(in_float)).is_kept
