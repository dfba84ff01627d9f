"""``listen-embed SOUND...``: the arguments of the default command, and what is done with them."""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from listen_embed.console import FAILED, OK, PROGRAM, Console, UsageError
from listen_embed.errors import InputError, ModelNotFoundError, blame

# Imported where they are used, so that help and usage errors come at once.
if TYPE_CHECKING:
    from listen_embed.cli.jobs import Destination, OnExisting, Plan

_DESCRIPTION = "Sound in, embeddings out: one vector of float32 for every hop, with its timestamp."
_EPILOG = """\
commands (listen-embed COMMAND --help tells more):
{commands}

results:
  A file's suffix decides its format: .npz (embedding, timestamps, model, digest,
  version), .npy (embedding), .csv (a row per frame), .parquet. In a folder every
  sound gets STEM.npz, or another --format. A file named with --out is replaced, but
  only by a complete one; a file that happens to have the name in a folder is not,
  unless --force is given. Without --out one sound is summed up and nothing written.
  x.wav and x.flac in one folder keep their suffixes: x.wav.npz, x.flac.npz.
  With --clip a file, or -, is a table of all sounds: .csv (path, embedding_0, ...),
  .parquet (path, embedding), .npz (path, embedding, model, digest, version), or, for
  one sound, .npy; in a folder every sound gets its own file, with timestamp 0.

exit status:
  0 all is well, 1 something failed (the rest is done), 2 wrong usage, 130 interrupted

examples:
  listen-embed pump.wav --out pump.npy --plot pump.png
  listen-embed recordings/ --out results/ --format parquet --jobs 4
  listen-embed recordings/ --clip --out clips.csv
  listen-embed 'day-*/**/*.flac' --out results/ --model sea --hop 0.5
  sox -d -t wav - trim 0 5 | listen-embed - --out - > five-seconds.csv
"""


def parse(arguments: Sequence[str], commands: Mapping[str, str]) -> argparse.Namespace:
    """Return the parsed arguments; the help also lists all commands.

    Options may stand anywhere; after ``--`` all are sounds, even if they begin with a dash.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _parser(commands)
    args = parser.parse_intermixed_args(arguments[:end])
    args.sounds = [*args.sounds, *arguments[end + 1 :]]
    if not args.sounds:
        parser.error("the following arguments are required: SOUND")
    return args


def _parser(commands: Mapping[str, str]) -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<12}{what}" for name, what in commands.items())
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [embed] SOUND... [--out FILE|FOLDER|-] [options]\n"
        f"       {PROGRAM} COMMAND ...",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(commands=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "sounds",
        nargs="*",
        metavar="SOUND",
        help="sound files, folders (searched with their subfolders), patterns, - for stdin",
    )
    _add_output_options(parser.add_argument_group("output"))
    _add_model_options(parser.add_argument_group("embedding"))
    _add_running_options(parser.add_argument_group("running"))
    parser.set_defaults(run=_embed, commands=tuple(commands))
    return parser


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-o", "--out", metavar="PATH", help="file, folder (such as results/), or - for stdout")
    add(
        "-f",
        "--format",
        choices=("npz", "npy", "csv", "parquet"),
        help="format in a folder (default npz) or on stdout (default csv)",
    )
    add(
        "-p",
        "--plot",
        metavar="PATH",
        help="draw waveform, log-mel and embedding: .png, .svg, .pdf, or a folder",
    )
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--force", action="store_true", help="replace files that exist in the folder"
    )
    existing.add_argument(
        "-n", "--no-clobber", action="store_true", help="leave out sounds whose results exist"
    )


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-m",
        "--model",
        dest="model_type",
        metavar="MODEL",
        help=f"name, type or folder of a model; see {PROGRAM} models",
    )
    add("--emb-dim", type=int, metavar="N", help="width of the embedding (default: the model's)")
    add("--variant", help="variant of the model's type (default: the type's)")
    add(
        "--hop",
        dest="hop_size",
        type=float,
        default=0.1,
        metavar="S",
        help="seconds between embeddings (default 0.1)",
    )
    add(
        "--frame",
        dest="frame_size",
        type=float,
        metavar="S",
        help="seconds that each embedding hears (default: the model's; not all models take others)",
    )
    add(
        "--clip",
        action="store_true",
        help="one embedding for each sound as a whole, instead of one for every hop",
    )
    add(
        "--no-center",
        dest="center",
        action="store_false",
        help="let frames start at their timestamps instead of being centred on them",
    )


def _add_running_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-j",
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="files at a time, each in a process; 0: one per core (default 1)",
    )
    add("--threads", type=int, metavar="N", help="threads of the model (default 2; 1 with --jobs)")
    add("-q", "--quiet", action="store_true", help="print errors only")
    add("--progress", action="store_true", help="show progress even if stderr is no terminal")
    add("--version", action=_PrintVersion, nargs=0, help="print the version and leave")


class _PrintVersion(argparse.Action):
    """Like argparse's own, but the version is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from listen_embed.output import package_version

        print(f"{PROGRAM} {package_version()}")
        parser.exit()


def _embed(args: argparse.Namespace) -> int:
    console = Console(args.quiet)
    with ExitStack() as stack:
        stack.enter_context(console.showing_warnings())
        stdin = None
        if "-" in args.sounds:
            stdin = stack.enter_context(_stdin_in_a_file())
            console.aliases[str(stdin)] = "stdin"
        with _refusing_nonsense():
            plan = _plan(args, stdin)
        for name, error in plan.failures:
            console.say(blame(name, error) + _perhaps_a_command(name, args))
        if plan.n_kept:
            console.note(f"{plan.n_kept} left out, whose results exist")
        n_failed = len(plan.failures)
        if plan.jobs:
            n_failed += _carried_out(plan, args, console)
    return FAILED if n_failed else OK


def _carried_out(plan: Plan, args: argparse.Namespace, console: Console) -> int:
    """Do all jobs; return how many failed."""
    from listen_embed.cli.running import Run

    with _refusing_nonsense():
        run = Run(plan, args, console)
    return run.to_the_end()


@contextmanager
def _refusing_nonsense() -> Iterator[None]:
    """Call bad options what they are, before anything is read or written."""
    try:
        yield
    except (InputError, ModelNotFoundError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def _stdin_in_a_file() -> Iterator[Path]:
    """Give a file with what comes on standard input: libsndfile needs to seek."""
    if sys.stdin.isatty():
        raise UsageError("- reads a sound from standard input, which is a terminal here")
    with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-") as folder:
        path = Path(folder, "stdin")
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


def _plan(args: argparse.Namespace, stdin: Path | None) -> Plan:
    from listen_embed.batch import check_jobs
    from listen_embed.cli.jobs import make_plan

    check_jobs(args.jobs)
    out, picture = _out(args), _picture(args)
    plan = make_plan(
        args.sounds,
        out,
        picture,
        on_existing=_on_existing(args),
        stdin=stdin,
        is_clip=args.clip,
    )
    if args.out is None and args.plot is None and len(plan.jobs) > 1:
        raise InputError(
            f"{len(plan.jobs)} sound files; say where to put their embeddings, "
            "for example --out results/"
        )
    return plan


def _out(args: argparse.Namespace) -> Destination:
    from listen_embed.cli.jobs import NOWHERE, STDIO, Destination, destination
    from listen_embed.output import FORMATS, check_format

    if args.out is None:
        if args.format is not None:
            raise InputError("--format says how to write; say with --out where to")
        return NOWHERE
    if args.out == STDIO:
        out = Destination(to_stdout=True, suffix=args.format or "csv")
        if out.suffix != "csv" and sys.stdout.isatty():
            raise InputError(f"will not write .{out.suffix} to a terminal; redirect it")
    else:
        out = destination(args.out, FORMATS, args.format)
    check_format(out.suffix)
    return out


def _picture(args: argparse.Namespace) -> Destination:
    from listen_embed.cli.jobs import NOWHERE, STDIO, destination

    if args.plot is None:
        return NOWHERE
    if args.plot == STDIO:
        raise InputError("--plot cannot draw to standard output; name a file")
    if args.clip:
        raise InputError("--plot shows embeddings over time, and --clip gives one for all of it")
    from listen_embed.plot import PICTURES, check_matplotlib

    check_matplotlib()
    return destination(args.plot, PICTURES)


def _on_existing(args: argparse.Namespace) -> OnExisting:
    if args.force:
        return "replace"
    return "keep" if args.no_clobber else "refuse"


def _perhaps_a_command(name: str, args: argparse.Namespace) -> str:
    close = difflib.get_close_matches(name, args.commands, n=1)
    return f"; did you mean the command {close[0]}?" if close and args.sounds[0] == name else ""
