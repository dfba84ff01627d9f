"""Quantisation-aware fine-tuning: it rounds as the int8 file does, and leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import nn

from listen_embed.runtime import Network
from listen_embed.training import convert, int8_ranges, quantize
from listen_embed.training.network import (
    Architecture,
    Block,
    HardSwish,
    Student,
    Transformer,
    TransformerShape,
    fit_budget,
)
from listen_embed.training.quantize import RoundedActivation, finish, folded, prepare
from listen_embed.training.shards import open_shard
from listen_embed.training.train import Split

BLOCKS = (
    Block(3, 1, 16, 16, 0, "relu", expands=False),
    Block(5, 2, 24, 16, 8, "relu6"),
    Block(3, 1, 32, 16, 8, "hardswish"),
)
MOBILE = Architecture(16, BLOCKS, 32, 6)
SHAPE = TransformerShape(n_bands=24, width=16, heads=2, hidden=24, layers=2, emb_dim=6)


@pytest.fixture(scope="module")
def inputs(features: Any) -> Any:
    return torch.from_numpy(features)[:, None]


@pytest.fixture(scope="module")
def students(student_of: Callable[..., Student], inputs: Any) -> dict[str, nn.Module]:
    """Return a student of each kind, its norms fitted to the inputs and then moved a little."""
    torch.manual_seed(3)
    transformer = Transformer(SHAPE)
    made = {"mobile": student_of(MOBILE), "transformer": transformer}
    with torch.no_grad():
        for _ in range(30):
            transformer(inputs)
        for student in made.values():
            for module in student.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_(0, 0.3)
            student.eval()
    return made


@pytest.fixture(params=["mobile", "transformer"])
def student(request: pytest.FixtureRequest, students: dict[str, nn.Module]) -> nn.Module:
    return copy.deepcopy(students[request.param])


def given(network: nn.Module, inputs: Any) -> Any:
    with torch.no_grad():
        return network.eval()(inputs)


def settled(rounding: nn.Module, inputs: Any) -> nn.Module:
    """Let the ranges find themselves; no weight changes."""
    rounding.train()
    with torch.no_grad():
        for _ in range(3):
            rounding(inputs)
    return rounding.eval()


# -- folding -------------------------------------------------------------------------------------


def test_folded_is_the_same_network_without_norms(student: nn.Module, inputs: Any) -> None:
    expected = given(student, inputs)
    plain = folded(student)
    assert not plain.training
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in plain.modules())
    assert any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in student.modules())
    torch.testing.assert_close(given(plain, inputs), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(given(student, inputs), expected, atol=0, rtol=0)


def test_folding_twice_is_folding_once(students: dict[str, nn.Module], inputs: Any) -> None:
    once = folded(students["mobile"])
    torch.testing.assert_close(given(folded(once), inputs), given(once, inputs), atol=0, rtol=0)


SWISHED = (
    Block(3, 1, 16, 16, 0, "hardswish", expands=False),
    Block(5, 2, 24, 16, 8, "hardswish"),
    Block(3, 1, 32, 16, 0, "hardswish"),
)


@pytest.mark.parametrize("emb_dim", [0, 6])
def test_sixths_are_folded_exactly(student_of: Any, inputs: Any, emb_dim: int) -> None:
    """In double precision: what float32 rounds differently is no part of the algebra."""
    student = student_of(Architecture(16, SWISHED, 32, emb_dim)).double()
    plain = folded(student)
    expected = given(student, inputs.double())
    torch.testing.assert_close(given(plain, inputs.double()), expected, atol=1e-6, rtol=1e-6)
    whole = {
        name: module.is_whole
        for name, module in plain.named_modules()
        if isinstance(module, HardSwish)
    }
    assert len(whole) == 7
    # A short cut reads the stem too, and without a readout nothing reads the last.
    keep = {"stem.2", *(() if emb_dim else ("last.2",))}
    assert {name for name, is_whole in whole.items() if is_whole} == keep
    originals = [module for module in student.modules() if isinstance(module, HardSwish)]
    assert all(module.is_whole for module in originals)


# -- preparing and finishing ---------------------------------------------------------------------


def test_finish_leaves_the_network_on_its_int8_steps(student: nn.Module, inputs: Any) -> None:
    plain = folded(student)
    rounding = settled(prepare(student), inputs)
    finished = finish(rounding)
    assert finished.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        found = finished.state_dict()[name]
        if not isinstance(finished.get_submodule(name.rpartition(".")[0]), nn.Conv2d | nn.Linear):
            assert torch.equal(found, value), name
        elif name.endswith("weight"):
            rows = found.flatten(1)
            steps = rows / (rows.abs().amax(1, keepdim=True) / 127)
            torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
            assert (
                float(
                    (steps.round() - value.flatten(1) / rows.abs().amax(1, keepdim=True) * 127)
                    .abs()
                    .max()
                )
                < 0.501
            )
    ours = [(name, type(module)) for name, module in finished.named_modules()]
    assert ours == [(name, type(module)) for name, module in plain.named_modules()]
    assert not any(module._forward_hooks for module in finished.modules())
    # and neither touches what came in
    assert any(isinstance(module, RoundedActivation) for module in rounding.modules())
    assert not any(isinstance(module, RoundedActivation) for module in student.modules())


def test_the_finished_network_rounds_to_itself(student: nn.Module, inputs: Any) -> None:
    """Rounded once more, as the converter will, its weights stay: float and int8 share them."""
    finished = finish(settled(prepare(student), inputs))
    again = finish(prepare(finished))
    for name, value in finished.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_rounding_costs_little_but_something(student: nn.Module, inputs: Any) -> None:
    plain, rounding = given(student, inputs), given(settled(prepare(student), inputs), inputs)
    error = (rounding - plain).pow(2).sum() / (plain - plain.mean(0)).pow(2).sum()
    assert 1e-7 < float(error) < 0.5


def test_ranges_are_followed_in_training_only(student: nn.Module, inputs: Any) -> None:
    rounding = prepare(student)
    names = [name for name in rounding.state_dict() if name.endswith(("rounded.low", ".high"))]
    assert len(names) > 10

    def found_ranges() -> list[float]:
        return [float(rounding.state_dict()[name]) for name in names]

    assert set(found_ranges()) == {0.0}
    settled(rounding, inputs)
    found = found_ranges()
    assert sum(value != 0 for value in found) >= len(names) / 2
    given(rounding, 10 * inputs)
    assert found_ranges() == found


def test_fine_tuning_reaches_every_weight(student: nn.Module, inputs: Any) -> None:
    rounding = settled(prepare(student), inputs).train()
    rounding(inputs).pow(2).sum().backward()
    for name, parameter in rounding.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().sum()) > 0, name


# -- rounding ------------------------------------------------------------------------------------


def test_activations_have_256_levels_and_zero_is_one() -> None:
    rounded = RoundedActivation()
    plain = nn.Identity()
    values = torch.linspace(-1, 3, 10_001).reshape(1, -1)
    rounded(plain.train(), (), values)  # the range is -1 to 3 now
    plain.eval()
    found = rounded(plain, (), values)
    step = 4 / 255
    assert len(found.unique()) == 256
    assert 0 in found
    assert float((found - values).abs().max()) <= step * 1.01
    inner = values.abs() < 0.9
    assert float((found - values)[inner].abs().max()) <= step / 2 * 1.01
    torch.testing.assert_close(rounded(plain, (), found), found, atol=1e-6, rtol=0)
    outside = rounded(plain, (), torch.tensor([[-50.0, 50.0]]))
    torch.testing.assert_close(outside, torch.tensor([[-1.0, 3.0]]), atol=step, rtol=0)


def test_a_range_is_that_of_the_batch_and_holds_zero() -> None:
    rounded, module = RoundedActivation(), nn.Identity().train()
    rounded(module, (), torch.tensor([[1.0, 3.0], [2.0, 5.0]]))
    assert (float(rounded.low), float(rounded.high)) == (0.0, 5.0)
    rounded(module, (), torch.tensor([[-10.0, -2.0]]))
    momentum = quantize._MOMENTUM
    assert float(rounded.low) == pytest.approx(-10 * momentum)
    assert float(rounded.high) == pytest.approx(5 * (1 - momentum))


def test_a_rare_peak_is_clipped_where_that_pays() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 200_000))).float()
    values[0, 0] = 7.0
    rounded, module = RoundedActivation(), nn.Identity().train()
    rounded(module, (), values)
    assert 4.0 < float(rounded.high) < 6.0
    low, high = values.min(), values.max()
    errors = int8_ranges.rounding_errors(values, low, high, int8_ranges.EVERYTHING)
    for share, error in zip(int8_ranges.SHARES, errors, strict=True):
        found = int8_ranges.rounded(values, low * share, high * share)
        assert float((found - values).pow(2).sum()) == pytest.approx(float(error), rel=1e-5)
    assert errors.min() < 0.9 * errors[0]


def test_what_is_flattened_anyway_gets_no_steps() -> None:
    """A hard-swish cannot tell -3 from less, so all steps serve what it can tell apart."""
    values = torch.linspace(-30, 2, 5_001).reshape(1, -1)
    rounded, module = RoundedActivation(int8_ranges.HARD_SWISH), nn.Identity().train()
    found = rounded(module, (), values)
    assert float(rounded.low) == -3.0
    swish = nn.functional.hardswish
    assert float((swish(found) - swish(values)).abs().max()) < 1.6 * (5 / 255) / 2
    sigmoid = torch.sigmoid(values.clamp(*int8_ranges.LOGISTIC)) - torch.sigmoid(values)
    assert float(sigmoid.abs().max()) < 1 / 256


def test_weights_are_rounded_for_each_output_channel() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 4, 3, 3) * torch.tensor([1e-3, 0.1, 1, 10, 1e3])[:, None, None, None]
    found = quantize._rounded_weight(weight)
    for row, original in zip(found, weight, strict=True):
        scale = original.abs().max() / 127
        steps = row / scale
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        assert float((row - original).abs().max()) <= float(scale) * 0.501
    assert torch.equal(quantize._rounded_weight(torch.zeros(2, 3)), torch.zeros(2, 3))


def set_ranges_as_the_converter_does(rounding: nn.Module, crops: torch.Tensor) -> None:
    """Give rounded tensors ranges that hold nearly all of the crops, narrowed."""
    seen: dict[Any, list[torch.Tensor]] = {}

    def remember(module: Any, inputs: Any, output: torch.Tensor) -> None:
        seen.setdefault(module.rounded, []).append(output)

    # In float, as the quantiser sees it: the hooks that round are not called meanwhile.
    modules = [m for m in rounding.modules() if hasattr(m, "rounded")]
    rounds = [dict(m._forward_hooks) for m in modules]
    for module in modules:
        module._forward_hooks.clear()
    handles = [module.register_forward_hook(remember) for module in modules]
    for crop in crops:
        given(rounding, crop[None])
    for module, handle, hooks in zip(modules, handles, rounds, strict=True):
        handle.remove()
        module._forward_hooks.update(hooks)
    for hook, outputs in seen.items():
        lowest, highest = ([float(end(y)) for y in outputs] for end in (torch.min, torch.max))
        bottom, top = hook._needed
        low = torch.tensor(np.quantile(lowest, 0.01)).float().clamp(bottom, 0)
        high = torch.tensor(np.quantile(highest, 0.99)).float().clamp(0, top)
        few = torch.stack(outputs[: convert._N_NARROWING])
        errors = int8_ranges.rounding_errors(few, low, high, hook._needed)
        share = int8_ranges.SHARES[int(errors.argmin())]
        hook.low.copy_(low * share)
        hook.high.copy_(high * share)


def test_it_rounds_as_the_int8_file_does(specialised: Any) -> None:
    """The rounding network foresees the errors of the real file; the float one cannot."""
    options = specialised.options
    student = Student(fit_budget(options.budget_bytes, options.emb_dim))
    rounding = prepare(student)
    checkpoint = specialised.work / "int8" / "checkpoint.pt"
    rounding.load_state_dict(torch.load(checkpoint, weights_only=True)["averaged"])
    split = Split.of(open_shard(specialised.work / "shards", 0))
    typical = np.asarray(split.calibration.features[0], np.float32)
    set_ranges_as_the_converter_does(rounding, torch.from_numpy(typical)[:, None])
    fresh = np.asarray(split.measurement.features[0], np.float32)
    foreseen = given(rounding, torch.from_numpy(fresh)[:, None]).numpy()
    in_float = given(finish(rounding), torch.from_numpy(fresh)[:, None]).numpy()
    files = ("model.tflite", "float/model.tflite")
    int8, converted = (Network((specialised.folder / f).read_bytes())(fresh) for f in files)
    np.testing.assert_allclose(in_float, converted, atol=1e-4)
    errors = {
        name: np.sqrt(np.mean((values - int8) ** 2))
        for name, values in (("rounded", foreseen), ("float", in_float))
    }
    assert errors["rounded"] < errors["float"], errors
    expected, real = (foreseen - in_float).ravel(), (int8 - in_float).ravel()
    assert np.corrcoef(expected, real)[0, 1] > 0.6
