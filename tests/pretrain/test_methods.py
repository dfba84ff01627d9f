from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from listen_embed.pretrain.asit import Agreement, Asit
from listen_embed.pretrain.encoder import Architecture
from listen_embed.pretrain.material import Material, clips_of
from listen_embed.pretrain.method import Batch, Method
from listen_embed.pretrain.run import as_batch
from listen_embed.pretrain.ssast import Ssast

METHODS = [Ssast, Asit]


def small(kind: type[Method], encoder: str = "transformer") -> Architecture:
    return Architecture(
        kind=encoder,  # type: ignore[arg-type]
        width=64,
        depth=1,
        n_steps=64,
        n_extra=1 if kind is Asit else 0,
    )


def batch_of(kind: type[Method], folder: Path, n: int = 4) -> Batch:
    return as_batch(clips_of(Material(folder, kind, small(kind), n), 0), torch.device("cpu"))


@pytest.mark.parametrize("encoder", ["transformer", "state-space"])
@pytest.mark.parametrize("kind", METHODS)
def test_a_few_steps_teach_it_to_paint(
    kind: type[Method], encoder: str, corpus_folder: Path
) -> None:
    torch.manual_seed(0)
    method = kind(small(kind, encoder))
    batch = batch_of(kind, corpus_folder)
    optimizer = torch.optim.AdamW(method.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        found = method(batch)
        loss = found.total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(found.parts["reconstruction"].mean().item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", METHODS)
def test_losses_are_of_each_clip(kind: type[Method], corpus_folder: Path) -> None:
    torch.manual_seed(0)
    method = kind(small(kind)).eval()
    batch = batch_of(kind, corpus_folder)
    together = method(batch).total
    alone = [
        method(Batch(batch.log_mels[i : i + 1], batch.masks[i : i + 1])).total for i in range(4)
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("kind", METHODS)
def test_only_hidden_patches_are_painted(kind: type[Method], corpus_folder: Path) -> None:
    method = kind(small(kind)).eval()
    batch = batch_of(kind, corpus_folder)
    heard = batch.log_mels[:, 0]
    changed = method.encoder.patches((method.painted(batch) - heard).abs()).sum(-1) > 0
    assert torch.equal(changed, batch.masks[:, 0])


def test_ssast_finds_what_it_is_shown(corpus_folder: Path) -> None:
    """The loss is that of the definition, written out for one clip."""
    torch.manual_seed(0)
    method = Ssast(small(Ssast)).eval()
    batch = batch_of(Ssast, corpus_folder, 1)
    rows, mask = method.encoder.patches(batch.log_mels[:, 0])[0], batch.masks[0, 0]
    shown = method.encoder.embedded(rows).clone()
    shown[mask] = method.hidden
    tokens = method.encoder.tokens(shown[None])[0][mask]
    said = method.discriminative(tokens)
    scores = (said @ rows[mask].T).softmax(1).diagonal()
    parts = method(batch).parts
    assert parts["InfoNCE"].item() == pytest.approx(-scores.log().mean().item(), rel=1e-4)
    squares = (method.generative(tokens) - rows[mask]).pow(2).mean()
    assert parts["reconstruction"].item() == pytest.approx(squares.item(), rel=1e-4)


def test_what_is_hidden_does_not_reach_ssast(corpus_folder: Path) -> None:
    method = Ssast(small(Ssast)).eval()
    batch = batch_of(Ssast, corpus_folder)
    loud = method.encoder.patches(batch.log_mels[:, 0]).masked_fill(
        batch.masks[:, 0, :, None], 50.0
    )
    spoilt = method.encoder.patches.joined(loud, 128)[:, None]
    before, after = (
        method.encoder.patches(method.painted(Batch(x, batch.masks)))[batch.masks[:, 0]]
        for x in (batch.log_mels, spoilt)
    )
    assert torch.allclose(before, after, atol=1e-5)


def test_asits_teacher_is_not_taught_by_gradients(corpus_folder: Path) -> None:
    torch.manual_seed(0)
    method = Asit(small(Asit))
    method(batch_of(Asit, corpus_folder)).total.mean().backward()
    assert all(weight.grad is None for weight in method.teacher.parameters())
    assert method.encoder.to_token.weight.grad is not None


def test_asits_teacher_follows_ever_more_slowly() -> None:
    def moved(share: float) -> float:
        torch.manual_seed(0)
        method = Asit(small(Asit))
        before = method.teacher.to_token.weight.clone()
        with torch.no_grad():
            method.encoder.to_token.weight += 1
        method.after_step(share)
        return float((method.teacher.to_token.weight - before).mean())

    assert moved(0.0) == pytest.approx(1 - 0.996, rel=1e-3)
    assert moved(0.5) == pytest.approx((1 - 0.996) / 2, rel=1e-3)
    assert moved(1.0) == pytest.approx(0.0, abs=1e-7)


def test_asits_centre_keeps_its_outputs_from_collapsing(corpus_folder: Path) -> None:
    method = Asit(small(Asit))
    batch = batch_of(Asit, corpus_folder)
    assert not method.get_buffer("centre").any()
    method(batch)
    assert method.get_buffer("centre").abs().sum() > 0
    method.eval()
    before = method.get_buffer("centre").clone()
    method(batch)
    assert torch.equal(method.get_buffer("centre"), before)


def test_asits_losses_pull_alike(corpus_folder: Path) -> None:
    """None of the three drowns the others in the gradient of the first step."""
    torch.manual_seed(0)
    method = Asit(Architecture(depth=2, n_steps=64, n_extra=1))
    parts = method(batch_of(Asit, corpus_folder, 8)).parts
    weights = {"reconstruction": 10.0, "local": 1.0, "global": 1.0}
    blocks = [weight for weight in method.encoder.blocks.parameters() if weight.ndim == 2]
    pulls = []
    for name, weight in weights.items():
        found = torch.autograd.grad(weight * parts[name].mean(), blocks, retain_graph=True)
        pulls.append(float(torch.cat([part.flatten() for part in found]).norm()))
    assert max(pulls) < 5 * min(pulls)


def test_asits_tokens_begin_in_many_directions(corpus_folder: Path) -> None:
    torch.manual_seed(0)
    agree = Agreement(128)
    places = functional.normalize(agree.layers(torch.randn(256, 128)), dim=-1)
    alike = (places @ places.T).fill_diagonal_(0)
    assert alike.abs().mean() < 0.3


def test_masks_differ_from_clip_to_clip() -> None:
    rng = np.random.default_rng(0)
    for kind in METHODS:
        masks = [kind.masks(small(kind), rng) for _ in range(4)]
        assert all(mask.shape == (kind.n_views, 32) for mask in masks)
        assert len({mask.tobytes() for mask in masks}) > 1
