"""Results of many files as one table, pandas or Arrow: a row per embedding, a column per value."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from listen_embed.errors import InputError, ListenEmbedWarning, MissingExtraError, blame, listed
from listen_embed.files import FileResult
from listen_embed.output import as_text

if TYPE_CHECKING:
    import pandas
    import pyarrow


def to_pandas(results: Iterable[FileResult]) -> pandas.DataFrame:
    """Return the results of `embed_files` as a DataFrame.

    Parameters
    ----------
    results : iterable of FileResult
        All of one model.

    Returns
    -------
    pandas.DataFrame
        Columns ``path`` (str), ``time`` (float64, seconds) and ``d0``, ``d1``, ... (float32), a row
        per embedding.

    Warns
    -----
    ListenEmbedWarning
        Files failed: how many, which and why. They have no rows.

    Raises
    ------
    InputError
        The results are of embeddings of different widths.
    MissingExtraError
        pandas is not installed.

    Examples
    --------
    ``to_pandas(embed_files(paths)).groupby("path").mean()``
    """
    _check_installed("pandas")
    import pandas

    paths, times, values = _columns(results)
    frame = pandas.DataFrame(values, columns=_names(values), copy=False)
    frame.insert(0, "path", paths)
    frame.insert(1, "time", times)
    return frame


def to_arrow(results: Iterable[FileResult]) -> pyarrow.Table:
    """Return the results of `embed_files` as an Arrow table; see `to_pandas`.

    Parameters
    ----------
    results : iterable of FileResult
        All of one model.

    Returns
    -------
    pyarrow.Table
        Columns ``path`` (string), ``time`` (double), ``d0``, ``d1``, ... (float).

    Raises
    ------
    InputError, MissingExtraError
        As `to_pandas`.
    """
    _check_installed("pyarrow")
    import pyarrow

    paths, times, values = _columns(results)
    columns = dict(zip(_names(values), values.T.copy(), strict=True))
    return pyarrow.table({"path": pyarrow.array(paths, pyarrow.string()), "time": times, **columns})


def _columns(
    results: Iterable[FileResult],
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float32]]:
    """Return path and time of every row, and all values, float32 (rows, D)."""
    paths: list[str] = []
    times, values = [np.zeros(0)], []
    failures: list[str] = []
    for result in results:
        if result.error is not None:
            failures.append(blame(result.path, result.error))
            continue
        paths += [as_text(str(result.path))] * len(result.timestamps)
        times.append(result.timestamps)
        values.append(result.embedding)
    _tell(failures, len(failures) + len(values))
    _check_widths({rows.shape[1] for rows in values})
    joined = np.concatenate(values) if values else np.zeros((0, 0), np.float32)
    return paths, np.concatenate(times), joined


def _tell(failures: list[str], n_files: int) -> None:
    if failures:
        message = f"{len(failures)} of {n_files} files failed and have no rows: {listed(failures)}"
        warnings.warn(message, ListenEmbedWarning, stacklevel=4)


def _check_widths(widths: set[int]) -> None:
    if len(widths) > 1:
        raise InputError(
            f"the results have embeddings of {sorted(widths)} values; one table takes those of one "
            "model"
        )


def _names(values: NDArray[np.float32]) -> list[str]:
    return [f"d{i}" for i in range(values.shape[1])]


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        extra = {"pyarrow": "parquet"}.get(package, package)
        raise MissingExtraError(
            f"this table needs {package}, not installed here. "
            f'Install with: pip install "listen-embed[{extra}]"'
        )
