"""From what was drawn and sampled for a cycle to the rows it trains on: filter, choose, shuffle, pair, mix.

A pure function of rows: no model, no files. The order is always the same, and every row that is left out is
counted. Which answer to a prompt is taken is the method's choice (`Method.select`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from idembench.judges import Asked, score_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.judges import Judge, Score
    from idembench.methods import Method
    from idembench.protocol import Protocol
    from idembench.traits import Example, Question


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Selects the training rows of one cycle.

    Attributes:
        method: Chooses among the candidates of a prompt.
        settings: The method's own settings.
        judge: Scores answers, for the coherence filter and for methods that ask.
        trait: The chain's trait.
        questions: The self-generation pool, by id.
        protocol: Says what is filtered, mixed, shuffled.
        seed: Derived from what this step is for.
    """

    method: Method
    settings: Mapping[str, Any]
    judge: Judge
    trait: str
    questions: Mapping[str, Question]
    protocol: Protocol
    seed: int

    def select(
        self,
        *,
        own: Sequence[Example],
        drawn: bool,
        rejected: Sequence[Example] | None,
        demonstrations: Sequence[Example],
    ) -> tuple[list[Example], dict[str, Any]]:
        """The rows, and facts about them.

        Args:
            own: Demonstrations, or all candidates of what the generation before said, those of a prompt together.
            drawn: Whether they are demonstrations: then nothing is filtered, chosen or shuffled.
            rejected: Answers that lose, for methods that learn from pairs; a prompt without one leaves its pair out.
            demonstrations: Those of cycle 0, in their drawn order; the first of them join the rows, as many as
                `data.original_mix` says, rounded.
        """
        rows, facts = list(own), dict[str, Any]()
        if not drawn:
            rows, facts = self._chosen(own)
        if self.protocol.control == "shuffled" and not drawn:
            # A plain permutation: about one answer a cycle stays where it was.
            order = np.random.default_rng(self.seed).permutation(len(rows))
            rows = [replace(row, response=rows[i].response) for row, i in zip(rows, order, strict=True)]
        if rejected is not None:
            losing = {row.id: row.response for row in rejected}
            unpaired = len(rows)
            rows = [replace(row, rejected=losing[row.id]) for row in rows if row.id in losing]
            facts["unpaired"] = unpaired - len(rows)
        mixed = round(self.protocol.data.original_mix * len(demonstrations))
        if mixed:
            rows += demonstrations[:mixed]
            facts["mixed"] = mixed
        return rows, {"rows": len(rows), **facts}

    def _chosen(self, own: Sequence[Example]) -> tuple[list[Example], dict[str, Any]]:
        """At most one answer per prompt: coherent enough, and the method's choice."""
        facts: dict[str, Any] = {"sampled": len(own)}
        least = self.protocol.data.coherence_filter
        scores: dict[Example, Score] = {}

        def score(row: Example) -> Score:
            # Most methods ask nothing; one that asks of one answer asks of all, and a model judges many at once faster.
            if not scores:
                scores.update(zip(own, self._scores(own), strict=True))
            return scores[row] if row in scores else self._scores([row])[0]

        kept = own if least is None else [row for row in own if (score(row).coherence or 0.0) >= least]
        if least is not None:
            facts["filtered_share"] = round(1 - len(kept) / len(own), 6)
        by_prompt: dict[str, list[Example]] = {}
        for row in kept:
            by_prompt.setdefault(row.id, []).append(row)
        return self.method.select(list(by_prompt.values()), self.settings, score), facts

    def _scores(self, rows: Sequence[Example]) -> list[Score]:
        asked = [Asked(question=self.questions[row.id], response=row.response, trait=self.trait) for row in rows]
        return score_all(self.judge, asked)
