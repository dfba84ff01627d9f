"""Fuzz everything of the package that reads bytes from outside: ``python -m fuzz``.

Every target runs in a process of its own, in turn. Without ``--runs`` this goes on, round after
round, until it is told to stop. What is learnt of a target's inputs is kept in ``.fuzz/``, and so
is every input that makes it crash, hang or eat memory; put such an input into ``fuzz/corpus/``
once it is mended, where tests and fuzzing begin with it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz.targets import CORPUS, TARGETS

WORK = Path(".fuzz")
MAX_SECONDS = 30  # of one input, by the clock: other work may be going on
MAX_MEGABYTES = 2048
MAX_LENGTH = 16_384  # bytes of an input
_RUNS_OF_A_ROUND = 20_000


def main() -> int:
    """Run the targets that are asked for; return how many found something."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all without")
    parser.add_argument("--runs", type=int, help="inputs of each target; without, until stopped")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    found = 0
    for name in _in_turn(args.targets or list(TARGETS), forever=args.runs is None):
        found += not _passes(name, args.runs or _RUNS_OF_A_ROUND)
    return found


def _in_turn(names: list[str], *, forever: bool) -> Iterator[str]:
    return itertools.cycle(names) if forever else iter(names)


def _passes(name: str, n_runs: int) -> bool:
    learnt, findings = WORK / "corpus" / name, WORK / "found" / name
    for folder in (learnt, findings):
        folder.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{name}.log"
    begun = time.monotonic()
    with open(log, "wb") as file:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz.one", name),
                f"-runs={n_runs}",
                f"-timeout={MAX_SECONDS}",
                f"-rss_limit_mb={MAX_MEGABYTES}",
                f"-max_len={MAX_LENGTH}",
                f"-artifact_prefix={findings}/",
                *(str(learnt), str(CORPUS / name)),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    seconds = time.monotonic() - begun
    said = "nothing" if done.returncode == 0 else f"SOMETHING: see {log} and {findings}"
    print(f"{name}: {n_runs} runs, {seconds:.0f} s, found {said}", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    try:
        sys.exit(min(main(), 1))
    except KeyboardInterrupt:
        print("stopped")
