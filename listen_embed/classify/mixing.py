"""Two sounds at once, from what is cached of each: waveforms add, and so do their powers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from listen_embed.frontend import HEADROOM, LEAST_RMS, MU
from listen_embed.spec import FrontEnd


def companded(wave: Tensor) -> Tensor:
    """Return waveforms (B, n) of any level as the wave encoder hears them, in [-1, 1].

    See `listen_embed.frontend.companded`, which this repeats for tensors.
    """
    rms = wave.pow(2).mean(-1, keepdim=True).sqrt().clamp(min=LEAST_RMS)
    loud = (wave / (rms * HEADROOM)).clamp(-1, 1)
    return loud.sign() * torch.log1p(MU * loud.abs()) / math.log1p(MU)


def mixed_log_mels(one: Tensor, other: Tensor, gain: Tensor, front_end: FrontEnd) -> Tensor:
    """Return log-mels of ``one + gain * other``, as if the two sounds had no phase in common.

    Parameters
    ----------
    one, other : Tensor, (B, n_bands, n_steps)
        Log-mels of a front end.
    gain : Tensor, (B,)
        Factor of the other sound's samples.
    front_end : FrontEnd
    """
    to_ln = math.log(10) / 10 if front_end.log == "db" else 1.0
    if front_end.power == 1 or front_end.mel_root:  # what adds is the square of a magnitude
        to_ln *= 2
    factor = to_ln / front_end.scale
    shifted = other * factor + 2 * gain.log()[:, None, None]
    return torch.logaddexp(one * factor, shifted) / factor
