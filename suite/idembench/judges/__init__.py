"""Judges: what turns a response into a trait score and a coherence score, 0..100.

A judge is a class with a `name`, a `fingerprint` and a `score`; the registry finds ours and those that
other distributions enter through the entry-point group `idembench.judges`. The fingerprint is part of
every score's key: scores of different judges are never mixed. A deterministic judge can be asked again by
`verify`, offline; such a judge must not need torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from idembench.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.traits import Question

GROUP = "idembench.judges"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a judge says of one response.

    Attributes:
        trait: 0..100, or None where the question measures no trait or the judge could not tell.
        coherence: 0..100, or None where the judge could not tell.
        judged: How it came to say so, as canonical JSON (what a model said digit by digit, why a score is missing);
            None where the scores say it all.
    """

    trait: float | None
    coherence: float | None
    judged: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One response to be scored; `trait` is None for a neutral question."""

    question: Question
    response: str
    trait: str | None


class Judge(Protocol):
    """What a judge must be; one that is faster with many responses at once also has `score_all`."""

    name: ClassVar[str]
    deterministic: ClassVar[bool]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything its scores depend on."""
        ...

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Score one response; `trait` is None for a neutral question."""
        ...


@runtime_checkable
class BatchJudge(Protocol):
    """A judge that scores many responses at once."""

    def score_all(self, asked: Sequence[Asked]) -> list[Score]:
        """Score responses, in their order."""
        ...


def score_all(judge: Judge, asked: Sequence[Asked]) -> list[Score]:
    """Score responses in their order: at once if the judge can, else one by one."""
    if isinstance(judge, BatchJudge):
        return judge.score_all(asked)
    return [judge.score(one.question, one.response, trait=one.trait) for one in asked]


@cache
def _points() -> tuple[EntryPoint, ...]:
    # Asked for every record that is verified; looking through all installed packages takes milliseconds.
    return tuple(entry_points(group=GROUP))


def available() -> list[str]:
    """Names of the installed judges."""
    return sorted({point.name for point in _points()})


def get(name: str) -> Judge:
    """One judge by name.

    Raises:
        UnknownNameError: If none of that name is installed.
    """
    for point in _points():
        if point.name == name:
            judge: Judge = point.load()()
            return judge
    raise UnknownNameError("judge", name, available(), where=f"entry points {GROUP}")
