"""Wider students: they start as just what the narrow model is, and can learn with all they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed import registry, store
from listen_embed.errors import InputError
from listen_embed.training import convert, quantize, widening
from listen_embed.training.distill import fit_linear
from listen_embed.training.network import Student, estimate_bytes
from listen_embed.training.reduction import fit_pca

from ..delegate import outside_delegate
from .conftest import SHAPE

N_BANDS = SHAPE[0]


def pooled(student: Student, features: Any) -> Any:
    with torch.no_grad():
        return student.pooled(torch.from_numpy(features)[:, None]).numpy()


@pytest.fixture(scope="module")
def wide(exported: Any) -> Student:
    torch.manual_seed(0)
    return widening.widened(exported("plain").int8_model, 60_000, 10, N_BANDS)


@pytest.mark.parametrize("file", ["float_model", "int8_model"])
def test_a_wider_student_starts_as_the_narrow_one(exported: Any, file: str) -> None:
    made = exported("plain")
    torch.manual_seed(0)
    student = widening.widened(getattr(made, file), 60_000, 10, N_BANDS)
    narrow, found = made.student.architecture, pooled(student, made.features)
    assert student.architecture.last > narrow.last
    assert found.shape == (32, student.architecture.last + 2 * N_BANDS)
    wanted = pooled(made.student, made.features)
    tolerance = 1e-4 if file == "float_model" else 0.02 * np.abs(wanted).max()  # int8 weights
    np.testing.assert_allclose(found[:, : narrow.last], wanted, atol=tolerance)


def test_new_channels_are_heard_by_none_of_the_old_ones_but_learn(
    wide: Student, features: Any
) -> None:
    old = 8 * 5  # the last convolution of the narrow one
    inputs = torch.from_numpy(features)[:, None]
    assert pooled(wide, features)[:, old : wide.architecture.last].std() > 0
    torch.manual_seed(1)
    with torch.no_grad():
        wide.to_embedding.weight.normal_()  # type: ignore[operator,union-attr]
    wide(inputs).pow(2).sum().backward()
    convolutions = [m for m in wide.modules() if isinstance(m, nn.Conv2d)]
    assert all(float(m.weight.grad.abs().sum()) > 0 for m in convolutions)  # type: ignore[union-attr]
    wide.zero_grad()


def test_the_levels_of_the_bands_are_pooled_too(wide: Student, features: Any) -> None:
    mean, falls = np.split(pooled(wide, features)[:, wide.architecture.last :], 2, axis=1)
    np.testing.assert_allclose(mean, features.mean(2), atol=1e-5)
    below = np.maximum(features.mean(2, keepdims=True) - features, 0).mean(2)
    np.testing.assert_allclose(falls, below, atol=1e-5)


def test_a_fitted_readout_reads_channels_and_levels(exported: Any, features: Any) -> None:
    """Targets that are levels of bands: the mean over frequency alone could not tell them."""
    torch.manual_seed(0)
    student = widening.widened(exported("plain").int8_model, 60_000, 10, N_BANDS)
    targets = features.mean(2)[:, :10] @ np.eye(10, dtype=np.float32)
    fit_linear(student, features, targets, 1e-6)
    with torch.no_grad():
        given = student.eval()(torch.from_numpy(features)[:, None]).numpy()
    assert np.corrcoef(given.ravel(), targets.ravel())[0, 1] > 0.999
    by_pooled = pooled(student, features)
    weights = [student.to_embedding.weight, student.short_cut.weight]  # type: ignore[union-attr]
    joined = torch.cat(weights, dim=1).detach().numpy()  # type: ignore[arg-type]
    bias = student.to_embedding.bias.detach().numpy()  # type: ignore[union-attr,operator]
    np.testing.assert_allclose(by_pooled @ joined.T + bias, given, atol=1e-4)


def test_in_int8_it_has_its_size_and_stays_in_the_delegate(exported: Any, features: Any) -> None:
    pytest.importorskip("litert_torch", reason="the training room needs its extra")
    torch.manual_seed(0)
    student = widening.widened(exported("plain").int8_model, 45_000, 10, N_BANDS)
    targets = fit_pca(features.reshape(32, -1), 10)(features.reshape(32, -1))
    fit_linear(student, features, targets)
    rounding = quantize.prepare(student)
    rounding.train()
    inputs = torch.from_numpy(features)[:, None]
    with torch.no_grad():
        for _ in range(3):
            rounding(inputs)
    finished = quantize.finish(rounding)
    int8_model = convert.to_int8(convert.to_float(finished, SHAPE), features)
    assert outside_delegate(int8_model) == []
    assert estimate_bytes(student.architecture) == pytest.approx(len(int8_model), rel=0.02)


def test_budgets_are_kept_and_too_small_ones_told() -> None:
    nano = store.load(registry.find("sea/32/nano"))
    least = widening.least_bytes(nano, 64)
    sizes = []
    for budget in (50_000, 64_000, 100_000):
        student = widening.widened(nano, budget, 64, 64)
        sizes.append(estimate_bytes(student.architecture))
        assert 0.8 * budget < sizes[-1] <= budget
    assert sizes == sorted(sizes)
    with pytest.raises(InputError, match="is too small for a student that starts from a model"):
        widening.widened(nano, least - 1, 64, 64)


def test_models_of_another_kind_are_refused(exported: Callable[[str], Any]) -> None:
    with pytest.raises(InputError, match=r"cannot start from a model with .*LOGISTIC.*MUL"):
        widening.widened(exported("excited").float_model, 60_000, 10, N_BANDS)
