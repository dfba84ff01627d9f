"""The package's one door."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from listen_embed import upstream
from listen_embed.errors import ConversionError

from .seeded_l3 import write_seeded_l3


def test_unknown_converter_lists_the_known_ones(tmp_path: Path) -> None:
    expected = r"'onnx'.*efficientat, keras_l3, listen, yamnet"
    with pytest.raises(ConversionError, match=expected):
        upstream.convert(tmp_path / "a", "onnx", input_shape=(8, 8), emb_dim=8)


@pytest.mark.parametrize("name", upstream.converters())
def test_every_converter_refuses_what_is_no_weights_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"no weights at all")
    shape = (8,) if name == "yamnet" else (8, 8)
    for file in (path, tmp_path / "absent"):
        with pytest.raises(ConversionError):
            upstream.convert(file, name, input_shape=shape, emb_dim=8)


@pytest.mark.parametrize(("shape", "emb_dim"), [((), 8), ((0, 8), 8), ((8, -8), 8), ((8, 8), 0)])
def test_sizes_are_positive(tmp_path: Path, shape: tuple[int, ...], emb_dim: int) -> None:
    with pytest.raises(ConversionError, match="positive"):
        upstream.convert(tmp_path / "a", "keras_l3", input_shape=shape, emb_dim=emb_dim)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    path = str(write_seeded_l3(tmp_path / "a.h5", "tiny_sea"))
    content = upstream.convert(path, "keras_l3", input_shape=(8, 8), emb_dim=10)  # type: ignore[arg-type]
    assert content[4:8] == b"TFL3"


def test_import_is_light() -> None:
    heavy = ("h5py", "flatbuffers", "ai_edge_litert", "torch", "tensorflow")
    code = f"import sys, listen_embed.upstream; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
