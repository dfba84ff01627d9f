"""Results of every kind become the same rows; what is none is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import listen_embed
from listen_embed import Embedder
from listen_embed.errors import IndexFileError, InputError
from listen_embed.index import results

from ..program import write_sound

NAME = "logmel/128/16k"


def saved(folder: Path, format: str) -> tuple[Path, Path]:
    sound = write_sound(folder / "a.wav", 2.3)
    made = listen_embed.process_file(sound, folder, model_type=NAME, format=format)  # type: ignore[arg-type]
    return sound, made


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_a_result_gives_the_rows_of_its_sound(tmp_path: Path, format: str) -> None:
    sound, made = saved(tmp_path, format)
    (rows,) = results.read(made, is_centred=True)
    embedder = Embedder(NAME)
    again = results.embed(embedder, sound)
    np.testing.assert_array_equal(rows.vectors, again.vectors)
    np.testing.assert_array_equal(rows.starts, again.starts)
    np.testing.assert_array_equal(rows.ends, again.ends)
    assert (rows.source, rows.digest) == (str(made), embedder.digest)
    assert rows.starts[0] == 0.0 and rows.ends[0] == 0.5, "centred on 0, cut at the beginning"
    (from_start,) = results.read(made, is_centred=False)
    assert (from_start.starts[0], from_start.ends[0]) == (0.0, 1.0)


def test_finding(tmp_path: Path) -> None:
    for name in ("b/x.npz", "a.parquet", ".hidden.npz", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [tmp_path / "a.parquet", tmp_path / "b/x.npz"]
    assert results.find([tmp_path, tmp_path / "a.parquet"]) == found
    with pytest.raises(InputError, match="does not exist"):
        results.find([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no results"):
        results.find([tmp_path / "empty"])


def foreign(path: Path) -> None:
    np.savez(path, something=np.zeros(3))


def pickled(path: Path) -> None:
    np.savez(path, embedding=np.array([{}], object), timestamps=0, model="m", digest="d")


def misshapen(path: Path) -> None:
    np.savez(path, embedding=np.zeros((3, 4)), timestamps=np.zeros(2), model="m", digest="d")


def cut_off(path: Path) -> None:
    _, made = saved(path.parent, path.suffix[1:])
    path.write_bytes(made.read_bytes()[:900])


def no_model(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"embedding": [1.0]}), path)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (foreign, "x.npz"),
        (pickled, "x.npz"),
        (misshapen, "x.npz"),
        (cut_off, "x.npz"),
        (cut_off, "x.parquet"),
        (no_model, "x.parquet"),
        (Path.touch, "x.npz"),
        (Path.touch, "x.parquet"),
        (Path.touch, "x.txt"),
    ],
)
def test_what_is_no_result(tmp_path: Path, make: object, name: str) -> None:
    path = tmp_path / name
    make(path)  # type: ignore[operator]
    with pytest.raises(IndexFileError, match="result"):
        list(results.read(path, is_centred=True))
