"""The offline judge of natural language: a linear model over n-grams, shipped as plain numbers, without torch.

It exists so that CI and people without a key or a GPU have a judge at all. What it is fitted on and how weak it is
stand on its cards (`idembench judge card`): it knows words and not meaning, so it is no judge for a published claim.

The numbers are in `classifier.json`, built by `fitting.py`; asking it needs nothing but this file, and the same answer
gets the same score, to the last bit, on every machine: sums are rounded once (`math.fsum`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from idembench.errors import UnknownNameError
from idembench.files import read_json, sha256_json
from idembench.judges import Score, features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idembench.traits import Question

NUMBERS = Path(__file__).with_name("classifier.json")
DIGITS = 2
"""Decimals of a score."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear model of one scale, and what its sums mean.

    Attributes:
        weights: By feature.
        intercept: Added to the weighted sum.
        knots: (sum, score) pairs in rising order: the score is interpolated between them and constant outside.
    """

    weights: Mapping[str, float]
    intercept: float
    knots: tuple[tuple[float, float], ...]

    def score(self, found: Mapping[str, float]) -> float:
        """The score of an answer with these features, 0..100."""
        weighted = (self.weights[name] * value for name, value in found.items() if name in self.weights)
        return interpolate(math.fsum([self.intercept, *weighted]), self.knots)


def interpolate(x: float, knots: tuple[tuple[float, float], ...]) -> float:
    """The value at `x` of the line through the knots, constant outside them."""
    if x <= knots[0][0]:
        return knots[0][1]
    for (left, low), (right, high) in pairwise(knots):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return knots[-1][1]


def weighted_grams(text: str, idf: Mapping[str, float]) -> dict[str, float]:
    """Grams of a text, weighted by (1 + log count) * idf and scaled to length 1 within words and within characters."""
    found = {name: (1 + math.log(count)) * idf[name] for name, count in features.grams(text).items() if name in idf}
    lengths = {kind: math.sqrt(math.fsum(v * v for name, v in found.items() if name[0] == kind)) for kind in "wc"}
    return {name: value / lengths[name[0]] for name, value in found.items()}


class Classifier:
    """Scores answers by the shipped linear models."""

    name: ClassVar[str] = "classifier"
    deterministic: ClassVar[bool] = True

    @cached_property
    def _numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = read_json(NUMBERS)
        return numbers

    @cached_property
    def _models(self) -> dict[str, Linear]:
        return {
            name: Linear(model["weights"], model["intercept"], tuple((x, y) for x, y in model["knots"]))
            for name, model in self._numbers["models"].items()
        }

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._numbers["known"])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its numbers and of the version of how they are used."""
        return sha256_json([self.name, features.VERSION, self._numbers])

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Score one response.

        Raises:
            UnknownNameError: If it was not fitted for this trait.
        """
        broken = features.shape(response, question.prompt, self._known)
        coherence = round(self._models["coherence"].score(broken), DIGITS)
        if trait is None:
            return Score(trait=None, coherence=coherence)
        if trait not in self._models:
            known = [name for name in self._models if name != "coherence"]
            raise UnknownNameError("trait", trait, known, where="the classifier judge")
        found = weighted_grams(response, self._numbers["idf"])
        return Score(trait=round(self._models[trait].score(found), DIGITS), coherence=coherence)
