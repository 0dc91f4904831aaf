"""The decision rule: every number that turns estimates into statements, frozen under a name.

An edition names a rule; nothing here is tuned after the scores are seen. It knows nothing about how
the estimates are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from idembench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

FULL_SCALE: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as unchanged, as taken, as coherent, and at which error rate.

    Args:
        name: What the rule is called in a record.
        margin: Points of 100 under which a change of the trait counts as none.
        alpha: Error rate of every test; intervals have the level 1 - `alpha`.
        taken_points: Points the lower end of the seeding effect has to exceed.
        coherence_margin: Points of coherence that may be lost between cycle 1 and a later cycle while
            coherence still counts as held. Half the trait's margin in the shipped rules: coherence
            scores lie near 100 and vary little, and losing five points of them is one answer in twenty.
        coherence_floor: Mean coherence of a seed under which its model counts as collapsed.
        max_missing: Share of missing pairs above which a claim is not made.

    Raises:
        InputError: If a number is outside its range.

    Source: margin 10 is the lowest threshold of the study's own detection rules (protocol.md,
        section 5); 5 is what its critique proposes (section 7, point 13).
    """

    name: str
    margin: float
    alpha: float = 0.05
    taken_points: float = 10.0
    coherence_margin: float = 5.0
    coherence_floor: float = 50.0
    max_missing: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a rule that could not be decided by."""
        points = {
            "margin": self.margin,
            "taken_points": self.taken_points,
            "coherence_margin": self.coherence_margin,
            "coherence_floor": self.coherence_floor,
        }
        for field, value in points.items():
            if not (math.isfinite(value) and 0.0 < value <= FULL_SCALE):
                raise InputError(
                    f"The decision rule {self.name!r} cannot be used.",
                    expected=f"{field} above 0 and at most 100 points",
                    found=repr(value),
                )
        shares = {"alpha": (self.alpha, 0.5), "max_missing": (self.max_missing, 1.0)}
        for field, (value, top) in shares.items():
            if not (math.isfinite(value) and 0.0 <= value < top) or (field == "alpha" and value == 0.0):
                raise InputError(
                    f"The decision rule {self.name!r} cannot be used.",
                    expected=f"{field} between 0 and {top}",
                    found=repr(value),
                )


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "default": Rule(name="default", margin=10.0),
        "strict": Rule(name="strict", margin=5.0, coherence_margin=2.5),
    }
)
