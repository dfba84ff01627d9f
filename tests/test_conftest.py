"""The rules that hold for all tests hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from .conftest import REQUIRE_ALL

FILES = {
    "conftest.py": "from tests.conftest import "
    "pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401\n",
    "test_one.py": "import pytest\ndef test_skips(): pytest.skip('lacks a part')\n"
    "@pytest.mark.xfail(raises=ZeroDivisionError)\ndef test_known(): 1 / 0\n"
    "def test_passes(): pass\n",
    "test_whole.py": "import pytest\npytest.importorskip('no_such_module')\n",
}


@pytest.mark.parametrize(("value", "code", "summary"), [("1", 1, "1 failed"), ("", 0, "2 skipped")])
def test_a_skip_fails_where_everything_is_required(
    tmp_path: Path, value: str, code: int, summary: str
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "--continue-on-collection-errors", str(tmp_path)]
    run = subprocess.run(
        [*command, "-q", "-rA", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ
        | {REQUIRE_ALL: value, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert run.returncode == code, run.stdout
    assert summary in run.stdout
    assert "1 passed" in run.stdout
    assert "1 xfailed" in run.stdout
    if value:
        assert "lacks a part" in run.stdout
        assert "1 error" in run.stdout  # the whole file


def test_no_test_reaches_the_network() -> None:
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.org/", timeout=5)
