"""Rounds over Flower, for gateways and data centres: its apps carry the messages that MQTT carries.

``client`` and ``server`` are named in an app's pyproject.toml, as in examples/flower. What a node
needs to know stands in its SuperNode's ``--node-config``: ``name``, ``key``, ``coordinator``,
``samples``, ``embedder``, and where its updates shall be differentially private ``dp-clip``,
``dp-epsilon`` and ``dp-delta``. The run's configuration has ``key``, ``members``, ``journal``,
``embedder``, ``labels`` (with commas between), ``rounds``, ``nodes``, ``timeout-s``, ``out``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp import Grid, ServerApp

from listen_embed.embedder import Embedder
from listen_embed.errors import InputError
from listen_embed.fleet import keys
from listen_embed.fleet.keys import Sign
from listen_embed.fleet.learning.coordinator import Coordinator, Members
from listen_embed.fleet.learning.files import make_node, read_samples, save_start
from listen_embed.fleet.learning.layout import Agreement, Vector
from listen_embed.fleet.learning.messages import Founding, Question
from listen_embed.fleet.learning.network import Answers, Learnt, Rows, Way
from listen_embed.fleet.learning.node import Model
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.record import Record
from listen_embed.fleet.learning.reptile import Plan
from listen_embed.fleet.learning.updates import RefusalError, Sending

_POLL_S = 0.5
_ASKED, _ANSWER, _STATE, _VALUES = "asked", "answer", "answered", "values"
# Any two updates of a clipped norm are twice that apart at most.
_FARTHEST_APART = 2


def train(message: Message, context: Context) -> Message:
    """Learn from a round's start and reply with a signed update."""
    update = _answer(message, context)
    name = _text(context.node_config, "name")
    content = RecordDict({_ANSWER: ConfigRecord({"node": name, "update": update})})
    return Message(content=content, reply_to=message)


def _answer(message: Message, context: Context) -> bytes:
    asked, config = message.content[_ASKED], context.node_config
    verify = keys.verifier(_text(config, "coordinator"))
    founding = Founding.unpack(asked["agreement"], verify)
    question = Question.unpack(asked["start"], founding, verify)
    _require_new(founding, question, context)
    embedder = Embedder(_text(config, "embedder"), threads=1)
    samples = read_samples(Path(_text(config, "samples")), embedder)
    key, name = keys.private(Path(_text(config, "key"))), _text(config, "name")
    node = make_node(founding.agreement, name, samples, embedder, Sending(), key.sign)
    node.bound_to = founding.digest
    if "dp-clip" in config:
        node.model = Private(node.model, privacy(config), message, context)
    return node.answer(question.start)


def _require_new(founding: Founding, question: Question, context: Context) -> None:
    """Refuse a start of a round that is over; the round is remembered with the node's state."""
    before, round_ = context.state.get(_STATE), question.start.round
    if before is not None and before["run"] == founding.run and round_ < before["round"]:
        raise RefusalError(f"the start is of round {round_}, which is over")
    context.state[_STATE] = ConfigRecord({"run": founding.run, "round": round_})


def _text(config: Mapping[str, Any], name: str) -> str:
    if not isinstance(value := config.get(name), str) or not value:
        raise InputError(f"{name} is {value!r}; give a text in the configuration")
    return value


def privacy(config: Mapping[str, Any]) -> LocalDpMod:
    """Return Flower's mod by a node's configuration; raise `InputError` where that is not whole."""
    clip, epsilon, delta = (_above_0(config, f"dp-{n}") for n in ("clip", "epsilon", "delta"))
    return LocalDpMod(clip, _FARTHEST_APART * clip, epsilon, delta)


def _above_0(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name)
    if not isinstance(value, float | int) or not 0 < value < float("inf"):
        raise InputError(f"{name} is {value!r}; give a number above 0 in the configuration")
    return float(value)


@dataclass
class Private:
    """A model that tells what Flower's mod for local differential privacy lets through.

    The mod stands before the node signs: noise added to a signed update would break the signature.
    How steps should be lengthened is not told at all.

    Attributes
    ----------
    model : Model
    mod : LocalDpMod
        Clips the way from the start, and adds noise.
    message : Message
        What was asked.
    context : Context
        Of the app.
    """

    model: Model
    mod: LocalDpMod
    message: Message
    context: Context

    def __post_init__(self) -> None:
        self.kind, self.layout = self.model.kind, self.model.layout

    def begin(self, seed: int) -> Vector:
        """Return where the first round starts."""
        return self.model.begin(seed)

    def learn(self, start: Vector, x: Rows, y: Answers, rates: Vector, way: Way) -> Learnt:
        """Return what is learnt, clipped and with noise."""
        learnt = self.model.learn(start, x, y, rates, way)
        # The mod divides by the length of the way: none at all is told as one of a rounding.
        is_still = np.array_equal(learnt.vector, start)
        end = np.nextafter(start, np.float32(np.inf)) if is_still else learnt.vector
        asked, told = self._with(start), self._with(end)
        reply = self.mod(asked, self.context, lambda *_: told)
        if reply.has_error():
            raise InputError(f"no differential privacy: {reply.error.reason}")
        (vector,) = reply.content[_VALUES].to_numpy_ndarrays()
        return Learnt(vector.astype(np.float32), np.zeros_like(learnt.signals))

    def _with(self, vector: Vector) -> Message:
        content = RecordDict({_VALUES: ArrayRecord([vector])})
        return Message(content=content, reply_to=self.message)


def main(grid: Grid, context: Context) -> None:
    """Hold all rounds and save the start that they end with."""
    config = context.run_config
    key = keys.private(Path(_text(config, "key")))
    model, agreement = _agreed(config)
    members = keys.read_members(Path(_text(config, "members")))
    record = Record(Path(_text(config, "journal")))
    try:
        plan = Plan(int(config["rounds"]), 1.0, 0.5)
        everybody = Members(members, len(members))
        coordinator = Coordinator(model, agreement, plan, everybody, record)
        while not coordinator.is_done:
            _hold_round(grid, coordinator, members, key.sign, config)
        save_start(Path(_text(config, "out")), agreement, coordinator.state.start)
    finally:
        record.close()


def _agreed(config: Mapping[str, Any]) -> tuple[Prior, Agreement]:
    embedder = Embedder(_text(config, "embedder"), threads=1)
    labels = tuple(_text(config, "labels").split(","))
    model = Prior(embedder.spec.emb_dim, len(labels))
    return model, Agreement(model.kind, model.layout, embedder.spec.name, embedder.digest, labels)


def _hold_round(
    grid: Grid,
    coordinator: Coordinator,
    members: Iterable[str],
    sign: Sign,
    config: Mapping[str, Any],
) -> None:
    founding, round_ = coordinator.founding, coordinator.state.round
    start = coordinator.ask(list(members)).pack(founding, sign)
    asked = ConfigRecord({"agreement": founding.pack(sign), "start": start})
    messages = [
        Message(content=RecordDict({_ASKED: asked}), message_type="train", dst_node_id=node)
        for node in _nodes(grid, int(config["nodes"]))
    ]
    replies = grid.send_and_receive(messages, timeout=float(config["timeout-s"]))
    n_let_in = sum(_take(reply, coordinator) for reply in replies)
    coordinator.end_round()
    print(f"round {round_} is over, updates let in: {n_let_in}", flush=True)


def _take(reply: Message, coordinator: Coordinator) -> bool:
    """Let the update of a reply in, or say why not."""
    if reply.has_error():
        print(f"a node failed: {reply.error.reason}", flush=True)
        return False
    answer = reply.content[_ANSWER]
    refusal = coordinator.take(str(answer["node"]), bytes(answer["update"]))
    if refusal is not None:
        print(f"refused: {refusal}", flush=True)
    return refusal is None


def _nodes(grid: Grid, least: int) -> list[int]:
    """Return the SuperNodes that are there, once there are enough."""
    while len(nodes := list(grid.get_node_ids())) < least:
        time.sleep(_POLL_S)
    return nodes


client = ClientApp()
client.train()(train)
server = ServerApp()
server.main()(main)
