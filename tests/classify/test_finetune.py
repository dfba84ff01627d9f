"""Fine-tuning: rates by layer, masks, mixtures, and any base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from listen_embed import SoundClassifier
from listen_embed.classify import bases, finetune, folder
from listen_embed.classify.clips import Clips
from listen_embed.classify.labelled import read_labelled
from listen_embed.classify.options import Options
from listen_embed.classify.parts import parts_of
from listen_embed.classify.windows import windows_of
from listen_embed.training.starts import NANO_FRONT_END

from .conftest import BASE
from .sounds import SR, sound


@pytest.fixture(scope="module")
def base() -> bases.Base:
    return finetune.trainable(bases.of_model(BASE))


def test_rates_fall_towards_the_input(base: bases.Base) -> None:
    tuned = finetune.Tuned(base, 3)
    groups = finetune.by_layer(base, tuned, 1.0)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates, reverse=True) and rates[0] == 1.0
    assert rates[-1] == pytest.approx(0.8 ** len(base.layers))
    given = [p for group in groups for p in group["params"]]
    assert len(given) == len({id(p) for p in given}) == len(list(tuned.parameters()))


def test_masks_leave_out_bands_and_columns(rng: np.random.Generator) -> None:
    log_mels = torch.randn(8, 40, 50)
    masked = finetune.with_masks(log_mels, rng)
    changed = masked != log_mels
    assert 0.02 < changed.float().mean() < 0.3
    for one, before, is_changed in zip(masked, log_mels, changed, strict=True):
        whole = is_changed.all(1)[:, None] | is_changed.all(0)[None]
        assert torch.equal(whole, is_changed)
        torch.testing.assert_close(one[is_changed], before.mean().expand_as(one[is_changed]))


def test_lessons_are_the_same_again(
    base: bases.Base, labelled_folder: Path, tmp_path: Path
) -> None:
    labelled = read_labelled(labelled_folder)
    windows = windows_of(labelled, base.lasting(1.2), tmp_path, progress=False)
    clips = Clips(labelled, windows, parts_of(labelled))
    lessons = finetune.Mixtures(clips, windows.of(clips.parts.learn), base, seed=0)
    steps = lessons.steps(1, 4)
    assert sorted(np.concatenate([rows for _, rows in steps])) == list(lessons.rows)
    (one,), targets = lessons.lesson(steps[0])
    (again,), _ = lessons.lesson(steps[0])
    torch.testing.assert_close(one, again)
    torch.testing.assert_close(targets.sum(1), torch.ones(len(targets)))


class Pictures(torch.nn.Module):
    """A network of nobody's: anything that gives frames of log-mels."""

    def __init__(self) -> None:
        super().__init__()
        self.bands = torch.nn.Linear(64, 16)

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bands(log_mels[:, 0].transpose(1, 2)))


def test_any_module_with_a_front_end_will_do(labelled_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    foreign = bases.Base("pictures", Pictures(), NANO_FRONT_END, 16, licence="CC0-1.0")
    labelled = read_labelled(labelled_folder)
    options = Options(method="finetune", epochs=8, window=1.2)
    made, measured = finetune.make_of(foreign, labelled, options, tmp_path / "w", progress=False)
    folder.write(tmp_path / "own", made, measured, {})
    classifier = SoundClassifier(tmp_path / "own")
    assert classifier.card.base == "pictures" and classifier.embedder.spec.licence == "CC0-1.0"
    assert classifier.predict(sound("hum", 3), SR)[1].shape[1] == 3
