"""Pictures: thumbnails of any length in bounded room, and files that show what was heard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from listen_embed import Embedder, plot, registry
from listen_embed.errors import MissingExtraError, OutputError
from listen_embed.plot import Picture, Thumbnail
from listen_embed.spec import ModelSpec

from .program import SR, names_in, write_long_sound, write_sound


def draw(source: Path, target: Path, embedder: Embedder | None = None, title: str = "x") -> Path:
    embedder = embedder or Embedder("logmel", 128)
    picture = Picture(embedder.spec, title)
    for _ in picture.watch(embedder.iter_file(source, picture.hear)):
        pass
    picture.save(target)
    return target


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(float)


# ---- thumbnails ------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(0, 40), max_size=12),
    width=st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_a_thumbnail_does_not_depend_on_the_pieces(sizes: list[int], width: int) -> None:
    rows = np.arange(2 * sum(sizes), dtype=np.float32).reshape(-1, 2)
    whole, pieced = Thumbnail(np.mean, width), Thumbnail(np.mean, width)
    whole.add(rows)
    begin = 0
    for size in sizes or [0]:
        pieced.add(rows[begin : begin + size])
        begin += size
    np.testing.assert_array_equal(whole.rows(), pieced.rows())
    assert len(whole.rows()) <= 2 * width


@given(n=st.integers(1, 300), width=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_a_thumbnail_keeps_the_extremes(n: int, width: int) -> None:
    rows = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
    lows, highs = Thumbnail(np.min, width), Thumbnail(np.max, width)
    lows.add(rows)
    highs.add(rows)
    np.testing.assert_array_equal(lows.rows().min(axis=0), rows.min(axis=0))
    np.testing.assert_array_equal(highs.rows().max(axis=0), rows.max(axis=0))


def test_a_thumbnail_averages_neighbours() -> None:
    thumbnail = Thumbnail(np.mean, width=2)
    thumbnail.add(np.arange(8, dtype=np.float32)[:, None])
    assert thumbnail.rows().ravel().tolist() == [1.5, 5.5]
    thumbnail.add(np.array([[9.0]], np.float32))
    assert thumbnail.rows().ravel().tolist() == [1.5, 5.5, 9.0]


# ---- pictures --------------------------------------------------------------------------------


def test_a_png_shows_three_panels(tmp_path: Path) -> None:
    shown = pixels(draw(write_sound(tmp_path / "a.wav", 3.0), tmp_path / "a.png"))
    assert shown.shape == (910, 1430, 3)
    waveform, log_mel, embedding = shown[60:180], shown[250:480], shown[540:830]
    for panel in (waveform, log_mel, embedding):
        assert panel.std() > 10
    # magma is reddish, and RdBu_r has both of its colours.
    red, blue = embedding[..., 0], embedding[..., 2]
    assert log_mel[..., 0].mean() > log_mel[..., 1].mean()
    assert (red - blue).max() > 100
    assert (blue - red).max() > 100


def test_the_same_sound_gives_the_same_picture(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.wav", 2.0)
    digests = {
        hashlib.sha256(draw(source, tmp_path / name).read_bytes()).hexdigest()
        for name in ("a.png", "b.png")
    }
    assert len(digests) == 1


def test_another_sound_gives_another_picture(tmp_path: Path) -> None:
    sweep = np.sin(2 * np.pi * np.cumsum(np.linspace(100, 7_000, 2 * SR)) / SR)
    soundfile.write(tmp_path / "sweep.wav", 0.3 * sweep, SR)
    noise = pixels(draw(write_sound(tmp_path / "noise.wav", 2.0), tmp_path / "noise.png"))
    swept = pixels(draw(tmp_path / "sweep.wav", tmp_path / "sweep.png"))
    assert np.abs(noise - swept).mean() > 10
    # A sweep rises: first the lower half of the log-mel is the brighter one, then the upper.
    log_mel = swept[250:500, 90:1310].sum(axis=2)
    lower, upper = log_mel[125:], log_mel[:125]
    assert lower[:, :200].mean() > upper[:, :200].mean() + 20
    assert lower[:, -200:].mean() < upper[:, -200:].mean() - 20


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")],
)
def test_every_format(tmp_path: Path, suffix: str, start: bytes) -> None:
    drawn = draw(write_sound(tmp_path / "a.wav", 1.5), tmp_path / f"a.{suffix}")
    assert drawn.read_bytes().startswith(start)


@pytest.mark.parametrize("seconds", [0.001, 0.3, 1.0, 1.1])
@pytest.mark.filterwarnings("ignore:.*less than one frame")
def test_short_sounds_are_drawn_too(tmp_path: Path, seconds: float) -> None:
    source = write_sound(tmp_path / "a.wav", seconds)
    assert pixels(draw(source, tmp_path / "a.png")).std() > 10


@pytest.mark.filterwarnings("ignore:.*is silent")
def test_silence_is_drawn_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(3 * SR), SR)
    assert pixels(draw(tmp_path / "a.wav", tmp_path / "a.png")).std() > 10


@pytest.mark.parametrize("title", ["a $b^{c$ \\frac", "車とポンプ.wav", "\U0001f50a"])
def test_any_title(tmp_path: Path, title: str) -> None:
    source = write_sound(tmp_path / "a.wav", 1.0)
    assert pixels(draw(source, tmp_path / "a.png", title=title)).std() > 10


@pytest.mark.parametrize("sr", [8_000, 22_050, 44_100])
@pytest.mark.parametrize("emb_dim", [128, 256])
def test_any_rate(tmp_path: Path, sr: int, emb_dim: int) -> None:
    source = write_sound(tmp_path / "a.wav", 1.5, sr)
    shown = pixels(draw(source, tmp_path / "a.png", Embedder("logmel", emb_dim)))
    assert shown.std() > 10


@pytest.mark.parametrize("name", ["teacher/384/mn04", "teacher/1024/yamnet", "listen/64/cnc"])
def test_networks_are_drawn_by_likeness(tmp_path: Path, mirror: object, name: str) -> None:
    source = write_sound(tmp_path / "a.wav", 2.0)
    embedder = Embedder(name, hop_size=0.25)
    assert pixels(draw(source, tmp_path / "a.png", embedder)).std() > 10


@pytest.mark.parametrize("spec", registry.models(), ids=lambda spec: spec.name)
def test_every_model_has_bands_to_show(spec: ModelSpec) -> None:
    shown = plot._shown(spec.front_end)
    assert shown.features == "log-mel"
    centres = plot._band_centres(shown)
    assert len(centres) == shown.n_bands
    assert (np.diff(centres) >= 0).all()  # narrow bands share a bin
    assert centres[-1] > centres[0]


def test_alike_dimensions_come_together(rng: np.random.Generator) -> None:
    slow, fast = np.sin(np.arange(200) / 30), np.sin(np.arange(200) / 3)
    mixed = np.stack([slow, fast] * 60 + [np.zeros(200)] * 7, axis=1)
    rows = (mixed + 0.05 * rng.standard_normal(mixed.shape)).astype(np.float32)
    rows[:, -7:] = 0
    grouped = plot._grouped_by_likeness(rows)
    assert grouped.shape == (200, plot._GROUPS)
    likeness = np.corrcoef(grouped.T)[0]
    n_like = int((likeness > 0.9).sum())
    assert (likeness[:n_like] > 0.9).all() or (likeness[-n_like + 1 :] > 0.9).all()


def test_hours_have_minutes_on_their_axis(tmp_path: Path) -> None:
    source = write_long_sound(tmp_path / "a.flac", 4)
    drawn = draw(source, tmp_path / "a.svg", Embedder("logmel", hop_size=2.0))
    assert b"minutes : seconds" in drawn.read_bytes()


def test_matplotlib_is_left_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw(write_sound(tmp_path / "a.wav", 1.0), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_a_failure_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    source = write_sound(tmp_path / "a.wav", 1.0)
    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OutputError, match="No space left"):
        draw(source, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert list(names_in(tmp_path)) == ["a.png", "a.wav"]


def test_a_missing_matplotlib_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    plot.check_matplotlib()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "listen-embed\[plot\]"'):
        plot.check_matplotlib()
