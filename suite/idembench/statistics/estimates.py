"""Scores to estimates with standard errors, for three kinds of claim; vectorised over leading axes.

`analyse` calls these functions on one set of chains, the simulation of `error_rates.py` on thousands
at once: what is simulated is what decides. Everything is an array here and a missing number is NaN;
`analysis.py` turns NaN into None with a reason.

The three estimands differ only in what may vary when the experiment is repeated:

    chain law       new seeds, the same questions    Student t over seeds, S - 1 degrees of freedom
    new questions   new seeds, new questions         the same plus what questions do to all seeds alike
    this artefact   same checkpoints, new questions  Student t over questions, clustered, Q - 1

Shapes: S seeds, Q questions, K self-training cycles; `...` any leading axes. Units: points of 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from idembench.statistics.rules import FULL_SCALE

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

DECIMALS: Final = 6
_RULE_OF_THREE: Final = -math.log(0.05) / float(special.ndtri(0.95))
SOURCES: Final = ("seeds", "measurement", "resolution", "questions", "seeds and questions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """All that the three estimands need to know about paired differences.

    Args:
        means: float64 [..., S], mean of each seed over its complete pairs; NaN if it has none.
        own: float64 [..., S], squared standard error of each mean, questions as units, not floored.
        resolution: float64 [..., S], squared standard error that a constant score still leaves.
        pooled: float64 [...], squared standard error of the mean over seeds, clustered by question.
        pairs_dof: float64 [...], complete pairs less one per seed, summed over seeds; at least 1.
        n_seeds: float64 [...], seeds with at least one complete pair.
        n_questions: float64 [...], questions with at least one complete pair.
        missing: float64 [...], share of the S x Q pairs that are missing.
    """

    means: FloatArray
    own: FloatArray
    resolution: FloatArray
    pooled: FloatArray
    pairs_dof: FloatArray
    n_seeds: FloatArray
    n_questions: FloatArray
    missing: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """A standard error with its degrees of freedom and what it rests on; every array has shape [...].

    Args:
        standard_error: In points, NaN where there is none.
        dof: Degrees of freedom of its Student t; 0 where there is none.
        source: int64, index into `SOURCES`.
    """

    standard_error: FloatArray
    dof: FloatArray
    source: npt.NDArray[np.int64]

    def half_width(self, probability: float) -> FloatArray:
        """Student quantile times standard error; NaN where there is none."""
        return student_quantile(self.dof, probability) * self.standard_error

    def cut(self, part: slice) -> Errors:
        """Part of the last axis."""
        return Errors(
            standard_error=self.standard_error[..., part], dof=self.dof[..., part], source=self.source[..., part]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """Estimates of one estimand; every array has shape [...], NaN where there is none.

    The uncertainty is that of `errors`, but never less than that of `floor`: every interval and bound uses
    the larger half-width of the two, every test the larger p-value.

    Args:
        estimate: Mean over seeds of the means of the seeds, in points.
        errors: What varies under the estimand.
        floor: What the answers themselves leave open.
        sd: Standard deviation over seeds, in points.
        n_seeds: Seeds that have a score.
        missing: Share of missing pairs.
    """

    estimate: FloatArray
    errors: Errors
    floor: Errors
    sd: FloatArray
    n_seeds: FloatArray
    missing: FloatArray

    @property
    def known(self) -> BoolArray:
        """Where there is an interval."""
        result: BoolArray = (self.errors.dof > 0) & (self.floor.dof > 0)
        return result

    def half_width(self, probability: float) -> FloatArray:
        """Half-width of the interval whose upper end has this probability; NaN where there is none."""
        result: FloatArray = np.maximum(self.errors.half_width(probability), self.floor.half_width(probability))
        return result

    def governing(self, probability: float) -> Errors:
        """Whichever of `errors` and `floor` gives that half-width."""
        floored = self.floor.half_width(probability) > self.errors.half_width(probability)
        return Errors(
            standard_error=np.where(floored, self.floor.standard_error, self.errors.standard_error),
            dof=np.where(self.known, np.where(floored, self.floor.dof, self.errors.dof), 0.0),
            source=np.where(floored, self.floor.source, self.errors.source),
        )

    def cut(self, part: slice) -> Estimates:
        """Part of the last axis."""
        return Estimates(
            estimate=self.estimate[..., part],
            errors=self.errors.cut(part),
            floor=self.floor.cut(part),
            sd=self.sd[..., part],
            n_seeds=self.n_seeds[..., part],
            missing=self.missing[..., part],
        )

    def last(self) -> Estimates:
        """The last entry of the last axis, kept as an axis of length 1."""
        return self.cut(slice(-1, None))


def rounded(values: FloatArray) -> FloatArray:
    """Round once, to `DECIMALS`, without negative zeros.

    Decisions compare rounded numbers: an exact tie (a constant change of exactly the margin) must not
    depend on the last bit of a sum.
    """
    result: FloatArray = np.round(values, DECIMALS) + 0.0
    return result


def moments(differences: FloatArray, *, repeats: int) -> Moments:
    """Reduce differences paired by question to what the estimands need.

    A seed's standard error takes questions as units (their repeats are already averaged). It is later
    floored by the *resolution*: if all `n` responses are equal, the variance is zero, but n equal
    responses only bound the rate of other ones by -ln(0.05) / n. The floor is the standard error whose
    one-sided 95 % normal bound equals that bound, 100 * 1.82 / n points: zero variance proves little,
    and exactly this little.

    Args:
        differences: float64 [..., S, Q], NaN = missing pair (also used on plain scores).
        repeats: Responses per question behind each score.

    Source: Cameron and Miller 2015, A Practitioner's Guide to Cluster-Robust Inference, equation 11 with
        the G / (G - 1) correction; the rule of three: Hanley and Lippman-Hand 1983, JAMA 249.
    """
    n_all_seeds, n_all_questions = differences.shape[-2:]
    there = np.isfinite(differences)
    if there.all():
        lead = differences.shape[:-2]
        pairs = np.full((*lead, n_all_seeds), float(n_all_questions))
        n_questions = np.full(lead, float(n_all_questions))
        means = differences.mean(axis=-1)
        deviations = differences - means[..., None]
    else:
        pairs = there.sum(axis=-1, dtype=np.float64)
        n_questions = there.any(axis=-2).sum(axis=-1, dtype=np.float64)
        totals = np.where(there, differences, 0.0).sum(axis=-1)
        means = np.where(pairs > 0, totals / np.maximum(pairs, 1.0), np.nan)
        deviations = np.where(there, differences - np.nan_to_num(means)[..., None], 0.0)
    n_seeds = (pairs > 0).sum(axis=-1, dtype=np.float64)
    at_least_one = np.maximum(pairs, 1.0)
    squares = np.einsum("...q,...q->...", deviations, deviations)
    own = squares / (at_least_one * np.maximum(pairs - 1.0, 1.0))
    shares = np.einsum("...sq,...s->...q", deviations, 1.0 / at_least_one)
    pooled = np.einsum("...q,...q->...", shares, shares) / np.maximum(n_seeds, 1.0) ** 2
    pooled = pooled * (n_questions / np.maximum(n_questions - 1.0, 1.0))
    resolution = np.where(pairs > 0, (FULL_SCALE * _RULE_OF_THREE / (at_least_one * repeats)) ** 2, 0.0)
    return Moments(
        means=means,
        own=own,
        resolution=resolution,
        pooled=pooled,
        pairs_dof=np.maximum((at_least_one - 1.0).sum(axis=-1), 1.0),
        n_seeds=n_seeds,
        n_questions=n_questions,
        missing=1.0 - pairs.sum(axis=-1) / float(n_all_seeds * n_all_questions),
    )


def chain_law(given: Moments) -> Estimates:
    """What another chain, trained the same way and asked the same questions, would do.

    Student t over seeds, S - 1 degrees of freedom, floored by the measurement: three seeds that agree by
    luck know no more than their answers do. The floor is the interval that the answers alone would give,
    with the squared standard errors of the seeds (questions as units) summed over S^2. It takes each
    seed's own variance, not their common one, since the questions are the same in every chain; it still
    counts how much questions differ in their change, so it errs upwards.

    The *half-width* is floored, not the standard error: the t interval is exact by itself, so the larger
    of the two covers at least as often, while the measurement's error times the t of two degrees of
    freedom would be 2.6 times as wide as either source of error warrants.
    """
    centre, variance, sd = _over_seeds(given)
    known = given.n_seeds > 1
    return Estimates(
        estimate=centre,
        errors=_errors(variance, given.n_seeds - 1.0, known, 0),
        floor=_measurement(given, known),
        sd=sd,
        n_seeds=given.n_seeds,
        missing=given.missing,
    )


def new_questions(given: Moments) -> Estimates:
    """What another chain would do on other questions of the same kind: two-way, seeds and questions.

    The variance over seeds knows nothing of what questions do to all seeds alike. That part is the mean
    covariance between seeds over questions, (pooled - own / S) * S / (S - 1), which is sigma_b^2 / Q in
    d[s, q] = mu + a[s] + b[q] + e[s, q]; a negative estimate counts as zero. Degrees of freedom are those
    of the smaller of the two samples, and the floor is the larger of the chain law's and of the artefact's:
    the interval is never narrower than either.

    Source: the expected mean squares of the two-way random model (Searle, Casella and McCulloch 1992,
        Variance Components, section 4.7); min(S, Q) - 1: Cameron and Miller 2015, section V.
    """
    centre, over_seeds, sd = _over_seeds(given)
    seeds = np.maximum(given.n_seeds, 2.0)
    own = given.own.sum(axis=-1) / seeds**2
    shared = np.maximum(0.0, (given.pooled - own) * seeds / (seeds - 1.0))
    known = (given.n_seeds > 1) & (given.n_questions > 1)
    measured = np.maximum(given.own, given.resolution).sum(axis=-1) / seeds**2
    return Estimates(
        estimate=centre,
        errors=_errors(over_seeds + shared, np.minimum(given.n_seeds, given.n_questions) - 1.0, known, 4),
        floor=_errors(
            np.maximum(given.pooled, measured),
            given.n_questions - 1.0,
            known,
            np.where(given.pooled >= measured, 3, np.where(own >= measured, 1, 2)),
        ),
        sd=sd,
        n_seeds=given.n_seeds,
        missing=given.missing,
    )


def this_artefact(given: Moments) -> Estimates:
    """What these very checkpoints do on questions of this kind; says nothing about another training run.

    Clustered by question: seeds asked the same question share its fate. Floored by what equal scores
    leave open.
    """
    centre, _, sd = _over_seeds(given)
    resolution = given.resolution.sum(axis=-1) / np.maximum(given.n_seeds, 1.0) ** 2
    known = (given.n_seeds > 0) & (given.n_questions > 1)
    clustered = _errors(
        np.maximum(given.pooled, resolution),
        given.n_questions - 1.0,
        known,
        np.where(given.pooled >= resolution, 3, 2),
    )
    return Estimates(
        estimate=centre, errors=clustered, floor=clustered, sd=sd, n_seeds=given.n_seeds, missing=given.missing
    )


def _errors(variance: FloatArray, dof: FloatArray, known: BoolArray, source: npt.NDArray[np.int64] | int) -> Errors:
    return Errors(
        standard_error=np.where(known, np.sqrt(variance), np.nan),
        dof=np.where(known, dof, 0.0),
        source=np.broadcast_to(np.asarray(source, dtype=np.int64), np.shape(variance)),
    )


def _measurement(given: Moments, known: BoolArray) -> Errors:
    """The error that the answers of S separately measured chains leave in their mean."""
    divisor = np.maximum(given.n_seeds, 1.0) ** 2
    own = given.own.sum(axis=-1) / divisor
    floored = np.maximum(given.own, given.resolution).sum(axis=-1) / divisor
    return _errors(floored, given.pairs_dof, known, np.where(own >= floored, 1, 2))


def _over_seeds(given: Moments) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean over seeds, squared standard error of it, and standard deviation over seeds."""
    seeds = given.n_seeds
    total = np.nansum(given.means, axis=-1)
    centre = np.where(seeds > 0, total / np.maximum(seeds, 1.0), np.nan)
    deviations = np.nan_to_num(given.means - np.nan_to_num(centre)[..., None])
    squares = np.einsum("...s,...s->...", deviations, deviations) / np.maximum(seeds - 1.0, 1.0)
    sd = np.where(seeds > 1, np.sqrt(squares), np.nan)
    return centre, squares / np.maximum(seeds, 1.0), sd


# -- Student, Holm, Clopper-Pearson, Fieller ---------------------------------------------------------


def student_quantile(dof: FloatArray, probability: float) -> FloatArray:
    """Quantile of Student's t; NaN where `dof` is 0."""
    if dof.size > 1 and np.all(dof == dof.flat[0]):  # the usual case, a thousand times as fast
        return np.broadcast_to(student_quantile(dof.flat[:1], probability), dof.shape)
    quantile = special.stdtrit(np.where(dof > 0, dof, 1.0), probability)
    result: FloatArray = np.where(dof > 0, quantile, np.nan)
    return result


def interval(given: Estimates, *, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Ends of the two-sided interval of level 1 - `alpha`, rounded."""
    half = given.half_width(1.0 - alpha / 2.0)
    return rounded(given.estimate - half), rounded(given.estimate + half)


def equivalence_bound(given: Estimates, *, alpha: float) -> FloatArray:
    """Smallest margin at which two one-sided tests of level `alpha` show no change, rounded.

    abs(estimate) + half-width < margin  if and only if  both one-sided tests reject.

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15.
    """
    return rounded(np.abs(given.estimate) + given.half_width(1.0 - alpha))


def one_sided_lower(given: Estimates, *, alpha: float) -> FloatArray:
    """Lower confidence bound of level 1 - `alpha`, rounded."""
    return rounded(given.estimate - given.half_width(1.0 - alpha))


def two_sided_p(given: Estimates) -> FloatArray:
    """P-value of the t test against no change, in [0, 1]; NaN without a standard error."""
    return 2.0 * np.maximum(_tail(-np.abs(given.estimate), given.errors), _tail(-np.abs(given.estimate), given.floor))


def lower_p(given: Estimates) -> FloatArray:
    """P-value of the one-sided t test against 'not below zero'; NaN without a standard error.

    The larger of two p-values only where the estimate is negative: above zero the smaller error would be
    the cautious one, but there is nothing to find there.
    """
    result: FloatArray = np.maximum(_tail(given.estimate, given.errors), _tail(given.estimate, given.floor))
    return result


def _tail(estimate: FloatArray, errors: Errors) -> FloatArray:
    """Probability below estimate / standard error. A zero error counts as certainty, as its t would."""
    known = errors.dof > 0
    positive = known & (errors.standard_error > 0.0)
    ratio = np.where(positive, estimate, 0.0) / np.where(positive, errors.standard_error, 1.0)
    tail = special.stdtr(np.where(known, errors.dof, 1.0), ratio)
    certain = np.where(estimate < 0.0, 0.0, np.where(estimate > 0.0, 1.0, 0.5))
    result: FloatArray = np.where(positive, tail, np.where(known, certain, np.nan))
    return result


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's step-down adjustment along the last axis; a missing p-value makes its whole family missing.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    count = p_values.shape[-1]
    if count == 0:
        return p_values.copy()
    order = np.argsort(p_values, axis=-1, kind="stable")
    factors = np.arange(count, 0, -1, dtype=np.float64)
    scaled = np.take_along_axis(p_values, order, axis=-1) * factors
    stepped = np.minimum(np.maximum.accumulate(scaled, axis=-1), 1.0)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    result: FloatArray = np.where(np.isnan(p_values).any(axis=-1, keepdims=True), np.nan, adjusted)
    return result


def clopper_pearson_upper(events: int, trials: int, *, alpha: float) -> float:
    """One-sided exact upper bound, of level 1 - `alpha`, of a rate seen `events` times in `trials`.

    Args:
        events: 0 <= events <= trials.
        trials: At least 1.
        alpha: Probability that the true rate lies above.

    Source: Clopper and Pearson 1934, Biometrika 26.
    """
    if events >= trials:
        return 1.0
    return float(special.betaincinv(events + 1.0, float(trials - events), 1.0 - alpha))


def fieller(
    numerator: float, denominator: float, covariance: FloatArray, *, quantile: float
) -> tuple[float, float] | None:
    """Interval of a ratio of two correlated means, or None if it is unbounded.

    Args:
        numerator: Mean of the numerator.
        denominator: Mean of the denominator.
        covariance: float64 [2, 2] of the two means, numerator first.
        quantile: Student quantile of the level wanted.

    Source: Fieller 1954, Journal of the Royal Statistical Society B 16: all ratios r with
        (numerator - r * denominator)^2 <= quantile^2 * var(numerator - r * denominator).
    """
    square = quantile**2
    a = denominator**2 - square * covariance[1, 1]
    b = numerator * denominator - square * covariance[0, 1]
    c = numerator**2 - square * covariance[0, 0]
    inside = b * b - a * c
    if a <= 0.0 or inside < 0.0:
        return None
    root = math.sqrt(inside)
    return float((b - root) / a), float((b + root) / a)


def paired(scores: FloatArray, after: list[int], before: list[int]) -> FloatArray:
    """Differences between checkpoints, paired by question.

    Args:
        scores: float64 [..., S, C, Q], seeds x checkpoints x questions.
        after: n checkpoint indices.
        before: n checkpoint indices, or one for all.

    Returns:
        float64 [..., n, S, Q]: scores[after] - scores[before], NaN where either is missing.
    """
    return np.moveaxis(scores[..., after, :] - scores[..., before, :], -2, -3)
