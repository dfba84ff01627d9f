"""A model's .tflite: in the wheel or a folder, else cached, else downloaded, verified, converted.

Environment
-----------
LISTEN_EMBED_CACHE
    Folder for converted models; by default the operating system's user cache.
LISTEN_EMBED_MIRROR
    A folder or base URL that holds the published files by name; asked before the network.
LISTEN_EMBED_OFFLINE
    ``1`` forbids the network (a mirror that is a folder is still read).

The published bytes are verified before anything parses them, and only a finished .tflite enters the
cache, by a move; a failure of any kind leaves the cache as it was.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Literal

from listen_embed import upstream
from listen_embed.atomic import folder_beside, replacing
from listen_embed.errors import (
    CacheError,
    DownloadError,
    ModelNotFoundError,
    OutputError,
    VerificationError,
)
from listen_embed.spec import Download, ModelSpec

_LOG = logging.getLogger(__name__)

MAX_TFLITE_BYTES = 256_000_000
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 16

State = Literal["built in", "on disk", "cached", "to download"]


def load(spec: ModelSpec, progress: bool | None = None) -> bytes:
    """Return the bytes of a model's .tflite, fetching it first if need be.

    Parameters
    ----------
    spec : ModelSpec
        A model with a network.
    progress : bool, optional
        Of a download: None says so in a line on standard error, with a bar if that is a terminal;
        True shows the bar anywhere, False is quiet.

    Raises
    ------
    StoreError
        `DownloadError`, `VerificationError` or `CacheError`, each with what to do.
    ConversionError
        The published file is verified but has not the layout expected.
    """
    content = _read(fetch(spec, progress))
    _check_stated(spec, content)
    return content


def _check_stated(spec: ModelSpec, content: bytes) -> None:
    """Raise for a .tflite that is not the one that its folder's card states."""
    found = hashlib.sha256(content).hexdigest()
    if spec.sha256 not in ("", found):
        raise VerificationError(
            f"{spec.file}: not the file that its model.toml states (sha256 {found[:12]}…, stated "
            f"{spec.sha256[:12]}…): damaged, or exchanged. Copy the folder again; if another file "
            f'is meant, state it: sha256 = "{found}"'
        )


def fetch(spec: ModelSpec, progress: bool | None = None) -> Path:
    """Return the path of a model's .tflite, downloading and converting it first if need be."""
    if spec.file is not None:
        return spec.file
    if spec.download is None:
        raise ModelNotFoundError(f"{spec.name} has no network, so there is no file to fetch")
    target = _cached_path(spec)
    if not _is_intact(target):
        _fetch_into(target, spec, spec.download, progress)
    return target


def state(spec: ModelSpec) -> State:
    """Return where a model's network is: built in (none needed), on disk, cached or to download."""
    if not spec.has_network:
        return "built in"
    if spec.file is not None:
        return "on disk"
    return "cached" if _cached_path(spec).exists() else "to download"


def cache_dir() -> Path:
    """Return the cache folder, which may not exist yet."""
    if chosen := os.environ.get("LISTEN_EMBED_CACHE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("listen-embed"))


def _cached_path(spec: ModelSpec) -> Path:
    """Name the file after all that decides its bytes: model, published digest, converter."""
    assert spec.download is not None
    published = spec.download.digest.split(":")[1][:12]
    stem = spec.name.replace("/", "-")
    return cache_dir() / f"{stem}-{published}-v{upstream.VERSION}.tflite"


def _digest_path(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _is_intact(target: Path) -> bool:
    """Whether the cached file is there and still what was once written."""
    try:
        expected = _digest_path(target).read_bytes().decode(errors="replace")
        return hashlib.sha256(_read(target)).hexdigest() == expected
    except (FileNotFoundError, NotADirectoryError, CacheError):
        return False
    except OSError as error:
        raise CacheError(f"{target}: the cache cannot be read ({error})") from error


def _read(path: Path) -> bytes:
    try:
        with _opened(path) as file:
            content = file.read(MAX_TFLITE_BYTES + 1)
    except OSError as error:
        raise CacheError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_TFLITE_BYTES:
        raise CacheError(f"{path}: larger than {MAX_TFLITE_BYTES} bytes, not a model of ours")
    return content


def _opened(path: Path | str) -> IO[bytes]:
    """Open a file to read; a named pipe would be waited on for ever."""
    if Path(path).is_fifo():
        raise OSError(errno.EINVAL, "it is a named pipe, not a file")
    return open(path, "rb")


def _fetch_into(target: Path, spec: ModelSpec, download: Download, progress: bool | None) -> None:
    if progress is not False:
        print(f"listen-embed: fetching {spec.name} ({download.urls[0]})", file=sys.stderr)
    with _workspace(target) as folder:
        published = folder / download.file_name
        obtain(download, published, progress)
        content = upstream.convert(
            published,
            download.converter,
            input_shape=spec.front_end.input_shape,
            emb_dim=spec.emb_dim,
        )
        _publish(content, target)
    _LOG.info("%s: converted into %s", spec.name, target)


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_beside(target))
        except OSError as error:
            raise CacheError(
                f"{target.parent}: the cache cannot be written ({error.strerror}); "
                "set LISTEN_EMBED_CACHE to a folder that can"
            ) from error
        yield folder


def _publish(content: bytes, target: Path) -> None:
    """Write the digest, then the model: a reader sees both or fetches again."""
    digest = hashlib.sha256(content).hexdigest().encode()
    try:
        for path, payload in ((_digest_path(target), digest), (target, content)):
            with replacing(path) as file:
                file.write(payload)
    except OutputError as error:
        raise CacheError(str(error)) from error


def obtain(download: Download, target: Path, progress: bool | None = None) -> None:
    """Write a published file to `target`, verified, from the first address that has it.

    Raises
    ------
    DownloadError, VerificationError
        No address has it, or none has the promised bytes; `target` then does not exist.
    """
    problems: list[str] = []
    for address in _addresses(download):
        try:
            _copy(address, target, download.size_bytes, progress)
            _verify(target, download)
            return
        except (DownloadError, VerificationError) as error:
            target.unlink(missing_ok=True)
            problems.append(f"{address}: {error}")
            failure = error
    if not problems:
        raise DownloadError(
            f"{download.file_name} is not cached and LISTEN_EMBED_OFFLINE=1 forbids the network; "
            "unset it, or put the file into a folder and name that in LISTEN_EMBED_MIRROR"
        )
    raise type(failure)(
        f"{download.file_name} could not be had.\n  " + "\n  ".join(problems) + "\n"
        "Check the connection, or put the file into a folder and name that in LISTEN_EMBED_MIRROR"
    ) from failure


def _addresses(download: Download) -> list[str]:
    mirror = os.environ.get("LISTEN_EMBED_MIRROR", "").rstrip("/")
    offline = os.environ.get("LISTEN_EMBED_OFFLINE", "") not in ("", "0")
    mirrored = [f"{mirror}/{download.file_name}"] if mirror else []
    if offline:
        return [address for address in mirrored if not _is_url(address)]
    return [*mirrored, *download.urls]


def _is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))


class _BoundedFile:
    """A file that refuses to grow past what was promised."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit

    def write(self, chunk: bytes) -> int:
        self._left -= len(chunk)
        if self._left < 0:
            raise DownloadError("more bytes arrive than the published file has; stopped")
        return self._file.write(chunk)


def _copy(address: str, target: Path, limit: int, progress: bool | None) -> None:
    with open(target, "wb") as file:
        sink = _BoundedFile(file, limit)
        if _is_url(address):
            _download(address, sink, progress)
            return
        try:
            with _opened(address) as source:
                shutil.copyfileobj(source, sink, _CHUNK_BYTES)
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(f"cannot be read ({error.strerror})") from error


def _download(address: str, sink: _BoundedFile, progress: bool | None) -> None:
    import requests
    from tqdm import tqdm

    shows_bar = sys.stderr.isatty() if progress is None else progress
    try:
        with requests.get(address, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            size = int(response.headers.get("content-length", 0)) or None
            with tqdm(total=size, unit="B", unit_scale=True, disable=not shows_bar) as bar:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    bar.update(sink.write(chunk))
    except DownloadError:
        raise
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise DownloadError(f"download failed ({error})") from error


def _verify(path: Path, download: Download) -> None:
    content = path.read_bytes()
    if download.sha256:
        found = hashlib.sha256(content).hexdigest()
    else:
        found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    promised = download.sha256 or download.git_blob
    if found != promised:
        path.unlink()
        raise VerificationError(
            f"the bytes are not the published ones (digest {found[:12]}…, promised "
            f"{promised[:12]}…): truncated or changed on the way. Nothing was kept; try again"
        )
