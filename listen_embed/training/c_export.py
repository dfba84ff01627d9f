"""An int8 model as C source for TensorFlow Lite for Microcontrollers: ``model.h`` and ``model.c``.

The network travels as the bytes of its .tflite. All that surrounds it stands in the header: shapes,
scales, every constant of the front end, the operators to register, and the memory that it needs.
"""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from listen_embed.errors import InputError
from listen_embed.graph import Graph, TensorInfo, macs, peak_bytes, read_graph
from listen_embed.spec import FrontEnd, ModelSpec

# The call that registers each operator that TFLite Micro has integer kernels for, of those that
# students are made of. Source: tensorflow/tflite-micro, micro/micro_mutable_op_resolver.h and
# micro/kernels.
RESOLVER_CALLS = {
    "ADD": "AddAdd",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "FULLY_CONNECTED": "AddFullyConnected",
    "HARD_SWISH": "AddHardSwish",
    "LOGISTIC": "AddLogistic",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MUL": "AddMul",
    "PAD": "AddPad",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RSQRT": "AddRsqrt",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SUB": "AddSub",
    "TRANSPOSE": "AddTranspose",
}

# C89 to C23 and C++ to C++23.
_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
constinit continue decltype default delete do double dynamic_cast else enum explicit export
extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
nullptr operator or or_eq private protected public register reinterpret_cast requires restrict
return short signed sizeof static static_assert static_cast struct switch template this
thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using
virtual void volatile wchar_t while xor xor_eq
"""
_RESERVED_WORDS = frozenset(_WORDS.split())
# Significant characters of an external name that C99 promises, less the longest ending put to it.
_MAX_NAME = 31 - len("_data")
_BYTES_PER_LINE = 16

# Types of the ends that a microcontroller can be given, as C has them.
_C_TYPES = {"INT8": "int8_t", "INT16": "int16_t"}

_HEADER = """\
/* {title}
 *
 * An audio embedding for TensorFlow Lite for Microcontrollers, written by listen-embed.
 * Licence of the weights: {licence}
 * Source: {source}
 */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

/* The .tflite, aligned to 16 bytes; const, so that it stays in flash. */
extern const unsigned char {name}_data[];

/* ---- sizes: bytes of flash; bytes of RAM that tensors take at one time; work of one frame ----
 * The tensor arena needs the interpreter's own tables and the kernels' scratch memory on top of
 * {prefix}_PEAK_BYTES; arena_used_bytes() tells how much on your target. */
{sizes}

/* ---- the network's ends: real value = scale * (integer - zero point) ---- */
{ends}

/* ---- operators: {prefix}_ADD_OPERATORS(resolver) registers them with a
 * tflite::MicroMutableOpResolver<{prefix}_N_OPERATORS> ---- */
{operators}

/* ---- front end: how samples become the network's input ----
 * A word, such as the kind of padding, stands as a string and, for #if, as a name that is 1. */
{front_end}

#ifdef __cplusplus
}}
#endif

#endif /* {guard} */
"""

_SOURCE = """\
/* {title}: the bytes of its .tflite. */
#include "{name}.h"

#if defined(ALIGNED_16)
/* given to the compiler */
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L
#define ALIGNED_16 alignas(16)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define ALIGNED_16 _Alignas(16)
#elif defined(__GNUC__) || defined(__clang__)
#define ALIGNED_16 __attribute__((aligned(16)))
#elif defined(_MSC_VER)
#define ALIGNED_16 __declspec(align(16))
#else
#error "Define ALIGNED_16 as what this compiler takes for an alignment of 16 bytes."
#endif

ALIGNED_16 const unsigned char {name}_data[{prefix}_SIZE_BYTES] = {{
{content}
}};
"""


def to_c(model: bytes, spec: ModelSpec, name: str = "model") -> tuple[str, str]:
    """Return the text of the header and of the source file.

    Parameters
    ----------
    model : bytes
        An int8 .tflite (activations of 8 or 16 bits) with one input and one output.
    spec : ModelSpec
        What it is; its front end stands in the header.
    name : str
        Of the files and, in capitals, the beginning of every macro: a letter, then letters, digits
        and single underscores, 26 at most, and no word of C or C++.

    Raises
    ------
    InputError
        A name that C does not take; or a network that is not int8, has an operator that TensorFlow
        Lite for Microcontrollers lacks, or does not fit the front end.
    ConversionError
        The bytes are not a .tflite.
    """
    check_name(name)
    graph = read_graph(model)
    taken, given = _ends(graph, spec)
    prefix = name.upper()
    texts = {
        "name": name,
        "prefix": prefix,
        "title": _in_comment(spec.name),
        "licence": _in_comment(spec.licence),
        "source": _in_comment(spec.source),
        "guard": f"LISTEN_EMBED_{prefix}_H",
        "sizes": _defines(prefix, _sizes(model, spec)),
        "ends": _defines(prefix, _end("INPUT", taken) | _end("OUTPUT", given)),
        "operators": _operators(prefix, graph),
        "front_end": _defines(f"{prefix}_FRONT_END", front_end_constants(spec.front_end)),
    }
    return _HEADER.format(**texts), _SOURCE.format(**texts, content=_rows(model))


def write_c(
    model: bytes, spec: ModelSpec, folder: str | os.PathLike[str], name: str = "model"
) -> tuple[Path, Path]:
    """Write ``name.h`` and ``name.c`` into a folder and return their paths; see `to_c`."""
    paths = (Path(folder) / f"{name}.h", Path(folder) / f"{name}.c")
    texts = to_c(model, spec, name)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, texts, strict=True):
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="ascii", newline="\n")
        os.replace(temporary, path)
    return paths


def check_name(name: str) -> None:
    """Raise `InputError` unless C and C++ take a name, and the names made of it, for our own."""
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name) or len(name) > _MAX_NAME:
        raise InputError(
            f"the name {name!r} does not do in C; allowed are a letter, then letters, digits and "
            f"single underscores, {_MAX_NAME} characters at most"
        )
    if name.lower() in _RESERVED_WORDS:
        raise InputError(f"the name {name!r} is a word of C or C++; choose another, such as model")


def front_end_constants(front_end: FrontEnd) -> dict[str, str]:
    """Return every constant of a front end, and what follows from them, as C names and values."""
    constants: dict[str, str] = {}
    for field in dataclasses.fields(front_end):
        value = getattr(front_end, field.name)
        is_float = str(field.type) == "float"  # and may yet hold a whole number
        constants[field.name.upper()] = _literal(float(value) if is_float else value)
        if isinstance(value, str):
            constants[f"{field.name}_{value}".upper().replace("-", "_")] = "1"
    derived = ("signal_samples", "pad_left", "pad_right", "n_bands", "n_steps")
    if front_end.features == "log-mel":
        constants |= {name.upper(): _literal(getattr(front_end, name)) for name in derived}
    return constants


def _literal(value: Any) -> str:
    """Return a C literal: a string, a whole number, or a float."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int):  # bool as well
        return f"{int(value)}" if value >= 0 else f"({value})"
    return float_literal(value)


def float_literal(value: float) -> str:
    """Return a C float: nine significant digits, which tell every float32, and a decimal point."""
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        raise InputError(f"{value!r} does not fit a C float")
    digits = f"{value:.9g}"
    if np.float32(digits) != single or single == 0:
        digits = f"{single:.9g}"
    mantissa, separator, exponent = digits.partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    literal = f"{mantissa}{separator}{exponent}f"
    return f"({literal})" if literal.startswith("-") else literal


def _sizes(model: bytes, spec: ModelSpec) -> dict[str, str]:
    return {
        "SIZE_BYTES": str(len(model)),
        "PEAK_BYTES": str(peak_bytes(model)),
        "MACS": str(macs(model)),
        "EMB_DIM": str(spec.emb_dim),
        "DIGEST": f'"{spec.digest(model)}"',
    }


def _ends(graph: Graph, spec: ModelSpec) -> tuple[TensorInfo, TensorInfo]:
    """Return the input and the output tensor, checked."""
    tensors = []
    for what, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if len(indices) != 1:
            raise InputError(f"a network of ours has one {what}, this one has {len(indices)}")
        tensor = graph.tensors[indices[0]]
        if tensor.type not in _C_TYPES or len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise InputError(
                f"the network's {what} is {tensor.type.lower()}; C source is made of networks that "
                "are integer throughout: quantise it first (listen_embed.training.convert.to_int8)"
            )
        tensors.append(tensor)
    taken, given = tensors
    n_taken, n_given = int(np.prod(taken.shape)), int(np.prod(given.shape))
    if n_taken != int(np.prod(spec.front_end.input_shape)) or n_given != spec.emb_dim:
        raise InputError(
            f"{spec.name}: the front end gives {spec.front_end.input_shape} and emb_dim is "
            f"{spec.emb_dim}, but the network takes {taken.shape} and gives {given.shape}"
        )
    return taken, given


def _end(what: str, tensor: TensorInfo) -> dict[str, str]:
    return {
        f"{what}_TYPE": _C_TYPES[tensor.type],
        f"{what}_RANK": str(len(tensor.shape)),
        f"{what}_SHAPE": "{" + ", ".join(map(str, tensor.shape)) + "}",
        f"{what}_SIZE": str(int(np.prod(tensor.shape))),
        f"{what}_SCALE": float_literal(tensor.scales[0]),
        f"{what}_ZERO_POINT": _literal(tensor.zero_points[0]),
    }


def _operators(prefix: str, graph: Graph) -> str:
    used = sorted({operator.name for operator in graph.operators})
    if unknown := [name for name in used if name not in RESOLVER_CALLS]:
        raise InputError(
            f"the network has {', '.join(unknown)}, which microcontrollers lack; they have "
            f"{', '.join(sorted(RESOLVER_CALLS))}"
        )
    calls = "".join(f" \\\n        (resolver).{RESOLVER_CALLS[name]}();" for name in used)
    return (
        f"{_defines(prefix, {'N_OPERATORS': str(len(used))})}\n"
        f"#define {prefix}_ADD_OPERATORS(resolver) \\\n    do {{{calls} \\\n    }} while (0)"
    )


def _defines(prefix: str, constants: dict[str, str]) -> str:
    return "\n".join(f"#define {prefix}_{name} {value}" for name, value in constants.items())


def _rows(content: bytes) -> str:
    begins = range(0, len(content), _BYTES_PER_LINE)
    rows = (", ".join(map(str, content[begin : begin + _BYTES_PER_LINE])) for begin in begins)
    return ",\n".join(f"    {row}" for row in rows)


def _in_comment(text: str) -> str:
    """Return a text in ASCII that cannot end a comment, nor escape from it by a trigraph."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    harmless = re.sub(r"[*\\]|\?(?=\?)", "", plain)
    return " ".join(harmless.split()) or "not stated"
