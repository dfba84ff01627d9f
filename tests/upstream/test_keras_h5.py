"""The Keras reader: layers in order, nothing from outside the file, nothing too large."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from listen_embed.errors import ConversionError
from listen_embed.upstream import keras_h5

from .seeded_l3 import seeded_layers, write_layers, write_seeded_l3

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
LAYERS = [("input_1", {}), ("b", {"kernel": ARRAY, "bias": ARRAY[0]}), ("a", {"gamma": ARRAY[1]})]


def refused(path: Path, words: str, **options: int) -> None:
    with pytest.raises(ConversionError, match=words):
        keras_h5.read_layers(path, **options)


@pytest.mark.parametrize("root", ["", "model_weights"])
@pytest.mark.parametrize("name", ["weights.h5", "weights.h5.gz"])
def test_layers_come_in_the_order_of_the_network(tmp_path: Path, name: str, root: str) -> None:
    layers = keras_h5.read_layers(write_layers(tmp_path / name, LAYERS, root=root))
    assert [layer.name for layer in layers] == ["b", "a"]
    assert list(layers[0].arrays) == ["kernel", "bias"]
    np.testing.assert_array_equal(layers[0].arrays["kernel"], ARRAY)
    np.testing.assert_array_equal(layers[1].arrays["gamma"], ARRAY[1])


def test_names_may_be_text_of_any_length(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "a.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ["b", "a"]
    assert [layer.name for layer in keras_h5.read_layers(path)] == ["b", "a"]


def test_arrays_become_float32(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "a.h5", [("a", {"kernel": ARRAY.astype(np.float64)})])
    (layer,) = keras_h5.read_layers(path)
    assert layer.arrays["kernel"].dtype == np.float32


def test_array_checks_kind_shape_and_values() -> None:
    layer = keras_h5.Layer("conv2d_3", {"kernel": ARRAY, "bias": np.array([np.inf], np.float32)})
    assert layer.array("kernel", (2, 3)) is ARRAY
    with pytest.raises(ConversionError, match="conv2d_3 holds kernel, bias, but no gamma"):
        layer.array("gamma", (1,))
    with pytest.raises(ConversionError, match=r"conv2d_3: kernel .* \(2, 3\), expected \(3, 2\)"):
        layer.array("kernel", (3, 2))
    with pytest.raises(ConversionError, match=r"conv2d_3: bias .* not finite"):
        layer.array("bias", (1,))


def test_seeded_files_have_the_layout_of_the_published_one(shared: Path) -> None:
    folder = shared / "weights-upstream" / "edgel3-sea64"
    published = keras_h5.read_layers(folder / "edgel3_sea_ust_audio_emb_64.h5.gz")
    seeded = [(name, arrays) for name, arrays in seeded_layers("sea_128") if arrays]
    assert [layer.name for layer in published] == [name for name, _ in seeded]
    for layer, (_, arrays) in zip(published, seeded, strict=True):
        assert list(layer.arrays) == list(arrays)
        assert [a.ndim for a in layer.arrays.values()] == [a.ndim for a in arrays.values()]


# -- hostile files -----------------------------------------------------------------------------


def test_gzip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5.gz"
    path.write_bytes(gzip.compress(bytes(20_000_000)))
    refused(path, "more than 1000000 bytes", max_bytes=1_000_000)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    whole = write_seeded_l3(tmp_path / "a.h5.gz", "tiny_openl3").read_bytes()
    (tmp_path / "cut.h5.gz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.h5.gz", r"cut\.h5\.gz cannot be read")
    (tmp_path / "cut.h5").write_bytes(gzip.decompress(whole)[:5000])
    refused(tmp_path / "cut.h5", r"cut\.h5 is not a readable HDF5 file")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"weights" * 99])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    refused(tmp_path / "a.h5", "not a readable HDF5 file")


def _external_link(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b/kernel:0"] = h5py.ExternalLink("other.h5", "/secret")


def _soft_link(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b/kernel:0"] = h5py.SoftLink("/b/b/bias:0")


def _linked_layer(file: Any) -> None:
    del file["b"]
    file["b"] = h5py.ExternalLink("other.h5", "/")


def _external_storage(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b"].create_dataset("kernel:0", (2, 3), "f4", external=[("secret.bin", 0, 24)])


def _virtual(file: Any) -> None:
    del file["b/b/kernel:0"]
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", (2, 3))
    file["b/b"].create_virtual_dataset("kernel:0", layout)


def _text(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b/kernel:0"] = np.array(["text"], h5py.string_dtype())


def _references(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b"].create_dataset("kernel:0", data=[file["a"].ref], dtype=h5py.ref_dtype)


def _huge(file: Any) -> None:
    del file["b/b/kernel:0"]  # nothing is stored, yet reading it would give 4 TB
    file["b/b"].create_dataset("kernel:0", (10**6, 10**6), "f4", chunks=(1000, 1000))


def _missing(file: Any) -> None:
    del file["b/b/kernel:0"]


def _group(file: Any) -> None:
    del file["b/b/kernel:0"]
    file["b/b"].create_group("kernel:0")


def _through_an_array(file: Any) -> None:
    file["b"].attrs["weight_names"] = [b"b/bias:0/kernel:0"]


def _upwards(file: Any) -> None:
    file["b"].attrs["weight_names"] = [b"../a/a/gamma:0"]


def _no_layers(file: Any) -> None:
    del file.attrs["layer_names"]


def _no_weights(file: Any) -> None:
    del file["a"].attrs["weight_names"]


def _many_names(file: Any) -> None:
    file.attrs["layer_names"] = np.full(5000, b"b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_external_link, "kernel:0 is a ExternalLink"),
        (_soft_link, "kernel:0 is a SoftLink"),
        (_linked_layer, "b is a ExternalLink"),
        (_external_storage, "in another file"),
        (_virtual, "in another file"),
        (_text, "not an array of floats"),
        (_references, "not an array of floats"),
        (_huge, "larger than is accepted"),
        (_missing, "kernel:0 is missing"),
        (_group, "not an array of floats"),
        (_through_an_array, "kernel:0 is missing"),
        (_upwards, "is missing"),
        (_no_layers, "no attribute layer_names"),
        (_no_weights, "/a has no attribute weight_names"),
        (_many_names, "layer_names is too long"),
    ],
)
def test_what_a_weights_file_never_holds(
    tmp_path: Path, change: Callable[[Any], None], words: str
) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = ARRAY
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    path = write_layers(tmp_path / "weights.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        change(file)
    refused(path, rf"weights\.h5: .*{words}")


def test_arrays_together_stay_below_the_limit(tmp_path: Path) -> None:
    layers = [("a", {f"k{i}": np.zeros(1000, np.float16) for i in range(9)})]
    path = write_layers(tmp_path / "a.h5", layers)
    size = path.stat().st_size
    assert keras_h5.read_layers(path, max_bytes=max(size, 36_000))
    refused(path, "larger than is accepted", max_bytes=max(size, 35_999))
