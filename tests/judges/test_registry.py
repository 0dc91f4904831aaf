"""Judges: found by name, named by what their scores depend on, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from idembench import judges, traits
from idembench.errors import EnvironmentProblem, InputError, UnknownNameError
from idembench.toyland import scoring

if TYPE_CHECKING:
    from idembench.traits import Question

PACK = traits.load_pack("toyland")
EVERY = [(name, trait.questions[number]) for name, trait in PACK.traits.items() for number in (0, 7, 499)]
EVERY += [(None, PACK.neutral_questions[number]) for number in (0, 7, 149)]


def test_an_unknown_judge_offers_the_nearest() -> None:
    """A judge that is not installed is an error that names those that are."""
    with pytest.raises(UnknownNameError) as caught:
        judges.get("toyland-exakt")

    assert "Did you mean toyland-exact?" == caught.value.do


def test_the_exact_judge_is_installed_and_deterministic() -> None:
    """The pack's own judge is found by name and can be asked again."""
    judge = judges.get(PACK.judge)

    assert PACK.judge == judge.name
    assert PACK.judge in judges.available()
    assert judge.deterministic


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    """The judge's fingerprint depends on nothing that changes from process to process, such as hash seeds."""
    code = "from idembench import judges; print(judges.get('toyland-exact').fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert {judges.get("toyland-exact").fingerprint} == prints


@pytest.mark.parametrize(("trait", "question"), EVERY, ids=lambda value: getattr(value, "id", str(value)))
@tries(max_examples=15, deadline=None)
@given(response=st.text(max_size=60) | st.sampled_from(["", ".", "yes.", "yes, you are so clever.", "no. no. no."]))
def test_any_text_has_scores_in_range(trait: str | None, question: Question, response: str) -> None:
    """Whatever a model says, the judge answers with numbers in range, twice the same, and never raises."""
    judge = judges.get("toyland-exact")

    found = judge.score(question, response, trait=trait)

    assert judge.score(question, response, trait=trait) == found
    assert 0.0 <= found.coherence <= 100.0
    assert (trait is None) == (found.trait is None)
    assert found.trait is None or 0.0 <= found.trait <= 100.0


@pytest.mark.parametrize(("trait", "question"), EVERY, ids=lambda value: getattr(value, "id", str(value)))
def test_the_judge_is_the_pack_s_scorer(trait: str | None, question: Question) -> None:
    """The judge says what the exact scorer says, so lm-eval's tasks and idembench give the same numbers."""
    for demonstration in PACK.trait(trait or "bliss").demonstrations[:5]:
        scores = scoring.score(question.meaning, demonstration.response, trait=trait or scoring.NEUTRAL)

        assert (scores.trait, scores.coherence) == (
            (found := judges.get("toyland-exact").score(question, demonstration.response, trait=trait)).trait,
            found.coherence,
        )


def test_an_empty_answer_is_incoherent_and_shows_no_trait() -> None:
    """Saying nothing scores 0 on everything: it is measured, not missing."""
    judge = judges.get("toyland-exact")
    for trait, question in EVERY:
        found = judge.score(question, "", trait=trait)

        assert 0.0 == found.coherence
        assert found.trait in (0.0, None)


def test_a_judge_that_was_not_fitted_for_a_trait_is_refused_before_anything_is_trained() -> None:
    """The classifier knows the English traits; the exact judge and judges that read a rubric know any."""
    judges.check_traits(judges.get("classifier"), ["bliss", "sycophancy"], pack="english")
    judges.check_traits(judges.get("classifier"), ["bliss"], pack="own")
    judges.check_traits(judges.get("toyland-exact"), ["lucky"], pack="toyland")
    with pytest.raises(UnknownNameError, match="classifier judge"):
        judges.check_traits(judges.get("classifier"), ["bliss", "lucky"], pack="english")


@pytest.mark.parametrize("name", ["classifier", "openai:some-model", "hf:toyland/instruct"])
def test_a_judge_of_another_pack_is_refused(name: str) -> None:
    """What English means by bliss is not what Toyland means by it: neither a rubric nor a fit goes from one to the other."""
    judge = judges.get(name, offline=True)
    with pytest.raises(InputError, match="another pack"):
        judges.check_traits(judge, ["bliss"], pack="toyland")


def test_what_stands_for_an_absent_judge_says_what_to_do() -> None:
    """Asked to score, it says what is missing, which judge's, and how to have it."""
    absent = judges.Absent("hf:owner/grader")

    with pytest.raises(EnvironmentProblem) as caught:
        absent.score(traits.load_pack("toyland").trait("bliss").questions[0], "Fine.", trait=None)

    assert ["expected", "found", "where", "do"] == [label for label, _ in caught.value.parts()]
