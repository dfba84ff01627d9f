"""scikit-learn: `AudioEmbedder` turns clips or files into feature vectors inside a pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from listen_embed.batch import Options
from listen_embed.embedder import Embedder, PathLike

# What `Embedder.embed` takes; anything else becomes the first of them.
_DTYPES = (np.float32, np.float64, np.float16, np.int16, np.int32)


class AudioEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One embedding for every clip, as a scikit-learn transformer.

    Nothing is learnt: `fit` only loads the model and checks the shape. Its parameters alone are
    pickled; a copy in another process loads the model again.

    Parameters
    ----------
    model_type, emb_dim, variant, threads
        As for `listen_embed.Embedder`.
    sr : int
        Rate of waveforms in Hz; files tell their own.

    Attributes
    ----------
    n_features_in_ : int
        Samples of a clip; absent after fitting on paths.
    digest_ : str
        sha256 of weights and front end; equal digests give comparable embeddings.

    Examples
    --------
    >>> import numpy as np
    >>> clips = np.random.default_rng(0).normal(size=(3, 16_000))
    >>> AudioEmbedder("logmel", 128).fit_transform(clips).shape
    (3, 128)
    """

    def __init__(
        self,
        model_type: PathLike | None = None,
        emb_dim: int | None = None,
        variant: str | None = None,
        sr: int = 16_000,
        threads: int | None = None,
    ) -> None:
        self.model_type = model_type
        self.emb_dim = emb_dim
        self.variant = variant
        self.sr = sr
        self.threads = threads

    def fit(self, X: ArrayLike | Sequence[PathLike], y: Any = None) -> Self:
        """Check clips or paths and load the model; see `transform`."""
        self._checked(X, reset=True)
        embedder = self._embedder()
        self.digest_ = embedder.digest
        self._n_features_out = embedder.spec.emb_dim
        return self

    def transform(self, X: ArrayLike | Sequence[PathLike]) -> NDArray[np.float32]:
        """Return one vector for every clip, as by `Embedder.embed_clip`.

        Parameters
        ----------
        X : array_like (n_clips, n_samples), or sequence of str or path
            Mono waveforms at ``sr``, float in [-1, 1], int16 or int32; or sound files.

        Returns
        -------
        ndarray, float32 (n_clips, emb_dim)

        Raises
        ------
        AudioFileError
            A file cannot be read as audio.
        InputError, ValueError
            Neither waveforms of the fitted length nor paths.
        """
        check_is_fitted(self)
        clips = self._checked(X, reset=False)
        embedder = self._embedder()
        if isinstance(clips, list):
            return np.stack([embedder.embed_clip_file(path) for path in clips])
        return np.stack([embedder.embed_clip(clip, self.sr) for clip in clips])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # which comes out whatever goes in
        return tags

    def _checked(self, X: Any, reset: bool) -> list[PathLike] | NDArray[Any]:
        if _are_paths(X):
            return list(X)
        checked: NDArray[Any] = validate_data(self, X, reset=reset, dtype=_DTYPES)
        return checked

    def _embedder(self) -> Embedder:
        return _loaded(
            Options(
                model_type=self.model_type,
                emb_dim=self.emb_dim,
                variant=self.variant,
                threads=self.threads,
            )
        )


# Clones and folds ask for the same few models over and over.
@lru_cache(maxsize=4)
def _loaded(options: Options) -> Embedder:
    return options.load()


def _are_paths(X: Any) -> bool:
    is_flat = getattr(X, "ndim", 1) == 1 and hasattr(X, "__len__")
    return is_flat and len(X) > 0 and all(isinstance(item, str | os.PathLike) for item in X)
