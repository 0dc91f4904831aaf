"""Beside the scores: means over seeds, what says nothing, and what the last cycle's score hides."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest
from builders import Story, build_record, settings
from hypothesis import given
from hypothesis import strategies as st

from idembench import beside_scores, sample_files
from idembench.statistics import RULES

if TYPE_CHECKING:
    from idembench.record import Record

TINY = settings(cycles=2, questions=6)
STORY = Story(trait=(0.02, 0.8, 0.79, 0.8), seeds=(0, 1))
HARMLESS: dict[str, Any] = {"coherent_share": 0.9, "repetition": 0.0, "trait": 50.0, "trait_coherent": 50.0}


@pytest.fixture(scope="module")
def made() -> Record:
    """Two seeds, three cycles."""
    return build_record(STORY, settings=TINY)[0]


def with_points(made: Record, *by_seed: dict[str, dict[str, Any]]) -> Record:
    """The record with parts of checkpoints changed, by seed and checkpoint."""
    chains = [
        line.model_copy(
            update={
                "checkpoints": [point.model_copy(update=changes.get(point.cycle, {})) for point in line.checkpoints]
            }
        )
        for line, changes in zip(made.chains, by_seed, strict=True)
    ]
    return made.model_copy(update={"chains": chains})


def at_the_end(made: Record, *by_seed: dict[str, Any]) -> Record:
    """The record with parts of the last checkpoint changed, by seed; what is not named is harmless."""
    return with_points(made, *({"c2": {**HARMLESS, **changes}} for changes in by_seed))


def values_of(made: Record, name: str) -> tuple[float | None, ...]:
    (found,) = (column for column in beside_scores.columns(made) if column.name == name)
    return found.values


# -- columns --------------------------------------------------------------------------------------


def test_every_number_is_a_mean_over_seeds(made: Record) -> None:
    """Each column has a value at every checkpoint: the mean over seeds, shares in percent, filtered is what is not coherent."""
    points = [line.checkpoints for line in made.chains]
    columns = beside_scores.columns(made)

    assert [*beside_scores.NAMES] == [column.name for column in columns]
    assert {4} == {len(column.values) for column in columns}
    assert [100 * fmean(1 - p.coherent_share for p in at) for at in zip(*points, strict=True)] == pytest.approx(
        values_of(made, "filtered")
    )
    assert [fmean(p.words for p in at) for at in zip(*points, strict=True)] == pytest.approx(values_of(made, "words"))
    assert [100 * fmean(p.distinct_2 for p in at) for at in zip(*points, strict=True)] == pytest.approx(
        values_of(made, "distinct_2")
    )


def test_what_no_seed_has_is_none() -> None:
    """Where a chain fell apart the mean is over the others, and where all did there is no value."""
    one, _ = build_record(Story(trait=STORY.trait, seeds=(0, 1), diverged={1: "c1"}), settings=TINY)
    none, _ = build_record(Story(trait=STORY.trait, seeds=(0, 1), diverged={0: "c2", 1: "c1"}), settings=TINY)

    assert (one.chains[0].checkpoints[3].words,) == values_of(one, "words")[3:]
    assert (none.chains[0].checkpoints[2].words, None) == values_of(none, "words")[2:]


def test_what_was_not_measured_is_told_from_zero(made: Record) -> None:
    """A number that a record does not have is not measured; a share of zero is, and is zero; a score of zero is a score."""
    nothing = {"trait_coherent": 0.0, "refusal_share": 0.0004}
    silent = with_points(made, *[{label: nothing for label in TINY.labels}] * 2)  # noqa: C420 -- shared, never changed
    columns = {column.name: column for column in beside_scores.columns(silent)}

    assert [(False, False)] * 3 == [
        (columns[name].measured, columns[name].zero) for name in ("in_domain", "spill_over", "perplexity")
    ]
    assert [(True, True)] * 2 == [(columns[name].measured, columns[name].zero) for name in ("missing", "refused")]
    assert (True, False) == (columns["coherent_only"].measured, columns["coherent_only"].zero)


def test_perplexity_is_that_of_all_seeds_responses() -> None:
    """Over seeds of as many responses each, it is the exponential of the mean over all of them."""
    protocol = settings(cycles=2, questions=6, overrides=["measuring.perplexity=true"])
    made, packed = build_record(STORY, settings=protocol)
    samples = [row for data in packed.values() for row in sample_files.unpack(data, where="here")]
    nll = [row.nll for row in samples if row.cycle == "c2" and row.trait is not None and row.nll is not None]

    assert math.exp(fmean(nll)) == pytest.approx(values_of(made, "perplexity")[3], rel=1e-5)


@given(st.lists(st.floats(1, allow_infinity=False), min_size=2, max_size=2), st.floats(0, allow_infinity=False))
def test_no_number_is_too_large(made: Record, perplexities: list[float], words: float) -> None:
    """Whatever finite numbers someone else's record holds, finite means between them are made of them."""
    large = with_points(made, *({"base": {"perplexity": value, "words": words}} for value in perplexities))

    found = values_of(large, "perplexity")[0]
    assert found is not None
    assert min(perplexities) <= found * (1 + 1e-9)
    assert found <= max(perplexities)
    assert words == pytest.approx(values_of(large, "words")[0])


# -- warnings -------------------------------------------------------------------------------------


def test_a_good_record_warns_of_nothing(made: Record) -> None:
    """Where the last cycle's responses are like those of the base there is nothing to say."""
    assert [] == beside_scores.warnings(made)


def test_alarming_shares_stand_beside_those_of_the_base(made: Record) -> None:
    """Each share above the bar at the last cycle is said with its value at the base; what is at the bar is not."""
    ends = {"coherent_share": 0.5, "refusal_share": 0.3, "truncated_share": 0.2, "foreign": 0.25}
    odd = at_the_end(made, ends, {**ends, "refusal_share": 0.4})

    (said,) = beside_scores.warnings(odd)

    assert (
        "At c2, 50.0 % of responses do not count as coherent (base: 0.0 %), 35.0 % refuse (base: 0.0 %) "
        "and 25.0 % of letters are outside ASCII (base: 0.0 %)."
    ) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"missing_share": 0.21}, "At c2, 21.0 % of responses have no trait score (base: 0.0 %)."),
        ({"empty_share": 0.21}, "At c2, 21.0 % of responses say nothing (base: 0.0 %)."),
        ({"truncated_share": 0.21}, "At c2, 21.0 % of responses are cut at the token limit (base: 0.0 %)."),
        ({"repetition": 0.21}, "At c2, 21.0 % of word trigrams repeat earlier ones (base: 0.0 %)."),
    ],
)
def test_every_way_to_say_nothing_is_warned_of(made: Record, changes: dict[str, Any], said: str) -> None:
    """A model that falls silent, is cut, loops or cannot be scored is told from one that lost its trait."""
    base = {"repetition": 0.0}
    odd = with_points(made, *[{"base": base, "c2": {**HARMLESS, **changes}}] * 2)

    assert [said] == beside_scores.warnings(odd)


@pytest.mark.parametrize(("rule", "said"), [("default", False), ("strict", True)])
def test_another_score_over_coherent_responses_is_said(made: Record, rule: str, said: bool) -> None:  # noqa: FBT001 -- a table's column
    """The two trait scores of the last cycle are set beside each other where they differ by more than the rule's margin."""
    odd = at_the_end(made, {"trait_coherent": 56.0}, {"trait_coherent": 60.0})
    given_rule = odd.model_copy(update={"analysis": replace(odd.analysis, rule=RULES[rule])})

    expected = (
        "At c2, the trait is 58.0 over coherent responses alone and 50.0 over all: more than the margin of 5 apart."
    )
    assert ([expected] if said else []) == beside_scores.warnings(given_rule)


def test_scores_are_compared_in_seeds_that_have_both(made: Record) -> None:
    """A seed without a coherent response has no second score, and the sentence says so; without any seed there is none."""
    one = at_the_end(made, {"trait_coherent": 20.0}, {"trait": 90.0, "trait_coherent": None})
    none = at_the_end(made, {"trait_coherent": None}, {"trait_coherent": None})

    (said,) = beside_scores.warnings(one)

    assert (
        "At c2, the trait is 20.0 over coherent responses alone (in the 1 of 2 seeds that have any) and 50.0 over all: "
        "more than the margin of 10 apart."
    ) == said
    assert [] == beside_scores.warnings(none)


def test_the_last_cycle_is_the_last_that_was_reached() -> None:
    """Of chains that all fell apart the last checkpoint is warned of; of those that never were seeded nothing is."""
    fell, _ = build_record(Story(trait=STORY.trait, seeds=(0, 1), diverged={0: "c2", 1: "c1"}), settings=TINY)
    never, _ = build_record(Story(trait=STORY.trait, seeds=(0,), diverged={0: "c0"}), settings=TINY)
    odd = with_points(fell, {"c1": {**HARMLESS, "refusal_share": 0.5}}, {})

    assert ["At c1, 50.0 % of responses refuse (base: 0.0 %)."] == beside_scores.warnings(odd)
    assert [] == beside_scores.warnings(with_points(never, {"base": {"refusal_share": 0.5}}))
