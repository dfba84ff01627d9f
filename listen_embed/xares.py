"""X-ARES: an encoder of the form that its benchmark loads, over any model.

X-ARES takes the path of a Python file and the name of a class in it::

    from listen_embed.xares import ListenEmbedEncoder

    class SeaEncoder(ListenEmbedEncoder):
        model_type = "sea/64/general"

Source: https://github.com/jimbozhang/xares, ``xares.audio_encoder_checker``.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from listen_embed.embedder import Embedder, PathLike

HOP_SIZE = 0.1


class ListenEmbedEncoder(torch.nn.Module):
    """A model as X-ARES's encoder; a subclass names another one in ``model_type``.

    Attributes
    ----------
    sampling_rate : int
        Rate that audio must have, in Hz: the model's own.
    output_dim : int
        Width of an embedding.
    hop_size_in_ms : float
        Step between embeddings.
    """

    model_type: ClassVar[PathLike | None] = None

    def __init__(self, model_type: PathLike | None = None, hop_size: float = HOP_SIZE) -> None:
        super().__init__()
        self.embedder = Embedder(model_type or self.model_type, hop_size=hop_size)
        self.sampling_rate = self.embedder.spec.front_end.sample_rate
        self.output_dim = self.embedder.spec.emb_dim
        self.hop_size_in_ms = 1000 * hop_size

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, T, output_dim) of sounds.

        Parameters
        ----------
        audio : Tensor, float32 (B, n) or (n,)
            In [-1, 1] at ``sampling_rate``; frames are centred, T = n / hop rounded up, roughly.
        """
        clips = np.atleast_2d(audio.detach().cpu().numpy())
        streams = [self.embedder.stream(self.sampling_rate) for _ in clips]
        pairs = zip(streams, clips, strict=True)
        embeddings = np.stack([stream.push(clip, last=True)[0] for stream, clip in pairs])
        return torch.from_numpy(embeddings).to(audio.device)
