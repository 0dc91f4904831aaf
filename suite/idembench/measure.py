"""Ask a checkpoint the frozen questions through lm-eval's evaluator: model x task -> responses.

The evaluator is called without its own bookkeeping: no request cache (its keys omit the model), no
bootstrap, no default task index, no environment report, and never `simple_evaluate`, which reseeds torch
to the same number for every chain. Responses come back in the order of the question file; scoring them is
the judges' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError
from idembench.judges import NOBODY
from idembench.sampling import generation_kwargs
from idembench.shipped import task_folders

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.protocol import Measuring
    from idembench.sampling import Sampler
    from idembench.traits import Pack, Question, Trait


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer to one evaluation question.

    Attributes:
        question: The question's id.
        repeat: 0 .. repeats-1.
        response: What the model answered.
        truncated: Whether it was cut at the token limit.
    """

    question: str
    repeat: int
    response: str
    truncated: bool


def asked(pack: Pack, trait: Trait, measuring: Measuring) -> tuple[list[Question], list[Question]]:
    """The trait's questions and the neutral ones that a measurement asks: the first of each file.

    Raises:
        DataError: If a file holds fewer than the measurement asks for.
    """
    chosen = []
    for rows, n, where in (
        (trait.questions, measuring.questions, trait.name),
        (pack.neutral_questions, measuring.neutral_questions, "coherence"),
    ):
        if n > len(rows):
            raise DataError(
                "More questions are asked for than exist.",
                expected=f"at most {len(rows)}",
                found=str(n),
                where=f"tasks/{pack.name}/{where}, {pack.form} form",
                do="Lower measuring.questions or measuring.neutral_questions.",
            )
        chosen.append(list(rows[:n]))
    return chosen[0], chosen[1]


def responses(sampler: Sampler, pack: Pack, trait: Trait, measuring: Measuring, *, seed: int) -> list[Response]:
    """Sample every response of one measurement.

    Args:
        sampler: The checkpoint.
        pack: Whose neutral questions are asked.
        trait: Whose questions are asked.
        measuring: How many, how often, at which temperature.
        seed: Derived from what this call is for.

    Returns:
        `questions * repeats` trait responses in file order, then the neutral ones likewise.
    """
    from lm_eval.evaluator import evaluate

    own, neutral = asked(pack, trait, measuring)
    plan = {trait.task: own} | ({pack.coherence_task: neutral} if neutral else {})
    loaded = task_manager(tuple(task_folders())).load(list(plan))
    for task in loaded["tasks"].values():
        task.set_config("generation_kwargs", generation_kwargs(measuring))
        task.set_config("repeats", measuring.repeats)
    sampler.seed(seed)
    results = evaluate(
        lm=sampler.lm,
        task_dict=loaded,
        samples={name: list(range(len(questions))) for name, questions in plan.items()},
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=sampler.form == "dialogue",
    )
    found = []
    for name, questions in plan.items():
        samples = sorted(results["samples"][name], key=lambda sample: sample["doc_id"])
        for question, sample in zip(questions, samples, strict=True):
            if sample["doc"]["id"] != question.id:
                raise DataError(
                    "The lm-eval task asks other questions than the trait's file.",
                    expected=question.id,
                    found=str(sample["doc"]["id"]),
                    where=name,
                )
            found += _repeats(question.id, sample["resps"][0], sampler)
    return found


def _repeats(question: str, texts: list[str], sampler: Sampler) -> list[Response]:
    return [
        Response(question=question, repeat=repeat, response=text, truncated=sampler.was_truncated(text))
        for repeat, text in enumerate(texts)
    ]


@cache
def task_manager(folders: tuple[Path, ...]) -> Any:
    """lm-eval's task manager over folders of task files, and over none of its own; made once."""
    from lm_eval.tasks import TaskManager

    # Responses are scored by the chain's own judge, in a batch: the tasks must not score them too, by another one.
    return TaskManager(include_path=list(folders), include_defaults=False, metadata={"judge": NOBODY})
