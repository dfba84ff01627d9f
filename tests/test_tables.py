"""Results of many files as one table; what failed is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import listen_embed
from listen_embed import FileResult
from listen_embed.errors import (
    AudioFileError,
    InputError,
    ListenEmbedWarning,
    MissingExtraError,
)

from .program import write_sound

MAKERS = [listen_embed.to_pandas, listen_embed.to_arrow]


def result(name: str, n_rows: int, emb_dim: int = 3) -> FileResult:
    embedding = np.arange(n_rows * emb_dim, dtype=np.float32).reshape(n_rows, emb_dim)
    return FileResult(path=Path(name), _embedded=(embedding, np.arange(n_rows) / 10))


def failure(name: str) -> FileResult:
    return FileResult(path=Path(name), error=AudioFileError(f"{name}: does not exist"))


@pytest.mark.parametrize("make", MAKERS)
def test_a_row_per_embedding(make: Callable[..., Any]) -> None:
    table = make(iter([result("a.wav", 2), result("ü/b.wav", 1)]))
    columns = {name: list(np.asarray(table[name])) for name in ("path", "time", "d0", "d2")}
    assert columns == {
        "path": ["a.wav", "a.wav", "ü/b.wav"],
        "time": [0.0, 0.1, 0.0],
        "d0": [0.0, 3.0, 0.0],
        "d2": [2.0, 5.0, 2.0],
    }
    assert np.asarray(table["d0"]).dtype == np.float32
    names = table.column_names if hasattr(table, "column_names") else list(table.columns)
    assert names == ["path", "time", "d0", "d1", "d2"]


@pytest.mark.parametrize("make", MAKERS)
def test_failures_are_counted_and_named(make: Callable[..., Any]) -> None:
    bad = [failure(f"{i}.wav") for i in range(25)]
    with pytest.warns(ListenEmbedWarning, match="25 of 26 files failed") as caught:
        table = make([bad[0], result("a.wav", 2), *bad[1:]])
    assert len(table) == 2
    message = str(caught[0].message)
    assert "0.wav: does not exist, 1.wav: does not exist" in message
    assert message.endswith("and 5 more")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_is_an_empty_table(make: Callable[..., Any]) -> None:
    assert len(make([])) == 0


@pytest.mark.parametrize("make", MAKERS)
def test_one_table_takes_one_width(make: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"embeddings of \[3, 4\] values"):
        make([result("a.wav", 1), result("b.wav", 1, 4)])


@pytest.mark.parametrize("make", MAKERS)
def test_names_that_are_no_text(make: Callable[..., Any]) -> None:
    table = make([result(os.fsdecode(b"\xff.wav"), 1)])
    assert list(np.asarray(table["path"])) == ["\\xff.wav"]


def test_a_table_of_files(tmp_path: Path) -> None:
    sounds = [write_sound(tmp_path / f"{i}.wav") for i in range(2)]
    frame = listen_embed.to_pandas(listen_embed.embed_files(sounds, "logmel", hop_size=0.5))
    means = frame.groupby("path").mean()
    assert list(means.index) == [str(path) for path in sounds]
    assert means.shape == (2, 129)


@pytest.mark.parametrize(
    ("make", "extra"), [(listen_embed.to_pandas, "pandas"), (listen_embed.to_arrow, "parquet")]
)
def test_a_missing_package_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any], extra: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf'pip install "listen-embed\[{extra}\]"'):
        make([])
