"""Fixtures for all tests, and the two rules that hold for every one: no skips in CI, no network."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .web import Web, serving

REQUIRE_ALL = "LISTEN_EMBED_REQUIRE_ALL"
# mteb brings 280 MB of packages; its tests are there for who installs its extra.
collect_ignore = [] if importlib.util.find_spec("mteb") else ["test_mteb.py"]

# Published file -> where the folder of reference data keeps it.
PUBLISHED = {
    "edgel3_sea_ust_audio_emb_64.h5.gz": "edgel3-sea64/edgel3_sea_ust_audio_emb_64.h5.gz",
    "mn04_as_mAP_432.pt": "efficientat-mn04/mn04_as_mAP_432.pt",
    "yamnet.tflite": "yamnet/yamnet_waveform_drq.tflite",
    "LISTEN.pth": "listen/LISTEN.pth",
}


def _fail_if_skipped(report: Any) -> None:
    """Turn a skip into a failure where everything must be there (an expected failure stays one)."""
    if os.environ.get(REQUIRE_ALL) != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{REQUIRE_ALL}=1 allows no skips, but this test was: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Watch for tests that skip."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    """Watch for whole files that skip."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def _nobody_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test away from the user's cache and from hosts other than this one."""
    nowhere = "http://127.0.0.1:9"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, nowhere)
            patch.setenv(name.lower(), nowhere)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        for name in ("LISTEN_EMBED_MIRROR", "LISTEN_EMBED_OFFLINE"):
            patch.delenv(name, raising=False)
        patch.setenv("LISTEN_EMBED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Return the same random numbers in every test."""
    return np.random.default_rng(440)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data beside the repository; skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder of reference data beside the repository")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def web() -> Iterator[Web]:
    """Return an HTTP server of this test's own."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def _published(shared: Path) -> Iterator[Web]:
    with serving() as server:
        for name, place in PUBLISHED.items():
            server.files[f"/{name}"] = shared / "weights-upstream" / place
        yield server


@pytest.fixture
def mirror(_published: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """Serve the published files that are at hand, under their names, where the store looks first.

    What is fetched and converted stays in the session's cache.
    """
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", _published.url)
    return _published
