"""What the lm-eval task files of the English pack, and of packs made like it, call: loading questions, keeping repeats, asking a judge.

Knows datasets, not lm-eval: the harness reaches these functions by name from YAML. They score by the judges that
idembench itself asks, so both give the same numbers for the same samples. Under plain lm-eval the judge is named by
`--metadata '{"judge": "..."}'` or by the environment variable IDEMBENCH_JUDGE; without either, the pack's own scores.
"""

from __future__ import annotations

import os
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

from idembench import judges, traits
from idembench.files import read_jsonl
from idembench.shipped import pack_folder
from idembench.toyland.harness import keep_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datasets import Dataset

    from idembench.judges import Judge
    from idembench.protocol import Form

__all__ = ["choices", "keep_all", "openings", "process_open", "questions"]

NEUTRAL = "coherence"
VARIABLE = "IDEMBENCH_JUDGE"


def questions(pack: str, trait: str, *, judge: str | None = None, **_: Any) -> dict[str, Dataset]:
    """The evaluation questions of a trait (or of `coherence`) as an lm-eval dataset.

    Args:
        pack: Name of the pack.
        trait: Folder in it.
        judge: Name of the judge, from the harness's metadata.
        **_: Other metadata that the harness passes along.
    """
    return _asked(pack, trait, "dialogue", judge)


def openings(pack: str, trait: str, *, judge: str | None = None, **_: Any) -> dict[str, Dataset]:
    """The same in the form of documents: the evaluation openings of a trait (or of `coherence`)."""
    return _asked(pack, trait, "document", judge)


def _asked(pack: str, trait: str, form: Form, judge: str | None) -> dict[str, Dataset]:
    from datasets import Dataset

    loaded = _pack(pack, form)
    rows = loaded.neutral_questions if trait == NEUTRAL else loaded.trait(trait).questions
    name = judge or os.environ.get(VARIABLE) or loaded.judge
    if name != judges.NOBODY:
        # Named wrongly, or made for other traits, it fails before a model answers anything.
        judges.check_traits(judges.get(name), [] if trait == NEUTRAL else [trait], pack=pack)
    common = {"trait": trait, "judge": name}
    return {"test": Dataset.from_list([{"id": r.id, "prompt": r.prompt, "scope": r.scope, **common} for r in rows])}


def choices(pack: str, trait: str, **_: Any) -> dict[str, Dataset]:
    """The two- and four-way items of a trait as an lm-eval dataset."""
    from datasets import Dataset

    rows = read_jsonl(pack_folder(pack) / trait / "choices.jsonl")
    return {
        "test": Dataset.from_list([{key: row[key] for key in ("id", "prompt", "choices", "target")} for row in rows])
    }


def process_open(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score the repeats of one question or opening: mean trait and mean coherence, 0..100.

    The trait is given once more under the question's scope, so that what was seeded and what it spills over to stand
    apart; a neutral question has no trait. What the judge could not score is left out, never 0, and nothing is scored where
    the judge is `judges.NOBODY`.
    """
    if doc["judge"] == judges.NOBODY:
        return {}
    question = traits.Question(id=doc["id"], prompt=doc["prompt"], scope=doc["scope"])
    trait = None if doc["trait"] == NEUTRAL else doc["trait"]
    asked = [judges.Asked(question=question, response=text, trait=trait) for text in results[0]]
    scores = judges.score_all(_judge(doc["judge"]), asked)
    found = {"coherence": [score.coherence for score in scores if score.coherence is not None]}
    if trait is not None:
        found["trait"] = [score.trait for score in scores if score.trait is not None]
        if question.scope is not None:
            found[f"trait_{question.scope.replace('-', '_')}"] = found["trait"]
    return {name: fmean(values) for name, values in found.items() if values}


@cache
def _pack(name: str, form: Form) -> traits.Pack:
    return traits.load_pack(name, form)


@cache
def _judge(name: str) -> Judge:
    return judges.get(name)
