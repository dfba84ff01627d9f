"""Amounts of memory in bytes and rates in hertz, whatever unit they were written in."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from listen_embed.errors import InputError
from listen_embed.fleet.things.terms import iri

_K = 1024
# Units of QUDT and OM, UN/CEFACT codes (schema:unitCode), and what people write.
_BYTES = {
    "unit:BYTE": 1, "om:byte": 1, "AD": 1, "B": 1, "byte": 1, "bytes": 1,
    "unit:KiloBYTE": 1000, "om:kilobyte": 1000, "2P": 1000, "kB": 1000, "KB": 1000,
    "unit:KibiBYTE": _K, "om:kibibyte": _K, "E64": _K, "KiB": _K,
    "unit:MegaBYTE": 1000**2, "om:megabyte": 1000**2, "4L": 1000**2, "MB": 1000**2,
    "unit:MebiBYTE": _K**2, "om:mebibyte": _K**2, "E63": _K**2, "MiB": _K**2,
    "unit:GigaBYTE": 1000**3, "om:gigabyte": 1000**3, "E34": 1000**3, "GB": 1000**3,
    "unit:GibiBYTE": _K**3, "om:gibibyte": _K**3, "E62": _K**3, "GiB": _K**3,
}  # fmt: skip
_HERTZ = {
    "unit:HZ": 1, "om:hertz": 1, "HTZ": 1, "Hz": 1,
    "unit:KiloHZ": 1000, "om:kilohertz": 1000, "KHZ": 1000, "kHz": 1000,
    "unit:MegaHZ": 1000**2, "om:megahertz": 1000**2, "MHZ": 1000**2, "MHz": 1000**2,
}  # fmt: skip


def _whole(table: dict[str, int]) -> dict[str, int]:
    """Return the table with every unit under its IRI, too."""
    return table | {iri(unit): factor for unit, factor in table.items() if ":" in unit}


BYTES, HERTZ = _whole(_BYTES), _whole(_HERTZ)
_LARGEST = 2**53


def amount(what: str, value: str, unit: str | None, table: dict[str, int]) -> int:
    """Return a value in the table's base unit, rounded down.

    Parameters
    ----------
    what : str
        What is stated, for the error.
    value : str
        A decimal number.
    unit : str or None
        An IRI, a code or an abbreviation.
    table : dict
        `BYTES` or `HERTZ`.

    Raises
    ------
    InputError
        No number, no unit, or a unit that does not fit; it says which.
    """
    if unit is None:
        raise InputError(f"{what} is {value} without a unit; state one of {_allowed(table)}")
    if unit not in table:
        raise InputError(f"{what} is {value} in {unit!r}; allowed units are {_allowed(table)}")
    try:
        number = Decimal(value.strip()) * table[unit]
    except InvalidOperation:
        raise InputError(f"{what} is {value!r}; give a number, the unit beside it") from None
    if not (number.is_finite() and 0 <= number < _LARGEST):
        raise InputError(f"{what} is {value} {unit}; allowed are 0 to 2^53 of the base unit")
    return int(number)


def _allowed(table: dict[str, int]) -> str:
    return ", ".join(unit for unit in table if unit.startswith("unit:"))
