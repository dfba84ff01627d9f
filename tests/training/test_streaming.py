"""The student that streams: step by step it is what it was trained as, and it forgets."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

import torch
from torch import Tensor

from listen_embed import Embedder
from listen_embed.device import Options, check, export_c
from listen_embed.device.nearness import NEAR
from listen_embed.framing import Frames
from listen_embed.frontend import FeatureExtractor
from listen_embed.runtime import Network
from listen_embed.spec import ModelSpec
from listen_embed.training import convert, quantize
from listen_embed.training.distill import Settings, distil, evaluate
from listen_embed.training.export import Identity, Trained, write_folder
from listen_embed.training.network import Architecture, Block, Student
from listen_embed.training.reduction import keep_all
from listen_embed.training.shards import Shard, Trailing
from listen_embed.training.starts import MN04_FRONT_END
from listen_embed.training.streaming import Stepping, Streamer

from ..delegate import outside_delegate

STEPPING = Stepping(columns=5, window=8, seconds=0.1, every=3)
BLOCKS = (
    Block(3, 2, 8, 8, 4, "relu", expands=False),
    Block(3, 2, 16, 8, 8, "hardswish"),
    Block(3, 1, 12, 8, 0, "hardswish"),
)
N_BANDS, N_STEPS, EMB_DIM = 16, 53, 6  # of such crops, ten steps


def streamer(settled: int = 0) -> Streamer:
    torch.manual_seed(0)
    student = quantize.folded(Student(Architecture(8, BLOCKS, 12, EMB_DIM)).eval())
    assert isinstance(student, Student)
    for module in student.modules():  # the sixths that folding took out
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data.mul_(2)
    return Streamer(student, STEPPING, cells=5, emb_dim=EMB_DIM, settled=settled).eval()


def crops(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, N_BANDS, N_STEPS, generator=generator)


@torch.no_grad()
def stepped(student: Streamer, crop: Tensor) -> Tensor:
    state = [torch.zeros(1, n) for n in student.state_sizes]
    embeddings = []
    for window in STEPPING.windows(crop[None])[0]:
        embedding, *state = student.step(window[None, None], *state)
        embeddings.append(embedding)
    return torch.cat(embeddings)


def test_steps_are_the_columns_in_order() -> None:
    counted = torch.arange(N_STEPS, dtype=torch.float32).expand(1, 1, N_BANDS, N_STEPS)
    windows = STEPPING.windows(counted)
    assert windows.shape == (1, 10, N_BANDS, 8)
    assert windows[0, 3, 0].tolist() == list(range(15, 23))


@pytest.mark.parametrize("is_bounded", [False, True])
@torch.no_grad()
def test_step_by_step_it_is_what_whole_crops_give(is_bounded: bool) -> None:
    student, given = streamer(), crops(2)
    if is_bounded:
        student.bound()
    wanted = student(given)
    assert wanted.shape == (2, 5, EMB_DIM)  # after steps 1, 4, 7, 10, and the mean
    for crop, of_crop in zip(given, wanted, strict=True):
        steps = stepped(student, crop)
        torch.testing.assert_close(steps[0::3], of_crop[:-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(steps.mean(0), of_crop[-1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_nothing_looks_ahead() -> None:
    student, (crop,) = streamer(), crops(1)
    other = crop.clone()
    other[..., 5 * 4 + 8 :] = 9.0  # columns that the first five steps do not see
    one, two = stepped(student, crop), stepped(student, other)
    torch.testing.assert_close(one[:5], two[:5], atol=0, rtol=0)
    assert (one[5:] - two[5:]).abs().max() > 1e-3


@torch.no_grad()
def test_a_bounded_student_forgets_what_it_heard() -> None:
    student = streamer()
    student.to_cells.weight.mul_(1000)
    student.to_keep.bias.fill_(4.0)  # cells that are nearly sums
    (then,), pasts = crops(1, 7).repeat(1, 1, 1, 5), crops(2, 8)

    def apart() -> float:
        heard = [stepped(student, torch.cat([past[..., :50], then], dim=-1))[-1] for past in pasts]
        return float((heard[0] - heard[1]).abs().max())

    unbounded = apart()
    student.bound()
    assert apart() < 0.1 * unbounded
    assert unbounded > 1e-4  # far above rounding


def test_settled_blocks_do_not_learn() -> None:
    student = streamer(settled=2)
    learning = {name for name, p in student.named_parameters() if p.requires_grad}
    assert not any(
        name.startswith(("ears.stem", "ears.blocks.0", "ears.blocks.1")) for name in learning
    )
    assert any(name.startswith("ears.blocks.2") for name in learning)


def test_it_learns_through_the_common_loop(tmp_path: Path) -> None:
    student, given = streamer(), crops(24, 3)
    targets = given[:, 0].mean(2)[:, None, :EMB_DIM].repeat(1, 5, 1).numpy()
    shard = Shard((given[:, 0].numpy().astype(np.float16),), targets)
    settings = Settings(n_shards=24, batch=4, learning_rate=1e-2, average=0.5)
    before, _ = evaluate(student, shard.features[0], targets)
    taught, _ = distil(
        student, lambda first: [shard] * (24 - first), shard, keep_all(targets[0]), settings,
        tmp_path, progress=False,
    )  # fmt: skip
    after, _ = evaluate(taught, shard.features[0], targets)
    assert after < 0.9 * before


# -- as files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> tuple[Streamer, bytes, bytes]:
    student = streamer()
    step = convert.to_float_step(student, (N_BANDS, STEPPING.window))
    return student, step, convert.to_int8_weights(step)


def test_the_file_does_what_the_student_does(made: tuple[Streamer, bytes, bytes]) -> None:
    student, exact, rounded = made
    (crop,) = crops(1, 5)
    wanted = stepped(student, crop).numpy()
    windows = STEPPING.windows(crop[None])[0].numpy()
    for content, tolerance in ((exact, 1e-5), (rounded, 0.05)):
        network = Network(content, state=student.state_names)
        assert network.state_bytes == 4 * sum(student.state_sizes)
        assert outside_delegate(content) == []
        found = network(windows)
        assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()
        run = network.start()
        in_pieces = np.concatenate([run(windows[:1]), run(windows[1:8]), run(windows[8:])])
        np.testing.assert_array_equal(in_pieces, found)


def test_its_folder_is_a_model_that_streams(
    made: tuple[Streamer, bytes, bytes], tmp_path: Path
) -> None:
    student, exact, rounded = made
    hears = replace(STEPPING.front_end(MN04_FRONT_END), n_mels=N_BANDS)
    identity = Identity(
        model_type="own", emb_dim=EMB_DIM, variant="x", licence="MIT", source="a test"
    )
    trained = Trained(exact, rounded, STEPPING, student.state_names)
    write_folder(tmp_path / "model", identity, hears, trained)
    embedder = Embedder(tmp_path / "model")
    assert embedder.spec.streams
    assert embedder.spec.step_samples == 5 * hears.hop_samples
    assert (tmp_path / "model" / "c" / "src" / "listen_model.h").is_file()


@pytest.mark.parametrize("weights", ["float", "int8"])
def test_its_c_streams_as_it_does(
    weights: str, made: tuple[Streamer, bytes, bytes], tmp_path: Path
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    student, exact, rounded = made
    model = {"float": exact, "int8": rounded}[weights]
    hears = replace(STEPPING.front_end(MN04_FRONT_END), n_mels=N_BANDS)
    spec = ModelSpec(
        model_type="own", emb_dim=EMB_DIM, variant="x", front_end=hears, licence="MIT",
        step_samples=5 * hears.hop_samples, state=student.state_names,
    )  # fmt: skip
    export_c(spec, tmp_path / "c", model=model)
    program = check.build_for_host(tmp_path / "c", tmp_path)
    sound = check.check_sound(spec, spec.step_samples, Options(), 12)
    given = check.run_on_host(program, sound, spec, model)
    pictures = check.pictures_of(sound, spec, model, spec.step_samples)
    assert given.embeddings.shape == (12, EMB_DIM)
    assert check.nearness_of(given, pictures, spec, model).embeddings < NEAR


def test_targets_trail() -> None:
    stretches = Trailing(seconds=2.0, every=0.5).stretches(500, 100.0)
    assert [(s.start, s.stop) for s in stretches[:6]] == [
        (0, 50), (0, 100), (0, 150), (0, 200), (50, 250), (100, 300),
    ]  # fmt: skip
    assert (stretches[-2], stretches[-1]) == (slice(300, 500), slice(0, 500))


def test_the_frame_of_a_step_is_its_window() -> None:
    hears = STEPPING.front_end(MN04_FRONT_END)
    signal = np.zeros(hears.frame_samples, np.float32)
    picture = FeatureExtractor(hears)(Frames(signal, 0, [0], hears.frame_samples))
    assert picture.shape == (1, hears.n_mels, STEPPING.window)
