"""The C files: compiled and run, they give the .tflite's bytes and the front end's numbers."""

from __future__ import annotations

import dataclasses
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the training room needs its extra")

from listen_embed import registry
from listen_embed.errors import ConversionError, InputError
from listen_embed.graph import macs, peak_bytes
from listen_embed.spec import FrontEnd, ModelSpec
from listen_embed.training import c_export

from .graphs import as_int8, changed, one

FRONT_END = FrontEnd(
    sample_rate=8000,
    frame_samples=4000,
    n_fft=256,
    window_samples=200,
    hop_samples=1000,
    padding="reflect",
    n_mels=6,
    f_min=50,
    f_max=4000.0,
    log="ln",
    log_offset=3e-7,
    dynamic_range=80.0,
    shift=-4.5,
    scale=1 / 3,
)
SPEC = ModelSpec(
    model_type="own",
    emb_dim=3,
    variant="tiny",
    front_end=FRONT_END,
    licence="CC-BY-4.0",
    source='Müller *, "x" */ #error ??/ //\n\\',
)
SHAPE = (1, *FRONT_END.input_shape, 1)


def network(graph: Any, x: Any) -> Any:
    y = graph.conv2d(x, np.ones((3, 3, 3, 1)), np.zeros(3), activation="relu")
    return graph.fully_connected(graph.mean(y, [1, 2]), np.eye(3), np.arange(3))


MODEL = as_int8(one(SHAPE, network), scale=0.1 / 3, zero_point=-3)


def compiled(folder: Path, main: str, *, name: str = "model", compiler: str = "gcc") -> bytes:
    """Compile the exported files with a main program, and return what that prints."""
    is_cpp = compiler == "g++"
    source = folder / ("main.cpp" if is_cpp else "main.c")
    source.write_text(main)
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    with_c = ["gcc", "-std=c99", *flags, "-c", str(folder / f"{name}.c"), "-o", f"{folder}/data.o"]
    standard = "-std=c++17" if is_cpp else "-std=c99"
    link = [compiler, standard, *flags, str(source), f"{folder}/data.o", "-o", f"{folder}/program"]
    for command in (with_c, link):
        subprocess.run(command, check=True, timeout=60)
    return subprocess.run([folder / "program"], check=True, capture_output=True, timeout=20).stdout


PRINT_BYTES = """
#include <stdio.h>
#include "{name}.h"
int main(void) {{
    if ((size_t){name}_data % 16 != 0) return 1;
    return fwrite({name}_data, 1, {prefix}_SIZE_BYTES, stdout) != {prefix}_SIZE_BYTES;
}}
"""


@pytest.mark.parametrize("name", ["model", "Pump_7"])
def test_compiled_bytes_are_the_models(tmp_path: Path, name: str) -> None:
    header, source = c_export.write_c(MODEL, SPEC, tmp_path / "made", name)
    assert (header.name, source.name) == (f"{name}.h", f"{name}.c")
    assert sorted(path.name for path in header.parent.iterdir()) == [source.name, header.name]
    main = PRINT_BYTES.format(name=name, prefix=name.upper())
    assert compiled(header.parent, main, name=name) == MODEL


def test_a_genuine_students_file_compiles(exported: Any, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="the training room needs its extra")
    front_end = FrontEnd(
        sample_rate=8000,
        frame_samples=18 * 256,
        n_fft=256,
        window_samples=256,
        hop_samples=256,
        n_mels=24,
        f_max=4000.0,
        log_floor=1e-10,
    )
    spec = dataclasses.replace(SPEC, front_end=front_end, emb_dim=12)
    model = exported("plain").int8_model
    c_export.write_c(model, spec, tmp_path)
    assert compiled(tmp_path, PRINT_BYTES.format(name="model", prefix="MODEL")) == model


def names_of(header: str) -> dict[str, str]:
    """Return the macros that stand for a value."""
    return dict(re.findall(r"^#define MODEL_(\w+) (.*[^\\])$", header, re.MULTILINE))


def test_compiled_numbers_are_the_front_ends(tmp_path: Path) -> None:
    c_export.write_c(MODEL, SPEC, tmp_path)
    fields = dataclasses.fields(FRONT_END)
    numbers = [f.name for f in fields if not isinstance(getattr(FRONT_END, f.name), str)]
    derived = ["signal_samples", "pad_left", "pad_right", "n_bands", "n_steps"]
    values = ", ".join(f"MODEL_FRONT_END_{name.upper()}" for name in [*numbers, *derived])
    main = f"""
#include <stdio.h>
#include "model.h"
#if !defined(MODEL_FRONT_END_PADDING_REFLECT) || defined(MODEL_FRONT_END_PADDING_SAME)
#error "padding"
#endif
int main(void) {{
    const float values[] = {{ {values}, MODEL_INPUT_SCALE, MODEL_OUTPUT_ZERO_POINT }};
    const int shape[MODEL_INPUT_RANK] = MODEL_INPUT_SHAPE;
    fwrite(values, sizeof values, 1, stdout);
    fwrite(shape, sizeof shape, 1, stdout);
    puts(MODEL_FRONT_END_LOG);
    puts(MODEL_DIGEST);
    return 0;
}}
"""
    printed = compiled(tmp_path, main)
    expected = [float(getattr(FRONT_END, name)) for name in [*numbers, *derived]]
    expected += [0.1 / 3, -3]
    found = np.frombuffer(printed, np.float32, len(expected))
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    rest = printed[found.nbytes :]
    assert struct.unpack("4i", rest[:16]) == SHAPE
    assert rest[16:].decode().split() == ["ln", SPEC.digest(MODEL)]


def test_cpp_takes_the_header_and_registers_the_operators(tmp_path: Path) -> None:
    c_export.write_c(MODEL, SPEC, tmp_path)
    main = """
#include <cstdio>
#include "model.h"
template <unsigned int N> struct Resolver {
    void AddConv2D() { std::puts("AddConv2D"); }
    void AddMean() { std::puts("AddMean"); }
    void AddFullyConnected() { std::puts("AddFullyConnected"); }
};
int main() {
    static_assert(MODEL_N_OPERATORS == 3, "three kinds");
    Resolver<MODEL_N_OPERATORS> resolver;
    MODEL_ADD_OPERATORS(resolver);
    return model_data[4] == 'T' ? 0 : 1;
}
"""
    calls = compiled(tmp_path, main, compiler="g++").decode().split()
    assert calls == ["AddConv2D", "AddFullyConnected", "AddMean"]


def test_header_tells_what_the_model_costs() -> None:
    header, source = c_export.to_c(MODEL, SPEC)
    names = names_of(header)
    assert int(names["SIZE_BYTES"]) == len(MODEL)
    assert int(names["PEAK_BYTES"]) == peak_bytes(MODEL)
    assert int(names["MACS"]) == macs(MODEL)
    assert int(names["EMB_DIM"]) == int(names["OUTPUT_SIZE"]) == 3
    assert names["INPUT_ZERO_POINT"] == "(-3)"
    assert names["FRONT_END_SHIFT"] == "(-4.5f)"
    assert names["FRONT_END_LOG_OFFSET"] == "3.0e-07f"
    assert names["FRONT_END_F_MIN"] == "50.0f"  # given as a whole number
    assert "Licence of the weights: CC-BY-4.0" in header
    assert 'Source: Muller , "x" / #error ?/ //\n' in header
    assert header.isascii()
    assert source.isascii()


def test_every_field_of_the_front_end_is_there() -> None:
    for spec in registry.models():
        constants = c_export.front_end_constants(spec.front_end)
        fields = {field.name.upper() for field in dataclasses.fields(FrontEnd)}
        assert fields <= constants.keys()
        assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in constants)


def test_equal_models_give_equal_files() -> None:
    assert c_export.to_c(MODEL, SPEC) == c_export.to_c(MODEL, SPEC)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (0.0, "0.0f"),
        (1.0, "1.0f"),
        (-0.25, "(-0.25f)"),
        (3e-7, "3.0e-07f"),
        (1e-10, "1.0e-10f"),
        (1 / 3, "0.333333333f"),
        (15000.0, "15000.0f"),
        (123456789.0, "123456789.0f"),
        (1e20, "1.0e+20f"),
        (1e-60, "0.0f"),
    ],
)
def test_floats_have_a_point_and_nine_digits(value: float, literal: str) -> None:
    assert c_export.float_literal(value) == literal


def test_floats_come_back_to_the_last_bit(rng: Any) -> None:
    bits = rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
    for value in bits[np.isfinite(bits)]:
        text = c_export.float_literal(float(value)).strip("()").removesuffix("f")
        assert "." in text
        assert np.float32(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_floats_that_c_lacks(value: float) -> None:
    with pytest.raises(InputError, match="does not fit"):
        c_export.float_literal(value)


@pytest.mark.parametrize(
    "name",
    [
        *("int", "INT", "class", "co_yield", "alignas", "_Bool", "7up", "a-b", "a b", "a__b"),
        *("a_", "_a", "é", "a;b", "../model", "", "x" * 27, "model\n"),
    ],
)
def test_names_that_c_does_not_take(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        c_export.write_c(MODEL, SPEC, tmp_path / "made", name)
    assert not (tmp_path / "made").exists()


def test_other_models_are_refused() -> None:
    def two_outputs(tree: Any) -> None:
        tree.subgraphs[0].outputs = np.array([0, 1], np.int32)

    other_spec = dataclasses.replace(SPEC, emb_dim=4)
    unknown = as_int8(one(SHAPE, lambda graph, x: graph.reshape(graph.hard_swish(x), (1, 30))))
    for model, spec, words in [
        (one(SHAPE, network), SPEC, "input is float32; .* quantise it first"),
        (MODEL, other_spec, r"emb_dim is 4, .* gives \(1, 3\)"),
        (as_int8(one((1, 4, 4, 1), network)), SPEC, r"gives \(6, 5\) .* takes \(1, 4, 4, 1\)"),
        (changed(MODEL, two_outputs), SPEC, "one output, this one has 2"),
        (changed(unknown, _to_log), dataclasses.replace(SPEC, emb_dim=30), "has LOG, which"),
    ]:
        with pytest.raises(InputError, match=words):
            c_export.to_c(model, spec)
    with pytest.raises(ConversionError, match="TFL3"):
        c_export.to_c(b"something else", SPEC)


def _to_log(tree: Any) -> None:
    """Turn the hard swish into a logarithm."""
    from listen_embed.upstream.graph import schema

    for code in tree.operatorCodes:
        if code.builtinCode == schema().BuiltinOperator.HARD_SWISH:
            code.builtinCode = code.deprecatedBuiltinCode = schema().BuiltinOperator.LOG
