"""The registry: which model a request means, and what is said when none does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry
from listen_embed.errors import InputError, ModelNotFoundError
from listen_embed.spec import ModelSpec

VARIANTS = ["53.5", "63.5", "72.3", "87.0", "95.45"]
PROMISED = {
    "teacher/384/mn04",
    "teacher/1024/yamnet",
    *(
        f"teacher/{dim}/l3-{content}-{picture}"
        for dim in (512, 6144)
        for content in ("env", "music")
        for picture in ("mel256", "mel128", "linear")
    ),
    *(f"pruned/512/{kind}-{sparsity}" for kind in ("ft", "kd") for sparsity in VARIANTS),
    *(f"sea/{dim}/sonyc-ust" for dim in (64, 128, 256, 512)),
    "listen/64/cnc",
    "logmel/128/16k",
    "logmel/256/48k",
}


def test_every_promised_model_is_there_once() -> None:
    names = [spec.name for spec in registry.models()]
    assert len(names) == len(set(names))
    assert set(names) >= PROMISED


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (("sea", 64, "sonyc-ust"), "sea/64/sonyc-ust"),
        (("sea/64/sonyc-ust",), "sea/64/sonyc-ust"),
        (("sea/sonyc-ust/64",), "sea/64/sonyc-ust"),
        (("sea/64", None, "sonyc-ust"), "sea/64/sonyc-ust"),
        (("sea/64", 64, "sonyc-ust"), "sea/64/sonyc-ust"),
        (("sea", np.int64(64), "sonyc-ust"), "sea/64/sonyc-ust"),
        (("teacher",), "teacher/384/mn04"),
        (("mn04",), "teacher/384/mn04"),
        (("yamnet",), "teacher/1024/yamnet"),
        (("teacher", 512), "teacher/512/l3-env-mel256"),
        (("teacher", 6144), "teacher/6144/l3-env-mel256"),
        (("l3-music-linear", 6144), "teacher/6144/l3-music-linear"),
        (("pruned",), "pruned/384/mn04"),
        (("sparse",), "pruned/512/ft-95.45"),
        (("sparse/512/kd-87.0",), "pruned/512/kd-87.0"),
        (("sparse", None, "ft-53.5"), "pruned/512/ft-53.5"),
        (("listen",), "listen/64/workshop"),
        (("logmel",), "logmel/128/16k"),
        (("logmel", 256), "logmel/256/48k"),
        ((None, None, "cnc"), "listen/64/cnc"),
        ((None, 1024), "teacher/1024/yamnet"),
    ],
)
def test_a_request_means_one_model(request_: tuple[Any, ...], name: str) -> None:
    assert registry.find(*request_).name == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"retrain_type": "kd", "sparsity": 87.0}, '"sparse", variant="kd-87.0"'),
        ({"input_repr": "linear", "content_type": "env"}, '6144, variant="l3-env-linear"'),
        ({"embedding_size": 512}, '"teacher", 512, variant="l3-music-mel256"'),
        ({"model": object()}, "Embedder"),
        ({"colour": 1}, "unknown argument colour"),
    ],
)
def test_arguments_of_edgel3_and_openl3_are_answered(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        registry.check_foreign(arguments)
    registry.check_foreign({})


def test_openl3_is_no_type_but_there_is_an_answer() -> None:
    with pytest.raises(ModelNotFoundError, match=re.escape('"teacher", 512')):
        registry.find("openl3")


def test_without_the_weights_the_default_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_shipped", tuple)
    with pytest.raises(ModelNotFoundError, match=r"lacks the package listen_embed\.weights"):
        registry.find()


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_model_is_found_by_its_name_and_by_its_parts(name: str) -> None:
    model_type, emb_dim, variant = name.split("/")
    assert registry.find(name).name == name
    assert registry.find(model_type, int(emb_dim), variant).name == name


def test_the_default_needs_no_network() -> None:
    default = registry.find()
    assert default.download is None
    if not any(spec.file for spec in registry.models()):
        assert default.name == "logmel/128/16k"


def test_every_type_and_width_has_one_default() -> None:
    """Two models of equal rank would be told apart by their order in a file."""
    kinds = {(spec.model_type, spec.emb_dim) for spec in registry.models()}
    for kind in [*kinds, *((model_type, None) for model_type, _ in kinds)]:
        fitting = [
            spec
            for spec in registry.models()
            if spec.model_type == kind[0] and kind[1] in (None, spec.emb_dim)
        ]
        best = max(spec.default for spec in fitting)
        winners = [spec for spec in fitting if spec.default == best]
        assert len({(spec.variant, spec.model_type) for spec in winners}) == 1, kind


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (("sea", 65), ["emb_dim=65", "sea/64/sonyc-ust", "sea/512/sonyc-ust"]),
        (("sea", 0), ["emb_dim=0"]),
        (("sea/0",), ["emb_dim=0"]),
        (("logmel", 300), ["logmel/128/16k, logmel/256/48k"]),
        (("pruned", None, "ft-95"), ["Closest: pruned/512/ft-95.45"]),
        (("logmal",), ["Closest: logmel.", "listen, logmel, pruned", "alias sparse"]),
        (("SEA",), ["Closest: sea."]),
        (("teacher/512/mn04",), ["Closest: teacher/384/mn04"]),
        (("sea", 64, "sonyc"), ["Closest: sea/64/sonyc-ust"]),
        ((None, 7), ["emb_dim=7"]),
        (("x" * 5000,), ["model types are"]),
        (("sea\0",), ["Closest: sea."]),
    ],
)
def test_a_miss_lists_what_exists_and_the_closest(
    request_: tuple[Any, ...], said: list[str]
) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        registry.find(*request_)
    assert isinstance(caught.value, LookupError)
    for part in [*said, "listen-embed models"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "request_",
    [
        (5,),
        ("",),
        (b"sea",),
        ("sea", "64"),
        ("sea", 64.0),
        ("sea", True),
        ("sea", 64, 3),
        ("sea/64", 128),
        ("sea/64/sonyc-ust", None, "other"),
        ("sea/64/128",),
    ],
)
def test_what_is_no_request_is_refused(request_: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        registry.find(*request_)


# ---- model folders ---------------------------------------------------------------------------

CARD = """
[model]
model_type = "mine"
emb_dim = 12
variant = "pump"
licence = "MIT"
file = "model.tflite"
macs = 1000

[front_end]
sample_rate = 16000
frame_samples = 16000
n_fft = 1024
window_samples = 1024
hop_samples = 320
n_mels = 64
f_max = 8000.0
log_floor = 1e-10
"""


def write_card(folder: Path, text: str = CARD) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / registry.CARD).write_text(text)
    return folder


def check(spec: ModelSpec, folder: Path) -> None:
    assert spec.name == "mine/12/pump"
    assert spec.file == folder / "model.tflite"
    assert spec.macs == 1000
    expected = dataclasses.replace(registry.find("logmel/128/16k").front_end)
    assert spec.front_end == expected


def test_a_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_card(tmp_path / "pump")
    check(registry.load_folder(folder), folder)
    check(registry.find(folder), folder)  # type: ignore[arg-type]
    check(registry.find(str(folder), 12, "pump"), folder)
    monkeypatch.chdir(tmp_path)
    check(registry.find("pump"), Path("pump"))
    check(registry.find("./pump"), Path("pump"))
    monkeypatch.setenv("HOME", str(tmp_path))
    check(registry.find("~/pump"), folder)


def test_a_folder_that_is_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_card(tmp_path / "pump")
    with pytest.raises(ModelNotFoundError, match=r"holds mine/12/pump, not emb_dim=13"):
        registry.find(str(folder), 13)


@pytest.mark.parametrize("path", [".", "/nowhere/at/all", "~/no", "~nobody-here/no", "./no"])
def test_a_folder_without_a_card_is_no_model(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"is no model folder: it has no model\.toml"):
        registry.find(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('file = "model.tflite"', 'file = "../model.tflite"'),
        ('file = "model.tflite"', 'file = "/etc/passwd"'),
        ('file = "model.tflite"', 'file = ".."'),
        ('file = "model.tflite"', 'file = ""'),
        ('file = "model.tflite"', ""),
        ("emb_dim = 12", 'emb_dim = "12"'),
        ("emb_dim = 12", "emb_dim = 0"),
        ("emb_dim = 12", "width = 12"),
        ("macs = 1000", 'sha256 = "beef"'),
        ("macs = 1000", "sha256 = 7"),
        ("[model]", "[[model]]"),
        ("[model]", "[modell]"),
        ("[front_end]", "[frontend]"),
        ("[front_end]", "[[front_end]]"),
        ("n_mels = 64", "n_mels = -64"),
        ("n_mels = 64", "mels = 64"),
        ("f_max = 8000.0", "f_max = nan"),
        ("licence", "\0"),
        ("[model]", "[model"),
    ],
)
def test_a_wrong_card_is_refused_by_its_name(tmp_path: Path, old: str, new: str) -> None:
    folder = write_card(tmp_path / "pump", CARD.replace(old, new))
    with pytest.raises(InputError) as caught:
        registry.load_folder(folder)
    assert str(caught.value).startswith(f"{folder / registry.CARD}: ")
    assert str(caught.value).count(str(folder)) == 1


def test_a_card_that_is_no_text_or_endless_is_refused(tmp_path: Path) -> None:
    folder = write_card(tmp_path / "pump")
    (folder / registry.CARD).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid TOML"):
        registry.load_folder(folder)
    (folder / registry.CARD).write_bytes(b"# padding\n" * 200_000)
    with pytest.raises(InputError, match="larger than"):
        registry.load_folder(folder)
