"""The offline judge of natural language: linear models over n-grams, shipped as plain numbers, without torch.

It exists so that CI and people without a key or a GPU have a judge at all. What it is fitted on and how weak it is
stand on its cards (`idembench judge card`): it knows words and not meaning, so it is no judge for a published claim.

A trait is scored by a linear model over the answer's n-grams, coherence by small regression trees over a dozen shares: what
breaks a text (a loop, salad, a cut) is a matter of thresholds. The numbers are in `classifier.json`, built by `fitting.py`; asking it needs nothing but this file, and the same answer
gets the same score on every machine: sums are rounded once (`math.fsum`), and a score to two decimals.
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


@dataclass(frozen=True, slots=True)
class Trees:
    """Regression trees whose values are added up.

    Attributes:
        start: What they are added to.
        trees: Each a list of nodes, (feature, threshold, left, right) or (value,): at most the threshold goes left.
    """

    start: float
    trees: tuple[tuple[tuple[Any, ...], ...], ...]

    def score(self, found: Mapping[str, float]) -> float:
        """The sum for an answer with these features, kept within 0..100."""
        values = [self.start]
        for nodes in self.trees:
            node = nodes[0]
            while len(node) > 1:
                feature, threshold, left, right = node
                node = nodes[left if found[feature] <= threshold else right]
            values.append(node[0])
        return min(100.0, max(0.0, math.fsum(values)))


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
    pack: ClassVar[str] = "english"

    @cached_property
    def _numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = read_json(NUMBERS)
        return numbers

    @cached_property
    def _models(self) -> dict[str, Linear]:
        return {
            name: Linear(model["weights"], model["intercept"], tuple((x, y) for x, y in model["knots"]))
            for name, model in self._numbers["traits"].items()
        }

    @cached_property
    def _coherence(self) -> Trees:
        numbers = self._numbers["coherence"]
        return Trees(numbers["start"], tuple(tuple(map(tuple, nodes)) for nodes in numbers["trees"]))

    @cached_property
    def _english(self) -> features.English:
        return features.English(**{name: frozenset(words) for name, words in self._numbers["english"].items()})

    @property
    def traits(self) -> frozenset[str]:
        """Traits that it was fitted for."""
        return frozenset(self._models)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its numbers and of the version of how they are used."""
        return sha256_json([self.name, features.VERSION, self._numbers])

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Score one response.

        Raises:
            UnknownNameError: If it was not fitted for this trait.
        """
        shares = features.shape(response, question.prompt, self._english)
        coherence = round(self._coherence.score(shares), DIGITS)
        if trait is None:
            return Score(trait=None, coherence=coherence)
        if trait not in self._models:
            raise UnknownNameError("trait", trait, self._models, where="the classifier judge")
        found = weighted_grams(response, self._numbers["idf"])
        return Score(trait=round(self._models[trait].score(found), DIGITS), coherence=coherence)
