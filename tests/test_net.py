"""Net effects: differences of differences, by oracle; the raw effects where the control does nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from idembench.errors import InputError
from idembench.statistics import RULES, analyse, net_effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.statistics.estimates import FloatArray
    from idembench.statistics.results import NetEffects

RULE = RULES["default"]


def scores(levels: Sequence[float], *, seeds: int = 4, questions: int = 200, seed: int = 0) -> FloatArray:
    """Scores 0..100 around a level for each checkpoint, with noise of seeds and questions, [S, C, Q]."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 3, (seeds, len(levels), 1)) + rng.normal(0, 12, (seeds, len(levels), questions))
    return np.clip(np.array(levels)[None, :, None] + noise, 0, 100)


def net(
    trait: FloatArray,
    control: FloatArray,
    *,
    coherence: FloatArray | None = None,
    control_coherence: FloatArray | None = None,
    repeats: int = 1,
) -> NetEffects:
    """Net effects; coherence is the trait's scores unless given."""
    return net_effects(
        trait,
        trait if coherence is None else coherence,
        control,
        control if control_coherence is None else control_coherence,
        rule=RULE,
        repeats=repeats,
    )


def oracle(trait: FloatArray, control: FloatArray, after: int, before: int) -> tuple[float, float, float]:
    """Estimate and 95 % interval of a net effect: a t interval over the seeds' mean net differences."""
    each = ((trait[:, after] - trait[:, before]) - (control[:, after] - control[:, before])).mean(axis=1)
    half = stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return each.mean(), each.mean() - half, each.mean() + half


LEVELS, CONTROL = (10, 60, 55, 50, 40), (10, 12, 15, 18, 20)


@pytest.mark.parametrize(
    ("name", "after", "before"), [("seeding", 1, 0), ("transmission", 2, 1), ("drift", 4, 2), ("coherence_cost", 4, 2)]
)
def test_estimates_and_intervals_are_those_of_the_formula(name: str, after: int, before: int) -> None:
    """Each net effect is the mean over seeds of differences of differences, with a t interval over seeds."""
    trait, control = scores(LEVELS, seed=1), scores(CONTROL, seed=2)

    found = getattr(net(trait, control), name)

    assert oracle(trait, control, after, before) == pytest.approx((found.estimate, found.low, found.high), abs=1e-5)
    assert (4, 3.0, None) == (found.n_seeds, found.dof, found.reason)


def test_coherence_cost_is_of_coherence() -> None:
    """Trait scores do not touch the coherence cost, and coherence touches nothing else."""
    trait, control = scores(LEVELS, seed=1), scores(CONTROL, seed=2)
    one, other = scores((90, 90, 90, 85, 70), seed=3), scores((90,) * 5, seed=4)

    apart = net(trait, control, coherence=one, control_coherence=other)
    same = net(trait, control)

    assert oracle(one, other, 4, 2)[0] == pytest.approx(apart.coherence_cost.estimate, abs=1e-5)
    assert (same.seeding, same.transmission, same.drift) == (apart.seeding, apart.transmission, apart.drift)


def test_beside_a_control_that_never_moves_the_net_effects_are_the_raw_ones() -> None:
    """A constant control leaves every estimate and interval as `analyse` gives it."""
    trait = scores(LEVELS, seed=1)
    raw = analyse(trait, trait, rule=RULE, diverged=[None] * 4, repeats=1).chain_law.effects

    found = net(trait, np.full_like(trait, 30.0))

    for name in ("seeding", "transmission", "drift", "coherence_cost"):
        one, other = getattr(raw, name), getattr(found, name)

        assert (one.estimate, one.low, one.high) == pytest.approx((other.estimate, other.low, other.high), abs=1e-5)


def test_beside_themselves_chains_have_no_net_effect() -> None:
    """Set beside itself a chain's net effects are exactly 0, and no difference is shown; the answers' error stays."""
    trait = scores(LEVELS, seed=1)

    found = net(trait, trait)

    for effect in (found.seeding, found.transmission, found.drift, found.coherence_cost):
        assert 0.0 == effect.estimate
        assert effect.low < 0 < effect.high
    assert "is not shown" in found.sentence


@given(st.integers(0, 1000))
def test_turned_round_the_effects_change_their_sign_alone(seed: int) -> None:
    """What a chain is net of its control, the control is net of the chain, with the sign turned."""
    trait, control = scores(LEVELS, seed=seed, questions=20), scores(CONTROL, seed=seed + 1, questions=20)
    one, other = net(trait, control).drift, net(control, trait).drift

    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low), abs=1e-5)


def test_seeds_are_paired() -> None:
    """Noise that a seed shares with its control falls out; with the control's seeds in another order it does not."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 15, (6, 5, 1))
    trait, control = (np.clip(scores((50,) * 5, seeds=6, questions=300, seed=seed) + shared, 0, 100) for seed in (1, 2))

    paired, unpaired = net(trait, control).drift, net(trait, control[::-1]).drift

    assert paired.standard_error * 3 < unpaired.standard_error


def test_questions_are_paired() -> None:
    """A question that only one side answered counts on neither side."""
    trait, control = scores(LEVELS, seed=1), scores(CONTROL, seed=2)
    holes = trait.copy()
    holes[:, 4, :150] = np.nan
    more = control.copy()
    more[:, :, :150] = 7.0

    assert net(holes, control).drift.estimate == pytest.approx(oracle(trait[..., 150:], control[..., 150:], 4, 2)[0])
    assert net(holes, control).drift == net(holes, more).drift
    assert 0.75 == net(holes, control).drift.missing


def test_a_seed_that_fell_apart_on_either_side_is_left_out_of_what_it_lacks() -> None:
    """Without its last checkpoint a seed, or its control, says nothing of the drift, and all it can of the seeding."""
    trait, control = scores(LEVELS, seed=1), scores(CONTROL, seed=2)
    trait[0, 3:], control[2, 4:] = np.nan, np.nan

    found = net(trait, control)

    assert (4, 2) == (found.seeding.n_seeds, found.drift.n_seeds)
    assert oracle(trait[[1, 3]], control[[1, 3]], 4, 2)[0] == pytest.approx(found.drift.estimate, abs=1e-5)


# -- too little -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkpoints", "there"),
    [
        (2, {"seeding"}),
        (3, {"seeding", "transmission"}),
        (4, {"seeding", "transmission", "drift", "coherence_cost"}),
    ],
)
def test_short_chains_have_fewer_effects(checkpoints: int, there: set[str]) -> None:
    """A chain of no cycles has a net seeding, one of a single cycle a transmission; drift takes two; each says why."""
    found = net(scores(LEVELS[:checkpoints], seed=1), scores(CONTROL[:checkpoints], seed=2))
    effects: dict[str, Any] = {
        name: getattr(found, name) for name in ("seeding", "transmission", "drift", "coherence_cost")
    }

    assert there == {name for name, effect in effects.items() if effect.estimate is not None}
    assert {f"the chain ends at cycle {checkpoints - 2}"} == {
        effect.reason for name, effect in effects.items() if name not in there
    } or checkpoints == 4
    if checkpoints < 4:
        assert f"nothing can be said of the drift: the chain ends at cycle {checkpoints - 2}" in found.sentence


def test_one_seed_has_an_estimate_and_no_interval() -> None:
    """Of a single chain the net effects have no interval over chains, and say so."""
    trait, control = scores(LEVELS, seeds=1, seed=1), scores(CONTROL, seeds=1, seed=2)

    found = net(trait, control).drift

    assert found.estimate == pytest.approx((trait[:, 4] - trait[:, 2] - control[:, 4] + control[:, 2]).mean(), abs=1e-5)
    assert (None, None) == (found.low, found.high)
    assert "one seed" in str(found.reason)


def test_scores_that_never_vary_still_leave_something_open() -> None:
    """Constant scores on all four sides give an interval that is not empty: finitely many answers resolve no more."""
    still = np.full((3, 5, 50), 20.0)

    found = net(still, still).drift

    assert 0.0 == found.estimate
    assert found.low < 0.0 < found.high


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("which", ["trait", "coherence"])
def test_a_control_of_another_shape_is_refused(axis: int, which: str) -> None:
    """Other seeds, checkpoints or questions on one side are an error that names both shapes."""
    trait = scores(LEVELS, seed=1)
    other = np.delete(trait, 0, axis=axis)
    sides = {"control": other} if which == "trait" else {"control": trait, "control_coherence": other}

    with pytest.raises(InputError, match="does not fit") as caught:
        net(trait, coherence=trait, **{"control_coherence": trait, **sides})
    assert str(trait.shape) in str(caught.value.expected)
    assert str(other.shape) in str(caught.value.found)


# -- the sentence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drop", "said"), [(0.0, "is not shown"), (-30.0, "is shown"), (30.0, "is shown")], ids=["none", "down", "up"]
)
def test_the_sentence_says_what_the_interval_does(drop: float, said: str) -> None:
    """A difference counts as shown exactly when the interval leaves out 0, and the numbers are the effect's own."""
    trait = scores((10, 50, 50, 50, 50 + drop), seeds=6, seed=1)
    found = net(trait, scores((10, 50, 50, 50, 50), seeds=6, seed=2))
    numbers = [float(text.replace("\u2212", "-")) for text in re.findall(r"[+\u2212-]?\d+\.\d+", found.sentence)]

    assert f"a difference from the control {said}." in found.sentence
    assert [found.drift.estimate, found.drift.low, found.drift.high] == pytest.approx(numbers[:3], abs=0.06)
