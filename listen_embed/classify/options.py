"""What decides a training, checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

from listen_embed.errors import InputError

Method = Literal["head", "lean", "finetune"]
METHODS: tuple[Method, ...] = get_args(Method)
_DEFAULT_BASE = "pruned/384/mn04"
CHECKPOINT = "checkpoint.pt"  # of a run that can go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a classifier is made.

    Parameters
    ----------
    method : {"head", "lean", "finetune"}
        Frozen embeddings and a layer in seconds; a wave encoder beside a log-mel base; a base
        trained end to end.
    base : str
        The model to stand on; empty takes pruned/384/mn04.
    multi : bool, optional
        Whether clips may have several labels; None looks.
    window : float
        Seconds that one answer hears, 0.5 to 30, of `lean` and `finetune`; 0 takes the median
        clip's length, at most 10.
    epochs : int
        Passes at most; 0 takes the method's own.
    join : {"attention", "pooled", "none"}
        How `lean` joins its wave encoder; "none" leaves it out.
    wave : {"", "frozen", "trained"}
        Whether `lean`'s wave encoder stays as the package brings it, or learns too, which takes far
        longer; empty: it learns where the package brings none.
    seed : int
    """

    method: Method = "head"
    base: str = ""
    multi: bool | None = None
    window: float = 0.0
    epochs: int = 0
    join: Literal["attention", "pooled", "none"] = "attention"
    wave: Literal["", "frozen", "trained"] = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}; allowed are {', '.join(METHODS)}")
        if self.join not in ("attention", "pooled", "none"):
            raise InputError(f"join is {self.join!r}; allowed are attention, pooled, none")
        if self.wave not in ("", "frozen", "trained"):
            raise InputError(f"wave is {self.wave!r}; allowed are frozen and trained")
        if self.window and not 0.5 <= self.window <= 30:
            raise InputError(f"window is {self.window!r}; allowed are 0 and 0.5 to 30 seconds")
        if not 0 <= self.epochs <= 10_000 or not 0 <= self.seed < 2**31:
            raise InputError(f"epochs {self.epochs} or seed {self.seed} is out of range")

    @property
    def base_model(self) -> str:
        """The model to stand on."""
        return self.base or _DEFAULT_BASE

    def as_rows(self) -> dict[str, object]:
        """Return everything for a model card."""
        return dataclasses.asdict(self) | {"base": self.base_model}
