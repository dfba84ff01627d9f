"""The page in a real browser: a stored sound against Python."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import Embedder, heads, registry
from listen_embed.device import check, web_export
from listen_embed.device.model_source import Options
from listen_embed.errors import ListenEmbedError

from ..monitor.world import needs

SOUND = Path(__file__).parents[2] / "examples" / "audio" / "pump.flac"
SPEC = registry.find("sea/32/nano")
PUSH = """async ([samples, block]) => {
    const sound = Float32Array.from(samples), frames = [];
    window.model.reset();
    for (let i = 0; i < sound.length; i += block) {
        frames.push(...window.model.push(sound.subarray(i, i + block)));
    }
    return frames.map((frame) => ({...frame, embedding: Array.from(frame.embedding),
                                   probabilities: Array.from(frame.probabilities)}));
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the page of an export with both heads, open in a browser."""
    chromium = needs("chromium")
    needs("wasm-ld")
    api = pytest.importorskip("playwright.sync_api")
    place = tmp_path_factory.mktemp("web")
    heads.save(place / "heads.npz", classifier=taught()[0], anomaly=taught()[1])
    web_export.export_wasm(SPEC, place / "out", Options(hop_size=0.5), place / "heads.npz")
    with api.sync_playwright() as play, served(place / "out") as address:
        browser = play.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield opened(browser, address)
        browser.close()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve an export; give its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def opened(browser: Any, address: str) -> Any:
    """Return an export's page, its model loaded; `problems` is what it complains of."""
    view = browser.new_page()
    view.problems = []
    view.on("pageerror", lambda error: view.problems.append(str(error)))
    view.on("console", lambda m: m.type == "error" and view.problems.append(m.text))
    view.goto(address)
    view.wait_for_function("() => window.model")
    return view


@functools.cache
def taught() -> tuple[heads.Classifier, heads.Anomaly]:
    embedder = Embedder(SPEC.name)
    x = np.random.default_rng(1).normal(size=(60, 32)).astype(np.float32)
    labels = ["öl" if row[0] > 0 else "dry" for row in x]
    return heads.Classifier(embedder).learn(x, labels), heads.Anomaly(embedder).learn(x)


def test_a_browser_embeds_as_python_does(page: Any) -> None:
    sound = check.check_sound(SPEC, 8000, Options(samples="float32"), 5)
    frames = page.evaluate(PUSH, [sound.tolist(), 1234])
    found = np.array([frame["embedding"] for frame in frames])
    wanted, _ = Embedder(SPEC.name, hop_size=0.5, center=False).embed(sound, 16_000)
    step = wanted[wanted != 0]
    step = np.abs(step).min()
    assert found.shape == wanted.shape == (5, 32)
    assert np.abs(found - wanted).max() <= 1.001 * step
    assert page.evaluate(PUSH, [sound.tolist(), 7]) == frames
    assert page.problems == []


def test_a_browser_streams_as_python_does(page: Any, tmp_path: Path) -> None:
    spec = registry.find("sea/64/stream")
    web_export.export_wasm(spec, tmp_path / "out")
    sound = check.check_sound(spec, spec.step_samples, Options(samples="float32"), 8)
    with served(tmp_path / "out") as address:
        streaming = opened(page.context.browser, address)
        found = streaming.evaluate(
            """(samples) => {
                window.model.reset();
                return window.model.push(Float32Array.from(samples)).map(
                    (frame) => Array.from(frame.embedding));
            }""",
            sound.tolist(),
        )
        assert streaming.problems == []
    rate = spec.front_end.sample_rate
    wanted, _ = Embedder(spec.name, center=False).stream(rate).push(sound)
    assert np.abs(np.array(found) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_browser_classifies_as_python_does(page: Any) -> None:
    sound = check.check_sound(SPEC, 8000, Options(samples="float32"), 5)
    frames = page.evaluate(PUSH, [sound.tolist(), 4096])
    rows = np.array([frame["embedding"] for frame in frames])
    classifier, anomaly = taught()
    assert [frame["label"] for frame in frames] == classifier.predict(rows)
    chances = np.array([frame["probabilities"] for frame in frames])
    assert np.abs(chances - classifier.predict_proba(rows)).max() < 1e-5
    scores = np.array([frame["anomaly"] for frame in frames])
    assert np.allclose(scores, anomaly.score(rows), rtol=1e-4)


def test_a_file_is_embedded_and_shown(page: Any) -> None:
    page.set_input_files("#file", str(SOUND))
    page.wait_for_function("() => document.getElementById('bars').children.length === 32")
    assert page.inner_text("#label") in ("öl", "dry")
    assert page.inner_text("#cost").endswith("ms")
    assert page.problems == []


def test_missing_compilers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web_export.shutil, "which", lambda program: None)
    with pytest.raises(ListenEmbedError, match="needs clang and wasm-ld, not installed here"):
        web_export.export_wasm(SPEC, tmp_path / "out")
    assert not (tmp_path / "out").exists()
