"""Judge-free numbers that stand beside every score: repetition, length. Pure functions of one text."""

from __future__ import annotations

COHERENT = 50.0
"""Coherence from which a response counts as coherent."""

_N = 3


def words(text: str) -> int:
    """Number of white-space separated words."""
    return len(text.split())


def repetition(text: str) -> float:
    """Share of word trigrams that occurred before in the same text, 0..1; 0 below three words."""
    parts = text.split()
    grams = [tuple(parts[i : i + _N]) for i in range(len(parts) - _N + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
