"""Teacher embeddings -> fewer dimensions, linearly: principal components.

Source: SEA (Srivastava et al., ICASSP 2021), where PCA wins over UMAP.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError


@dataclass(frozen=True, slots=True)
class Reduction:
    """A linear map of teacher embeddings to the student's targets.

    Attributes
    ----------
    mean : ndarray, float32 (D,)
    matrix : ndarray, float32 (D, d)
        Components, rotated if asked for, times the weights of the teachers' dimensions.
    variance_kept : ndarray, float64 (d,)
        Share of the variance that the first 1, 2, ... d components keep.
    scale : float
        The targets are divided by it, so that their variances add up to d.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]
    variance_kept: NDArray[np.float64]
    scale: float

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return targets, float32 (N, d), of teacher embeddings (N, D)."""
        reduced: NDArray[np.float32] = np.matmul(embeddings - self.mean, self.matrix)
        return reduced / np.float32(self.scale)


def fit_pca(
    embeddings: NDArray[np.float32],
    emb_dim: int,
    widths: tuple[int, ...] | None = None,
    spread: bool = True,
    balance: float = 0.0,
) -> Reduction:
    """Return the principal components of teacher embeddings.

    Parameters
    ----------
    embeddings : ndarray, float32 (N, D)
        Of one teacher, or of several side by side.
    emb_dim : int
        Components to keep, at most min(N, D).
    widths : tuple of int, optional
        Widths of the teachers that stand side by side; each then counts for the same total
        variance.
    spread : bool
        Rotate the components at random (always by the same rotation), so that every dimension has
        about the same variance. Angles and distances stay as they are; but one int8 scale then
        serves all dimensions, and standardising them, as most probes do, does not blow up the faint
        ones.

    Raises
    ------
    InputError
        More components than embeddings or dimensions, widths that do not add up to D, embeddings
        that are all the same, or not all finite.
    """
    n_rows, n_columns = embeddings.shape
    widths = widths or (n_columns,)
    if not 1 <= emb_dim <= min(n_rows, n_columns):
        raise InputError(
            f"emb_dim is {emb_dim}; from {n_rows} embeddings of width {n_columns} it can be "
            f"1 to {min(n_rows, n_columns)}"
        )
    _check_variety(embeddings, widths)
    mean = embeddings.mean(axis=0, dtype=np.float64)
    centred = embeddings - mean
    weights = _weights(centred, widths, balance)
    covariance = (centred * weights).T @ (centred * weights) / n_rows
    variances, components = np.linalg.eigh(covariance)
    variances, components = np.maximum(variances[::-1], 0), components[:, ::-1]
    kept = np.cumsum(variances) / variances.sum()
    rotation = _rotation(emb_dim) if spread else np.eye(emb_dim)
    matrix = weights[:, None] * _with_fixed_signs(components[:, :emb_dim]) @ rotation
    scale = float(np.sqrt(variances[:emb_dim].sum() / emb_dim))
    return Reduction(mean.astype(np.float32), matrix.astype(np.float32), kept[:emb_dim], scale)


def keep_all(embeddings: NDArray[np.float32]) -> Reduction:
    """Return the map that keeps embeddings as they are, for students as wide as their teacher."""
    width = embeddings.shape[1]
    one = np.eye(width, dtype=np.float32)
    return Reduction(np.zeros(width, np.float32), one, np.ones(width), 1.0)


def _check_variety(embeddings: NDArray[np.float32], widths: tuple[int, ...]) -> None:
    n_rows, n_columns = embeddings.shape
    if sum(widths) != n_columns or min(widths) < 1:
        raise InputError(
            f"widths are {widths}, {sum(widths)} together, but the embeddings are {n_columns} "
            "wide; give the width of each teacher in their order"
        )
    if not np.isfinite(embeddings).all():
        raise InputError("some teacher embeddings are not finite; is the teacher's file whole?")
    if np.array_equal(embeddings, np.broadcast_to(embeddings[0], embeddings.shape)):
        raise InputError(
            f"all {n_rows} embeddings are the same, so they have no components; give sounds that "
            "the teacher can tell apart"
        )


def _weights(
    centred: NDArray[np.float64], widths: tuple[int, ...], balance: float
) -> NDArray[np.float64]:
    """Return what each dimension is multiplied by: evened out, then each teacher's share."""
    variances = np.maximum(centred.var(axis=0), 1e-12)
    evened = variances ** (-balance / 2)
    bounds = np.cumsum((0, *widths))
    totals = [(variances * evened**2)[a:b].sum() for a, b in pairwise(bounds)]
    weights: NDArray[np.float64] = evened / np.repeat(np.sqrt(np.maximum(totals, 1e-12)), widths)
    return weights


def _rotation(size: int) -> NDArray[np.float64]:
    """Return an orthonormal matrix (size, size), the same at every call."""
    q, r = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))
    rotation: NDArray[np.float64] = q * np.sign(np.diag(r))
    return rotation


def _with_fixed_signs(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make each component's largest entry positive: the sign is arbitrary, files should not be."""
    largest = np.abs(components).argmax(axis=0)
    signs: NDArray[np.float64] = np.sign(components[largest, np.arange(components.shape[1])])
    return components * signs
