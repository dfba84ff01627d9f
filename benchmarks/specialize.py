"""Does a model of one's own pay? Five folders of recordings, each judged on others than it heard.

    python benchmarks/specialize.py DATA [--only NAME] [--run FOLDER] [--out docs]

DATA is a folder with ``uav-propeller``, ``cnc-onsite``, ``fsdd-mini``, ``us8k-part`` and
``esc50-16k`` (docs/DATA.md says where they come from, and their licences). One part of each is
learnt from, without its labels; the other, of other recordings, is what the verdict stands on: the
balanced accuracy of a few-shot head. Models that FOLDER holds are not made again, several calls may
run at once, and the table holds all that are done.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probe import read_meta

from listen_embed.training.specialize import Options, specialize
from listen_embed.training.starts import TEACHER
from listen_embed.training.verdict import OWN, RIVAL

_SETTINGS = Options(emb_dim=128, n_shards=24, workers=0)
LOG_MEL, NANO = "logmel/128/16k", "sea/32/nano"
Row = dict[str, str]


@dataclass(frozen=True)
class Folder:
    """A data set in two parts.

    Attributes
    ----------
    dataset, what : str
        Its folder; what it holds, in words.
    label, recording : str
        Columns of its meta.csv.
    is_heard : callable
        Whether a row is learnt from.
    teachers : tuple of str
        Machines are told apart by their steady spectrum, everyday sound by what mn04 hears.
    belongs : callable
        Whether a row takes part.
    """

    dataset: str
    what: str
    label: str
    recording: str
    is_heard: Callable[[Row], bool]
    teachers: tuple[str, ...] = (TEACHER,)
    belongs: Callable[[Row], bool] = lambda row: True


FOLDERS = {
    "uav": Folder(
        "uav-propeller", "propeller faults, 16 kinds", "config", "recording",
        lambda row: row["fold"] == "1", (LOG_MEL, NANO),
    ),
    "cnc": Folder(
        "cnc-onsite", "states of a CNC machine", "label", "path",
        lambda row: row["split"] == "train", (LOG_MEL,),
    ),
    "fsdd": Folder(
        "fsdd-mini", "spoken digits, other speakers", "label", "path",
        lambda row: row["speaker"] < "l", (LOG_MEL,),
    ),
    "us8k": Folder(
        "us8k-part", "a street, other recordings", "label", "freesound_id",
        lambda row: row["fold"] == "1",
    ),
    "esc": Folder(
        "esc50-16k", "ten animals, other recordings", "label", "freesound_id",
        lambda row: row["fold"] in "123", belongs=lambda row: int(row["target"]) < 10,
    ),
}  # fmt: skip


def make(name: str, data: Path, run: Path) -> None:
    folder = FOLDERS[name]
    rows = [row for row in read_meta(data / folder.dataset) if folder.belongs(row)]
    heard = [row for row in rows if folder.is_heard(row)]
    known = {row[folder.recording] for row in heard}
    asked = [row for row in rows if row[folder.recording] not in known]
    run.mkdir(parents=True, exist_ok=True)
    place = (data / folder.dataset).resolve()
    with open(run / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "recording"])
        for row in asked:
            table.writerow([place / row["path"], row[folder.label], row[folder.recording]])
    options = replace(
        _SETTINGS,
        teachers=folder.teachers,
        test=tuple(str(place / row["path"]) for row in asked),
        labels=str(run / f"{name}.csv"),
    )
    specialize([place / row["path"] for row in heard], run / name, options)


def table(run: Path) -> str:
    """Return the table of all that are done."""
    budget = f"{_SETTINGS.budget_bytes / 1000:.0f} kB"
    lines = [
        "# Does a model of your own pay?",
        "",
        f"Made by `benchmarks/specialize.py`: {_SETTINGS.n_shards // _SETTINGS.passes} shards of "
        f"{_SETTINGS.shard_size} crops, each gone through {_SETTINGS.passes} times; "
        f"{_SETTINGS.emb_dim} values, at most {budget}. Scores are balanced accuracies after up to "
        "five recordings of each class, on recordings that nothing was learnt from. Which teachers "
        "suit a folder was chosen with these folders in view.",
        "",
        f"| folder | recordings asked | learnt from | own, {budget} | {RIVAL} | {NANO} | {LOG_MEL} "
        f"| {TEACHER} | |",
        "|---|--:|---|--:|--:|--:|--:|--:|---|",
    ]
    verdicts = {name: json.loads(path.read_text(encoding="utf-8"))["verdict"]
                for name in FOLDERS if (path := run / name / "report.json").exists()}  # fmt: skip
    for name, verdict in verdicts.items():
        folder, scores = FOLDERS[name], verdict["scores"]
        columns = (OWN, RIVAL, NANO, LOG_MEL, TEACHER)
        cells = [f"{scores[c]:.3f}" if c in scores else "" for c in columns]
        lines.append(
            f"| {folder.what} | {verdict['n_recordings']} | {', '.join(folder.teachers)} "
            f"| {' | '.join(cells)} | {verdict['sentence']} |"
        )
    n_paid = sum(map(pays, verdicts.values()))
    lines += [
        "",
        f"On {n_paid} of {len(verdicts)} the own model is ahead of {NANO} and of {LOG_MEL}, and "
        f"{RIVAL}, three times its size, is not clearly ahead of it. A lead of less than a "
        "point is chance.",
    ]
    return "\n".join(lines) + "\n"


def pays(verdict: dict[str, Any]) -> bool:
    """Whether a model does what a smaller one and no network at all do not."""
    own, *others = (verdict["scores"][name] for name in (OWN, NANO, LOG_MEL))
    return own > max(others) and verdict["difference"] >= -verdict["error"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", action="append", choices=list(FOLDERS), metavar="NAME")
    parser.add_argument("--run", type=Path, default=Path("training-runs/specialized"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    for name in args.only or FOLDERS:
        if not (args.run / name / "report.json").exists():
            make(name, args.data, args.run)
    (args.out / "SPECIALIZED.md").write_text(table(args.run), encoding="utf-8")


if __name__ == "__main__":
    main()
