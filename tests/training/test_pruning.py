"""Pruning: what stays is what was there, what goes is what is worth least, and nothing mutates."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed.errors import InputError
from listen_embed.training import pruning
from listen_embed.training.network import Architecture, Block, Student, estimate_bytes

BLOCKS = (
    Block(3, 1, 16, 16, 0, "relu", expands=False),
    Block(5, 2, 40, 24, 16, "relu"),
    Block(3, 1, 48, 24, 24, "hardswish"),
)
ARCHITECTURE = Architecture(16, BLOCKS, 40, 0)


@pytest.fixture(scope="module")
def student(student_of: Callable[[Architecture], Student]) -> Student:
    return student_of(ARCHITECTURE)


@pytest.fixture(scope="module")
def inputs(features: Any) -> Any:
    return torch.from_numpy(features)[:, None]


WHOLE = estimate_bytes(ARCHITECTURE)
TIGHT = WHOLE * 2 // 3


def pruned(
    student: Student, inputs: Any, budget: int = TIGHT, *, last: float = 0.6, emb_dim: int = 0
) -> Student:
    return pruning.slim_to_budget(student, inputs, budget, last=last, emb_dim=emb_dim)


def state(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def rows_of(new: Any, old: Any) -> list[int]:
    """Return which rows of an old tensor those of a new one are; rows are all different."""
    new, old = new.flatten(1), old.flatten(1)
    return [int((old == row).all(1).nonzero().item()) for row in new]


def kept_hidden(smaller: Student, student: Student) -> list[list[int]]:
    pairs = zip(smaller.blocks, student.blocks, strict=True)
    return [rows_of(new.depthwise[0].weight, old.depthwise[0].weight) for new, old in pairs]


def kept_squeeze(smaller: Student, student: Student) -> list[list[int] | None]:
    """Return kept squeezed channels, known by their biases."""
    return [
        rows_of(new.excite.reduce.bias[:, None], old.excite.reduce.bias[:, None])
        if old.squeezes
        else None
        for new, old in zip(smaller.blocks, student.blocks, strict=True)
    ]


def kept_last(smaller: Student, student: Student) -> list[int]:
    return rows_of(smaller.last[0].weight, student.last[0].weight)


# -- whole channels ------------------------------------------------------------------------------


def test_keeping_everything_changes_nothing(student: Student, inputs: Any) -> None:
    same = pruned(student, inputs, WHOLE, last=1.0).eval()
    assert same.architecture == student.architecture
    with torch.no_grad():
        assert torch.equal(same(inputs), student(inputs))


def test_what_stays_computes_what_it_did(student: Student, inputs: Any) -> None:
    """A slim student equals the whole one whose other channels nobody reads."""
    slim = pruned(student, inputs).eval()
    masked = copy.deepcopy(student)
    hidden, squeezed = kept_hidden(slim, student), kept_squeeze(slim, student)
    with torch.no_grad():
        for block, kept, gates in zip(masked.blocks, hidden, squeezed, strict=True):
            dropped = np.setdiff1d(np.arange(block.project[0].in_channels), kept)
            block.project[0].weight[:, dropped] = 0
            if gates is not None:
                block.excite.reduce.weight[:, dropped] = 0
                others = np.setdiff1d(np.arange(block.excite.expand.in_features), gates)
                block.excite.expand.weight[:, others] = 0
        expected = masked.pooled(inputs)[:, kept_last(slim, student)]
        torch.testing.assert_close(slim.pooled(inputs), expected, atol=1e-5, rtol=1e-4)


def test_the_most_useful_channels_stay_in_their_order(student: Student, inputs: Any) -> None:
    slim = pruned(student, inputs)
    hidden, squeezed = kept_hidden(slim, student), kept_squeeze(slim, student)
    with torch.no_grad():
        x = student.stem(inputs)
        for block, kept, gates in zip(student.blocks, hidden, squeezed, strict=True):
            inner = block.depthwise(block.expand(x))
            carried = block.excite(inner).pow(2).mean((0, 2, 3))
            read = block.project[0].weight.pow(2).sum((0, 2, 3))
            assert_best(kept, carried * read)
            if gates is not None:
                carried = block.excite.reduce(inner.mean((2, 3))).relu().pow(2).mean(0)
                read = block.excite.expand.weight.pow(2).sum(0)
                assert_best(gates, carried * read)
            x = block(x)
        assert_best(kept_last(slim, student), student.pooled(inputs).var(0))


def assert_best(kept: list[int], usefulness: Any) -> None:
    assert kept == sorted(set(kept))
    dropped = np.setdiff1d(np.arange(len(usefulness)), kept)
    if len(dropped):
        assert usefulness[kept].min() >= usefulness[dropped].max() * (1 - 1e-5)


def test_channels_go_in_eights(student: Student, inputs: Any) -> None:
    shape = pruned(student, inputs).architecture
    assert shape.blocks[0] == BLOCKS[0]  # it does not expand
    for ours, theirs in zip(shape.blocks[1:], BLOCKS[1:], strict=True):
        assert ours.hidden % 8 == ours.squeeze % 8 == 0
        assert 8 <= ours.hidden <= theirs.hidden
        assert 8 <= ours.squeeze <= theirs.squeeze
        assert ours.out == theirs.out
    assert (shape.stem, shape.last) == (16, 24)


def test_a_new_linear_layer_starts_at_zero(student: Student, inputs: Any) -> None:
    slim = pruned(student, inputs, emb_dim=5).eval()
    given = slim(inputs)
    assert given.shape == (32, 5)
    assert not given.any()


@pytest.mark.parametrize("training", [True, False])
def test_slimming_leaves_the_student_alone(student: Student, inputs: Any, training: bool) -> None:
    whole = copy.deepcopy(student).train(training)
    before, seen = state(whole), inputs.clone()
    smaller = pruned(whole, inputs)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert all(module.training == training for module in whole.modules())
    assert not any(module._forward_pre_hooks for module in whole.modules())
    assert torch.equal(inputs, seen)


# -- budgets -------------------------------------------------------------------------------------


def errors(student: Student, inputs: Any, smaller: Student) -> float:
    with torch.no_grad():
        whole = student.pooled(inputs)
        return float((smaller.eval().pooled(inputs) - whole).pow(2).sum() / whole.var(0).sum())


def test_a_larger_budget_keeps_more_and_errs_less(student: Student, inputs: Any) -> None:
    sizes, misses = [], []
    for budget in (WHOLE, WHOLE * 4 // 5, WHOLE * 2 // 3):
        smaller = pruned(student, inputs, budget, last=1.0)
        sizes.append(estimate_bytes(smaller.architecture))
        misses.append(errors(student, inputs, smaller))
        assert sizes[-1] <= budget
        assert budget - sizes[-1] < 8 * (48 + 24 + 25 + 11 * 3)  # not eight channels too few
    assert sizes == sorted(sizes, reverse=True)
    assert misses[0] == pytest.approx(0, abs=1e-10)
    assert misses == sorted(misses)
    assert misses[-1] > 0


def test_what_is_missed_least_goes_first(student: Student, inputs: Any) -> None:
    """A block whose output nobody feels loses its channels before any other."""
    idle = copy.deepcopy(student)
    with torch.no_grad():
        idle.blocks[2].project[1].weight.zero_()
    shape = pruned(idle, inputs, WHOLE - 2_000, last=1.0).architecture
    assert shape.blocks[1] == BLOCKS[1]
    assert shape.blocks[2].hidden < BLOCKS[2].hidden


def test_the_least_budget_can_be_met(student: Student, inputs: Any) -> None:
    with pytest.raises(InputError, match="too small for a pruned student, which needs") as caught:
        pruned(student, inputs, 1_000, emb_dim=4)
    least = int(str(caught.value).partition("needs ")[2].partition(";")[0])
    smallest = pruned(student, inputs, least, emb_dim=4).eval()
    assert estimate_bytes(smallest.architecture) == least
    assert [block.hidden for block in smallest.architecture.blocks] == [16, 8, 8]
    assert [block.squeeze for block in smallest.architecture.blocks] == [0, 8, 8]
    assert torch.isfinite(smallest(inputs)).all()
    with pytest.raises(InputError, match="too small"):
        pruning.check_budget(ARCHITECTURE, least - 1, last=0.6, emb_dim=4)


# -- single weights ------------------------------------------------------------------------------


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_magnitude_pruning_takes_the_smallest_exactly(student: Student) -> None:
    n = len(convolutions(student))
    sparsity = [0.0, 0.5, 0.9, *np.linspace(0.1, 0.97, n - 3)]
    before = state(student)
    pruned = pruning.prune_magnitude(student, sparsity)
    for new, old, share in zip(convolutions(pruned), convolutions(student), sparsity, strict=True):
        gone = new.weight == 0
        assert int(gone.sum()) == round(share * old.weight.numel())
        assert torch.equal(new.weight[~gone], old.weight[~gone])
        if gone.any():
            assert old.weight[gone].abs().max() < old.weight[~gone].abs().min()
    others = {name for name, value in before.items() if value.ndim != 4}
    assert all(torch.equal(pruned.state_dict()[name], before[name]) for name in others)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_schedule_is_edgel3s() -> None:
    edgel3 = [0, 0.85, 0.85, 0.85, 0.75, 0.95, 0.98, 0.98]
    np.testing.assert_allclose(pruning.schedule(8, 0.9545), edgel3)
    np.testing.assert_allclose(pruning.schedule(8, 0.5), np.array(edgel3) * 0.5 / 0.9545)
    for n_layers in (1, 2, 20, 47):
        shares = pruning.schedule(n_layers, 0.99)
        assert len(shares) == n_layers
        assert shares[0] == 0
        assert max(shares) <= 0.99
