"""The students: mn04 read from its file, sizes as estimated, budgets kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed.errors import InputError
from listen_embed.training.network import (
    Architecture,
    Block,
    HardSwish,
    NormLinear,
    Student,
    Transformer,
    TransformerShape,
    count_weights,
    estimate_bytes,
    fit_budget,
    from_efficientat,
    grown,
    halve_columns,
)
from listen_embed.upstream.torch_zip import read_state_dict

from ..upstream import test_efficientat as upstream


def embedded(network: Any, logmels: Any) -> Any:
    with torch.no_grad():
        return network(torch.from_numpy(np.asarray(logmels, np.float32))[:, None]).numpy()


# -- mn04 ----------------------------------------------------------------------------------------


def test_mn04_gives_its_golden_embeddings(shared: Any) -> None:
    path = shared / "weights-upstream/efficientat-mn04/mn04_as_mAP_432.pt"
    student = from_efficientat(read_state_dict(path))
    assert not student.training
    with np.load(shared / "golden/mn04_upstream.npz", allow_pickle=False) as golden:
        clips = [key.partition("/")[0] for key in golden if key.endswith("/logmel0")]
        logmels = np.stack([golden[f"{clip}/logmel0"] for clip in clips])
        expected = np.stack([golden[f"{clip}/embedding"][0] for clip in clips])
    found = embedded(student, logmels)
    assert found.shape == (10, 384)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_widths_of_the_published_family_are_read_too(rng: Any) -> None:
    state = upstream.seeded_state(rng)
    logmel = rng.standard_normal((40, 36))
    student = from_efficientat(state)
    assert student.architecture.stem == upstream.STEM
    assert [b.hidden for b in student.architecture.blocks] == list(upstream.EXPANDED)
    assert [b.expands for b in student.architecture.blocks] == [False] + 14 * [True]
    found = embedded(student, logmel[None])
    np.testing.assert_allclose(found[0], upstream.forward(state, logmel), atol=1e-4, rtol=1e-4)


# -- shapes and sizes ----------------------------------------------------------------------------

EXCITED = Architecture(
    8, (Block(3, 2, 24, 16, 8, "relu6"), Block(5, 1, 40, 16, 16, "hardswish")), 32, 6, "relu"
)


COARSE = replace(EXCITED, stem_kernel=(5, 3), stem_stride=(4, 2), stem_activation="hardswish")
ARCHITECTURES = [EXCITED, COARSE, grown(0.5, 7), grown(1.25, 0)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(64, 50), (33, 17)])
def test_students_take_any_picture(architecture: Architecture, shape: tuple[int, int]) -> None:
    student = Student(architecture).eval()
    x = torch.zeros(3, 1, *shape)
    width = architecture.emb_dim or architecture.last
    assert student(x).shape == (3, width)
    assert student.pooled(x).shape == (3, architecture.last)


def test_the_stem_may_stride_by_one_in_time() -> None:
    wide, long = (Student(replace(EXCITED, stem_stride=s)).stem for s in ((2, 2), (2, 1)))
    picture = torch.zeros(1, 1, 32, 20)
    assert wide(picture).shape == (1, 8, 16, 10)
    assert long(picture).shape == (1, 8, 16, 20)


def test_half_the_columns_tell_a_stem_what_smooth_ones_did() -> None:
    """Where a column is the mean of its neighbours, nothing behind the stem can tell."""
    student = Student(EXCITED).eval()
    coarse = torch.randn(2, 1, 32, 9)
    between = (coarse[..., 1:] + coarse[..., :-1]) / 2
    fine = torch.stack([coarse[..., :-1], between], dim=4).flatten(3)
    with torch.no_grad():
        wanted = student.stem(fine)
        halve_columns(student)
        given = student.stem(coarse[..., :-1])
    assert student.architecture.stem_stride == (2, 1)
    assert given.shape == wanted.shape
    torch.testing.assert_close(given[..., 1:-1], wanted[..., 1:-1], atol=1e-5, rtol=1e-5)


# -- hard-swish ----------------------------------------------------------------------------------


def test_hard_swish_is_torchs() -> None:
    x = torch.linspace(-9, 9, 100_001, requires_grad=True)
    activation = HardSwish()
    given, wanted = activation(x), nn.functional.hardswish(x)
    torch.testing.assert_close(given, wanted, atol=1e-6, rtol=1e-6)
    slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (given, wanted)]
    inner = (x.detach().abs() - 3).abs() > 1e-3  # at the corners there are two slopes
    torch.testing.assert_close(slopes[0][inner], slopes[1][inner], atol=1e-5, rtol=1e-5)


def test_a_hard_swish_may_leave_its_sixth_to_others() -> None:
    x, activation = torch.linspace(-9, 9, 1001), HardSwish()
    whole = activation(x)
    assert activation.is_whole
    activation.leave_sixth()
    assert not activation.is_whole
    torch.testing.assert_close(activation(x), 6 * whole, atol=1e-5, rtol=1e-6)


def test_a_stem_may_have_an_activation_and_a_kernel_of_its_own() -> None:
    student = Student(COARSE)
    assert isinstance(student.stem[-1], HardSwish)
    assert isinstance(student.last[-1], nn.ReLU)
    assert student.stem.convolution.kernel_size == (5, 3)
    assert student.stem(torch.zeros(1, 1, 128, 50)).shape == (1, 8, 32, 25)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_counted_with_norms_folded(architecture: Architecture) -> None:
    student = Student(architecture)
    total = 0
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() + module.out_channels  # the folded norm is its bias
        if isinstance(module, nn.Linear):
            total += module.weight.numel() + module.out_features
    assert count_weights(architecture) == total


@pytest.mark.parametrize("kind", ["plain", "excited"])
def test_estimate_is_the_size_of_the_int8_file(
    exported: Any, architectures: Any, kind: str
) -> None:
    pytest.importorskip("litert_torch", reason="the training room needs its extra")
    actual = len(exported(kind).int8_model)
    assert estimate_bytes(architectures[kind]) == pytest.approx(actual, rel=0.02)


# -- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("emb_dim", [16, 64, 128])
def test_larger_budgets_give_larger_students_within_them(emb_dim: int) -> None:
    budgets = [25_000, 40_000, 64_000, 100_000, 200_000, 400_000]
    sizes = [estimate_bytes(fit_budget(budget, emb_dim)) for budget in budgets]
    assert sizes == sorted(sizes)
    assert all(size <= budget for size, budget in zip(sizes, budgets, strict=True))
    assert all(fit_budget(budget, emb_dim).emb_dim == emb_dim for budget in budgets)


def test_most_of_a_budget_is_used() -> None:
    for budget in (50_000, 64_000, 100_000, 200_000):
        assert estimate_bytes(fit_budget(budget, 64)) > 0.8 * budget


def test_multipliers_are_monotone() -> None:
    sizes = [estimate_bytes(grown(eighths / 8, 64)) for eighths in range(4, 49)]
    assert sizes == sorted(sizes)
    assert grown(6.0, 64) == fit_budget(10**9, 64)


def test_too_small_a_budget_names_the_least() -> None:
    with pytest.raises(InputError, match="budget of 9000 bytes is too small: 64 dim") as caught:
        fit_budget(9_000, 64)
    least = int(str(caught.value).partition("at least ")[2].partition(";")[0])
    assert estimate_bytes(fit_budget(least, 64)) == least
    with pytest.raises(InputError):
        fit_budget(least - 1, 64)


# -- the transformer -----------------------------------------------------------------------------

SMALL = TransformerShape(n_bands=12, width=8, heads=2, hidden=16, layers=2, emb_dim=5)


def test_transformer_forgets_where_columns_were_but_for_flicker(rng: Any) -> None:
    torch.manual_seed(0)
    network = Transformer(SMALL).eval()
    logmels = rng.standard_normal((2, 12, 30))
    assert embedded(network, logmels).shape == (2, 5)
    shuffled = logmels[:, :, rng.permutation(30)]
    with torch.no_grad():
        rises = network.to_embedding.weight[:, 2 * SMALL.width :]
        assert rises.shape == (5, SMALL.width)
        by_rises = np.abs(embedded(network, shuffled) - embedded(network, logmels)).max()
        rises.zero_()
    found = embedded(network, logmels)
    assert by_rises > 1e-3
    np.testing.assert_allclose(embedded(network, shuffled), found, atol=1e-5)
    assert np.abs(embedded(network, logmels[:, ::-1]) - found).max() > 0.01


def test_a_folded_norm_is_the_same_layer(rng: Any) -> None:
    torch.manual_seed(0)
    layer = NormLinear(6, 4)
    tokens = torch.from_numpy(rng.standard_normal((5, 7, 6)).astype(np.float32))
    with torch.no_grad():
        layer.norm.weight.uniform_(0.5, 2)
        layer.norm.bias.normal_()
        for _ in range(5):
            layer(3 * tokens + 1)
    layer.eval()
    before = layer(tokens)
    layer.fold()
    torch.testing.assert_close(layer(tokens), before, atol=1e-5, rtol=1e-5)
