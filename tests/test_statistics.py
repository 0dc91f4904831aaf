"""Statistics: oracles, invariances, every value of every statement, and the edges."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from idembench.errors import InputError
from idembench.statistics import RULES, Analysis, Rule, analyse, decisions, estimates, study
from idembench.statistics.retention import retention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.statistics.estimates import FloatArray

FLAT = [2.0, 80.0, 78.0, 78.0, 78.0, 78.0, 78.0, 78.0]
COHERENT = [98.0] * 8
EXACT = 1e-9


# -- builders -------------------------------------------------------------------------------------


def make_scores(
    levels: Sequence[float], *, seeds: int = 5, questions: int = 1000, sd: float = 0.0, seed: int = 0
) -> FloatArray:
    """Answers of 0 or 100 around `levels` (one per checkpoint), [S, C, Q]."""
    rng = np.random.default_rng(seed)
    wanted = np.array(levels)[None, :, None] + rng.normal(0.0, sd, (seeds, len(levels), 1))
    return 100.0 * (rng.random((seeds, len(levels), questions)) < wanted / 100.0)


def make_analysis(
    levels: Sequence[float],
    coherence: Sequence[float] = COHERENT,
    *,
    rule: Any = RULES["default"],
    diverged: Sequence[int | None] | None = None,
    seeds: int = 5,
    **kwargs: Any,
) -> Analysis:
    """An analysis of simulated chains; `kwargs` go to `make_scores`."""
    trait = make_scores(levels, seeds=seeds, **kwargs)
    sane = make_scores(list(coherence)[: len(levels)], seeds=seeds, seed=1)
    return analyse(trait, sane, rule=rule, diverged=diverged or [None] * seeds)


def make_differences(*, seeds: int = 4, questions: int = 30, seed: int = 0, shared: float = 5.0) -> FloatArray:
    """Paired differences with seed, question and residual variation, [S, Q]."""
    rng = np.random.default_rng(seed)
    return (
        3.0
        + rng.normal(0, 4.0, (seeds, 1))
        + rng.normal(0, shared, (1, questions))
        + rng.normal(0, 8.0, (seeds, questions))
    )


def leaves(value: object, path: str = "") -> list[tuple[str, Any]]:
    """Every plain value inside nested dictionaries and tuples, with its path."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, f"{path}.{key}")]
    if isinstance(value, (tuple, list)):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, f"{path}[{index}]")]
    return [(path, value)]


def numbers(analysis: object) -> dict[str, Any]:
    """Everything but the words, by path."""
    return {
        path: value for path, value in leaves(dataclasses.asdict(analysis)) if not path.endswith(("sentence", "reason"))
    }


# -- oracles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dof", [1.0, 2.0, 4.0, 9.0, 199.0, 2.71])
@pytest.mark.parametrize("probability", [0.9, 0.95, 0.975])
def test_student_quantile_is_scipys(dof: float, probability: float) -> None:
    """The quantile of Student's t equals scipy.stats', for whole and broken degrees of freedom."""
    expected = stats.t.ppf(probability, dof)

    assert expected == pytest.approx(float(estimates.student_quantile(np.array(dof), probability)), rel=EXACT)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_chain_law_interval_and_p_value_are_those_of_a_t_test_over_seeds(seeds: int) -> None:
    """Where seeds differ more than their answers can, the interval and the p-value are scipy's one-sample t test."""
    differences = make_differences(seeds=seeds, questions=4000)
    estimate = estimates.chain_law(estimates.moments(differences, repeats=1))
    test = stats.ttest_1samp(differences.mean(axis=1), 0.0)
    low, high = test.confidence_interval(0.95)
    half = float(estimate.half_width(0.975))

    assert [low, high, test.pvalue] == pytest.approx(
        [
            float(estimate.estimate) - half,
            float(estimate.estimate) + half,
            float(estimates.two_sided_p(estimate)),
        ],
        rel=EXACT,
    )


def test_proven_bound_is_the_margin_at_which_tost_just_rejects() -> None:
    """At a margin equal to the bound, statsmodels' two one-sided tests have a p-value of exactly alpha."""
    differences = make_differences(questions=4000)
    estimate = estimates.chain_law(estimates.moments(differences, repeats=1))
    bound = abs(float(estimate.estimate)) + float(estimate.half_width(0.95))
    p_value, _, _ = DescrStatsW(differences.mean(axis=1)).ttost_mean(-bound, bound)

    assert p_value == pytest.approx(0.05, rel=EXACT)


@given(
    changes=hnp.arrays(np.float64, (4, 3), elements=st.floats(-20, 20)),
    margin=st.floats(1.0, 30.0),
)
@settings(deadline=None)
def test_idempotent_means_that_tost_rejects_at_every_cycle(changes: FloatArray, margin: float) -> None:
    """Idempotent holds if and only if statsmodels' TOST rejects at every cycle (an intersection-union test)."""
    changes = changes + np.random.default_rng(0).normal(0, 1e-3, changes.shape)
    scores = changes.T[:, :, None] + np.zeros(2000)  # [K - 1, S, Q], no variation within seeds
    estimate = estimates.chain_law(estimates.moments(scores, repeats=1_000_000))
    decided = decisions.decide_iteration(estimate, Rule(name="tried", margin=margin))
    p_values = [DescrStatsW(column).ttost_mean(-margin, margin)[0] for column in changes.T]
    if min(abs(p_value - 0.05) for p_value in p_values) < 1e-4:
        return

    assert bool(decided.idempotent) == (max(p_values) < 0.05)


@pytest.mark.parametrize(
    "p_values", [[0.2], [0.01, 0.04, 0.03], [0.04, 0.04, 0.0, 1.0], [0.9, 0.02, 0.011, 0.3, 0.012]]
)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    """Holm's adjustment equals statsmodels' for any p-values, ties included."""
    expected = multipletests(p_values, method="holm")[1]

    assert list(expected) == pytest.approx(list(estimates.holm(np.array(p_values))), rel=EXACT, abs=1e-15)


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (0, 5), (1, 5), (5, 5), (3, 20)])
def test_upper_bound_is_clopper_pearsons(events: int, trials: int) -> None:
    """The one-sided upper bound equals statsmodels' and scipy's exact one."""
    ours = estimates.clopper_pearson_upper(events, trials, alpha=0.05)
    exact = stats.binomtest(events, trials, alternative="less").proportion_ci(0.95, "exact").high
    _, beta = proportion_confint(events, trials, alpha=0.1, method="beta")

    assert [exact, 1.0 if events == trials else beta] == pytest.approx([ours, ours], rel=EXACT)


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_artefact_error_is_cluster_robust(seeds: int) -> None:
    """The artefact's standard error is statsmodels' OLS of a constant, clustered by question."""
    differences = make_differences(seeds=seeds)
    groups = np.broadcast_to(np.arange(differences.shape[1]), differences.shape).ravel()
    model = OLS(differences.ravel(), np.ones(differences.size)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    ours = estimates.this_artefact(estimates.moments(differences, repeats=1_000_000))

    assert [model.params[0], model.bse[0]] == pytest.approx(
        [float(ours.estimate), float(ours.errors.standard_error)], rel=EXACT
    )


def test_measurement_error_of_a_seed_is_the_standard_error_of_its_questions() -> None:
    """A seed's own squared error is scipy's sem squared over the questions it has."""
    differences = make_differences()
    differences[1, 3:9] = np.nan
    ours = estimates.moments(differences, repeats=1).own

    assert list(stats.sem(differences, axis=1, nan_policy="omit") ** 2) == pytest.approx(list(ours), rel=EXACT)


def test_new_questions_variance_is_that_of_a_two_way_analysis_of_variance() -> None:
    """For balanced data the variance equals sigma_a^2 / S + sigma_b^2 / Q + sigma_e^2 / (S Q) from OLS mean squares."""
    differences = make_differences(shared=20.0)
    seeds, questions = differences.shape
    rows = np.repeat(np.eye(seeds), questions, axis=0)
    columns = np.tile(np.eye(questions)[:, 1:], (seeds, 1))
    residual = OLS(differences.ravel(), np.hstack([rows, columns])).fit().ssr
    of_error = residual / ((seeds - 1) * (questions - 1))
    of_seeds = questions * differences.mean(axis=1).var(ddof=1)
    of_questions = seeds * differences.mean(axis=0).var(ddof=1)
    expected = (of_seeds + of_questions - of_error) / (seeds * questions)
    ours = estimates.new_questions(estimates.moments(differences, repeats=1_000_000))

    assert expected == pytest.approx(float(ours.errors.standard_error) ** 2, rel=EXACT)


def test_fieller_ends_are_where_the_t_test_of_the_contrast_just_rejects() -> None:
    """At both ends r of the retention interval, the t test of numerator - r * denominator has p = 0.05."""
    rng = np.random.default_rng(3)
    levels = np.array([5.0, 60.0, 55.0, 50.0])[None, :, None] + rng.normal(0, 4.0, (5, 4, 1))
    scores = levels + np.zeros(50)
    ratio = retention(scores, estimand="chain law", alpha=0.05, repeats=1_000_000)
    means = scores[..., 0]

    def p_value(at: float) -> float:
        contrast = (means[:, -1] - means[:, 0]) - at * (means[:, 1] - means[:, 0])
        return stats.ttest_1samp(contrast, 0.0).pvalue - 0.05

    low = optimize.brentq(p_value, ratio.estimate - 1.0, ratio.estimate, xtol=1e-14)
    high = optimize.brentq(p_value, ratio.estimate, ratio.estimate + 1.0, xtol=1e-14)

    assert (low, high) == pytest.approx(ratio.interval, rel=EXACT)


def test_prefix_regression_is_the_mean_of_least_squares_slopes() -> None:
    """The rule's value equals the mean of scipy's slopes on cycles 0..k for k = 1..N."""
    means = np.random.default_rng(0).normal(50, 5, (3, 7))
    expected = [np.mean([stats.linregress(range(k + 1), row[: k + 1]).slope for k in range(1, 7)]) for row in means]

    assert expected == pytest.approx(list(study.prefix_regression(means)), rel=EXACT)


def test_the_effects_of_an_analysis_are_those_of_scipy() -> None:
    """Drift in the record: estimate, interval, p-value and dof of scipy's t tests over seeds and over questions."""
    trait = make_scores([2.0, 70, 70, 70, 74], sd=6.0, questions=4000)
    found = analyse(trait, np.full_like(trait, 98.0), rule=RULES["default"], diverged=[None] * 5)
    changes = trait[:, -1] - trait[:, 2]
    for verdict, axis in ((found.chain_law, 1), (found.artefact, 0)):
        test = stats.ttest_1samp(changes.mean(axis=axis), 0.0)
        drift = verdict.effects.drift
        expected = (*test.confidence_interval(0.95), test.pvalue, test.df)

        assert expected == pytest.approx((drift.low, drift.high, drift.p_value, drift.dof), abs=1e-6)


@pytest.mark.parametrize("seeds", [1, 3])
def test_reported_errors_make_the_reported_interval(seeds: int) -> None:
    """For every effect in points, half the interval is t(dof) times the reported standard error."""
    found = make_analysis(FLAT, seeds=seeds, sd=1.0)
    for verdict in (found.chain_law, found.new_questions, found.artefact):
        for name in ("seeding", "transmission", "remaining", "drift", "coherence_cost"):
            effect = getattr(verdict.effects, name)
            if effect.low is not None:
                half = stats.t.ppf(0.975, effect.dof) * effect.standard_error

                assert (effect.high - effect.low) / 2 == pytest.approx(half, abs=1e-4), name


# -- floors ---------------------------------------------------------------------------------------


def test_seeds_that_agree_by_luck_know_no_more_than_their_answers() -> None:
    """With equal seed means the interval is the measurement's own: t with S (Q - 1) degrees of freedom."""
    one = np.where(np.arange(100) < 30, 100.0, 0.0)
    estimate = estimates.chain_law(estimates.moments(np.stack([one, one[::-1], one]), repeats=1))
    expected = stats.t.ppf(0.975, 297) * stats.sem(one) / math.sqrt(3)

    assert expected == pytest.approx(float(estimate.half_width(0.975)), rel=EXACT)


def test_equal_scores_leave_what_the_rule_of_three_leaves() -> None:
    """If n answers are all equal, the normal one-sided bound of their rate is -ln(0.05) / n, not zero."""
    given_moments = estimates.moments(np.zeros((1, 40)), repeats=5)

    assert -math.log(0.05) / 200 * 100 == pytest.approx(
        stats.norm.ppf(0.95) * math.sqrt(given_moments.resolution[0]), rel=EXACT
    )


def test_new_questions_are_never_surer_than_the_chain_law_or_the_artefact() -> None:
    """The two-way interval contains both one-way intervals, whatever the data."""
    for seed in range(200):
        differences = make_differences(seeds=3, questions=12, seed=seed, shared=float(seed % 20))
        found = estimates.moments(differences, repeats=1)
        wide = estimates.new_questions(found).half_width(0.975)

        assert wide >= estimates.chain_law(found).half_width(0.975) - 1e-12
        assert wide >= estimates.this_artefact(found).half_width(0.975) - 1e-12


# -- every value of every statement ---------------------------------------------------------------


def test_seeding_taken() -> None:
    """A seeding effect whose interval lies above ten points is taken."""
    assert make_analysis(FLAT).chain_law.seeding.value == "taken"


def test_seeding_not_taken() -> None:
    """A seeding effect of five points is not taken."""
    assert make_analysis([2.0, 7.0, *FLAT[2:]]).chain_law.seeding.value == "not taken"


@pytest.mark.parametrize(
    ("levels", "sd", "expected"),
    [
        (FLAT, 0.0, "kept"),
        ([2.0, 80.0, 50.0, 50.0], 0.0, "weakened"),
        ([2.0, 50.0, 80.0, 80.0], 0.0, "strengthened"),
        ([2.0, 80.0, 3.0, 3.0], 0.0, "lost"),
        ([20.0, 50.0, 50.0, 50.0], 12.0, "unclear"),
    ],
)
def test_transmission(levels: Sequence[float], sd: float, expected: object) -> None:
    """Every value of the transmission statement is reached by chains that deserve it."""
    assert make_analysis(levels, sd=sd).chain_law.transmission.value == expected


def test_noise_does_not_lose_a_trait_that_is_plainly_there() -> None:
    """Three noisy seeds leave transmission unclear rather than lost, and the chain unranked."""
    trait = np.repeat(np.array([[2.0, 80, 80], [2, 80, 75], [2, 80, 15]])[:, :, None], 50, axis=2)
    found = analyse(trait, np.full_like(trait, 98.0), rule=RULES["default"], diverged=[None] * 3).chain_law

    assert (found.transmission.value, found.transmission.present, found.eligible) == ("unclear", False, False)


def test_kept_asks_for_presence() -> None:
    """A trait that fell from 15 to 10 points is within the margin of both ends: weakened, not kept, and not ranked."""
    found = make_analysis([0.0, 15.0, 10.0, 10.0]).chain_law

    assert found.transmission.change_bound < RULES["default"].margin
    assert (found.transmission.value, found.eligible) == ("weakened", False)


@pytest.mark.parametrize(
    ("levels", "sd", "expected"),
    [
        (FLAT, 0.0, ("idempotent",)),
        ([2, 30, 30, 40, 50, 60, 70, 80], 0.0, ("amplified",)),
        ([2, 80, 80, 70, 60, 50, 40, 30], 0.0, ("decayed",)),
        ([2, 80, 80, 80, 80, 80, 80, 84.5], 0.0, ("idempotent", "amplified")),
        ([2, 80, 80, 80, 80, 80, 80, 75], 0.0, ("idempotent", "decayed")),
        (FLAT, 8.0, ("inconclusive",)),
        ([2, 30, 30, 50, 80, 60, 40, 30], 0.0, ("inconclusive", "non-monotone")),
        ([2, 30, 30, 60, 90, 90, 80, 60], 0.0, ("amplified", "non-monotone")),
    ],
)
def test_iteration(levels: Sequence[float], sd: float, expected: object) -> None:
    """Every value of the iteration statement, and every lawful combination, is reached."""
    assert make_analysis(levels, sd=sd).chain_law.iteration.values == expected


@pytest.mark.parametrize(
    ("coherence", "expected"),
    [
        ([98.0] * 8, ("held",)),
        ([98.0, 98, 98, 98, 98, 98, 98, 80], ("fell",)),
        ([98.0, 98, 98, 98, 98, 98, 98, 95], ("held", "fell")),
        ([98.0, 98, 98, 98, 98, 90, 70, 30], ("collapsed", "fell")),
    ],
)
def test_coherence(coherence: Sequence[float], expected: object) -> None:
    """Coherence holds, falls, does both (a small real fall), or collapses below the floor."""
    assert make_analysis(FLAT, coherence).chain_law.coherence.values == expected


def test_coherence_inconclusive() -> None:
    """Chains whose coherence scatters widely neither hold it nor lose it."""
    trait, sane = make_scores(FLAT, seeds=3), make_scores([80.0] * 8, seeds=3, sd=8.0)
    found = analyse(trait, sane, rule=RULES["default"], diverged=[None] * 3).chain_law.coherence

    assert (found.value, found.reason is not None) == ("inconclusive", True)


def test_one_collapsed_seed_is_a_collapse() -> None:
    """One incoherent seed among five is a collapse even though the mean over seeds is far above the floor."""
    sane = make_scores(COHERENT)
    sane[3, 5:] = 0.0
    found = analyse(make_scores(FLAT), sane, rule=RULES["default"], diverged=[None] * 5).chain_law.coherence

    assert (found.value, found.collapsed_seeds, found.lowest_mean_seed) == ("collapsed", (3,), 3)


def test_the_coherence_floor_itself_is_not_a_collapse() -> None:
    """A mean coherence of exactly fifty points stands; below it is a collapse."""
    sane = np.full((2, 8, 100), 50.0)
    found = [
        analyse(make_scores(FLAT, seeds=2), scores, rule=RULES["default"], diverged=[None] * 2).chain_law.coherence
        for scores in (sane, sane - 0.1)
    ]

    assert ["collapsed" in coherence.values for coherence in found] == [False, True]


def test_a_diverged_seed_is_never_dropped() -> None:
    """A seed without scores after it diverged collapses coherence, counts as moved, and blocks idempotent."""
    trait, sane = make_scores(FLAT), make_scores(COHERENT)
    trait[2, 4:], sane[2, 4:] = np.nan, np.nan
    found = analyse(trait, sane, rule=RULES["default"], diverged=[None, None, 3, None, None])

    assert found.chain_law.coherence.value == "collapsed"
    assert found.chain_law.coherence.diverged_seeds == (2,)
    assert found.beyond_margin.seeds == (2,)
    assert found.chain_law.iteration.value == "inconclusive"
    assert "20 % of the pairs are missing" in found.chain_law.iteration.reason


def test_the_strict_rule_asks_for_more() -> None:
    """A drift of six points is idempotent under the default margin of 10 and not under the strict one of 5."""
    levels = [2, 60, 60, 60, 60, 60, 60, 66.0]
    values = {name: make_analysis(levels, rule=rule).chain_law.iteration.values for name, rule in RULES.items()}

    assert values == {"default": ("idempotent", "amplified"), "strict": ("amplified",)}


# -- ranking, counting, ratio ---------------------------------------------------------------------


def test_only_a_trait_that_is_there_can_be_ranked() -> None:
    """A trait that vanished at once stays constant for ever: idempotent, but qualified and not eligible."""
    found = make_analysis([2.0, 80.0] + [2.0] * 6).chain_law

    assert (found.iteration.value, found.iteration.qualified, found.eligible) == ("idempotent", True, False)
    assert found.eligible_reason in found.iteration.sentence


def test_a_constant_trait_is_ranked_by_its_proven_bound() -> None:
    """A chain that keeps its trait is eligible, and more answers prove a smaller bound."""
    few, many = make_analysis(FLAT, questions=200).chain_law, make_analysis(FLAT, questions=5000).chain_law

    assert (few.eligible, many.eligible) == (True, True)
    assert many.effects.proven_bound.estimate < few.effects.proven_bound.estimate


def test_seeds_beyond_the_margin_are_counted_with_their_bound() -> None:
    """None of five seeds moved: up to 45 % of chains could, in the record's words."""
    found = make_analysis(FLAT).beyond_margin

    assert (found.n_beyond, found.upper) == (0, pytest.approx(1 - 0.05**0.2, abs=1e-6))
    assert found.sentence == "0 of 5 seeds moved beyond the margin: up to 45 % of chains could."


def test_a_jump_of_one_seed_is_counted() -> None:
    """A seed that jumps by thirty points is named although the others did not move."""
    trait = make_scores([2.0, 50, 50, 50, 50, 50, 50, 50])
    trait[4, -1] = make_scores([80.0], seeds=1)[0, 0]
    found = analyse(trait, make_scores(COHERENT), rule=RULES["default"], diverged=[None] * 5)

    assert found.beyond_margin.seeds == (4,)


def test_retention_is_a_ratio_of_means() -> None:
    """Half of the seeded effect left gives a retention near a half, inside its interval."""
    found = make_analysis([0.0, 80, 60, 55, 50, 45, 42, 40], sd=1.0).chain_law.effects.retention

    assert (found.unit, found.low < 0.5 < found.high) == ("ratio", True)
    assert found.estimate == pytest.approx(0.5, abs=0.05)


def test_retention_needs_a_seeding_that_took() -> None:
    """Without a seeding there is nothing to retain, and the reason says so."""
    found = make_analysis([2.0] * 8).chain_law.effects.retention

    assert (found.estimate, found.reason) == (None, "the seeding is not shown to have taken")


def test_an_unbounded_ratio_has_no_interval() -> None:
    """Fieller's interval does not exist if the denominator may be zero."""
    assert estimates.fieller(1.0, 1.0, np.eye(2), quantile=2.0) is None


def test_the_studys_rules_flag_what_they_say() -> None:
    """A chain that rises after cycle 1 is flagged by the cycle-1-anchored rule and not by the cycle-0-anchored one."""
    means = np.array([[70.0, 50, 52, 55, 58, 61, 62]])
    found = {rule.name: rule.flagged[0] for rule in study.apply_study_rules(means)}

    assert found == {
        "delta-10": False,
        "delta-15": False,
        "late-delta-10": False,
        "late-delta-15": False,
        "late-delta-from-cycle-1-10": True,
        "prefix-regression-1.67": False,
    }


def test_the_studys_late_rules_need_a_late_cycle() -> None:
    """A chain that ends at cycle 3 cannot be asked about cycle 4, and the rule says so."""
    found = {rule.name: rule for rule in study.apply_study_rules(np.array([[50.0, 50.0, 50.0, 70.0]]))}

    assert (found["late-delta-10"].flagged, found["late-delta-10"].n_seeds) == ((None,), 0)
    assert found["late-delta-10"].reason == "the rule needs cycle 4; the chain ends at cycle 3"
    assert found["delta-10"].flagged == (True,)


# -- edges ----------------------------------------------------------------------------------------


def test_one_seed_is_exploratory() -> None:
    """One seed has no chain law, with the reason, while its own checkpoints are judged."""
    found = make_analysis(FLAT, seeds=1)

    assert found.exploratory
    assert found.chain_law.effects.drift.low is None
    assert "one seed" in found.chain_law.effects.drift.reason
    assert (found.chain_law.seeding.value, found.chain_law.transmission.value) == ("not taken", "unclear")
    assert (found.chain_law.iteration.value, found.chain_law.coherence.value) == ("inconclusive", "inconclusive")
    assert (found.artefact.seeding.value, found.artefact.iteration.value) == ("taken", "idempotent")
    assert found.headline.startswith("Exploratory, one seed")


def test_constant_scores_rest_on_resolution() -> None:
    """If every answer is the same, the interval is that of the number of answers, and says so."""
    trait = np.full((3, 8, 200), 100.0)
    found = analyse(trait, trait, rule=RULES["default"], diverged=[None] * 3).chain_law.effects.drift

    assert (found.estimate, found.error_from) == (0.0, "resolution")
    assert found.high > 0.0


@pytest.mark.parametrize("last", [0, 1])
def test_short_chains_say_that_nothing_was_iterated(last: int) -> None:
    """A chain that ends at cycle 0 or 1 has no iteration statement beyond a reason."""
    found = make_analysis(FLAT[: last + 2])

    assert found.chain_law.iteration.reason == f"nothing was iterated: the chain ends at cycle {last}"
    assert found.chain_law.effects.proven_bound.estimate is None
    assert not found.chain_law.eligible


def test_too_many_missing_pairs_are_inconclusive() -> None:
    """Above five percent of missing pairs nothing is claimed, though the estimate stands."""
    trait = make_scores(FLAT)
    trait[:, 5, :60] = np.nan
    found = analyse(trait, make_scores(COHERENT), rule=RULES["default"], diverged=[None] * 5).chain_law

    assert found.iteration.value == "inconclusive"
    assert found.iteration.reason.startswith("6 % of the pairs are missing")
    assert found.iteration.proven_bound is not None


def test_too_many_missing_pairs_claim_no_drift() -> None:
    """A clear rise with six percent of its last cycle missing is not called amplified, nor turned back."""
    trait = make_scores([2, 30, 30, 60, 90, 90, 80, 60])
    trait[:, -1, :60] = np.nan
    found = analyse(trait, make_scores(COHERENT), rule=RULES["default"], diverged=[None] * 5).chain_law

    assert found.iteration.values == ("inconclusive",)


def test_few_missing_pairs_change_little() -> None:
    """Three percent of scores missing at random leave the statements and move the drift by less than its error."""
    trait = make_scores(FLAT)
    holes = trait.copy()
    holes[np.random.default_rng(0).random(trait.shape) < 0.015] = np.nan
    sane = make_scores(COHERENT)
    full, some = (analyse(x, sane, rule=RULES["default"], diverged=[None] * 5).chain_law for x in (trait, holes))

    assert full.iteration.values == some.iteration.values
    assert abs(full.effects.drift.estimate - some.effects.drift.estimate) < full.effects.drift.standard_error


def test_a_seed_without_scores_is_named_by_its_absence() -> None:
    """A seed that has no score at all is missing, not ignored: the other seeds give estimates but no claim."""
    trait, sane = make_scores(FLAT), make_scores(COHERENT)
    trait[0], sane[0] = np.nan, np.nan
    found = analyse(trait, sane, rule=RULES["default"], diverged=[None] * 5)

    assert found.trajectory[0].trait.seeds[0] is None
    assert found.chain_law.effects.seeding.n_seeds == 4
    assert found.chain_law.seeding.value == "not taken"


@pytest.mark.parametrize(
    "change",
    [
        {"trait": np.zeros((2, 3))},
        {"trait": np.zeros((2, 1, 5))},
        {"trait": np.zeros((0, 3, 5))},
        {"trait": np.full((2, 3, 5), 101.0)},
        {"trait": np.full((2, 3, 5), -0.1)},
        {"trait": np.full((2, 3, 5), np.inf)},
        {"coherence": np.zeros((2, 4, 5))},
        {"coherence": np.zeros((3, 3, 5))},
        {"diverged": [None]},
        {"diverged": [None, 2]},
        {"diverged": [None, -1]},
        {"repeats": 0},
    ],
)
def test_bad_input_is_refused(change: dict[str, Any]) -> None:
    """Shapes that disagree, scores off the scale and impossible cycles are input errors, not results."""
    kwargs = {"trait": np.zeros((2, 3, 5)), "coherence": np.zeros((2, 3, 5)), "diverged": [None, None], "repeats": 1}
    kwargs |= change

    with pytest.raises(InputError):
        analyse(kwargs.pop("trait"), kwargs.pop("coherence"), rule=RULES["default"], **kwargs)


@pytest.mark.parametrize("change", [{"margin": 0.0}, {"margin": math.nan}, {"alpha": 0.0}, {"max_missing": 1.0}])
def test_a_rule_that_cannot_decide_is_refused(change: dict[str, Any]) -> None:
    """A margin of zero, an error rate of zero and the like are input errors."""
    with pytest.raises(InputError):
        Rule(**({"name": "bad", "margin": 10.0} | change))


# -- properties -----------------------------------------------------------------------------------


@st.composite
def any_scores(draw: Any) -> tuple[FloatArray, FloatArray, list[int | None]]:
    """Trait and coherence of any small shape with any pattern of missing scores, and which seeds diverged."""
    seeds, cycles = draw(st.integers(1, 4)), draw(st.integers(0, 5))
    elements = st.one_of(st.sampled_from([0.0, 50.0, 100.0, math.nan]), st.floats(0.0, 100.0))
    trait = draw(hnp.arrays(np.float64, (seeds, cycles + 2, draw(st.integers(1, 6))), elements=elements))
    coherence = draw(hnp.arrays(np.float64, (seeds, cycles + 2, draw(st.integers(1, 6))), elements=elements))
    diverged = draw(st.lists(st.none() | st.integers(0, cycles), min_size=seeds, max_size=seeds))
    return trait, coherence, diverged


@given(any_scores(), st.sampled_from(sorted(RULES)), st.integers(1, 20))
@settings(max_examples=80, deadline=None)
def test_any_scores_give_plain_finite_rounded_numbers_or_reasons(given_scores: Any, rule: Any, repeats: int) -> None:
    """Whatever is missing: no NaN, no warning, only plain values, six decimals, and a reason for every None."""
    trait, coherence, diverged = given_scores
    found = analyse(trait, coherence, rule=RULES[rule], diverged=diverged, repeats=repeats)
    plain = dataclasses.asdict(found)

    assert json.loads(json.dumps(plain, allow_nan=False))
    for path, value in leaves(plain):
        assert value is None or type(value) in {str, int, float, bool}, path
        assert not isinstance(value, float) or value == round(value, 6), path
    for verdict in (found.chain_law, found.new_questions, found.artefact):
        for field in dataclasses.fields(verdict.effects):
            effect = getattr(verdict.effects, field.name)
            missing = effect.estimate is None or (field.name != "proven_bound" and effect.low is None)
            assert (effect.reason is not None) == missing, field.name
        for statement in (verdict.seeding, verdict.transmission, verdict.iteration, verdict.coherence):
            assert statement.sentence.endswith(".")
            assert "?" not in statement.sentence, statement.sentence
            assert (statement.reason is not None) or statement.value not in {"unclear", "inconclusive"}


@given(any_scores(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_of_questions_and_seeds_does_not_matter(given_scores: Any, source: random.Random) -> None:
    """Shuffling questions and seeds changes no estimate and no statement."""
    trait, coherence, diverged = given_scores
    seeds, questions = list(range(trait.shape[0])), list(range(trait.shape[2]))
    random.Random(source.random()).shuffle(seeds)
    random.Random(source.random()).shuffle(questions)
    one = analyse(trait, coherence, rule=RULES["default"], diverged=diverged)
    two = analyse(
        trait[seeds][:, :, questions],
        coherence[seeds],
        rule=RULES["default"],
        diverged=[diverged[seed] for seed in seeds],
    )
    skipped = ("seeds[", "_seeds[", "_seed", "_cycle", ".cycle", "values[", "flagged[")
    before, after = (
        {path: value for path, value in numbers(found).items() if not any(word in path for word in skipped)}
        for found in (one, two)
    )

    assert before.keys() == after.keys()
    for path, value in before.items():
        assert after[path] == (pytest.approx(value, rel=1e-6, abs=2e-6) if isinstance(value, float) else value), path


@given(
    hnp.arrays(np.float64, (3, 5, 4), elements=st.integers(0, 60).map(float)),
    st.integers(1, 40).map(float),
)
@settings(max_examples=25, deadline=None)
def test_a_shift_of_all_scores_changes_no_effect(trait: FloatArray, shift: float) -> None:
    """Adding a constant to every score, base included, leaves every effect and statement as it was."""
    sane = np.full_like(trait, 98.0)
    one = analyse(trait, sane, rule=RULES["default"], diverged=[None] * 3)
    two = analyse(trait + shift, sane, rule=RULES["default"], diverged=[None] * 3)
    before, after = (numbers(found.chain_law) for found in (one, two))

    for path, value in before.items():
        assert after[path] == (pytest.approx(value, rel=1e-6, abs=2e-6) if isinstance(value, float) else value), path


@given(hnp.arrays(np.float64, (3, 5, 6), elements=st.integers(0, 100).map(float)))
@settings(max_examples=25, deadline=None)
def test_the_mirror_image_drifts_the_other_way(trait: FloatArray) -> None:
    """Scores counted from the other end of the scale turn amplified into decayed and keep idempotent."""
    sane = np.full_like(trait, 98.0)
    turned = {"amplified": "decayed", "decayed": "amplified"}
    one, two = (
        analyse(scores, sane, rule=RULES["default"], diverged=[None] * 3).chain_law.iteration
        for scores in (trait, 100.0 - trait)
    )

    assert tuple(turned.get(value, value) for value in one.values) == two.values


@given(hnp.arrays(np.float64, (2, 3, 7), elements=st.floats(-100, 100)))
def test_leading_axes_change_nothing(differences: FloatArray) -> None:
    """Estimating a batch gives what estimating each member gives: the simulation runs what `analyse` runs."""
    together = estimates.chain_law(estimates.moments(differences, repeats=1)).half_width(0.975)
    alone = [estimates.chain_law(estimates.moments(one, repeats=1)).half_width(0.975) for one in differences]

    assert [float(value) for value in alone] == pytest.approx(list(together), rel=EXACT)


def test_complete_scores_take_the_same_path_as_incomplete_ones() -> None:
    """The shortcut for complete data equals the general formula, reached by adding an empty question."""
    differences = make_differences()
    padded = np.concatenate([differences, np.full((4, 1), np.nan)], axis=1)
    one, two = (estimates.moments(data, repeats=1) for data in (differences, padded))

    for field in ("means", "own", "pooled", "n_questions", "resolution", "pairs_dof"):
        assert np.allclose(getattr(one, field), getattr(two, field), rtol=EXACT), field


def test_an_analysis_survives_pydantic_and_json() -> None:
    """A strict pydantic model embeds an analysis, and reading its JSON gives the same value back."""

    class Record(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True, frozen=True, extra="forbid")
        analysis: Analysis

    record = Record(analysis=make_analysis(FLAT, seeds=3, questions=50))

    assert Record.model_validate_json(record.model_dump_json()) == record
