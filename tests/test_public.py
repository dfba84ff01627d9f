"""What users see and what holds the source together: names, imports, layers, the wheel.

Style, types and the layers themselves are `make check`'s.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import listen_embed

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "listen_embed"

NAMES = [
    "Embedder",
    "FileResult",
    "FrontEnd",
    "ListenEmbedError",
    "ListenEmbedWarning",
    "ModelSpec",
    "SoundClassifier",
    "Stream",
    "embed_files",
    "errors",
    "get_clip_embedding",
    "get_embedding",
    "heads",
    "process_file",
    "registry",
    "to_arrow",
    "to_pandas",
]
# What an import of the package must not drag in.
HEAVY = [
    "ai_edge_litert",
    "h5py",
    "matplotlib",
    "numba",
    "pyarrow",
    "requests",
    "resampy",
    "scipy",
    "soundfile",
    "soxr",
    "tflite_runtime",
    "torch",
    "tqdm",
]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a program; its output, or a failure with it."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(program: str, **environment: str) -> str:
    """Run a program text in a fresh interpreter that finds the package here."""
    return run(sys.executable, "-c", program, PYTHONPATH=str(ROOT), **environment)


# ---- names -----------------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    assert sorted(listen_embed.__all__) == NAMES
    visible = python("import listen_embed; print(*dir(listen_embed))").split()
    assert sorted(name for name in visible if not name.startswith("_")) == NAMES


def test_the_stub_declares_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    declared = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(declared) == NAMES
    listed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert sorted(listed) == NAMES


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_every_name_loads_on_its_own_and_is_documented() -> None:
    for name in NAMES:
        value = getattr(listen_embed, name)
        assert value is getattr(listen_embed, name)
        assert inspect.getdoc(value), name
    assert listen_embed.get_embedding.__module__ == "listen_embed.embedder"


def test_a_star_gives_the_names_and_a_wrong_one_says_so() -> None:
    program = "before = set(dir()); from listen_embed import *; print(*(set(dir()) - before))"
    assert sorted(set(python(program).split()) - {"before"}) == NAMES
    with pytest.raises(AttributeError, match="no attribute 'get_embeddings'"):
        _ = listen_embed.get_embeddings


def test_what_takes_part_in_numpydoc_has_its_sections() -> None:
    """Parameters by name, and what comes back."""
    for function in (
        listen_embed.get_embedding,
        listen_embed.Embedder.embed,
        listen_embed.Stream.push,
        listen_embed.process_file,
        listen_embed.embed_files,
        listen_embed.to_pandas,
        listen_embed.to_arrow,
        listen_embed.registry.find,
    ):
        text = inspect.getdoc(function) or ""
        assert re.search(r"^Parameters\n-{10}$", text, re.M), function
        for name in inspect.signature(function).parameters:
            if name != "self":
                assert re.search(rf"^[\w, *]*\b{name}\b[\w, ]* ?:|{name}", text, re.M), name


# ---- cost of import --------------------------------------------------------------------------


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, listen_embed; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(python(program).split())
    assert not loaded & set(HEAVY)
    program = program.replace("import sys, listen_embed", "import sys; from listen_embed import *")
    everything = set(python(program).split())
    assert not everything & (set(HEAVY) | {"sklearn", "pandas"})


def test_import_is_as_quick_as_numpys() -> None:
    """At most a fifth more than numpy alone."""
    clock = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"
    seconds: dict[str, list[float]] = {"import numpy": [], "import listen_embed": []}
    for _ in range(5):  # taking turns, so that a busy machine is busy for both
        for statement, times in seconds.items():
            times.append(float(python(clock.format(statement))))
    numpy, package = (min(times) for times in seconds.values())
    assert package < 1.2 * numpy


# ---- the source ------------------------------------------------------------------------------


def test_every_module_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    named = {
        module.strip()
        for contract in contracts["contracts"]
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for module in re.split(r"[|:]", layer)
    }
    there = {
        f"listen_embed.{path.stem}"
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }
    assert there <= named, "name them in pyproject.toml, [tool.importlinter]"


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_nothing_unpickles_or_evaluates() -> None:
    """Bytes from outside are parsed, never run."""
    for path in PACKAGE.rglob("*.py"):
        assert not set(imports(path)) & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"eval", "exec", "pickle.load", "os.system"}, path
                if name in {"np.load", "numpy.load"}:
                    options = {key.arg: ast.unparse(key.value) for key in node.keywords}
                    assert options.get("allow_pickle") == "False", path


# ---- the wheel -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a clean copy, so that nothing left over from earlier builds gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(
        ".git",
        ".venv",
        ".*_cache",
        "__pycache__",
        "build",
        "dist",
        "*.egg-info",
        "training-runs",
        ".fuzz",
        ".flower",
    )
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", folder, cwd=folder / "source")
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"listen_embed"}
    sources = [
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert set(sources) <= set(names)
    assert wheel.stat().st_size < 4_000_000


def test_every_import_is_a_stated_dependency() -> None:
    """In an empty environment all that the core imports must have come with it."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = dict(setup["options.extras_require"])
    lines = {"": setup["options"]["install_requires"], **extras}
    stated = {
        extra: {re.split(r"[<>=;!~ \[]", line)[0].lower() for line in text.split("\n") if line}
        for extra, text in lines.items()
    }
    # Imported where it is there, and never required: each is guarded by an error or an extra.
    optional = {"matplotlib", "pyarrow", "sounddevice", "tflite-runtime", "ai-edge-litert"}
    optional |= {"pandas", "scipy"}
    optional |= {"ray", "dask", "distributed"}  # the engines of room bulk, an extra each
    optional |= {"flwr"}  # an engine of room fleet, extra flower
    distributions = importlib.metadata.packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        extra = {"classify": "training", "pretrain": "training"}.get(room, room)  # by its means
        allowed = stated[""] | optional | stated.get(extra, set())
        for module in imports(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top == "listen_embed":
                continue
            homes = {name.lower().replace("_", "-") for name in distributions.get(top, [top])}
            assert homes & allowed, f"{path.relative_to(ROOT)} imports {top}"


def test_the_wheel_in_an_empty_environment_embeds_a_file(
    wheel: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Installed into a new environment and run from an empty folder, without this source tree.

    Its dependencies are lent by this environment; that they are stated is another test.
    """
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    installed = Path(
        run(
            environment / "bin/python",
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ).strip()
    )
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "--no-input"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # A path file adds a folder, but does not follow the path files in there (this package's own).
    (installed / "lent.pth").write_text(sysconfig.get_path("purelib"))

    folder = tmp_path / "empty"
    folder.mkdir()
    sound = (0.1 * rng.standard_normal(32_000)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000)
    program = "import listen_embed; print(listen_embed.__file__, listen_embed.__version__)"
    clean = {"PYTHONPATH": "", "LISTEN_EMBED_OFFLINE": "1"}
    home, version = run(environment / "bin/python", "-c", program, cwd=folder, **clean).split()
    assert Path(home).is_relative_to(installed)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert version == setup["metadata"]["version"]

    command = environment / "bin/listen-embed"
    run(command, tmp_path / "a.wav", "--out", folder / "a.npy", cwd=folder, **clean)
    embedding = np.load(folder / "a.npy", allow_pickle=False)
    assert embedding.dtype == np.float32
    assert embedding.shape == (16, listen_embed.registry.find().emb_dim)
    assert "logmel/128/16k" in run(command, "models", cwd=folder, **clean)


def test_the_lean_install_lacks_nothing_but_resampy() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    stated = [line for line in setup["options"]["install_requires"].split("\n") if line]
    lean = (ROOT / "requirements-lean.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lean if not line.startswith("#")] == [
        line for line in stated if not line.startswith(("#", "resampy"))
    ]
