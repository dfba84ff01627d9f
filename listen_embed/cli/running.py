"""Carrying out a plan: one model, every sound, a result for each or a table of all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from typing import TypeVar

from listen_embed import output
from listen_embed.batch import Options, Work, check_jobs, in_order
from listen_embed.cli.jobs import Job, Plan, as_format, vector_of, work_on, writing_to_stdout
from listen_embed.console import Console, printable
from listen_embed.embedder import Embedding
from listen_embed.errors import ListenEmbedError, OutputError, blame
from listen_embed.files import provenance_of, seconds_of
from listen_embed.progress import Bar, Progress, Unseen

Result = TypeVar("Result")


class Run:
    """A plan and the model that it is done with.

    Parameters
    ----------
    plan : Plan
        What to do.
    args : Namespace
        The command line, in whose words `Options` is written, too.
    console : Console
        Told what fails.

    Raises
    ------
    InputError, ModelNotFoundError
        There is no such model, or it cannot do what is asked.
    """

    def __init__(self, plan: Plan, args: argparse.Namespace, console: Console) -> None:
        self._plan = plan
        self._args = args
        self._console = console
        names = {field.name for field in fields(Options)} & set(vars(args))
        self._options = Options(**{name: getattr(args, name) for name in names}, hush=True)
        self._embedder = self._options.load(progress=self._is_watched)
        self._n_failed = 0

    def to_the_end(self) -> int:
        """Do all jobs; return how many failed."""
        if self._plan.table is not None:
            self._tabulate()
        else:
            for job, n_embeddings in self._done(work_on):
                self._tell(job, n_embeddings)
        return self._n_failed

    def _done(self, work: Work[Job, Result]) -> Iterator[tuple[Job, Result]]:
        """Yield every job that ends well with its result, and say which do not."""
        jobs = self._plan.jobs
        n_processes = min(check_jobs(self._args.jobs), len(jobs))
        with self._progress() as bar:
            self._console.progress = bar
            for job, made in in_order(work, jobs, self._embedder, self._options, n_processes, bar):
                if isinstance(made, ListenEmbedError):
                    self._console.say(blame(job.source, made))
                    self._n_failed += 1
                else:
                    yield job, made

    def _tabulate(self) -> None:
        place, provenance = self._plan.table, provenance_of(self._embedder)
        assert place is not None
        format = as_format(place.suffix)
        if place.file is not None:
            output.save_table(self._rows(), place.file, format, provenance)
            if self._is_watched:
                self._console.note(f"{place.file}: one embedding for each sound, {self._by}")
        else:
            with writing_to_stdout() as stream:
                output.dump_table(self._rows(), stream, format, provenance)

    def _rows(self) -> Iterator[tuple[str, Embedding]]:
        for job, vector in self._done(vector_of):
            yield job.name, vector
        if self._n_failed == len(self._plan.jobs):
            raise OutputError("no sound could be embedded, so no table is written")

    def _tell(self, job: Job, n_embeddings: int) -> None:
        """Say what came out: as the result where nothing is saved, else to a person who watches."""
        if job.target is None and not job.to_stdout:
            print(printable(f"{job.name}: {self._summary(n_embeddings)}"))
            if job.picture is None:
                self._console.note("nothing saved; --out FILE.npz does (or .npy, .csv, .parquet)")
        elif job.target is not None and self._is_watched:
            self._console.note(f"{job.target}: {self._summary(n_embeddings)}")

    def _summary(self, n_embeddings: int) -> str:
        size = f"of {self._embedder.spec.emb_dim} values"
        if self._args.clip:
            return f"one embedding {size}, {self._by}"
        hop = f"one every {self._args.hop_size:g} s"
        return f"{n_embeddings} embeddings {size}, {hop}, {self._by}"

    @property
    def _by(self) -> str:
        return f"by {self._embedder.spec.name}"

    @property
    def _is_watched(self) -> bool:
        return bool(self._args.progress or (sys.stderr.isatty() and not self._args.quiet))

    def _progress(self) -> Progress:
        if not self._is_watched:
            return Unseen()
        durations = [seconds_of(job.source) for job in self._plan.jobs]
        return Bar(durations, patience=0.0) if self._args.progress else Bar(durations)
