"""Numbers beside the scores: repetition and length."""

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
