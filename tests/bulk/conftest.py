"""Small shards, so that few recordings make many; an S3 server of this machine's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from listen_embed.bulk import manifest

from . import world


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_SHARD_FILES", 5)
    monkeypatch.setattr(manifest, "_SHARDS_IN_FILE", 3)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty recordings and four bad ones."""
    folder = tmp_path_factory.mktemp("archive") / "sounds"
    world.write_sounds(folder, 30)
    return folder


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket on moto's server on loopback; the variables are S3's own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem(use_listings_cache=False).mkdir("archive")
        yield "s3://archive"
    server.stop()
