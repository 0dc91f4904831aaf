"""What stands beside a record's trait scores: each checkpoint's numbers over all seeds, and which of them are alarming.

A score by itself does not tell a model that lost its trait from one that refuses, loops, says nothing or leaves the
language, nor a trait that grew from one that is found in nonsense only. The terminal and the page show what is worked
out here; how a response comes to its numbers is `record.checkpoint`'s and `companions`' business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from idembench.record import Checkpoint, Record

ALARMING: Final = 20.0
"""Percent of responses, trigrams or letters above which the last cycle is warned of."""
_PERCENT = 100.0
_OF: Final[Mapping[str, Callable[[Checkpoint], float | None]]] = {
    "coherent_only": lambda point: point.trait_coherent,
    "in_domain": lambda point: point.trait_in_domain,
    "spill_over": lambda point: point.trait_spill_over,
    "filtered": lambda point: _PERCENT * (1 - point.coherent_share),
    "missing": lambda point: _PERCENT * point.missing_share,
    "empty": lambda point: _PERCENT * point.empty_share,
    "truncated": lambda point: _PERCENT * point.truncated_share,
    "refused": lambda point: _PERCENT * point.refusal_share,
    "repetition": lambda point: _PERCENT * point.repetition,
    "distinct_2": lambda point: _PERCENT * point.distinct_2,
    "foreign": lambda point: _PERCENT * point.foreign,
    "words": lambda point: point.words,
    "perplexity": lambda point: point.perplexity,
}
NAMES: Final = tuple(_OF)
"""Every column, in reading order."""
SHARES: Final = frozenset(
    {"filtered", "missing", "empty", "truncated", "refused", "repetition", "distinct_2", "foreign"}
)
"""Those in percent. `words` and `perplexity` are what they are called, the others points of 100."""
_DO: Final[Mapping[str, str]] = {
    "filtered": "do not count as coherent",
    "missing": "have no trait score",
    "empty": "say nothing",
    "truncated": "are cut at the token limit",
    "refused": "refuse",
}
"""What responses do that belong to a share."""
_ARE: Final[Mapping[str, str]] = {
    "repetition": "of word trigrams repeat earlier ones",
    "foreign": "of letters are outside ASCII",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number at every checkpoint.

    Attributes:
        name: One of `NAMES`.
        values: At base, c0 .. cK: the mean over the seeds that have it, None where none has. Points, percent (`SHARES`),
            words, or a perplexity.
    """

    name: str
    values: tuple[float | None, ...]

    @property
    def measured(self) -> bool:
        """Whether there is any value."""
        return any(value is not None for value in self.values)

    @property
    def zero(self) -> bool:
        """Whether it is a share that was measured and, to a tenth of a percent, is nowhere above zero."""
        return self.measured and self.name in SHARES and not any(round(value or 0.0, 1) for value in self.values)


def columns(record: Record) -> list[Column]:
    """All of `NAMES`, in this order, also what was not measured."""
    points = _points(record)
    return [Column(name=name, values=tuple(_over_seeds(name, at) for at in points.values())) for name in NAMES]


def warnings(record: Record) -> list[str]:
    """What the last cycle's trait score hides, in sentences: alarming shares, and another score over coherent responses.

    The last cycle is the last one that a chain reached. The two scores are compared in seeds that have both.
    """
    reached = [(label, at) for label, at in _points(record).items() if at]
    if len(reached) < 2:  # noqa: PLR2004 -- the base alone
        return []
    first, (label, last) = reached[0], reached[-1]
    return [*_shares(label, last, before=first), *_gap(label, last, margin=record.analysis.rule.margin)]


def _points(record: Record) -> dict[str, list[Checkpoint]]:
    """The checkpoints of all seeds by label; a chain that fell apart has none after that."""
    found: dict[str, list[Checkpoint]] = {label: [] for label in record.protocol.labels}
    for line in record.chains:
        for point in line.checkpoints:
            if point.cycle in found:
                found[point.cycle].append(point)
    return found


def _over_seeds(name: str, points: Sequence[Checkpoint]) -> float | None:
    """The mean over those that have it; of perplexities the geometric one, so that it is that of all their responses."""
    values = [value for value in map(_OF[name], points) if value is not None]
    if not values:
        return None
    if name != "perplexity":
        return _mean(values)
    largest = max(values)
    return largest * math.exp(_mean([math.log(value / largest) for value in values]))


def _mean(values: Sequence[float]) -> float:
    # In this order no sum of large numbers, which a record may hold, can be too large.
    return sum(value / len(values) for value in values)


def _shares(label: str, last: Sequence[Checkpoint], *, before: tuple[str, Sequence[Checkpoint]]) -> list[str]:
    first, base = before
    said: list[str] = []
    for name, words in {**_DO, **_ARE}.items():
        value = _over_seeds(name, last)
        if value is not None and value > ALARMING:
            subject = "of responses " if name in _DO and not said else ""
            said.append(f"{value:.1f} % {subject}{words} ({first}: {_over_seeds(name, base) or 0.0:.1f} %)")
    return [f"At {label}, {_list(said)}."] if said else []


def _gap(label: str, last: Sequence[Checkpoint], *, margin: float) -> list[str]:
    both = [(point.trait_coherent, point.trait) for point in last]
    pairs = [(coherent, trait) for coherent, trait in both if coherent is not None and trait is not None]
    if not pairs:
        return []
    coherent, trait = (_mean(values) for values in zip(*pairs, strict=True))
    if abs(coherent - trait) <= margin:
        return []
    some = "" if len(pairs) == len(last) else f" (in the {len(pairs)} of {len(last)} seeds that have any)"
    scores = f"{coherent:.1f} over coherent responses alone{some} and {trait:.1f} over all"
    return [f"At {label}, the trait is {scores}: more than the margin of {margin:g} apart."]


def _list(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
