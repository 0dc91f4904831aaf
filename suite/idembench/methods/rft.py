"""Rejection sampling: supervised finetuning on the best of several own answers to each prompt.

What is best is a setting: what the judge calls most coherent or most of the trait, or, without a judge, what is
shortest or repeats itself least.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from idembench import companions
from idembench.methods.sft import Sft
from idembench.protocol import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.methods import Scorer
    from idembench.traits import Example


class RftSettings(Frozen):
    """What rejection sampling has of its own.

    Attributes:
        scorer: What an answer is chosen by: the judge's `coherence` or `trait` score (the highest wins), `length`
            in words (the fewest win), or `repetition` of trigrams (the least wins).
    """

    scorer: Literal["coherence", "trait", "length", "repetition"]


class Rft(Sft):
    """Rejection sampling, then supervised finetuning."""

    name: ClassVar[str] = "rft"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Frozen]] = RftSettings

    def select(
        self, candidates: Sequence[Sequence[Example]], settings: Mapping[str, Any], scorer: Scorer
    ) -> list[Example]:
        """Choose the best answer to each prompt; the earlier of equals, the first where the judge can tell of none."""

        def merit(answer: Example) -> float:
            match settings["scorer"]:
                case "length":
                    return -companions.words(answer.response)
                case "repetition":
                    return -companions.repetition(answer.response)
                case kind:
                    score = scorer(answer)
                    value = score.coherence if kind == "coherence" else score.trait
                    return -math.inf if value is None else value

        return [max(answers, key=merit) for answers in candidates]
