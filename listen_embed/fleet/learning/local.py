"""All nodes of a fleet in one process: for trying out, and for measuring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from listen_embed.fleet.keys import Verify
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.node import Model, Node
from listen_embed.fleet.learning.reptile import Plan, State
from listen_embed.fleet.learning.updates import Guard, RefusalError

Choose = Callable[[int], Sequence[Node]]
Tamper = Callable[[str, bytes], bytes]


def anybody(content: bytes, signature: bytes) -> bool:
    """Take every signature: within one process nobody else can send."""
    return True


class _Everybody(Mapping[str, Verify]):
    """Keys of any node."""

    def __getitem__(self, name: str) -> Verify:
        return anybody

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, name: object) -> bool:
        return True


def run(
    model: Model,
    agreement: Agreement,
    choose: Choose,
    plan: Plan,
    *,
    seed: int = 0,
    clip: bool = True,
    on_round: Callable[[State, list[int]], None] | None = None,
) -> State:
    """Hold all rounds of a plan and return where the fleet got.

    Parameters
    ----------
    model : Model
    agreement : Agreement
    choose : callable
        Round -> the nodes that take part in it; one is TinyReptile's serial round.
    plan : Plan
    seed : int
        Of the start.
    clip : bool
        Whether updates much longer than usual are shortened.
    on_round : callable, optional
        Told of every new state, and how many bytes each node sent.
    """
    guard = Guard(model.layout, agreement.digest, _Everybody(), clip)
    state = State.begin(model, plan, seed)
    for round_ in range(plan.rounds):
        messages = [node.answer(state.start) for node in choose(round_)]
        updates = []
        for message in messages:
            try:
                updates.append(guard.admit(message, round_).update)
            except RefusalError:
                continue  # the round goes on without it
        state = state.after(updates, plan, model.layout)
        if on_round is not None:
            on_round(state, [len(message) for message in messages])
    return state
