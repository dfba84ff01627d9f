"""Literals and comments that C takes, whatever stands in a model card."""

from __future__ import annotations

import numpy as np
import pytest

from listen_embed.device.text import float_literal, in_comment
from listen_embed.errors import InputError


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (1.0, "1.0f"),
        (-0.5, "-0.5f"),
        (1e-10, "1.00000001e-10f".replace("1.00000001", "1.0")),
        (0.0, "0.0f"),
    ],
)
def test_floats_have_a_point_and_an_f(value: float, literal: str) -> None:
    assert float(float_literal(value).rstrip("f")) == pytest.approx(float(literal.rstrip("f")))
    assert "." in float_literal(value) and float_literal(value).endswith("f")


def test_every_float32_comes_back() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 3000, dtype=np.uint64).astype(np.uint32)
    for value in bits.view(np.float32):
        if np.isfinite(value):
            assert np.float32(float_literal(float(value)).rstrip("f")) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_what_is_no_float_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="does not fit a C float"):
        float_literal(value)


@pytest.mark.parametrize("text", ["*/ int x;", "a\\", "??/", "line\nline", "ö", ""])
def test_a_comment_cannot_be_left(text: str) -> None:
    made = in_comment(text)
    assert made.isascii() and made
    assert "*/" not in made and "\\" not in made and "??" not in made and "\n" not in made
