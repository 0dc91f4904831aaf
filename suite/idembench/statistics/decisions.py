"""Estimates to decisions: the comparisons that make the statements, vectorised over leading axes.

Only booleans and bounds here; `words.py` says them and `analysis.py` puts them together. All compared
numbers are rounded first (`estimates.rounded`), and NaN never passes a comparison: what could not be
estimated is not claimed.

Levels: intervals are two-sided 95 % (`alpha` 0.05), and what a reader can read off them (taken, lost,
weakened, drift) is decided by them. Equivalence and non-inferiority use one-sided bounds at `alpha`,
as two one-sided tests do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idembench.statistics import estimates as est

if TYPE_CHECKING:
    import numpy.typing as npt

    from idembench.statistics.estimates import BoolArray, Estimates, FloatArray
    from idembench.statistics.rules import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """What iterating did, decided from cycles 2..K against cycle 1.

    Args:
        bounds: float64 [..., K - 1], smallest margin at which each cycle is equivalent to cycle 1.
        proven: float64 [...], the largest of them: the smallest margin at which all cycles are.
        worst: int64 [...], the cycle it comes from.
        idempotent: bool [...], no comparison misses too many pairs and all bounds are under the margin.
        amplified: bool [...], the predeclared drift test finds a rise.
        decayed: bool [...], the predeclared drift test finds a fall.
    """

    bounds: FloatArray
    proven: FloatArray
    worst: npt.NDArray[np.int64]
    idempotent: BoolArray
    amplified: BoolArray
    decayed: BoolArray


def decide_iteration(against_first: Estimates, rule: Rule) -> Iteration:
    """Decide equivalence at every cycle, and drift at the last one.

    Equivalence at all cycles is an intersection-union test: each at level `alpha`, no correction, since
    the claim fails if any one fails. The drift test looks at cycle K alone, once, whatever the cycles
    between did. Both can hold: a drift that is real and smaller than the margin.

    Args:
        against_first: Estimates of y[k] - y[1] for k = 2..K, shape [..., K - 1], K >= 2.
        rule: The decision rule.

    Source: Berger 1982, Technometrics 24 (intersection-union); design.md, section 7.
    """
    bounds = est.equivalence_bound(against_first, alpha=rule.alpha)
    low, high = est.interval(against_first, alpha=rule.alpha)
    enough = against_first.missing <= rule.max_missing
    return Iteration(
        bounds=bounds,
        proven=bounds.max(axis=-1),
        worst=bounds.argmax(axis=-1) + 2,
        idempotent=np.all(enough & (bounds < rule.margin), axis=-1),
        amplified=enough[..., -1] & (low[..., -1] > 0.0),
        decayed=enough[..., -1] & (high[..., -1] < 0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherence:
    """What iterating did to coherence, decided from cycles 2..K against cycle 1.

    Args:
        lowest: float64 [...], lowest one-sided lower bound of the change over cycles.
        worst: int64 [...], the cycle it comes from.
        p_holm: float64 [..., K - 1], one-sided p-values against 'did not fall', Holm-adjusted.
        held: bool [...], non-inferior at every cycle.
        fell: bool [...], lower at some cycle after correction.
    """

    lowest: FloatArray
    worst: npt.NDArray[np.int64]
    p_holm: FloatArray
    held: BoolArray
    fell: BoolArray


def decide_coherence(against_first: Estimates, rule: Rule) -> Coherence:
    """Decide non-inferiority at every cycle (intersection-union) and a fall at any (Holm).

    Both can hold: a fall that is real and smaller than the margin.

    Args:
        against_first: Estimates of coherence[k] - coherence[1] for k = 2..K, shape [..., K - 1].
        rule: The decision rule.
    """
    lower = est.one_sided_lower(against_first, alpha=rule.alpha)
    p_holm = est.rounded(est.holm(est.lower_p(against_first)))
    enough = against_first.missing <= rule.max_missing
    return Coherence(
        lowest=lower.min(axis=-1),
        worst=lower.argmin(axis=-1) + 2,
        p_holm=p_holm,
        held=np.all(enough & (lower > -rule.coherence_margin), axis=-1),
        fell=np.any(enough & (p_holm < rule.alpha), axis=-1),
    )


def turned_back(from_first: Estimates, to_last: Estimates, rule: Rule) -> BoolArray:
    """Whether the trait went one way and then the other: not a monotone path between its ends.

    For an inner cycle j, a monotone path has y[j] - y[1] and y[K] - y[j] of one sign; if both differ from
    zero with opposite signs (Holm over all these 2 (K - 2) tests), the path turned at j.

    Args:
        from_first: Estimates of y[j] - y[1] for j = 2..K - 1, shape [..., K - 2].
        to_last: Estimates of y[K] - y[j] for the same j.
        rule: The decision rule.
    """
    both = np.concatenate([est.two_sided_p(from_first), est.two_sided_p(to_last)], axis=-1)
    adjusted = est.rounded(est.holm(both))
    inner = from_first.estimate.shape[-1]
    real = (adjusted[..., :inner] < rule.alpha) & (adjusted[..., inner:] < rule.alpha)
    opposite = np.sign(from_first.estimate) * np.sign(to_last.estimate) < 0.0
    enough = (from_first.missing <= rule.max_missing) & (to_last.missing <= rule.max_missing)
    result: BoolArray = np.any(real & opposite & enough, axis=-1)
    return result


def beyond_margin(changes: FloatArray, rule: Rule) -> BoolArray:
    """Which seeds moved beyond the margin, whatever their mean did.

    Only the change to the last cycle counts: over all cycles, 200 answers a checkpoint alone would carry
    a quarter of the seeds of a constant trait beyond 10 points at one of them (simulated). What
    remains of measurement noise makes the count err upwards; see error-rates.md.

    Args:
        changes: float64 [...], y[K] - y[1] of each seed; NaN counts as not moved.
        rule: The decision rule.
    """
    result: BoolArray = np.abs(est.rounded(changes)) > rule.margin
    return result
