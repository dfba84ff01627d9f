"""YAMNet: the cut file gives what the whole one computes on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import convert, yamnet
from listen_embed.upstream.graph import GraphBuilder, pack, schema

from . import reference as ref

NAME = "yamnet_frames/global_average_pooling2d/Mean"
FILE = "weights-upstream/yamnet/yamnet_waveform_drq.tflite"


def small_file(path: Path, rng: Any, *, name: str = NAME) -> tuple[Path, Any]:
    """Write a file with YAMNet's end: an average of that name, a dense layer, a sigmoid."""
    weights = rng.standard_normal((5, 1, 3, 1))
    graph = GraphBuilder()
    x = graph.reshape(graph.input((24,)), (1, 8, 3, 1))
    x = graph.conv2d(x, weights, np.zeros(5), padding="valid")
    mean = graph.mean(x, (1, 2))
    scores = graph.logistic(graph.fully_connected(mean, rng.standard_normal((9, 5)), np.zeros(9)))
    model = schema().ModelT.InitFromPackedBuf(graph.finish([scores]), 0)
    model.subgraphs[0].tensors[mean.index].name = f"{name};another/name"
    path.write_bytes(pack(model))
    return path, weights


def whole(content: bytes, waveform: Any, tensor: int) -> Any:
    """Return an inner tensor of an uncut file."""
    from ai_edge_litert.interpreter import Interpreter

    with pytest.warns(UserWarning, match="experimental_preserve_all_tensors"):
        interpreter = Interpreter(
            model_content=content, num_threads=1, experimental_preserve_all_tensors=True
        )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform)
    interpreter.invoke()
    return interpreter.get_tensor(tensor)


def test_small_file_is_cut_at_the_average(tmp_path: Path, rng: Any) -> None:
    path, weights = small_file(tmp_path / "a.tflite", rng)
    content = convert(path, "yamnet", input_shape=(24,), emb_dim=5)
    waveform = rng.standard_normal(24)
    expected = waveform.reshape(8, 3) @ weights[:, 0, :, 0].T
    np.testing.assert_allclose(ref.run(content, waveform)[0], expected.mean(0), atol=1e-5)


def test_nothing_of_the_classifier_stays(tmp_path: Path, rng: Any) -> None:
    path, _ = small_file(tmp_path / "a.tflite", rng)
    content = convert(path, "yamnet", input_shape=(24,), emb_dim=5)
    before, after = (schema().ModelT.InitFromPackedBuf(c, 0) for c in (path.read_bytes(), content))
    sizes = [(len(m.subgraphs[0].operators), len(m.operatorCodes)) for m in (before, after)]
    assert sizes == [(5, 5), (3, 3)]
    buffers = {tensor.buffer for tensor in after.subgraphs[0].tensors} | {0}
    assert buffers == set(range(len(after.buffers)))
    assert len(content) < path.stat().st_size


def test_published_file(shared: Path, rng: Any) -> None:
    content = convert(shared / FILE, "yamnet", input_shape=(15600,), emb_dim=1024)
    published = (shared / FILE).read_bytes()
    assert 3_000_000 < len(content) < len(published)
    for gain in (0.0, 1e-3, 0.3):
        waveform = (gain * rng.standard_normal(15600)).astype(np.float32)
        expected = whole(published, waveform, tensor=112)
        np.testing.assert_array_equal(ref.run(content, waveform), expected)


def test_equal_files_give_equal_bytes(tmp_path: Path, rng: Any) -> None:
    path, _ = small_file(tmp_path / "a.tflite", rng)
    first, second = (yamnet.convert(path, input_shape=(24,), emb_dim=5) for _ in "ab")
    assert first == second


# -- files that are something else ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["another/Mean", f"{NAME}/reduction_indices", ""])
def test_other_networks_are_refused(tmp_path: Path, rng: Any, name: str) -> None:
    path, _ = small_file(tmp_path / "a.tflite", rng, name=name)
    with pytest.raises(ConversionError, match="0 tensors are called"):
        yamnet.convert(path, input_shape=(24,), emb_dim=5)


def test_impossible_requests_are_refused(tmp_path: Path, rng: Any) -> None:
    path, _ = small_file(tmp_path / "a.tflite", rng)
    with pytest.raises(ConversionError, match=r"Mean has the shape \(1, 5\), expected \(1, 1024\)"):
        yamnet.convert(path, input_shape=(24,), emb_dim=1024)
    with pytest.raises(ConversionError, match=r"\(24,\), expected \(15600,\)"):
        yamnet.convert(path, input_shape=(15600,), emb_dim=5)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" + bytes(99), b"x" * 999]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=r"a\.tflite|subgraphs"):
        yamnet.convert(path, input_shape=(24,), emb_dim=5)


def test_flipped_bits_never_raise_anything_else(tmp_path: Path, rng: Any) -> None:
    whole_file = small_file(tmp_path / "a.tflite", rng)[0].read_bytes()
    path = tmp_path / "b.tflite"
    refusals = 0
    for _ in range(400):
        changed = bytearray(whole_file)
        changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            yamnet.convert(path, input_shape=(24,), emb_dim=5)
        except ConversionError:
            refusals += 1
    assert 20 < refusals < 400
