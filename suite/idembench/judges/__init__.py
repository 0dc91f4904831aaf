"""Judges: what turns a response into a trait score and a coherence score, 0..100.

A judge is a class with a `name`, a `fingerprint` and a `score`; the registry finds ours and those that
other distributions enter through the entry-point group `idembench.judges`. The fingerprint is part of
every score's key: scores of different judges are never mixed. A deterministic judge can be asked again by
`verify`, offline; such a judge must not need torch. One that is not and keeps how it came to a score can be held against
that (`ExplainingJudge`), for which its module must not need torch. A class that takes an argument (`hf:MODEL`) has a class method
`of(argument)`, which reads it and does nothing else; what the judge needs besides is looked for by `check`.

A judge can be frozen into an edition if what it is cannot change under its name: it is deterministic and comes with an
installation, or says what it is without its files (`pinned`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from idembench import shipped
from idembench.errors import EnvironmentProblem, InputError, UnknownNameError
from idembench.files import sha256_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from idembench.record import JudgeLine
    from idembench.traits import Question

GROUP = "idembench.judges"
WEAK = "classifier"
"""The judge whose records are shown and never ranked: it squeezes the scale, and what it squeezes looks idempotent."""
NOBODY = "nobody"
"""Said in the place of a judge's name to the English lm-eval tasks by who wants responses and scores them later."""


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
    """What a judge must be.

    One that is faster with many responses at once also has `score_all`; one that is a model whose files are at hand says
    which as `weights`, the digest of `models.Model`; one that reads rubrics or was fitted says for which `pack`.
    """

    deterministic: ClassVar[bool]

    @property
    def name(self) -> str:
        """What `get` makes it from: its name, and its argument where it takes one."""
        ...

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


@runtime_checkable
class CheckedJudge(Protocol):
    """A judge that needs something that may not be there: a key, a model, a library."""

    def check(self) -> None:
        """Make sure that it can be asked here; an `IdembenchError` says what is missing."""
        ...


@runtime_checkable
class FetchedJudge(Protocol):
    """A judge whose fingerprint takes files that may not be on this machine yet."""

    @property
    def pinned(self) -> str | None:
        """Its fingerprint with a name in the place of the files; None if the name may come to stand for others."""
        ...

    def at_hand(self) -> bool:
        """Whether the files are on this machine."""
        ...


@runtime_checkable
class FittedJudge(Protocol):
    """A judge that knows certain traits alone."""

    @property
    def traits(self) -> frozenset[str]:
        """Their names."""
        ...


class ExplainingJudge(Protocol):
    """A judge whose scores follow from what it keeps beside them, so that its class can tell whether they do."""

    @classmethod
    def contradictions(cls, score: Score, *, trait: bool) -> list[str]:
        """Where a score does not follow from its `judged`, a sentence each; whatever is in it, this raises nothing.

        Args:
            score: As a record states it, so anything.
            trait: Whether the question measures a trait.
        """
        ...


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for a judge whose files are not on this machine, in a dry run: no step here is known to rest on its scores.

    Attributes:
        name: The judge's.
    """

    name: str
    deterministic: ClassVar[bool] = False

    @property
    def fingerprint(self) -> str:
        """One that no judge has."""
        return sha256_json(["absent", self.name])

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Refuse: there is nothing to score with.

        Raises:
            EnvironmentProblem: Always.
        """
        del question, response, trait
        raise EnvironmentProblem(
            "The judge's files are not on this machine.",
            expected="a judge whose files are at hand, to score with",
            found="one that a dry run puts in its place",
            where=self.name,
            do="Run without --dry-run, which fetches them, or fetch them with `hf download`.",
        )


def pinned(judge: Judge) -> str | None:
    """SHA-256 of everything that a judge's scores depend on, had without its files; None if that may change under its name.

    A deterministic judge comes with an installation, and is its fingerprint.
    """
    if isinstance(judge, FetchedJudge):
        return judge.pinned
    return judge.fingerprint if judge.deterministic else None


def at_hand(judge: Judge) -> Judge:
    """The judge, or what stands for it if its files are not on this machine; nothing is fetched."""
    return Absent(judge.name) if isinstance(judge, FetchedJudge) and not judge.at_hand() else judge


def ready(judge: Judge) -> None:
    """Make sure that a judge can be asked here; what it needs is fetched.

    Raises:
        IdembenchError: If it cannot; see its `check`.
    """
    if isinstance(judge, CheckedJudge):
        judge.check()


def check_traits(judge: Judge, names: Iterable[str], *, pack: str) -> None:
    """Make sure that a judge can score these traits of this pack, before anything is trained.

    Packs share names of traits and not what they mean by them, so a judge that reads a pack's rubrics scores no other
    pack's, and one that was fitted on a pack's answers none of the other that is shipped. Who names a trait of their own
    like one of those says that it is the same.

    Raises:
        InputError: If it was made for another pack.
        UnknownNameError: If it was made for other traits.
    """
    own, fitted = getattr(judge, "pack", pack), isinstance(judge, FittedJudge)
    if own != pack and (not fitted or pack in (shipped.EMBEDDED, shipped.REAL)):
        raise InputError(
            "This judge was made for another pack.",
            expected=f"a judge for {pack}",
            found=f"{judge.name}, for {own}",
            do=f"Name another; one that reads rubrics takes them from a pack that it is told: hf:MODEL,pack={pack}.",
        )
    if isinstance(judge, FittedJudge) and (missing := sorted(set(names) - judge.traits)):
        raise UnknownNameError("trait", missing[0], sorted(judge.traits), where=f"the {judge.name} judge")


def score_all(judge: Judge, asked: Sequence[Asked]) -> list[Score]:
    """Score responses in their order: at once if the judge can, else one by one."""
    if isinstance(judge, BatchJudge):
        return judge.score_all(asked)
    return [judge.score(one.question, one.response, trait=one.trait) for one in asked]


def line(judge: Judge) -> JudgeLine:
    """What a record says of its judge."""
    from idembench.record import JudgeLine

    return JudgeLine(
        name=judge.name,
        fingerprint=judge.fingerprint,
        deterministic=judge.deterministic,
        weights=getattr(judge, "weights", None),
    )


@cache
def _points() -> tuple[EntryPoint, ...]:
    # Asked for every record that is verified; looking through all installed packages takes milliseconds.
    return tuple(entry_points(group=GROUP))


def available() -> list[str]:
    """Names of the installed judges."""
    return sorted({point.name for point in _points()})


def described() -> list[tuple[str, str]]:
    """What is typed for each installed judge, and what it is in a sentence."""
    found = []
    for point in sorted(_points(), key=lambda point: point.name):
        kind = point.load()
        typed = f"{point.name}:{getattr(kind, 'argument_is', 'ARGUMENT')}" if hasattr(kind, "of") else point.name
        found.append((typed, (kind.__doc__ or "").strip().partition("\n")[0]))
    return found


def get(name: str, *, offline: bool = False) -> Judge:
    """One judge by name; `NAME:ARGUMENT` for one that takes an argument, such as the model that it asks.

    Args:
        name: Of an installed judge, with its argument.
        offline: Do not make sure that it can be asked: no key, network or model is looked for.

    Raises:
        UnknownNameError: If none of that name is installed.
        InputError: If it takes an argument and has none, or the other way round, or the argument does not hold.
        IdembenchError: If it cannot be asked here; see its `check`.
    """
    plain, colon, argument = name.partition(":")
    for point in _points():
        if point.name == plain:
            judge = _made(point.load(), plain, argument if colon else None)
            if not offline:
                ready(judge)
            return judge
    raise UnknownNameError("judge", plain, available(), where=f"entry points {GROUP}")


def explaining(name: str) -> type[ExplainingJudge] | None:
    """The class of a judge, if it can tell whether scores follow from what was kept beside them; no judge is made.

    Args:
        name: Of a judge, installed or not, with any argument.
    """
    plain = name.partition(":")[0]
    for point in _points():
        if point.name == plain:
            kind: Any = point.load()
            return kind if hasattr(kind, "contradictions") else None
    return None


def _made(kind: Any, plain: str, argument: str | None) -> Judge:
    of = getattr(kind, "of", None)
    if of is None and argument is None:
        plainly: Judge = kind()
        return plainly
    if of is None or not argument:
        raise InputError(
            "This judge takes no argument." if of is None else "This judge takes an argument.",
            expected=plain if of is None else f"{plain}:{getattr(kind, 'argument_is', 'ARGUMENT')}",
            found=plain if argument is None else f"{plain}:{argument}",
        )
    named: Judge = of(argument)
    return named
