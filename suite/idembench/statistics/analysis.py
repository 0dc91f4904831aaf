"""From scores to an `Analysis`: puts estimates, decisions and words together, and gives reasons.

Reads arrays, returns plain values. It knows nothing about records, judges, files or clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from idembench.errors import InputError
from idembench.statistics import decisions
from idembench.statistics import estimates as est
from idembench.statistics.beside import seeds_beyond, trajectory
from idembench.statistics.effects import (
    NOTHING_ITERATED,
    cycle_tests,
    no_effect,
    or_nan,
    point_effect,
    proven_bound,
    retention_effect,
)
from idembench.statistics.results import Analysis, Effect, Effects, Verdict
from idembench.statistics.rules import FULL_SCALE
from idembench.statistics.statements import (
    coherence_statement,
    iteration_statement,
    seeding_statement,
    transmission_statement,
    why_not_eligible,
)
from idembench.statistics.study import apply_study_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from idembench.statistics.estimates import Estimates, FloatArray, Moments
    from idembench.statistics.results import Estimand
    from idembench.statistics.rules import Rule

ESTIMATORS: Final[Mapping[Estimand, Callable[[Moments], Estimates]]] = {
    "chain law": est.chain_law,
    "new questions": est.new_questions,
    "this artefact": est.this_artefact,
}
CLAIMS: Final[Mapping[Estimand, str]] = {
    "chain law": "another chain trained the same way, measured on these questions",
    "new questions": "another chain trained the same way, measured on other questions of this kind",
    "this artefact": "these very checkpoints, measured on questions of this kind; another training run may differ",
}
AXES: Final = 3
FEWEST_CHECKPOINTS: Final = 2  # base and cycle 0


def analyse(
    trait: FloatArray,
    coherence: FloatArray,
    *,
    rule: Rule,
    diverged: Sequence[int | None],
    repeats: int = 1,
) -> Analysis:
    """Say what happened to the trait and to coherence, with what error, and how it is known.

    The verdict is that of the *chain law*. With one seed it is exploratory: its intervals and statements
    say why they cannot be given, and those of *this artefact* stand beside it.

    Args:
        trait: float64 [S, C, Q], seeds x checkpoints x questions, 0..100, mean over repeats, NaN =
            missing. Checkpoints are base, c0, c1, ..., cK, so C = K + 2.
        coherence: float64 [S, C, P] likewise (P: trait questions and neutral ones).
        rule: The decision rule (see `RULES`).
        diverged: For each seed the cycle at which it diverged, or None. A diverged seed counts as
            collapsed and as moved beyond the margin; its missing scores count as missing.
        repeats: Responses behind each score; only the resolution floor of a standard error uses it (see
            `estimates.moments`), and 1 is the cautious default.

    Raises:
        InputError: If shapes disagree, a score lies outside 0..100, or `diverged` does not fit.

    Source: design.md, section 7. Departures, and why:
        * `lost` asks for evidence: the upper end of the interval of y[1] - y[base] must not exceed the
          margin. The design calls everything that is not shown to be present lost, so that three noisy
          seeds would lose a trait that is plainly there; those are `unclear` (or `weakened`) here. The
          ranking keeps the strict reading: only a trait *shown* to be present is eligible.
        * `kept` asks for presence too: a trait of 12 points that falls to 6 is within a margin of 10.
        * The half-width of an interval is floored by the measurement's own, not its standard error
          (`estimates.chain_law`): as honest, and less wasteful with few seeds.
        * Equal scores do not stop the analysis; they leave the error that their number leaves open (the
          resolution, `estimates.moments`), and `error_from` says so.
        * One seed below the coherence floor is a collapse, as one diverged seed is; the mean over seeds
          would hide it.
    """
    trait = np.asarray(trait, dtype=np.float64)
    coherence = np.asarray(coherence, dtype=np.float64)
    _check(trait, coherence, diverged, repeats)
    seeds, checkpoints, questions = trait.shape
    last = checkpoints - 2
    verdicts = {
        estimand: _verdict(trait, coherence, estimand=estimand, rule=rule, diverged=diverged, repeats=repeats)
        for estimand in ESTIMATORS
    }
    chain, artefact = verdicts["chain law"], verdicts["this artefact"]
    exploratory = seeds == 1
    points = trajectory(trait, coherence, rule=rule, repeats=repeats)
    means = np.array([[or_nan(value) for value in point.trait.seeds] for point in points[1:]]).T
    return Analysis(
        rule=rule,
        n_seeds=seeds,
        n_cycles=last,
        n_questions=questions,
        n_coherence_questions=coherence.shape[2],
        repeats=repeats,
        exploratory=exploratory,
        headline=_headline(artefact if exploratory else chain, exploratory=exploratory),
        trajectory=points,
        chain_law=chain,
        new_questions=verdicts["new questions"],
        artefact=artefact,
        beyond_margin=seeds_beyond(trait, diverged=diverged, rule=rule),
        study_rules=apply_study_rules(means),
    )


def _check(trait: FloatArray, coherence: FloatArray, diverged: Sequence[int | None], repeats: int) -> None:
    for name, scores in (("trait", trait), ("coherence", coherence)):
        if scores.ndim != AXES or 0 in scores.shape or scores.shape[1] < FEWEST_CHECKPOINTS:
            raise InputError(
                f"The {name} scores cannot be analysed.",
                expected="an array seeds x checkpoints x questions with at least base and cycle 0",
                found=f"shape {scores.shape}",
            )
        known = scores[~np.isnan(scores)]
        if known.size and not (known.min() >= 0.0 and known.max() <= FULL_SCALE):
            raise InputError(
                f"A {name} score is outside its range.",
                expected="scores from 0 to 100, NaN for missing",
                found=f"{known.min()} to {known.max()}",
            )
    if trait.shape[:2] != coherence.shape[:2]:
        raise InputError(
            "Trait and coherence scores do not belong together.",
            expected=f"{trait.shape[0]} seeds and {trait.shape[1]} checkpoints in both",
            found=f"coherence with {coherence.shape[0]} and {coherence.shape[1]}",
        )
    last = trait.shape[1] - 2
    if len(diverged) != trait.shape[0] or any(cycle is not None and not 0 <= cycle <= last for cycle in diverged):
        raise InputError(
            "The list of diverged seeds does not fit the scores.",
            expected=f"for each of {trait.shape[0]} seeds None or a cycle from 0 to {last}",
            found=repr(list(diverged)),
        )
    if repeats < 1:
        raise InputError("Responses per question must be counted.", expected="at least 1", found=repr(repeats))


def _verdict(
    trait: FloatArray,
    coherence: FloatArray,
    *,
    estimand: Estimand,
    rule: Rule,
    diverged: Sequence[int | None],
    repeats: int,
) -> Verdict:
    last = trait.shape[1] - 2

    def contrast(scores: FloatArray, after: list[int], before: list[int]) -> Estimates:
        return ESTIMATORS[estimand](est.moments(est.paired(scores, after, before), repeats=repeats))

    def effect(name: str, definition: str, after: int, before: int) -> Effect:
        if max(after, before) > last + 1:
            return no_effect(name, definition, f"the chain ends at cycle {last}")
        return point_effect(name, definition, contrast(trait, [after], [before]), estimand=estimand, rule=rule)

    seeding = effect("seeding", "y[0] - y[base]", 1, 0)
    transmission = effect("transmission", "y[1] - y[0]", 2, 1)
    remaining = effect("remaining", "y[1] - y[base]", 2, 0)
    bound = None if last < 1 else float(est.equivalence_bound(contrast(trait, [2], [1]), alpha=rule.alpha)[0])
    seeding_said = seeding_statement(seeding, rule)
    transmission_said = transmission_statement(
        transmission, remaining, or_nan(bound), rule, taken=seeding_said.value == "taken"
    )
    ineligible = why_not_eligible(seeding_said, transmission_said, last=last)

    later = list(range(3, last + 2))  # checkpoint indices of cycles 2..K
    against_first = contrast(trait, later, [2]) if later else None
    coherence_later = contrast(coherence, later, [2]) if later else None
    drift = _final("drift", "y[K] - y[1]", against_first, last=last, estimand=estimand, rule=rule)
    cost = _final(
        "coherence cost", "coherence[K] - coherence[1]", coherence_later, last=last, estimand=estimand, rule=rule
    )
    proven = proven_bound(against_first, drift, estimand=estimand, rule=rule)
    inner = later[:-1]
    turned = bool(inner) and bool(
        decisions.turned_back(contrast(trait, inner, [2]), contrast(trait, [later[-1]], inner), rule)
    )
    return Verdict(
        estimand=estimand,
        claim=CLAIMS[estimand],
        effects=Effects(
            seeding=seeding,
            transmission=transmission,
            remaining=remaining,
            retention=retention_effect(trait, seeding_said, estimand=estimand, rule=rule, repeats=repeats),
            drift=drift,
            proven_bound=proven,
            coherence_cost=cost,
        ),
        cycle_tests=() if against_first is None else cycle_tests(against_first, estimand=estimand, rule=rule),
        seeding=seeding_said,
        transmission=transmission_said,
        iteration=iteration_statement(
            against_first, drift, proven, turned=turned, rule=rule, last=last, why_qualified=ineligible
        ),
        coherence=coherence_statement(coherence, coherence_later, cost, rule=rule, diverged=diverged),
        eligible=ineligible is None,
        eligible_reason=ineligible,
    )


def _final(name: str, definition: str, later: Estimates | None, *, last: int, estimand: Estimand, rule: Rule) -> Effect:
    """The change from cycle 1 to the last cycle, out of the changes to all later cycles."""
    if later is None:
        return no_effect(name, definition, NOTHING_ITERATED.format(last=last))
    return point_effect(name, definition, later.last(), estimand=estimand, rule=rule)


def _headline(verdict: Verdict, *, exploratory: bool) -> str:
    """The result in one or two sentences; one seed speaks of its own checkpoints only."""
    start = "Exploratory, one seed; about these very checkpoints only. " if exploratory else ""
    if verdict.eligible_reason is None:
        said = verdict.iteration.sentence
    else:
        said = f"Not to be ranked: {verdict.eligible_reason}. {verdict.iteration.sentence}"
    ending = "" if verdict.coherence.value == "held" else f" {verdict.coherence.sentence}"
    return f"{start}{said}{ending}"
