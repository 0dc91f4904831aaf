"""Statements in sentences that a person understands. Only words: every number arrives decided.

A missing number never reaches a sentence; the reason takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from idembench.statistics.results import (
        CoherenceStatement,
        Effect,
        IterationStatement,
        SeedingStatement,
        TransmissionStatement,
    )

ONE_PERCENT: Final = 0.01
FIRST_ITERATED: Final = 2


def points(value: float | None) -> str:
    """`value` with one decimal, without a negative zero."""
    return "?" if value is None else f"{round(value, 1) + 0.0:.1f}"


def signed(value: float | None) -> str:
    """`value` with one decimal and its sign."""
    return "?" if value is None else f"{round(value, 1) + 0.0:+.1f}"


def plain(value: float) -> str:
    """A threshold as one would say it: 10, 2.5."""
    return f"{value:g}"


def percent(share: float) -> str:
    """A share as a whole percentage; one decimal below one percent."""
    return f"{100.0 * share:.0f} %" if share >= ONE_PERCENT else f"{100.0 * share:.1f} %"


def _range(low: float | None, high: float | None) -> str:
    return f"95 % interval {points(low)} to {points(high)}"


def seeding_sentence(statement: SeedingStatement, effect: Effect) -> str:
    """Did the trait take?"""
    asked = plain(statement.threshold)
    if statement.reason is not None:
        return f"The seeding is not shown to have taken: {statement.reason}."
    measured = f"the trait changed by {signed(effect.estimate)} points ({_range(effect.low, effect.high)})"
    if statement.value == "taken":
        return f"The seeding took: {measured}; the lower end had to exceed {asked}."
    return f"The seeding is not shown to have taken: {measured}; the lower end has to exceed {asked}."


def transmission_sentence(statement: TransmissionStatement, *, taken: bool) -> str:
    """Did the first self-trained generation inherit it?"""
    margin = plain(statement.margin)
    left = f"{points(statement.remaining_low)} to {points(statement.remaining_high)} points above the base model"
    change = f"{signed(statement.change)} points ({_range(statement.change_low, statement.change_high)})"
    match statement.value:
        case "lost":
            never = "" if taken else " (it was not shown to be there before, either)"
            return f"The first self-trained model lost the trait: it stands {left} (95 % interval), within {margin}{never}."
        case "kept":
            return (
                f"The first self-trained model kept the trait: it changed by {change}, shown to be less than {margin}."
            )
        case "weakened" | "strengthened":
            rest = "" if statement.present else f" What is left, {left}, is not shown to exceed {margin}."
            return f"The first self-trained model has a {_COMPARED[statement.value]} trait: {change}.{rest}"
        case _:
            return f"Whether the first self-trained model kept the trait is unclear: {statement.reason}."


_COMPARED = {"weakened": "weaker", "strengthened": "stronger"}


def iteration_sentence(statement: IterationStatement, *, last: int, why_qualified: str | None) -> str:
    """What did iterating do after that?"""
    margin = plain(statement.margin)
    drift = (
        f"{signed(statement.drift)} points from cycle 1 to cycle {last} "
        f"({_range(statement.drift_low, statement.drift_high)})"
    )
    cycles = f"cycles 2 to {last} differ" if last > FIRST_ITERATED else f"cycle {last} differs"
    said = []
    if "idempotent" in statement.values:
        said.append(
            f"Iterating left the trait where it was: {cycles} from cycle 1 by no more than "
            f"{points(statement.proven_bound)} points (95 % confidence); up to {margin} counts as unchanged."
        )
        if statement.qualified:
            said.append(f"This means little, since {why_qualified}.")
        if {"amplified", "decayed"} & set(statement.values):
            said.append(f"Within that, a small drift is real: {drift}.")
    elif "amplified" in statement.values:
        said.append(f"Iterating amplified the trait: {drift}.")
    elif "decayed" in statement.values:
        said.append(f"Iterating let the trait decay: {drift}.")
    else:
        said.append(f"Whether iterating changed the trait is open: {statement.reason}.")
    if "non-monotone" in statement.values:
        said.append(f"It did not move one way only: it turned back between cycle 1 and cycle {last}.")
    return " ".join(said)


def coherence_sentence(statement: CoherenceStatement, *, n_seeds: int) -> str:
    """Does the model still make sense?"""
    margin, floor = plain(statement.margin), plain(statement.floor)
    said = []
    if "collapsed" in statement.values:
        count, diverged = len(statement.collapsed_seeds), len(statement.diverged_seeds)
        how = f"{count} of {n_seeds} seeds fell below a mean coherence of {floor} or diverged"
        kinds = f" ({diverged} diverged)" if diverged else ""
        said.append(f"Coherence collapsed: {how}{kinds}.")
    if "held" in statement.values:
        loss = points(max(0.0, -(statement.lowest_bound or 0.0)))
        said.append(
            f"Coherence held: no later cycle is lower than cycle 1 by more than {loss} points (95 % confidence); "
            f"{margin} are allowed."
        )
        if "fell" in statement.values:
            said.append("Within that, a small fall is real.")
    elif "fell" in statement.values:
        said.append(
            f"Coherence fell after cycle 1; a loss of up to {points(-(statement.lowest_bound or 0.0))} points cannot be "
            f"ruled out, and {margin} are allowed."
        )
    if statement.value == "inconclusive":
        said.append(f"Whether coherence held is open: {statement.reason}.")
    return " ".join(said)


def beyond_sentence(n_beyond: int, n_seeds: int, upper: float) -> str:
    """How many seeds moved, and how many chains could."""
    seeds = "seed" if n_seeds == 1 else "seeds"
    return f"{n_beyond} of {n_seeds} {seeds} moved beyond the margin: up to {percent(upper)} of chains could."
