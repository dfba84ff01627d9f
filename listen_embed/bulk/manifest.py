"""What there is to do, frozen: recordings in shards, in Parquet files with a row group each.

A job's folder::

    out/
      job.json                   options, model, digest, and the manifest files that count
      manifest/<hash>.parquet    url, size, etag; a row group is a shard
      parts/<hash>.parquet       the embeddings of a shard
      failures/<hash>.parquet    recordings of it that can never be embedded

`freeze` only ever adds: shards that are there stay what they are, so their parts stay valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from listen_embed.bulk.place import Place, absolute, place
from listen_embed.errors import InputError, OutputError

Dtype = Literal["float32", "float16", "int8"]

JOB = "job.json"
MAX_SHARD_BYTES, MAX_SHARD_FILES = 64 << 20, 256
# Shards of one manifest file: 65,536 recordings, about as many as a worker ever reads over.
_SHARDS_IN_FILE = 256
_FORMAT = "listen-embed bulk 1"


@dataclass(frozen=True, slots=True)
class Item:
    """One recording.

    Attributes
    ----------
    url : str
    size : int
        Bytes; -1 where the storage does not tell.
    etag : str
        What changes with the content: an ETag, or the time of the last change.
    """

    url: str
    size: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the rows.

    Parameters
    ----------
    model : str
        Name or folder of the model.
    digest : str
        sha256 of its weights and front end; a worker that has another one stops.
    emb_dim : int
    hop_size : float
        Seconds between frames, which start at time 0.
    frame_seconds : float
    dtype : {"float32", "float16", "int8"}
        How embeddings are stored; int8 has a scale for each row.
    max_seconds : float
        Longer recordings are failures; 0 allows any length.
    version : str
        Of this package.
    """

    model: str
    digest: str
    emb_dim: int
    hop_size: float
    frame_seconds: float
    dtype: Dtype = "float32"
    max_seconds: float = 0.0
    version: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise InputError(f"dtype is {self.dtype!r}; allowed are {', '.join(get_args(Dtype))}")
        if self.max_seconds < 0:
            raise InputError(f"max_seconds is {self.max_seconds}; allowed are 0 and more")

    def part_name(self, items: Iterable[Item]) -> str:
        """Return the name of the part that these recordings become."""
        facts = [[item.url, item.size, item.etag] for item in items]
        options = {**asdict(self), "version": ""}
        text = json.dumps([options, facts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class ManifestFile:
    """A manifest file that counts, with what it holds in all."""

    name: str
    n_shards: int
    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class ShardRef:
    """A shard, without its recordings.

    Attributes
    ----------
    manifest : str
        Its manifest file.
    row_group : int
    part : str
        Name of its part.
    n_files, n_bytes : int
    """

    manifest: str
    row_group: int
    part: str
    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class Job:
    """A job as ``job.json`` has it.

    Attributes
    ----------
    url : str
        The folder.
    settings : Settings
    manifests : tuple of ManifestFile
    """

    url: str
    settings: Settings
    manifests: tuple[ManifestFile, ...] = ()

    @classmethod
    def read(cls, url: str) -> Self:
        """Return the job in a folder.

        Raises
        ------
        InputError
            There is none.
        """
        try:
            facts = json.loads(place(url).read(JOB))
        except FileNotFoundError as error:
            raise InputError(
                f"{url}: no bulk job; make one with: listen-embed bulk plan SOUNDS --out {url}"
            ) from error
        except ValueError as error:
            raise InputError(f"{url}/{JOB}: damaged ({error})") from error
        return cls._from(absolute(url), facts)

    @classmethod
    def _from(cls, url: str, facts: Any) -> Self:
        try:
            if facts["format"] != _FORMAT:
                raise ValueError(f"its format is {facts['format']!r}")
            settings = Settings(**facts["settings"])
            manifests = tuple(ManifestFile(**entry) for entry in facts["manifests"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{url}/{JOB}: not a job of listen-embed ({error})") from error
        return cls(url, settings, manifests)

    def write(self) -> None:
        """Put this job in the place of the one before."""
        facts = {
            "format": _FORMAT,
            "settings": asdict(self.settings),
            "manifests": [asdict(manifest) for manifest in self.manifests],
        }
        place(self.url).write(JOB, json.dumps(facts, indent=1).encode())

    @property
    def n_files(self) -> int:
        """Recordings in all."""
        return sum(manifest.n_files for manifest in self.manifests)

    @property
    def n_shards(self) -> int:
        """Shards in all."""
        return sum(manifest.n_shards for manifest in self.manifests)

    def shards(self) -> Iterator[ShardRef]:
        """Yield all shards in order."""
        for manifest in self.manifests:
            with _manifest(self.url, manifest.name) as file:
                entries = json.loads(file.schema_arrow.metadata[b"shards"])
            for row_group, (part, n_files, n_bytes) in enumerate(entries):
                yield ShardRef(manifest.name, row_group, part, n_files, n_bytes)

    def items(self, ref: ShardRef) -> list[Item]:
        """Return the recordings of a shard."""
        with _manifest(self.url, ref.manifest) as file:
            table = file.read_row_group(ref.row_group)
        columns = (table.column(field.name).to_pylist() for field in fields(Item))
        return [Item(*row) for row in zip(*columns, strict=True)]

    def check_same(self, settings: Settings) -> None:
        """Raise `InputError` unless the job was made with these settings."""
        mine, theirs = asdict(self.settings), asdict(settings)
        for name in mine.keys() - {"version"}:
            if mine[name] != theirs[name]:
                raise InputError(
                    f"{self.url}: the job was made with {name}={mine[name]!r}, now it is "
                    f"{theirs[name]!r}; give another --out"
                )


def freeze(url: str, settings: Settings, items: Iterable[Item]) -> tuple[Job, int, int]:
    """Make a job, or add recordings to it that are not in it yet.

    Returns
    -------
    job : Job
    n_new : int
        Recordings added.
    n_changed : int
        Recordings that have changed since they were frozen; they are left out, since the rows of
        their former content may be there already.

    Raises
    ------
    InputError
        The folder has a job with other settings.
    """
    folder = place(url)
    job = Job(absolute(url), settings)
    if folder.exists(JOB):
        job = Job.read(url)
        job.check_same(settings)
    known = {item.url: item for ref in job.shards() for item in job.items(ref)}
    counts = {"new": 0, "changed": 0}
    manifests = list(job.manifests)
    for group in _in_groups(_shards(_new(items, known, counts)), _SHARDS_IN_FILE):
        manifests.append(_write_manifest(folder, settings, group))
    job = replace(job, manifests=tuple(manifests))
    job.write()
    _remove_unnamed(folder, job)
    return job, counts["new"], counts["changed"]


def _new(items: Iterable[Item], known: dict[str, Item], counts: dict[str, int]) -> Iterator[Item]:
    for item in items:
        if item.url not in known:
            counts["new"] += 1
            yield item
        elif known[item.url] != item:
            counts["changed"] += 1


def _shards(items: Iterable[Item]) -> Iterator[list[Item]]:
    shard: list[Item] = []
    n_bytes = 0
    for item in items:
        shard.append(item)
        n_bytes += max(0, item.size)
        if n_bytes >= MAX_SHARD_BYTES or len(shard) >= MAX_SHARD_FILES:
            yield shard
            shard, n_bytes = [], 0
    if shard:
        yield shard


def _in_groups(shards: Iterable[list[Item]], size: int) -> Iterator[list[list[Item]]]:
    group: list[list[Item]] = []
    for shard in shards:
        group.append(shard)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _write_manifest(folder: Place, settings: Settings, shards: list[list[Item]]) -> ManifestFile:
    import pyarrow
    import pyarrow.parquet

    entries: list[tuple[str, int, int]] = [
        (settings.part_name(shard), len(shard), sum(max(0, item.size) for item in shard))
        for shard in shards
    ]
    types = {"url": pyarrow.string(), "size": pyarrow.int64(), "etag": pyarrow.string()}
    schema = pyarrow.schema(types, metadata={"shards": json.dumps(entries)})
    name = hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:32]
    with (
        folder.writing(f"manifest/{name}.parquet") as file,
        pyarrow.parquet.ParquetWriter(file, schema) as writer,
    ):
        for shard in shards:
            rows = pyarrow.Table.from_pylist([asdict(item) for item in shard], schema)
            writer.write_table(rows, row_group_size=len(shard))
    _, n_files, n_bytes = zip(*entries, strict=True)
    return ManifestFile(name, len(shards), sum(n_files), sum(n_bytes))


def _manifest(url: str, name: str) -> Any:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(place(url).open(f"manifest/{name}.parquet"))
    except (FileNotFoundError, pyarrow.ArrowInvalid) as error:
        raise OutputError(f"{url}/manifest/{name}.parquet: missing or damaged ({error})") from error


def _remove_unnamed(folder: Place, job: Job) -> None:
    """Delete manifest files of a freezing that did not come to its end."""
    named = {f"{manifest.name}.parquet" for manifest in job.manifests}
    for name in folder.names("manifest") - named:
        folder.remove(f"manifest/{name}")
    folder.sweep("manifest")
