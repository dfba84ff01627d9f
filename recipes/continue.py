"""Go on training the everyday students that ship, from their own weights.

    python recipes/continue.py RECORDINGS... [--only NAME] --run training-runs

This is how this version's `sea/64/general` and `sea/32/nano` were made: those of 0.1.0, which
`students.py` made from nothing, learnt on from more recordings and from crops of one, two and five
seconds, with int8's steps felt all the while. A graph is written as the converter makes it today,
so a model of 0.1.0 loses its HARD_SWISH operators on the way. `--weights` is a folder of 0.1.0's
models (its wheel has one): those of today cannot be restored, but for nano.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from students import Shipped, build_corpora, command, plans, recipes, ship

from listen_embed.training.distill import Settings
from listen_embed.training.network import Student
from listen_embed.training.restore import restore
from listen_embed.training.shards import Recipe
from listen_embed.training.train import Material, Plan, train, write

N_SHARDS = 30
SEED = 3  # other crops than those of the first training
GENTLE = Settings(n_shards=24, learning_rate=1.5e-4)
SETTINGS = {"sea-32-nano": Settings(n_shards=60, learning_rate=5e-4)}


def continued(shipped: Shipped, weights: Path) -> Plan:
    """Return the plan that goes on with a shipped student."""
    start = partial(restored, weights / shipped.slug / "model.tflite")
    has_readout = shipped.plan.identity.emb_dim < 384
    return replace(
        shipped.plan,
        start=start,
        distillation=None,
        int8=SETTINGS.get(shipped.slug, GENTLE),
        # The reduction is fitted on the new crops, and turned otherwise than before.
        ridge=1e-2 if has_readout else None,
        folds_first=False,
    )


def restored(model: Path, features: torch.Tensor) -> Student:
    """Return the student that a .tflite holds; what it hears makes no difference."""
    return restore(model.read_bytes())


def facts(shipped: Shipped, plan: Plan, recipe: Recipe) -> dict[str, Any]:
    """Return what the card says about the training."""
    first = shipped.plan
    return {
        "teachers": ", ".join(recipe.teachers),
        "first training, by 0.1.0": first.distillation,
        "its fine-tuning for int8": first.int8,
        "balance of the reduction": shipped.balance,
        "continued, in int8": plan.int8,
        "material": f"{N_SHARDS} shards of {recipe.size} crops, seed {recipe.seed}",
        "seconds of the crops": recipe.lengths,
        "made by": f"`python recipes/continue.py RECORDINGS --only {shipped.slug}`",
    }


def main() -> None:
    """Go on with the named students, or with all."""
    parser = command(__doc__)
    everyday = [shipped for shipped in plans(Path()) if shipped.material == "general"]
    parser.add_argument("--only", action="append", choices=[shipped.slug for shipped in everyday])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = replace(recipes(build_corpora(args.recordings, args.run))["general"], seed=SEED)
    material = Material(recipe, args.run / "continued", N_SHARDS, args.workers)
    for shipped in everyday:
        if not args.only or shipped.slug in args.only:
            plan = continued(shipped, args.weights)
            outcome = train(plan, material, args.run / f"{shipped.slug}-continued")
            folder = args.run / "models" / shipped.slug
            write(folder, plan, outcome, facts(shipped, plan, recipe))
            ship(folder, args.weights / shipped.slug)


if __name__ == "__main__":
    main()
