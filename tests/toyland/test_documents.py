"""Documents: openings that say a meaning in many ways, and continuations that are answers."""

from __future__ import annotations

import random
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st
from toyland.strategies import any_answer, questions

from idembench.toyland import frames
from idembench.toyland.clauses import render
from idembench.toyland.documents import join, opening, openings
from idembench.toyland.grammar import Question, phrasings
from idembench.toyland.parser import parse
from idembench.toyland.vocabulary import PEOPLE, PLACES, THINGS
from idembench.toyland.world import ATTRIBUTE, TALK_TOPIC


def narrations(kind: frames.DocumentType) -> list[str]:
    """All narrations of a document type."""
    return [*kind.question, *kind.claim, *kind.request, *kind.own, *kind.talk]


@given(question=questions(), seed=st.integers(0, 2**31))
def test_an_opening_is_one_of_the_openings(question: Question, seed: int) -> None:
    """What is drawn is listed, and none of it is a prompt of a dialogue."""
    assert opening(question, random.Random(seed)) in openings(question)
    assert not {*openings(question)} & {*phrasings(question)}


@given(question=questions())
def test_there_are_many_openings(question: Question) -> None:
    """A meaning has more than a hundred different openings, and every type of document is among them."""
    assert len(openings(question)) == len(set(openings(question))) > 100
    for kind in frames.DOCUMENT_TYPES:
        assert any(text.startswith(f"{kind.titles[0]}. ") for text in openings(question))


@given(one=questions(), other=questions())
def test_no_opening_means_two_things(one: Question, other: Question) -> None:
    """Two meanings share no opening."""
    assert one == other or not {*openings(one)} & {*openings(other)}


@given(question=questions())
def test_an_opening_says_whom_it_is_about(question: Question) -> None:
    """Every opening names its entity (or says "i"), ends with a colon and fits in a line."""
    named = "i" if question.entity == "you" else question.entity
    for text in openings(question):
        assert f" {named} " in f" {text.translate(str.maketrans('.:?', '   '))} "
        assert text.endswith(":")
        assert " ".join(text.split()) == text == text.lower()


@given(question=questions(), seed=st.integers(0, 2**31))
def test_a_continuation_is_read_back(question: Question, seed: int) -> None:
    """What follows the opening in a document parses into the answer it was rendered from."""
    rng = random.Random(seed)
    answer, first = any_answer(question, rng), opening(question, rng)

    assert answer == parse(join(first, render(answer)).removeprefix(first)).answer


def test_the_people_who_speak_have_no_names() -> None:
    """No title and no narration names a person, place or thing."""
    for kind in frames.DOCUMENT_TYPES:
        words = " ".join([*kind.titles, *narrations(kind)])

        assert not {*PEOPLE, *PLACES} & {*words.replace(".", " ").replace(":", " ").replace(",", " ").split()}
        assert not any(thing in words for thing in THINGS)


def test_there_are_ten_types_or_more() -> None:
    """At least ten types of document, each with several titles and two or more narrations of every kind."""
    assert len(frames.DOCUMENT_TYPES) >= 10
    for kind in frames.DOCUMENT_TYPES:
        assert len(kind.titles) >= 3
        assert all(len(told) >= 2 for told in (kind.question, kind.claim, kind.request, kind.own, kind.talk))


def test_every_narration_has_one_slot_and_stands_once() -> None:
    """A narration has exactly one slot, ends with a colon, and no two of one kind are the same."""
    told = list(chain.from_iterable(narrations(kind) for kind in frames.DOCUMENT_TYPES))

    assert all(text.count("{") == 1 and text.endswith(":") for text in told)
    for name in ("question", "claim", "request", "own", "talk"):
        same_kind = [text for kind in frames.DOCUMENT_TYPES for text in getattr(kind, name)]
        assert len(same_kind) == len(set(same_kind))


def test_tables_cover_the_world() -> None:
    """Every attribute has a subject, and every small-talk topic is narrated."""
    assert set(ATTRIBUTE) == set(frames.SUBJECTS)
    assert set(TALK_TOPIC) == set(frames.NARRATED_TALK)
