"""Holds the rounds: whom to ask, what to let in, where the start moves; whatever carries it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from listen_embed.fleet.keys import Verify
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.messages import RUN_BYTES, Founding, Question
from listen_embed.fleet.learning.node import Model
from listen_embed.fleet.learning.record import Record
from listen_embed.fleet.learning.reptile import Plan, State
from listen_embed.fleet.learning.updates import Guard, RefusalError, Update, named_in


@dataclass(frozen=True)
class Members:
    """Who belongs to a fleet.

    Attributes
    ----------
    keys : mapping of str to callable
        Name -> what verifies its signatures.
    at_once : int
        How many are asked in a round; 1 is TinyReptile's serial round.
    """

    keys: Mapping[str, Verify]
    at_once: int


class Coordinator:
    """One run of a fleet, journalled: made again on its journal, it goes on.

    Parameters
    ----------
    model : Model
    agreement : Agreement
    plan : Plan
    members : Members
    record : Record
    seed : int
        Of the first start.
    """

    def __init__(
        self,
        model: Model,
        agreement: Agreement,
        plan: Plan,
        members: Members,
        record: Record,
        seed: int = 0,
    ) -> None:
        self._layout, self._plan, self._members = model.layout, plan, members
        self._record = record
        self.founding = record.founding(Founding(os.urandom(RUN_BYTES), agreement))
        self._guard = Guard(model.layout, self.founding.digest, members.keys)
        self._updates: list[Update] = []
        kept = record.state()
        if kept is None:
            self.state = State.begin(model, plan, seed)
            record.keep_state(self.state, [])
        else:
            self.state = kept[0]
            self._guard.remember(kept[1])
        self._take_again()
        self._asked: tuple[str, ...] = ()

    def _take_again(self) -> None:
        """Take what a killed coordinator had let in for this round."""
        for _, content in self._record.updates(self.state.round):
            self._updates.append(self._guard.admit(content, self.state.round).update)

    @property
    def is_done(self) -> bool:
        """Whether all rounds are over."""
        return self.state.round >= self._plan.rounds

    @property
    def missing(self) -> set[str]:
        """Nodes that were asked and have not answered."""
        return set(self._asked) - {update.node for update in self._updates}

    def ask(self, present: Collection[str]) -> Question:
        """Return this round's question, to members that are there, in turn."""
        answered = [update.node for update in self._updates]
        there = sorted(set(present) & set(self._members.keys) | set(answered))
        first = self.state.round * self._members.at_once
        n = min(self._members.at_once, len(there))
        self._asked = (
            () if self.is_done else tuple(there[(first + i) % len(there)] for i in range(n))
        )
        return Question(self.state.start, self._plan.rounds, self._asked)

    def take(self, node: str, content: bytes) -> str | None:
        """Take a node's message; return None, or why it is not let in.

        A message that comes twice is let in once, and the second goes without a word: brokers
        deliver at least once.
        """
        if any(update.node == node for update in self._updates) and self._is_known(node, content):
            return None
        try:
            if (named := named_in(content)) != node:
                raise RefusalError(f"the update is {named!r}'s, but came from {node!r}")
            update = self._guard.admit(content, self.state.round).update
        except RefusalError as error:
            self._record.remark(self.state.round, node, str(error))
            return str(error)
        self._record.keep_update(self.state.round, node, content)
        self._updates.append(update)
        return None

    def _is_known(self, node: str, content: bytes) -> bool:
        return (node, content) in self._record.updates(self.state.round)

    def end_round(self) -> None:
        """Move the start by what was let in; nodes that did not answer are noted as lost."""
        for node in sorted(self.missing):
            self._record.remark(self.state.round, node, "lost: it was asked and did not answer")
        self.state = self.state.after(self._updates, self._plan, self._layout)
        self._record.keep_state(self.state, self._guard.norms)
        self._updates, self._asked = [], ()
