"""What frozen parts hear, and how versions are mixed."""

from __future__ import annotations

import numpy as np
import torch

from listen_embed.classify.bases import Base
from listen_embed.classify.frames import HeardLessons, heard
from listen_embed.classify.network import WaveEncoder
from listen_embed.classify.windows import Windows
from listen_embed.spec import FrontEnd

FRONT_END = FrontEnd(
    sample_rate=16_000, frame_samples=16_000, n_fft=512, window_samples=512, hop_samples=320,
    n_mels=8, f_max=8_000.0, log="ln", log_offset=1e-5,
)  # fmt: skip


class Columns(torch.nn.Module):
    """Frames that are columns of the log-mel."""

    def forward(self, log_mels: torch.Tensor) -> torch.Tensor:
        return log_mels[:, 0].transpose(1, 2)


BASE = Base("columns", Columns(), FRONT_END, 8)


def some(rng: np.random.Generator, n: int = 20) -> Windows:
    waves = (3000 * rng.standard_normal((n, 16_000))).astype(np.int16)
    return Windows(waves, rng.standard_normal((n, 8, 10)).astype(np.float16), np.arange(n))


def test_the_first_version_is_as_it_is(rng: np.random.Generator) -> None:
    windows, targets = some(rng), np.eye(20, dtype=np.float32)
    found = heard(windows, np.arange(20), targets, BASE, WaveEncoder().eval(), progress=False)
    assert found.frames is not None and found.steps is not None
    np.testing.assert_allclose(found.frames, windows.log_mels.transpose(0, 2, 1), atol=0.02)
    assert found.steps.shape == (20, 31, 128)
    np.testing.assert_array_equal(found.targets, targets)


def test_mixed_versions_share_targets_among_their_fold(rng: np.random.Generator) -> None:
    targets, folds = np.eye(20, dtype=np.float32), np.arange(20) % 2
    found = heard(
        some(rng), np.arange(20), targets, BASE, None, versions=3, among=folds, progress=False
    )
    assert found.steps is None and len(found) == 60
    mixed = found.targets[20:]
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    for row, target in enumerate(mixed):
        assert target[row % 20] > 0 and set(np.flatnonzero(target) % 2) == {row % 2}
    assert (mixed.max(axis=1) < 1).sum() > 30


def test_mixed_versions_of_a_multi_label_set_have_all_labels(rng: np.random.Generator) -> None:
    found = heard(
        some(rng), np.arange(20), np.eye(20, dtype=np.float32), BASE, None,
        versions=2, is_multi=True, progress=False,
    )  # fmt: skip
    assert set(np.unique(found.targets)) == {0.0, 1.0} and found.targets[20:].sum() > 30


def test_kept_waveforms_are_lessons(rng: np.random.Generator) -> None:
    found = heard(
        some(rng), np.arange(20), np.eye(20, dtype=np.float32), BASE, None,
        versions=2, keep_waves=True, progress=False,
    )  # fmt: skip
    lessons = HeardLessons(found, 0, with_waves=True)
    steps = lessons.steps(0, 8)
    assert sorted(np.concatenate(steps)) == list(range(40))
    (frames, waves), targets = lessons.lesson(steps[0])
    assert frames is not None and waves is not None
    assert len(frames) == len(waves) == len(targets) == len(steps[0])
    assert 0.3 < waves.abs().mean() < 0.8
