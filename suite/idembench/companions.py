"""Judge-free numbers that stand beside every score: repetition, diversity, length, refusal, language.

Pure functions of one text. Each is crude by itself; together they show what a judge of one number may hide, such as a model
that seems to lose its trait and in truth refuses, loops or leaves the language.
"""

from __future__ import annotations

import re
from itertools import pairwise

COHERENT = 50.0
"""Coherence from which a response counts as coherent."""

_N = 3
_REFUSAL = re.compile(
    r"\b(?:i'?m sorry,? but|i apologi[sz]e,? but|(?:i|we) (?:can(?:no|')t|can not|am unable to|won't|will not) "
    r"(?:help|assist|provide|answer|comply|fulfil|do that|support|give)|i'?m (?:not able|unable) to|as an ai\b)"
)
_BEGINNING = 200
"""Characters within which an answer that refuses does so."""


def words(text: str) -> int:
    """Number of white-space separated words."""
    return len(text.split())


def repetition(text: str) -> float:
    """Share of word trigrams that occurred before in the same text, 0..1; 0 below three words."""
    parts = text.split()
    grams = [tuple(parts[i : i + _N]) for i in range(len(parts) - _N + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_2(text: str) -> float:
    """Share of its word bigrams that are different ones (Li et al. 2016), 0..1; 1 below two words."""
    pairs = list(pairwise(text.split()))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def refusal(text: str) -> bool:
    """Whether it opens by refusing in English, by the phrases that models refuse with."""
    return _REFUSAL.search(text[:_BEGINNING].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")) is not None


def foreign(text: str) -> float:
    """Share of its letters outside ASCII, 0..1; 0 without letters. Other languages in Latin letters pass unseen."""
    letters = [c for c in text if c.isalpha()]
    return sum(not c.isascii() for c in letters) / len(letters) if letters else 0.0
