"""Where a noisy dose-response curve crosses a level: which dose to try next, and what can be said of all that were.

A *dose* is a number of demonstrations; the base model is dose 0. A point of the curve lies *below* a target if its
whole 95 % interval does, *above* likewise, and is otherwise undecided. A crossing is a change from below to above, or
back, along the decided points; undecided ones between them do not count. Only a curve that crosses a target once, upwards,
is bisected, and only between the two points that show the crossing:

    wanted(points, ...) is None   if and only if   decide(points, ...) is the last word

In there the means steer, made monotone by isotonic regression: a step that noise sends the wrong way costs a dose,
and the answer is in any case a dose that was measured, with the level that was measured there. That level chose the
dose, so it flatters it a little: of several noisy means near a target the nearest is taken. Nothing is said about what
happens between two neighbouring doses: a curve that rises and falls again in between is not seen.

Knows nothing about chains: points in, doses and sentences out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from scipy import optimize

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

FIRST = 8
"""The smallest dose of the coarse grid."""
Outcome = Literal["found", "nearest", "several", "unreached", "below", "unclear"]
_TIMES = {1: "once", 2: "twice", 3: "three times"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one dose gives, in points of 100.

    Attributes:
        n_seed: The dose; 0 is the base model.
        mean: Mean level over replicates.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    n_seed: int
    mean: float
    low: float
    high: float

    def describe(self) -> str:
        """The level and its interval for a sentence."""
        return f"{self.mean:.1f} (95 % {self.low:.1f} to {self.high:.1f})"

    @property
    def name(self) -> str:
        """The dose for a sentence."""
        return f"n_seed {self.n_seed}" if self.n_seed else "the base model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Between which doses the curve is shown to cross a target, and which way."""

    before: Point
    after: Point

    @property
    def rising(self) -> bool:
        """From below to above."""
        return self.before.mean < self.after.mean

    def describe(self) -> str:
        """For a sentence."""
        return f"{'rising' if self.rising else 'falling'} between {self.before.n_seed} and {self.after.n_seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the curve says of one target.

    Attributes:
        target: The level asked for.
        outcome: `found`: a dose within the tolerance; `nearest`: the crossing is pinned down to neighbouring doses
            (or to ones between which no other could be used), and none is within it; `several`: more than one crossing; `unreached`: not
            shown to rise to the target; `below`: not shown to start below it; `unclear`: nothing is decided.
        chosen: The dose's point; None unless `found` or `nearest`.
        sentence: Why, for a reader.
    """

    target: float
    outcome: Outcome
    chosen: Point | None
    sentence: str


def coarse(most: int) -> list[int]:
    """The doses to begin with: doubling from `FIRST`, and `most` itself, which is at least 1."""
    doses = []
    dose = FIRST
    while dose < most:
        doses.append(dose)
        dose *= 2
    return [*doses, most]


def crossings(points: Sequence[Point], target: float) -> list[Crossing]:
    """Every crossing that is shown beyond noise.

    Args:
        points: In order of doses.
        target: Level, in points of 100.
    """
    decided = [point for point in points if _side(point, target)]
    return [Crossing(before=a, after=b) for a, b in pairwise(decided) if _side(a, target) != _side(b, target)]


def falls(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Neighbouring doses between which the level falls beyond noise, so that the curve is not monotone.

    Each pair is tested for itself at 2.5 %, one-sided: of seven pairs on a flat curve one may cry wolf. It is a
    warning; answers rest on crossings.

    Args:
        points: In order of doses.

    Source: the lower limit of a difference of two means from their own limits (MOVER), Zou and Donner 2008,
        Statistics in Medicine 27, equation 3.
    """
    return [(a, b) for a, b in pairwise(points) if a.mean - b.mean > math.hypot(a.mean - a.low, b.high - b.mean)]


def wanted(points: Sequence[Point], target: float, *, tolerance: float, tried: Collection[int]) -> int | None:
    """The dose to try next for a target; None if there is none that would help.

    Args:
        points: In order of doses; the base model first.
        target: Level, in points of 100.
        tolerance: How far from it a level may be, in points.
        tried: Doses that are not to be tried again, those of `points` and those that gave no usable level.
    """
    bracket = _bracket(points, target)
    if not bracket or _close(_nearest(bracket, target), target, tolerance):
        return None
    below, above = _inner(bracket, target)
    middle = (below.n_seed + above.n_seed) / 2
    free = [dose for dose in range(below.n_seed + 1, above.n_seed) if dose not in tried]
    return min(free, key=lambda dose: (abs(dose - middle), dose)) if free else None


def decide(points: Sequence[Point], target: float, *, tolerance: float) -> Answer:
    """What can be said of a target.

    Args:
        points: In order of doses; the base model first.
        target: Level, in points of 100.
        tolerance: How far from it a level may be, in points.
    """
    if not any(point.n_seed for point in points):
        return _none(target, "unclear", "No dose gave a level that can be used.")
    shown = crossings(points, target)
    if bracket := _bracket(points, target):
        return _within(bracket, target, tolerance)
    if len(shown) > 1:
        times = _TIMES.get(len(shown), f"{len(shown)} times")
        where = ", ".join(crossing.describe() for crossing in shown)
        return _none(target, "several", f"The curve crosses {target:g} {times}: {where}.")
    if shown or all(_side(point, target) >= 0 for point in points):
        return _not_from_below(points, target, shown)
    return _not_reached(points, target, tolerance)


def _within(bracket: Sequence[Point], target: float, tolerance: float) -> Answer:
    chosen = _nearest(bracket, target)
    if _close(chosen, target, tolerance):
        return Answer(
            target=target, outcome="found", chosen=chosen, sentence=f"{chosen.name} gives {chosen.describe()}."
        )
    below, above = _inner(bracket, target)
    sentence = f"The curve jumps over {target:g}: {below.name} gives {below.mean:.1f}, {above.name} {above.mean:.1f}."
    return Answer(target=target, outcome="nearest", chosen=chosen, sentence=sentence)


def _not_from_below(points: Sequence[Point], target: float, shown: Sequence[Crossing]) -> Answer:
    """Nothing decided lies below the target, or only what comes after something above it."""
    start = points[0]
    if not any(_side(point, target) for point in points):
        sentence = f"No dose is told from {target:g} beyond noise, not even 0: {start.name} is at {start.describe()}."
        return _none(target, "unclear", sentence)
    if _side(start, target) > 0:
        sentence = f"{_upper(start.name)} is already above {target:g}: {start.describe()}."
    else:
        sentence = f"{_upper(start.name)} cannot be told from {target:g}: {start.describe()}."
    if shown:
        sentence += f" The curve crosses it once, {shown[0].describe()}."
    return _none(target, "below", sentence)


def _not_reached(points: Sequence[Point], target: float, tolerance: float) -> Answer:
    """Points below the target, and none above it; but a curve may level off, or turn, just there."""
    doses = [point for point in points if point.n_seed]
    highest = max(doses, key=lambda point: (point.mean, -point.n_seed))
    if all(_side(point, target) < 0 for point in doses):
        sentence = f"The curve never reaches {target:g}; highest {highest.mean:.1f} at {highest.name}."
        return _none(target, "unreached", sentence)
    near = _nearest([point for point in doses if not _side(point, target)], target)
    if _side(points[0], target) < 0 and _close(near, target, tolerance):
        sentence = f"{near.name} gives {near.describe()}; the curve is not shown to rise beyond {target:g}."
        return Answer(target=target, outcome="found", chosen=near, sentence=sentence)
    sentence = f"The curve is not shown to reach {target:g}; highest {highest.describe()} at {highest.name}."
    return _none(target, "unreached", sentence)


def _none(target: float, outcome: Outcome, sentence: str) -> Answer:
    return Answer(target=target, outcome=outcome, chosen=None, sentence=sentence)


def _side(point: Point, target: float) -> int:
    """-1 below the target beyond noise, 1 above it, 0 undecided."""
    return (point.low > target) - (point.high < target)


def _bracket(points: Sequence[Point], target: float) -> list[Point]:
    """The points from one side of the only crossing to the other; none if it is not the only one or does not rise."""
    shown = crossings(points, target)
    if len(shown) != 1 or not shown[0].rising:
        return []
    first, last = shown[0].before.n_seed, shown[0].after.n_seed
    return [point for point in points if first <= point.n_seed <= last]


def _inner(bracket: Sequence[Point], target: float) -> tuple[Point, Point]:
    """The neighbours between which the means, made monotone, pass the target.

    The first of them stays below and the last above: the fit begins at or below the first mean and ends at or above
    the last one.

    Source: least squares under a monotone order, pool adjacent violators (Barlow and others 1972).
    """
    fitted = optimize.isotonic_regression([point.mean for point in bracket]).x
    place = max(number for number, level in enumerate(fitted) if level < target)
    return bracket[place], bracket[place + 1]


def _nearest(points: Sequence[Point], target: float) -> Point:
    """The dose whose mean is nearest to the target; the smaller one of two."""
    return min((point for point in points if point.n_seed), key=lambda p: (abs(p.mean - target), p.n_seed))


def _close(point: Point, target: float, tolerance: float) -> bool:
    return abs(point.mean - target) <= tolerance


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
