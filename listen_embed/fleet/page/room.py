"""What the page shows: the registry, and what devices say about themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from listen_embed.errors import InputError
from listen_embed.fleet.deploy.watch import Seen, Watch, row
from listen_embed.fleet.keys import Verify
from listen_embed.fleet.things.capabilities import Model
from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.terms import short_name, thing_iri
from listen_embed.monitor.broker import parse

MAX_SHOWN = 500
# Matching is done again when something was added, but not more often.
_MATCH_EVERY_S = 5.0


class FleetRoom:
    """A fleet as its page may see it.

    Parameters
    ----------
    registry : Registry
    url : str, optional
        Of the broker and the fleet's topic; what describes itself there is added.
    members : mapping of str to callable
        Whose statuses are believed, as `Watch` takes them.
    """

    def __init__(
        self,
        registry: Registry,
        url: str | None = None,
        members: Mapping[str, Verify] = MappingProxyType({}),
    ) -> None:
        self.registry = registry
        self.problems: dict[str, str] = {}
        self._matched: tuple[float, int, list[dict[str, Any]]] = (-_MATCH_EVERY_S, -1, [])
        self._watch = None if url is None else Watch(parse(url), members, self._described)

    def _described(self, name: str, description: bytes) -> None:
        try:
            self.registry.add(description, thing_iri(name))
            self.problems.pop(name, None)
        except InputError as error:
            self.problems[name] = str(error)

    def close(self) -> None:
        """Hear no more."""
        if self._watch is not None:
            self._watch.close()

    def overview(self, wanted: str = "") -> dict[str, Any]:
        """Return counts, models, and the devices whose row has the wanted text."""
        rows = self._devices()
        running = Counter(str(one["model"]) for one in rows if one["model"])
        fitting = [
            one for one in rows if wanted.lower() in " ".join(map(str, one.values())).lower()
        ]
        return {
            "now": time.time(),
            "connected": self._watch is not None and self._watch.connection.up,
            "n_devices": len(rows),
            "n_online": sum(bool(one["online"]) for one in rows),
            "n_unwell": sum(one["health"] not in ("ok", "unknown") for one in rows),
            "n_refused": sum(bool(one["refused"]) for one in rows),
            "n_learning": sum(bool(one["learning"]) for one in rows),
            "n_fitting": len(fitting),
            "devices": fitting[:MAX_SHOWN],
            "models": [{**one, "n_running": running[one["name"]]} for one in self._models()],
            "problems": [f"{name}: {why}" for name, why in sorted(self._problems(rows))],
        }

    def _problems(self, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        """Yield descriptions that cannot be read and statuses that are not believed."""
        yield from self.problems.items()
        yield from ((str(one["name"]), str(one["problem"])) for one in rows if one["problem"])

    def _devices(self) -> list[dict[str, Any]]:
        """Return a row for each device that is described or that said something."""
        seen = self._watch.things() if self._watch is not None else {}
        named = {short_name(about): about for about in self.registry.devices()}
        names = sorted({*named, *seen})
        return [{**row(seen.get(name, Seen(name))), "id": named.get(name, "")} for name in names]

    def _models(self) -> list[dict[str, Any]]:
        """Return models with the number of devices that each form runs on."""
        moment, n_changes, found = self._matched
        now = self.registry.n_changes
        if n_changes != now and time.monotonic() - moment > _MATCH_EVERY_S:
            found = [self._model(about, forms) for about, forms in self.registry.match().items()]
            self._matched = (time.monotonic(), now, found)
        return found

    def _model(self, about: str, forms: dict[str, list[str]]) -> dict[str, Any]:
        model = self.registry.get(about)
        assert isinstance(model, Model)
        return {
            "name": model.name,
            "digest": model.digest,
            "size_bytes": model.size_bytes,
            "licence": model.licence,
            "n_able": len({device for devices in forms.values() for device in devices}),
            "forms": {name: len(devices) for name, devices in forms.items()},
        }

    def why(self, device: str) -> list[dict[str, Any]]:
        """Return for each model whether a device runs it, and what lacks."""
        verdicts = [self.registry.why(device, about) for about in self.registry.models()]
        return [
            {
                "model": one.model,
                "forms": [form.name for form in one.forms],
                "reasons": {name: list(why) for name, why in one.reasons.items()},
            }
            for one in verdicts
        ]
