"""Judges that ask a language model for a number and weigh the numbers by how likely it was to say each.

    score = sum of n * P(n) / sum of P(n)   over the whole numbers n = 0..100

The sum below the line is the *mass*: what is left is everything else that the model might have said. One with less than
a quarter of its probability on numbers was not grading, and one that would rather refuse did not grade: such a score is
missing, with its reason, never a middle value. Both judges of this kind, a local model (`local.py`) and an endpoint
(`endpoint.py`), are a way to get those probabilities; what is asked (`prompting.py`) and what becomes of them is here.

A judge is given a trait's name and needs its rubric. It takes it from one pack, `english` unless its argument says
otherwise (`hf:MODEL,pack=toyland`): packs have traits of one name with other rubrics, so the name alone would not do, and
a judge that looked at the question for its pack would have a fingerprint that depends on what it is asked. So the pack is
part of its name, and all rubrics of the pack are part of its fingerprint, whichever trait is asked.

Source: scores as expectations over the judge's own distribution of grades follow G-Eval (Liu et al. 2023, section 2).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from idembench import traits
from idembench.errors import DataError, InputError
from idembench.files import canonical_json, parse_json, sha256_json
from idembench.judges import Asked, Score, prompting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from idembench.traits import Pack, Question

VERSION = 1
"""Raised when the same probabilities become another score; records of the versions before still have to verify."""
LEAST_MASS = 0.25
LARGEST, _PLACES = 100, 3
PACK = "english"
DIGITS = 4
_SHOWN = 0.001
_HALF = 0.5 * 10**-DIGITS
"""What rounding changes a value by at most."""
_OVER = 0.05
"""What probabilities that an endpoint computes in half precision add up to beyond 1, and more."""
_FLOATS = 1e-9
"""What adding up as many floating-point numbers in another order changes a score by, and far more."""

REFUSED = "refused"
LOW_MASS = f"less than {LEAST_MASS} on numbers"
TOO_LONG = "longer than the judge reads"
NO_LOGPROBS = "no log-probabilities in the answer"
MALFORMED = "an answer that cannot be read"
FILTERED = "kept from the judge by a content filter"


def is_number(text: str) -> bool:
    """Whether a text is a whole number 0..100 as it is usually written, without leading zeros; so is each beginning of it."""
    return (
        text.isascii() and text.isdigit() and len(text) <= _PLACES and str(int(text)) == text and int(text) <= LARGEST
    )


def refuses(token: str) -> bool:
    """Whether an answer that begins with this token is a refusal."""
    begun = token.strip().upper()
    return bool(begun) and (prompting.REFUSAL.startswith(begun) or begun.startswith(prompting.REFUSAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a judge said to one prompt.

    Attributes:
        numbers: Probability of each whole number 0..100 that has any.
        missing: Why there is no score; None if there is one.
    """

    numbers: Mapping[int, float] = field(default_factory=dict)
    missing: str | None = None

    @classmethod
    def of(cls, numbers: Mapping[int, float], *, likeliest: str) -> Self:
        """A reading of probabilities, missing if the judge refused or was not grading.

        Args:
            numbers: Probability of each number.
            likeliest: The likeliest first token that is more than white space.
        """
        missing = None
        if refuses(likeliest):
            missing = REFUSED
        elif math.fsum(numbers.values()) < LEAST_MASS:
            missing = LOW_MASS
        return cls(numbers=numbers, missing=missing)

    @property
    def mass(self) -> float:
        """Probability of all numbers together."""
        return math.fsum(self.numbers.values())

    @property
    def score(self) -> float | None:
        """The mean of the numbers, weighted by their probability."""
        if self.missing is not None:
            return None
        return round(math.fsum(number * p for number, p in self.numbers.items()) / self.mass, DIGITS)

    def judged(self) -> dict[str, Any]:
        """What is kept of it beside the score."""
        mass = round(self.mass, DIGITS)
        if self.missing is not None:
            return {"missing": self.missing, "mass": mass}
        shown = {str(number): round(p, DIGITS) for number, p in self.numbers.items() if p >= _SHOWN}
        return {"mass": mass, "numbers": shown}


def parse(argument: str, known: Collection[str], *, judge: str) -> tuple[str, dict[str, str]]:
    """Take `MODEL,key=value,...` apart.

    Args:
        argument: What stands behind the judge's name.
        known: The keys that there are.
        judge: The judge's name.

    Raises:
        InputError: If no model is named, or a part behind it is no `key=value` of a known key, or one stands twice.
    """
    model, *parts = argument.split(",")
    options = dict(part.partition("=")[::2] for part in parts)
    if not model or len(options) != len(parts) or not options.keys() <= set(known) or not all(options.values()):
        raise InputError(
            "A judge's argument does not hold.",
            expected=f"{judge}:MODEL, then any of {', '.join(f',{key}=...' for key in known)}, each once",
            found=f"{judge}:{argument}",
            do="A model whose name has a comma cannot be named here.",
        )
    return model, options


class LogprobJudge(ABC):
    """A judge whose scores are weighted by a model's probabilities of numbers.

    Args:
        argument: What stands behind the judge's name; kept, because a judge travels to workers as its name.
    """

    kind: ClassVar[str]
    argument_is: ClassVar[str] = "MODEL[,pack=PACK]"
    deterministic: ClassVar[bool] = False
    """Whether `verify` can ask it again: no, it would need a network, or torch and the judge's weights."""

    def __init__(self, argument: str) -> None:
        """Take the argument as it is; a subclass parses it."""
        self.argument = argument
        self.pack = PACK

    @classmethod
    def of(cls, argument: str) -> Self:
        """The judge that an argument names; nothing is loaded or asked."""
        return cls(argument)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to workers by name, never with weights or connections."""
        return type(self), (self.argument,)

    @property
    @abstractmethod
    def name(self) -> str:
        """The name by which the same judge is had again, anywhere."""

    @classmethod
    def contradictions(cls, score: Score, *, trait: bool) -> list[str]:
        """Where a score and what was kept of how it came about (`Score.judged`) do not go together; nothing is asked.

        Args:
            score: As a record states it, so anything.
            trait: Whether the question measures a trait.
        """
        if score.judged is None:
            return ["nothing is kept of how the judge came to it"]
        try:
            said = parse_json(score.judged, where="judged")
            if canonical_json(said).decode() != f"{score.judged}\n":
                return ["judged is not canonical JSON"]
        except DataError as error:
            return [f"judged is no JSON: {error.found}"]
        wanted = {"coherence": score.coherence} | ({"trait": score.trait} if trait else {})
        if not isinstance(said, dict) or said.keys() != wanted.keys():
            return [f"judged is not of {' and '.join(sorted(wanted))}"]
        wrong = [f"{name}: {problem}" for name, value in wanted.items() for problem in _against(value, said[name])]
        return wrong + ([] if trait or score.trait is None else ["trait: a score where no trait was measured"])

    @abstractmethod
    def check(self) -> None:
        """Make sure that it can be asked here.

        Raises:
            IdembenchError: If not; what is missing is named.
        """

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """Everything that scores depend on beside what is asked: the model, how it is computed, how it is read."""

    @abstractmethod
    def _read(self, prompts: Sequence[str]) -> list[Reading]:
        """Ask the model different prompts; the readings in their order."""

    def _special(self) -> Collection[str]:
        """Strings that its tokenizer would take for special tokens, where it is at hand."""
        return ()

    @cached_property
    def _pack(self) -> Pack:
        return traits.load_pack(self.pack)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model, how it is asked and read, the prompts' template, and all rubrics of the pack."""
        return self._print(self._identity())

    def _print(self, identity: Mapping[str, Any]) -> str:
        rubrics = {
            name: [trait.definition, trait.rubric.model_dump(mode="json")] for name, trait in self._pack.traits.items()
        }
        return sha256_json([self.kind, VERSION, identity, prompting.fingerprint(), self.pack, rubrics])

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Score one response.

        Raises:
            UnknownNameError: If the judge's pack has no such trait.
            IdembenchError: If the model cannot be asked.
        """
        return self.score_all([Asked(question=question, response=response, trait=trait)])[0]

    def score_all(self, asked: Sequence[Asked]) -> list[Score]:
        """Score responses, in their order; what is asked twice is asked once.

        Raises:
            UnknownNameError: If the judge's pack has no such trait.
            IdembenchError: If the model cannot be asked.
        """
        special = self._special()
        pairs = []
        for one in asked:
            judged = prompting.data(one.question.prompt, one.response, special=special)
            about = None if one.trait is None else prompting.for_trait(self._pack.trait(one.trait), judged)
            pairs.append((about, prompting.for_coherence(judged)))
        prompts = list(dict.fromkeys(prompt for pair in pairs for prompt in pair if prompt is not None))
        readings = dict(zip(prompts, self._read(prompts), strict=True))
        return [_score(None if about is None else readings[about], readings[coherent]) for about, coherent in pairs]


def _against(score: float | None, kept: Any) -> list[str]:
    """Where a score cannot be that of a reading of which this was kept."""
    if not isinstance(kept, dict) or kept.keys() not in ({"mass", "missing"}, {"mass", "numbers"}):
        return ["neither mass and numbers nor mass and why it is missing are kept"]
    if not _is_kept(kept["mass"]):
        return [f"the mass {kept['mass']!r} is no rounded probability"]
    if "missing" in kept:
        return _against_missing(score, kept["mass"], kept["missing"])
    if score is None:
        return ["no score, and no reason why it is missing"]
    return _against_numbers(score, kept["mass"], kept["numbers"])


def _against_missing(score: float | None, mass: float, reason: object) -> list[str]:
    if not isinstance(reason, str) or not reason:
        return ["no reason is kept for why it is missing"]
    if reason == LOW_MASS and mass > LEAST_MASS:
        return [f"it is said to be missing for {reason}, with a mass of {mass}"]
    return [] if score is None else [f"a score of {score}, which is said to be missing: {reason}"]


def _against_numbers(score: float, mass: float, numbers: object) -> list[str]:
    if not isinstance(numbers, dict) or not all(
        is_number(number) and _is_kept(p) and p >= _SHOWN for number, p in numbers.items()
    ):
        return [f"numbers that are none from 0 to {LARGEST}, or whose probability is none from {_SHOWN}"]
    if mass < LEAST_MASS or not numbers:
        return [f"a score from {len(numbers)} numbers and a mass of {mass}"]
    return _apart(score, mass, {int(number): p for number, p in numbers.items()})


def _is_kept(p: object) -> bool:
    return type(p) is float and 0 <= p <= 1 + _OVER and round(p, DIGITS) == p


def _apart(score: float, mass: float, numbers: Mapping[int, float]) -> list[str]:
    r"""Where a score is further from the mean of the numbers that were kept than what was not kept can move it.

    With true probabilities `q` and mass `M`, of which `p` and `m` are kept, and any `c`:

        score - c = (sum over kept n of (n - c) q(n)  +  sum over the others of (n - c) q(n)) / M  +  its rounding

    Let `c` be the mean of the kept numbers by their `p`, so that `sum of (n - c) p(n) = 0`. Then the first sum is at most
    `h * sum of |n - c|`, because `q` and `p` differ by rounding, `h` at most. The second is at most `r * (100 - c)` upwards
    and `r * c` downwards, where `r` is the probability of the others: `M` less the sum of `q`, and less than 0.001 for
    each of them. `M` is at least `m - h`. So a score that a judge gave is never further away; and one that is closer is told
    apart from it by nothing that was kept.
    """
    others = (LARGEST + 1 - len(numbers)) * _SHOWN
    rounding = (len(numbers) + 1) * _HALF
    unseen = mass - math.fsum(numbers.values())
    if not -rounding - _FLOATS <= unseen <= others + rounding + _FLOATS:
        return [f"a mass of {mass} for numbers of {math.fsum(numbers.values()):.{DIGITS}f}"]
    centre = math.fsum(n * p for n, p in numbers.items()) / math.fsum(numbers.values())
    rest = max(0.0, min(unseen + rounding, others))
    rounded = _HALF * math.fsum(abs(n - centre) for n in numbers)
    low = centre - (rounded + rest * centre) / (mass - _HALF) - _HALF - _FLOATS
    high = centre + (rounded + rest * (LARGEST - centre)) / (mass - _HALF) + _HALF + _FLOATS
    if low <= score <= high:
        return []
    return [f"expected the mean of what was said, {low:.{DIGITS}f} to {high:.{DIGITS}f}, found {score}"]


def _score(trait: Reading | None, coherence: Reading) -> Score:
    said = {"coherence": coherence.judged()} | ({} if trait is None else {"trait": trait.judged()})
    return Score(
        trait=None if trait is None else trait.score,
        coherence=coherence.score,
        judged=canonical_json(said).decode().rstrip("\n"),
    )
