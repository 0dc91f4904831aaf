"""Which records are others taken further, and which have the very chains of others, without comparing all with all.

A record that continues another holds, in the chain of each of its seeds, the last step of that chain; so each
record is looked up by that one step among the steps of all. Only what is found this way is compared in full.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from idembench import record
from idembench.steps import BESIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from idembench.record import Record

_DIGITS = 16  # hexadecimal digits of a step's key that are kept: 64 bits, enough to make few comparisons


@dataclass(frozen=True, slots=True)
class Trace:
    """What is kept of a record to find what it supersedes: its subject and the first digits of its steps' keys.

    Attributes:
        subject: Digest of the model, and the trait.
        last: The last step of its first chain; None for a chain without steps.
        steps: All steps of all chains.
        extent: How far it goes (`record.extent`): which of several records goes furthest.
    """

    subject: tuple[str, str]
    last: int | None
    steps: array[int]
    extent: tuple[int, int, bool, int]


def trace(of: Record) -> Trace:
    """What is kept of one record."""
    # What was asked beside is no part of it: a record that was asked more may end where one that was asked less does.
    first = [step for step in of.chains[0].lineage if step.kind not in BESIDE]
    return Trace(
        subject=(of.model.digest, of.trait),
        last=int(first[-1].key[:_DIGITS], 16) if first else None,
        steps=array("Q", (int(step.key[:_DIGITS], 16) for line in of.chains for step in line.lineage)),
        extent=record.extent(of),
    )


def superseded(traces: Mapping[str, Trace], read: Callable[[str], Record]) -> dict[str, str]:
    """From the ids of superseded records to the id of the one that takes each furthest.

    Records of another model or trait are never compared, whatever their lineages say.

    Args:
        traces: By record id.
        read: Reads a record by its id; asked only for records whose steps fit.
    """
    return _furthest_that(record.supersedes, traces, read)


def stood_for(traces: Mapping[str, Trace], read: Callable[[str], Record]) -> dict[str, str]:
    """From the ids of records whose chains another one has too to the id of the one that goes furthest.

    Of records that differ only in what was asked or stands beside, each holds something that the others lack, so none
    supersedes another; but their scores are the same ones, and only one of them may be ranked. Where they go equally far
    it is the one with the greater id.

    Args:
        traces: By record id; of those that nothing supersedes.
        read: Reads a record by its id; asked only for records whose steps fit.
    """
    return _furthest_that(record.continues, traces, read)


def _furthest_that(
    takes_up: Callable[[Record, Record], bool], traces: Mapping[str, Trace], read: Callable[[str], Record]
) -> dict[str, str]:
    """From each id to the furthest record that takes that one up and goes further, or has the greater id."""
    ends: dict[tuple[tuple[str, str], int], list[str]] = {}
    for name, given in traces.items():
        if given.last is not None:
            ends.setdefault((given.subject, given.last), []).append(name)
    found: dict[str, set[str]] = {}
    for longer, given in traces.items():
        candidates = {name for step in set(given.steps) for name in ends.get((given.subject, step), ())}
        for shorter in sorted(candidates):
            behind = (traces[shorter].extent, shorter) < (given.extent, longer)
            if behind and takes_up(read(longer), read(shorter)):
                found.setdefault(shorter, set()).add(longer)
    return {shorter: _furthest(by - found.keys(), traces) for shorter, by in found.items()}


def _furthest(names: Iterable[str], traces: Mapping[str, Trace]) -> str:
    """Of records that none goes beyond, the one that goes furthest."""
    return max(names, key=lambda name: (traces[name].extent, name))
