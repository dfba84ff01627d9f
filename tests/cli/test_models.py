"""``listen-embed models`` and ``listen-embed download``, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from listen_embed import registry, store
from listen_embed.cli import main
from listen_embed.cli.models import _with_prefix

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache of this test's own."""
    monkeypatch.setenv("LISTEN_EMBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- models ----------------------------------------------------------------------------


def test_the_table_has_a_line_for_every_model(capsys: Captured) -> None:
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "DIM", "KB", "MAC/S", "LICENCE", "STATE"]
    specs = registry.models()
    assert len(lines) == len(specs)
    for spec, line in zip(specs, lines, strict=True):
        assert f" {spec.name} " in line
        assert f" {spec.licence} " in line
        assert line.endswith(store.state(spec))
    assert [line.split()[1] for line in lines if line.startswith("*")] == [registry.find().name]


def test_the_table_is_aligned(capsys: Captured) -> None:
    main(["models"])
    header, *lines = capsys.readouterr().out.splitlines()
    for name in ("NAME", "LICENCE", "STATE"):
        column = header.index(name)
        assert all(line[column - 1] == " " and line[column] != " " for line in lines)
    end = header.index("DIM") + 3
    assert [int(line[:end].split()[-1]) for line in lines] == [s.emb_dim for s in registry.models()]


def test_json_tells_the_same(capsys: Captured) -> None:
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [spec.name for spec in registry.models()]
    for row, spec in zip(rows, registry.models(), strict=True):
        assert row["emb_dim"] == spec.emb_dim
        assert row["size_bytes"] == spec.size_bytes
        assert row["macs_per_second"] == spec.macs_per_second
        assert row["sample_rate"] == spec.front_end.sample_rate
        assert row["licence"] == spec.licence
    assert sum(row["default"] for row in rows) == 1


def test_the_state_changes_with_the_cache(mirror: object, cache: Path, capsys: Captured) -> None:
    def state() -> str:
        main(["models", "--json"])
        rows = json.loads(capsys.readouterr().out)
        return str(next(row["state"] for row in rows if row["name"] == "listen/64/cnc"))

    assert state() == "to download"
    assert main(["download", "listen/64/cnc"]) == 0
    capsys.readouterr()
    assert state() == "cached"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(12, "12"), (999, "999"), (1234, "1.23k"), (56_700_000, "56.7M"), (1.5e9, "1.5G")],
)
def test_large_numbers_are_short(number: float, shown: str) -> None:
    assert _with_prefix(number) == shown


# ---- download --------------------------------------------------------------------------


def test_a_download_tells_the_name_and_the_file(
    mirror: object, cache: Path, capsys: Captured
) -> None:
    assert main(["download", "listen/64/cnc", "sea/64/sonyc-ust"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert [name for name, _ in lines] == ["listen/64/cnc", "sea/64/sonyc-ust"]
    for name, path in lines:
        assert Path(path).is_file()
        assert Path(path) == store.fetch(registry.find(name))
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_quiet_tells_nothing(mirror: object, capsys: Captured) -> None:
    assert main(["download", "listen/64/cnc", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_models_without_a_network_need_no_download(capsys: Captured) -> None:
    assert main(["download", "logmel"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "nothing to download" in shown.err


def test_failures_are_listed_and_do_not_stop_the_rest(
    mirror: object, cache: Path, capsys: Captured
) -> None:
    assert main(["download", "nope", "listen/64/cnc", "teacher/512/l3-env-mel256"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("listen/64/cnc\t")
    assert "listen-embed: nope: no model with" in shown.err
    assert "listen-embed: teacher/512/l3-env-mel256: " in shown.err
    assert "2 of 3 failed: nope, teacher/512/l3-env-mel256" in shown.err


def test_all_means_all_that_can_be_downloaded(
    cache: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    assert main(["download", "--all"]) == 1
    names = [spec.name for spec in registry.models() if spec.download is not None]
    assert f"{len(names)} of {len(names)} failed" in capsys.readouterr().err


def test_the_published_files_are_listed_for_a_mirror(capsys: Captured, cache: Path) -> None:
    assert main(["download", "--list"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["FILE", "SIZE", "DIGEST", "ADDRESS"]
    rows = [line.split() for line in lines]
    files = {spec.download for spec in registry.models() if spec.download is not None}
    assert {tuple(row[::2]) for row in rows} == {(f.file_name, f.digest) for f in files}
    assert all(address.endswith(f"/{name}") for name, _, _, address in rows)
    assert len({name for name, *_ in rows}) == len(rows) == len(files)
    assert main(["download", "--list", "listen/64/cnc"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert not cache.exists()


@pytest.mark.parametrize("arguments", [[], ["--all", "listen/64/cnc"]])
def test_names_or_all(arguments: list[str], capsys: Captured) -> None:
    assert main(["download", *arguments]) == 2
    assert "name models, or give --all" in capsys.readouterr().err
