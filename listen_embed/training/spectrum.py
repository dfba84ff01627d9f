"""What tells steady machines apart, from their log-mels: the lesson of `listen/64/workshop`.

A machine sounds all the time and what passes by does not, so a band's level is its lower quartile
over time (the idea of minimum statistics). Faults show as lines, so a part of the smooth spectrum
around a band is taken away. And since clicks and rattles leave the quartile alone, a few values say
how much the bands flicker.

Source: Martin, "Noise power spectral density estimation based on optimal smoothing and minimum
statistics", IEEE Trans. Speech and Audio Processing 9 (2001), for the idea; the rest is ours, its
few constants chosen on the machine table of docs/BENCHMARKS.md.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from listen_embed.training.reduction import Reduction

Array = NDArray[np.float32]

_QUARTILE = 0.25
_SMOOTH_SHARE, _SMOOTH_WIDTH = 0.6, 7  # how much of the mean over so many bands is taken away
_N_FLICKER = 5


def steady_spectrum(log_mels: Array) -> Array:
    """Return the lower quartile over time of every band, and its mean rise from column to column.

    Parameters
    ----------
    log_mels : ndarray, float32 (N, n_bands, n_steps)

    Returns
    -------
    ndarray, float32 (N, 2 * n_bands)
        Quartiles first.
    """
    quartiles = np.quantile(log_mels, _QUARTILE, axis=2)
    rises = np.maximum(np.diff(log_mels, axis=2), 0).mean(axis=2)
    return np.concatenate([quartiles, rises], axis=1).astype(np.float32)


def reduce_spectrum(spectra: Array, emb_dim: int, n_low: int) -> Reduction:
    """Return the map of steady spectra to `emb_dim` values, each of one place in the spectrum.

    All but five are levels of bands, side by side: few of them, wide, above `n_low`; as many as
    remain below, single bands at the bottom and pairs above. The last five are the flicker of
    wide bands below `n_low`. Every value is standardised on the given spectra.

    Parameters
    ----------
    spectra : ndarray, float32 (N, 2 * n_bands)
        As `steady_spectrum` gives them.
    emb_dim : int
    n_low : int
        Bands that get most of the values.
    """
    n_bands = spectra.shape[1] // 2
    edges = _level_edges(emb_dim - _N_FLICKER, n_low, n_bands)
    levels = _sharpening(n_bands) @ _grouping(edges, n_bands)
    flicker = _grouping(_edges(0, n_low, _N_FLICKER), n_bands)
    matrix = np.zeros((2 * n_bands, emb_dim))
    matrix[:n_bands, :-_N_FLICKER] = levels
    matrix[n_bands:, -_N_FLICKER:] = flicker
    mean = spectra.mean(axis=0, dtype=np.float64)
    values = (spectra - mean) @ matrix
    matrix /= values.std(axis=0)
    kept = _variance_explained(spectra - mean, values)
    return Reduction(mean.astype(np.float32), matrix.astype(np.float32), kept, 1.0)


def _sharpening(n_bands: int) -> NDArray[np.float64]:
    """Return the matrix that makes spectra level-blind and takes the share of their smooth away."""
    near = np.abs(np.subtract.outer(np.arange(n_bands), np.arange(n_bands))) <= _SMOOTH_WIDTH // 2
    smooth = near / near.sum(axis=0)
    level_blind = np.eye(n_bands) - 1 / n_bands
    matrix: NDArray[np.float64] = level_blind @ (np.eye(n_bands) - _SMOOTH_SHARE * smooth)
    return matrix


def _level_edges(n_levels: int, n_low: int, n_bands: int) -> list[int]:
    n_high = round(n_levels / 10)
    n_single = 2 * (n_levels - n_high) - n_low  # what pairs leave of the low bands
    return [*range(n_single), *range(n_single, n_low, 2), *_edges(n_low, n_bands, n_high)]


def _edges(first: int, last: int, n: int) -> list[int]:
    return [round(edge) for edge in np.linspace(first, last, n + 1)]


def _grouping(edges: list[int], n_bands: int) -> NDArray[np.float64]:
    """Return the matrix (n_bands, groups) of means over bands between the edges."""
    columns = np.zeros((n_bands, len(edges) - 1))
    for column, (begin, end) in zip(columns.T, pairwise(edges), strict=True):
        column[begin:end] = 1 / (end - begin)
    return columns


def _variance_explained(
    spectra: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the share of the spectra's variance that the first 1, 2, ... values account for."""
    directions = np.linalg.qr(values)[0]
    shares = ((directions.T @ spectra) ** 2).sum(axis=1) / (spectra**2).sum()
    kept: NDArray[np.float64] = np.cumsum(shares)
    return kept
