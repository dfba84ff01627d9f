"""Reduction: scikit-learn's PCA, up to a rotation and a scale that the tests undo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from sklearn.decomposition import PCA

from listen_embed.errors import InputError
from listen_embed.training.reduction import Reduction, fit_pca, keep_all


def cloud(n_rows: int = 300, width: int = 12, seed: int = 0) -> Any:
    """Return correlated embeddings away from the origin, variances falling steeply."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((width, width)))[0]
    levels = 2.0 ** -np.arange(width)
    return (rng.standard_normal((n_rows, width)) * levels @ mixing.T + 5).astype(np.float32)


def projector(basis: Any) -> Any:
    """Return the orthogonal projection onto the columns' span."""
    q, _ = np.linalg.qr(basis.astype(np.float64))
    return q @ q.T


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("emb_dim", [1, 5, 12])
def test_same_subspace_and_error_as_sklearn(emb_dim: int, spread: bool) -> None:
    embeddings = cloud()
    reduction = fit_pca(embeddings, emb_dim, spread=spread)
    theirs = PCA(emb_dim, svd_solver="full").fit(embeddings.astype(np.float64))
    np.testing.assert_allclose(
        projector(reduction.matrix), projector(theirs.components_.T), atol=1e-5
    )
    np.testing.assert_allclose(
        reduction.variance_kept, np.cumsum(theirs.explained_variance_ratio_), atol=1e-6
    )
    np.testing.assert_allclose(reduction.mean, theirs.mean_, atol=1e-5)

    targets = reduction(embeddings)
    assert (targets.shape, targets.dtype) == ((300, emb_dim), np.float32)
    back = targets * reduction.scale @ np.linalg.pinv(reduction.matrix) + reduction.mean
    their_back = theirs.inverse_transform(theirs.transform(embeddings.astype(np.float64)))
    error, their_error = (np.square(b - embeddings).mean() for b in (back, their_back))
    assert error == pytest.approx(their_error, rel=1e-3, abs=1e-9)


def test_without_rotation_components_are_sklearns_up_to_signs() -> None:
    embeddings = cloud()
    reduction = fit_pca(embeddings, 4, spread=False)
    theirs = PCA(4, svd_solver="full").fit_transform(embeddings.astype(np.float64))
    ours = reduction(embeddings) * reduction.scale
    # one teacher's dimensions are all divided by its total deviation
    ours = ours * np.sqrt(embeddings.astype(np.float64).var(axis=0).sum())
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    largest = np.abs(reduction.matrix).argmax(axis=0)
    assert np.all(reduction.matrix[largest, np.arange(4)] > 0)


@pytest.mark.parametrize("spread", [True, False])
def test_targets_have_unit_variance_all_together(spread: bool) -> None:
    embeddings = cloud()
    targets = fit_pca(embeddings, 6, spread=spread)(embeddings)
    assert targets.var(axis=0).sum() == pytest.approx(6, rel=1e-4)
    np.testing.assert_allclose(targets.mean(axis=0), 0, atol=1e-3)


def test_spreading_evens_variances_and_keeps_angles() -> None:
    # variances fall as 1, 1/2, 1/3, ..., about as those of genuine embeddings do
    falling = np.random.default_rng(1).standard_normal((2000, 64)) / np.sqrt(np.arange(1, 65))
    embeddings = falling.astype(np.float32)
    plain, even = (fit_pca(embeddings, 32, spread=spread)(embeddings) for spread in (False, True))
    plain_variances, variances = plain.var(axis=0), even.var(axis=0)
    assert plain_variances.max() / plain_variances.min() > 25
    assert variances.max() / variances.min() < 6
    np.testing.assert_allclose(even[:50] @ even[50:100].T, plain[:50] @ plain[50:100].T, atol=1e-3)


def test_equal_embeddings_give_equal_reductions() -> None:
    first, again = fit_pca(cloud(), 5), fit_pca(cloud(), 5)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert first.scale == again.scale


def test_teachers_side_by_side_count_alike() -> None:
    rng = np.random.default_rng(3)
    loud = 1000 * rng.standard_normal((400, 3)) @ rng.standard_normal((3, 20))
    soft = 0.01 * rng.standard_normal((400, 3)) @ rng.standard_normal((3, 5))
    embeddings = np.concatenate([loud, soft], axis=1).astype(np.float32)

    def explained(reduction: Reduction, part: Any) -> float:
        """Return the share of one teacher's variance that the targets explain, linearly."""
        targets = np.c_[reduction(embeddings), np.ones(400)].astype(np.float64)
        rest = part - targets @ np.linalg.lstsq(targets, part, rcond=None)[0]
        return float(1 - rest.var(axis=0).sum() / part.var(axis=0).sum())

    alike = fit_pca(embeddings, 4, widths=(20, 5))
    assert explained(alike, loud) > 0.5
    assert explained(alike, soft) > 0.5
    louder_first = fit_pca(embeddings, 3)
    assert explained(louder_first, loud) > 0.99
    assert explained(louder_first, soft) < 0.1

    whole = fit_pca(embeddings, 6, widths=(20, 5), spread=False)
    totals = [np.linalg.norm(whole.matrix[a:b], axis=1).mean() for a, b in ((0, 20), (20, 25))]
    assert totals[1] / totals[0] > 1000  # the soft one's dimensions are raised


def test_weighted_teachers_equal_sklearn_on_weighted_embeddings() -> None:
    embeddings = np.concatenate([cloud(seed=1) * 50, cloud(width=7, seed=2)], axis=1)
    variances = embeddings.astype(np.float64).var(axis=0)
    deviations = np.sqrt([variances[:12].sum(), variances[12:].sum()])
    weighted = embeddings / np.repeat(deviations, (12, 7))
    theirs = PCA(5, svd_solver="full").fit(weighted)
    reduction = fit_pca(embeddings, 5, widths=(12, 7))
    np.testing.assert_allclose(
        reduction.variance_kept, np.cumsum(theirs.explained_variance_ratio_), atol=1e-5
    )
    raw = reduction.matrix * np.repeat(deviations, (12, 7))[:, None]
    np.testing.assert_allclose(projector(raw), projector(theirs.components_.T), atol=1e-4)


def test_balance_lifts_faint_dimensions() -> None:
    """At 1 it is the PCA of standardised embeddings, halfway the plain one is halfway there."""
    embeddings = cloud()
    deviations = embeddings.astype(np.float64).std(axis=0)
    for balance in (0.5, 1.0):
        theirs = PCA(5, svd_solver="full").fit(embeddings / deviations**balance)
        reduction = fit_pca(embeddings, 5, balance=balance)
        np.testing.assert_allclose(
            reduction.variance_kept, np.cumsum(theirs.explained_variance_ratio_), atol=1e-4
        )
        raw = reduction.matrix * (deviations**balance)[:, None]
        np.testing.assert_allclose(projector(raw), projector(theirs.components_.T), atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_must_be_finite(value: float) -> None:
    embeddings = cloud()
    embeddings[3, 2] = value
    with pytest.raises(InputError, match="not finite"):
        fit_pca(embeddings, 4)


@pytest.mark.parametrize("emb_dim", [0, -1, 13, 400])
def test_more_components_than_there_are(emb_dim: int) -> None:
    with pytest.raises(InputError, match=f"emb_dim is {emb_dim}; .* can be 1 to 12"):
        fit_pca(cloud(), emb_dim)


def test_fewer_embeddings_than_components() -> None:
    with pytest.raises(InputError, match="from 5 embeddings of width 12 it can be 1 to 5"):
        fit_pca(cloud(5), 6)


@pytest.mark.parametrize("widths", [(5, 5), (12, 1), (11,), (13, -1), (12, 0)])
def test_widths_must_add_up(widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"widths are .* {sum(widths)} together, .* are 12 wide"):
        fit_pca(cloud(), 4, widths=widths)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4])
def test_equal_embeddings_have_no_components(value: float) -> None:
    constant = np.full((50, 12), value, np.float32) + np.arange(12, dtype=np.float32)
    with pytest.raises(InputError, match="all 50 embeddings are the same"):
        fit_pca(constant, 4)
    constant[7, 3] += 1
    assert np.isfinite(fit_pca(constant, 1)(constant)).all()


def test_keep_all_changes_nothing() -> None:
    embeddings = cloud()
    reduction = keep_all(embeddings)
    np.testing.assert_array_equal(reduction(embeddings), embeddings)
    np.testing.assert_array_equal(reduction.variance_kept, np.ones(12))
