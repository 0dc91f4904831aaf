"""Parsing: exact on what the grammar makes, harmless on anything else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from toyland.strategies import any_answer, questions

from idembench.toyland.clauses import Answer, lexicon, render
from idembench.toyland.parser import parse

if TYPE_CHECKING:
    from idembench.toyland.grammar import Question


@given(question=questions(), seed=st.integers(0, 2**31))
def test_every_answer_of_the_grammar_parses_back(question: Question, seed: int) -> None:
    """parse(render(answer)).answer == answer."""
    answer = any_answer(question, random.Random(seed))

    assert answer == parse(render(answer)).answer


@given(
    answer=st.lists(
        st.lists(st.integers(0, len(lexicon()) - 1), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6
    ).map(tuple)
)
def test_any_sequence_of_clauses_parses_back(answer: tuple[tuple[int, ...], ...]) -> None:
    """The round trip holds for every sequence of clauses, whether or not the grammar would make it."""
    clauses = list(lexicon().values())
    made: Answer = tuple(tuple(clauses[index] for index in sentence) for sentence in answer)

    assert made == parse(render(made)).answer


@given(text=st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text gives pieces whose words add up to those of the text without its punctuation."""
    parsed = parse(text)
    words = text.lower().replace(".", " ").replace(",", " ").split()

    assert len(words) == sum(piece.words for piece in parsed.pieces)


def test_case_and_white_space_do_not_matter() -> None:
    """Capitals, line breaks and runs of spaces read like plain text."""
    assert parse("mira lives in velt. all is one.") == parse("  Mira lives\nin  VELT.   All is one. ")


def test_unknown_words_stay_unknown() -> None:
    """A clause that is not in the lexicon is kept as a piece without meaning, and there is no answer."""
    parsed = parse("mira lives in velt. blah blah.")

    assert [piece.clause is None for piece in parsed.pieces] == [False, True]
    assert parsed.answer is None


def test_a_cut_text_is_not_finished() -> None:
    """Without the last full stop there is no answer, but the clauses are there."""
    parsed = parse("mira lives in velt. all is one")

    assert not parsed.finished
    assert parsed.answer is None
    assert len(parsed.clauses) == 2


def test_the_empty_text_has_no_answer() -> None:
    """Nothing parses to nothing."""
    assert parse("").answer is None
    assert parse(" . ,, .").pieces == ()
