"""HEAR: the functions that its benchmark and validator call, over any model.

``hear-validator listen_embed.hear --model sea/64/general``; without ``--model`` the default one.
Source: the common API at https://hearbenchmark.com/hear-api.html.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from listen_embed import registry
from listen_embed.embedder import Embedded, Embedder

# HEAR asks for 50 ms or less, the tolerance of its event tasks.
HOP_SIZE = 0.05
# The rates that HEAR's data sets come in.
_RATES = (16_000, 22_050, 44_100, 48_000)


class HearModel(torch.nn.Module):
    """What `load_model` gives: a model with the attributes that HEAR reads.

    Attributes
    ----------
    embedder : Embedder
    sample_rate : int
        Rate that audio must have, in Hz: the model's own where HEAR has it, else the next above.
    timestamp_embedding_size, scene_embedding_size : int
        Width of both kinds of embedding.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        own_rate = embedder.spec.front_end.sample_rate
        self.embedder = embedder
        self.sample_rate = next(rate for rate in (*_RATES, own_rate) if rate >= own_rate)
        self.timestamp_embedding_size = embedder.spec.emb_dim
        self.scene_embedding_size = embedder.spec.emb_dim


def load_model(model_file_path: str = "") -> HearModel:
    """Return a model by its name or folder; the default one for ``""``.

    One that streams gives an embedding every step of its own, which HEAR may find too few.
    """
    name = model_file_path or None
    return HearModel(Embedder(name, hop_size=registry.find(name).step_seconds or HOP_SIZE))


def get_timestamp_embeddings(
    audio: torch.Tensor, model: HearModel
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an embedding every 50 ms, or every step of a model that streams.

    Parameters
    ----------
    audio : Tensor, float32 (B, n)
        Sounds in [-1, 1] at ``model.sample_rate``.
    model : HearModel

    Returns
    -------
    embeddings : Tensor, float32 (B, T, emb_dim)
    timestamps : Tensor, float32 (B, T)
        Centres of the frames, in milliseconds; none lies beyond the sound's end.
    """
    clips = [_centred(model, clip) for clip in _arrays(audio)]
    embeddings, seconds = map(np.stack, zip(*clips, strict=True))
    milliseconds = (1000 * seconds).astype(np.float32)
    return _tensor(embeddings, audio), _tensor(milliseconds, audio)


def get_scene_embeddings(audio: torch.Tensor, model: HearModel) -> torch.Tensor:
    """Return one embedding for each sound, float32 (B, emb_dim); arguments as above."""
    clips = list(_arrays(audio))
    return _tensor(model.embedder.embed_clip(clips, model.sample_rate), audio)


def _centred(model: HearModel, clip: NDArray[np.float32]) -> Embedded:
    """Return frames centred on every hop up to the end.

    The last ones need half a frame of zeros on the right.
    """
    n_half = int(model.sample_rate * model.embedder.spec.front_end.frame_seconds / 2)
    stream = model.embedder.stream(model.sample_rate, center=True)
    embedding, seconds = stream.push(np.pad(clip, (0, n_half)), last=True)
    is_inside = seconds <= len(clip) / model.sample_rate
    return embedding[is_inside], seconds[is_inside]


def _arrays(audio: torch.Tensor) -> NDArray[np.float32]:
    arrays: NDArray[np.float32] = audio.detach().cpu().numpy()
    return arrays


def _tensor(values: NDArray[np.float32], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(values).to(like.device)
