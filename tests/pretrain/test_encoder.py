from __future__ import annotations

import dataclasses

import pytest
import torch

from listen_embed.errors import InputError
from listen_embed.pretrain.encoder import (
    Architecture,
    Encoder,
    Patches,
    count_weights,
    front_end,
    sized,
)
from listen_embed.pretrain.transformer import Attention, attention

KINDS = ["transformer", "state-space"]


def test_the_front_end_gives_the_columns_that_are_asked_for() -> None:
    assert front_end(256).input_shape == (128, 256)
    assert front_end(98).n_steps == 98


def test_patches_come_back() -> None:
    x = torch.randn(3, 128, 64)
    for size in ((16, 16), (128, 2)):
        patches = Patches(size)
        rows = patches(x)
        assert rows.shape == (3, 128 * 64 // (size[0] * size[1]), size[0] * size[1])
        assert torch.equal(patches.joined(rows, 128), x)


def test_patches_go_first_over_time() -> None:
    x = torch.zeros(1, 128, 64)
    x[0, :16, 16:32] = 1
    assert Patches((16, 16))(x)[0].sum(1).nonzero().tolist() == [[1]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["mean", "bands"])
@pytest.mark.parametrize("n_extra", [0, 1, 2])
def test_an_encoder_embeds_any_length(kind: str, pool: str, n_extra: int) -> None:
    few = Architecture(kind=kind, width=64, depth=1, n_steps=64, pool=pool, n_extra=n_extra)  # type: ignore[arg-type]
    encoder = Encoder(few)
    for n_steps in (64, 32, 160):
        embedding = encoder(torch.randn(2, 1, 128, n_steps))
        assert embedding.shape == (2, few.emb_dim)
        assert torch.isfinite(embedding).all()


def test_bands_average_to_the_mean() -> None:
    few = Architecture(width=64, depth=1, n_steps=64)
    encoder = Encoder(few)
    tokens = torch.randn(2, 32, 64)
    mean = encoder.pooled(tokens)
    encoder.architecture = dataclasses.replace(few, pool="bands")
    bands = encoder.pooled(tokens)
    assert torch.allclose(bands.unflatten(1, (8, 64)).mean(1), mean, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_patch_lies_matters(kind: str) -> None:
    encoder = Encoder(Architecture(kind=kind, width=64, depth=1, n_steps=64))  # type: ignore[arg-type]
    rows = torch.randn(1, 32, 256)
    there = encoder.tokens(encoder.embedded(rows))
    elsewhere = encoder.tokens(encoder.embedded(rows.flip(1))).flip(1)
    assert not torch.allclose(there, elsewhere, atol=1e-3)


@pytest.mark.parametrize("size", ["micro", "tiny"])
def test_both_kinds_weigh_about_the_same(size: str) -> None:
    by_attention, by_state = (count_weights(Encoder(sized(size, kind))) for kind in KINDS)  # type: ignore[arg-type]
    assert abs(by_attention / by_state - 1) < 0.2


@pytest.mark.parametrize(("size", "millions"), [("micro", 1.24), ("tiny", 5.4), ("small", 21.5)])
def test_sizes_are_the_published_ones(size: str, millions: float) -> None:
    assert count_weights(Encoder(sized(size))) / 1e6 == pytest.approx(millions, rel=0.02)  # type: ignore[arg-type]


def test_unknown_sizes_and_patches_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="sizes are micro, tiny"):
        sized("huge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="do not tile"):
        Architecture(n_steps=250)


def test_both_forms_of_attention_agree() -> None:
    query, key, value = (torch.randn(2, 4, 50, 16) for _ in range(3))
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(attention(query, key, value), fused, atol=1e-5)


def test_long_sounds_take_the_fused_form(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Attention(32, 2)
    x = torch.randn(1, 40, 32)
    table = layer(x)
    monkeypatch.setattr("listen_embed.pretrain.transformer._LONG", 8)
    assert torch.allclose(layer(x), table, atol=1e-5)
