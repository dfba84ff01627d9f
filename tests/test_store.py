"""The store: whatever goes wrong, a clear error, and never a bad file in the cache.

A real server on loopback serves, lies, breaks off and never ends.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from listen_embed import registry, store, upstream
from listen_embed.errors import (
    CacheError,
    ConversionError,
    DownloadError,
    ListenEmbedError,
    ModelNotFoundError,
    StoreError,
    VerificationError,
)
from listen_embed.spec import Download, FrontEnd, ModelSpec

from .upstream import torch_files
from .upstream.seeded_l3 import seeded_layers, write_layers, write_seeded_l3
from .web import Web, send

FRONT_END = FrontEnd(
    sample_rate=8000,
    frame_samples=8000,
    n_fft=64,
    window_samples=64,
    hop_samples=640,
    n_mels=16,
    f_max=4000.0,
    log_floor=1e-10,
)
NAME = "tiny.h5.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own, which does not even exist yet."""
    folder = tmp_path / "cache" / "below"
    monkeypatch.setenv("LISTEN_EMBED_CACHE", str(folder))
    return folder


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return write_seeded_l3(tmp_path / NAME, "tiny_sea")


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(content)).encode() + b"\0" + content).hexdigest()


def spec_of(path: Path, *urls: str, converter: str = "keras_l3", **changes: Any) -> ModelSpec:
    """Return a model whose published file is `path`, at these addresses."""
    digest = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    facts: dict[str, Any] = {"urls": urls, "converter": converter} | digest | changes
    return ModelSpec(
        model_type="tiny",
        emb_dim=10,
        variant="seeded",
        front_end=FRONT_END,
        licence="MIT",
        download=Download(**facts),
    )


def nowhere() -> str:
    """Return an address that refuses connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/{NAME}"


def contents(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*")) if cache.exists() else []


def assert_refused(
    spec: ModelSpec, error: type[ListenEmbedError], cache: Path, *said: str
) -> ListenEmbedError:
    """Fetching raises this, in these words, and leaves the cache as it was."""
    before = {path: path.read_bytes() for path in contents(cache) if path.is_file()}
    with pytest.raises(error) as caught:
        store.load(spec)
    for part in said:
        assert part in str(caught.value)
    assert {path: path.read_bytes() for path in contents(cache) if path.is_file()} == before
    assert not [path for path in contents(cache) if path.is_dir()]
    return caught.value


# ---- when all is well ------------------------------------------------------------------------


def test_a_model_is_downloaded_verified_converted_and_kept(
    web: Web, published: Path, cache: Path
) -> None:
    web.files[f"/models/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/models/{NAME}")
    assert store.state(spec) == "to download"
    network = store.load(spec)
    assert network[4:8] == b"TFL3"
    assert store.state(spec) == "cached"
    path = store.fetch(spec)
    assert path.parent == cache
    assert path.read_bytes() == network
    assert store.load(spec) == network
    assert web.requests == [f"/models/{NAME}"]  # once
    # the model and its digest, nothing else
    assert contents(cache) == sorted([path, path.with_suffix(".sha256")])


def test_a_git_blob_id_verifies_too(web: Web, published: Path, cache: Path) -> None:
    web.files[f"/{NAME}"] = published
    digest = {"sha256": "", "git_blob": blob_id(published.read_bytes())}
    assert store.load(spec_of(published, f"{web.url}/{NAME}", **digest))
    wrong = {"sha256": "", "git_blob": hashlib.sha1(published.read_bytes()).hexdigest()}
    other = spec_of(published, f"{web.url}/{NAME}", **wrong)
    assert_refused(other, VerificationError, cache, "not the published ones")


def test_addresses_are_tried_in_order(web: Web, published: Path) -> None:
    web.files[f"/second/{NAME}"] = published
    web.answers[f"/first/{NAME}"] = lambda handler: send(handler, b"", status=500)
    urls = [f"{web.url}/{place}/{NAME}" for place in ("first", "second", "third")]
    assert store.load(spec_of(published, nowhere(), *urls))
    assert web.requests == [f"/first/{NAME}", f"/second/{NAME}"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_is_asked_first(
    web: Web, published: Path, monkeypatch: pytest.MonkeyPatch, slash: str
) -> None:
    web.files |= {f"/mirror/{NAME}": published, f"/official/{NAME}": published}
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", f"{web.url}/mirror{slash}")
    assert store.load(spec_of(published, f"{web.url}/official/{NAME}"))
    assert web.requests == [f"/mirror/{NAME}"]


def test_a_mirror_may_lack_or_spoil_a_file(
    web: Web, published: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    web.answers[f"/mirror/{NAME}"] = lambda handler: send(handler, b"something else")
    web.files[f"/official/{NAME}"] = published
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", f"{web.url}/mirror")
    assert store.load(spec_of(published, f"{web.url}/official/{NAME}"))
    assert len(contents(cache)) == 2


def test_a_folder_is_a_mirror_too_and_needs_no_network(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", str(published.parent))
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    assert store.load(spec_of(published, nowhere()))


def test_the_cache_is_where_the_environment_says(
    published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LISTEN_EMBED_CACHE", "~/models")
    assert store.cache_dir() == tmp_path / "home/models"
    monkeypatch.delenv("LISTEN_EMBED_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(store.cache_dir()).startswith(str(tmp_path / "home"))
    assert "listen-embed" in store.cache_dir().parts


def test_other_bytes_or_another_converter_are_other_files(
    web: Web, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    first = store.fetch(spec)
    monkeypatch.setattr(upstream, "VERSION", upstream.VERSION + 1)
    assert store.state(spec) == "to download"
    assert store.fetch(spec) != first


def test_a_model_on_disk_is_read_where_it_is(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"any bytes")
    spec = dataclasses.replace(registry.find("logmel"), file=path)
    assert store.state(spec) == "on disk"
    assert store.fetch(spec) == path
    assert store.load(spec) == b"any bytes"
    path.unlink()
    with pytest.raises(StoreError, match=r"model\.tflite: cannot be read"):
        store.load(spec)
    assert not cache.exists()


def test_a_model_without_a_network_has_no_file() -> None:
    assert store.state(registry.find("logmel/128/16k")) == "built in"
    with pytest.raises(ModelNotFoundError, match="no network"):
        store.fetch(registry.find("logmel/128/16k"))


# ---- the network -----------------------------------------------------------------------------


def test_wrong_bytes_are_refused(web: Web, published: Path, cache: Path) -> None:
    web.answers[f"/{NAME}"] = lambda handler: send(handler, published.read_bytes()[:-1] + b"x")
    spec = spec_of(published, f"{web.url}/{NAME}")
    error = assert_refused(spec, VerificationError, cache, "promised", "LISTEN_EMBED_MIRROR")
    assert f"{web.url}/{NAME}" in str(error)


def test_half_a_download_is_refused(web: Web, published: Path, cache: Path) -> None:
    half = published.read_bytes()[:5000]
    full = published.stat().st_size
    spec = spec_of(published, f"{web.url}/{NAME}")
    web.answers[f"/{NAME}"] = lambda handler: send(handler, half, length=full)
    assert_refused(spec, DownloadError, cache, "download failed", "Check the connection")
    web.answers[f"/{NAME}"] = lambda handler: send(handler, half)
    assert_refused(spec, VerificationError, cache, "truncated")


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_a_server_error_is_told(web: Web, published: Path, cache: Path, status: int) -> None:
    web.answers[f"/{NAME}"] = lambda handler: send(handler, b"oh no", status=status)
    spec = spec_of(published, f"{web.url}/{NAME}")
    assert_refused(spec, DownloadError, cache, str(status), "LISTEN_EMBED_MIRROR")


def test_a_refused_connection_is_told(published: Path, cache: Path) -> None:
    assert_refused(
        spec_of(published, nowhere()), DownloadError, cache, "refused", "Check the connection"
    )


def test_an_unknown_host_is_told(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    spec = spec_of(published, f"http://no-such-host.invalid/{NAME}")
    assert_refused(spec, DownloadError, cache, "no-such-host.invalid", "LISTEN_EMBED_MIRROR")


def test_a_silent_server_is_left(
    web: Web, published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_TIMEOUT_SECONDS", 0.2)
    done = threading.Event()
    web.answers[f"/{NAME}"] = lambda handler: done.wait(10) and None
    try:
        spec = spec_of(published, f"{web.url}/{NAME}")
        assert_refused(spec, DownloadError, cache, "timed out")
    finally:
        done.set()


def test_every_address_that_failed_is_named(web: Web, published: Path, cache: Path) -> None:
    web.answers["/b"] = lambda handler: send(handler, b"", status=500)
    spec = spec_of(published, f"{web.url}/a", f"{web.url}/b")
    assert_refused(spec, DownloadError, cache, f"{web.url}/a: ", "404", f"{web.url}/b: ", "500")


@pytest.mark.parametrize("mirror", [None, "url"])
def test_offline_means_offline(
    web: Web,
    published: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    mirror: str | None,
) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    if mirror:
        monkeypatch.setenv("LISTEN_EMBED_MIRROR", web.url)
    assert_refused(
        spec, DownloadError, cache, "LISTEN_EMBED_OFFLINE=1", "unset it", "LISTEN_EMBED_MIRROR"
    )
    assert web.requests == []
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "0")
    network = store.load(spec)
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    assert store.load(spec) == network  # what is cached needs no network


def test_a_mirror_folder_without_the_file_is_told(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", str(tmp_path / "no"))
    spec = spec_of(published, nowhere())
    assert_refused(spec, DownloadError, cache, f"{tmp_path}/no/{NAME}", "No such file")


# ---- too much --------------------------------------------------------------------------------


def test_an_endless_download_is_stopped(web: Web, published: Path, cache: Path) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 16))
            sent += 1 << 16

    web.answers[f"/{NAME}"] = endless
    spec = spec_of(published, f"{web.url}/{NAME}", size_bytes=1_000_000)
    tracemalloc.start()
    try:
        assert_refused(spec, DownloadError, cache, "more bytes arrive than the published file has")
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert sent < 30_000_000  # what the sockets' buffers took, far from endless


def test_a_mirrors_endless_file_is_stopped(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / NAME).symlink_to("/dev/zero")
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    spec = spec_of(published, nowhere(), size_bytes=1_000_000)
    assert_refused(spec, DownloadError, cache, "more bytes arrive")


def test_a_transfer_encoding_that_unpacks_is_stopped(
    web: Web, published: Path, cache: Path
) -> None:
    bomb = gzip.compress(bytes(20_000_000))

    def packed(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    web.answers[f"/{NAME}"] = packed
    spec = spec_of(published, f"{web.url}/{NAME}", size_bytes=1_000_000)
    assert_refused(spec, DownloadError, cache, "more bytes arrive")


# ---- hostile files of the promised digest ----------------------------------------------------


def serve(web: Web, path: Path, **changes: Any) -> ModelSpec:
    """Publish a file, whatever it is, under its true digest."""
    web.files[f"/{path.name}"] = path
    return spec_of(path, f"{web.url}/{path.name}", **changes)


def test_a_decompression_bomb_is_refused(web: Web, tmp_path: Path, cache: Path) -> None:
    member = gzip.compress(bytes(25_000_000), 9)
    bomb = tmp_path / "bomb.h5.gz"
    bomb.write_bytes(member * 40)  # a gigabyte in a megabyte
    assert_refused(serve(web, bomb), ConversionError, cache, "bomb.h5.gz holds more than")


def test_a_hostile_pickle_is_never_run(web: Web, tmp_path: Path, cache: Path) -> None:
    marker = tmp_path / "executed"
    command = torch_files.text(f"touch {marker}")
    for number, call in enumerate((b"cposix\nsystem\n", b"cos\nsystem\n", b"cbuiltins\neval\n")):
        program = torch_files.START + call + b"(" + command + b"tR" + torch_files.STOP
        path = torch_files.write_archive(tmp_path / f"evil{number}.pt", program)
        spec = serve(web, path, converter="efficientat")
        assert_refused(spec, ConversionError, cache)
        assert not marker.exists()
    path = tmp_path / "bare.pth"
    path.write_bytes(torch_files.START + b"cposix\nsystem\n(" + command + b"tR" + torch_files.STOP)
    assert_refused(serve(web, path, converter="listen"), ConversionError, cache)
    assert not marker.exists()


def test_wrong_shapes_are_refused(web: Web, tmp_path: Path, cache: Path) -> None:
    layers = seeded_layers("tiny_sea")
    kernels = [arrays for _, arrays in layers if "kernel" in arrays]
    kernels[3]["kernel"] = kernels[3]["kernel"][:, :, :, :-1]
    path = write_layers(tmp_path / "shapes.h5.gz", layers, root="model_weights")
    assert_refused(serve(web, path), ConversionError, cache)


@pytest.mark.parametrize("converter", ["keras_l3", "efficientat", "listen", "yamnet"])
@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", "noise"]
)
def test_bytes_of_no_format_are_refused(
    web: Web,
    tmp_path: Path,
    cache: Path,
    rng: np.random.Generator,
    converter: str,
    content: bytes | str,
) -> None:
    path = tmp_path / "junk.bin"
    path.write_bytes(rng.bytes(4000) if isinstance(content, str) else content + rng.bytes(50))
    assert_refused(serve(web, path, converter=converter), ConversionError, cache)


def test_a_file_of_another_model_is_refused(web: Web, published: Path, cache: Path) -> None:
    spec = dataclasses.replace(serve(web, published), emb_dim=11)
    assert_refused(spec, ConversionError, cache, "11")


# ---- the cache -------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_made_is_told(
    web: Web, published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the folder should be, and a file system that takes nothing, even from root."""
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    (tmp_path / "file").write_text("not a folder")
    for place in (tmp_path / "file", tmp_path / "file/below", Path("/proc"), Path("/proc/no")):
        monkeypatch.setenv("LISTEN_EMBED_CACHE", str(place))
        with pytest.raises(CacheError, match="set LISTEN_EMBED_CACHE to a folder that can"):
            store.load(spec)
    assert (tmp_path / "file").read_text() == "not a folder"
    assert web.requests == []  # nobody downloads what cannot be kept


def test_a_place_that_is_taken_is_told(web: Web, published: Path, cache: Path) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    path = store.fetch(spec)
    path.unlink()
    path.mkdir()
    with pytest.raises(CacheError, match=path.name):
        store.load(spec)
    assert {each.name for each in contents(cache)} == {path.name, path.with_suffix(".sha256").name}


def damage(kind: str, model: Path) -> None:
    digest = model.with_suffix(".sha256")
    content = model.read_bytes()
    if kind == "a bit":
        model.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif kind == "half of it":
        model.write_bytes(content[: len(content) // 2])
    elif kind == "all of it":
        model.write_bytes(b"")
    elif kind == "no model":
        model.unlink()
    elif kind == "no digest":
        digest.unlink()
    else:
        digest.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    "kind", ["a bit", "half of it", "all of it", "no model", "no digest", "digest garbled"]
)
def test_a_damaged_cache_is_noticed_and_fetched_anew(
    web: Web, published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    network = store.load(spec)
    damage(kind, store.fetch(spec))
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    with pytest.raises(DownloadError, match="OFFLINE"):
        store.load(spec)  # never the damaged one
    monkeypatch.delenv("LISTEN_EMBED_OFFLINE")
    assert store.load(spec) == network
    assert len(web.requests) == 2
    assert len(contents(cache)) == 2


def test_a_named_pipe_is_not_waited_on(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mirror").mkdir()
    os.mkfifo(tmp_path / "mirror" / NAME)
    monkeypatch.setenv("LISTEN_EMBED_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("LISTEN_EMBED_OFFLINE", "1")
    assert_refused(spec_of(published, nowhere()), DownloadError, cache, "named pipe")
    os.mkfifo(tmp_path / "model.tflite")
    spec = dataclasses.replace(registry.find("sea"), file=tmp_path / "model.tflite")
    with pytest.raises(CacheError, match=r"model\.tflite: cannot be read .*named pipe"):
        store.load(spec)


def test_a_huge_file_in_the_cache_is_not_read(
    web: Web, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    network = store.load(spec)
    os.truncate(store.fetch(spec), 1 << 40)  # a sparse terabyte
    monkeypatch.setattr(store, "MAX_TFLITE_BYTES", 1_000_000)
    assert store.load(spec) == network


@pytest.mark.parametrize("moment", ["convert", "replace"])
def test_an_interruption_leaves_nothing(
    web: Web, published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    web.files[f"/{NAME}"] = published
    module = {"convert": upstream, "replace": os}[moment]
    monkeypatch.setattr(module, moment, interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.load(spec_of(published, f"{web.url}/{NAME}"))
    assert contents(cache) == []


# ---- company ---------------------------------------------------------------------------------

PROGRAM = """
import hashlib, pickle, sys
from listen_embed import store
spec = pickle.loads(bytes.fromhex(sys.argv[1]))
print(hashlib.sha256(store.load(spec)).hexdigest())
"""


def test_two_processes_may_download_at_once(web: Web, published: Path, cache: Path) -> None:
    import pickle

    both_are_here = threading.Barrier(2, timeout=60)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        both_are_here.wait()
        send(handler, published.read_bytes())

    web.answers[f"/{NAME}"] = answer
    spec = spec_of(published, f"{web.url}/{NAME}")
    command = [sys.executable, "-c", PROGRAM, pickle.dumps(spec).hex()]
    root = Path(__file__).parents[1]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=100) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert len(web.requests) == 2
    network = store.load(spec)
    digest = hashlib.sha256(network).hexdigest()
    assert {output.decode().strip() for output, _ in outputs} == {digest}
    assert len(contents(cache)) == 2


def test_threads_may_load_at_once(web: Web, published: Path, cache: Path) -> None:
    web.files[f"/{NAME}"] = published
    spec = spec_of(published, f"{web.url}/{NAME}")
    loaded: list[bytes] = []
    threads = [threading.Thread(target=lambda: loaded.append(store.load(spec))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert len(set(loaded)) == 1
    assert len(contents(cache)) == 2
