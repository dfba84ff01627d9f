"""How fast are things described, added and matched? Writes docs/FLEET-THINGS.md's figures.

    python benchmarks/things.py [--devices 10000] [--docs docs/FLEET-THINGS.md]

Devices are made of the known parts, gateways among them, each with free memory of its own, so that
no two are alike. Models are all that need no download. Seconds are of this process's CPU, so that
other work on the computer does not count.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from listen_embed.device.parts import PARTS, Microphone
from listen_embed.fleet.things.capabilities import Device
from listen_embed.fleet.things.describe_device import describe_device, device_of_part
from listen_embed.fleet.things.describe_model import describe_model
from listen_embed.fleet.things.gather import at_hand
from listen_embed.fleet.things.registry import Registry
from listen_embed.fleet.things.this_computer import this_computer

_GATEWAY = this_computer("gateway", (Microphone("usb", (48_000,)),))
_N_ADDED = 50


def devices(n: int) -> Iterator[dict[str, Any]]:
    """Yield descriptions of devices that all differ."""
    rng = random.Random(0)
    kinds = [*map(device_of_part, PARTS), replace(_GATEWAY, ram=500_000_000)]
    for number in range(n):
        kind = rng.choice(kinds)
        yield describe_device(_one(kind, number, rng))


def _one(kind: Device, number: int, rng: random.Random) -> Device:
    name = f"device-{number}"
    iri = kind.iri.rpartition(":")[0] + f":{name}"
    return replace(
        kind, iri=iri, title=name, ram=rng.randrange((kind.ram or 2) // 2, kind.ram or 2)
    )


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    """Return what something gives, and its CPU seconds."""
    began = time.process_time()
    return do(), time.process_time() - began


def rss_mb() -> float:
    """Return the most memory that this process has taken, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def registry_rows(n: int) -> Iterator[str]:
    """Measure a registry in memory and one on disk."""
    models = [describe_model(spec) for spec in at_hand()]
    with tempfile.TemporaryDirectory() as folder:
        for place, path in (("memory", None), ("disk", Path(folder) / "store")):
            yield from _registry_rows(Registry(path), place, models, n)


def _registry_rows(
    found: Registry, place: str, models: list[dict[str, Any]], n: int
) -> Iterator[str]:
    before = rss_mb()
    _, took = timed(lambda: found.add_all(devices(n)))
    yield f"| {place}: load {n:,} devices, {len(found.store):,} triples | {took:.3g} s |"
    for model in models:
        found.add(model)
    matched, took = timed(found.match)
    n_forms = sum(map(len, matched.values()))
    n_found = sum(len(ones) for forms in matched.values() for ones in forms.values())
    what = f"match all with {len(models)} models in {n_forms} forms; {n_found:,} fit"
    yield f"| {place}: {what} | {took:.3g} s |"
    added = [timed(lambda d=one: found.add(d))[1] for one in devices(_N_ADDED)]  # type: ignore[misc]
    middle = 1e3 * statistics.median(added)
    yield f"| {place}: replace one device, median of {_N_ADDED} | {middle:.3g} ms |"
    yield f"| {place}: the slowest of them | {1e3 * max(added):.3g} ms |"
    yield f"| {place}: memory on top | {max(0.0, rss_mb() - before):.0f} MB |"


def parts_table() -> Iterator[str]:
    """Yield which model runs on which part, given a microphone of the right rate."""
    found, names = Registry(), [part.name for part in PARTS]
    ears = (Microphone("any", (8_000, 16_000, 32_000, 48_000)),)
    for part in PARTS:
        found.add(describe_device(replace(device_of_part(part, part.name), microphones=ears)))
    yield f"| model | flash, kB | RAM, kB | {' | '.join(names)} |"
    yield "|---|---|---|" + "---|" * len(names)
    for spec in at_hand():
        model = found.add(describe_model(spec))
        forms = [form for form in model.forms if form.kind == "c"]  # type: ignore[union-attr]
        if not forms:
            continue
        runs = [[form.name for form in found.why(name, model.iri).forms] for name in names]
        cells = " | ".join((names[0][2:] if names else "–") for names in runs)
        yield f"| {spec.name} | {forms[0].flash / 1e3:.1f} | {forms[0].ram / 1e3:.1f} | {cells} |"


def main() -> None:
    """Measure, print; with --docs replace the figures between the markers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    figures = ["| | CPU time, memory |", "|---|---|", *registry_rows(args.devices)]
    tables = {"figures": "\n".join(figures), "parts": "\n".join(parts_table())}
    for name, text in tables.items():
        print(text, end="\n\n")
        if args.docs:
            marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            docs = args.docs.read_text(encoding="utf-8")
            changed = marked.sub(lambda m, new=text: f"{m[1]}{new}\n{m[2]}", docs)
            args.docs.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main()
