"""EfficientAT: the converted graph against the network written in numpy, and golden vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import convert, efficientat
from listen_embed.upstream.torch_zip import read_state_dict

from . import reference as ref
from .torch_files import write_state

State = dict[str, Any]

# MobileNetV3-large (table 1 of its paper): kernel, squeeze-excitation, hard swish, stride
TABLE = [
    (3, False, False, 1),
    (3, False, False, 2),
    (3, False, False, 1),
    (5, True, False, 2),
    (5, True, False, 1),
    (5, True, False, 1),
    (3, False, True, 2),
    (3, False, True, 1),
    (3, False, True, 1),
    (3, False, True, 1),
    (3, True, True, 1),
    (3, True, True, 1),
    (5, True, True, 2),
    (5, True, True, 1),
    (5, True, True, 1),
]
WIDTHS = (4, 6, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 10, 10, 10)
EXPANDED = (4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
STEM, LAST = 4, 24


def seeded_state(rng: Any) -> State:
    """Return a network with narrow layers, named as the published ones."""
    state: State = {}

    def layer(name: str, *shape: int) -> None:
        fan_in = np.prod(shape[1:])
        state[f"{name}.0.weight"] = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        state[f"{name}.1.weight"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{name}.1.bias"] = 0.1 * rng.standard_normal(shape[0])
        state[f"{name}.1.running_mean"] = 0.1 * rng.standard_normal(shape[0])
        state[f"{name}.1.running_var"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{name}.1.num_batches_tracked"] = np.array(9)

    layer("features.0", STEM, 1, 3, 3)
    width = STEM
    for index, (size, squeezed, _, _) in enumerate(TABLE):
        name, hidden, part = f"features.{index + 1}.block", EXPANDED[index], 0
        if hidden != width:
            layer(f"{name}.0", hidden, width, 1, 1)
            part = 1
        layer(f"{name}.{part}", hidden, 1, size, size)
        if squeezed:
            part += 1
            gate = f"{name}.{part}.conc_se_layers.0"
            state[f"{gate}.fc1.weight"] = rng.standard_normal((5, hidden)) / hidden**0.5
            state[f"{gate}.fc1.bias"] = rng.standard_normal(5)
            state[f"{gate}.fc2.weight"] = rng.standard_normal((hidden, 5))
            state[f"{gate}.fc2.bias"] = rng.standard_normal(hidden)
        width = WIDTHS[index]
        layer(f"{name}.{part + 1}", width, hidden, 1, 1)
    layer("features.16", LAST, width, 1, 1)
    state["classifier.2.weight"] = rng.standard_normal((3, LAST))
    return {k: v.astype(np.float32 if v.ndim else np.int64) for k, v in state.items()}


def forward(state: State, logmel: Any) -> Any:
    """Return the embedding as torch computes it: symmetric padding, nothing folded."""

    def layer(x: Any, name: str, stride: int = 1) -> Any:
        kernel = state[f"{name}.0.weight"].astype(np.float64)
        side = (kernel.shape[2] - 1) // 2
        x = np.pad(x, [(side, side), (side, side), (0, 0)])
        if kernel.shape[1] == 1 and x.shape[2] > 1:
            x = ref.depthwise(x, kernel[:, 0].transpose(1, 2, 0), stride=stride)
        else:
            x = ref.conv2d(x, kernel.transpose(2, 3, 1, 0), stride=stride)
        kinds = ("weight", "bias", "running_mean", "running_var")
        return ref.batch_norm(x, *(state[f"{name}.1.{kind}"] for kind in kinds), 1e-3)

    x = ref.hard_swish(layer(logmel[:, :, np.newaxis], "features.0", 2))
    for index, (_, squeezed, swish, stride) in enumerate(TABLE):
        name = f"features.{index + 1}.block"
        activation = ref.hard_swish if swish else ref.relu
        parts: Iterator[int] = iter(range(4))
        y = x
        if state[f"{name}.0.0.weight"].shape[2] == 1:
            y = activation(layer(y, f"{name}.{next(parts)}"))
        y = activation(layer(y, f"{name}.{next(parts)}", stride))
        if squeezed:
            gate = f"{name}.{next(parts)}.conc_se_layers.0"
            h = y.mean((0, 1)) @ state[f"{gate}.fc1.weight"].T + state[f"{gate}.fc1.bias"]
            h = ref.relu(h) @ state[f"{gate}.fc2.weight"].T + state[f"{gate}.fc2.bias"]
            y = y * ref.sigmoid(h)
        y = layer(y, f"{name}.{next(parts)}")
        x = x + y if stride == 1 and x.shape == y.shape else y
    return ref.hard_swish(layer(x, "features.16")).mean((0, 1))


@pytest.mark.parametrize("shape", [(32, 32), (64, 50), (37, 41)])
def test_seeded_network(tmp_path: Path, rng: Any, shape: tuple[int, int]) -> None:
    state = seeded_state(rng)
    path = write_state(tmp_path / "a.pt", state)
    content = convert(path, "efficientat", input_shape=shape, emb_dim=LAST)
    logmel = rng.standard_normal(shape)
    found = ref.run(content, logmel)
    assert found.shape == (1, LAST)
    np.testing.assert_allclose(found[0], forward(state, logmel), atol=1e-4, rtol=1e-4)


def test_equal_files_give_equal_bytes(tmp_path: Path, rng: Any) -> None:
    path = write_state(tmp_path / "a.pt", seeded_state(rng))
    first, second = (efficientat.convert(path, input_shape=(32, 32), emb_dim=LAST) for _ in "ab")
    assert first == second


def test_golden_embeddings_of_mn04(shared: Path) -> None:
    path = shared / "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt"
    content = convert(path, "efficientat", input_shape=(128, 100), emb_dim=384)
    with np.load(shared / "golden/mn04_upstream.npz", allow_pickle=False) as golden:
        clips = [key.partition("/")[0] for key in golden if key.endswith("/logmel0")]
        assert len(clips) == 10
        for clip in clips:
            found = ref.run(content, golden[f"{clip}/logmel0"])
            np.testing.assert_allclose(found[0], golden[f"{clip}/embedding"][0], atol=1e-4)


def test_numpy_agrees_with_the_golden_embedding_too(shared: Path) -> None:
    state = read_state_dict(shared / "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt")
    with np.load(shared / "golden/mn04_upstream.npz", allow_pickle=False) as golden:
        found = forward(state, golden["1-100032-A.ogg/logmel0"].astype(np.float64))
        np.testing.assert_allclose(found, golden["1-100032-A.ogg/embedding"][0], atol=1e-4)


# -- files that are something else ---------------------------------------------------------------


def _drop(name: str) -> Any:
    return lambda state: state.pop(name)


def _set(name: str, *shape: int) -> Any:
    return lambda state: state.update({name: np.ones(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop("features.16.0.weight"), "features.16.0"),
        (_drop("features.3.block.1.1.running_var"), "features.3.block.1.1.running_var"),
        (_set("features.3.block.1.1.running_var", 8), r"shape \(8,\), expected \(9\)"),
        (_set("features.3.block.0.0.weight", 9, 5, 1, 1), r"expected \(any, 6, 1, 1\)"),
        (_set("features.2.block.1.0.weight", 8, 1, 2, 2), "odd kernel"),
        (_set("features.2.block.1.0.weight", 8, 1, 3), "odd kernel"),
        (_set("features.4.block.2.conc_se_layers.1.fc1.weight", 4, 4), "channels only"),
        (_set("features.4.block.2.conc_se_layers.0.fc2.bias", 4), "fc2.bias"),
    ],
)
def test_other_networks_are_refused(tmp_path: Path, rng: Any, change: Any, words: str) -> None:
    state = seeded_state(rng)
    change(state)
    path = write_state(tmp_path / "a.pt", state)
    with pytest.raises(ConversionError, match=words):
        efficientat.convert(path, input_shape=(32, 32), emb_dim=LAST)


def test_impossible_requests_are_refused(tmp_path: Path, rng: Any) -> None:
    path = write_state(tmp_path / "a.pt", seeded_state(rng))
    with pytest.raises(ConversionError, match=f"emb_dim is 384, but the file gives {LAST}"):
        efficientat.convert(path, input_shape=(32, 32), emb_dim=384)
    with pytest.raises(ConversionError, match="n_mels, n_steps"):
        efficientat.convert(path, input_shape=(32,), emb_dim=LAST)
