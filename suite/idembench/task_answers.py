"""How checkpoints answered the lm-eval tasks that they were asked beside, and the files that steps and records keep it in.

A `task` step writes `answers.jsonl`, one line per item; a record holds the lines of all its steps as
`answers-<seed>.jsonl.gz`. A line names the log-likelihood of every option as lm-eval had it, and which options are the
target, so that accuracy follows from it by lm-eval's own rule. Knows neither lm-eval nor what the options say.

    unpack(pack(answers), where=...) == answers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, with_config

from idembench.files import gzip_bytes, jsonl_bytes, read_jsonl
from idembench.protocol import Count  # noqa: TC001 -- pydantic reads it
from idembench.sample_files import mean, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one checkpoint took one item of a task.

    Attributes:
        cycle: The checkpoint.
        task: The task's name.
        item: The item's number in its data, from 0.
        loglikelihoods: Of every option, in nats; None of an option that was not read whole, or whose likelihood is no
            finite number.
        targets: Numbers of the options that count as right: one, rarely several, none where the data name none that is there.
    """

    cycle: str
    task: str
    item: Count
    loglikelihoods: Annotated[tuple[float | None, ...], Field(min_length=1)]
    targets: tuple[Count, ...]


_ANSWER = TypeAdapter(Answer)


def step_row(answer: Answer) -> dict[str, Any]:
    """The line of `answers.jsonl` that an answer came from."""
    return {"item": answer.item, "loglikelihoods": list(answer.loglikelihoods), "targets": list(answer.targets)}


def read(cycle: str, task: str, path: Path) -> list[Answer]:
    """The answers that a `task` step wrote."""
    return [
        Answer(
            cycle=cycle,
            task=task,
            item=row["item"],
            loglikelihoods=tuple(row["loglikelihoods"]),
            targets=tuple(row["targets"]),
        )
        for row in read_jsonl(path)
    ]


def on_target(loglikelihoods: Sequence[float | None], targets: Sequence[int]) -> bool | None:
    """Whether the likeliest option is a target; of equally likely ones the first counts. None unless all have a likelihood.

    Source: lm-eval 0.4.13, `ConfigurableTask.process_results`: `acc` of `multiple_choice` is `np.argmax(lls) == gold`, or
    `in gold` where several are right.
    """
    known = [value for value in loglikelihoods if value is not None]
    return known.index(max(known)) in targets if len(known) == len(loglikelihoods) else None


def facts(task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str | float | int | None]:
    """What a `task` step says of its lines: how many items, how many of them were read whole, the share on target of these."""
    found = [on_target(row["loglikelihoods"], row["targets"]) for row in rows]
    read_whole = [one for one in found if one is not None]
    return {"task": task, "items": len(rows), "read": len(read_whole), "accuracy": mean(read_whole)}


def accuracies(answers: Iterable[Answer]) -> dict[str, float | None]:
    """By task, the share of items whose likeliest option is a target, of those that were read whole; None of none."""
    by_task: dict[str, list[bool]] = {}
    for answer in answers:
        found = by_task.setdefault(answer.task, [])
        hit = on_target(answer.loglikelihoods, answer.targets)
        if hit is not None:
            found.append(hit)
    return {task: mean(found) for task, found in by_task.items()}


def by_checkpoint(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Answers grouped by checkpoint, in the order they first appear."""
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.cycle, []).append(answer)
    return groups


def file_name(seed: int) -> str:
    """Name of a seed's answers file."""
    return f"answers-{seed}.jsonl.gz"


def row(answer: Answer) -> dict[str, object]:
    """An answer as JSON."""
    return {"cycle": answer.cycle, "task": answer.task, **step_row(answer)}


def pack(answers: Iterable[Answer]) -> bytes:
    """The bytes of an answers file."""
    return gzip_bytes(jsonl_bytes(row(answer) for answer in answers))


def unpack(data: bytes, *, where: str) -> list[Answer]:
    """Read an answers file strictly.

    Raises:
        DataError: If it is no gzip, or too large, or a line is no JSON.
        RecordError: If a line is no answer in canonical JSON; the line is named.
    """
    return read_lines(data, _ANSWER, row, what="An answer", where=where)
