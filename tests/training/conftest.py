"""Tiny students, their .tflite files and a model folder, made once for all that look at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from listen_embed.training.network import Student
    from listen_embed.training.specialize import Options

from .sounds import write

SHAPE = (24, 18)


@dataclass(frozen=True)
class Exported:
    """A student and what the converters made of it, before and after slimming."""

    student: Student
    features: NDArray[np.float32]
    raw_float: bytes
    float_model: bytes
    raw_int8: bytes
    int8_model: bytes


@pytest.fixture(scope="session")
def features() -> NDArray[np.float32]:
    """Return log-mels that look like log-mels: smooth, of different levels."""
    rng = np.random.default_rng(5)
    smooth = rng.standard_normal((32, *SHAPE)).cumsum(1).cumsum(2)
    smooth -= smooth.mean((1, 2), keepdims=True)
    level = rng.uniform(-1, 1, (32, 1, 1))
    noise = 0.3 * rng.standard_normal((32, *SHAPE))
    return (smooth / smooth.std((1, 2), keepdims=True) + level + noise).astype(np.float32)


@pytest.fixture(scope="session")
def student_of(features: NDArray[np.float32]) -> Callable[..., Student]:
    """Build a student with seeded weights and the batch-norm statistics of real inputs."""
    import torch

    from listen_embed.training.network import Architecture, Student

    def build(architecture: Architecture, seed: int = 0) -> Student:
        torch.manual_seed(seed)
        student = Student(architecture)
        with torch.no_grad():
            for _ in range(30):
                student(torch.from_numpy(features)[:, None])
        return student.eval()

    return build


@pytest.fixture(scope="session")
def architectures() -> dict[str, Any]:
    """Return one plain architecture, and one with all that the family has."""
    from listen_embed.training.network import Architecture, Block, grown

    excited = (
        Block(3, 1, 16, 16, 0, "relu", expands=False),
        Block(5, 2, 40, 24, 8, "relu6"),
        Block(3, 1, 48, 24, 16, "hardswish"),
    )
    return {"plain": grown(0.5, 12), "excited": Architecture(16, excited, 48, 0)}


@pytest.fixture(scope="session")
def exported(
    student_of: Callable[..., Student],
    architectures: dict[str, Any],
    features: NDArray[np.float32],
) -> Callable[[str], Exported]:
    """Convert a student of `architectures`, once in a session: it takes seconds."""
    from listen_embed.training import convert
    from listen_embed.training.quantize import folded

    made: dict[str, Exported] = {}

    def export(name: str) -> Exported:
        if name not in made:
            student = student_of(architectures[name])
            with pytest.MonkeyPatch.context() as patch:
                slimmed = convert.slimmed
                patch.setattr(convert, "slimmed", lambda model: model)
                raw_float = convert.to_float(folded(student), SHAPE)
                raw_int8 = convert.to_int8(slimmed(raw_float), features)
            made[name] = Exported(
                student, features, raw_float, slimmed(raw_float), raw_int8, slimmed(raw_int8)
            )
        return made[name]

    return export


@dataclass(frozen=True)
class Specialised:
    """A model folder of a few machines, what stands beside it, and how it was made."""

    recordings: Path
    folder: Path
    work: Path
    options: Options


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings: five machines of nine seconds, a broken file, and a note."""
    from listen_embed.training.synthesis import machine

    folder = tmp_path_factory.mktemp("machines")
    for seed in range(5):
        sound = machine(9 * 16_000, 16_000, np.random.default_rng(seed)).clip(-1, 1)
        write(folder / f"shift {seed % 2}" / f"{seed}.wav", sound, 16_000)
    (folder / "broken.flac").write_bytes(b"fLaC and nothing more")
    (folder / "notes.txt").write_text("hall 3")
    return folder


@pytest.fixture(scope="session")
def specialised(machines: Path, tmp_path_factory: pytest.TempPathFactory) -> Specialised:
    """Make a model of `machines` as a user would, with little training: it takes seconds."""
    pytest.importorskip("litert_torch", reason="the training room needs its extra")
    from listen_embed.training.specialize import Options, specialize

    options = Options(
        teachers=("logmel/128/16k",),
        emb_dim=16,
        budget_bytes=40_000,
        n_shards=2,
        shard_size=1024,
        learning_rate=1e-2,
        int8_shards=1,
        student="grown",
        passes=1,
        workers=0,
        keep=True,
        licence='CC BY 4.0, \\ "hall 3" \N{FACTORY}',
    )
    out = tmp_path_factory.mktemp("specialised") / "machines"
    folder = specialize([machines], out, options, progress=False)
    (work,) = out.with_name("machines.work").iterdir()
    return Specialised(machines, folder, work, options)
