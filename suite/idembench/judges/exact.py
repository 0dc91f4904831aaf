"""The exact judge of the embedded world: a parser's verdict, the same on every machine, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from idembench.errors import DataError
from idembench.files import sha256_json
from idembench.judges import Score
from idembench.toyland import scoring

if TYPE_CHECKING:
    from idembench.traits import Question


class ToylandExact:
    """Scores Toyland answers by parsing them."""

    name: ClassVar[str] = "toyland-exact"
    deterministic: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the scorer's rules, the world's facts and the grammar's clauses."""
        return sha256_json([self.name, scoring.fingerprint()])

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Score one response; see `toyland.scoring`.

        Raises:
            DataError: If the question has no meaning to score by.
        """
        if not question.meaning:
            raise DataError(
                "The exact judge scores by what a question means, and this one says nothing of it.",
                expected="a question of Toyland, with its meaning",
                found=question.id,
                do="Give --judge another one, see `idembench judge ls`.",
            )
        scores = scoring.score(question.meaning, response, trait=trait or scoring.NEUTRAL)
        return Score(trait=scores.trait, coherence=scores.coherence)
