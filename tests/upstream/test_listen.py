"""LISTEN: the converted graphs against the networks written in numpy, and golden vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import convert, listen

from . import reference as ref
from .torch_files import write_state

State = dict[str, Any]


def seeded_encoder(rng: Any, *, width: int = 8, patch: int = 4, layers: int = 2) -> State:
    state = {
        "conv1.weight": (width, 1, patch, patch),
        "conv1.bias": (width,),
        **{f"bn1.{kind}": (width,) for kind in ("weight", "bias", "running_mean", "running_var")},
    }
    for index in range(layers):
        name = f"blocks.{index}"
        state |= {
            f"{name}.self_attn.in_proj_weight": (3 * width, width),
            f"{name}.self_attn.in_proj_bias": (3 * width,),
            f"{name}.self_attn.out_proj.weight": (width, width),
            f"{name}.self_attn.out_proj.bias": (width,),
            f"{name}.linear1.weight": (width + 3, width),
            f"{name}.linear1.bias": (width + 3,),
            f"{name}.linear2.weight": (width, width + 3),
            f"{name}.linear2.bias": (width,),
            **{f"{name}.norm{i}.{kind}": (width,) for i in (1, 2) for kind in ("weight", "bias")},
        }
    values = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in state.items()}
    return values | {"bn1.running_var": rng.uniform(0.5, 2, width).astype(np.float32)}


def forward(state: State, logmel: Any) -> Any:
    """Return the embedding as torch computes it, head by head."""
    kernel = state["conv1.weight"].astype(np.float64)
    x = logmel[:, :, np.newaxis]
    x = ref.conv2d(x, kernel.transpose(2, 3, 1, 0), state["conv1.bias"], stride=kernel.shape[2])
    norm = (state[f"bn1.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var"))
    x = ref.relu(ref.batch_norm(x, *norm, 1e-5))
    tokens = x.reshape(-1, x.shape[2])
    for index in range(sum(key.endswith("norm1.weight") for key in state)):
        name = f"blocks.{index}"

        def linear(x: Any, part: str, name: str = name) -> Any:
            return x @ state[f"{name}.{part}.weight"].T + state[f"{name}.{part}.bias"]

        def normed(x: Any, part: str, name: str = name) -> Any:
            weight, bias = state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"]
            return ref.layer_norm(x, weight, bias, 1e-5)

        weight = state[f"{name}.self_attn.in_proj_weight"]
        projected = normed(tokens, "norm1") @ weight.T + state[f"{name}.self_attn.in_proj_bias"]
        tokens = tokens + linear(attention(projected), "self_attn.out_proj")
        hidden = ref.relu(linear(normed(tokens, "norm2"), "linear1"))
        tokens = tokens + linear(hidden, "linear2")
    return tokens.mean(0)


def attention(projected: Any, heads: int = 4) -> Any:
    query, key, value = np.split(projected, 3, axis=1)
    size = query.shape[1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        score = ref.softmax(query[:, part] @ key[:, part].T / np.sqrt(size))
        mixed.append(score @ value[:, part])
    return np.concatenate(mixed, axis=1)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(16, 12), (17, 15)])
def test_seeded_encoder(tmp_path: Path, rng: Any, layers: int, shape: tuple[int, int]) -> None:
    state = seeded_encoder(rng, layers=layers)
    path = write_state(tmp_path / "a.pth", state)
    content = convert(path, "listen", input_shape=shape, emb_dim=8)
    logmel = rng.uniform(0, 0.5, shape)
    found = ref.run(content, logmel)
    assert found.shape == (1, 8)
    np.testing.assert_allclose(found[0], forward(state, logmel), atol=1e-4, rtol=1e-4)


def test_golden_embedding(shared: Path) -> None:
    folder = shared / "weights-upstream/listen"
    encoder = convert(folder / "LISTEN.pth", "listen", input_shape=(128, 128), emb_dim=64)
    with np.load(shared / "golden/listen_upstream_train.npz", allow_pickle=False) as golden:
        embedding = ref.run(encoder, golden["logmel0"])
        np.testing.assert_allclose(embedding[0], golden["embedding"][0], atol=1e-4)


# -- files that are something else ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("conv1.weight", (8, 1, 4, 3), "not square"),
        ("conv1.weight", (8, 2, 4, 4), r"expected \(8, 1, any, any\)"),
        ("bn1.running_mean", (7,), "bn1.running_mean"),
        ("blocks.1.self_attn.in_proj_weight", (16, 8), r"expected \(24, 8\)"),
        ("blocks.0.linear2.weight", (8, 8), r"expected \(any, 11\)"),
        ("blocks.0.linear2.weight", (9, 11), r"linear2.bias .* expected \(9\)"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, rng: Any, name: str, shape: tuple[int, ...], words: str
) -> None:
    state = seeded_encoder(rng) | {name: np.ones(shape, np.float32)}
    path = write_state(tmp_path / "a.pth", state)
    with pytest.raises(ConversionError, match=words):
        listen.convert(path, input_shape=(16, 12), emb_dim=8)


def test_a_missing_tensor_is_told(tmp_path: Path, rng: Any) -> None:
    state = seeded_encoder(rng)
    del state["blocks.1.norm2.bias"]
    with pytest.raises(ConversionError, match=r"blocks\.1\.norm2\.bias"):
        listen.convert(write_state(tmp_path / "a.pth", state), input_shape=(16, 12), emb_dim=8)


def test_impossible_requests_are_refused(tmp_path: Path, rng: Any) -> None:
    encoder = write_state(tmp_path / "encoder.pth", seeded_encoder(rng))
    odd = write_state(tmp_path / "odd.pth", seeded_encoder(rng, width=6))
    with pytest.raises(ConversionError, match=r"\(8, 1, 4, 4\), expected \(64, 1, any, any\)"):
        listen.convert(encoder, input_shape=(16, 12), emb_dim=64)
    with pytest.raises(ConversionError, match="window"):
        listen.convert(encoder, input_shape=(3, 12), emb_dim=8)
    with pytest.raises(ConversionError, match="n_mels, n_steps"):
        listen.convert(encoder, input_shape=(16,), emb_dim=8)
    with pytest.raises(ConversionError, match="4 heads"):
        listen.convert(odd, input_shape=(16, 12), emb_dim=6)
