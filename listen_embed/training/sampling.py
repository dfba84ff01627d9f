"""Which crops of a corpus to train on: at random, the relevant ones, diverse ones, or both.

SEA found that the choice hardly matters: the four modes lie within 0.002 micro-AUPRC of each
other, except for 64-d students (diversity 0.783, random 0.782, both 0.781, relevance 0.779). So
``"random"`` is the default, and costs nothing.

Source: SEA (Srivastava et al., ICASSP 2021), section 3, and its code; k-DPPs: Kulesza and Taskar,
"Determinantal Point Processes for Machine Learning", 2012, algorithms 1, 7 and 8.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError
from listen_embed.training.corpus import Corpus

Mode = Literal["random", "relevance", "diversity", "both"]

# SEA ranked loudness within blocks of two hours.
NEIGHBOURHOOD_SECONDS = 7200
# SEA adds it to the kernel's diagonal. With L1-normalised embeddings it outweighs most of them,
# which is one reason why diverse choices differ so little from random ones.
_RIDGE = 0.1

Reals = NDArray[np.float64]
Indices = NDArray[np.int64]


def choose(
    corpus: Corpus,
    n: int,
    mode: Mode = "random",
    *,
    embeddings: NDArray[Any] | None = None,
    seed: int = 0,
    neighbourhood: float = NEIGHBOURHOOD_SECONDS,
    block: int = 2000,
) -> Indices:
    """Return which crops of a corpus to train on.

    Parameters
    ----------
    corpus : Corpus
    n : int
        How many, 1 to ``len(corpus)``.
    mode : {"random", "relevance", "diversity", "both"}
        ``"relevance"`` prefers crops that are loud for their neighbourhood, see `relevance`.
        ``"diversity"`` prefers crops that differ, by a k-DPP over their L1-normalised embeddings,
        see `sample_k_dpp`. ``"both"`` multiplies these by the relevance first.
    embeddings : ndarray, (len(corpus), D), optional
        One of each crop, in order; may be memory-mapped. Needed for diversity.
    seed : int
        Decides all randomness.
    neighbourhood : float
        Seconds of kept audio among which loudness is compared.
    block : int
        Candidates of one k-DPP, whose time grows with their square and more. Where there are more
        crops, they are dealt to blocks at random, and each block gives its share of `n`. Dealt
        so, every block is a small copy of the whole, and a long monotonous recording has no share
        of its own.

    Returns
    -------
    ndarray, int64 (n,)
        Indices of crops, sorted, each once.

    Raises
    ------
    InputError
        An unknown mode, more crops than there are, or embeddings that are missing or do not fit.
    """
    _check(corpus, n, mode, embeddings, neighbourhood, block)
    rng = np.random.default_rng(seed)
    if n == len(corpus):
        return np.arange(n)
    if mode == "random":
        return np.sort(rng.choice(len(corpus), n, replace=False))
    weights = relevance(corpus.loudness_db, round(neighbourhood)) if mode != "diversity" else None
    if mode == "relevance":
        assert weights is not None
        return np.sort(rng.choice(len(corpus), n, replace=False, p=weights / weights.sum()))
    assert embeddings is not None
    return _diverse(embeddings, weights, n, rng, block)


def relevance(loudness_db: NDArray[Any], neighbourhood: int) -> Reals:
    """Return how loud each crop is among its neighbours, from 1 / neighbours to 1.

    Parameters
    ----------
    loudness_db : ndarray, (n,)
        Of one-second crops, in the order of recording.
    neighbourhood : int
        Crops that are ranked together: the first so many, the next so many, and so on.

    Returns
    -------
    ndarray, float64 (n,)
        The crop's rank, 1 for the softest and the lowest for equals, over the number of neighbours.
    """
    parts = [
        loudness_db[begin : begin + neighbourhood]
        for begin in range(0, len(loudness_db), neighbourhood)
    ]
    ranks = [(1 + np.searchsorted(np.sort(part), part)) / len(part) for part in parts]
    return np.concatenate([np.zeros(0), *ranks])


def sample_k_dpp(features: NDArray[Any], k: int, rng: np.random.Generator) -> Indices:
    """Return `k` of `n` items, drawn exactly from the k-DPP with the kernel ``F F^T + 0.1 I``.

    The probability of a set is proportional to the determinant of its part of the kernel: large
    where the features are long and point in different directions.

    Parameters
    ----------
    features : ndarray, (n, d)
        F; memory grows with n * n.
    k : int
        1 to n.
    rng : Generator

    Returns
    -------
    ndarray, int64 (k,)
        Sorted.
    """
    # One decomposition of F serves its primal and its dual kernel, whichever is smaller.
    vectors, lengths, _ = np.linalg.svd(np.asarray(features, np.float64), full_matrices=True)
    values = np.full(len(vectors), _RIDGE)
    values[: len(lengths)] += lengths**2
    chosen = _choose_eigenvectors(values, k, rng)
    return _sample_projection(vectors[:, chosen], rng)


def log_elementary(values: Reals, k: int) -> Reals:
    """Return the logarithms of the elementary symmetric polynomials of positive values.

    Parameters
    ----------
    values : ndarray, float64 (n,)
    k : int
        Highest degree.

    Returns
    -------
    ndarray, float64 (n + 1, k + 1)
        Entry ``[m, j]`` is the logarithm of the sum, over all sets of `j` of the first `m` values,
        of their product; -inf where there is no such set.
    """
    table = np.full((len(values) + 1, k + 1), -np.inf)
    table[:, 0] = 0
    for m, log_value in enumerate(np.log(values), start=1):
        table[m, 1:] = np.logaddexp(table[m - 1, 1:], log_value + table[m - 1, :-1])
    return table


def _choose_eigenvectors(values: Reals, k: int, rng: np.random.Generator) -> Indices:
    """Return `k` indices, sets with probability proportional to the product of their values."""
    table = log_elementary(values, k)
    log_values, log_draws = np.log(values), -rng.standard_exponential(len(values))
    chosen: list[int] = []
    for m in range(len(values), 0, -1):
        left = k - len(chosen)
        if not left:
            break
        log_chance = log_values[m - 1] + table[m - 1, left - 1] - table[m, left]
        if log_draws[m - 1] <= log_chance:
            chosen.append(m - 1)
    return np.array(chosen, np.int64)


def _sample_projection(vectors: Reals, rng: np.random.Generator) -> Indices:
    """Return as many items as there are orthonormal `vectors` (n, k), from their projection DPP.

    Item by item, each with probability proportional to what of its row the earlier ones leave over;
    the rows are orthogonalised by one more line of a Cholesky factor at each step.
    """
    n, k = vectors.shape
    kernel = vectors @ vectors.T
    left_over = kernel.diagonal().copy()
    factor = np.zeros((k, n))
    chosen = np.zeros(k, np.int64)
    for step in range(k):
        chances = np.maximum(left_over, 0)
        chances[chosen[:step]] = 0
        item = int(rng.choice(n, p=chances / chances.sum()))
        row = kernel[item] - factor[:step, item] @ factor[:step]
        factor[step] = row / np.sqrt(left_over[item])
        left_over -= factor[step] ** 2
        chosen[step] = item
    return np.sort(chosen)


def _diverse(
    embeddings: NDArray[Any],
    weights: Reals | None,
    n: int,
    rng: np.random.Generator,
    block: int,
) -> Indices:
    """Draw from one k-DPP, or from one in each of several blocks of candidates."""
    n_blocks = -(-len(embeddings) // block)
    parts = np.array_split(rng.permutation(len(embeddings)), n_blocks)
    chosen = []
    for part, k in zip(parts, _shares([len(part) for part in parts], n, rng), strict=True):
        candidates = np.sort(part)
        if not k:
            continue
        features = _l1_normalised(embeddings[candidates])
        if weights is not None:
            features *= weights[candidates, None]
        chosen.append(candidates[sample_k_dpp(features, k, rng)])
    return np.sort(np.concatenate(chosen))


def _shares(sizes: list[int], n: int, rng: np.random.Generator) -> list[int]:
    """Split `n` over blocks in proportion to their sizes; chance deals what does not divide."""
    exact = np.array(sizes) * n / sum(sizes)
    shares = np.floor(exact + 1e-9).astype(np.int64)
    missing = n - int(shares.sum())
    open_blocks = np.flatnonzero(shares < sizes)
    shares[rng.permutation(open_blocks)[:missing]] += 1
    return [int(share) for share in shares]


def _l1_normalised(embeddings: NDArray[Any]) -> Reals:
    rows = np.asarray(embeddings, np.float64)
    if not np.isfinite(rows).all():
        raise InputError("embeddings hold NaN or infinity; leave those crops out, or embed again")
    totals = np.abs(rows).sum(axis=1, keepdims=True)
    return rows / np.where(totals > 0, totals, 1)


def _check(
    corpus: Corpus,
    n: int,
    mode: str,
    embeddings: NDArray[Any] | None,
    neighbourhood: float,
    block: int,
) -> None:
    if mode not in get_args(Mode):
        raise InputError(f"mode is {mode!r}; allowed are {', '.join(get_args(Mode))}")
    if not 1 <= n <= len(corpus):
        raise InputError(f"n is {n}; from {len(corpus)} crops it can be 1 to {len(corpus)}")
    if not neighbourhood >= 1 or block < 1:
        raise InputError(
            f"neighbourhood is {neighbourhood} and block is {block}; both must be 1 or more"
        )
    if mode not in ("diversity", "both"):
        return
    if embeddings is None:
        raise InputError(
            f"mode {mode!r} compares embeddings; give one of each crop as `embeddings`"
        )
    if embeddings.ndim != 2 or len(embeddings) != len(corpus) or not embeddings.shape[1]:
        raise InputError(
            f"embeddings have the shape {embeddings.shape}; for {len(corpus)} crops it must be "
            f"({len(corpus)}, width)"
        )
