"""Worker processes: order, errors, who prepares them; tests of the batch end them in all ways."""

from __future__ import annotations

import os
from functools import partial

import pytest

from listen_embed import pool
from listen_embed.errors import ListenEmbedError


def power(exponent: int, base: int) -> tuple[int, str]:
    if base < 0:
        raise ValueError("no negative ones")
    return base**exponent, os.environ.get("PREPARED", "")


def prepare() -> None:
    os.environ["PREPARED"] = "yes"


def die(task: int) -> None:
    os._exit(9)


def test_results_come_in_order_from_prepared_processes() -> None:
    results = pool.in_order(partial(power, 2), range(7), 2, ahead=3, begin=prepare)
    assert list(results) == [(i, (i * i, "yes")) for i in range(7)]
    assert "PREPARED" not in os.environ


def test_an_error_is_raised_here() -> None:
    results = pool.in_order(partial(power, 2), [1, -1, 2], 1)
    assert next(results) == (1, (1, ""))
    with pytest.raises(ValueError, match="no negative ones"):
        next(results)


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(ListenEmbedError, match="5: a worker process ended abruptly"):
        list(pool.in_order(die, [5], 1))
