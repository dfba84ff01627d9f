"""A picture of a sound and its embedding: waveform, log-mel and embedding over one time axis.

What is drawn is gathered in constant memory: columns are merged in twos whenever they become too
many, so an hour and a second take the same room. Needs matplotlib, the extra ``[plot]``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from listen_embed import registry
from listen_embed.atomic import replacing
from listen_embed.errors import MissingExtraError
from listen_embed.framing import Framer
from listen_embed.frontend import FeatureExtractor, mel_matrix
from listen_embed.output import Pieces
from listen_embed.spec import FrontEnd, ModelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = NDArray[np.float32]
Merge = Callable[..., Rows]

PICTURES = ("png", "svg", "pdf")

_SIZE_INCHES = (11.0, 7.0)
_DPI = 130
# Columns kept of each picture: between this and twice as many, about one per pixel.
_WIDTH = 900
_DYNAMIC_RANGE_DB = 80.0
_DEVIATIONS = 2.5
_SECONDS_AS_MINUTES = 180
_ROUND_HZ = (50, 100, 200, 500, 1000, 2000, 4000, 8000, 16_000)
_TICK_ROOM = 0.06
_GROUPS = 96
_HARDLY_MOVING = 0.05
_BLUE, _GREY = "#23527c", "#eeeeee"
# Deviations between the first and the last decile of a normal distribution.
_DECILES_OF_NORMAL = 2.563
_STYLE: Any = {
    "font.size": 9,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.labelcolor": "#222222",
}


def check_matplotlib() -> None:
    """Raise `MissingExtraError` where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            "pictures need matplotlib, not installed here. "
            'Install with: pip install "listen-embed[plot]"'
        )


class Thumbnail:
    """Rows over time, merged in twos whenever they are twice as many as needed.

    Parameters
    ----------
    merge : callable
        ``numpy.mean``, ``numpy.min`` or ``numpy.max``.
    width : int
        The number of rows kept lies between this and its double.
    """

    def __init__(self, merge: Merge, width: int = _WIDTH) -> None:
        self._merge = merge
        self._full = 2 * width
        self._factor = 1
        self._kept: list[Rows] = []
        self._waiting: Rows | None = None

    def add(self, rows: Rows) -> None:
        """Append float32 (n, d)."""
        if self._waiting is not None:
            rows = np.concatenate([self._waiting, rows])
        while len(rows) >= self._factor:
            n_room = self._full - self._n_kept
            n_taken = min(n_room, len(rows) // self._factor) * self._factor
            self._kept.append(self._merged(rows[:n_taken], self._factor))
            rows = rows[n_taken:]
            if self._n_kept == self._full:
                self._kept = [self._merged(np.concatenate(self._kept), 2)]
                self._factor *= 2
        self._waiting = rows.copy()

    def rows(self) -> Rows:
        """Return what is kept, float32 (n, d); the last row may stand for less time."""
        assert self._waiting is not None
        tail = [self._merged(self._waiting, len(self._waiting))] if len(self._waiting) else []
        return np.concatenate([*self._kept, *tail]) if self._kept or tail else self._waiting

    @property
    def _n_kept(self) -> int:
        return sum(map(len, self._kept))

    def _merged(self, rows: Rows, factor: int) -> Rows:
        return self._merge(rows.reshape(-1, factor, rows.shape[1]), axis=1)


class Picture:
    """Gathers what is drawn while a file's embeddings pass by.

    Parameters
    ----------
    spec : ModelSpec
        The model; the log-mel shown has its bands.
    title : str
        Text above the picture.
    """

    def __init__(self, spec: ModelSpec, title: str) -> None:
        self._spec = spec
        self._sound = _Sound(_shown(spec.front_end))
        self._title = title
        self._embedding = Thumbnail(np.mean)
        self._ends: list[float] = []
        self._n_frames = 0

    def hear(self, block: Rows, resampled: Rows, last: bool) -> None:
        """Take note of the sound itself; for `Embedder.iter_file`, which decodes it anyway."""
        self._sound.add(block, resampled, last)

    def watch(self, pieces: Pieces) -> Iterator[tuple[Rows, NDArray[np.float64]]]:
        """Yield the pieces unchanged, remembering what the picture needs."""
        for embedding, timestamps in pieces:
            if len(timestamps):
                self._embedding.add(embedding)
                self._ends = [*self._ends[:1], float(timestamps[0]), float(timestamps[-1])]
                self._n_frames += len(timestamps)
            yield embedding, timestamps

    def save(self, target: Path) -> None:
        """Draw all that was heard and watched into a .png, .svg or .pdf.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        import matplotlib

        with (
            replacing(target) as file,
            matplotlib.rc_context(_STYLE),
            warnings.catch_warnings(),
        ):
            # A title may hold characters that the font has not; boxes are drawn for them.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure = self._draw()
            figure.savefig(file, format=_suffix(target), dpi=_DPI)

    def _draw(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.subplots(
            3, 2, width_ratios=(1, 0.012), height_ratios=(1.0, 1.6, 1.9), sharex="col"
        )
        figure.suptitle(self._title, x=0.012, ha="left", parse_math=False)
        axes[0, 1].set_axis_off()
        _draw_waveform(axes[0, 0], self._sound)
        _draw_log_mel(axes[1, 0], axes[1, 1], self._sound)
        self._draw_embedding(axes[2, 0], axes[2, 1])
        axes[2, 0].set_xlim(0, self._sound.seconds)
        _label_time(axes[2, 0], self._sound.seconds)
        return figure

    def _draw_embedding(self, axes: Axes, bar: Axes) -> None:
        rows = _standardised(self._embedding.rows())
        if self._spec.has_network:
            rows = _grouped_by_likeness(rows)
        first, last = self._ends[0], self._ends[-1]
        half_hop = (last - first) / max(1, self._n_frames - 1) / 2 or 0.5
        image = axes.imshow(
            rows.T,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            extent=(first - half_hop, last + half_hop, 0, 1),
            cmap="RdBu_r",
            vmin=-_DEVIATIONS,
            vmax=_DEVIATIONS,
        )
        axes.set_facecolor(_GREY)
        axes.set_ylabel(f"embedding, {self._spec.emb_dim} values")
        if self._spec.has_network:
            axes.set_yticks([0.5], ["alike ones together"], rotation=90, va="center")
        else:
            axes.axhline(0.5, color="#444444", linewidth=0.7)
            axes.set_yticks([0.25, 0.75], ["means", "deviations"], rotation=90, va="center")
        axes.tick_params(axis="y", length=0)
        axes.figure.colorbar(image, cax=bar, label="deviations from the median")


class _Sound:
    """What the upper panels show: extremes of the waveform, and log-mel columns side by side."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self._framer = Framer(
            front_end.frame_samples, Fraction(front_end.n_steps * front_end.hop_samples), False
        )
        self._extractor = FeatureExtractor(front_end)
        self._lows, self._highs = Thumbnail(np.min), Thumbnail(np.max)
        self._log_mel = Thumbnail(np.mean)
        self._n_samples = self._n_columns = 0

    def add(self, block: Rows, resampled: Rows, last: bool) -> None:
        """Take a block, (n,), and the same at the front end's rate."""
        self._lows.add(block[:, None])
        self._highs.add(block[:, None])
        self._n_samples += len(resampled)
        frames = self._framer.push(resampled, last)
        for frame in frames.batches(1):
            columns = self._decibels(self._extractor(frame)[0].T)
            self._log_mel.add(columns)
            self._n_columns += len(columns)

    def _decibels(self, columns: Rows) -> Rows:
        front_end = self.front_end
        is_magnitude = front_end.power == 1 or front_end.mel_root
        scale = (10 / np.log(10) if front_end.log == "ln" else 1.0) * (2 if is_magnitude else 1)
        return columns * np.float32(scale)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self._n_samples / self.front_end.sample_rate

    @property
    def extremes(self) -> tuple[Rows, Rows]:
        """Lowest and highest samples, float32 (n,) each."""
        return self._lows.rows()[:, 0], self._highs.rows()[:, 0]

    @property
    def log_mel(self) -> Rows:
        """Columns in decibels, float32 (n, n_bands)."""
        return self._log_mel.rows()

    @property
    def log_mel_seconds(self) -> float:
        """Time that the columns take."""
        return self._n_columns * self.front_end.hop_samples / self.front_end.sample_rate


def _shown(front_end: FrontEnd) -> FrontEnd:
    """Return what the log-mel is drawn with: the model's bands, nothing relative to a frame."""
    if front_end.features != "log-mel":
        emb_dim = 128 if front_end.sample_rate <= 16_000 else 256
        front_end = registry.find("logmel", emb_dim).front_end
    return dataclasses.replace(
        front_end,
        normalise="none",
        preemphasis=0.0,
        padding="none",
        reference="none",
        dynamic_range=0.0,
        shift=0.0,
        scale=1.0,
    )


def _standardised(rows: Rows) -> Rows:
    """Return every dimension's distance from its median over time, in (robust) deviations.

    Robust, because the frames at both ends are half silence and would outshine all others.
    """
    low, median, high = np.percentile(rows, [10, 50, 90], axis=0)
    spread = (high - low) / _DECILES_OF_NORMAL
    # A dimension that hardly moves stays pale instead of showing its noise.
    floor = 0.25 * float(np.median(spread)) + 1e-6
    deviations: Rows = ((rows - median) / np.maximum(spread, floor)).astype(np.float32)
    return deviations


def _grouped_by_likeness(rows: Rows) -> Rows:
    """Put dimensions that move alike side by side, and average neighbours: (n, d) to (n, groups).

    The order is that of their angles in the plane of the two main movements.
    """
    limited = np.clip(rows, -_DEVIATIONS, _DEVIATIONS)
    moving = limited[:, limited.std(axis=0) > _HARDLY_MOVING]
    if moving.shape[1] < 2:
        return limited
    _, _, directions = np.linalg.svd(moving - moving.mean(axis=0), full_matrices=False)
    angles = np.arctan2(directions[min(1, len(directions) - 1)], directions[0])
    groups = np.array_split(np.argsort(angles, kind="stable"), min(_GROUPS, len(angles)))
    return np.stack([moving[:, group].mean(axis=1) for group in groups], axis=1)


def _draw_waveform(axes: Axes, sound: _Sound) -> None:
    lows, highs = sound.extremes
    times = np.linspace(0, sound.seconds, len(lows))
    axes.fill_between(times, lows, highs, color=_BLUE, linewidth=0.6)
    reach = max(1e-3, float(np.abs([lows.min(), highs.max()]).max()))
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
    axes.set_ylabel("waveform")
    axes.grid(axis="x", alpha=0.25)


def _draw_log_mel(axes: Axes, bar: Axes, sound: _Sound) -> None:
    log_mel = sound.log_mel
    image = axes.imshow(
        log_mel.T - float(log_mel.max()),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0, sound.log_mel_seconds, 0, sound.front_end.n_bands),
        cmap="magma",
        vmin=-_DYNAMIC_RANGE_DB,
        vmax=0,
    )
    _label_bands(axes, sound.front_end)
    axes.set_ylabel("log-mel, Hz")
    axes.figure.colorbar(image, cax=bar, label="dB below the maximum")


def _label_bands(axes: Axes, front_end: FrontEnd) -> None:
    """Put round frequencies beside the bands that hold them."""
    centres = _band_centres(front_end)
    ticks: dict[str, float] = {}
    room = -1.0
    for hz in _ROUND_HZ:
        band = float(np.interp(hz, centres, np.arange(len(centres)) + 0.5))
        if centres[0] < hz < centres[-1] and band > room:
            ticks[f"{hz // 1000}k" if hz >= 1000 else str(hz)] = band
            room = band + _TICK_ROOM * len(centres)
    axes.set_yticks(list(ticks.values()), list(ticks))


def _band_centres(front_end: FrontEnd) -> NDArray[np.float64]:
    bin_hz = np.float64(front_end.sample_rate / front_end.n_fft)
    bins = np.arange(front_end.n_fft // 2 + 1, dtype=np.float64) * bin_hz
    if not front_end.n_mels:
        return bins
    weights: NDArray[np.float64] = mel_matrix(front_end).astype(np.float64)
    # A low band may be narrower than a bin and hold none: it takes its neighbours' place.
    total = weights.sum(axis=0)
    is_filled = total > 0
    bands = np.arange(front_end.n_mels)
    centres = (bins @ weights)[is_filled] / total[is_filled]
    filled: NDArray[np.float64] = np.interp(bands, bands[is_filled], centres)
    return filled


def _label_time(axes: Axes, seconds: float) -> None:
    if seconds < _SECONDS_AS_MINUTES:
        axes.set_xlabel("seconds")
        return
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel("minutes : seconds")
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))


def _suffix(path: Path) -> str:
    return path.suffix.lower().lstrip(".")
