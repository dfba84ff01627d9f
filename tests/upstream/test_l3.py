"""EdgeL3 and OpenL3: the converted graph against the network written in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import convert, keras_h5, l3

from . import reference as ref
from .seeded_l3 import Arrays, seeded_layers, write_layers, write_seeded_l3

Layers = list[tuple[str, Arrays]]


def forward(layers: Layers, logmel: Any, emb_dim: int) -> Any:
    """Return the embedding as Keras computes it: layer after layer, nothing folded."""
    x = logmel[:, :, np.newaxis].astype(np.float64)
    convolutions = 0
    for _, arrays in layers:
        if "gamma" in arrays:
            x = ref.batch_norm(x, *arrays.values(), 1e-3)
            x = ref.relu(x) if convolutions else x
        elif "kernel" in arrays:
            if convolutions in (2, 4, 6):
                x = ref.max_pool(x, (2, 2))
            image = ref.pad_same(x, (3, 3), 1, 0)
            x = ref.conv2d(image, arrays["kernel"], arrays["bias"])
            convolutions += 1
    assert convolutions == 8
    return pool(x, emb_dim)


def pool(x: Any, emb_dim: int) -> Any:
    height, width, filters = x.shape
    if emb_dim == filters:
        return x.max(axis=(0, 1))
    size = (-(-height // 4), -(-width // 3))
    return ref.max_pool(ref.pad_same(x, size, size, -np.inf), size).ravel()


def weighted(kind: str) -> Layers:
    return [(name, arrays) for name, arrays in seeded_layers(kind) if "Variable" not in arrays]


@pytest.mark.parametrize("shape", [(8, 8), (33, 27), (64, 50), (40, 61)])
@pytest.mark.parametrize("kind", ["tiny_sea", "tiny_openl3"])
def test_small_networks(tmp_path: Path, rng: Any, kind: str, shape: tuple[int, int]) -> None:
    path = write_seeded_l3(tmp_path / "a.h5", kind)
    content = convert(path, "keras_l3", input_shape=shape, emb_dim=10)
    logmel = rng.uniform(-80, 0, shape)
    expected = forward(weighted(kind), logmel, 10)
    found = ref.run(content, logmel)
    assert found.shape == (1, 10)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(33, 27), (64, 50), (57, 43)])
def test_large_embeddings_of_openl3(tmp_path: Path, rng: Any, shape: tuple[int, int]) -> None:
    path = write_seeded_l3(tmp_path / "a.h5", "tiny_openl3")
    content = convert(path, "keras_l3", input_shape=shape, emb_dim=120)
    logmel = rng.uniform(-80, 0, shape)
    expected = forward(weighted("tiny_openl3"), logmel, 120)
    np.testing.assert_allclose(ref.run(content, logmel)[0], expected, atol=1e-4)


@pytest.mark.parametrize(("kind", "emb_dim"), [("sparse", 512), ("sea_256", 256), ("sea_128", 128)])
def test_full_width_networks_on_a_small_input(
    tmp_path: Path, rng: Any, kind: str, emb_dim: int
) -> None:
    layers = weighted(kind)
    path = write_seeded_l3(tmp_path / "a.h5.gz", kind)
    content = convert(path, "keras_l3", input_shape=(24, 16), emb_dim=emb_dim)
    logmel = rng.uniform(-80, 0, (24, 16))
    expected = forward(layers, logmel, emb_dim)
    found = ref.run(content, logmel)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_last_convolution_of_openl3_is_bare(tmp_path: Path, rng: Any) -> None:
    logmel = rng.uniform(-80, 0, (8, 8))
    bare, rectified = (
        ref.run(
            convert(
                write_seeded_l3(tmp_path / f"{kind}.h5", kind),
                "keras_l3",
                input_shape=(8, 8),
                emb_dim=10,
            ),
            logmel,
        )
        for kind in ("tiny_openl3", "tiny_sea")
    )
    assert bare.min() < 0 <= rectified.min()


def test_zeros_are_padded_after_the_first_norm(tmp_path: Path) -> None:
    """Where the log-mel equals the norm's zero, the border must look like the middle."""
    path = write_seeded_l3(tmp_path / "a.h5", "tiny_sea")
    layers = weighted("tiny_sea")
    gamma, beta, mean, variance = (float(value[0]) for value in layers[1][1].values())
    constant = mean - beta / gamma * np.sqrt(variance + 1e-3)
    content = convert(path, "keras_l3", input_shape=(16, 16), emb_dim=10)
    logmel = np.full((16, 16), constant)
    np.testing.assert_allclose(ref.run(content, logmel)[0], forward(layers, logmel, 10), atol=1e-5)


def test_published_student(shared: Path, rng: Any) -> None:
    path = shared / "weights-upstream/edgel3-sea64/edgel3_sea_ust_audio_emb_64.h5.gz"
    content = convert(path, "keras_l3", input_shape=(64, 50), emb_dim=64)
    published = [(layer.name, dict(layer.arrays)) for layer in keras_h5.read_layers(path)]
    layers = [(name, arrays) for name, arrays in published if "Variable" not in arrays]
    logmel = rng.uniform(-80, 0, (64, 50))
    expected = forward(layers, logmel, 64)
    np.testing.assert_allclose(ref.run(content, logmel)[0], expected, rtol=1e-4, atol=1e-3)


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    path = write_seeded_l3(tmp_path / "a.h5", "tiny_sea")
    assert l3.convert(path, input_shape=(8, 8), emb_dim=10) == l3.convert(
        path, input_shape=(8, 8), emb_dim=10
    )


# -- files that are something else ---------------------------------------------------------------


def changed(tmp_path: Path, name: str, kind: str, array: Any) -> Path:
    layers = seeded_layers("tiny_sea")
    for layer, arrays in layers:
        if layer == name:
            arrays[kind] = array
    return write_layers(tmp_path / "a.h5", layers)


@pytest.mark.parametrize(
    ("name", "kind", "shape", "words"),
    [
        ("conv2d_2", "kernel", (3, 3, 5, 4), r"conv2d_2: kernel .* expected \(3, 3, 4, 4\)"),
        ("conv2d_2", "kernel", (5, 5, 4, 4), r"conv2d_2: kernel .* expected \(3, 3, 4, 4\)"),
        ("conv2d_2", "kernel", (7,), r"conv2d_2: kernel .* expected \(3, 3, 4, 7\)"),
        ("conv2d_2", "kernel", (), "conv2d_2: kernel"),
        ("conv2d_3", "bias", (5,), r"conv2d_3: bias has the shape \(5,\), expected \(6,\)"),
        ("batch_normalization_1", "beta", (2,), r"batch_normalization_1: beta .* \(1,\)"),
        ("batch_normalization_9", "moving_mean", (9,), r"batch_normalization_9: moving_mean"),
    ],
)
def test_wrong_shapes_are_told(
    tmp_path: Path, name: str, kind: str, shape: tuple[int, ...], words: str
) -> None:
    path = changed(tmp_path, name, kind, np.ones(shape, np.float32))
    with pytest.raises(ConversionError, match=words):
        l3.convert(path, input_shape=(8, 8), emb_dim=10)


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1.0, "negative")]
)
def test_impossible_values_are_refused(tmp_path: Path, value: float, words: str) -> None:
    variance = np.array([1, 1, 1, value], np.float32)
    path = changed(tmp_path, "batch_normalization_2", "moving_variance", variance)
    with pytest.raises(ConversionError, match=words):
        l3.convert(path, input_shape=(8, 8), emb_dim=10)


@pytest.mark.parametrize("drop", ["batch_normalization_1", "conv2d_4", "batch_normalization_5"])
def test_other_networks_are_refused(tmp_path: Path, drop: str) -> None:
    layers = [(name, arrays) for name, arrays in seeded_layers("tiny_sea") if name != drop]
    path = write_layers(tmp_path / "a.h5", layers)
    with pytest.raises(ConversionError, match="not an L3 network"):
        l3.convert(path, input_shape=(8, 8), emb_dim=10)


@pytest.mark.parametrize(
    ("input_shape", "emb_dim", "words"),
    [
        ((8, 8), 64, "emb_dim 64 does not fit the file: .* 10 filters on 1 x 1"),
        ((8, 8), 120, "emb_dim 120"),  # one value per filter is all that is left
        ((73, 59), 120, "9 x 7"),  # pools of 3 x 3 leave 3 rows, not 4
        ((64, 50), 60, "emb_dim 60"),
        ((7, 8), 10, "window"),
        ((8,), 10, "n_mels, n_steps"),
        ((8, 8, 1), 10, "n_mels, n_steps"),
    ],
)
def test_impossible_requests_are_refused(
    tmp_path: Path, input_shape: tuple[int, ...], emb_dim: int, words: str
) -> None:
    path = write_seeded_l3(tmp_path / "a.h5", "tiny_openl3")
    with pytest.raises(ConversionError, match=words):
        l3.convert(path, input_shape=input_shape, emb_dim=emb_dim)
