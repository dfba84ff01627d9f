"""JSON lines: appended, whole, to a file or standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.events import SinkError
from listen_embed.monitor.sinks.json_lines import JsonLines

from ..world import entry


def test_json_lines_are_appended_and_a_torn_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    JsonLines(str(path)).send([entry(1)])
    with open(path, "a") as file:
        file.write('{"torn')
    JsonLines(str(path)).send([entry(2)])
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_json_lines_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    JsonLines("-").send([entry(1)])
    assert json.loads(capfd.readouterr().out)["number"] == 1


def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    lines = JsonLines(str(tmp_path / "there" / "events"))
    (tmp_path / "there").rmdir()
    with pytest.raises(SinkError):
        lines.send([entry(1)])
    with pytest.raises(InputError, match=r"there is no folder .*/no"):
        JsonLines(str(tmp_path / "no" / "events"))
