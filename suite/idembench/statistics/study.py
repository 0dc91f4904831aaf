"""The source study's own detection rules, one run at a time, for comparability.

They compare means of one chain with fixed thresholds and know no error: their false alarms are in
`error-rates.md`. `s[i]` is the mean score at cycle i, N the last cycle.

Source: protocol.md, section 5; thresholds 10 (library) and 15 (command line) both were in use, and
which of them the paper's text uses could not be established.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from idembench.statistics.estimates import rounded

if TYPE_CHECKING:
    from collections.abc import Callable

    from idembench.statistics.estimates import FloatArray

LATE_FROM: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRule:
    """One rule of the study, applied to every seed.

    Args:
        name: Rule and threshold.
        definition: What is compared, in symbols.
        threshold: Flagged if the value reaches it.
        unit: "points" or "points per cycle".
        values: The compared value of each seed; None where a score is missing.
        flagged: Whether each seed is called amplified; None where it cannot be said.
        n_flagged: How many are.
        n_seeds: For how many it can be said.
        reason: Why it can be said for none, or None.
    """

    name: str
    definition: str
    threshold: float
    unit: str
    values: tuple[float | None, ...]
    flagged: tuple[bool | None, ...]
    n_flagged: int
    n_seeds: int
    reason: str | None


def delta(means: FloatArray) -> FloatArray:
    """s[N] - s[0]. `means`: float64 [..., N + 1]; returns [...]."""
    result: FloatArray = means[..., -1] - means[..., 0]
    return result


def late_delta(means: FloatArray) -> FloatArray:
    """Largest s[i] - s[0] over i >= 4; needs N >= 4."""
    result: FloatArray = means[..., LATE_FROM:].max(axis=-1) - means[..., 0]
    return result


def late_delta_from_first(means: FloatArray) -> FloatArray:
    """Largest s[i] - s[1] over i >= 4; needs N >= 4."""
    result: FloatArray = means[..., LATE_FROM:].max(axis=-1) - means[..., 1]
    return result


def prefix_regression(means: FloatArray) -> FloatArray:
    """Mean over k = 1..N of the least-squares slope on cycles 0..k.

    Each slope is linear in the scores, so their mean is one weighted sum.
    """
    last = means.shape[-1] - 1
    weights = np.zeros(last + 1)
    for end in range(1, last + 1):
        centred = np.arange(end + 1) - end / 2.0
        weights[: end + 1] += centred / (centred @ centred) / last
    result: FloatArray = means @ weights
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Definition:
    name: str
    definition: str
    threshold: float
    unit: str
    first_cycle: int
    value: Callable[[FloatArray], FloatArray]


DEFINITIONS: Final = (
    _Definition(
        name="delta-10", definition="s[N] - s[0] >= 10", threshold=10.0, unit="points", first_cycle=1, value=delta
    ),
    _Definition(
        name="delta-15", definition="s[N] - s[0] >= 15", threshold=15.0, unit="points", first_cycle=1, value=delta
    ),
    _Definition(
        name="late-delta-10",
        definition="any i >= 4 with s[i] - s[0] >= 10",
        threshold=10.0,
        unit="points",
        first_cycle=LATE_FROM,
        value=late_delta,
    ),
    _Definition(
        name="late-delta-15",
        definition="any i >= 4 with s[i] - s[0] >= 15",
        threshold=15.0,
        unit="points",
        first_cycle=LATE_FROM,
        value=late_delta,
    ),
    _Definition(
        name="late-delta-from-cycle-1-10",
        definition="any i >= 4 with s[i] - s[1] >= 10",
        threshold=10.0,
        unit="points",
        first_cycle=LATE_FROM,
        value=late_delta_from_first,
    ),
    _Definition(
        name="prefix-regression-1.67",
        definition="mean over k = 1..N of the slope on cycles 0..k >= 1.67",
        threshold=1.67,
        unit="points per cycle",
        first_cycle=1,
        value=prefix_regression,
    ),
)


def apply_study_rules(means: FloatArray) -> tuple[StudyRule, ...]:
    """Apply every rule to every seed.

    Args:
        means: float64 [S, N + 1], mean score of each seed at cycles 0..N; NaN = missing.
    """
    return tuple(_apply(rule, means) for rule in DEFINITIONS)


def _apply(rule: _Definition, means: FloatArray) -> StudyRule:
    seeds, cycles = means.shape
    reason = None
    values = np.full(seeds, np.nan)
    if cycles <= rule.first_cycle:
        reason = f"the rule needs cycle {rule.first_cycle}; the chain ends at cycle {cycles - 1}"
    else:
        values = rounded(rule.value(means))
        if np.isnan(values).all():
            reason = "no seed has a score at every cycle"
    known = ~np.isnan(values)
    reached = known & (np.nan_to_num(values) >= rule.threshold)
    return StudyRule(
        name=rule.name,
        definition=rule.definition,
        threshold=rule.threshold,
        unit=rule.unit,
        values=tuple(float(value) if there else None for value, there in zip(values, known, strict=True)),
        flagged=tuple(bool(flag) if there else None for flag, there in zip(reached, known, strict=True)),
        n_flagged=int(reached.sum()),
        n_seeds=int(known.sum()),
        reason=reason,
    )
