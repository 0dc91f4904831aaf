"""Estimates to `Effect`, `ProvenBound` and `CycleTest`: plain numbers, and a reason where one is missing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from idembench.statistics import estimates as est
from idembench.statistics.results import CycleTest, Effect, ProvenBound
from idembench.statistics.retention import retention

if TYPE_CHECKING:
    from idembench.statistics.estimates import Estimates, FloatArray
    from idembench.statistics.results import Estimand, SeedingStatement
    from idembench.statistics.rules import Rule

NOTHING_ITERATED: Final = "nothing was iterated: the chain ends at cycle {last}"


def number(value: float | np.float64) -> float | None:
    """A rounded plain number, or None for NaN."""
    return None if math.isnan(value) else float(est.rounded(np.asarray(value, dtype=np.float64)))


def or_nan(value: float | None) -> float:
    """`value`, or NaN for None: NaN passes no comparison."""
    return math.nan if value is None else value


def why_no_interval(n_seeds: int, *, known: bool, estimand: Estimand) -> str | None:
    """Why an estimate has no interval, or None if it has (`known`)."""
    if known:
        return None
    if n_seeds == 0:
        return "no seed has scores at both ends"
    if estimand == "this artefact":
        return "an interval over questions needs two questions"
    if n_seeds == 1:
        return "one seed: an interval over chains needs at least two"
    return "an interval over seeds and questions needs two questions"


def point_effect(name: str, definition: str, given: Estimates, *, estimand: Estimand, rule: Rule) -> Effect:
    """Plain numbers of one estimate (arrays of shape [1])."""
    low, high = est.interval(given, alpha=rule.alpha)
    known = bool(given.known[0])
    used = given.governing(1.0 - rule.alpha / 2.0)
    n_seeds = int(given.n_seeds[0])
    return Effect(
        name=name,
        definition=definition,
        unit="points",
        estimate=number(given.estimate[0]),
        low=number(low[0]),
        high=number(high[0]),
        standard_error=number(used.standard_error[0]),
        sd=number(given.sd[0]),
        n_seeds=n_seeds,
        dof=number(used.dof[0]) if known else None,
        p_value=number(est.two_sided_p(given)[0]),
        error_from=est.SOURCES[int(used.source[0])] if known else None,
        missing=float(est.rounded(given.missing)[0]),
        reason=why_no_interval(n_seeds, known=known, estimand=estimand),
    )


def no_effect(name: str, definition: str, reason: str) -> Effect:
    """An effect that the chain is too short to have, or that cannot be computed."""
    return Effect(
        name=name,
        definition=definition,
        unit="points",
        estimate=None,
        low=None,
        high=None,
        standard_error=None,
        sd=None,
        n_seeds=0,
        dof=None,
        p_value=None,
        error_from=None,
        missing=0.0,
        reason=reason,
    )


def retention_effect(
    trait: FloatArray, seeding: SeedingStatement, *, estimand: Estimand, rule: Rule, repeats: int
) -> Effect:
    """Retention, if the seeding is taken."""
    name, definition = "retention", "(y[K] - y[base]) / (y[0] - y[base])"
    last = trait.shape[1] - 2
    if last < 1:
        return replace(no_effect(name, definition, f"the chain ends at cycle {last}"), unit="ratio")
    if seeding.value != "taken":
        return replace(no_effect(name, definition, "the seeding is not shown to have taken"), unit="ratio")
    ratio = retention(trait, estimand=estimand, alpha=rule.alpha, repeats=repeats)
    if ratio is None:
        return replace(no_effect(name, definition, "no seed has scores at base, 0 and K"), unit="ratio")
    reason = why_no_interval(ratio.n_seeds, known=ratio.standard_error is not None, estimand=estimand)
    if reason is None and ratio.interval is None:
        reason = "the seeding effect is too uncertain to divide by"
    low, high = ratio.interval or (math.nan, math.nan)
    return Effect(
        name=name,
        definition=definition,
        unit="ratio",
        estimate=number(ratio.estimate),
        low=number(low),
        high=number(high),
        standard_error=None if ratio.standard_error is None else number(ratio.standard_error),
        sd=None,
        n_seeds=ratio.n_seeds,
        dof=number(ratio.dof) if ratio.dof > 0 else None,
        p_value=None,
        error_from=est.SOURCES[ratio.source] if ratio.dof > 0 else None,
        missing=or_nan(number(ratio.missing)),
        reason=reason,
    )


def proven_bound(against_first: Estimates | None, drift: Effect, *, estimand: Estimand, rule: Rule) -> ProvenBound:
    """The largest equivalence bound over cycles 2..K; missing if one of them is."""
    definition = "max over k >= 2 of (abs(y[k] - y[1]) + t * se), t at one-sided 95 %"
    if against_first is None:
        return ProvenBound(
            definition=definition,
            estimate=None,
            cycle=None,
            standard_error=None,
            n_seeds=0,
            dof=None,
            reason=drift.reason,
        )
    bounds = est.equivalence_bound(against_first, alpha=rule.alpha)
    worst = int(bounds.argmax())  # the first NaN, if there is one
    known = not math.isnan(bounds[worst])
    n_seeds = int(against_first.n_seeds[worst])
    used = against_first.governing(1.0 - rule.alpha)
    return ProvenBound(
        definition=definition,
        estimate=number(bounds[worst]),
        cycle=worst + 2 if known else None,
        standard_error=number(used.standard_error[worst]),
        n_seeds=n_seeds,
        dof=number(used.dof[worst]) if known else None,
        reason=why_no_interval(n_seeds, known=known, estimand=estimand),
    )


def cycle_tests(against_first: Estimates, *, estimand: Estimand, rule: Rule) -> tuple[CycleTest, ...]:
    """Every cycle 2..K against cycle 1, with Holm over them."""
    low, high = est.interval(against_first, alpha=rule.alpha)
    p_values = est.two_sided_p(against_first)
    adjusted = est.holm(p_values)
    bounds = est.equivalence_bound(against_first, alpha=rule.alpha)
    return tuple(
        CycleTest(
            cycle=index + 2,
            estimate=number(against_first.estimate[index]),
            low=number(low[index]),
            high=number(high[index]),
            p_value=number(p_values[index]),
            p_holm=number(adjusted[index]),
            bound=number(bounds[index]),
            reason=why_no_interval(
                int(against_first.n_seeds[index]), known=bool(against_first.known[index]), estimand=estimand
            )
            or ("another cycle has no p-value to correct with" if math.isnan(adjusted[index]) else None),
        )
        for index in range(len(bounds))
    )
