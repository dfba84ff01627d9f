"""Seeded weights in the published layouts; forward passes in numpy that know nothing of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import listen_embed
from listen_embed import cli
from listen_embed.errors import ConversionError
from listen_embed.pretrain import published

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[np.float32]]

WIDTH, HIGH, LONG = 192, 8, 4


def common(rng: np.random.Generator, n_extra: int) -> Tensors:
    def drawn(*shape: int) -> NDArray[np.float32]:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    return {
        "v.patch_embed.proj.weight": drawn(WIDTH, 1, 16, 16),
        "v.patch_embed.proj.bias": drawn(WIDTH),
        "v.pos_embed": drawn(1, HIGH * LONG + n_extra, WIDTH),
        "v.cls_token": drawn(1, 1, WIDTH),
    }


def ssast(depth: int = 2) -> Tensors:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> NDArray[np.float32]:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    tensors = common(rng, 2) | {"v.dist_token": drawn(1, 1, WIDTH)}
    shapes = {
        "norm1": (WIDTH,),
        "attn.qkv": (3 * WIDTH, WIDTH),
        "attn.proj": (WIDTH, WIDTH),
        "norm2": (WIDTH,),
        "mlp.fc1": (4 * WIDTH, WIDTH),
        "mlp.fc2": (WIDTH, 4 * WIDTH),
    }
    for block in range(depth):
        for name, shape in shapes.items():
            tensors[f"v.blocks.{block}.{name}.weight"] = drawn(*shape)
            tensors[f"v.blocks.{block}.{name}.bias"] = drawn(shape[0])
    return tensors | {"v.norm.weight": drawn(WIDTH), "v.norm.bias": drawn(WIDTH)}


def ssamba(depth: int = 2) -> Tensors:
    rng = np.random.default_rng(1)
    inner, rank, states = 2 * WIDTH, 12, 16

    def drawn(*shape: int) -> NDArray[np.float32]:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    tensors = common(rng, 1)
    for layer in range(depth):
        mixer = f"v.layers.{layer}.mixer"
        tensors[f"v.layers.{layer}.norm.weight"] = 1 + drawn(WIDTH)
        tensors[f"{mixer}.in_proj.weight"] = drawn(2 * inner, WIDTH)
        tensors[f"{mixer}.out_proj.weight"] = drawn(WIDTH, inner)
        for mark in ("", "_b"):
            tensors[f"{mixer}.conv1d{mark}.weight"] = drawn(inner, 1, 4)
            tensors[f"{mixer}.conv1d{mark}.bias"] = drawn(inner)
            tensors[f"{mixer}.x_proj{mark}.weight"] = drawn(rank + 2 * states, inner)
            tensors[f"{mixer}.dt_proj{mark}.weight"] = drawn(inner, rank)
            tensors[f"{mixer}.dt_proj{mark}.bias"] = drawn(inner)
            tensors[f"{mixer}.A{mark}_log"] = drawn(inner, states)
            tensors[f"{mixer}.D{mark}"] = drawn(inner)
    return tensors | {"v.norm_f.weight": 1 + drawn(WIDTH)}


def patches(w: Tensors, log_mels: Array) -> Array:
    kernel = w["v.patch_embed.proj.weight"][:, 0].astype(np.float64)
    tokens = [
        np.einsum("dfc,fc->d", kernel, log_mels[16 * f : 16 * f + 16, 16 * t : 16 * t + 16])
        for f in range(HIGH)
        for t in range(LONG)
    ]
    return np.array(tokens) + w["v.patch_embed.proj.bias"]


def erf(x: Array) -> Array:
    return torch.erf(torch.from_numpy(x)).numpy()


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * weight + bias


def ssast_in_numpy(w: Tensors, log_mels: Array, depth: int = 2, heads: int = 3) -> Array:
    x = np.concatenate([w["v.cls_token"][0], w["v.dist_token"][0], patches(w, log_mels)])
    x = x + w["v.pos_embed"][0]
    for i in range(depth):

        def take(name: str, i: int = i) -> tuple[Array, Array]:
            return w[f"v.blocks.{i}.{name}.weight"], w[f"v.blocks.{i}.{name}.bias"]  # type: ignore[return-value]

        def linear(x: Array, name: str, i: int = i) -> Array:
            weight, bias = take(name, i)
            return x @ weight.T + bias

        qkv = linear(layer_norm(x, *take("norm1")), "attn.qkv")
        mixed = []
        for head in range(heads):
            width = WIDTH // heads
            q, k, v = (
                qkv[:, part * WIDTH + head * width : part * WIDTH + (head + 1) * width]
                for part in range(3)
            )
            scores = np.exp(q @ k.T / np.sqrt(width))
            mixed.append(scores / scores.sum(1, keepdims=True) @ v)
        x = x + linear(np.concatenate(mixed, axis=1), "attn.proj")
        hidden = linear(layer_norm(x, *take("norm2")), "mlp.fc1")
        x = x + linear(hidden * 0.5 * (1 + erf(hidden / np.sqrt(2))), "mlp.fc2")
    x = layer_norm(x, w["v.norm.weight"], w["v.norm.bias"])  # type: ignore[arg-type]
    return x[2:].mean(0)


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def rms_norm(x: Array, weight: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * weight


def one_way(w: Tensors, mixer: str, mark: str, x: Array) -> Array:
    kernel, bias = w[f"{mixer}.conv1d{mark}.weight"][:, 0], w[f"{mixer}.conv1d{mark}.bias"]
    padded = np.concatenate([np.zeros((3, x.shape[1])), x])
    x = silu(np.array([(padded[t : t + 4] * kernel.T).sum(0) for t in range(len(x))]) + bias)
    selected = x @ w[f"{mixer}.x_proj{mark}.weight"].T
    steps, b, c = np.split(selected, [12, 28], axis=1)
    dt = steps @ w[f"{mixer}.dt_proj{mark}.weight"].T + w[f"{mixer}.dt_proj{mark}.bias"]
    dt = np.log1p(np.exp(dt))
    decay = -np.exp(w[f"{mixer}.A{mark}_log"].astype(np.float64))
    state = np.zeros(decay.shape)
    y = []
    for t in range(len(x)):
        state = np.exp(dt[t][:, None] * decay) * state + (dt[t] * x[t])[:, None] * b[t]
        y.append(state @ c[t] + w[f"{mixer}.D{mark}"] * x[t])
    return np.array(y)


def ssamba_in_numpy(w: Tensors, log_mels: Array, depth: int = 2) -> Array:
    tokens, middle = patches(w, log_mels), HIGH * LONG // 2
    x = np.concatenate([tokens[:middle], w["v.cls_token"][0], tokens[middle:]])
    x = x + w["v.pos_embed"][0]
    for i in range(depth):
        mixer = f"v.layers.{i}.mixer"
        normed = rms_norm(x, w[f"v.layers.{i}.norm.weight"])  # type: ignore[arg-type]
        inner, gate = np.split(normed @ w[f"{mixer}.in_proj.weight"].T, 2, axis=1)
        both = one_way(w, mixer, "", inner) + one_way(w, mixer, "_b", inner[::-1])[::-1]
        x = x + both / 2 * silu(gate) @ w[f"{mixer}.out_proj.weight"].T
    x = rms_norm(x, w["v.norm_f.weight"])  # type: ignore[arg-type]
    return np.delete(x, middle, axis=0).mean(0)


@pytest.mark.parametrize(
    ("tensors", "forward"), [(ssast(), ssast_in_numpy), (ssamba(), ssamba_in_numpy)]
)
def test_an_independent_forward_pass_agrees(tensors: Tensors, forward: object) -> None:
    encoder = published.from_tensors(tensors)
    assert encoder.architecture.n_steps == 16 * LONG
    log_mels = np.random.default_rng(2).standard_normal((128, 16 * LONG))
    expected = forward(tensors, log_mels)  # type: ignore[operator]
    with torch.no_grad():
        found = encoder(torch.from_numpy(log_mels.astype(np.float32))[None, None])[0].numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_files_are_read_with_and_without_the_wrapper(tmp_path: Path) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in ssast(1).items()}
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({f"module.{n}": t for n, t in tensors.items()}, tmp_path / "wrapped.pth")
    plain, wrapped = (published.read(tmp_path / f"{n}.pth") for n in ("plain", "wrapped"))
    assert torch.equal(plain.position, wrapped.position)
    assert plain.architecture.depth == 1


def test_the_command_makes_a_model_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in ssast(1).items()}
    torch.save(tensors, tmp_path / "plain.pth")
    out = tmp_path / "theirs"
    asked = ["pretrain", "--published", str(tmp_path / "plain.pth"), "--out", str(out)]
    assert cli.main([*asked, "--frame", "0.64", "--licence", "BSD-3-Clause"]) == 0
    embedder = listen_embed.Embedder(out)
    sound = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    assert embedder.embed_clip(sound, 16_000).shape == (WIDTH,)
    assert "BSD-3-Clause" in (out / "README.md").read_text(encoding="utf-8")
    assert cli.main(["pretrain", "--out", str(out)]) != 0
    assert "either recordings" in capsys.readouterr().err


def test_other_files_and_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="neither SSAST nor SSAMBA"):
        published.from_tensors({"layer.weight": np.zeros((2, 2), np.float32)})
    lacking = ssast(1)
    del lacking["v.blocks.0.mlp.fc2.bias"]
    with pytest.raises(ConversionError, match=r"lacks v\.blocks\.0\.mlp\.fc2\.bias"):
        published.from_tensors(lacking)
    odd = ssamba(1)
    odd["v.layers.0.mixer.D"] = odd["v.layers.0.mixer.D"][:5]
    with pytest.raises(ConversionError, match="do not fit together"):
        published.from_tensors(odd)
