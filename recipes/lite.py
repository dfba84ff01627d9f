"""Make `sea/64/lite`: what `sea/64/general` knows, in two thirds of the time and half the memory.

    python recipes/lite.py RECORDINGS... --run training-runs

It starts as `sea/64/general` in the wheel, takes a column of the log-mel every 20 ms instead of 10,
which halves the front end, and a coarser stem (`stem.py`), which takes a third off the network's
time and halves the largest of its pictures. Then it learns on twice, with int8's steps felt all the
while: the second time goes on from the file that the first one wrote, faster and longer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from stem import with_coarse_stem
from students import build_corpora, command, plans, recipes, ship

from listen_embed import registry, store
from listen_embed.training.distill import Settings
from listen_embed.training.network import Student
from listen_embed.training.restore import restore
from listen_embed.training.shards import Recipe
from listen_embed.training.starts import MN04_FRONT_END
from listen_embed.training.train import Material, Plan, train, write

SLUG, ORIGIN = "sea-64-lite", "sea/64/general"
SEED = 3
# Shards that exist, and how each pass goes through them.
PASSES = (
    (48, Settings(n_shards=48, learning_rate=5e-4)),
    (72, Settings(n_shards=140, learning_rate=7e-4)),
)


def lite(settings: Settings, student: Student) -> Plan:
    """Return the plan that goes on with a student."""
    (general,) = (s.plan for s in plans(Path()) if s.slug == "sea-64-general")
    return replace(
        general,
        identity=replace(general.identity, variant="lite", default=6),
        front_end=MN04_FRONT_END,
        start=lambda features: student,
        distillation=None,
        int8=settings,
    )


def beginning(recipe: Recipe, folder: Path, workers: int) -> Student:
    """Return the student of the wheel, with a stem that has learnt what its own one gives."""
    origin = registry.find(ORIGIN)
    front_ends = (origin.front_end, MN04_FRONT_END)
    heard = replace(recipe, front_ends=front_ends, teachers=(), lengths=(1,))
    return with_coarse_stem(restore(store.load(origin)), heard, folder, workers)


def main() -> None:
    """Make the model."""
    args = command(__doc__).parse_args()
    torch.set_num_threads(args.threads)
    everyday = recipes(build_corpora(args.recordings, args.run))["general"]
    recipe = replace(everyday, front_ends=(MN04_FRONT_END,), seed=SEED)
    student = beginning(recipe, args.run / "stems", args.workers)
    for number, (n_shards, settings) in enumerate(PASSES, start=1):
        plan = lite(settings, student)
        material = Material(recipe, args.run / "lite", n_shards, args.workers)
        outcome = train(plan, material, args.run / f"{SLUG}-{number}")
        student = restore(outcome.trained.int8_model)
    folder = args.run / "models" / SLUG
    facts = {
        "teachers": ", ".join(recipe.teachers),
        "start": f"{ORIGIN}, its stem anew",
        **{f"pass {i}, in int8": settings for i, (_, settings) in enumerate(PASSES, start=1)},
        "material": f"{PASSES[-1][0]} shards of {recipe.size} crops, seed {recipe.seed}",
        "seconds of the crops": recipe.lengths,
        "made by": "`python recipes/lite.py RECORDINGS`",
    }
    write(folder, plan, outcome, facts)
    ship(folder, args.weights / SLUG)


if __name__ == "__main__":
    main()
