"""The wave encoder before it has seen a label: it learns to say what a teacher hears.

Teacher and wave encoder hear the same stretch, or two stretches at once; the target is the
teacher's last picture, column by column, so the encoder learns what sounds when. No label is
needed, only recordings.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from listen_embed import audio, npz
from listen_embed.atomic import replacing
from listen_embed.classify.bases import Base
from listen_embed.classify.mixing import companded, mixed_log_mels
from listen_embed.classify.network import N_JOINED, WaveEncoder
from listen_embed.errors import InputError
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.spec import WAVE_RATE
from listen_embed.training import timetable
from listen_embed.training.corpus import find_recordings
from listen_embed.training.distill import falling
from listen_embed.training.precision import autocast

SECONDS = 5.0
N_HELD_OUT = 64  # stretches that are only measured on


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the wave encoder learns.

    Parameters
    ----------
    epochs, batch : int
        Passes through all stretches; stretches in a step.
    learning_rate : float
        Its peak; it rises over the first 4 % of the run and falls as a cosine.
    mix : float
        Share of the stretches that a second one is added to.
    versions : int
        How often the stretches are mixed anew; the teacher hears each version once.
    seed : int
    """

    epochs: int = 12
    batch: int = 32
    learning_rate: float = 3e-3
    mix: float = 0.6
    versions: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Stretches:
    """What there is to learn from: the same sound as samples and as log-mels.

    Attributes
    ----------
    waves : ndarray, int16 (N, n)
        At 16 kHz.
    log_mels : ndarray, float16 (N, n_bands, n_steps)
        Of the teacher's front end.
    """

    waves: NDArray[np.int16]
    log_mels: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.waves)


def collect(
    recordings: Iterable[Path], base: Base, folder: Path, *, progress: timetable.Shown = True
) -> Stretches:
    """Decode recordings once into memory-mapped files of a folder; found there, they are taken."""
    waves_path, mels_path = folder / "waves.npy", folder / "log-mels.npy"
    if not mels_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _decode(find_recordings(recordings), base, waves_path, mels_path, progress)
    return Stretches(
        np.load(waves_path, mmap_mode="r", allow_pickle=False),
        np.load(mels_path, mmap_mode="r", allow_pickle=False),
    )


def _decode(
    paths: list[Path], base: Base, waves_path: Path, mels_path: Path, progress: timetable.Shown
) -> None:
    front_end = base.lasting(SECONDS)
    extractor = FeatureExtractor(front_end)
    waves, pictures = [], []
    for path in timetable.bar(progress, "decoding", iterable=paths, unit="file"):
        for sound in _stretches(path, front_end.sample_rate):
            extractor.reset()  # or it takes the columns of the stretch before
            pictures.append(
                extractor(Frames(sound, 0, [0], front_end.frame_samples)).astype(np.float16)
            )
            waves.append((_resampled(sound, front_end.sample_rate) * 32767).astype(np.int16))
    for target, arrays in ((waves_path, np.stack(waves)), (mels_path, np.concatenate(pictures))):
        with replacing(target) as file:
            np.save(file, arrays)


def _stretches(path: Path, rate: int) -> list[NDArray[np.float32]]:
    """Return a recording in equal stretches that cover it; a short one is repeated."""
    blocks = list(audio.read_blocks(path))
    converter = audio.rate_converter(blocks[0][1], rate, "soxr")
    sound = converter.push(np.concatenate([block for block, _ in blocks]), last=True)
    n = round(SECONDS * rate)
    if len(sound) < n:
        return [np.resize(sound, n)] if np.any(sound) else []
    starts = np.linspace(0, len(sound) - n, math.ceil(len(sound) / n - 0.2) or 1).astype(int)
    return [sound[start : start + n] for start in starts if np.any(sound[start : start + n])]


def _resampled(sound: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    n = round(len(sound) * WAVE_RATE / rate)
    found = audio.rate_converter(rate, WAVE_RATE, "soxr").push(sound, last=True)[:n]
    return np.pad(found.clip(-1, 1), (0, n - len(found)))


class Pupil(nn.Module):
    """A wave encoder, and a linear guess of the teacher's columns from its steps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = WaveEncoder()
        self.readout = nn.Linear(self.encoder.width, width)

    def forward(self, waves: Tensor, n_columns: int) -> Tensor:
        """Return (B, n_columns, width) of waveforms (B, n) companded."""
        steps = self.encoder(waves).transpose(1, 2)
        columns = nn.functional.adaptive_avg_pool1d(steps.float(), n_columns)
        return self.readout(columns.transpose(1, 2))  # type: ignore[no-any-return]


def pretrain(
    stretches: Stretches,
    base: Base,
    settings: Settings,
    folder: Path,
    *,
    progress: timetable.Shown = True,
) -> WaveEncoder:
    """Return a wave encoder taught by a base; a run that the folder holds is continued."""
    run = _Run(stretches, base, settings, folder)
    run.resume()
    bar = timetable.bar(
        progress, "wave encoder", total=settings.epochs, initial=run.epoch, unit="pass"
    )
    with bar:
        while run.epoch < settings.epochs:
            loss = run.learn()
            bar.write(f"pass {run.epoch}: loss {loss:.4f}, held out {run.measure():.4f}")
            bar.set_postfix(loss=f"{loss:.4f}", cosine=f"{run.measure():.4f}")
            run.save()
            bar.update()
    return run.averaged.encoder.eval()


@dataclass(frozen=True, slots=True)
class _Mix:
    """A batch: its stretches, and which of them are added to the first ones, how loudly."""

    rows: NDArray[np.intp]
    partners: NDArray[np.intp]
    gain: NDArray[np.float32]


class _Run:
    """All state of a pretraining."""

    def __init__(self, stretches: Stretches, base: Base, settings: Settings, folder: Path) -> None:
        least = N_HELD_OUT + settings.batch
        if len(stretches) < least:
            raise InputError(
                f"{len(stretches)} stretches of {SECONDS:g} s are too few; {least} are the least"
            )
        torch.manual_seed(settings.seed)
        self.stretches, self.settings = stretches, settings
        self.front_end = base.front_end
        # torch's own stubs know of this argument in some versions only.
        self.teacher = cast(Any, base.network.eval()).to(memory_format=torch.channels_last)
        self.pupil = Pupil(base.width)
        self.averaged = copy.deepcopy(self.pupil)
        self.optimizer = torch.optim.AdamW(
            self.pupil.parameters(), lr=settings.learning_rate, weight_decay=1e-3
        )
        self.epoch, self.step = 0, 0
        self._checkpoint = folder / "checkpoint.pt"
        self._scale = self._scale_of_targets()
        folder.mkdir(parents=True, exist_ok=True)

    def _scale_of_targets(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the teacher's channels."""
        columns = self._teach(self._log_mels(np.arange(N_HELD_OUT, min(512, len(self.stretches)))))
        flat = columns.flatten(0, 1)
        return flat.mean(0), flat.std(0) + 1e-3

    def _log_mels(self, rows: NDArray[np.intp]) -> Tensor:
        return torch.from_numpy(self.stretches.log_mels[rows].astype(np.float32))

    def _waves(self, rows: NDArray[np.intp]) -> Tensor:
        return torch.from_numpy(self.stretches.waves[rows].astype(np.float32) / 32768)

    @torch.no_grad()
    def _teach(self, log_mels: Tensor) -> Tensor:
        with autocast():
            given = log_mels[:, None].to(memory_format=torch.channels_last)
            return self.teacher(given).float()  # type: ignore[no-any-return]

    def _targets(self, log_mels: Tensor) -> Tensor:
        mean, deviation = self._scale
        return (self._teach(log_mels) - mean) / deviation

    def learn(self) -> float:
        """Take one pass's steps; return the mean loss."""
        version, batch = self.epoch % self.settings.versions, self.settings.batch
        rng = np.random.default_rng([self.settings.seed, version])
        order = N_HELD_OUT + rng.permutation(len(self.stretches) - N_HELD_OUT)
        n_steps = len(order) // batch
        plans = [
            self._plan(np.sort(order[i * batch : (i + 1) * batch]), rng) for i in range(n_steps)
        ]
        targets = self._targets_of(version, plans)
        losses = []
        self.pupil.train()
        turns = np.random.default_rng([self.settings.seed, self.epoch, 1]).permutation(n_steps)
        for i in turns:
            self._set_rate(n_steps * self.settings.epochs)
            wanted = torch.from_numpy(targets[i].astype(np.float32))
            losses.append(self._step(self._mixed_waves(plans[i]), wanted))
        self.epoch += 1
        return float(np.mean(losses))

    def _targets_of(self, version: int, plans: list[_Mix]) -> NDArray[np.float16]:
        """Return what the teacher hears in every batch of a version; heard once, kept on disk."""
        path = self._checkpoint.with_name(f"targets-{version}.npy")
        if not path.exists():
            heard = [self._targets(self._mixed_mels(plan)).numpy() for plan in plans]
            with replacing(path) as file:
                np.save(file, np.stack(heard).astype(np.float16))
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    def _step(self, waves: Tensor, targets: Tensor) -> float:
        with autocast():
            given = self.pupil(waves, targets.shape[1])
        loss = _loss(given.float(), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.pupil.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return loss.item()

    def _plan(self, rows: NDArray[np.intp], rng: np.random.Generator) -> _Mix:
        n_mixed = round(len(rows) * self.settings.mix)
        gain = 10 ** (rng.uniform(-20, 5, n_mixed) / 20)
        return _Mix(rows, rng.permutation(len(rows))[:n_mixed], gain.astype(np.float32))

    def _gain(self, plan: _Mix, waves: Tensor) -> Tensor:
        """Return the factors of the second sounds, which set them to levels below the first."""
        levels = waves.pow(2).mean(1).sqrt().clamp(min=1e-4)
        of_first = levels[: len(plan.partners)]
        return torch.from_numpy(plan.gain) * of_first / levels[plan.partners]

    def _mixed_waves(self, plan: _Mix) -> Tensor:
        waves = self._waves(plan.rows)
        added = self._gain(plan, waves)[:, None] * waves[plan.partners]
        return companded(torch.cat([waves[: len(added)] + added, waves[len(added) :]]))

    def _mixed_mels(self, plan: _Mix) -> Tensor:
        gain = self._gain(plan, self._waves(plan.rows))
        mels, n = self._log_mels(plan.rows), len(plan.partners)
        first = mixed_log_mels(mels[:n], mels[plan.partners], gain, self.front_end)
        return torch.cat([first, mels[n:]])

    def _set_rate(self, total_steps: int) -> None:
        rising = min(1.0, (self.step + 1) / max(1, total_steps // 25))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rising * falling(self.step / total_steps)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.998, (1 + self.step) / (10 + self.step))
        pairs = zip(
            self.averaged.state_dict().values(), self.pupil.state_dict().values(), strict=True
        )
        for slow, fast in pairs:
            if slow.is_floating_point():
                slow.lerp_(fast, 1 - keep)
            else:
                slow.copy_(fast)

    @torch.no_grad()
    def measure(self) -> float:
        """Return the mean cosine of guess and target on what is held out."""
        rows = np.arange(min(N_HELD_OUT, len(self.stretches)))
        targets = self._targets(self._log_mels(rows))
        with autocast():
            given = self.averaged.eval()(companded(self._waves(rows)), targets.shape[1])
        return float(torch.cosine_similarity(given.float(), targets, dim=2).mean())

    def save(self) -> None:
        state = {
            "pupil": self.pupil.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "settings": asdict(self.settings),
        }
        with replacing(self._checkpoint) as file:
            torch.save(state, file)

    def resume(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise InputError(
                f"{self._checkpoint.parent} holds a run with other settings "
                f"({state['settings']}); continue with those, or choose another folder"
            )
        self.pupil.load_state_dict(state["pupil"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]


def _loss(given: Tensor, targets: Tensor) -> Tensor:
    angle = 1 - torch.cosine_similarity(given, targets, dim=2).mean()
    whole = (given.mean(1) - targets.mean(1)).pow(2).mean()
    return (given - targets).pow(2).mean() + angle + whole


WEIGHTS = Path(__file__).with_name("wave_encoder.npz")
_MAX_WEIGHTS_BYTES = 1 << 22


def initial(seed: int, learns: bool) -> WaveEncoder:
    """Return what a classifier's wave encoder starts from: what the package brings, if anything.

    Raises
    ------
    InputError
        It brings none, and the encoder shall stay as it is.
    """
    if WEIGHTS.is_file() or not learns:
        return pretrained()
    torch.manual_seed(seed)
    return WaveEncoder(n_joined=N_JOINED)


def pretrained() -> WaveEncoder:
    """Return the wave encoder that this package brings, in evaluation.

    Its weights are int8 per output channel, as in the .tflite that they end in.

    Raises
    ------
    InputError
        It brings none.
    """
    if not WEIGHTS.is_file():
        raise InputError(
            "no pretrained wave encoder comes along; let it learn (--wave trained), or make one "
            "with recipes/wave_encoder.py"
        )
    arrays = npz.read(WEIGHTS, _MAX_WEIGHTS_BYTES)
    encoder = WaveEncoder(n_joined=N_JOINED)
    state = encoder.state_dict()
    for name, target in state.items():
        if name in arrays:
            scale = arrays.get(f"{name}/scale")
            values = torch.from_numpy(arrays[name].astype(np.float32))
            state[name] = values if scale is None else values * torch.from_numpy(scale.copy())
        else:
            state[name] = torch.zeros_like(target)
    encoder.load_state_dict(state)
    return encoder.eval()


def save(encoder: WaveEncoder, path: Path) -> None:
    """Write a wave encoder's weights, int8 per output channel, as `pretrained` reads them."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, values in encoder.state_dict().items():
        if values.ndim > 1:
            shape = (-1, *[1] * (values.ndim - 1))
            scale = (values.flatten(1).abs().amax(1) / 127).clamp(min=1e-12).reshape(shape)
            arrays[name] = (values / scale).round().to(torch.int8).numpy()
            arrays[f"{name}/scale"] = scale.numpy()
        elif values.is_floating_point():
            arrays[name] = values.numpy()
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
