"""A picture of a query and of what was found, a spectrogram each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from listen_embed.errors import InputError, ListenEmbedError
from listen_embed.index.excerpt import Samples, excerpt
from listen_embed.index.index import Hit
from listen_embed.output import replacing
from listen_embed.plot import PICTURES, check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES_WIDE, _INCHES_EACH = 8.0, 1.3
_N_FFT = 512
_RANGE_DB = 80.0


def draw(target: Path, name: str, query: tuple[Samples, int], hits: Sequence[Hit]) -> None:
    """Draw the query above its hits; a sound that cannot be read leaves its panel empty.

    Raises
    ------
    InputError
        The target is no .png, .svg or .pdf.
    MissingExtraError
        matplotlib is missing.
    """
    check_matplotlib()
    if target.suffix.lstrip(".") not in PICTURES:
        raise InputError(f"{target}: known are {', '.join('.' + name for name in PICTURES)}")
    from matplotlib.figure import Figure

    n_panels = 1 + len(hits)
    figure = Figure((_INCHES_WIDE, _INCHES_EACH * n_panels + 0.5), layout="constrained")
    panels = figure.subplots(n_panels, squeeze=False)[:, 0]
    _show(panels[0], query, f"query: {name}")
    for panel, hit in zip(panels[1:], hits, strict=True):
        _show(panel, _sound(hit), f"{hit.score:+.3f}  {hit.path}  {hit.start:.2f} s")
    panels[-1].set_xlabel("seconds")
    with replacing(target) as file:
        figure.savefig(file, format=target.suffix.lstrip("."), dpi=110)


def _sound(hit: Hit) -> tuple[Samples, int] | None:
    try:
        return excerpt(hit.path, hit.start, hit.end)
    except ListenEmbedError:
        return None


def _show(panel: Axes, sound: tuple[Samples, int] | None, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=8)
    panel.tick_params(labelsize=7)
    if sound is None or len(sound[0]) < _N_FFT:
        panel.text(0.5, 0.5, "the sound is not here", ha="center", va="center")
        panel.set_yticks([])
        return
    samples, sr = sound
    options: dict[str, Any] = {"NFFT": _N_FFT, "Fs": sr, "noverlap": _N_FFT // 2, "cmap": "magma"}
    # A silent bin has no logarithm; a floor far below what is shown gives it one.
    image = panel.specgram(samples + 1e-9, **options)[-1]
    image.set_clim(image.get_clim()[1] - _RANGE_DB, image.get_clim()[1])
