"""Sound in, embeddings and timestamps out: audio -> framing -> front end -> network."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from listen_embed import audio as audio_
from listen_embed import registry, store
from listen_embed.errors import ConversionError, InputError, ListenEmbedWarning
from listen_embed.framing import Framer, Frames, hop_in_samples
from listen_embed.frontend import FeatureExtractor, statistics
from listen_embed.runtime import Network
from listen_embed.spec import ModelSpec

Embedding = NDArray[np.float32]
Timestamps = NDArray[np.float64]
Embedded = tuple[Embedding, Timestamps]
PathLike = str | os.PathLike[str]

DEFAULT_HOP = 0.1
_BLOCK_SECONDS = 10.0
# Samples under the Fourier transform at once: what stays in the cache is several times faster.
_MAX_WINDOWED = 1 << 18


class Embedder:
    """A model, loaded once and used for any number of clips, files and streams.

    Not safe for use by several threads at once: give each its own.

    Parameters
    ----------
    model_type : str or path, optional
        A model's type (``"sea"``), whole name (``"sea/64/sonyc-ust"``) or folder; None is the
        default model, which needs no network connection.
    emb_dim : int, optional
        Width of the embedding; None takes the type's default.
    variant : str, optional
        Which model of that type and width; None takes the default one.
    hop_size : float
        Seconds between frames, 0.001 to 3600.
    center : bool
        Centre frame ``i`` on its timestamp ``i * hop_size`` (half a frame of zeros goes before the
        clip); False starts it there.
    frame_size : float, optional
        Seconds of sound that each embedding sees, 0.1 to 60, for a network that takes any length
        (``listen-embed models`` says which do); None takes the model's own, mostly one second.
    threads : int, optional
        Threads of the interpreter; None takes two where there are two cores.
    progress : bool
        Show a progress bar if the model must be downloaded.

    Attributes
    ----------
    spec : ModelSpec
        What the model is.
    digest : str
        sha256 of weights and front end; equal digests give comparable embeddings.

    Raises
    ------
    ModelNotFoundError
        Nothing fits; the message names the closest model.
    InputError
        An option out of range.
    StoreError
        The model's file cannot be had.

    Examples
    --------
    >>> import numpy as np
    >>> embedder = Embedder("logmel", 128)
    >>> embedding, timestamps = embedder.embed(np.ones(32_000, np.float32), 16_000)
    >>> embedding.shape, timestamps[:3].tolist()
    ((16, 128), [0.0, 0.1, 0.2])
    """

    def __init__(
        self,
        model_type: PathLike | None = None,
        emb_dim: int | None = None,
        *,
        variant: str | None = None,
        hop_size: float = DEFAULT_HOP,
        center: bool = True,
        frame_size: float | None = None,
        threads: int | None = None,
        progress: bool = False,
    ) -> None:
        published = registry.find(model_type, emb_dim, variant)
        self.hop_size = audio_.check_hop(hop_size)
        self.center = bool(center)
        self.frame_size = frame_size
        self.spec: ModelSpec = published if frame_size is None else published.lasting(frame_size)
        n_threads = _check_threads(threads)
        content = store.load(self.spec, progress) if self.spec.has_network else b""
        self.digest = published.digest(content)
        self._network = _network_of(self.spec, content, n_threads, frame_size)

    def __repr__(self) -> str:
        return f"Embedder({self.spec.name!r}, hop_size={self.hop_size}, center={self.center})"

    def embed(self, audio: ArrayLike, sr: int) -> Embedded:
        """Embed one clip.

        Parameters
        ----------
        audio : array_like, (n,) or (n, channels)
            float in [-1, 1], int16 or int32; at least one sample. Channels are averaged.
        sr : int
            Its sample rate in Hz.

        Returns
        -------
        embedding : ndarray, float32 (T, emb_dim)
        timestamps : ndarray, float64 (T,)
            Seconds from the start of the clip.

        Warns
        -----
        ListenEmbedWarning
            The clip is silent, or shorter than one frame (it is padded with zeros).

        Raises
        ------
        InputError
            Audio or rate outside what is allowed above.
        """
        mono = audio_.to_mono(audio)
        if not len(mono):
            raise InputError("audio is empty; at least one sample is needed")
        stream = self.stream(sr)
        n_block = max(1, int(_BLOCK_SECONDS * sr))
        blocks = (mono[begin : begin + n_block] for begin in range(0, len(mono), n_block))
        return _joined(_watched(stream, blocks, "audio"), self.spec.emb_dim)

    def embed_file(self, path: PathLike) -> Embedded:
        """Embed a sound file; see `embed`. Memory grows with the result only.

        Raises
        ------
        AudioFileError
            The file cannot be read as audio.
        """
        return _joined(self.iter_file(path), self.spec.emb_dim)

    def iter_file(self, path: PathLike) -> Iterator[Embedded]:
        """Yield embeddings and timestamps of a sound file piece by piece, in constant memory."""
        blocks = audio_.read_blocks(path, _BLOCK_SECONDS)
        first, sr = next(blocks)
        stream = self.stream(sr)
        yield from _watched(stream, _chain(first, blocks), str(path))

    def embed_features(self, features: NDArray[np.float32]) -> Embedding:
        """Return float32 (T, emb_dim) of network inputs (T, ...) that the front end gave."""
        return _apply(self._network, features)

    def stream(
        self, sr: int, *, hop_size: float | None = None, center: bool | None = None
    ) -> Stream:
        """Return a stream of this model for sound at `sr` Hz; None keeps this embedder's."""
        hop = self.hop_size if hop_size is None else audio_.check_hop(hop_size)
        return Stream(
            self.spec,
            self._network,
            audio_.check_rate(sr),
            hop_in_samples(hop, self.spec.front_end.sample_rate),
            self.center if center is None else bool(center),
        )


class Stream:
    """Embeddings of sound as it arrives; made by :meth:`Embedder.stream`.

    Frames, timestamps and embeddings are those of the same sound as one clip, whatever the blocks.
    """

    def __init__(
        self, spec: ModelSpec, network: Network | None, sr: int, hop: Fraction, center: bool
    ) -> None:
        self.spec = spec
        self.sr = sr
        self._network = network
        self._framer = Framer(spec.front_end.frame_samples, hop, center)
        self._extractor = FeatureExtractor(spec.front_end)
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far and start at time 0."""
        front_end = self.spec.front_end
        self._converter = audio_.rate_converter(self.sr, front_end.sample_rate, front_end.resampler)
        self._framer.reset()
        self._extractor.reset()
        self._has_ended = False
        self._has_sound = False

    @property
    def latency(self) -> float:
        """Seconds from a timestamp until enough sound has arrived for its embedding."""
        frame = self.spec.front_end.frame_seconds
        return (frame / 2 if self._framer.center else frame) + self._converter.latency

    def push(self, block: ArrayLike, last: bool = False) -> Embedded:
        """Add a block and return what it completes, possibly nothing.

        Parameters
        ----------
        block : array_like, (n,) or (n, channels), n >= 0
            float in [-1, 1], int16 or int32.
        last : bool
            Pad and embed what is left; the stream then needs `reset` before more sound.

        Returns
        -------
        embedding : ndarray, float32 (T, emb_dim), T >= 0
        timestamps : ndarray, float64 (T,)
            Seconds from the start of the stream.

        Raises
        ------
        InputError
            A block that is not audio, or one after the last.
        """
        if self._has_ended:
            raise InputError("this stream has had its last block; call reset() to start anew")
        mono = audio_.to_mono(block)
        resampled = self._converter.push(mono, last)
        self._has_sound = self._has_sound or len(mono) > 0
        self._has_ended = last
        if last and self._has_sound and self._framer.is_empty and not len(resampled):
            # A clip so short that the resampler gives none is one sample of silence, not nothing.
            resampled = np.zeros(1, np.float32)
        frames = self._framer.push(resampled, last)
        embedding = _embed(frames, self._extractor, self._network, self.spec)
        return embedding, np.asarray(frames.starts) / self.spec.front_end.sample_rate


def _embed(
    frames: Frames, extractor: FeatureExtractor, network: Network | None, spec: ModelSpec
) -> Embedding:
    """Return float32 (T, emb_dim), a batch of frames at a time."""
    n_windowed = spec.front_end.n_steps * spec.front_end.window_samples
    size = max(1, _MAX_WINDOWED // max(n_windowed, spec.front_end.frame_samples))
    pieces = [np.zeros((0, spec.emb_dim), np.float32)]
    for batch in frames.batches(size):
        pieces.append(_apply(network, extractor(batch)))
    return np.concatenate(pieces)


def _apply(network: Network | None, features: NDArray[np.float32]) -> Embedding:
    return statistics(features) if network is None else network(features)


@overload
def get_embedding(
    audio: list[NDArray[Any]],
    sr: int | list[int],
    model_type: PathLike | None = ...,
    emb_dim: int | None = ...,
    *,
    variant: str | None = ...,
    hop_size: float = ...,
    center: bool = ...,
    threads: int | None = ...,
    progress: bool = ...,
) -> tuple[list[Embedding], list[Timestamps]]: ...
@overload
def get_embedding(
    audio: ArrayLike,
    sr: int,
    model_type: PathLike | None = ...,
    emb_dim: int | None = ...,
    *,
    variant: str | None = ...,
    hop_size: float = ...,
    center: bool = ...,
    threads: int | None = ...,
    progress: bool = ...,
) -> Embedded: ...
def get_embedding(
    audio: Any,
    sr: Any,
    model_type: PathLike | None = None,
    emb_dim: int | None = None,
    *,
    variant: str | None = None,
    hop_size: float = DEFAULT_HOP,
    center: bool = True,
    threads: int | None = None,
    progress: bool = False,
) -> Any:
    """Embed a clip, or a list of clips, with a model chosen by its name.

    Loads the model at each call; for more than a few clips make an `Embedder` once.

    Parameters
    ----------
    audio : array_like (n,) or (n, channels), or list of such arrays
        float in [-1, 1], int16 or int32.
    sr : int, or list of int
        Sample rate in Hz; a list gives each clip its own.
    model_type, emb_dim, variant, hop_size, center, threads, progress
        As for `Embedder`.

    Returns
    -------
    embedding : ndarray, float32 (T, emb_dim), or list of such
    timestamps : ndarray, float64 (T,), or list of such
        Seconds; centres of the frames, or their starts with ``center=False``.

    Raises
    ------
    ListenEmbedError
        See `Embedder` and `Embedder.embed`.

    Examples
    --------
    >>> import numpy as np
    >>> embedding, timestamps = get_embedding(np.ones(16_000, np.float32), 16_000, "logmel", 128)
    >>> embedding.shape
    (6, 128)
    """
    embedder = Embedder(
        model_type,
        emb_dim,
        variant=variant,
        hop_size=hop_size,
        center=center,
        threads=threads,
        progress=progress,
    )
    if not _is_list_of_clips(audio):
        return embedder.embed(audio, sr)
    rates = sr if isinstance(sr, list | tuple) else [sr] * len(audio)
    if len(rates) != len(audio):
        raise InputError(f"{len(audio)} clips but {len(rates)} sample rates; give one or as many")
    results = [embedder.embed(clip, rate) for clip, rate in zip(audio, rates, strict=True)]
    return [embedding for embedding, _ in results], [timestamps for _, timestamps in results]


def _is_list_of_clips(audio: Any) -> bool:
    is_list = isinstance(audio, list | tuple) and len(audio) > 0
    return is_list and all(isinstance(clip, np.ndarray) for clip in audio)


def _check_threads(threads: Any) -> int:
    if threads is None:
        return min(2, os.cpu_count() or 1)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads is {threads!r}; allowed are None and whole numbers from 1")
    return threads


def _network_of(
    spec: ModelSpec, content: bytes, threads: int, frame_size: float | None
) -> Network | None:
    if not spec.has_network:
        return None
    n_steps = None if frame_size is None else spec.front_end.n_steps
    try:
        network = Network(content, threads, n_steps)
    except ConversionError as error:
        if frame_size is None:
            raise
        raise InputError(
            f"{spec.name} takes frames of one length only; leave frame_size out"
        ) from error
    _check_fits(network, spec)
    return network


def _check_fits(network: Network, spec: ModelSpec) -> None:
    """Raise if a model folder's parts do not fit; better here than a wrong number later."""
    n_given = int(np.prod(spec.front_end.input_shape))
    n_taken = int(np.prod(network.input_shape))
    if n_given != n_taken or network.output_size != spec.emb_dim:
        raise InputError(
            f"{spec.name}: the front end gives {n_given} values and emb_dim is {spec.emb_dim}, but "
            f"the .tflite takes {n_taken} and gives {network.output_size}"
        )


def _chain(
    first: audio_.Samples, rest: Iterable[tuple[audio_.Samples, int]]
) -> Iterator[audio_.Samples]:
    yield first
    for block, _ in rest:
        yield block


def _watched(stream: Stream, blocks: Iterable[audio_.Samples], what: str) -> Iterator[Embedded]:
    """Push all blocks, end the stream, and warn of results that are defined but hardly wanted."""
    n_samples, is_silent = 0, True
    for block in blocks:
        n_samples += len(block)
        is_silent = is_silent and not block.any()
        yield stream.push(block)
    yield stream.push(np.zeros(0, np.float32), last=True)
    seconds, frame = n_samples / stream.sr, stream.spec.front_end.frame_seconds
    if is_silent:
        _warn(f"{what} is silent: its embedding is that of digital silence")
    if seconds < frame:
        _warn(
            f"{what} lasts {seconds:.3f} s, less than one frame of {frame:.3f} s; zeros fill it up"
        )


def _warn(message: str) -> None:
    """Warn at the line that called this package, however deep inside it is noticed."""
    level, frame = 2, inspect.currentframe()
    frame = frame.f_back if frame else None
    while frame and frame.f_globals.get("__name__", "").startswith("listen_embed."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, ListenEmbedWarning, stacklevel=level)


def _joined(pieces: Iterator[Embedded], emb_dim: int) -> Embedded:
    embeddings, timestamps = [np.zeros((0, emb_dim), np.float32)], [np.zeros(0)]
    for embedding, stamps in pieces:
        embeddings.append(embedding)
        timestamps.append(stamps)
    return np.concatenate(embeddings), np.concatenate(timestamps)
