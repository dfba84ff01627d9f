"""The wave encoder that `listen-embed classify train --method lean` starts from: mn04 teaches it.

    python recipes/wave_encoder.py RECORDINGS... --run FOLDER [--passes N] [--stretches N]

RECORDINGS are openly licensed and unlabelled. The run can be stopped; the same command goes on.
Writes listen_embed/classify/wave_encoder.npz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from listen_embed.classify import bases, wave
from listen_embed.training.starts import TEACHER


def some_of(stretches: wave.Stretches, n_stretches: int) -> wave.Stretches:
    """Return stretches drawn from all recordings, held in memory; 0 takes all."""
    order = np.random.default_rng(0).permutation(len(stretches))
    rows = np.sort(order[: n_stretches or None])
    held_out = np.sort(order[: wave.N_HELD_OUT])  # of any recording, not of the first ones
    rows = np.concatenate([held_out, np.setdiff1d(rows, held_out)])
    return wave.Stretches(stretches.waves[rows], stretches.log_mels[rows])


def main() -> None:
    """Make the encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--passes", type=int, default=12)
    parser.add_argument("--stretches", type=int, default=0, help="of five seconds; 0 for all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    teacher = bases.of_model(TEACHER)
    found = wave.collect(args.recordings, teacher, args.run / "data")
    settings = wave.Settings(epochs=args.passes)
    encoder = wave.pretrain(
        some_of(found, args.stretches), teacher, settings, args.run / "training"
    )
    wave.save(encoder, wave.WEIGHTS)
    print(f"{wave.WEIGHTS}: {wave.WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
