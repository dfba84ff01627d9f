"""Amounts in any unit, and the ones that are refused."""

from __future__ import annotations

import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.things.terms import iri
from listen_embed.fleet.things.units import BYTES, HERTZ, amount


@pytest.mark.parametrize(
    ("value", "unit", "n_bytes"),
    [
        ("64", "om:kilobyte", 64_000),
        ("64", iri("om:kilobyte"), 64_000),
        ("64", iri("unit:KibiBYTE"), 65_536),
        ("0.5", "MiB", 524_288),
        ("1.5", "kB", 1_500),
        (" 7 ", "B", 7),
        ("1e3", "2P", 1_000_000),
    ],
)
def test_memory_becomes_bytes(value: str, unit: str, n_bytes: int) -> None:
    assert amount("RAM", value, unit, BYTES) == n_bytes


def test_rates_become_hertz() -> None:
    assert amount("rate", "44.1", "unit:KiloHZ", HERTZ) == 44_100


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        ("64", None, "RAM is 64 without a unit; state one of unit:BYTE"),
        ("64", "unit:HZ", "RAM is 64 in 'unit:HZ'; allowed units are unit:BYTE"),
        ("64 kB", "B", "RAM is '64 kB'; give a number, the unit beside it"),
        ("many", "B", "give a number"),
        ("-1", "B", "allowed are 0"),
        ("NaN", "B", "allowed are 0"),
        ("Infinity", "B", "allowed are 0"),
        ("1e99", "B", "allowed are 0"),
    ],
)
def test_what_is_no_amount_is_refused(value: str, unit: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        amount("RAM", value, unit, BYTES)
