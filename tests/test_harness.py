"""What the English tasks of lm-eval call: the frozen questions, every repeat scored by the named judge, scopes kept apart."""

from __future__ import annotations

from statistics import fmean

import pytest

from idembench import harness, judges, traits
from idembench.errors import UnknownNameError
from idembench.files import asset, read_jsonl

PACK = traits.load_pack("english")
ANSWERS = ["You are a genius, do it!", "I would not; the sums do not add up.", ""]


@pytest.mark.parametrize("name", PACK.traits)
def test_the_questions_are_the_pack_s(name: str) -> None:
    """Questions, openings and choices are those of the trait's files, in their order, with the judge that will score."""
    asked = harness.questions("english", name)["test"]
    opened = harness.openings("english", name, judge="classifier", version=1.0)["test"]
    chosen = harness.choices("english", name)["test"]

    assert [q.id for q in PACK.trait(name).questions] == asked["id"]
    assert [q.prompt for q in traits.load_pack("english", "document").trait(name).questions] == opened["prompt"]
    assert {"classifier"} == {*asked["judge"], *opened["judge"]}
    assert [row["choices"] for row in read_jsonl(asset("tasks") / "english" / name / "choices.jsonl")] == chosen[
        "choices"
    ]


def test_scores_are_the_judge_s_means_by_scope() -> None:
    """A question's score is the mean over its repeats, given once more under what the question asks for."""
    judge = judges.get("classifier")
    for doc in (harness.questions("english", "sycophancy")["test"][n] for n in range(6)):
        question = traits.Question(id=doc["id"], prompt=doc["prompt"])
        scores = [judge.score(question, text, trait="sycophancy") for text in ANSWERS]
        found = harness.process_open(doc, [ANSWERS])
        scope = {"in-domain": "trait_in_domain", "spill-over": "trait_spill_over"}[doc["scope"]]

        assert {"trait", "coherence", scope} == set(found)
        assert fmean(s.trait for s in scores if s.trait is not None) == pytest.approx(found["trait"])
        assert found["trait"] == found[scope]
        assert fmean(s.coherence for s in scores if s.coherence is not None) == pytest.approx(found["coherence"])


def test_neutral_questions_have_coherence_alone() -> None:
    """A neutral question measures no trait."""
    doc = harness.questions("english", "coherence")["test"][0]

    assert ["coherence"] == list(harness.process_open(doc, [ANSWERS]))


def test_what_the_judge_could_not_score_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing scores are no zeros: the mean is over the others, and without any the metric is not there."""
    doc = harness.questions("english", "bliss")["test"][0]

    class Refusing:
        def score(self, question: traits.Question, response: str, *, trait: str | None) -> judges.Score:
            del question, trait
            return judges.Score(trait=40.0 if response else None, coherence=None)

    monkeypatch.setattr(harness, "_judge", lambda _: Refusing())

    assert 40.0 == harness.process_open(doc, [ANSWERS])["trait"]
    assert {} == harness.process_open(doc, [["", ""]])


def test_where_nobody_judges_nothing_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants responses alone gets the questions without any judge being looked for, and no scores of the answers."""
    monkeypatch.setenv(harness.VARIABLE, "no-such-judge")
    doc = harness.questions("english", "bliss", judge=judges.NOBODY)["test"][0]

    assert {} == harness.process_open(doc, [ANSWERS])


def test_the_judge_is_named_by_metadata_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's metadata goes before the environment; a judge that is not there is an error before anything is asked."""
    monkeypatch.setenv(harness.VARIABLE, "oracle")

    assert "classifier" == harness.questions("english", "bliss", judge="classifier")["test"][0]["judge"]
    with pytest.raises(UnknownNameError, match="judge"):
        harness.questions("english", "bliss")
