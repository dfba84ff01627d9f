"""The rules by which a form of a model runs on a device: each as SPARQL, and in words with amounts.

A rule stores a device's facts in a normal form (bytes, hertz), so that its SPARQL need not know in
which units somebody described the device. A query joins the devices' facts once and holds a table
of forms against them, which is faster than a query for each form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from listen_embed.fleet.things.capabilities import C, Device, Form, Model, Runtime

# Predicate of a fact, and its value: a number or the IRI of a runtime.
Fact = tuple[str, int | str]


@dataclass(frozen=True, slots=True)
class Sparql:
    """A rule as SPARQL.

    Attributes
    ----------
    fact : str
        A pattern that every ``?device`` has that may run anything.
    condition : str
        What must hold; empty where the table's columns are joined with the facts.
    columns : mapping of str to tuple of str
        Variables that the form fills, each with one or more values.
    """

    fact: str
    condition: str
    columns: Mapping[str, tuple[str, ...]]


class Rule(Protocol):
    """One thing that a device must have."""

    def facts(self, device: Device) -> Iterable[Fact]:
        """Yield what is stored of a device; the predicates are of ``le:``."""

    def sparql(self, form: Form) -> Sparql:
        """Return the rule for a form."""

    def shortfall(self, form: Form, device: Device) -> str | None:
        """Return what a device lacks, by how much, or None."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Enough memory of a kind."""

    name: str
    fact: str
    has: Callable[[Device], int | None]
    needs: Callable[[Form], int]

    def facts(self, device: Device) -> Iterable[Fact]:
        """Yield the bytes, where they are stated."""
        if (has := self.has(device)) is not None:
            yield self.fact, has

    def sparql(self, form: Form) -> Sparql:
        """Return a comparison."""
        needs = f"?{self.fact}Needed"
        fact = f"?device le:{self.fact} ?{self.fact} ."
        return Sparql(fact, f"?{self.fact} >= {needs}", {needs: (str(self.needs(form)),)})

    def shortfall(self, form: Form, device: Device) -> str | None:
        """Return how many bytes lack."""
        needs, has = self.needs(form), self.has(device)
        if has is None:
            return f"{self.name}: needs {needs:,} bytes, the device states none"
        if has >= needs:
            return None
        return f"{self.name}: needs {needs:,} bytes, has {has:,}: {needs - has:,} too few"


class FloatingPoint:
    """A unit that computes in single precision, where a form needs one."""

    def facts(self, device: Device) -> Iterable[Fact]:
        """Yield 1 or 0."""
        yield "fpu", int(device.has_fpu)

    def sparql(self, form: Form) -> Sparql:
        """Return a comparison of 1 and 0."""
        needs = (str(int(form.needs_fpu)),)
        return Sparql("?device le:fpu ?fpu .", "?fpu >= ?fpuNeeded", {"?fpuNeeded": needs})

    def shortfall(self, form: Form, device: Device) -> str | None:
        """Return that it has none."""
        if device.has_fpu or not form.needs_fpu:
            return None
        return f"floating-point unit: needs one, {device.processor or 'the device'} has none"


class Rate:
    """One microphone that gives the form's sample rate, or a higher one where it resamples."""

    def facts(self, device: Device) -> Iterable[Fact]:
        """Yield every rate, and the highest one."""
        for rate in device.rates:
            yield "rate", rate
        if device.rates:
            yield "highestRate", device.rates[-1]

    def sparql(self, form: Form) -> Sparql:
        """Return an equality or a comparison."""
        column = {"?rate": (str(form.rate),)}
        if form.resamples:
            return Sparql("?device le:highestRate ?highest .", "?highest >= ?rate", column)
        return Sparql("?device le:rate ?rate .", "", column)

    def shortfall(self, form: Form, device: Device) -> str | None:
        """Return the nearest rate that it has."""
        if not device.rates:
            return f"microphone: needs one of {form.rate:,} Hz, has none"
        if form.resamples:
            gap = form.rate - device.rates[-1]
            said = f"needs {form.rate:,} Hz or more, reaches {device.rates[-1]:,}: {gap:,} too few"
            return f"sample rate: {said}" if gap > 0 else None
        if form.rate in device.rates:
            return None
        has = ", ".join(f"{rate:,}" for rate in device.rates)
        return f"sample rate: needs {form.rate:,} Hz, and C does not resample; has {has} Hz"


class Runs:
    """A runtime of the form's kind that has all of its operators.

    Parameters
    ----------
    identify : callable
        Gives the IRI of a runtime.
    known : iterable of Runtime
        Those that a query may name.
    """

    def __init__(self, identify: Callable[[Runtime], str], known: Iterable[Runtime] = ()) -> None:
        self._identify, self._known = identify, list(known)

    def facts(self, device: Device) -> Iterable[Fact]:
        """Yield each runtime."""
        for runtime in device.runtimes:
            yield "runs", self._identify(runtime)

    def sparql(self, form: Form) -> Sparql:
        """Return which runtimes take the form."""
        taking = {f"<{self._identify(one)}>" for one in self._known if one.takes(form)}
        return Sparql("?device le:runs ?runtime .", "", {"?runtime": tuple(sorted(taking))})

    def shortfall(self, form: Form, device: Device) -> str | None:
        """Return the operators that lack, or what it runs instead."""
        if any(runtime.takes(form) for runtime in device.runtimes):
            return None
        interpreters = [one for one in device.runtimes if one.operators is not None]
        if form.kind == C or not interpreters:
            has = ", ".join(one.name for one in device.runtimes) or "nothing"
            wanted = "exported C" if form.kind == C else "an interpreter of .tflite"
            return f"runtime: needs {wanted}, runs {has}"
        lacks = min((form.operators - (one.operators or set()) for one in interpreters), key=len)
        return f"operators: {', '.join(sorted(lacks))}: {len(lacks)} of {len(form.operators)} lack"


def rules(identify: Callable[[Runtime], str], known: Iterable[Runtime] = ()) -> tuple[Rule, ...]:
    """Return all rules, the most telling first.

    Parameters
    ----------
    identify : callable
        Gives the IRI of a runtime.
    known : iterable of Runtime
        Those that a query may name.
    """
    return (
        Runs(identify, known),
        Rate(),
        FloatingPoint(),
        Memory("RAM", "ram", lambda device: device.ram, lambda form: form.ram),
        Memory("flash", "flash", lambda device: device.flash, lambda form: form.flash),
    )


_WORDS = rules(lambda runtime: runtime.name)


def shortfalls(form: Form, device: Device) -> tuple[str, ...]:
    """Return all that a device lacks to run a form, by how much; empty where it runs."""
    found = (rule.shortfall(form, device) for rule in _WORDS)
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a device runs a model.

    Attributes
    ----------
    device, model : str
        Names.
    forms : tuple of Form
        Those that run there, as they are preferred: floating point, integers, interpreter.
    reasons : mapping of str to tuple of str
        What lacks, by the name of the form; for forms that there are not, why.
    """

    device: str
    model: str
    forms: tuple[Form, ...]
    reasons: dict[str, tuple[str, ...]]


_PREFERRED = ("c-float", "c-fixed", "tflite")


def verdict(model: Model, device: Device) -> Verdict:
    """Return whether a device runs a model, in which forms, and why not in the others."""
    reasons = {form.name: shortfalls(form, device) for form in model.forms}
    running = [form for form in model.forms if not reasons[form.name]]
    running.sort(key=lambda f: _PREFERRED.index(f.name) if f.name in _PREFERRED else 9)
    lacking = {name: (why,) for name, why in model.lacking.items()}
    refused = {name: why for name, why in reasons.items() if why}
    return Verdict(device.name, model.name, tuple(running), refused | lacking)
