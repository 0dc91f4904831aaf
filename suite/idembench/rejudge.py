"""Score a record's stored responses by another judge, without sampling any of them again.

What comes out is a record of its own: the same steps but for those that judge, whose keys name the new judge, and beside
them the record and the judge that the responses had. It names no control, because net effects compare scores of one judge
and the control's are another's: score the control anew too, and read both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from idembench import judges, record, sample_files, task_answers, traits
from idembench.errors import InputError, RecordError
from idembench.files import FileEntry, canonical_json, digest_of, jsonl_bytes, sha256_bytes
from idembench.steps import Step, walk
from idembench.verify import plan_of, verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idembench.judges import Judge
    from idembench.record import ChainLine, Record, StepLine
    from idembench.sample_files import Sample


def rejudge(folder: Path, judge: Judge, *, results: Path) -> tuple[Record, Record, Path]:
    """Write the record of the same responses under another judge.

    Args:
        folder: The record's folder.
        judge: Who scores; what it has loaded serves for the next record too.
        results: Results folder; the new record goes below `results/records`.

    Returns:
        The record as it was, the new one, and where that was written.

    Raises:
        RecordError: If the record does not hold.
        InputError: If this very judge scored it, or it was made for another pack.
        UnknownNameError: If it does not know the record's trait.
    """
    report = verify(folder)
    if not report.ok:
        first = next(problem for check in report.checks for problem in check.problems)
        raise RecordError(
            "This record does not hold, so it is not scored anew.",
            found=first,
            where=str(folder),
            do=f"See `idembench verify {folder}`.",
        )
    old = record.read(folder)
    if judge.fingerprint == old.judge.fingerprint:
        raise InputError(
            "This judge scored this record.", found=judge.name, where=str(folder), do="Name another judge."
        )
    judges.check_traits(judge, [old.trait], pack=old.protocol.pack)
    questions = _questions(old)
    samples = {}
    for line in old.chains:
        where = sample_files.file_name(line.seed)
        rows = sample_files.unpack((folder / where).read_bytes(), where=where)
        samples[line.seed] = _scored(judge, rows, questions)
    packed = {seed: sample_files.pack(rows) for seed, rows in samples.items()}
    chains = [_chain(old, line, judge, samples[line.seed], packed[line.seed]) for line in old.chains]
    new = old.model_copy(
        update={
            "judge": judges.line(judge),
            "chains": chains,
            "analysis": record.analysis(
                samples, {line.seed: line.diverged for line in old.chains}, old.protocol, old.analysis.rule
            ),
            "control": None,
            "rejudged": record.RejudgedLine(record=old.id, judge=_first_judge(old)),
        }
    )
    # What was answered beside has no judge, and stays as it is.
    answers = {
        line.seed: (folder / task_answers.file_name(line.seed)).read_bytes() for line in old.chains if line.answers
    }
    return old, new, record.write(results, new, packed, {"rejudged": True}, answers=answers)


def _first_judge(old: Record) -> record.JudgeLine:
    # A record scored anew a second time still names the judge that its methods asked.
    return old.rejudged.judge if old.rejudged else old.judge


def _questions(old: Record) -> dict[str, tuple[traits.Question, str | None]]:
    pack = traits.load_pack(old.protocol.pack, old.protocol.form)
    trait = pack.trait(old.trait)
    if (trait.questions_sha256, pack.neutral_sha256) != (old.data.questions, old.data.neutral_questions):
        raise RecordError(
            "This record was asked other questions than this installation has.",
            expected=f"the questions of pack {pack.name} as they were",
            do="Score it anew with the version of idembench that made it.",
        )
    return {q.id: (q, old.trait) for q in trait.questions} | {q.id: (q, None) for q in pack.neutral_questions}


def _scored(
    judge: Judge, rows: Sequence[Sample], questions: Mapping[str, tuple[traits.Question, str | None]]
) -> list[Sample]:
    asked = []
    for row in rows:
        question, trait = questions[row.question]
        asked.append(judges.Asked(question=question, response=row.response, trait=trait))
    return [
        replace(row, trait=score.trait, coherence=score.coherence, judged=score.judged)
        for row, score in zip(rows, judges.score_all(judge, asked), strict=True)
    ]


def _chain(old: Record, line: ChainLine, judge: Judge, samples: Sequence[Sample], packed: bytes) -> ChainLine:
    plan = replace(plan_of(old, line), judge=judge.fingerprint, chooser=_first_judge(old).fingerprint)
    groups = sample_files.by_checkpoint(samples)
    own = old.protocol.measuring.questions * old.protocol.measuring.repeats
    taken: list[StepLine] = []

    def take(kind: str, cycle: str, step: Step | None, **_: StepLine | None) -> StepLine | None:
        if step is None or len(taken) == len(line.lineage):
            return None  # the chain fell apart before
        stated = line.lineage[len(taken)]
        taken.append(stated if kind != "judge" else _judged(stated, step, groups[cycle], own))
        return None if "diverged" in stated.facts else taken[-1]

    walk(plan, take)
    name = sample_files.file_name(line.seed)
    return line.model_copy(
        update={
            "samples": record.FileLine(name=name, bytes=len(packed), sha256=sha256_bytes(packed)),
            "lineage": taken,
            "checkpoints": [
                record.checkpoint(rows, old.protocol).model_copy(update={"tasks": stated.tasks})
                for rows, stated in zip(groups.values(), line.checkpoints, strict=True)
            ],
        }
    )


def _judged(stated: StepLine, step: Step, samples: Sequence[Sample], own: int) -> StepLine:
    rows = [sample_files.score_row(sample) for sample in samples]
    facts = sample_files.judge_facts(rows, own)
    contents = {"facts.json": canonical_json(facts), "scores.jsonl": jsonl_bytes(rows)}
    entries = [FileEntry(name=name, bytes=len(data), sha256=sha256_bytes(data)) for name, data in contents.items()]
    return stated.model_copy(
        update={
            "key": step.key,
            "digest": digest_of(entries),
            "files": record.file_lines(entries),
            "facts": facts,
        }
    )
