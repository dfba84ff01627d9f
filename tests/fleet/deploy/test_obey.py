"""What a device refuses to do, and why."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from listen_embed.fleet.deploy.obey import check
from listen_embed.fleet.deploy.refusal import Refusal

from .world import DEVICE, NOW, manifest, needs


def test_a_manifest_in_order_is_obeyed() -> None:
    check(manifest(sequence=5), DEVICE, 4, NOW)


@pytest.mark.parametrize(
    ("changes", "now", "said"),
    [
        ({"target": "urn:other"}, NOW, "is for urn:other, this is urn:listen-embed:thing:gateway"),
        ({"sequence": 4}, NOW, "sequence 4 is not above 4: old, or replayed"),
        ({"sequence": 3}, NOW, "sequence 3 is not above 4"),
        ({}, NOW + 3601, "expired at .* UTC; it is .* UTC here"),
        ({}, NOW - 86_400, "issued at .*; set this device's clock"),
        ({}, 0.0, "but it is 1970-01-01 00:00 UTC here; set this device's clock"),
    ],
)
def test_a_manifest_out_of_order_is_refused(changes: dict[str, Any], now: float, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        check(manifest(**{"sequence": 5} | changes), DEVICE, 4, now)


def test_what_does_not_run_here_is_refused_with_the_amount() -> None:
    small = dataclasses.replace(DEVICE, ram=1_000)
    lacks = needs()[0].ram - 1_000
    with pytest.raises(Refusal, match=f"does not run here: RAM: .*: {lacks:,} too few"):
        check(manifest(), small, 0, NOW)
