"""LEAN's parts: shapes, what attention attends to, and what folding must not change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from listen_embed.classify.network import (
    CrossAttention,
    Fusion,
    FusionShape,
    Joint,
    WaveEncoder,
    without_norms,
)


def used(module: torch.nn.Module, *given: Tensor | None) -> torch.nn.Module:
    """Return a module whose norms have seen something, in evaluation."""
    with torch.no_grad():
        for _ in range(5):
            module.train()(*given)
    return module.eval()


@pytest.mark.parametrize("join", ["attention", "pooled", "none"])
def test_folding_changes_nothing(join: str) -> None:
    torch.manual_seed(0)
    fusion = Fusion(FusionShape(12, 8, join, 16, 3, width=8, heads=2))  # type: ignore[arg-type]
    frames, steps = 3 * torch.randn(4, 5, 12) + 1, torch.randn(4, 20, 8) - 2
    used(fusion, frames, steps)
    folded = fusion.folded(5, 20)
    with torch.no_grad():
        wanted, found = fusion.embed(frames, steps), folded.embed(frames, steps)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert not any(isinstance(part, torch.nn.BatchNorm1d) for part in folded.modules())


def test_a_wave_encoder_alone_folds_too() -> None:
    torch.manual_seed(0)
    fusion = Fusion(FusionShape(0, 8, "none", 16, 3))
    steps = 2 * torch.randn(4, 20, 8) + 1
    used(fusion, None, steps)
    with torch.no_grad():
        wanted, found = fusion.embed(None, steps), fusion.folded(0, 20).embed(None, steps)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_each_head_attends_near_its_frame_as_its_slope_says() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(4, 6, 8, 2).eval()
    with torch.no_grad():
        attention.slopes.copy_(torch.tensor([0.0, 100.0]))
        attention.queries.weight.zero_()
        attention.queries.bias.zero_()
        steps = torch.randn(1, 12, 6)
        found = attention(torch.zeros(1, 3, 4), steps)
        values = attention.values(steps)[0]
    torch.testing.assert_close(found[0, :, :4], values[:, :4].mean(0).expand(3, 4))
    for frame, centre in enumerate((1, 5, 9)):  # two steps lie alike near each frame's centre
        torch.testing.assert_close(found[0, frame, 4:], values[centre : centre + 2, 4:].mean(0))


def test_the_wave_encoder_folds_and_joins_steps() -> None:
    torch.manual_seed(0)
    encoder, waves = WaveEncoder(n_joined=4), torch.randn(2, 16_000).clamp(-1, 1)
    used(encoder, waves)
    with torch.no_grad():
        wanted, found = encoder(waves), without_norms(encoder)(waves)
    assert wanted.shape == (2, 7, 128)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-3)


def test_wave_encoder_and_fusion_learn_together() -> None:
    torch.manual_seed(0)
    joint = Joint(WaveEncoder(n_joined=4), Fusion(FusionShape(12, 128, "attention", 16, 3)))
    joint(torch.randn(2, 5, 12), torch.randn(2, 16_000)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in joint.parameters())
