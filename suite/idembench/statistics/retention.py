"""Retention: what share of the seeded trait is left at the end, with a Fieller interval.

A ratio of means over seeds, never a mean of ratios: one seed whose seeding barely took would rule the
latter. The numerator y[K] - y[base] and the denominator y[0] - y[base] share the base, so they are
correlated and their covariance enters. The interval exists only if the denominator differs clearly from
zero, which is one more reason to ask for it only where seeding is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from idembench.statistics import estimates as est

if TYPE_CHECKING:
    from idembench.statistics.estimates import FloatArray
    from idembench.statistics.results import Estimand


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio with its interval; `interval` is None if it is unbounded or has no standard error."""

    estimate: float
    interval: tuple[float, float] | None
    standard_error: float | None
    dof: float
    n_seeds: int
    missing: float
    source: int


def retention(scores: FloatArray, *, estimand: Estimand, alpha: float, repeats: int) -> Ratio | None:
    """Estimate (y[K] - y[base]) / (y[0] - y[base]), or None without scores or with a zero denominator.

    The covariance of the two means, with its degrees of freedom, is taken from what varies under the
    estimand or from its floor (see `estimates`): whichever gives `numerator - ratio * denominator`, at the
    estimate, the wider interval.

    Args:
        scores: float64 [S, C, Q], checkpoints base, c0, ..., cK with K >= 1.
        estimand: What varies (see `estimates`).
        alpha: Error rate of the interval.
        repeats: Responses per question behind each score.
    """
    both = np.stack([scores[:, -1] - scores[:, 0], scores[:, 1] - scores[:, 0]])  # [2, S, Q]
    there: est.BoolArray = np.all(np.isfinite(both), axis=0)
    usable: est.BoolArray = np.any(there, axis=1)
    both, there = both[:, usable], there[usable]
    if not there.size:
        return None
    moments = _moments(both, there, repeats=repeats)
    top, bottom = moments.means.mean(axis=1)
    if est.rounded(bottom) == 0.0:
        return None
    ratio = float(top / bottom)
    direction = np.array([1.0, -ratio])
    options = _options(moments, direction, estimand)
    missing = 1.0 - float(there.sum()) / (scores.shape[0] * scores.shape[2])
    seeds = there.shape[0]
    if not options:
        return Ratio(
            estimate=ratio, interval=None, standard_error=None, dof=0.0, n_seeds=seeds, missing=missing, source=0
        )

    def quantile(option: _Option) -> float:
        return float(est.student_quantile(np.asarray(option.dof), 1.0 - alpha / 2.0))

    chosen = max(options, key=lambda option: quantile(option) * math.sqrt(option.variance(direction)))
    return Ratio(
        estimate=ratio,
        interval=est.fieller(float(top), float(bottom), chosen.covariance, quantile=quantile(chosen)),
        standard_error=math.sqrt(chosen.variance(direction)) / abs(float(bottom)),
        dof=chosen.dof,
        n_seeds=seeds,
        missing=missing,
        source=chosen.source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    means: FloatArray  # [2, S]
    seeds: FloatArray  # [2, 2], covariance of the two means over seeds
    own: FloatArray  # [2, 2], the measurement's
    resolution: FloatArray  # [2, 2], what equal scores leave
    pooled: FloatArray  # [2, 2], clustered by question
    pairs_dof: float
    n_questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    covariance: FloatArray  # [2, 2]
    dof: float
    source: int

    def variance(self, direction: FloatArray) -> float:
        """Variance of a linear combination of the two means."""
        return max(0.0, float(direction @ self.covariance @ direction))


def _moments(both: FloatArray, there: est.BoolArray, *, repeats: int) -> _Pair:
    """The bivariate form of `estimates.moments`, over seeds that have a complete triple."""
    seeds = there.shape[0]
    pairs = there.sum(axis=1).astype(np.float64)
    means = np.where(there, both, 0.0).sum(axis=2) / pairs
    deviations = np.where(there, both - means[..., None], 0.0)
    centred = means - means.mean(axis=1, keepdims=True)
    weights = 1.0 / (pairs * np.maximum(pairs - 1.0, 1.0))
    shares = np.einsum("isq,s->iq", deviations, 1.0 / pairs) / seeds
    questions = int(there.any(axis=0).sum())
    alone = est.moments(np.where(there, 0.0, np.nan), repeats=repeats)
    return _Pair(
        means=means,
        seeds=centred @ centred.T / (max(seeds - 1, 1) * seeds),
        own=np.einsum("isq,jsq,s->ij", deviations, deviations, weights) / seeds**2,
        resolution=np.eye(2) * float(alone.resolution.sum()) / seeds**2,
        pooled=shares @ shares.T * (questions / max(questions - 1, 1)),
        pairs_dof=float(alone.pairs_dof),
        n_questions=questions,
    )


def _options(given: _Pair, direction: FloatArray, estimand: Estimand) -> list[_Option]:
    """The error of the estimand and its floors; empty if there is no interval."""
    seeds, questions = given.means.shape[1], given.n_questions
    clustered = [
        _Option(covariance=given.pooled, dof=questions - 1.0, source=3),
        _Option(covariance=given.resolution, dof=questions - 1.0, source=2),
    ]
    over_seeds = _Option(covariance=given.seeds, dof=seeds - 1.0, source=0)
    if estimand == "chain law":
        floors = [
            _Option(covariance=given.own, dof=given.pairs_dof, source=1),
            _Option(covariance=given.resolution, dof=given.pairs_dof, source=2),
        ]
        return [over_seeds, *floors] if seeds > 1 else []
    if questions == 1 or (estimand == "new questions" and seeds == 1):
        return []
    if estimand == "this artefact":
        return clustered
    dof = min(seeds, questions) - 1.0
    shared = (given.pooled - given.own) * seeds / (seeds - 1)
    both = _Option(covariance=given.seeds + shared, dof=dof, source=4)
    floors = [*clustered, _Option(covariance=given.own, dof=questions - 1.0, source=1)]
    if float(direction @ shared @ direction) < 0.0:
        return [_Option(covariance=given.seeds, dof=dof, source=4), *floors]
    return [both, *floors]
