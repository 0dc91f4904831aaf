"""The area under a ROC curve with its 95 % interval, over all pairs of a high and a low answer or over some of them.

The area is the chance that the high one of a pair scores above the low one, ties half (Mann and Whitney's U, scaled). Its
interval holds every value `t` from which the one that was found is less than 1.96 standard errors away, of the errors
that it would have at `t`:

    (found - t)^2 <= 1.96^2 V(t)      V(t) = t (1 - t) (1 + N ((1 - t) / (2 - t) + t / (1 + t))) / pairs

`N` is with how many other pairs a pair shares an answer, on one side or the other, the mean of both; of all pairs of m and n
answers it is (m + n) / 2 - 1. V is Hanley and McNeil's variance, with what they derive from exponential scores of two
answers that share the third; solved for `t`, it gives an interval inside 0..1 that has a length even where the area is 0 or
1, and for few answers, where a standard error at the value found, or a bootstrap, says that nothing could be otherwise.

Source: Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method
5, which is this where all pairs are taken; Hanley and McNeil 1982, "The meaning and use of the area under a receiver
operating characteristic (ROC) curve". How often it holds the true value is simulated in `tests/judges/test_auroc.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from scipy.optimize import brentq

if TYPE_CHECKING:
    from collections.abc import Sequence

_Z = NormalDist().inv_cdf(0.975)
_EDGE = 1e-9  # beside 0 and 1, which solve the equation always


@dataclass(frozen=True, slots=True, kw_only=True)
class Auroc:
    """An area with its 95 % interval.

    Attributes:
        value: 0..1.
        low: Of the interval.
        high: Of the interval.
    """

    value: float
    low: float
    high: float


def auroc(high: Sequence[float], low: Sequence[float], pairs: Sequence[tuple[int, int]]) -> Auroc:
    """The area over pairs, at least one, of answers that should score high and low.

    Args:
        high: Scores of those that should be high.
        low: Scores of those that should be low.
        pairs: Places in both.
    """
    value = fmean((high[h] > low[l_]) + (high[h] == low[l_]) / 2 for h, l_ in pairs)
    shared = _shared(pairs)

    def beyond(t: float) -> float:
        spread = 1 + shared * ((1 - t) / (2 - t) + t / (1 + t))
        return (value - t) ** 2 - _Z**2 * t * (1 - t) * spread / len(pairs)

    return Auroc(
        value=value,
        low=0.0 if value == 0 else brentq(beyond, 0.0, min(value, 1 - _EDGE)),
        high=1.0 if value == 1 else brentq(beyond, max(value, _EDGE), 1.0),
    )


def _shared(pairs: Sequence[tuple[int, int]]) -> float:
    """With how many other pairs a pair shares its answer of one side, the mean over pairs and sides."""
    sides = [Counter(pair[side] for pair in pairs) for side in (0, 1)]
    return sum(count * (count - 1) for side in sides for count in side.values()) / len(pairs) / 2
