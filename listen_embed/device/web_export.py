"""A model as WebAssembly: the same C, a small JavaScript wrapper, and a page that listens."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from listen_embed.device.boards import run
from listen_embed.device.export import export_c, write_files
from listen_embed.device.model_source import ModelSource, Options
from listen_embed.errors import ListenEmbedError
from listen_embed.spec import ModelSpec

WEB = Path(__file__).with_name("web")
PAGE = ("index.html", "listen-embed.js", "page.js", "worklet.js")
_MODULE = "listen-embed.wasm"


def export_wasm(
    spec: ModelSpec,
    folder: str | os.PathLike[str],
    options: Options | None = None,
    heads: str | os.PathLike[str] | None = None,
) -> ModelSource:
    """Write a page that embeds, and classifies where heads are given, with nothing sent anywhere.

    Parameters
    ----------
    spec : ModelSpec
        As for `listen_embed.device.export_c`.
    folder : path
        Where to; an older export is replaced. Any web server that serves it will do.
    options : Options, optional
        `samples` is float32 whatever they say: that is what browsers give.
    heads : path, optional
        As for `listen_embed.device.export_c`.

    Raises
    ------
    ListenEmbedError
        clang, lld or wasi-libc is not installed.
    InputError, HeadError, OutputError
        As for `listen_embed.device.export_c`.
    """
    check_installed()
    options = replace(options or Options(), samples="float32")
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "c"
        made = export_c(spec, source, options, heads=heads)
        module = _compiled(source / "src", Path(place), has_heads=heads is not None)
    files = {name: (WEB / name).read_bytes() for name in PAGE}
    write_files(Path(folder), files | {_MODULE: module}, mark=_MODULE)
    return made


def check_installed() -> None:
    """Raise `ListenEmbedError` where WebAssembly cannot be built."""
    if missing := [program for program in ("clang", "wasm-ld") if shutil.which(program) is None]:
        raise ListenEmbedError(
            f"WebAssembly needs {' and '.join(missing)}, not installed here "
            "(Debian: apt install clang lld wasi-libc)"
        )


def _compiled(source: Path, work: Path, has_heads: bool) -> bytes:
    module = work / _MODULE
    run(
        ["clang", "--target=wasm32-wasi", "-std=c99", "-O3", "-mbulk-memory", "-Wall", "-Wextra",
         "-Werror", f"-DLISTEN_HAS_HEADS={int(has_heads)}", "-I", str(source),
         *map(str, sorted(source.glob("*.c"))), str(WEB / "listen_web.c"),
         "-nostdlib", "-lc", "-lm", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,--gc-sections",
         "-Wl,-z,stack-size=16384", "-o", str(module)]
    )  # fmt: skip
    return module.read_bytes()
