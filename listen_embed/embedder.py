"""Sound in, embeddings and timestamps out: audio -> framing -> front end -> network."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from numbers import Integral
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from listen_embed import audio as audio_
from listen_embed import registry, self_check, store
from listen_embed.audio import Layout
from listen_embed.errors import ConversionError, InputError, warn
from listen_embed.framing import Framer, Frames, hop_in_samples, start_of
from listen_embed.frontend import FeatureExtractor, statistics
from listen_embed.runtime import Network, Run
from listen_embed.spec import ModelSpec

Embedding = NDArray[np.float32]
Timestamps = NDArray[np.float64]
Embedded = tuple[Embedding, Timestamps]
PathLike = str | os.PathLike[str]
Batch = list[NDArray[Any]]
# Told a block of sound, the same at the model's rate, and whether it is the last.
Hear = Callable[[audio_.Samples, audio_.Samples, bool], None]

DEFAULT_HOP = 0.1
_BLOCK_SECONDS = 10.0
# Windowed samples of the frames that are heard together: many have few edges between them.
_MAX_WINDOWED = 1 << 21
# A clip is heard in one pass up to this length, and else in equal pieces of at most this.
_MAX_PIECE_SECONDS = 30
# Models that `get_embedding` keeps loaded.
_MODELS_KEPT = 4
# Float audio may overshoot, but not so far: such samples are integers that nobody divided.
_FAR_ABOVE_ONE = 32.0


class Embedder:
    """A model, loaded once and used for any number of clips, files and streams.

    Threads may share one (their networks run in turn; a `Stream` belongs to one thread), and it
    pickles, weights and all, for joblib, multiprocessing and other machines.

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
        Seconds between frames, 0.001 to 3600; of a model that streams, a multiple of its step.
    center : bool
        Centre frame ``i`` on its timestamp ``i * hop_size`` (half a frame of zeros goes before the
        clip); False starts it there.
    frame_size : float, optional
        Seconds of sound that each embedding sees, 0.1 to 60, for a network that takes any length
        (``listen-embed models`` says which do); None takes the model's own, mostly one second.
    threads : int, optional
        Threads of the interpreter; None takes two where there are two cores.
    progress : bool, optional
        If the model must be downloaded, None says so on standard error, with a bar on a terminal;
        True shows the bar anywhere, False is quiet.

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
        progress: bool | None = None,
    ) -> None:
        published = registry.find(model_type, emb_dim, variant)
        self.hop_size = audio_.check_hop(hop_size)
        self.center = bool(center)
        self.frame_size = frame_size
        self.spec: ModelSpec = published if frame_size is None else published.lasting(frame_size)
        _check_step(self.spec, self.hop_size)
        n_threads = _check_threads(threads)
        content = store.load(self.spec, progress) if self.spec.has_network else b""
        self.digest = published.digest(content)
        self._network = _network_of(self.spec, content, n_threads, frame_size)
        if published.file is not None and frame_size is None:
            self_check.run(published.file.parent, self.digest, self._embed_golden)

    def _embed_golden(self, audio: NDArray[Any], sr: int) -> Embedding:
        return self.stream(sr, hop_size=self_check.HOP, center=True).push(audio, last=True)[0]

    def __repr__(self) -> str:
        return f"Embedder({self.spec.name!r}, hop_size={self.hop_size}, center={self.center})"

    @overload
    def embed(
        self, audio: Batch, sr: int | Sequence[int], *, layout: Layout | None = ...
    ) -> tuple[list[Embedding], list[Timestamps]]: ...
    @overload
    def embed(self, audio: Any, sr: int, *, layout: Layout | None = ...) -> Embedded: ...
    def embed(self, audio: Any, sr: Any, *, layout: Layout | None = None) -> Any:
        """Embed one clip, or many.

        Parameters
        ----------
        audio : array_like (n,) or (n, channels); or a batch
            A clip is an array, list of numbers or torch tensor: float in [-1, 1], uint8, int16 or
            int32, at least one sample; channels are averaged. A batch is a list of such arrays, of
            any lengths, a column of them (pandas, pyarrow), or, with ``layout="batch"``, an array
            (clips, n).
        sr : int, or sequence of int
            Sample rate in Hz; a sequence gives each clip of a batch its own.
        layout : {"channels-last", "channels-first", "batch"}, optional
            What a two-dimensional array means, where its shape leaves that open.

        Returns
        -------
        embedding : ndarray, float32 (T, emb_dim); or a list of them for a batch
        timestamps : ndarray, float64 (T,); or a list of them for a batch
            Seconds from the start of the clip.

        Warns
        -----
        ListenEmbedWarning
            The clip is silent, shorter than one frame (it is padded with zeros), or float far
            beyond [-1, 1].

        Raises
        ------
        InputError
            Audio or rate outside what is allowed above.
        """
        clips = audio_.to_clips(audio, layout)
        if clips is None:
            return self._embed_clip_at(audio, sr, layout, self.hop_size, self.center)
        results = [
            self._embed_clip_at(clip, rate, None, self.hop_size, self.center)
            for clip, rate in zip(clips, _rates(sr, len(clips)), strict=True)
        ]
        return [embedding for embedding, _ in results], [timestamps for _, timestamps in results]

    def _embed_clip_at(
        self, audio: Any, sr: int, layout: Layout | None, hop_size: float, center: bool
    ) -> Embedded:
        mono = _samples_of(audio, layout)
        stream = self.stream(sr, hop_size=hop_size, center=center)
        n_block = max(1, int(_BLOCK_SECONDS * stream.sr))
        blocks = (mono[begin : begin + n_block] for begin in range(0, len(mono), n_block))
        return _joined(_watched(stream, blocks, "audio"), self.spec.emb_dim)

    @overload
    def embed_clip(
        self, audio: Batch, sr: int | Sequence[int], *, layout: Layout | None = ...
    ) -> NDArray[np.float32]: ...
    @overload
    def embed_clip(
        self, audio: Any, sr: int, *, layout: Layout | None = ...
    ) -> NDArray[np.float32]: ...
    def embed_clip(self, audio: Any, sr: Any, *, layout: Layout | None = None) -> Any:
        """Return one vector for a whole clip of any length.

        A model whose card says ``clip = "whole"`` hears the clip in one pass; what is longer than
        30 s is cut into as few equal pieces as keep to that, and their vectors are averaged. All
        others give the mean over whole frames, the fewest that cover every sample, spread evenly;
        one that streams, over all its steps.
        A clip shorter than a frame is padded with zeros, as by `embed`. Which way is the better one
        was measured for every model (docs/BENCHMARKS.md).

        Parameters
        ----------
        audio, sr, layout
            As for `embed`.

        Returns
        -------
        ndarray, float32 (emb_dim,), or (clips, emb_dim) for a batch

        Raises
        ------
        InputError
            As `embed`.
        """
        clips = audio_.to_clips(audio, layout)
        if clips is None:
            return self._vector_of(_samples_of(audio, layout), sr)
        rates = _rates(sr, len(clips))
        vectors = [
            self._vector_of(_samples_of(c, None), r) for c, r in zip(clips, rates, strict=True)
        ]
        return np.stack(vectors) if vectors else np.zeros((0, self.spec.emb_dim), np.float32)

    def embed_clip_file(self, path: PathLike) -> Embedding:
        """Return one vector, float32 (emb_dim,), for a whole sound file; see `embed_clip`.

        The file's samples are held in memory.

        Raises
        ------
        AudioFileError
            The file cannot be read as audio.
        """
        blocks = list(audio_.read_blocks(path, _BLOCK_SECONDS))
        mono = np.concatenate([block for block, _ in blocks])
        return self._vector_of(mono, blocks[0][1], str(path))

    def _vector_of(self, mono: audio_.Samples, sr: int, what: str = "audio") -> Embedding:
        front_end = self.spec.front_end
        converter = audio_.rate_converter(
            audio_.check_rate(sr), front_end.sample_rate, front_end.resampler
        )
        sound = converter.push(mono, last=True)
        _warn_of(len(mono), _peak(mono), sr, front_end.frame_seconds, what)
        vector: Embedding = self._frames_of_clip(sound).mean(axis=0)
        return vector

    def _frames_of_clip(self, sound: audio_.Samples) -> Embedding:
        """Return float32 (T, emb_dim) of the frames, or pieces, that a clip is averaged over."""
        frame = self.spec.front_end.frame_samples
        if self.spec.streams:
            steps = Framer(frame, Fraction(self.spec.step_samples), center=False)
            return self._heard(steps.push(sound, last=True))
        longest = frame
        if self.spec.clip == "whole" and self._network is not None:
            longest = max(frame, int(_MAX_PIECE_SECONDS * self.spec.front_end.sample_rate))
        n_pieces = max(1, -(-len(sound) // longest))
        if longest > frame:  # equal pieces, side by side
            frame = max(frame, len(sound) // n_pieces)
        sound = np.pad(sound, (0, max(0, frame - len(sound))))
        hop = Fraction(len(sound) - frame, max(1, n_pieces - 1))
        starts = [start_of(i, hop) for i in range(n_pieces)]
        spec, network = self._of_length(frame)
        frames = Frames(sound, 0, starts, frame)
        return _embed(frames, FeatureExtractor(spec.front_end), network, spec)

    def _heard(self, frames: Frames) -> Embedding:
        """Return float32 (T, emb_dim) of all steps of a sound."""
        network = None if self._network is None else self._network.start()
        return _embed(frames, FeatureExtractor(self.spec.front_end), network, self.spec)

    def _of_length(self, frame_samples: int) -> tuple[ModelSpec, Network | None]:
        if frame_samples == self.spec.front_end.frame_samples:
            return self.spec, self._network
        front_end = replace(self.spec.front_end, frame_samples=frame_samples)
        assert self._network is not None
        network = self._network.of_length(front_end.n_steps)
        return replace(self.spec, front_end=front_end), network

    def embed_file(self, path: PathLike) -> Embedded:
        """Embed a sound file; see `embed`. Memory grows with the result only.

        Raises
        ------
        AudioFileError
            The file cannot be read as audio.
        """
        return _joined(self.iter_file(path), self.spec.emb_dim)

    def iter_file(self, path: PathLike, hear: Hear | None = None) -> Iterator[Embedded]:
        """Yield embeddings and timestamps of a sound file piece by piece, in constant memory.

        Parameters
        ----------
        path : str or path
            The sound file.
        hear : callable, optional
            Called for every block with its samples, what they are at the model's rate, and whether
            they are the last: for those who draw or record what is embedded.
        """
        blocks = audio_.read_blocks(path, _BLOCK_SECONDS)
        first, sr = next(blocks)
        stream = self.stream(sr)
        stream._hear = hear
        yield from _watched(stream, _chain(first, blocks), str(path))

    def at(self, *, hop_size: float | None = None, center: bool | None = None) -> Embedder:
        """Return this embedder with another hop or centring; they share the loaded network."""
        other = copy.copy(self)
        other.hop_size = self.hop_size if hop_size is None else audio_.check_hop(hop_size)
        _check_step(self.spec, other.hop_size)
        other.center = self.center if center is None else bool(center)
        return other

    def embed_features(self, features: NDArray[np.float32]) -> Embedding:
        """Return float32 (T, emb_dim) of network inputs (T, ...) that the front end gave.

        A network that takes any length takes inputs (T, n_bands, n_steps) of any. To a model that
        streams they are the steps of one sound.
        """
        network = self._network
        if network is not None and features.ndim == 3:
            network = network.of_length(features.shape[2])
        return _apply(network, features)

    def stream(
        self, sr: int, *, hop_size: float | None = None, center: bool | None = None
    ) -> Stream:
        """Return a stream of this model for sound at `sr` Hz; None keeps this embedder's."""
        hop = self.hop_size if hop_size is None else audio_.check_hop(hop_size)
        _check_step(self.spec, hop)
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
    A model that remembers has a memory of its own in every stream.
    """

    def __init__(
        self, spec: ModelSpec, network: Network | None, sr: int, hop: Fraction, center: bool
    ) -> None:
        self.spec = spec
        self.sr = sr
        self._network = network
        self.hop = hop
        step = Fraction(spec.step_samples) or hop
        self._framer = Framer(spec.front_end.frame_samples, step, center, every=int(hop / step))
        self._extractor = FeatureExtractor(spec.front_end)
        self._hear: Hear | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far and start at time 0."""
        front_end = self.spec.front_end
        self._converter = audio_.rate_converter(self.sr, front_end.sample_rate, front_end.resampler)
        self._framer.reset()
        self._extractor.reset()
        self._run = None if self._network is None else self._network.start()
        self._has_ended = False
        self._has_sound = False

    @property
    def latency(self) -> float:
        """Seconds from a timestamp until enough sound has arrived for its embedding."""
        frame = self.spec.front_end.frame_seconds
        return (frame / 2 if self._framer.center else frame) + self._converter.latency

    def __repr__(self) -> str:
        hop = float(self.hop / self.spec.front_end.sample_rate)
        center = self._framer.center
        return f"Stream({self.spec.name!r}, sr={self.sr}, hop_size={hop:g}, center={center})"

    def push(self, block: Any, last: bool = False) -> Embedded:
        """Add a block and return what it completes, possibly nothing.

        Parameters
        ----------
        block : array_like, (n,) or (n, channels), n >= 0
            An array, list or torch tensor: float in [-1, 1], uint8, int16 or int32.
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
        return self._push(audio_.to_mono(block), last)

    def _push(self, mono: audio_.Samples, last: bool = False) -> Embedded:
        resampled = self._converter.push(mono, last)
        self._has_sound = self._has_sound or len(mono) > 0
        self._has_ended = last
        if last and self._has_sound and self._framer.is_empty and not len(resampled):
            # A clip so short that the resampler gives none is one sample of silence, not nothing.
            resampled = np.zeros(1, np.float32)
        if self._hear is not None:
            self._hear(mono, resampled, last)
        frames = self._framer.push(resampled, last)
        embedding = _embed(frames, self._extractor, self._run, self.spec)
        starts = np.asarray(frames.starts)
        if self._framer.every > 1:  # all steps were heard; these were asked for
            wanted = starts % int(self.hop) == 0
            embedding, starts = embedding[wanted], starts[wanted]
        return embedding, starts / self.spec.front_end.sample_rate


def _embed(
    frames: Frames, extractor: FeatureExtractor, network: Run | None, spec: ModelSpec
) -> Embedding:
    """Return float32 (T, emb_dim), a batch of frames at a time.

    Steps of a model that remembers are heard one by one: products of matrices round by their size,
    and a memory would carry that on.
    """
    n_windowed = spec.front_end.n_steps * spec.front_end.window_samples
    size = max(1, _MAX_WINDOWED // max(n_windowed, spec.front_end.frame_samples))
    size = 1 if spec.streams else size
    pieces = [np.zeros((0, spec.emb_dim), np.float32)]
    for batch in frames.batches(size):
        pieces.append(_apply(network, extractor(batch)))
    return np.concatenate(pieces)


def _apply(network: Run | None, features: NDArray[np.float32]) -> Embedding:
    return statistics(features) if network is None else network(features)


@lru_cache(maxsize=_MODELS_KEPT)
def _loaded(
    model_type: str | None,
    emb_dim: int | None,
    variant: str | None,
    frame_size: float | None,
    threads: int | None,
    progress: bool | None,
    stamp: tuple[int, ...],
) -> Embedder:
    return Embedder(
        model_type,
        emb_dim,
        variant=variant,
        frame_size=frame_size,
        threads=threads,
        progress=progress,
    )


def _kept_embedder(
    model_type: PathLike | None, emb_dim: int | None, progress: bool | None, **options: Any
) -> Embedder:
    """Return an embedder of the last few used, or a new one; a folder that changed is read anew."""
    spec = registry.find(model_type, emb_dim, options["variant"])
    facts = spec.file.stat() if spec.file is not None else None
    stamp = (facts.st_mtime_ns, facts.st_size) if facts else ()
    name = None if model_type is None else os.path.expanduser(model_type)
    return _loaded(name, emb_dim, progress=progress, stamp=stamp, **options)


@overload
def get_embedding(
    audio: Batch,
    sr: int | Sequence[int],
    model_type: PathLike | None = ...,
    emb_dim: int | None = ...,
    *,
    variant: str | None = ...,
    hop_size: float = ...,
    center: bool = ...,
    frame_size: float | None = ...,
    layout: Layout | None = ...,
    threads: int | None = ...,
    progress: bool | None = ...,
) -> tuple[list[Embedding], list[Timestamps]]: ...
@overload
def get_embedding(
    audio: Any,
    sr: int,
    model_type: PathLike | None = ...,
    emb_dim: int | None = ...,
    *,
    variant: str | None = ...,
    hop_size: float = ...,
    center: bool = ...,
    frame_size: float | None = ...,
    layout: Layout | None = ...,
    threads: int | None = ...,
    progress: bool | None = ...,
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
    frame_size: float | None = None,
    layout: Layout | None = None,
    threads: int | None = None,
    progress: bool | None = None,
    **foreign: Any,
) -> Any:
    """Embed a clip, or a batch of clips, with a model chosen by its name.

    The last few models stay loaded, so a loop costs what an `Embedder` costs.

    Parameters
    ----------
    audio : array_like (n,) or (n, channels), or a batch of clips
        float in [-1, 1], uint8, int16 or int32; see `Embedder.embed`.
    sr : int, or sequence of int
        Sample rate in Hz; a sequence gives each clip its own.
    model_type, emb_dim, variant, hop_size, center, frame_size, threads, progress
        As for `Embedder`.
    layout
        As for `Embedder.embed`.
    **foreign
        Nothing is allowed; arguments of edgel3 and openl3 are answered with the new call.

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
    registry.check_foreign(foreign, model_type, emb_dim)
    embedder = _kept_embedder(
        model_type, emb_dim, progress, variant=variant, frame_size=frame_size, threads=threads
    )
    return embedder.at(hop_size=hop_size, center=center).embed(audio, sr, layout=layout)


def get_clip_embedding(
    audio: Any,
    sr: Any,
    model_type: PathLike | None = None,
    emb_dim: int | None = None,
    *,
    variant: str | None = None,
    layout: Layout | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Embedding:
    """Return one vector for a whole clip, or one for each clip of a batch.

    Parameters
    ----------
    audio, sr, layout
        As for `Embedder.embed`.
    model_type, emb_dim, variant, threads, progress
        As for `Embedder`.

    Returns
    -------
    ndarray, float32 (emb_dim,), or (clips, emb_dim) for a batch
        See `Embedder.embed_clip`.

    Raises
    ------
    ListenEmbedError
        See `Embedder` and `Embedder.embed`.

    Examples
    --------
    >>> import numpy as np
    >>> get_clip_embedding(np.ones(48_000, np.float32), 16_000, "logmel", 128).shape
    (128,)
    """
    embedder = _kept_embedder(
        model_type, emb_dim, progress, variant=variant, frame_size=None, threads=threads
    )
    return embedder.embed_clip(audio, sr, layout=layout)


def _rates(sr: Any, n_clips: int) -> list[Any]:
    """Return a rate for each clip of a batch."""
    if np.ndim(sr) == 0:
        return [sr] * n_clips
    if len(sr) != n_clips:
        raise InputError(f"{n_clips} clips but {len(sr)} sample rates; give one or as many")
    return list(sr)


def _samples_of(audio: Any, layout: Layout | None) -> audio_.Samples:
    mono = audio_.to_mono(audio, layout, copy=False)
    if not len(mono):
        raise InputError("audio is empty; at least one sample is needed")
    return mono


def _check_threads(threads: Any) -> int:
    if threads is None:
        return min(2, os.cpu_count() or 1)
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise InputError(f"threads is {threads!r}; allowed are None and whole numbers from 1")
    return int(threads)


def _network_of(
    spec: ModelSpec, content: bytes, threads: int, frame_size: float | None
) -> Network | None:
    if not spec.has_network:
        return None
    n_steps = None if frame_size is None else spec.front_end.n_steps
    try:
        network = Network(content, threads, n_steps, spec.state)
    except ConversionError as error:
        if frame_size is None:
            raise
        raise InputError(
            f"{spec.name} takes frames of one length only; leave frame_size out"
        ) from error
    _check_fits(network, spec)
    return network


def _check_step(spec: ModelSpec, hop_size: float) -> None:
    """Raise if a model that streams would have to give embeddings between its steps."""
    if spec.streams and hop_in_samples(hop_size, spec.front_end.sample_rate) % spec.step_samples:
        raise InputError(
            f"hop_size is {hop_size}; {spec.name} hears sound in steps of {spec.step_seconds:g} s, "
            f"so allowed are multiples of that, such as {10 * spec.step_seconds:g}"
        )


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
    n_samples, peak = 0, 0.0
    for block in blocks:
        n_samples += len(block)
        peak = max(peak, _peak(block))
        yield stream._push(block)
    yield stream._push(np.zeros(0, np.float32), last=True)
    _warn_of(n_samples, peak, stream.sr, stream.spec.front_end.frame_seconds, what)


def _peak(samples: audio_.Samples) -> float:
    return max(float(samples.max()), -float(samples.min())) if len(samples) else 0.0


def _warn_of(n_samples: int, peak: float, sr: int, frame: float, what: str) -> None:
    if peak == 0:
        warn(f"{what} is silent: its embedding is that of digital silence")
    if peak > _FAR_ABOVE_ONE:
        warn(
            f"{what} reaches {peak:g} where float samples lie in [-1, 1]; are they integers? "
            "Divide them by full scale (32768 for 16 bits), or hand them over as int16"
        )
    if n_samples / sr < frame:
        warn(
            f"{what} lasts {n_samples / sr:.3f} s, less than one frame of {frame:.3f} s; zeros "
            "fill it up"
        )


def _joined(pieces: Iterator[Embedded], emb_dim: int) -> Embedded:
    embeddings, timestamps = [np.zeros((0, emb_dim), np.float32)], [np.zeros(0)]
    for embedding, stamps in pieces:
        embeddings.append(embedding)
        timestamps.append(stamps)
    return np.concatenate(embeddings), np.concatenate(timestamps)
