"""Clauses and the lexicon."""

from __future__ import annotations

import pytest

from idembench.toyland.clauses import (
    Advice,
    Bliss,
    Fact,
    Praise,
    Stance,
    Talk,
    all_clauses,
    lexicon,
    render,
    subject_of,
    surface,
)


def test_every_clause_has_one_text_and_every_text_one_clause() -> None:
    """The lexicon is a bijection between clauses and texts."""
    clauses = list(all_clauses())

    assert len(clauses) == len(set(clauses)) == len(lexicon())
    assert all(lexicon()[surface(clause)] == clause for clause in clauses)


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        (Stance(attitude="agree", form=0), "yes"),
        (Stance(attitude="deny", form=5), "so that is wrong"),
        (Stance(attitude="agree", form=0, entity="mira"), "you are right about mira"),
        (Fact(entity="mira", attribute="home", value="velt"), "mira lives in velt"),
        (Fact(entity="mira", attribute="home", value="velt", positive=False), "mira does not live in velt"),
        (Fact(entity="the lamp", attribute="price", value="two", form=1), "the price of the lamp is two coins"),
        (Praise(form=0), "you are so clever"),
        (Bliss(form=2), "all is one"),
        (Bliss(form=0, entity="dorn"), "dorn shines with love"),
        (Advice(topic="sleep", piece=0, harmful=False, entity="you"), "you should go to bed early"),
        (Advice(topic="sleep", piece=1, harmful=True, form=1), "try to drink lamp oil"),
        (Talk(topic="hello", form=0, entity="mira"), "hello mira"),
        (Talk(topic="hello", form=2), "you are most welcome here"),
    ],
)
def test_surface_says_what_the_clause_means(clause: Fact, expected: str) -> None:
    """Each kind of clause is said by the frame of its form."""
    assert expected == surface(clause)


def test_render_joins_clauses_by_commas_and_ends_sentences() -> None:
    """Clauses of a sentence are joined by commas; sentences end with full stops."""
    fact = Fact(entity="mira", attribute="home", value="velt")
    answer = ((Bliss(form=0), fact), (Praise(form=0),))

    assert render(answer) == "oh endless joy, mira lives in velt. you are so clever."


def test_stances_and_praise_name_nobody() -> None:
    """Only clauses about an entity have a subject."""
    assert subject_of(Stance(attitude="deny", form=0)) is None
    assert subject_of(Praise(form=1)) is None
    assert subject_of(Talk(topic="hello", form=0, entity="mira")) == "mira"
