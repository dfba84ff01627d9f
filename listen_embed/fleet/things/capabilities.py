"""What a device has and what a model needs, in bytes and hertz: all that matching reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from listen_embed.device.parts import Microphone
from listen_embed.fleet.things.terms import short_name

# Ways to run a model: as exported C, or its .tflite in an interpreter; and this package's runtime.
C, TFLITE = "c", "tflite"
PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Runtime:
    """Something on a device that runs models.

    Attributes
    ----------
    name : str
        ``"c"``, ``"python"``, or of an interpreter that others describe.
    operators : frozenset of str or None
        The .tflite operators that it has, by the schema's names; None where models bring their own.
    """

    name: str
    operators: frozenset[str] | None = None

    def takes(self, form: Form) -> bool:
        """Whether a form of a model is of the kind that runs here, operators and all."""
        if form.kind == C:
            return self.name == C
        return self.operators is not None and form.operators <= self.operators


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a device has; None where it is not stated.

    Attributes
    ----------
    iri, title : str
    board, processor, system : str
    ram, flash : int or None
        Bytes that a model may take: the free ones where they are stated, else all.
    has_fpu : bool
        Whether it computes in single precision.
    clock_hz : int or None
    microphones : tuple of Microphone
    runtimes : tuple of Runtime
    base : str
        Address of its topics, or empty.
    """

    iri: str
    title: str
    board: str = ""
    processor: str = ""
    system: str = ""
    ram: int | None = None
    flash: int | None = None
    total_ram: int | None = None
    total_flash: int | None = None
    has_fpu: bool = False
    clock_hz: int | None = None
    microphones: tuple[Microphone, ...] = ()
    runtimes: tuple[Runtime, ...] = ()
    base: str = ""

    @property
    def name(self) -> str:
        """What it is called in topics and on command lines: the end of its identifier."""
        return short_name(self.iri)

    @property
    def rates(self) -> tuple[int, ...]:
        """All rates in Hz that some microphone can be read at."""
        return tuple(sorted({rate for one in self.microphones for rate in one.rates}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to run a model, and what that needs.

    Attributes
    ----------
    kind : {"c", "tflite"}
    arithmetic : str
        Of the C front end, ``"float"`` or ``"fixed"``; empty elsewhere.
    ram, flash : int
        Bytes.
    arena, front_end : int
        Bytes of the RAM that are the network's tensors, and the front end's.
    needs_fpu : bool
    rate : int
        Of the sound, in Hz.
    resamples : bool
        Whether sound of a higher rate will do, too.
    operators : frozenset of str
        That an interpreter must have.
    """

    kind: str
    arithmetic: str = ""
    ram: int
    flash: int
    arena: int = 0
    front_end: int = 0
    needs_fpu: bool = False
    rate: int
    resamples: bool = False
    operators: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """``c-float``, ``c-fixed``, ``tflite``."""
        return f"{self.kind}-{self.arithmetic}" if self.arithmetic else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a model is and needs.

    Attributes
    ----------
    iri, name, digest, licence : str
    emb_dim, macs, size_bytes : int
    forms : tuple of Form
        The ways to run it.
    lacking : mapping of str to str
        Ways that there are not, by name, and why.
    """

    iri: str
    name: str
    digest: str
    licence: str = ""
    emb_dim: int
    macs: int = 0
    size_bytes: int = 0
    forms: tuple[Form, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)


def form_iri(model: Model, form: Form) -> str:
    """Return how one form of a model is identified."""
    return f"{model.iri}/{form.name}"
