from __future__ import annotations

import numpy as np
import pytest

from listen_embed.pretrain import masking


@pytest.mark.parametrize("grid", [(8, 16), (1, 128), (8, 7)])
def test_clusters_hide_exactly_so_many(grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    wanted = grid[0] * grid[1] * 3 // 4
    masks = [masking.clusters(grid, wanted, rng) for _ in range(20)]
    assert {int(mask.sum()) for mask in masks} == {wanted}
    assert len({mask.tobytes() for mask in masks}) > 1


def test_clusters_hang_together() -> None:
    rng = np.random.default_rng(0)
    few = [masking.clusters((8, 64), 50, rng).reshape(8, 64) for _ in range(50)]
    beside = np.mean([(m[:, 1:] & m[:, :-1]).sum() / m.sum() for m in few])
    scattered = rng.permuted(np.stack([m.ravel() for m in few]), axis=1).reshape(-1, 8, 64)
    by_chance = np.mean([(m[:, 1:] & m[:, :-1]).sum() / m.sum() for m in scattered])
    assert beside > 3 * by_chance


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_groups_hide_a_share(share: float) -> None:
    rng = np.random.default_rng(0)
    mask = masking.groups((8, 16), share, rng)
    assert mask.shape == (128,)
    assert mask.sum() == round(share * 128)
