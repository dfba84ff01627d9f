"""A model folder that was damaged or exchanged is refused before it gives a wrong number."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder, ListenEmbedError, self_check
from listen_embed.errors import VerificationError

SHIPPED = Path(__file__).parents[1] / "weights" / "sea-32-nano"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of a shipped model, in a process that has met no golden vectors yet."""
    monkeypatch.setattr(self_check, "_met", set())
    shutil.copytree(SHIPPED, tmp_path / "nano")
    return tmp_path / "nano"


def edit(folder: Path, old: str, new: str) -> None:
    card = folder / "model.toml"
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new))


def digest_line(folder: Path) -> str:
    (line,) = (row for row in (folder / "model.toml").read_text().splitlines() if "sha256" in row)
    return line


def test_every_flipped_bit_of_a_tflite_is_refused(folder: Path, rng: np.random.Generator) -> None:
    model = folder / "model.tflite"
    whole = model.read_bytes()
    for bit in rng.choice(8 * len(whole), 500, replace=False):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        model.write_bytes(damaged)
        with pytest.raises(VerificationError, match=r"model\.tflite: not the file that its model"):
            Embedder(folder)
    model.write_bytes(whole)
    assert Embedder(folder).spec.name == "sea/32/nano"


def test_cut_and_longer_files_are_refused(folder: Path) -> None:
    whole = (folder / "model.tflite").read_bytes()
    for content in (b"", whole[:-1], whole + b"\0"):
        (folder / "model.tflite").write_bytes(content)
        with pytest.raises(VerificationError, match="Copy the folder again"):
            Embedder(folder)


def test_the_message_says_how_to_state_another_file(folder: Path) -> None:
    (folder / "golden.npz").unlink()
    shutil.copy(SHIPPED.parent / "sea-64-general" / "model.tflite", folder)
    with pytest.raises(VerificationError, match=r'state it: sha256 = "[0-9a-f]{64}"') as caught:
        Embedder(folder)
    edit(folder, digest_line(folder), str(caught.value).split("state it: ")[1])
    with pytest.raises(ListenEmbedError, match="the front end gives"):
        Embedder(folder)


def test_a_folder_that_states_no_digest_still_loads(folder: Path) -> None:
    edit(folder, digest_line(folder), "")
    assert Embedder(folder).digest == Embedder(SHIPPED).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [("f_max = 8000.0", "f_max = 4000.0"), ("shift = 4.5", "shift = 0.0")],
)
def test_another_front_end_does_not_meet_the_golden_vectors(
    folder: Path, old: str, new: str
) -> None:
    edit(folder, old, new)
    with pytest.raises(VerificationError, match=r"embeddings that golden\.npz promises"):
        Embedder(folder)


def test_other_weights_do_not_meet_the_golden_vectors(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["embedding"] = arrays["embedding"][::-1]
    np.savez_compressed(folder / "golden.npz", **arrays)
    with pytest.raises(VerificationError, match="promises"):
        Embedder(folder)


def test_a_model_is_asked_once_a_process(folder: Path) -> None:
    Embedder(folder)
    (folder / "golden.npz").write_bytes(b"damaged later")
    Embedder(folder)


def test_damaged_golden_vectors_are_an_error_or_harmless(
    folder: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (folder / "golden.npz").read_bytes()
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (folder / "golden.npz").write_bytes(damaged)
        monkeypatch.setattr(self_check, "_met", set())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Embedder(folder)
            except VerificationError as error:
                assert "golden.npz" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"audio": np.zeros((9, 2), np.int16)},
        {"audio": np.zeros(0, np.int16)},
        {"audio": np.zeros(9)},
        {"audio": np.zeros(1 << 19, np.int16)},
        {"embedding": np.full((1, 32), np.nan, np.float32)},
        {"embedding": np.zeros((1, 32))},
        {"sr": np.array([1, 2])},
        {"sr": np.array("fast")},
    ],
)
def test_golden_vectors_of_another_kind_are_refused(
    folder: Path, change: dict[str, np.ndarray]
) -> None:
    with np.load(folder / "golden.npz") as golden:
        np.savez_compressed(folder / "golden.npz", **dict(golden) | change)
    with pytest.raises(VerificationError, match=r"golden\.npz: cannot be read"):
        Embedder(folder)
