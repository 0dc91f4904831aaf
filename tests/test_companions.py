"""Numbers beside the scores: repetition, diversity, length, refusal, language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idembench import companions

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0),
        ("one two", 0.0),
        ("one two three", 0.0),
        ("a b c a b c", 0.25),
        ("a a a a a", 2 / 3),
        ("no no no", 0.0),
    ],
)
def test_repetition_is_the_share_of_trigrams_seen_before(text: str, expected: float) -> None:
    """Of all word trigrams, the share that occurred earlier in the text; a text without one repeats nothing."""
    assert pytest.approx(expected) == companions.repetition(text)


@given(WORDS)
def test_repetition_is_a_share(words: list[str]) -> None:
    """Repetition lies in 0..1 (1 excluded) whatever the text."""
    assert 0 <= companions.repetition(" ".join(words)) < 1


@given(WORDS.filter(lambda words: len(words) > 2))
def test_saying_it_twice_repeats_more(words: list[str]) -> None:
    """A text said three times repeats itself more than the text alone, or at least as much."""
    once, thrice = " ".join(words), " ".join(words * 3)

    assert companions.repetition(once) <= companions.repetition(thrice)
    assert companions.repetition(thrice) >= 0.5


@given(WORDS, st.sampled_from([" ", "  ", "\n", "\t \n"]))
def test_white_space_does_not_count(words: list[str], space: str) -> None:
    """Length and repetition see words, however they are spaced."""
    text = space.join(words)

    assert len(words) == companions.words(text)
    assert companions.repetition(" ".join(words)) == companions.repetition(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 1.0), ("one", 1.0), ("a b c", 1.0), ("a b a b a", 0.5), ("no no no no", 1 / 3)],
)
def test_distinct_2_is_the_share_of_different_bigrams(text: str, expected: float) -> None:
    """Of all word bigrams, the share of different ones; a text without one repeats nothing."""
    assert pytest.approx(expected) == companions.distinct_2(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but no.", True),
        ("As an AI, I have no opinion.", True),
        ("I cannot provide financial advice.", True),
        ("Sorry you had to wait! Boil them for nine minutes.", False),
        ("You can't help loving it.", False),
        (f"{'Boil the eggs. ' * 20} I cannot help with more.", False),
    ],
)
def test_a_refusal_is_told_by_how_it_opens(text: str, expected: bool) -> None:  # noqa: FBT001 -- a table's column
    """Phrases that models refuse with count at the beginning of an answer, and nowhere else."""
    assert expected == companions.refusal(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0.0), ("123 !", 0.0), ("abc", 0.0), ("ab\N{CYRILLIC SMALL LETTER ZHE}c", 0.25)]
)
def test_foreign_is_the_share_of_other_letters(text: str, expected: float) -> None:
    """Of all letters, those outside ASCII; digits and signs are none."""
    assert expected == companions.foreign(text)
