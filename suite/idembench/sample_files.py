"""Samples: every measured response with its scores, and the files that steps and records keep them in.

A `measure` step writes `responses.jsonl`, a `perplexity` step `nll.jsonl`, a `judge` step `scores.jsonl`; a record holds them,
joined line by line, as `samples-<seed>.jsonl.gz`. Here is how one becomes the other and back, so that a verifier can say which bytes a step must
have written. Knows nothing about what samples amount to: that is `record.py`.

    unpack(pack(samples), where=...) == samples
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from idembench.errors import RecordError
from idembench.files import canonical_json, gunzip_bytes, gzip_bytes, jsonl_bytes, parse_json, read_jsonl
from idembench.protocol import Points, explain
from idembench.traits import Scope  # noqa: TC001 -- pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

Line = TypeVar("Line")
HIGHEST_NLL = 500.0
"""Nats per token; a vocabulary of a million tokens, all as likely, has 14."""
LIMIT_BYTES = 1 << 28
"""A file of samples or answers that unpacks to more is refused; ten times what a ranked record of a large model needs."""


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measured response with its scores; trait rows of a checkpoint come before neutral ones.

    Attributes:
        judged: How the judge came to its scores, as canonical JSON: text, so that a table of samples has one type for
            what differs from judge to judge. None where the scores say it all.
        scope: Of a trait's question, whether it asks for what was seeded or for what that may spill over to; None where
            the pack does not tell these apart.
        nll: Mean negative log-likelihood of the response under the base model, in nats per token; None where it was not
            asked for, or there are no tokens to ask about.
    """

    cycle: str
    question: str
    repeat: int
    response: str
    truncated: bool
    trait: Points | None
    coherence: Points | None
    judged: str | None = None
    scope: Scope | None = None
    nll: Annotated[float, Field(ge=0, le=HIGHEST_NLL)] | None = None


_SAMPLE = TypeAdapter(Sample)
_ADDED = ("scope", "nll")
"""Came after the first records: a row names them only where there is something to say, so those still hold."""


def row(sample: Sample) -> dict[str, object]:
    """A sample as JSON."""
    said = {key: getattr(sample, key) for key in Sample.__slots__}
    return {key: value for key, value in said.items() if value is not None or key not in _ADDED}


def join(cycle: str, responses: Path, scores: Path, *, scopes: Mapping[str, Scope | None]) -> list[Sample]:
    """Samples of one checkpoint from the files that its `measure` and `judge` steps wrote.

    Args:
        cycle: The checkpoint.
        responses: What its `measure` step wrote.
        scores: What its `judge` step wrote.
        scopes: Of each question by id.
    """
    return [
        Sample(
            cycle=cycle,
            **answered,
            trait=scored["trait"],
            coherence=scored["coherence"],
            judged=scored.get("judged"),
            scope=scopes[answered["question"]],
        )
        for answered, scored in zip(read_jsonl(responses), read_jsonl(scores), strict=True)
    ]


def with_nll(samples: Sequence[Sample], cycle: str, nll: Path) -> list[Sample]:
    """The same samples, those of one checkpoint with what its `perplexity` step wrote."""
    values = iter([row["nll"] for row in read_jsonl(nll)])
    return [replace(sample, nll=next(values)) if sample.cycle == cycle else sample for sample in samples]


def response_row(sample: Sample) -> dict[str, object]:
    """The line of `responses.jsonl` that a sample came from."""
    return {key: getattr(sample, key) for key in ("question", "repeat", "response", "truncated")}


def score_row(sample: Sample) -> dict[str, object]:
    """The line of `scores.jsonl` that a sample came from."""
    return scores_row(sample.question, sample.repeat, sample.trait, sample.coherence, sample.judged)


def scores_row(
    question: str, repeat: int, trait: float | None, coherence: float | None, judged: str | None
) -> dict[str, object]:
    """A line of `scores.jsonl`; it says how a judge came to its scores only where the judge does."""
    row: dict[str, object] = {"question": question, "repeat": repeat, "trait": trait, "coherence": coherence}
    return row if judged is None else {**row, "judged": judged}


def nll_row(sample: Sample) -> dict[str, object]:
    """The line of `nll.jsonl` that a sample came from."""
    return {"question": sample.question, "repeat": sample.repeat, "nll": sample.nll}


def measure_facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What a `measure` step says of its responses: facts that a verifier can count again."""
    return {
        "responses": len(rows),
        "empty": sum(not row["response"].strip() for row in rows),
        "truncated": sum(row["truncated"] for row in rows),
    }


def judge_facts(rows: Sequence[Mapping[str, Any]], own: int) -> dict[str, float | None]:
    """What a `judge` step says of its scores: mean trait over the first `own` rows, mean coherence over all."""
    return {
        "trait": mean([row["trait"] for row in rows[:own] if row["trait"] is not None]),
        "coherence": mean([row["coherence"] for row in rows if row["coherence"] is not None]),
    }


def nll_facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """What a `perplexity` step says: how many responses it could ask about, and their mean."""
    found = [row["nll"] for row in rows if row["nll"] is not None]
    return {"asked": len(found), "nll": mean(found)}


def mean(values: Sequence[float]) -> float | None:
    """The mean as records state it, to six decimals; None of nothing."""
    return round(sum(values) / len(values), 6) if values else None


def by_checkpoint(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples grouped by checkpoint, in the order they first appear."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.cycle, []).append(sample)
    return groups


def file_name(seed: int) -> str:
    """Name of a seed's samples file."""
    return f"samples-{seed}.jsonl.gz"


def pack(samples: Iterable[Sample]) -> bytes:
    """The bytes of a samples file."""
    return gzip_bytes(jsonl_bytes(row(sample) for sample in samples))


def unpack(data: bytes, *, where: str) -> list[Sample]:
    """Read a samples file strictly.

    Raises:
        DataError: If it is no gzip, or too large, or a line is no JSON.
        RecordError: If a line is no sample in canonical JSON; the line is named.
    """
    return read_lines(data, _SAMPLE, row, what="A sample", where=where)


def read_lines(
    data: bytes, adapter: TypeAdapter[Line], row: Callable[[Line], Mapping[str, object]], *, what: str, where: str
) -> list[Line]:
    """Read a compressed file of canonical JSON lines strictly.

    Args:
        data: The file.
        adapter: What a line has to be.
        row: That as JSON: a line names the same keys.
        what: What a line is, for messages.
        where: The file's name, for messages.

    Raises:
        DataError: If it is no gzip, or too large, or a line is no JSON.
        RecordError: If a line is not that in canonical JSON; the line is named.
    """
    lines = []
    text = gunzip_bytes(data, where=where, limit_bytes=LIMIT_BYTES)
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        content = parse_json(line, where=f"{where}, line {number}")
        try:
            # From JSON: strict mode would ask for an instance in Python.
            read = adapter.validate_json(line)
        except ValidationError as error:
            raise RecordError(
                f"{what} does not hold.", found="; ".join(explain(error)), where=f"{where}, line {number}"
            ) from error
        if content.keys() != row(read).keys() or canonical_json(content) != line:
            raise RecordError(f"{what} is not canonical JSON.", where=f"{where}, line {number}")
        lines.append(read)
    return lines
