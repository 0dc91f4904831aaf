"""What the classifier sees of an answer: n-grams and a handful of shares, all counted from the text alone.

Pure functions of text, the same on every machine. A gram's name says what it is: `w` one or two neighbouring words,
`c` two to six neighbouring characters within a word's bounds. A coherence judgement sees shares instead, because what
breaks a text (loops, salad, foreign words, a cut) is the same whatever the text is about.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from idembench.companions import foreign, repetition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

VERSION = 1
"""Raised when the same text gets other features."""
LONGEST = 4000
"""Characters that are read; an answer of 400 tokens is shorter."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]|[^\w\s.,;:'\"()-]")
_SENTENCE_END = re.compile(r"[.!?]+")
_STEM = 5
_ENDS = (".", "!", "?", '"', "'", ")", ":", "*", "`")


@dataclass(frozen=True, slots=True, kw_only=True)
class English:
    """What ordinary English looks like.

    Attributes:
        known: Its words, lower case.
        common: The most frequent of them.
        pairs: Pairs of common words that stand together in it.
    """

    known: frozenset[str]
    common: frozenset[str]
    pairs: frozenset[str]


def tokens(text: str) -> list[str]:
    """Lower-case words, exclamation and question marks, and symbols such as emoji, each one a token."""
    folded = unicodedata.normalize("NFKC", text[:LONGEST]).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    return ["0" if token.isdigit() else token for token in _WORD.findall(folded)]


def grams(text: str) -> Mapping[str, int]:
    """How often every gram occurs."""
    words = tokens(text)
    found = Counter(f"w {word}" for word in words)
    found.update(f"w {left} {right}" for left, right in pairwise(words))
    for word in words:
        padded = f" {word} "
        for size in range(2, 7):
            found.update(f"c {padded[i : i + size]}" for i in range(len(padded) - size + 1))
    return found


def pairs(words: Sequence[str], common: Collection[str]) -> list[str]:
    """Neighbours that are both common words, as `left right`: English has few of all that there could be."""
    return [f"{left} {right}" for left, right in pairwise(words) if left in common and right in common]


def shape(text: str, prompt: str, english: English) -> dict[str, float]:
    """Shares that tell a readable answer from a broken one.

    Args:
        text: The answer.
        prompt: What it answers.
        english: What ordinary English looks like.

    Returns:
        By name: `empty` 0 or 1; `unknown` share of words that are not known; `odd` share of pairs of common words that
        do not stand together in ordinary English; `looped` share of word trigrams that occurred before; `distinct`
        share of different words; `foreign` share of letters outside ASCII; `debris` share of
        characters that are neither letters, digits, spaces nor common punctuation; `cut` 1 if it ends in the middle of a
        sentence; `short` 1 / (1 + words); `run` words per sentence over 25, at most 3; `related` share of the prompt's
        longer words that come back in the answer.
    """
    words = [token for token in tokens(text) if token[0].isalnum()]
    asked = {word[:_STEM] for word in tokens(prompt) if len(word) >= _STEM}
    stems = {word[:_STEM] for word in words}
    found = pairs(words, english.common)
    sentences = max(1, len(_SENTENCE_END.findall(text)))
    ended = text.rstrip()
    n = max(1, len(words))
    debris = sum(not (c.isalnum() or c.isspace() or c in ".,;:!?'\"()-") for c in text[:LONGEST])
    return {
        "empty": float(not words),
        "unknown": sum(word not in english.known and not word.isdigit() for word in words) / n,
        "odd": sum(pair not in english.pairs for pair in found) / max(1, len(found)),
        "looped": repetition(text[:LONGEST].lower()),
        "distinct": len(set(words)) / n,
        "foreign": foreign(text[:LONGEST]),
        "debris": debris / max(1, len(text[:LONGEST])),
        "cut": float(bool(ended) and not ended.endswith(_ENDS) and unicodedata.category(ended[-1])[0] != "S"),
        "short": 1 / (1 + len(words)),
        "run": min(3.0, len(words) / sentences / 25),
        "related": sum(stem in stems for stem in asked) / max(1, len(asked)),
    }
