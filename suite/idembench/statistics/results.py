"""What an analysis says: frozen values of plain numbers and words, ready for JSON.

`dataclasses.asdict(analysis)` holds only strings, numbers, booleans, None and tuples of those; no NaN.
Where a number can be missing it is None, and a `reason` beside it says why. Numbers are rounded once to
six decimals. Seeds are named by their position, 0-based, in the arrays given to `analyse`.
"""

from dataclasses import dataclass
from typing import Literal

from idembench.statistics.rules import Rule
from idembench.statistics.study import StudyRule

Estimand = Literal["chain law", "new questions", "this artefact"]
ErrorSource = Literal["seeds", "measurement", "resolution", "questions", "seeds and questions"]
SeedingValue = Literal["taken", "not taken"]
TransmissionValue = Literal["kept", "weakened", "strengthened", "lost", "unclear"]
IterationValue = Literal["idempotent", "amplified", "decayed", "non-monotone", "inconclusive"]
CoherenceValue = Literal["held", "fell", "collapsed", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One effect under one estimand.

    Args:
        name: seeding, transmission, remaining, retention, drift or coherence cost.
        definition: The effect in symbols.
        unit: Points of 100, or a ratio.
        estimate: Mean over seeds of the paired differences, or the ratio of two such means.
        low: Lower end of the two-sided 95 % interval.
        high: Upper end.
        standard_error: What the interval is made from: half-width = t(`dof`) * `standard_error`.
        sd: Standard deviation over seeds (None for one seed, and for a ratio).
        n_seeds: Seeds with a score at both ends.
        dof: Degrees of freedom of the Student t used.
        p_value: Two-sided, against no change (None for a ratio).
        error_from: What the standard error rests on. "measurement": seeds agree better than their own
            answers allow, so the answers' error stands; "resolution": (almost) all scores are equal, so
            what the number of answers can resolve stands.
        missing: Share of pairs missing.
        reason: Why the estimate or its interval is missing, or None.
    """

    name: str
    definition: str
    unit: Literal["points", "ratio"]
    estimate: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    sd: float | None
    n_seeds: int
    dof: float | None
    p_value: float | None
    error_from: ErrorSource | None
    missing: float
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenBound:
    """The smallest margin at which the chain is shown to be idempotent.

    Args:
        definition: The bound in symbols.
        estimate: The bound, in points.
        cycle: The cycle that is hardest to show equivalent to cycle 1.
        standard_error: Standard error at that cycle.
        n_seeds: Seeds with a score at that cycle and at cycle 1.
        dof: Degrees of freedom at that cycle.
        reason: Why there is none, or None.
    """

    definition: str
    estimate: float | None
    cycle: int | None
    standard_error: float | None
    n_seeds: int
    dof: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """All effects under one estimand (design.md, section 7)."""

    seeding: Effect
    transmission: Effect
    remaining: Effect
    retention: Effect
    drift: Effect
    proven_bound: ProvenBound
    coherence_cost: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class NetEffects:
    """Effects net of a control's, under the chain law; `u` are the control's scores.

    Args:
        seeding: (y[0] - y[base]) - (u[0] - u[base]).
        transmission: (y[1] - y[0]) - (u[1] - u[0]).
        drift: (y[K] - y[1]) - (u[K] - u[1]).
        coherence_cost: The same as `drift`, of coherence.
        sentence: The drift for a reader.
    """

    seeding: Effect
    transmission: Effect
    drift: Effect
    coherence_cost: Effect
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleTest:
    """Secondary: one later cycle against cycle 1.

    Args:
        cycle: k, 2 <= k <= K.
        estimate: y[k] - y[1], in points.
        low: Lower end of its 95 % interval, not corrected for several cycles.
        high: Upper end.
        p_value: Two-sided, not corrected.
        p_holm: The same after Holm over k = 2..K.
        bound: Smallest margin at which cycle k is equivalent to cycle 1.
        reason: Why something is missing, or None.
    """

    cycle: int
    estimate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    bound: float | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedingStatement:
    """Did the trait take? `taken`: `low` > `threshold`; everything else is `not taken`."""

    value: SeedingValue
    sentence: str
    reason: str | None
    estimate: float | None
    low: float | None
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TransmissionStatement:
    """Did the first self-trained generation inherit it?

    Args:
        value: `lost`: shown to be within the margin of the base model; `kept`: shown above it and
            equivalent to the seeded model; `weakened`, `strengthened`: shown to differ from it.
        sentence: The same for a reader.
        reason: Why it is unclear, or None.
        present: Whether the trait is shown to stand more than the margin above the base.
        remaining_low: Lower end of the interval of y[1] - y[base].
        remaining_high: Upper end.
        change: y[1] - y[0].
        change_low: Lower end of its interval.
        change_high: Upper end.
        change_bound: Smallest margin at which y[1] and y[0] are equivalent.
        margin: The margin.
    """

    value: TransmissionValue
    sentence: str
    reason: str | None
    present: bool
    remaining_low: float | None
    remaining_high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    change_bound: float | None
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationStatement:
    """What did iterating do after that?

    Args:
        value: The first of `values`.
        values: Everything that holds: `idempotent` before `amplified` or `decayed` before
            `non-monotone`; `inconclusive` if neither of the first three holds.
        sentence: The same for a reader.
        reason: Why it is inconclusive, or None.
        qualified: True if the word idempotent (if it stands) needs a qualification: the seeding was
            not shown to take or the trait not shown to be there at cycle 1.
        proven_bound: The smallest margin at which it is idempotent.
        margin: The margin.
        drift: y[K] - y[1].
        drift_low: Lower end of its interval.
        drift_high: Upper end.
        p_value: Of the one predeclared test of drift, two-sided.
    """

    value: IterationValue
    values: tuple[IterationValue, ...]
    sentence: str
    reason: str | None
    qualified: bool
    proven_bound: float | None
    margin: float
    drift: float | None
    drift_low: float | None
    drift_high: float | None
    p_value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoherenceStatement:
    """Does the model still make sense?

    Args:
        value: The first of `values`.
        values: Everything that holds: `collapsed`, `held`, `fell`, in this order; else `inconclusive`.
        sentence: The same for a reader.
        reason: Why it is inconclusive, or None.
        lowest_bound: Lowest one-sided 95 % lower bound of coherence[k] - coherence[1], k = 2..K.
        lowest_bound_cycle: The cycle it comes from.
        margin: The coherence margin.
        p_holm: Smallest one-sided p-value against 'did not fall', after Holm.
        lowest_mean: Lowest mean coherence of any seed at any cycle from 0 on.
        lowest_mean_seed: The seed it belongs to.
        lowest_mean_cycle: The cycle it belongs to.
        floor: The coherence floor.
        collapsed_seeds: Seeds whose mean fell below the floor, or that diverged.
        diverged_seeds: Seeds whose training or sampling diverged.
    """

    value: CoherenceValue
    values: tuple[CoherenceValue, ...]
    sentence: str
    reason: str | None
    lowest_bound: float | None
    lowest_bound_cycle: int | None
    margin: float
    p_holm: float | None
    lowest_mean: float | None
    lowest_mean_seed: int | None
    lowest_mean_cycle: int | None
    floor: float
    collapsed_seeds: tuple[int, ...]
    diverged_seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Effects and the four statements under one estimand.

    Args:
        estimand: What the claim is about.
        claim: The same in words.
        effects: All effects.
        cycle_tests: Secondary tests, cycles 2..K.
        seeding: First statement.
        transmission: Second statement.
        iteration: Third statement.
        coherence: Fourth statement.
        eligible: Whether the chain may be ranked: seeding taken, trait shown to be there at cycle 1.
        eligible_reason: Why it may not, or None.
    """

    estimand: Estimand
    claim: str
    effects: Effects
    cycle_tests: tuple[CycleTest, ...]
    seeding: SeedingStatement
    transmission: TransmissionStatement
    iteration: IterationStatement
    coherence: CoherenceStatement
    eligible: bool
    eligible_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Mean score at one checkpoint, for the plot. Interval ends are clipped to 0..100.

    Args:
        mean: Mean over seeds.
        low: Lower end of the 95 % interval over seeds (chain law).
        high: Upper end.
        artefact_low: Lower end of the 95 % interval of these checkpoints (clustered by question).
        artefact_high: Upper end.
        seeds: Mean of each seed; None where it has no score.
        missing: Share of scores missing.
        reason: Why something is missing, or None.
    """

    mean: float | None
    low: float | None
    high: float | None
    artefact_low: float | None
    artefact_high: float | None
    seeds: tuple[float | None, ...]
    missing: float
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One checkpoint of the trajectory. `name` is base, c0, c1, ...; `cycle` is None for the base."""

    name: str
    cycle: int | None
    trait: Level
    coherence: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class BeyondMargin:
    """How many seeds moved, beside what the mean did: a rare jump escapes a t test.

    Args:
        seeds: Seeds that moved by more than the margin from cycle 1 to cycle K, or diverged.
        n_beyond: How many.
        n_seeds: Out of how many.
        upper: One-sided 95 % Clopper-Pearson upper bound of the share of such chains.
        sentence: The same for a reader.
        reason: Why it cannot be said, or None.
    """

    seeds: tuple[int, ...]
    n_beyond: int
    n_seeds: int
    upper: float | None
    sentence: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that is said about the chains of one protocol, model and trait.

    Args:
        rule: The decision rule used.
        n_seeds: S.
        n_cycles: K, the last cycle.
        n_questions: Q.
        n_coherence_questions: P.
        repeats: Responses per question.
        exploratory: True for one seed: nothing can be said about another chain.
        headline: The result in one sentence.
        trajectory: Mean trait and coherence at every checkpoint.
        chain_law: The verdict: about another chain trained the same way, on these questions.
        new_questions: The same about other questions too.
        artefact: The same about these very checkpoints.
        beyond_margin: How many seeds moved.
        study_rules: The study's own rules.
    """

    rule: Rule
    n_seeds: int
    n_cycles: int
    n_questions: int
    n_coherence_questions: int
    repeats: int
    exploratory: bool
    headline: str
    trajectory: tuple[Checkpoint, ...]
    chain_law: Verdict
    new_questions: Verdict
    artefact: Verdict
    beyond_margin: BeyondMargin
    study_rules: tuple[StudyRule, ...]
