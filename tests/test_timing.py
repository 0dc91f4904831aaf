"""Named timers."""

from __future__ import annotations

import time

import pytest

from idembench.timing import WORK, Timers


def test_times_add_up_by_name() -> None:
    """Entering a name twice adds both stays and counts them."""
    timers = Timers()
    for _ in range(2):
        with timers.time("load"):
            time.sleep(0.01)

    assert 0.02 <= timers.seconds["load"] < 5
    assert {"load": 2} == timers.counts


def test_an_error_inside_is_timed_too() -> None:
    """What fails took its time as well, and the error goes on."""
    timers = Timers()
    with pytest.raises(ZeroDivisionError), timers.time("load"):
        raise ZeroDivisionError

    assert {"load": 1} == timers.counts


def test_work_is_the_four_named_kinds() -> None:
    """Forward and backward, optimizer, generation and likelihoods are the work; all else is overhead."""
    timers = Timers()
    for name in WORK:
        timers.add(name, 2.0)
    timers.add("step.train", 100.0)

    assert 8.0 == timers.work_s()
    assert pytest.approx(0.2) == timers.overhead_share(total_s=10.0)


@pytest.mark.parametrize(("total_s", "expected"), [(0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (4.0, 0.5)])
def test_overhead_is_a_share(total_s: float, expected: float) -> None:
    """Nothing elapsed means no overhead, and overlapping timers never make it negative."""
    timers = Timers()
    timers.add("generate", 2.0)

    assert expected == timers.overhead_share(total_s=total_s)
