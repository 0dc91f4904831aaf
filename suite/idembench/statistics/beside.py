"""What stands beside the verdict: the trajectory for the plot, and the count of seeds that moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from idembench.statistics import decisions, words
from idembench.statistics import estimates as est
from idembench.statistics.effects import NOTHING_ITERATED, number, why_no_interval
from idembench.statistics.results import BeyondMargin, Checkpoint, Level
from idembench.statistics.rules import FULL_SCALE
from idembench.statistics.statements import FEWEST_CYCLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.statistics.estimates import FloatArray
    from idembench.statistics.rules import Rule


def trajectory(trait: FloatArray, coherence: FloatArray, *, rule: Rule, repeats: int) -> tuple[Checkpoint, ...]:
    """Mean trait and coherence with intervals at every checkpoint."""
    names = ["base", *(f"c{cycle}" for cycle in range(trait.shape[1] - 1))]
    levels = [_levels(scores, rule=rule, repeats=repeats) for scores in (trait, coherence)]
    return tuple(
        Checkpoint(
            name=name, cycle=None if index == 0 else index - 1, trait=levels[0][index], coherence=levels[1][index]
        )
        for index, name in enumerate(names)
    )


def _levels(scores: FloatArray, *, rule: Rule, repeats: int) -> list[Level]:
    """Mean and intervals at every checkpoint; `scores`: float64 [S, C, Q]."""
    given = est.moments(scores.swapaxes(0, 1), repeats=repeats)
    chain, artefact = est.chain_law(given), est.this_artefact(given)
    ends = [
        [np.clip(end, 0.0, FULL_SCALE) for end in est.interval(which, alpha=rule.alpha)] for which in (chain, artefact)
    ]
    levels = []
    for index in range(scores.shape[1]):
        n_seeds = int(given.n_seeds[index])
        known = bool(chain.known[index])
        reason = why_no_interval(n_seeds, known=known, estimand="chain law")
        if reason is None and not artefact.known[index]:
            reason = why_no_interval(n_seeds, known=False, estimand="this artefact")
        levels.append(
            Level(
                mean=number(chain.estimate[index]),
                low=number(ends[0][0][index]),
                high=number(ends[0][1][index]),
                artefact_low=number(ends[1][0][index]),
                artefact_high=number(ends[1][1][index]),
                seeds=tuple(number(value) for value in given.means[index]),
                missing=float(est.rounded(given.missing)[index]),
                reason="no seed has a score here" if n_seeds == 0 else reason,
            )
        )
    return levels


def seeds_beyond(trait: FloatArray, *, diverged: Sequence[int | None], rule: Rule) -> BeyondMargin:
    """How many seeds moved beyond the margin or diverged."""
    last = trait.shape[1] - 2
    if last < FEWEST_CYCLES:
        return _unknown_beyond(NOTHING_ITERATED.format(last=last))
    changes = est.moments(trait[:, -1] - trait[:, 2], repeats=1).means  # [S]
    moved = decisions.beyond_margin(changes, rule)
    broken = np.array([cycle is not None for cycle in diverged])
    known = broken | ~np.isnan(changes)
    counted = tuple(int(seed) for seed in np.flatnonzero(moved | broken))
    n_seeds = int(known.sum())
    if n_seeds == 0:
        return _unknown_beyond("no seed has scores at cycle 1 and at the last one")
    upper = est.clopper_pearson_upper(len(counted), n_seeds, alpha=rule.alpha)
    return BeyondMargin(
        seeds=counted,
        n_beyond=len(counted),
        n_seeds=n_seeds,
        upper=number(upper),
        sentence=words.beyond_sentence(len(counted), n_seeds, upper),
        reason=None,
    )


def _unknown_beyond(reason: str) -> BeyondMargin:
    return BeyondMargin(
        seeds=(),
        n_beyond=0,
        n_seeds=0,
        upper=None,
        sentence=f"How many seeds moved beyond the margin cannot be said: {reason}.",
        reason=reason,
    )
