"""What members of a fleet must have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listen_embed.errors import InputError
from listen_embed.fleet.learning.layout import Agreement, Layer, Layout

LAYOUT = Layout((Layer("w", (3, 2)), Layer("b", (2,))))
AGREED = Agreement("network", LAYOUT, "sea/64", "ab12", ("off", "on", "mill"))


def test_an_agreement_is_read_as_it_was_written() -> None:
    assert Agreement.parse(AGREED.json()) == AGREED
    assert Agreement.parse(AGREED.json()).digest == AGREED.digest
    AGREED.require(Agreement.parse(AGREED.json()))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(AGREED, labels=("on", "off", "mill")), "the classes are in another order"),
        (replace(AGREED, labels=("off", "on")), r"missing \['mill'\]"),
        (replace(AGREED, labels=("off", "on", "mill", "saw")), r"new \['saw'\]"),
        (replace(AGREED, embedder="sea/32"), "the embedder is 'sea/32', in this fleet"),
        (replace(AGREED, embedder_digest="cd34"), "the embedder's digest is 'cd34'"),
        (replace(AGREED, kind="prior"), "what is learnt is 'prior'"),
        (replace(AGREED, layout=Layout((Layer("w", (2, 3)), Layer("b", (2,))))), "the layers are"),
    ],
)
def test_a_difference_is_named(other: Agreement, said: str) -> None:
    assert other.digest != AGREED.digest
    with pytest.raises(InputError, match=said):
        AGREED.require(other)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind":1}', "\xff", "[" * 5000,
     AGREED.json().replace("[3,2]", "[3,-2]"), AGREED.json().replace("[3,2]", "[3,true]"),
     AGREED.json().replace("[3,2]", "[3000,2000]"), AGREED.json().replace("[3,2]", "3"),
     AGREED.json().replace('"b"', '"w"')],
)  # fmt: skip
def test_what_is_no_agreement_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Agreement.parse(text)
