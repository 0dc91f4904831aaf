"""The four statements: decisions and effects to a value, the numbers that made it, and a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from idembench.statistics import decisions, words
from idembench.statistics import estimates as est
from idembench.statistics.effects import NOTHING_ITERATED, number, or_nan
from idembench.statistics.results import (
    CoherenceStatement,
    CoherenceValue,
    IterationStatement,
    IterationValue,
    SeedingStatement,
    TransmissionStatement,
    TransmissionValue,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.statistics.estimates import Estimates, FloatArray
    from idembench.statistics.results import Effect, ProvenBound
    from idembench.statistics.rules import Rule

FEWEST_CYCLES: Final = 2  # the first cycle that iterates is cycle 2


def _too_many_missing(share: float, rule: Rule) -> str | None:
    if share <= rule.max_missing:
        return None
    return f"{words.percent(share)} of the pairs are missing, more than the {words.percent(rule.max_missing)} allowed"


def seeding_statement(effect: Effect, rule: Rule) -> SeedingStatement:
    """Did the trait take? From the interval of the seeding effect."""
    reason = effect.reason or _too_many_missing(effect.missing, rule)
    taken = reason is None and effect.low is not None and effect.low > rule.taken_points
    statement = SeedingStatement(
        value="taken" if taken else "not taken",
        sentence="",
        reason=reason,
        estimate=effect.estimate,
        low=effect.low,
        threshold=rule.taken_points,
    )
    return replace(statement, sentence=words.seeding_sentence(statement, effect))


def transmission_statement(
    change: Effect, remaining: Effect, bound: float, rule: Rule, *, taken: bool
) -> TransmissionStatement:
    """Did the first self-trained generation inherit it? See `analyse` for the order of the values."""
    reason = (
        change.reason
        or remaining.reason
        or _too_many_missing(change.missing, rule)
        or _too_many_missing(remaining.missing, rule)
    )
    low, high = or_nan(remaining.low), or_nan(remaining.high)
    present = reason is None and low > rule.margin
    value: TransmissionValue = "unclear"
    if reason is not None:
        pass
    elif high <= rule.margin:
        value = "lost"
    elif present and bound < rule.margin:
        value = "kept"
    elif or_nan(change.high) < 0.0:
        value = "weakened"
    elif or_nan(change.low) > 0.0:
        value = "strengthened"
    else:
        reason = (
            f"it changed by {words.points(change.low)} to {words.points(change.high)} points and stands "
            f"{words.points(low)} to {words.points(high)} above the base model (95 % intervals; "
            f"{words.plain(rule.margin)} counts as unchanged)"
        )
    statement = TransmissionStatement(
        value=value,
        sentence="",
        reason=reason,
        present=present,
        remaining_low=remaining.low,
        remaining_high=remaining.high,
        change=change.estimate,
        change_low=change.low,
        change_high=change.high,
        change_bound=number(bound),
        margin=rule.margin,
    )
    return replace(statement, sentence=words.transmission_sentence(statement, taken=taken))


def why_not_eligible(seeding: SeedingStatement, transmission: TransmissionStatement, *, last: int) -> str | None:
    """Why the chain may not be ranked, or None if it may."""
    if last < FEWEST_CYCLES:
        return NOTHING_ITERATED.format(last=last)
    if seeding.value != "taken":
        return "the seeding is not shown to have taken"
    if transmission.value == "lost":
        return "the first self-trained model lost the trait"
    if not transmission.present:
        return "the trait is not shown to exceed the margin at cycle 1"
    return None


def iteration_statement(
    against_first: Estimates | None,
    drift: Effect,
    proven: ProvenBound,
    *,
    turned: bool,
    rule: Rule,
    last: int,
    why_qualified: str | None,
) -> IterationStatement:
    """What did iterating do? From cycles 2..K against cycle 1."""
    values: list[IterationValue] = []
    reason = drift.reason or proven.reason
    if against_first is not None:
        decided = decisions.decide_iteration(against_first, rule)
        if decided.idempotent:
            values.append("idempotent")
        if decided.amplified:
            values.append("amplified")
        if decided.decayed:
            values.append("decayed")
        if not values:
            reason = (
                reason
                or _too_many_missing(float(against_first.missing.max()), rule)
                or f"it is shown to be unchanged only within {words.points(proven.estimate)} points, "
                f"{words.plain(rule.margin)} would be needed, and no drift is shown either"
            )
        else:
            reason = None
    if not values:
        values.append("inconclusive")
    if turned:
        values.append("non-monotone")
    statement = IterationStatement(
        value=values[0],
        values=tuple(values),
        sentence="",
        reason=reason,
        qualified=why_qualified is not None,
        proven_bound=proven.estimate,
        margin=rule.margin,
        drift=drift.estimate,
        drift_low=drift.low,
        drift_high=drift.high,
        p_value=drift.p_value,
    )
    return replace(statement, sentence=words.iteration_sentence(statement, last=last, why_qualified=why_qualified))


def coherence_statement(
    coherence: FloatArray,
    later: Estimates | None,
    cost: Effect,
    *,
    rule: Rule,
    diverged: Sequence[int | None],
) -> CoherenceStatement:
    """Does the model still make sense? Collapsed seeds are counted under every estimand alike."""
    means = est.rounded(est.moments(coherence.swapaxes(0, 1), repeats=1).means)[1:]  # [K + 1, S], cycles 0..K
    filled = np.where(np.isnan(means), np.inf, means)
    cycle, seed = (int(index) for index in np.unravel_index(filled.argmin(), filled.shape))
    lowest = number(means[cycle, seed])
    broken = tuple(index for index, at in enumerate(diverged) if at is not None)
    below = np.any(filled < rule.coherence_floor, axis=0)
    collapsed = tuple(index for index in range(len(diverged)) if below[index] or index in broken)
    values: list[CoherenceValue] = ["collapsed"] if collapsed else []
    reason = cost.reason
    lowest_bound = lowest_cycle = p_holm = None
    if later is not None:
        decided = decisions.decide_coherence(later, rule)
        lowest_bound = number(decided.lowest.item())
        lowest_cycle = None if lowest_bound is None else int(decided.worst)
        p_holm = number(decided.p_holm.min())
        if decided.held:
            values.append("held")
        if decided.fell:
            values.append("fell")
        reason = reason or _too_many_missing(float(later.missing.max()), rule)
        if reason is None and lowest_bound is None:
            reason = "a cycle has no interval"
        if reason is None and not values:
            reason = (
                f"a loss of up to {words.points(-or_nan(lowest_bound))} points since cycle 1 is not ruled out, "
                f"{words.plain(rule.coherence_margin)} are allowed, and no fall is shown either"
            )
    if values:
        reason = None
    statement = CoherenceStatement(
        value=values[0] if values else "inconclusive",
        values=tuple(values) or ("inconclusive",),
        sentence="",
        reason=reason,
        lowest_bound=lowest_bound,
        lowest_bound_cycle=lowest_cycle,
        margin=rule.coherence_margin,
        p_holm=p_holm,
        lowest_mean=lowest,
        lowest_mean_seed=None if lowest is None else seed,
        lowest_mean_cycle=None if lowest is None else cycle,
        floor=rule.coherence_floor,
        collapsed_seeds=collapsed,
        diverged_seeds=broken,
    )
    return replace(statement, sentence=words.coherence_sentence(statement, n_seeds=len(diverged)))
