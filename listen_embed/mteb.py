"""MAEB, the sound part of mteb: `AudioEncoder` is what `mteb.evaluate` takes.

::

    import mteb
    from listen_embed.mteb import AudioEncoder

    mteb.evaluate(AudioEncoder("sea/64/general"), mteb.get_tasks(modalities=["audio"]))
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from numpy.typing import NDArray

from listen_embed.embedder import Embedder, Embedding, PathLike
from listen_embed.errors import InputError
from listen_embed.spec import ModelSpec

# Licences that mteb calls by another name than theirs in small letters.
_LICENCES = {"none stated": "not specified"}


class AudioEncoder(AbsEncoder):  # type: ignore[misc]
    """One embedding for every sound of a task, as by `Embedder.embed_clip`.

    Parameters
    ----------
    model_type, emb_dim, variant, threads
        As for `listen_embed.Embedder`.

    Attributes
    ----------
    mteb_model_meta : ModelMeta
        The model's name, licence, width and size, as mteb writes them into its results.
    """

    def __init__(
        self,
        model_type: PathLike | None = None,
        emb_dim: int | None = None,
        *,
        variant: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.model = Embedder(model_type, emb_dim, variant=variant, threads=threads)
        self.mteb_model_meta = _meta(self.model.spec, revision=self.model.digest)

    def get_audio_embeddings(self, inputs: Iterable[dict[str, Any]], **_: Any) -> Embedding:
        """Return float32 (n, emb_dim) of batches ``{"audio": [{"array", "sampling_rate"}]}``."""
        sounds = (sound for batch in inputs for sound in batch["audio"])
        return np.stack([self._vector(sound) for sound in sounds])

    def encode(self, inputs: Any, **_: Any) -> Embedding:
        """Do the same; what else mteb tells (the task, its split, prompts) changes nothing.

        Raises
        ------
        InputError
            The task has no sound.
        """
        features = inputs.dataset.features
        if "audio" not in features:
            raise InputError(f"this model hears; the task has {sorted(features)} and no audio")
        return self.get_audio_embeddings(inputs)

    def _vector(self, sound: dict[str, Any]) -> Embedding:
        audio = _samples_first(sound["array"])
        return self.model.embed_clip(audio, int(sound["sampling_rate"]))


def _samples_first(audio: Any) -> NDArray[Any]:
    """Return (n,) or (n, channels); decoders give (channels, n)."""
    array = np.asarray(audio)
    return array.T if array.ndim == 2 and array.shape[0] < array.shape[1] else array


def _meta(spec: ModelSpec, revision: str) -> ModelMeta:
    return ModelMeta(
        loader=AudioEncoder,
        loader_kwargs={"model_type": spec.name},
        name=f"listen-embed/{spec.name.replace('/', '-')}",
        revision=revision,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=spec.size_bytes / (1 << 20) or None,
        max_tokens=None,
        embed_dim=spec.emb_dim,
        license=_LICENCES.get(spec.licence, spec.licence.lower()),
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["NumPy"],
        similarity_fn_name="cosine",
        use_instructions=False,
        training_datasets=None,
        modalities=["audio"],
    )
