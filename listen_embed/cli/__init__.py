"""The command line: ``listen-embed SOUND...``, ``models``, ``download``, and the rooms' commands.

Results go to files or standard output, all else to standard error. Exit codes: 0 all is well,
1 something failed, 2 the command line is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from listen_embed.cli import embed, label, models
from listen_embed.console import FAILED, OK, PROGRAM, USAGE, Console, UsageError
from listen_embed.errors import ListenEmbedError, MissingExtraError

# command -> module whose `register` adds its parser, and those of the room's other commands; it is
# imported only when the command is given.
ROOMS = {
    "specialize": "listen_embed.training.commands",
    "pretrain": "listen_embed.pretrain.commands",
    "classify": "listen_embed.classify.commands",
    "monitor": "listen_embed.monitor.commands",
    "fleet": "listen_embed.fleet.commands",
    "bulk": "listen_embed.bulk.commands",
    "export": "listen_embed.cli.export",
    "index": "listen_embed.index.commands",
    "search": "listen_embed.index.search_command",
}
COMMANDS = {
    "embed": "embed sound files; meant where no command is named",
    "models": "list the models there are",
    "download": "fetch models for use without a network",
    "label": "label sounds by a head, for Raven, Audacity, Kaleidoscope or R",
    "specialize": "make a small model for your own sounds (room training)",
    "pretrain": "make an encoder of unlabelled recordings (room pretrain)",
    "classify": "name sounds by a classifier, or make one of labelled sound (room training)",
    "monitor": "listen to a machine: states and anomalies (room monitor)",
    "export": "write a model as C, for browsers or as ONNX (rooms device, onnx)",
    "fleet": "many devices: learn, describe, match, deploy (room fleet)",
    "bulk": "embed archives on one machine or many (room bulk)",
    "index": "make an index of embeddings (room index)",
    "search": "find in an index what sounds like a sound (room index)",
}

_INTERRUPTED, _BROKEN_PIPE = 128 + signal.SIGINT, 128 + 13


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; None takes the process's own, and its signals.
    """
    if argv is None:
        _become_a_program()
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return _BROKEN_PIPE
    except OSError as error:
        _drop_stdout()
        Console().say(f"{error.filename or 'standard output'}: {error.strerror or error}")
        return FAILED


def _drop_stdout() -> None:
    """Forget what is still to be written, or Python would fail over it again at its end."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _become_a_program() -> None:
    """Unwind on the signals that end programs, and print whatever names files may have."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _leave)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _run(arguments: list[str]) -> int:
    console = Console()
    try:
        args = _parse(arguments)
        run = args.run
        return int(run(args))
    except SystemExit as leaving:  # argparse, and signals
        return leaving.code if isinstance(leaving.code, int) else OK
    except UsageError as error:
        console.say(f"{error}\nTry: {PROGRAM} --help")
        return USAGE
    except ListenEmbedError as error:
        console.say(str(error))
        return FAILED


def _parse(arguments: list[str]) -> argparse.Namespace:
    if not arguments:
        raise UsageError("name a sound file or a command")
    command = arguments[0] if arguments[0] in COMMANDS else "embed"
    if command == "embed":
        rest = arguments[1:] if arguments[0] == "embed" else arguments
        return embed.parse(rest, COMMANDS)
    parser = argparse.ArgumentParser(prog=PROGRAM, allow_abbrev=False)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    if command in ROOMS:
        return _parse_for_room(command, parser, subparsers, arguments)
    models.register(subparsers)
    label.register(subparsers)
    return parser.parse_args(arguments)


def _parse_for_room(
    command: str,
    parser: argparse.ArgumentParser,
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    arguments: list[str],
) -> argparse.Namespace:
    with _saying_what_to_install(command, ROOMS[command]):
        importlib.import_module(ROOMS[command]).register(subparsers)
        args = parser.parse_args(arguments)
    # Whose code runs says whose extra it needs: some commands are of several rooms.
    args.run = _saying_what_to_install(command, args.run.__module__)(args.run)
    return args


@contextmanager
def _saying_what_to_install(command: str, module: str) -> Iterator[None]:
    """Turn what a room's module misses into the pip command that brings it; also a decorator."""
    package, room, *_ = module.split(".")
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.partition(".")[0] == package:
            raise ListenEmbedError(
                f"{command}: this installation lacks {missing}; install {PROGRAM} anew"
            ) from error
        raise MissingExtraError(
            f"{command} needs {missing}, not installed here. "
            f'Install with: pip install "{PROGRAM}[{room}]"'
        ) from error
