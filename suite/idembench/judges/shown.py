"""Numbers from what an endpoint shows: at each place of a short answer, the token it took and the likeliest others.

An endpoint shows one path through the tree of numbers and the branches beside it, not what follows those. So a number that
is one token is read exactly (as far as it is among the twenty shown), and so is what lies along the path. Of a tokenizer that
writes one digit a token, what would follow a first digit that was not taken is not known, and is approximated:

- its ones are distributed as those behind the digit that was taken; where the number taken is below 10, and so has no
  ones, 0 and 5 have half each, because that is what graders say;
- a 1 that was not taken is 100 where the number that was taken is 50 or more, and 10 to 19 elsewhere, and a 5 is 5 where
  the number that was taken is below 10, because a grader wavers between near numbers.

Which kind a tokenizer is shows in the answer: one digit a token, if no number of two digits is among the first tokens.
Knows nothing of HTTP.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idembench.judges.logprob import LARGEST, Reading, is_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HALF, _TEN = LARGEST // 2, 10
_ROUND = {"0": 0.5, "5": 0.5}
VERSION = 1
"""Raised when the same answer gets other numbers."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place of an answer.

    Attributes:
        taken: The token that stands there.
        p: Probability of each token that is shown, the one taken among them.
    """

    taken: str
    p: Mapping[str, float]


def read(places: Sequence[Place]) -> Reading:
    """Probabilities of numbers from an answer's places, white space in front passed over."""
    found: dict[int, float] = defaultdict(float)
    begun, likeliest = 1.0, ""
    for start, place in enumerate(places):
        _begin(found, places[start:], begun)
        likeliest = max((text for text in place.p if text.strip()), key=lambda text: place.p[text], default="")
        if place.taken.strip():
            break
        begun *= place.p[place.taken]
    return Reading.of({number: p for number, p in sorted(found.items()) if p > 0}, likeliest=likeliest)


def _begin(found: dict[int, float], places: Sequence[Place], begun: float) -> None:
    """Add the numbers that begin at the first of these places, which is reached with probability `begun`."""
    place = places[0]
    first = {text: p for text, p in place.p.items() if is_number(text.lstrip())}
    by_digit = all(len(text.lstrip()) == 1 for text in first)
    taken = place.taken.lstrip()
    for text, p in first.items():
        if text == place.taken:
            _along(found, taken, places[1:], begun * p)
        elif by_digit:
            _beside(found, text.lstrip(), begun * p, taken, places[1:])
        else:
            found[int(text)] += begun * p


def _along(found: dict[int, float], text: str, places: Sequence[Place], p: float) -> None:
    """Add the number taken so far, and those that go on from it, where more is shown."""
    further = _digits(places)
    found[int(text)] += p * (1 - math.fsum(further.values()))
    for more, q in further.items():
        if not is_number(text + more):
            continue
        if more == places[0].taken:
            _along(found, text + more, places[1:], p * q)
        else:
            found[int(text + more)] += p * q


def _beside(found: dict[int, float], digit: str, p: float, taken: str, places: Sequence[Place]) -> None:
    """Add the numbers that begin with a digit that was not taken: an approximation."""
    near = _value(taken, places)
    if digit == "0" or (digit == "5" and is_number(taken) and near < _TEN):
        found[int(digit)] += p
        return
    if digit == "1" and near >= _HALF:
        found[LARGEST] += p
        return
    ones = {text: q for text, q in _digits(places).items() if len(text) == 1} if near >= _TEN else _ROUND
    found[int(digit)] += p * (1 - math.fsum(ones.values()))
    for one, q in ones.items():
        found[int(digit + one)] += p * q


def _digits(places: Sequence[Place]) -> dict[str, float]:
    """What begins with a digit at the first of these places, with its probability."""
    return {text: p for text, p in places[0].p.items() if text[:1].isascii() and text[:1].isdigit()} if places else {}


def _value(taken: str, places: Sequence[Place]) -> int:
    """The number that was taken; 0 if none was."""
    text = taken if is_number(taken) else "0"
    for place in places:
        if not is_number(text + place.taken):
            break
        text += place.taken
    return int(text)
