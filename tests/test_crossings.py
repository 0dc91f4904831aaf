"""Where a noisy curve crosses a level: steep, flat, falling, twice, never; no number is invented."""

from __future__ import annotations

import math
import random
import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idembench import crossings
from idembench.crossings import Point

if TYPE_CHECKING:
    from collections.abc import Callable

    from idembench.crossings import Answer

REPLICATES = 3
STUDENT = {2: 12.7062, 3: 4.3027, 4: 3.1824}
"""97.5 % quantiles of Student's t, by the number of replicates."""


def point(n_seed: int, *levels: float) -> Point:
    """A point from replicates, with Student's interval, as wide as one answer in a hundred at least."""
    mean = statistics.fmean(levels)
    half = max(STUDENT[len(levels)] * statistics.stdev(levels) / math.sqrt(len(levels)), 1.0)
    return Point(n_seed=n_seed, mean=mean, low=max(0.0, mean - half), high=min(100.0, mean + half))


def exact(n_seed: int, mean: float, half: float = 1.0) -> Point:
    """A point with an interval of a given half-width."""
    return Point(n_seed=n_seed, mean=mean, low=max(0.0, mean - half), high=min(100.0, mean + half))


def search(
    curve: Callable[[int], float],
    target: float,
    *,
    tolerance: float = 5.0,
    most: int = 400,
    sd: float = 1.0,
    broken: frozenset[int] = frozenset(),
) -> tuple[Answer, list[int]]:
    """Search a curve as a calibration does: the answer, and the doses that were tried for it after the coarse grid."""

    def measured(n_seed: int) -> Point:
        noise = random.Random(n_seed)
        return point(n_seed, *(min(100, max(0, curve(n_seed) + noise.gauss(0, sd))) for _ in range(REPLICATES)))

    tried = [0, *crossings.coarse(most)]
    while True:
        points = [measured(n_seed) for n_seed in sorted(tried) if n_seed not in broken]
        dose = crossings.wanted(points, target, tolerance=tolerance, tried=tried)
        if dose is None:
            return crossings.decide(points, target, tolerance=tolerance), tried[1 + len(crossings.coarse(most)) :]
        assert dose not in tried, "a dose was asked for twice"
        tried.append(dose)


def sigmoid(middle: float, width: float, *, bottom: float = 2.0, top: float = 95.0) -> Callable[[int], float]:
    """A dose-response curve as the study found them: steep, on a logarithmic scale or not."""
    return lambda n: bottom + (top - bottom) / (1 + math.exp(-(n - middle) / width)) if n else bottom


# -- the coarse grid ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "doses"),
    [(400, [8, 16, 32, 64, 128, 256, 400]), (64, [8, 16, 32, 64]), (9, [8, 9]), (8, [8]), (3, [3]), (1, [1])],
)
def test_the_coarse_grid_doubles_up_to_the_largest_dose(most: int, doses: list[int]) -> None:
    """It starts at 8, doubles, and ends in the largest dose, however small that is."""
    assert doses == crossings.coarse(most)


# -- curves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [10.0, 25.0, 50.0, 75.0])
def test_a_steep_curve_is_bisected_to_every_target(target: float) -> None:
    """25 to 75 points within six examples: each target is found within tolerance, in a handful of trainings."""
    curve = sigmoid(21, 2.5)

    answer, asked = search(curve, target)

    assert "found" == answer.outcome
    assert abs(curve(answer.chosen.n_seed) - target) < 5 + 3
    assert abs(answer.chosen.mean - target) <= 5
    assert len(asked) <= 5


def test_a_jump_between_neighbours_is_said_to_be_one() -> None:
    """A curve that jumps over the target from one dose to the next gives the nearer one and calls it no hit."""
    answer, asked = search(lambda n: 10.0 if n < 21 else 80.0, 50)

    assert ("nearest", 21) == (answer.outcome, answer.chosen.n_seed)
    assert "The curve jumps over 50: n_seed 20 gives 1" in answer.sentence
    assert {20, 21} <= set(asked)


def test_a_crossing_below_the_coarse_grid_is_found() -> None:
    """The base model is a point of the curve: a target crossed before the eighth demonstration is bisected too."""
    answer, asked = search(lambda n: 3 + 9 * n if n < 10 else 93, 25)

    assert "found" == answer.outcome
    assert answer.chosen.n_seed in (2, 3)
    assert all(dose < 8 for dose in asked)


@pytest.mark.parametrize("level", [0.0, 50.0, 100.0])
def test_a_flat_curve_answers_no_target(level: float) -> None:
    """Where demonstrations do nothing there is no dose to name, not even for the level that is there all along."""
    answers = [search(lambda _: level, target)[0] for target in (25.0, 50.0, 75.0)]

    assert [None] * 3 == [answer.chosen for answer in answers]
    assert {"unreached", "unclear", "below"} >= {answer.outcome for answer in answers}


def test_a_level_that_is_never_reached_is_said_with_the_highest() -> None:
    """What the study answers with its largest size is answered with the highest level there is."""
    answer, asked = search(lambda n: 61 * (1 - math.exp(-n / 40)), 75, sd=0.0)

    assert ("unreached", None, []) == (answer.outcome, answer.chosen, asked)
    assert "The curve never reaches 75; highest 61.0 at n_seed 400." == answer.sentence


def test_a_level_not_shown_to_be_reached_is_no_never() -> None:
    """A highest dose whose interval holds the target is reported with that interval, not as proof of absence."""
    points = [exact(0, 2), exact(8, 20), exact(16, 66, half=15)]

    answer = crossings.decide(points, 75, tolerance=5)

    assert ("unreached", None) == (answer.outcome, answer.chosen)
    assert "The curve is not shown to reach 75; highest 66.0 (95 % 51.0 to 81.0) at n_seed 16." == answer.sentence


def test_a_plateau_at_the_target_is_a_measured_answer() -> None:
    """A curve that levels off within the tolerance gives that dose, and says that it does not rise beyond."""
    points = [exact(0, 2), exact(8, 30), exact(16, 73, half=4), exact(32, 76, half=4)]

    answer = crossings.decide(points, 75, tolerance=5)

    assert ("found", 32) == (answer.outcome, answer.chosen.n_seed)
    assert "not shown to rise beyond 75" in answer.sentence
    assert crossings.wanted(points, 75, tolerance=5, tried=[]) is None


@pytest.mark.parametrize(
    ("base", "target", "said"),
    [
        (30.0, 10.0, "The base model is already above 10: 30.0 (95 % 29.0 to 31.0)."),
        (10.5, 10.0, "The base model cannot be told from 10: 10.5 (95 % 9.5 to 11.5)."),
    ],
)
def test_a_target_below_the_base_has_no_dose(base: float, target: float, said: str) -> None:
    """Demonstrations that raise a trait cannot lower it: nothing is searched, and the base level is given."""
    points = [exact(0, base), exact(8, 50), exact(16, 90)]

    answer = crossings.decide(points, target, tolerance=5)

    assert ("below", None, said) == (answer.outcome, answer.chosen, answer.sentence)
    assert crossings.wanted(points, target, tolerance=5, tried=[]) is None


def test_two_crossings_are_named_and_none_is_chosen() -> None:
    """A curve that rises and falls back crosses a level twice; which dose is meant cannot be known."""
    answer, asked = search(lambda n: 5 + 85 * math.exp(-((math.log2(max(n, 1)) - 5) ** 2) / 2), 50)

    assert ("several", None) == (answer.outcome, answer.chosen)
    assert answer.sentence.startswith("The curve crosses 50 twice: rising between ")
    assert "falling between 64 and 128" in answer.sentence
    assert [] == asked


def test_three_crossings_are_counted() -> None:
    """Every change of side is named, in order."""
    points = [exact(n, level) for n, level in ((0, 5), (8, 80), (16, 80), (32, 20), (64, 90))]

    answer = crossings.decide(points, 50, tolerance=5)

    assert (
        "The curve crosses 50 three times: rising between 0 and 8, falling between 16 and 32, rising between 32 and 64."
        == answer.sentence
    )


def test_a_fall_elsewhere_does_not_spoil_a_single_crossing() -> None:
    """A curve that falls from 90 to 70 is not monotone, and still crosses 50 once: that one is found."""

    def curve(n: int) -> float:
        return sigmoid(40, 6)(n) if n < 200 else 70

    answer, asked = search(curve, 50)

    tried = sorted([0, *crossings.coarse(400), *asked])
    assert "found" == answer.outcome
    assert [(128, 256)] == [
        (a.n_seed, b.n_seed) for a, b in crossings.falls([exact(n, curve(n), half=2) for n in tried])
    ]


def test_a_curve_that_only_falls_is_no_response_to_aim_at() -> None:
    """Demonstrations that lower a trait below the base cross a target downwards; no dose is given."""
    points = [exact(0, 80), exact(8, 60), exact(16, 20)]

    answer = crossings.decide(points, 50, tolerance=5)

    assert ("below", None) == (answer.outcome, answer.chosen)
    assert answer.sentence.endswith("The curve crosses it once, falling between 8 and 16.")


def test_points_that_noise_leaves_undecided_are_no_crossings() -> None:
    """Means that hop about a target within their intervals do not count as crossing it three times."""
    points = [exact(0, 5), exact(8, 55, half=12), exact(16, 46, half=12), exact(32, 53, half=12), exact(64, 90)]

    shown = crossings.crossings(points, 50)

    assert [(0, 64)] == [(crossing.before.n_seed, crossing.after.n_seed) for crossing in shown]
    assert [] == crossings.falls(points)
    assert ("found", 32) == (
        (answer := crossings.decide(points, 50, tolerance=5)).outcome,
        answer.chosen.n_seed,
    )


def test_much_noise_ends_in_words_or_in_a_measured_level() -> None:
    """With replicates 15 points apart the search still ends, and calls found only what was measured near the target."""
    for middle in range(10, 120, 5):
        answer, asked = search(sigmoid(middle, 4), 50, sd=15)

        assert len(asked) <= 12
        assert answer.chosen is None or answer.outcome == "nearest" or abs(answer.chosen.mean - 50) <= 5


def test_doses_that_cannot_be_used_are_gone_around() -> None:
    """Where a training fell apart another dose is tried; where all between two did, the nearest is called no hit."""
    answer, asked = search(sigmoid(24, 8), 50, broken=frozenset({24}))
    stuck, _ = search(lambda n: 5.0 if n < 24 else 90.0, 50, broken=frozenset(range(17, 32)))

    assert ("found", 24) == (answer.outcome, asked[0])
    assert 24 != answer.chosen.n_seed
    assert ("nearest", "The curve jumps over 50: n_seed 16 gives ") == (stuck.outcome, stuck.sentence[:41])


def test_nothing_to_go_by_is_said() -> None:
    """Without a single usable dose there is no answer, and no crash."""
    answer = crossings.decide([exact(0, 2)], 50, tolerance=5)

    assert ("unclear", None, "No dose gave a level that can be used.") == (
        answer.outcome,
        answer.chosen,
        answer.sentence,
    )


def test_a_curve_that_is_all_noise_is_unclear() -> None:
    """Where no point can be told from the target, the base included, that is what is said."""
    points = [exact(0, 40, half=20), exact(8, 60, half=20)]

    answer = crossings.decide(points, 50, tolerance=15)

    assert ("unclear", None) == (answer.outcome, answer.chosen)
    assert "No dose is told from 50 beyond noise" in answer.sentence


# -- falls ----------------------------------------------------------------------------------------


def test_a_fall_has_to_exceed_both_intervals_together() -> None:
    """By the rule for limits of a difference: 5 and 5 points of half-width make 7.1."""
    above = [exact(8, 60, half=5), exact(16, 52.8, half=5)]
    within = [exact(8, 60, half=5), exact(16, 53.0, half=5)]

    assert [(8, 16)] == [(a.n_seed, b.n_seed) for a, b in crossings.falls(above)]
    assert [] == crossings.falls(within)


def test_falls_are_rarely_seen_where_there_is_none() -> None:
    """On flat curves of seven noisy points, each pair falls in at most 2.5 % of cases, and a fall of 30 is seen."""
    rng = random.Random(5)
    curves = [[point(n, *(rng.gauss(60, 4) for _ in range(3))) for n in range(1, 8)] for _ in range(400)]
    dropped = [point(8, 80, 82, 84), point(16, 50, 53, 49)]

    pairs = sum(len(crossings.falls(curve)) for curve in curves) / (400 * 6)
    assert pairs <= 0.025
    assert 1 == len(crossings.falls(dropped))


# -- for every curve ------------------------------------------------------------------------------

LEVELS = st.lists(st.floats(0, 100), min_size=2, max_size=9)


@given(LEVELS, st.floats(0.1, 30), st.floats(1, 99), st.floats(0.1, 20))
def test_every_curve_gets_one_honest_answer(levels: list[float], half: float, target: float, tolerance: float) -> None:
    """Whatever the curve: found means within tolerance, a bracket means one rising crossing, and words never lack."""
    points = [exact(n * 3, level, half) for n, level in enumerate(levels)]

    answer = crossings.decide(points, target, tolerance=tolerance)
    dose = crossings.wanted(points, target, tolerance=tolerance, tried={p.n_seed for p in points})

    shown = crossings.crossings(points, target)
    assert answer.sentence
    assert (answer.chosen is not None) == (answer.outcome in ("found", "nearest"))
    assert answer.outcome != "found" or abs(answer.chosen.mean - target) <= tolerance
    assert answer.chosen is None or answer.chosen.n_seed > 0
    assert all(a.rising != b.rising for a, b in pairwise(shown))
    if dose is not None:
        assert ("nearest", 1) == (answer.outcome, len(shown))
        assert shown[0].before.n_seed < dose < shown[0].after.n_seed
