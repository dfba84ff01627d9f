"""``listen-embed bulk plan | run | status | verify | failures | compact``."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.console import FAILED, OK, Console
from listen_embed.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from listen_embed.bulk.job import Slice
    from listen_embed.bulk.manifest import Job, Settings

_RUN = (
    "Embed archives of any size on one machine or many. The list of recordings is frozen when the "
    "job is made; the same command again does what is left. Storage is fsspec's: a folder, s3://, "
    "gs://, https://, archives (.zip, .tar)."
)
_PLAN = "Freeze the list of recordings; once more, it adds those that are new."
_ARRAY = (
    "Array jobs need no engine: `bulk plan` once, then in each task "
    "`bulk run --out OUT --shard $I/$N`."
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser("bulk", description=_RUN)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_plan(commands.add_parser("plan", description=_PLAN, help="freeze the list of recordings"))
    _add_run(commands.add_parser("run", description=_RUN, epilog=_ARRAY, help="embed them"))
    for name, run, what in (
        ("status", _status, "how far a job is"),
        ("verify", _verify, "read all parts and compare them with the manifest"),
        ("failures", _failures, "print the recordings that can never be embedded, as CSV"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("out", metavar="OUT", help="the job's folder")
        command.set_defaults(run=run)
    _add_compact(commands.add_parser("compact", help="write a finished job into few files"))


def _add_plan(parser: argparse.ArgumentParser) -> None:
    _add_job_options(parser)
    parser.set_defaults(run=_plan)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_job_options(parser)
    add = parser.add_argument
    add("--engine", choices=("local", "ray", "dask"), default="local", help="(default local)")
    add("--address", help="a Ray or Dask cluster that runs already; else one of this machine's")
    add("--workers", type=int, default=0, metavar="N", help="processes; 0: one per core (0)")
    add("--shard", type=_slice, metavar="I/N", help="every N-th shard from the I-th on, I from 0")
    add("-q", "--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=_run)


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sounds", nargs="*", metavar="URL", help="recordings, folders or archives")
    add("--list", type=Path, metavar="FILE", help="URLs of recordings, one a line")
    add("--out", required=True, metavar="URL", help="the job's folder")
    add("-m", "--model", metavar="MODEL", help="(default: the default model)")
    add("--hop", type=float, default=1.0, metavar="S", help="seconds between embeddings (1)")
    add("--dtype", choices=("float32", "float16", "int8"), default="float32", help="(float32)")
    add(
        "--max-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="longer recordings are failures; 0 allows any length (0)",
    )


def _add_compact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="the job's folder")
    parser.add_argument("--to", required=True, metavar="URL", help="folder of the large files")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows in a file (1000000)")
    parser.set_defaults(run=_compact)


def _slice(text: str) -> Slice:
    from listen_embed.bulk.job import Slice

    try:
        i, n = map(int, text.split("/"))
        return Slice(i, n)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, such as 0/16 ({error})") from error


def _plan(args: argparse.Namespace) -> int:
    job, n_new, n_changed = _frozen(args)
    console = Console()
    console.note(f"{job.url}: {n_new:,} recordings added; {job.n_files:,} in {job.n_shards:,} "
                 f"shards, by {job.settings.model}")  # fmt: skip
    if n_changed:
        console.say(f"{n_changed:,} recordings have changed since; they are left out, since their "
                    "former rows may be there: give them a job of their own")  # fmt: skip
    return FAILED if n_changed else OK


def _run(args: argparse.Namespace) -> int:
    from listen_embed.bulk import job as jobs
    from listen_embed.bulk.progress import Progress

    _check_packages()
    job = _job(args)
    console = Console(args.quiet)
    shards = jobs.left_to_do(job, args.shard)
    n_left = sum(ref.n_files for ref in shards)
    with Progress(n_left, stream=io.StringIO() if args.quiet else None) as progress:
        failed = jobs.run(
            job,
            shards,
            engine_name=args.engine,
            workers=args.workers or os.cpu_count() or 1,
            address=args.address,
            tell=progress.tell,
        )
    for report in failed:
        console.say(f"shard {report.part} is not done: {report.error}")
    if failed:
        console.say(f"{len(failed)} of {len(shards)} shards are not done; run the same again")
    return FAILED if failed else OK


def _job(args: argparse.Namespace) -> Job:
    """Return the job that is there, or freeze one; whoever does a slice never freezes."""
    from listen_embed.bulk.manifest import JOB, Job
    from listen_embed.bulk.place import place

    if args.shard is not None or not (args.sounds or args.list):
        return Job.read(args.out)
    if not place(args.out).exists(JOB):
        return _frozen(args)[0]
    job = Job.read(args.out)
    job.check_same(_settings(args))
    return job


def _frozen(args: argparse.Namespace) -> tuple[Job, int, int]:
    from listen_embed.bulk import listing
    from listen_embed.bulk.manifest import freeze

    _check_packages()
    if not args.sounds and args.list is None:
        raise InputError("name recordings, folders or archives, or give a --list of them")
    return freeze(args.out, _settings(args), listing.find(_urls(args)))


def _urls(args: argparse.Namespace) -> Iterator[str]:
    yield from args.sounds
    if args.list is not None:
        try:
            with open(args.list, encoding="utf-8") as lines:
                yield from filter(None, map(str.strip, lines))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{args.list}: cannot be read ({error})") from error


def _settings(args: argparse.Namespace) -> Settings:
    from listen_embed.batch import Options
    from listen_embed.bulk.job import settings_of

    options = Options(model_type=args.model, hop_size=args.hop, center=False, hush=True)
    embedder = options.load(progress=sys.stderr.isatty())
    is_folder = args.model is not None and Path(args.model).is_dir()
    name = str(Path(args.model).resolve()) if is_folder else embedder.spec.name
    return settings_of(embedder, name, args.dtype, args.max_seconds)


def _status(args: argparse.Namespace) -> int:
    from listen_embed.bulk.inspection import status
    from listen_embed.bulk.manifest import Job

    job = Job.read(args.out)
    s = status(job)
    print(
        f"model     {job.settings.model}, every {job.settings.hop_size:g} s, {job.settings.dtype}"
    )
    print(f"shards    {s.n_shards_done:,} of {s.n_shards:,}")
    print(f"files     {s.n_files_done:,} of {s.n_files:,}")
    print(f"megabytes {s.n_bytes_done / 1e6:,.0f} of {s.n_bytes / 1e6:,.0f}")
    print(f"failures  {s.n_failures:,}")
    return OK


def _verify(args: argparse.Namespace) -> int:
    from listen_embed.bulk.inspection import problems
    from listen_embed.bulk.manifest import Job

    job = Job.read(args.out)
    is_well = True
    for problem in problems(job):
        is_well = False
        print(problem)
    if is_well:
        print(f"all {job.n_shards:,} shards are there; every recording has rows or a failure")
    return OK if is_well else FAILED


def _failures(args: argparse.Namespace) -> int:
    from listen_embed.bulk.inspection import failures
    from listen_embed.bulk.manifest import Job
    from listen_embed.bulk.parts import Failure

    names = [field.name for field in fields(Failure)]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(failure) for failure in failures(Job.read(args.out)))
    return OK


def _compact(args: argparse.Namespace) -> int:
    from listen_embed.bulk.compact import compact
    from listen_embed.bulk.manifest import Job

    for name in compact(Job.read(args.out), args.to, args.rows):
        print(f"{args.to.rstrip('/')}/{name}")
    return OK


def _check_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("fsspec", "pyarrow") if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"bulk needs {', '.join(missing)}, not installed here. "
            'Install with: pip install "listen-embed[bulk]"'
        )
