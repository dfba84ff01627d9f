"""What a model is: a front end, a network, and where the network's file comes from.

Every constant that turns samples into a network's input stands in one frozen :class:`FrontEnd`; the
extractor, the trainer, the exporter, the C header and the docs read it and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from listen_embed.errors import InputError

Resampler = Literal["soxr", "kaiser_best"]
Padding = Literal["none", "end", "same", "reflect"]

# Of a frame's windows, and of the mel filters: 64 MB each. The largest published has 0.5 million.
_MAX_VALUES = 1 << 24
# Of the samples that stand beside a log-mel: what a wave encoder hears.
WAVE_RATE = 16_000
_SHA256 = re.compile("([0-9a-f]{64})?")
# Reading a published file whose size is not known stops here.
_MAX_DOWNLOAD_BYTES = 64_000_000
_CHOICES: dict[str, tuple[Any, ...]] = {
    "features": ("log-mel", "waveform", "log-mel+waveform"),
    "resampler": get_args(Resampler),
    "normalise": ("none", "rms-std"),
    "window": ("hann", "hann-symmetric"),
    "padding": get_args(Padding),
    "power": (1, 2),
    "mel_scale": ("htk", "slaney", "kaldi"),
    "mel_norm": ("none", "slaney"),
    "log": ("db", "ln"),
    "reference": ("none", "frame-max"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """How samples become the picture that a network takes.

    Parameters
    ----------
    sample_rate : int
        Rate that the network was trained at, in Hz; audio is resampled to it.
    frame_samples : int
        Samples that one embedding sees.
    resampler : {"soxr", "kaiser_best"}
        The published L3 family was trained through resampy's ``kaiser_best``; all else uses soxr
        HQ.
    features : {"log-mel", "waveform", "log-mel+waveform"}
        ``"waveform"`` hands the frame's samples to the network as they are; the last one hands over
        the log-mel, and then the samples at 16 kHz, companded.
    normalise : {"none", "rms-std"}
        ``"rms-std"`` is LISTEN's ``(x / (rms + 1e-6) - mean) / (std + 1e-6)`` over the raw frame.
    preemphasis : float
        ``a`` of ``y[n] = x[n + 1] - a x[n]``, one sample shorter than the frame; 0 switches it off.
    n_fft, window_samples, hop_samples : int
        The short-time Fourier transform, in samples; the window stands centred in the FFT frame.
    window : {"hann", "hann-symmetric"}
        Periodic or symmetric Hann.
    padding : {"none", "end", "same", "reflect"}
        ``"end"``: zeros after the frame until every hop starts a column (tf.signal.stft's
        ``pad_end``); ``"same"``: zeros on both sides as TensorFlow's SAME; ``"reflect"``: half an
        FFT frame mirrored on both sides.
    power : {1, 2}
        Magnitude or power spectrum.
    n_mels : int
        Mel bands; 0 keeps the ``n_fft // 2 + 1`` linear bins.
    mel_scale, mel_norm : str
        The mel formula, and ``"slaney"`` for triangles of equal area.
    f_min, f_max : float
        Edges of the filter bank, in Hz.
    mel_root : bool
        Take the square root of the mel energies (kapre's order: mel of the power, then the root).
    log : {"db", "ln"}
        ``10 log10`` or the natural logarithm.
    log_floor, log_offset : float
        The logarithm is taken of ``max(x, log_floor) + log_offset``.
    reference : {"none", "frame-max"}
        ``"frame-max"`` subtracts the frame's largest value, so the model ignores gain.
    dynamic_range : float
        Values are raised to at least (largest of the frame) - this, in units of the log; 0 is off.
    shift, scale : float
        The network sees ``(value + shift) * scale``.
    """

    sample_rate: int
    frame_samples: int
    resampler: Resampler = "soxr"
    features: Literal["log-mel", "waveform", "log-mel+waveform"] = "log-mel"
    normalise: Literal["none", "rms-std"] = "none"
    preemphasis: float = 0.0
    n_fft: int = 0
    window_samples: int = 0
    window: Literal["hann", "hann-symmetric"] = "hann"
    hop_samples: int = 0
    padding: Padding = "none"
    power: int = 2
    n_mels: int = 0
    mel_scale: Literal["htk", "slaney", "kaldi"] = "htk"
    mel_norm: Literal["none", "slaney"] = "none"
    f_min: float = 0.0
    f_max: float = 0.0
    mel_root: bool = False
    log: Literal["db", "ln"] = "db"
    log_floor: float = 0.0
    log_offset: float = 0.0
    reference: Literal["none", "frame-max"] = "none"
    dynamic_range: float = 0.0
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"front end: {name}={getattr(self, name)!r} is not one of {allowed}"
                )
        for constant in dataclasses.fields(self):
            self._check_type(constant.name, str(constant.type))
        self._require("sample_rate", 1_000 <= self.sample_rate <= 768_000)
        self._require("frame_samples", 1 <= self.frame_samples <= 60 * self.sample_rate)
        if self.features != "waveform":
            self._check_log_mel()
        if self.features == "log-mel+waveform":
            self._require("sample_rate", self.sample_rate % WAVE_RATE == 0)

    def _check_log_mel(self) -> None:
        self._require("n_fft", 2 <= self.n_fft <= 65_536)
        self._require("window_samples", 1 <= self.window_samples <= self.n_fft)
        self._require("hop_samples", 1 <= self.hop_samples <= self.frame_samples)
        self._require("n_mels", 0 <= self.n_mels <= self.n_fft // 2 + 1)
        self._require("f_max", 0 <= self.f_min <= self.f_max <= self.sample_rate / 2)
        self._require("f_max", self.f_min < self.f_max or not self.n_mels)
        self._require("dynamic_range", self.dynamic_range >= 0)
        self._require("log_floor", self.log_floor >= 0 and self.log_floor + self.log_offset > 0)
        self._require("n_steps", 1 <= self.n_steps <= _MAX_VALUES // self.n_fft)
        self._require("n_mels", self.n_mels <= _MAX_VALUES // self.n_fft)

    def _check_type(self, name: str, wanted: str) -> None:
        value = getattr(self, name)
        if wanted == "int":
            self._require(name, isinstance(value, int) and not isinstance(value, bool))
        elif wanted == "float":
            self._require(name, isinstance(value, int | float) and math.isfinite(value))
        elif wanted == "bool":
            self._require(name, isinstance(value, bool))

    def _require(self, name: str, claim: bool) -> None:
        if not claim:
            raise InputError(f"front end: {name}={getattr(self, name)!r} is out of range")

    @property
    def frame_seconds(self) -> float:
        """Length of a frame in seconds."""
        return self.frame_samples / self.sample_rate

    @property
    def signal_samples(self) -> int:
        """Samples of a frame that reach the Fourier transform (pre-emphasis takes one)."""
        return self.frame_samples - (1 if self.preemphasis else 0)

    @property
    def pad_left(self) -> int:
        """Padding before the frame, in samples."""
        if self.padding == "reflect":
            return self.n_fft // 2
        return self._pad_total // 2 if self.padding == "same" else 0

    @property
    def pad_right(self) -> int:
        """Padding after the frame, in samples."""
        if self.padding == "reflect":
            return self.n_fft // 2
        return self._pad_total - self.pad_left

    @property
    def _pad_total(self) -> int:
        if self.padding == "none":
            return 0
        covered = (self.n_steps - 1) * self.hop_samples + self.n_fft
        return max(0, covered - self.signal_samples)

    @property
    def n_steps(self) -> int:
        """Columns of the log-mel; 0 for a waveform."""
        if self.features == "waveform":
            return 0
        if self.padding in ("end", "same"):
            return -(-self.signal_samples // self.hop_samples)
        reflected = 2 * (self.n_fft // 2) if self.padding == "reflect" else 0
        return 1 + (self.signal_samples + reflected - self.n_fft) // self.hop_samples

    @property
    def n_bands(self) -> int:
        """Rows of the log-mel: mel bands, or linear bins where there are none."""
        return self.n_mels or self.n_fft // 2 + 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what one frame becomes: a log-mel, samples, or both in one row."""
        if self.features == "waveform":
            return (self.frame_samples,)
        if self.features == "log-mel+waveform":
            return (self.n_bands * self.n_steps + self.wave_samples,)
        return (self.n_bands, self.n_steps)

    @property
    def wave_samples(self) -> int:
        """Samples at 16 kHz that a wave encoder hears of a frame."""
        return self.frame_samples // (self.sample_rate // WAVE_RATE)

    def lasting(self, seconds: float) -> FrontEnd:
        """Return this front end for frames of another length, in seconds."""
        return dataclasses.replace(self, frame_samples=max(1, round(seconds * self.sample_rate)))

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> FrontEnd:
        """Build from a TOML table; an unknown key is an error, not a surprise."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(table) - known):
            raise InputError(f"front end: unknown {', '.join(unknown)}; known: {sorted(known)}")
        try:
            return cls(**table)
        except TypeError as error:
            raise InputError(f"front end: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    r"""A published file: its addresses, its digest, and how it becomes a .tflite.

    Parameters
    ----------
    urls : tuple of str
        Tried in this order.
    sha256, git_blob : str
        One of them is set. A git blob id is ``sha1(b"blob <size>\0" + content)``, hexadecimal.
    size_bytes : int
        The file's size, or an upper bound where that is not known; reading stops there.
    converter : str
        A name that ``listen_embed.upstream.convert`` knows.
    """

    urls: tuple[str, ...]
    converter: str
    sha256: str = ""
    git_blob: str = ""
    size_bytes: int = _MAX_DOWNLOAD_BYTES

    def __post_init__(self) -> None:
        if not self.urls or bool(self.sha256) == bool(self.git_blob):
            raise InputError("a download needs an address and exactly one of sha256 and git_blob")

    @property
    def file_name(self) -> str:
        """Name of the published file, also its name in a mirror."""
        return self.urls[0].rsplit("/", 1)[-1]

    @property
    def is_size_known(self) -> bool:
        """Whether `size_bytes` is the file's size and not only a bound."""
        return self.size_bytes != _MAX_DOWNLOAD_BYTES

    @property
    def digest(self) -> str:
        """The promised digest, with the name of its algorithm."""
        return f"sha256:{self.sha256}" if self.sha256 else f"git-blob:{self.git_blob}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelSpec:
    """One model: its name, its front end, its network's file, and facts about it.

    A model without ``file`` and ``download`` has no network: its embedding is the mean and the
    standard deviation of every log-mel band over the frame.

    Parameters
    ----------
    model_type, variant : str
        With `emb_dim` they name the model: ``model_type/emb_dim/variant``.
    emb_dim : int
        Width of the embedding.
    front_end : FrontEnd
        What happens before the network.
    licence, source : str
        Licence of the weights; paper, repository or model card they come from.
    default : int
        Rank among models of its type that fit a request: the highest wins, 0 must be asked for.
    file : Path or None
        The .tflite, where it is on this disk already (in the wheel, or a model folder).
    sha256 : str
        Digest of `file`, hexadecimal, which it is checked against; empty where it is not stated.
    download : Download or None
        Where a published file comes from.
    size_bytes, macs : int
        Size of the .tflite and multiply-accumulates of one frame; 0 without a network.
    clip : {"mean", "whole"}
        How `Embedder.embed_clip` makes one vector of a clip: the mean over its frames, or one pass
        over all of it, which needs a network that takes any length.
    step_samples : int
        Of a model that streams, whose network remembers the past: samples from step to step, each
        of which it hears once, in order. A frame is what is new in a step, and a little before it.
        0 for all other models, whose frames know nothing of each other.
    state : tuple of (str, str)
        The tensors of the .tflite that carry the memory: the name of an input, zero at first, and
        that of the output which is its value for the next step.
    """

    model_type: str
    emb_dim: int
    variant: str
    front_end: FrontEnd
    licence: str
    source: str = ""
    default: int = 0
    file: Path | None = None
    sha256: str = ""
    download: Download | None = field(default=None, repr=False)
    size_bytes: int = 0
    macs: int = 0
    clip: Literal["mean", "whole"] = "mean"
    step_samples: int = 0
    state: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self._check_memory()
        if self.clip not in ("mean", "whole"):
            raise InputError(f'clip is {self.clip!r}; allowed are "mean" and "whole"')
        if not isinstance(self.emb_dim, int) or self.emb_dim < 1:
            raise InputError(f"emb_dim is {self.emb_dim!r}; allowed are whole numbers from 1")
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise InputError(f"sha256 is {self.sha256!r}; allowed are 64 hexadecimal digits")

    def _check_memory(self) -> None:
        names = [name for pair in self.state for name in pair]
        if not all(isinstance(name, str) and name for name in names):
            raise InputError(f"state is {self.state!r}; allowed are pairs of names of tensors")
        if any(len(pair) != 2 for pair in self.state) or len({*names}) != len(names):
            raise InputError(f"state is {self.state!r}; each tensor stands in one pair, of two")
        step, frame = self.step_samples, self.front_end.frame_samples
        if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= frame:
            raise InputError(f"step_samples is {step!r}; allowed are 0 to the frame's {frame}")
        if bool(step) != bool(self.state):
            raise InputError("a model that streams has both step_samples and state")
        if self.streams and self.clip != "mean":
            raise InputError('a model that streams has clip = "mean"')

    def __repr__(self) -> str:
        return f"ModelSpec({self.name!r}, {self.front_end.sample_rate} Hz, {self.licence})"

    @property
    def name(self) -> str:
        """``model_type/emb_dim/variant``."""
        return f"{self.model_type}/{self.emb_dim}/{self.variant}"

    @property
    def has_network(self) -> bool:
        """Whether a .tflite stands behind the front end."""
        return self.file is not None or self.download is not None

    @property
    def streams(self) -> bool:
        """Whether its network remembers the past, so that its frames must come in order."""
        return self.step_samples > 0

    @property
    def step_seconds(self) -> float:
        """Time from step to step of a model that streams; 0 for others."""
        return self.step_samples / self.front_end.sample_rate

    @property
    def macs_per_second(self) -> float:
        """Multiply-accumulates per second of audio when frames do not overlap."""
        return self.macs / (self.step_seconds or self.front_end.frame_seconds)

    def lasting(self, frame_size: float) -> ModelSpec:
        """Return this model with frames of another length, 0.1 to 60 seconds.

        Raises
        ------
        InputError
            A length out of range, or a waveform model or one that streams, whose length is fixed.
        """
        is_number = isinstance(frame_size, numbers.Real) and not isinstance(frame_size, bool)
        if not is_number or not 0.1 <= frame_size <= 60:
            raise InputError(
                f"frame_size is {frame_size!r}; allowed are None and 0.1 to 60 seconds"
            )
        if self.front_end.features != "log-mel" or self.streams:
            raise InputError(f"{self.name} takes frames of one length only; leave frame_size out")
        front_end = self.front_end.lasting(float(frame_size))
        return dataclasses.replace(
            self,
            front_end=front_end,
            macs=round(self.macs * front_end.frame_seconds / self.front_end.frame_seconds),
        )

    def digest(self, network: bytes = b"") -> str:
        """Return the sha256 of the front end and of the network's bytes, hexadecimal.

        Two models of equal digest give comparable embeddings.
        """
        front_end = json.dumps(dataclasses.asdict(self.front_end), sort_keys=True)
        step = f" {self.step_samples}" if self.streams else ""
        return hashlib.sha256((front_end + step).encode() + b"\0" + network).hexdigest()
