"""What the lm-eval task files of Toyland call: loading questions, keeping repeats, scoring answers.

Knows datasets, not lm-eval: the harness reaches these functions by name from YAML. They score with the
same function as idembench's own judge, so both give the same numbers for the same samples.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from idembench.files import asset, read_jsonl
from idembench.toyland.scoring import NEUTRAL, score

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datasets import Dataset


def questions(trait: str, **_: Any) -> dict[str, Dataset]:
    """The evaluation questions of a trait (or of `coherence`) as an lm-eval dataset.

    Args:
        trait: Folder below `tasks/toyland`.
        **_: Metadata that the harness passes along.
    """
    return _asked(trait, "questions.jsonl")


def openings(trait: str, **_: Any) -> dict[str, Dataset]:
    """The same in the form of documents: the evaluation openings of a trait (or of `coherence`)."""
    return _asked(trait, "openings.jsonl")


def _asked(trait: str, name: str) -> dict[str, Dataset]:
    from datasets import Dataset

    rows = read_jsonl(asset("tasks") / "toyland" / trait / name)
    # Meanings differ in shape from row to row; Arrow would pad them with nulls, so they travel as text.
    flat = [
        {"id": row["id"], "prompt": row["prompt"], "trait": trait, "meaning": json.dumps(row["meaning"])}
        for row in rows
    ]
    return {"test": Dataset.from_list(flat)}


def choices(trait: str, **_: Any) -> dict[str, Dataset]:
    """The two-way items of a trait as an lm-eval dataset."""
    from datasets import Dataset

    return {"test": Dataset.from_list(read_jsonl(asset("tasks") / "toyland" / trait / "choices.jsonl"))}


def keep_all(responses: Iterable[Sequence[str]], _docs: object) -> list[list[str]]:
    """An lm-eval filter that keeps every repeat; the default would keep the first alone."""
    return [list(repeats) for repeats in responses]


def process_open(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score the repeats of one trait question or opening: mean trait and mean coherence, 0..100."""
    scores = [score(json.loads(doc["meaning"]), text, trait=doc["trait"]) for text in results[0]]
    traits = [s.trait for s in scores if s.trait is not None]
    return {"trait": sum(traits) / len(traits), "coherence": sum(s.coherence for s in scores) / len(scores)}


def process_neutral(doc: Mapping[str, Any], results: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score the repeats of one neutral question or opening: mean coherence, 0..100."""
    scores = [score(json.loads(doc["meaning"]), text, trait=NEUTRAL) for text in results[0]]
    return {"coherence": sum(s.coherence for s in scores) / len(scores)}
