"""The README of an export, and the sound of its example."""

from __future__ import annotations

import numpy as np

from listen_embed.device.check import Samples, check_sound, pictures_of, through_interpreter
from listen_embed.device.model_source import Memory, ModelSource, Options
from listen_embed.device.parts import PARTS
from listen_embed.device.steps import Array
from listen_embed.device.text import array, in_comment
from listen_embed.spec import ModelSpec

_SECONDS = 0.25  # of the stored sound, which is played several times

_README = """\
# {name}, as C

{source}. Licence of the weights: {licence}. Written by listen-embed {version}.
Digest of front end and network: `{digest}`.

| | |
|---|---|
| sound | mono, {rate:,} Hz, {samples} |
| an embedding | {emb_dim} values, of {heard}, every {hop_seconds:g} s |
| rounding | {rounding} |
| front end | in {arithmetic} |
| multiply-accumulates of a frame | {macs:,} |

```c
#include "listen_embed.h"

embed_init();
for (;;) {{
    size_t n = read_microphone(samples);        /* any number */
    if (embed_push(samples, n)) {{
        float embedding[EMBED_SIZE];
        embed_get(embedding);
    }}
}}
```

Nothing but libc and libm is needed, all memory is static, blocks of any length give the same
embeddings.

## Memory

| what | bytes | where |
|---|---|---|
| weights, biases, factors and tables | {constants:,} | flash |
| arena: tensors of the network, or the Fourier transform | {arena:,} | RAM |
| columns of the log-mel | {columns:,} | RAM |
| samples | {sample_bytes:,} | RAM |{state}

Code comes on top, 4 to 7 kB on a Cortex-M; the stack stays below 1 kB. {fits}

## Building

- **make**: `make` builds `liblisten.a`; `make run` runs the example on this computer.
- **Arduino**: put the folder into `libraries/`; File, Examples, StoredSound.
- **PlatformIO**: put the folder into `lib/`.
- **Zephyr**: name the folder in `ZEPHYR_EXTRA_MODULES`; `CONFIG_LISTEN_EMBED=y`.
- **ESP-IDF**: put the folder into `components/`.

Compile with `-O2` or more. On Cortex-M4 and M7 give the flags of the floating-point unit
(`-mfloat-abi=hard -mfpu=fpv4-sp-d16`); for parts without one export with `--arithmetic fixed`, or
the front end takes ten times as long. The example needs no wiring: it embeds a stored sound and
says how many steps the result is from Python's.

`listen_kernels.c`, `listen_convolution.c` and `listen_depthwise.c` are plain C, with the
instructions for two products at once (M4, M7, M33) and for sixteen (M55) where the compiler knows
them. To use other kernels, such as CMSIS-NN or ESP-NN, leave a file out and define its functions of
`listen_kernels.h`; the tests of listen-embed tell what they must give.
"""
_ROUNDING = {
    "xnn": "the embeddings of the Python package",
    "reference": "those of TensorFlow Lite for Microcontrollers",
}


def example_sound(spec: ModelSpec, options: Options) -> Samples:
    """Return the sound of the example, as the microphone would give it."""
    n = int(_SECONDS * spec.front_end.sample_rate)
    return check_sound(spec, spec.front_end.frame_samples, options, 1)[:n]


def sound_header(spec: ModelSpec, options: Options, model: bytes) -> str:
    """Return ``sound.h``: the sound, and what Python makes of it when it is repeated."""
    sound = example_sound(spec, options)
    played = np.resize(sound, spec.front_end.frame_samples)
    picture = pictures_of(played, spec, model, spec.front_end.frame_samples)
    embedding = through_interpreter(picture, model, spec.state)[0]
    return "\n".join(
        [
            "/* A stored sound, and its embedding by the Python package. */",
            f"#define SOUND_SAMPLES {len(sound)}",
            array("SOUND", Array("embed_sample", sound)),
            array("EXPECTED", Array("embed_value", embedding)),
        ]
    )


def readme(spec: ModelSpec, options: Options, made: ModelSource, version: str) -> str:
    """Return the README of an export."""
    rate = spec.front_end.sample_rate
    memory = made.memory
    return _README.format(
        name=in_comment(spec.name),
        source=in_comment(spec.source),
        licence=in_comment(spec.licence),
        version=version,
        digest=made.digest,
        rate=rate,
        samples=options.samples,
        emb_dim=spec.emb_dim,
        heard=_heard(spec),
        hop_seconds=made.frame_hop / rate,
        rounding=_rounding(options, made),
        arithmetic="integers" if options.arithmetic == "fixed" else "single precision",
        macs=made.macs,
        constants=memory.constants,
        arena=memory.arena,
        columns=memory.columns,
        sample_bytes=memory.samples,
        state=_state(memory),
        fits=_fits(memory),
    )


def _rounding(options: Options, made: ModelSource) -> str:
    if made.is_float:
        return "single precision, the sums in another order than the Python package's"
    return f"`{options.mode}`: {_ROUNDING[options.mode]}"


def _heard(spec: ModelSpec) -> str:
    """Return what an embedding tells of."""
    if spec.streams:
        return "all sound so far, the newest most"
    return f"{spec.front_end.frame_seconds:g} s of sound"


def _state(memory: Memory) -> str:
    line = f"\n| state, which the network remembers | {memory.state:,} | RAM |"
    return line if memory.state else ""


def _fits(memory: Memory) -> str:
    fitting = (p for p in PARTS if memory.flash < p.free_flash and memory.ram < p.free_ram)
    found = [part.title for part in fitting]
    return f"It fits: {', '.join(found)}." if found else "It fits none of the usual small parts."
