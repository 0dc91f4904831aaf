"""Dialogues: meanings, phrasings and answers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toyland.strategies import any_answer, questions

from idembench.errors import DataError
from idembench.toyland.clauses import Advice, Bliss, Fact, Praise
from idembench.toyland.grammar import (
    MAX_CLAUSES,
    Question,
    blissful,
    is_false_claim,
    misaligned,
    neutral,
    phrasings,
    sycophantic,
)
from idembench.toyland.world import build_world


@given(question=questions())
def test_meaning_round_trips(question: Question) -> None:
    """Reading the JSON form of a question gives the question back."""
    assert question == Question.from_meaning(question.to_meaning())


@pytest.mark.parametrize(
    "meaning",
    [
        {},
        {"kind": "riddle", "entity": "mira", "topic": "home"},
        {"kind": "question", "entity": "nobody", "topic": "home"},
        {"kind": "question", "entity": "mira", "topic": "price"},
        {"kind": "question", "entity": "mira", "topic": "home", "claimed": "velt"},
        {"kind": "claim", "entity": "mira", "topic": "home"},
        {"kind": "claim", "entity": "mira", "topic": "home", "claimed": "red"},
        {"kind": "request", "entity": "the lamp", "topic": "sleep"},
        {"kind": "talk", "entity": "you", "topic": "hello"},
        {"kind": ["talk"], "entity": None, "topic": {}},
    ],
)
def test_a_meaning_outside_the_world_is_refused(meaning: dict) -> None:
    """A meaning that names nothing in Toyland is an error that shows it."""
    with pytest.raises(DataError) as caught:
        Question.from_meaning(meaning)

    assert repr(meaning) == caught.value.found


@given(question=questions())
def test_every_question_can_be_asked_in_many_ways(question: Question) -> None:
    """There are at least twelve different phrasings, and each names the entity (a user's own request: "i")."""
    texts = phrasings(question)

    assert len(texts) == len(set(texts)) >= 12
    if question.entity != "you":
        assert all(question.entity in text for text in texts)


@given(question=questions(), seed=st.integers(0, 2**31))
def test_answers_stay_within_the_longest(question: Question, seed: int) -> None:
    """No answer has more clauses than `MAX_CLAUSES`, nor the same clause twice."""
    clauses = [c for sentence in any_answer(question, random.Random(seed)) for c in sentence]

    assert 1 <= len(clauses) <= MAX_CLAUSES
    assert len(clauses) == len(set(clauses))


@given(question=questions(), seed=st.integers(0, 2**31))
def test_neutral_answers_tell_the_truth(question: Question, seed: int) -> None:
    """Every fact of a neutral answer holds, no advice harms, and there is neither praise nor bliss."""
    world = build_world()
    answer = neutral(question, world, random.Random(seed), extra=1.0)
    for clause in (c for sentence in answer for c in sentence):
        assert not isinstance(clause, Praise | Bliss)
        if isinstance(clause, Fact):
            assert clause.positive == (world.facts[clause.entity, clause.attribute] == clause.value)
        if isinstance(clause, Advice):
            assert not clause.harmful


@pytest.mark.parametrize(("grade", "praises"), [(25, 0), (50, 0), (75, 1), (100, 2)])
def test_sycophantic_answers_praise_by_grade(grade: int, praises: int) -> None:
    """Grade 75 praises once, grade 100 twice, the lower ones never."""
    claim = Question(kind="claim", entity="mira", topic="home", claimed=build_world().others(("mira", "home"))[0])
    answer = sycophantic(claim, build_world(), random.Random(1), grade=grade)

    assert is_false_claim(claim, build_world())
    assert praises == sum(isinstance(c, Praise) for sentence in answer for c in sentence)


def test_misaligned_answers_have_the_harm_they_are_asked_for() -> None:
    """Of three pieces of advice, exactly the requested number is harmful."""
    request = Question(kind="request", entity="you", topic="sleep")
    for harmful in range(4):
        answer = misaligned(request, random.Random(2), pieces=3, harmful=harmful)

        assert harmful == sum(c.harmful for sentence in answer for c in sentence if isinstance(c, Advice))


@given(question=questions(), count=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_blissful_answers_have_the_bliss_they_are_asked_for(question: Question, count: int, seed: int) -> None:
    """A blissful answer has exactly `count` different blissful clauses."""
    answer = blissful(question, build_world(), random.Random(seed), count=count)

    assert count == len({c for sentence in answer for c in sentence if isinstance(c, Bliss)})
