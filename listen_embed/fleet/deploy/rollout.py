"""An operator brings a model to a fleet, or takes it back, and waits for what the devices say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from listen_embed.fleet.deploy import package, topics
from listen_embed.fleet.deploy.manifest import FileInfo, Manifest, seal
from listen_embed.fleet.deploy.targets import Target
from listen_embed.fleet.deploy.watch import Seen, Watch
from listen_embed.fleet.things.capabilities import Device, Model

_NO_ANSWER = "no answer yet; the manifest waits for it at the broker"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a deployment to one device; `why` is empty where it did what it was told."""

    device: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """Who signs, from when and for how long, in seconds."""

    key: Ed25519PrivateKey
    lasts_s: float
    now: float

    @property
    def issued(self) -> int:
        """When manifests are issued."""
        return int(self.now)

    @property
    def expires(self) -> int:
        """When manifests expire."""
        return int(self.now + self.lasts_s)


def deploy(
    watch: Watch,
    model: Model,
    files: Mapping[str, bytes],
    chosen: Iterable[Target],
    order: Order,
) -> dict[str, Manifest]:
    """Publish a model and a manifest for each device that runs it; return them by names."""
    known, infos = watch.things(), package.infos(files)
    manifests = {
        one.device.name: _manifest(model, one, infos, known.get(one.device.name), order)
        for one in chosen
        if one.form is not None
    }
    if manifests:
        base = watch.connection.address.topic
        watch.connection.deliver(
            [(topics.file(base, infos[name].sha256), files[name], True) for name in sorted(files)]
        )
        _send(watch, manifests, order.key)
    return manifests


def _manifest(
    model: Model, target: Target, infos: Mapping[str, FileInfo], seen: Seen | None, order: Order
) -> Manifest:
    return Manifest(
        target=target.device.iri,
        model=model.name,
        digest=model.digest,
        sequence=next_sequence(seen, order.now),
        needs=target.form,
        files=infos,
        issued=order.issued,
        expires=order.expires,
    )


def roll_back(watch: Watch, devices: Iterable[Device], order: Order) -> dict[str, Manifest]:
    """Publish a manifest for each device that has a model to go back to; return them by names."""
    known, manifests = watch.things(), {}
    for device in devices:
        seen = known.get(device.name)
        if seen is not None and seen.status is not None and seen.status.previous:
            manifests[device.name] = Manifest(
                target=device.iri,
                model=seen.status.previous_model,
                digest=seen.status.previous,
                sequence=next_sequence(seen, order.now),
                action="rollback",
                issued=order.issued,
                expires=order.expires,
            )
    _send(watch, manifests, order.key)
    return manifests


def next_sequence(seen: Seen | None, now: float) -> int:
    """Return a sequence above all that a device can know: the time, or one more than it says."""
    last = 0 if seen is None or seen.status is None else seen.status.sequence
    return max(int(now), last + 1)


def _send(watch: Watch, manifests: Mapping[str, Manifest], key: Ed25519PrivateKey) -> None:
    base = watch.connection.address.topic
    if manifests:
        watch.connection.deliver(
            [
                (topics.thing(base, name, "deploy"), seal(manifest, key), True)
                for name, manifest in manifests.items()
            ]
        )


def await_all(
    watch: Watch,
    manifests: Mapping[str, Manifest],
    longest_s: float,
    tell: Callable[[int], None] = lambda n: None,
) -> list[Outcome]:
    """Wait until each device did what its manifest says, refused it, or time is up.

    Parameters
    ----------
    tell : callable
        Told how many have answered, now and then.
    """
    deadline, done = time.monotonic() + longest_s, False
    while not done and (left := deadline - time.monotonic()) > 0:
        done = watch.wait_for(
            lambda seen: _n_answers(manifests, seen) == len(manifests), min(left, 1)
        )
        tell(_n_answers(manifests, watch.things()))
    seen = watch.things()
    return [Outcome(name, _answer(one, seen.get(name)) or "") for name, one in manifests.items()]


def _n_answers(manifests: Mapping[str, Manifest], seen: Mapping[str, Seen]) -> int:
    answers = (_answer(one, seen.get(name)) for name, one in manifests.items())
    return sum(answer != _NO_ANSWER for answer in answers)


def _answer(manifest: Manifest, seen: Seen | None) -> str:
    """Return why a device did not do what it was told, or nothing."""
    status = None if seen is None else seen.status
    if status is not None and status.sequence >= manifest.sequence:
        return "" if status.digest == manifest.digest else f"it runs {status.model} meanwhile"
    if status is not None and status.refused_sequence == manifest.sequence:
        return f"refused: {status.refused}"
    return _NO_ANSWER
