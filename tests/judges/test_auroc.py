"""The area under a ROC curve: its interval is the published one, holds the truth as often as it says, and never vanishes."""

from __future__ import annotations

import math
import random
from itertools import product
from statistics import NormalDist

import pytest
from scipy.stats import mannwhitneyu

from idembench.judges.auroc import Auroc, auroc

Z = 1.959963984540054


def every(high: list[float], low: list[float]) -> list[tuple[int, int]]:
    """All pairs."""
    return list(product(range(len(high)), range(len(low))))


def drawn(seed: int, *, m: int, n: int, area: float) -> tuple[list[float], list[float]]:
    """Scores of which a high one is above a low one with the chance `area`."""
    choice = random.Random(seed)
    apart = math.sqrt(2) * NormalDist().inv_cdf(area)
    return [choice.gauss(apart, 1) for _ in range(m)], [choice.gauss(0, 1) for _ in range(n)]


def hanley_mcneil(area: float, m: int, n: int) -> float:
    """The standard error of an area as Hanley and McNeil 1982 give it, equation 1 with q1 and q2 of exponential scores."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    return math.sqrt((area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (m * n))


@pytest.mark.parametrize("area", [0.5, 0.7, 0.95])
def test_the_ends_are_1_96_published_standard_errors_away(area: float) -> None:
    """Of as many high as low answers, the value found is as far from either end as the error there says, by their formula."""
    high, low = drawn(1, m=30, n=30, area=area)

    found = auroc(high, low, every(high, low))

    assert mannwhitneyu(high, low).statistic / 900 == pytest.approx(found.value)
    for end in (found.low, found.high):
        assert abs(found.value - end) == pytest.approx(Z * hanley_mcneil(end, 30, 30))


def test_sides_of_unlike_size_count_as_their_mean() -> None:
    """Newcombe's method 5: of m and n answers each has (m + n) / 2 - 1 companions."""
    high, low = drawn(2, m=12, n=40, area=0.8)

    found = auroc(high, low, every(high, low))

    for end in (found.low, found.high):
        spread = 1 + (26 - 1) * ((1 - end) / (2 - end) + end / (1 + end))
        assert abs(found.value - end) == pytest.approx(Z * math.sqrt(end * (1 - end) * spread / (12 * 40)))


def test_turned_over_it_is_its_mirror_image() -> None:
    """High taken for low and low for high, all three numbers are those that are missing to 1."""
    high, low = drawn(3, m=9, n=14, area=0.8)
    high[0] = low[0]

    one, other = auroc(high, low, every(high, low)), auroc(low, high, every(low, high))

    assert (1 - one.value, 1 - one.high, 1 - one.low) == pytest.approx((other.value, other.low, other.high))


def test_an_area_of_1_leaves_room_and_more_answers_less_of_it() -> None:
    """Three answers on either side that are told apart prove little, fifty a lot; ties are halves."""
    few, many = (auroc([1.0] * n, [0.0] * n, every([1.0] * n, [0.0] * n)) for n in (3, 50))

    assert (1.0, 1.0) == (few.value, few.high) == (many.value, many.high)
    assert 0.45 < few.low < 0.55
    assert 0.92 < many.low < 0.98
    assert Auroc(value=0.0, low=0.0, high=pytest.approx(1 - few.low)) == auroc(
        [0] * 3, [1] * 3, every([0] * 3, [1] * 3)
    )
    assert 0.5 == auroc([1.0] * 5, [1.0] * 4, every([1.0] * 5, [1.0] * 4)).value


def test_fewer_pairs_of_the_same_answers_say_less() -> None:
    """Pairs that share no answer are independent: the interval is that of a share of so many."""
    high, low = [float(n) for n in range(20)], [n + (0.5 if n % 4 else -0.5) for n in range(20)]
    pairs = [(n, n) for n in range(20)]

    found = auroc(high, low, pairs)
    wilson = [
        (0.25 + Z**2 / 40 + sign * Z * math.sqrt(0.25 * 0.75 / 20 + Z**2 / 1600)) / (1 + Z**2 / 20) for sign in (-1, 1)
    ]

    assert 0.25 == found.value
    assert wilson == pytest.approx([found.low, found.high])


@pytest.mark.parametrize(("m", "n", "area"), [(30, 30, 0.75), (30, 30, 0.95), (4, 8, 0.75), (3, 3, 0.9)])
@pytest.mark.parametrize("share", [1.0, 0.3], ids=["all pairs", "some pairs"])
def test_the_interval_holds_the_truth_as_often_as_it_says(m: int, n: int, area: float, share: float) -> None:
    """Over 400 draws of normal scores between 92 and 99 % of intervals hold the true area, for few answers and for some pairs."""
    held = drawn_in_all = 0
    for seed in range(400):
        high, low = drawn(seed, m=m, n=n, area=area)
        choice = random.Random(-seed - 1)
        pairs = [pair for pair in every(high, low) if choice.random() <= share]
        if pairs:
            found = auroc(high, low, pairs)
            held += found.low <= area <= found.high
            drawn_in_all += 1

    assert 0.92 <= held / drawn_in_all <= 0.99
