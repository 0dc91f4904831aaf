"""Recompute a record from its samples and follow its hashes, offline, and say everything that is wrong.

Each check has a name and lists all its problems; a check that cannot be made says why and does not pass
silently. What is verified is the tier *recomputed*: arithmetic and lineage hold. That the samples came
from the model is something only a second run can show. Needs no torch, no network, no store.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from idembench import judges, record, sample_files, task_answers, traits
from idembench.checks import Check
from idembench.errors import DataError, IdembenchError, InputError, ProtocolError, UnknownNameError
from idembench.files import (
    RECORD,
    FileEntry,
    canonical_json,
    digest_of,
    sha256_bytes,
    sha256_json,
)
from idembench.shipped import packs
from idembench.statistics import RULES
from idembench.steps import ON_STACK, Plan, Subject, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idembench.judges import Judge
    from idembench.record import ChainLine, FileLine, Record, StepLine
    from idembench.sample_files import Sample
    from idembench.steps import Step
    from idembench.task_answers import Answer

_OTHER_DATA = "this installation has another version of: {}"
# A pack's files do not change while one process verifies a folder of records.
_load_pack = cache(traits.load_pack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What verifying one record found.

    Attributes:
        folder: The record's folder.
        checks: All checks, in the order they were made.
    """

    folder: Path
    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; skipped checks are listed and do not fail."""
        return not any(check.problems for check in self.checks)


def verify(folder: Path) -> Report:
    """Verify one record folder; never raises for what is wrong inside it."""
    read = Check(name="record")
    try:
        data = (folder / RECORD).read_bytes()
        parsed = record.parse(data, where=RECORD)
    except (IdembenchError, OSError) as error:
        read.problems.append(" ".join(str(error).split()))
        return Report(folder=folder, checks=[read])
    if parsed.canonical() != data:
        read.problems.append(f"{RECORD} is not canonical JSON")
    checks = [read, _place(folder, parsed, data), _files(folder, parsed), _settings(parsed)]
    unpacked = Check(name="samples")
    samples = {line.seed: _samples(folder, parsed, line, unpacked) for line in parsed.chains}
    answers = {line.seed: _answers(folder, parsed, line, unpacked) for line in parsed.chains}
    _same_targets(answers, unpacked)
    checks += [unpacked, _lineage(parsed)]
    if unpacked.problems:
        for name in ("responses", "checkpoints", "analysis", "control", "rejudged", "scores", "data"):
            checks.append(Check(name=name, skipped="the samples do not hold"))
    else:
        checks += [
            _responses(parsed, samples, answers),
            _checkpoints(parsed, samples, answers),
            _analysis(parsed, samples),
            _control(folder, parsed, samples),
            _rejudged(folder, parsed),
            _scores(parsed, samples),
            _data(parsed, samples),
        ]
    return Report(folder=folder, checks=checks)


def _place(folder: Path, parsed: Record, data: bytes) -> Check:
    """The folder's name is the record's hash, and the folders above say what it is of."""
    check = Check(name="place")
    place = folder.resolve()
    check.expect("record id", sha256_bytes(data), place.name)
    above = parsed.place.parts[:-1]
    if "records" in place.parts:
        check.expect("path below records/", "/".join(above), "/".join(place.parts[-1 - len(above) : -1]))
    return check


def _files(folder: Path, parsed: Record) -> Check:
    """No file is missing and none is there that the record does not name."""
    check = Check(name="files")
    expected = {RECORD, record.PROVENANCE} | {line.samples.name for line in parsed.chains}
    expected |= {line.answers.name for line in parsed.chains if line.answers}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    check.problems += [f"{name}: missing" for name in sorted(expected - present)]
    check.problems += [f"{name}: not named by the record" for name in sorted(present - expected)]
    return check


def _settings(parsed: Record) -> Check:
    """Fingerprints and digests belong to what they name; thresholds are those of the named rule."""
    check = Check(name="settings")
    check.expect("protocol_fingerprint", parsed.protocol.fingerprint, parsed.protocol_fingerprint)
    check.expect("model.digest", digest_of(_entries(parsed.model.files)), parsed.model.digest)
    for digest, parts in parsed.stacks.items():
        check.expect(f"stacks.{digest[:12]}", sha256_json(parts), digest)
    used = {step.stack for line in parsed.chains for step in line.lineage if step.stack}
    check.expect("stacks used by the lineage", sorted(used), sorted(parsed.stacks))
    rule = parsed.analysis.rule
    check.expect(f"analysis.rule ({rule.name})", RULES.get(rule.name), rule)
    seeds = [line.seed for line in parsed.chains]
    check.expect("seeds in order, each once", sorted(set(seeds)), seeds)
    tasks = [task.name for task in parsed.tasks]
    check.expect("tasks, each once", list(dict.fromkeys(tasks)), tasks)
    return check


def _samples(folder: Path, parsed: Record, line: ChainLine, check: Check) -> list[Sample]:
    """Hashes of the samples file, and that it holds every response exactly once."""
    name = line.samples.name
    check.expect(f"seed {line.seed}, name of the samples file", sample_files.file_name(line.seed), name)
    try:
        data = (folder / sample_files.file_name(line.seed)).read_bytes()
        check.expect(f"{name}, bytes", line.samples.bytes, len(data))
        check.expect(f"{name}, sha256", line.samples.sha256, sha256_bytes(data))
        samples = sample_files.unpack(data, where=name)
    except (IdembenchError, OSError) as error:
        check.problems.append(" ".join(str(error).split()))
        return []
    check.expect(f"{name}, rows", line.rows, len(samples))
    measuring = parsed.protocol.measuring
    groups = sample_files.by_checkpoint(samples)
    labels = _labels(parsed, line)
    check.expect(f"{name}, checkpoints", labels, list(groups))
    check.expect(f"seed {line.seed}, checkpoints", labels, [c.cycle for c in line.checkpoints])
    first: list[str] | None = None
    for label, rows in groups.items():
        questions = [row.question for row in rows[:: measuring.repeats]]
        expected = [(question, repeat) for question in questions for repeat in range(measuring.repeats)]
        asked = measuring.questions + measuring.neutral_questions
        if len(set(questions)) != asked or [(row.question, row.repeat) for row in rows] != expected:
            check.problems.append(
                f"{name}, {label}: expected {asked} questions, each answered {measuring.repeats} times in order"
            )
        first = first or questions
        if questions != first:
            check.problems.append(f"{name}, {label}: other questions than at {labels[0]}")
    return samples


def _labels(parsed: Record, line: ChainLine) -> list[str]:
    """The checkpoints that a chain has measured: all, or those before it fell apart."""
    labels = parsed.protocol.labels
    if line.diverged is not None:
        labels = labels[: labels.index(line.diverged.cycle)] if line.diverged.cycle in labels else []
    return labels


def _answers(folder: Path, parsed: Record, line: ChainLine, check: Check) -> list[Answer]:
    """Hashes of the answers file, and that every checkpoint answered every item of every task once, in order."""
    if line.answers is None or not parsed.tasks:
        check.expect(f"seed {line.seed}, answers to the record's tasks", bool(parsed.tasks), line.answers is not None)
        return []
    name = line.answers.name
    check.expect(f"seed {line.seed}, name of the answers file", task_answers.file_name(line.seed), name)
    try:
        data = (folder / task_answers.file_name(line.seed)).read_bytes()
        check.expect(f"{name}, bytes", line.answers.bytes, len(data))
        check.expect(f"{name}, sha256", line.answers.sha256, sha256_bytes(data))
        answers = task_answers.unpack(data, where=name)
    except (IdembenchError, OSError) as error:
        check.problems.append(" ".join(str(error).split()))
        return []
    expected = {(label, task.name): task.items for label in _labels(parsed, line) for task in parsed.tasks}
    found: dict[tuple[str, str], list[int]] = {}
    for answer in answers:
        found.setdefault((answer.cycle, answer.task), []).append(answer.item)
    check.expect(f"{name}, checkpoints and tasks", list(expected), list(found))
    for (label, task), items in found.items():
        asked = expected.get((label, task), len(items))
        if len(items) != asked or items != list(range(asked)):
            check.problems.append(f"{name}, {label}, {task}: expected its {asked} items, each once and in order")
    return answers


def _same_targets(answers: Mapping[int, Sequence[Answer]], check: Check) -> None:
    """Every checkpoint and seed was given the same options with the same targets."""
    first: dict[tuple[str, int], tuple[int, tuple[int, ...]]] = {}
    for seed, given in answers.items():
        for answer in given:
            shape = len(answer.loglikelihoods), answer.targets
            known = first.setdefault((answer.task, answer.item), shape)
            where = f"seed {seed}, {answer.cycle}, {answer.task}, item {answer.item}"
            check.expect(f"{where}, options and targets", known, shape)


def plan_of(parsed: Record, line: ChainLine) -> Plan:
    """What the walk through one of a record's chains depends on, as the record says."""
    return Plan(
        subject=Subject(
            model=parsed.model.digest,
            pack=parsed.protocol.pack,
            trait=parsed.trait,
            form=parsed.protocol.form,
            seed=line.seed,
            execution=parsed.execution,
            versions=parsed.step_versions,
        ),
        protocol=parsed.protocol,
        sources=parsed.data,
        judge=parsed.judge.fingerprint,
        chooser=parsed.rejudged.judge.fingerprint if parsed.rejudged else None,
        method_versions=parsed.method_versions,
        tasks=parsed.tasks,
    )


def _lineage(parsed: Record) -> Check:
    """Every key follows from the record's settings and the digests before it, every digest from its files."""
    check = Check(name="lineage")
    check.expect("method_versions, one for each method", parsed.protocol.methods, sorted(parsed.method_versions))
    if check.problems:
        return check
    for line in parsed.chains:
        follower = _Follower(line, check)
        with contextlib.suppress(_Ended):
            walk(plan_of(parsed, line), follower)
        follower.close()
    return check


class _Ended(Exception):  # noqa: N818 -- control flow within this module
    """The lineage ends here."""


class _Follower:
    """Walks a chain's steps beside its lineage."""

    def __init__(self, line: ChainLine, check: Check) -> None:
        self._line, self._check, self._next = line, check, 0

    def __call__(self, kind: str, cycle: str, step: Step | None, **_: StepLine | None) -> StepLine:
        if step is None or self._next >= len(self._line.lineage):
            self._check.problems.append(f"seed {self._line.seed}: {kind} {cycle} is missing from the lineage")
            raise _Ended
        found = self._line.lineage[self._next]
        self._next += 1
        where = f"seed {self._line.seed}, {kind} {cycle}"
        self._check.expect(f"{where}, step", (kind, cycle), (found.kind, found.cycle))
        self._check.expect(f"{where}, key", step.key, found.key)
        self._check.expect(f"{where}, digest", digest_of(_entries(found.files)), found.digest)
        facts = canonical_json(found.facts)
        listed = [(line.bytes, line.sha256) for line in found.files if line.name == "facts.json"]
        self._check.expect(f"{where}, facts", [(len(facts), sha256_bytes(facts))], listed)
        if (kind in ON_STACK) != (found.stack is not None):
            self._check.problems.append(f"{where}: names {'no' if found.stack is None else 'a'} stack")
        if "diverged" in found.facts:
            self._check.expect(
                f"seed {self._line.seed}, diverged",
                (cycle, found.facts["diverged"]),
                (self._line.diverged.cycle, self._line.diverged.reason) if self._line.diverged else None,
            )
            raise _Ended
        return found

    def close(self) -> None:
        """Note what the walk did not reach, and a divergence that no step shows."""
        left = self._line.lineage[self._next :]
        self._check.problems += [
            f"seed {self._line.seed}: {line.kind} {line.cycle} is one step too many" for line in left
        ]
        shown = any("diverged" in line.facts for line in self._line.lineage)
        if self._line.diverged is not None and not shown:
            self._check.problems.append(f"seed {self._line.seed}: said to have diverged, but no step did")


def _responses(parsed: Record, samples: dict[int, list[Sample]], answers: dict[int, list[Answer]]) -> Check:
    """The samples are the very responses and scores, and the answers the very ones, that the lineage's steps sealed."""
    check = Check(name="responses")
    own = parsed.protocol.measuring.questions * parsed.protocol.measuring.repeats
    for line in parsed.chains:
        groups = sample_files.by_checkpoint(samples[line.seed])
        unread = groups.keys() - {step.cycle for step in line.lineage if step.kind == "perplexity"}
        check.problems += [
            f"seed {line.seed}, {label}: likelihoods under the base model that no step asked for"
            for label, rows in groups.items()
            if label in unread and any(row.nll is not None for row in rows)
        ]
        for step in line.lineage:
            rows = groups.get(step.cycle, [])
            if "diverged" in step.facts:
                continue
            if step.kind == "measure":
                answered = [sample_files.response_row(row) for row in rows]
                check.expect_step(line.seed, step, "responses.jsonl", answered, sample_files.measure_facts(answered))
            elif step.kind == "perplexity":
                asked = [sample_files.nll_row(row) for row in rows]
                check.expect_step(line.seed, step, "nll.jsonl", asked, sample_files.nll_facts(asked))
            elif step.kind == "judge":
                scored = [sample_files.score_row(row) for row in rows]
                check.expect_step(line.seed, step, "scores.jsonl", scored, sample_files.judge_facts(scored, own))
        _task_steps(check, parsed, line, answers[line.seed])
    return check


def _task_steps(check: Check, parsed: Record, line: ChainLine, answers: Sequence[Answer]) -> None:
    """The answers of a chain are what its `task` steps sealed; the lineage's check says which step is of which task."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for answer in answers:
        groups.setdefault((answer.cycle, answer.task), []).append(task_answers.step_row(answer))
    left = {label: [task.name for task in parsed.tasks] for label in parsed.protocol.labels}
    for step in line.lineage:
        if step.kind == "task" and left.get(step.cycle):
            name = left[step.cycle].pop(0)
            rows = groups.get((step.cycle, name), [])
            check.expect_step(line.seed, step, "answers.jsonl", rows, task_answers.facts(name, rows))


def _checkpoints(parsed: Record, samples: dict[int, list[Sample]], answers: dict[int, list[Answer]]) -> Check:
    """Every checkpoint's numbers follow from its samples and answers."""
    check = Check(name="checkpoints")
    for line in parsed.chains:
        groups = sample_files.by_checkpoint(samples[line.seed])
        answered = task_answers.by_checkpoint(answers[line.seed])
        for stated in line.checkpoints:
            if stated.cycle in groups:
                again = record.checkpoint(groups[stated.cycle], parsed.protocol, answered.get(stated.cycle, ()))
                check.compare(f"seed {line.seed}, {stated.cycle}", again.model_dump(), stated.model_dump())
    return check


def _analysis(parsed: Record, samples: dict[int, list[Sample]]) -> Check:
    """Effects, intervals and statements follow from the samples."""
    check = Check(name="analysis")
    diverged = {line.seed: line.diverged for line in parsed.chains}
    if any(d is not None and d.cycle not in parsed.protocol.labels for d in diverged.values()):
        return Check(name="analysis", problems=["a chain diverged at a checkpoint the protocol does not have"])
    try:
        again = record.analysis(samples, diverged, parsed.protocol, parsed.analysis.rule)
    except (IdembenchError, ValueError) as error:
        check.problems.append(" ".join(str(error).split()))
        return check
    check.compare("analysis", again, parsed.analysis)
    return check


def _control(folder: Path, parsed: Record, samples: dict[int, list[Sample]]) -> Check:
    """Net effects follow from the samples of this record and of its control, which is of the same model and trait."""
    check = Check(name="control")
    if parsed.control is None:
        return check
    beside = _find(folder, parsed.control.record)
    if beside is None:
        check.skipped = f"the control's record {parsed.control.record[:12]} is not here"
        return check
    try:
        control = record.parse((beside / RECORD).read_bytes(), where=str(beside))
        against = {}
        for line in control.chains:
            name = sample_files.file_name(line.seed)
            data = (beside / name).read_bytes()
            check.expect(f"the control's {name}", line.samples.sha256, sha256_bytes(data))
            against[line.seed] = sample_files.unpack(data, where=name)
        check.expect("the control's id", parsed.control.record, control.id)
        check.expect("the control's protocol", parsed.control.protocol, control.protocol.name)
        for name in ("model", "trait", "execution", "data", "judge"):
            check.expect(f"the control's {name}", getattr(parsed, name), getattr(control, name))
        check.expect("the control's measurement", parsed.protocol.measuring, control.protocol.measuring)
        check.expect("the control's cycles", parsed.protocol.cycles, control.protocol.cycles)
        if not check.problems:
            again = record.net_of(samples, against, parsed.protocol, parsed.analysis.rule)
            check.compare("control.net", again, parsed.control.net)
    except (IdembenchError, OSError) as error:
        check.problems.append(" ".join(str(error).split()))
    return check


def _find(folder: Path, record_id: str) -> Path | None:
    """Where another record lies: in the same results folder, or beside this one."""
    place = folder.resolve()
    above = next((parent for parent in place.parents if parent.name == "records"), place.parent)
    return next((path for path in above.rglob(record_id) if (path / RECORD).is_file()), None)


def _scores(parsed: Record, samples: dict[int, list[Sample]]) -> Check:
    """A deterministic judge, asked again, says the same; scores follow from what their judge kept beside them."""
    check = Check(name="scores")
    judge = _offline_judge(parsed, check)
    explaining = judges.explaining(parsed.judge.name)
    if explaining is not None:
        _hold_against(explaining, parsed, samples, check)
    pack = _pack(parsed, check) if judge is not None else None
    if judge is None or pack is None:
        return check
    questions = {q.id: (q, parsed.trait) for q in pack.trait(parsed.trait).questions}
    neutral = {q.id: (q, None) for q in pack.neutral_questions}
    other = _other_data(parsed, pack) & {"questions", "neutral_questions"}
    if other:
        check.skipped = _OTHER_DATA.format(", ".join(sorted(other)))
        return check
    try:
        _judge_again(judge, samples, {**questions, **neutral}, check)
    except (UnknownNameError, DataError) as error:
        check.problems.append(f"{judge.name} scores no such answers: {' '.join(str(error).split())}")
    return check


def _offline_judge(parsed: Record, check: Check) -> judges.Judge | None:
    """The record's judge, if it can be asked again here; else None, and `check` says why."""
    name = parsed.judge.name
    if ":" in name:  # named with a model or an endpoint, which a record must not have us look for
        check.expect("judge.deterministic", False, parsed.judge.deterministic)
        check.skipped = f"whether {name} would say so again: it is not deterministic"
        return None
    try:
        judge = judges.get(name, offline=True)
    except InputError as error:  # unknown here
        check.skipped = error.what
        return None
    check.expect("judge.deterministic", judge.deterministic, parsed.judge.deterministic)
    if not judge.deterministic:
        check.skipped = f"{name} is not deterministic"
    elif judge.fingerprint != parsed.judge.fingerprint:
        check.skipped = f"this installation's {name} is another version than the record's"
    return judge if check.skipped is None else None


def _hold_against(
    kind: type[judges.ExplainingJudge], parsed: Record, samples: dict[int, list[Sample]], check: Check
) -> None:
    """Note where scores do not follow from what was kept beside them."""
    own = parsed.protocol.measuring.questions * parsed.protocol.measuring.repeats
    for seed, every in samples.items():
        for label, rows in sample_files.by_checkpoint(every).items():
            for number, row in enumerate(rows):
                score = judges.Score(trait=row.trait, coherence=row.coherence, judged=row.judged)
                check.problems += [
                    f"seed {seed}, {label}, {row.question}, repeat {row.repeat}: {problem}"
                    for problem in kind.contradictions(score, trait=number < own)
                ]


def _rejudged(folder: Path, parsed: Record) -> Check:
    """What was scored anew is what the record that it names holds: the same steps but for judging, its judge."""
    check = Check(name="rejudged")
    if parsed.rejudged is None:
        return check
    source = _find(folder, parsed.rejudged.record)
    if source is None:
        check.skipped = f"the record that was scored anew, {parsed.rejudged.record[:12]}, is not here"
        return check
    try:
        before = record.parse((source / RECORD).read_bytes(), where=str(source))
    except (IdembenchError, OSError) as error:
        check.problems.append(" ".join(str(error).split()))
        return check
    check.expect("the scored record's id", parsed.rejudged.record, before.id)
    first = before.rejudged.judge if before.rejudged else before.judge
    check.expect("the judge that its methods asked", first, parsed.rejudged.judge)
    for old, new in zip(before.chains, parsed.chains, strict=False):
        sampled = [[step for step in line.lineage if step.kind != "judge"] for line in (old, new)]
        check.expect(f"seed {old.seed}, what was sampled", (old.seed, sampled[0]), (new.seed, sampled[1]))
    check.expect("chains", len(before.chains), len(parsed.chains))
    return check


def _judge_again(
    judge: Judge,
    samples: dict[int, list[Sample]],
    known: Mapping[str, tuple[traits.Question, str | None]],
    check: Check,
) -> None:
    for seed, rows in samples.items():
        for row in rows:
            if row.question not in known:
                check.problems.append(f"seed {seed}, {row.cycle}: there is no question {row.question}")
                continue
            question, trait = known[row.question]
            score = judge.score(question, row.response, trait=trait)
            where = f"seed {seed}, {row.cycle}, {row.question}, repeat {row.repeat}"
            stated = (row.trait, row.coherence)
            if (score.trait, score.coherence) != stated:
                check.problems.append(
                    f"{where}: expected trait and coherence {(score.trait, score.coherence)}, found {stated}"
                )
            check.expect(f"{where}, judged", score.judged, row.judged)


def _data(parsed: Record, samples: dict[int, list[Sample]]) -> Check:
    """The data files are this installation's, and the questions are the first of theirs.

    A record of another version of the data is no wrong one: its lineage still names what it used.
    """
    check = Check(name="data")
    pack = _pack(parsed, check)
    if pack is None:
        return check
    trait = pack.trait(parsed.trait)
    # Prompts that somebody named instead of the pack's are not here; what was sampled on them is in the lineage.
    other = _other_data(parsed, pack) - ({"prompts"} if parsed.pool else set())
    if other:
        check.skipped = _OTHER_DATA.format(", ".join(sorted(other)))
        return check
    measuring = parsed.protocol.measuring
    scopes = {q.id: q.scope for q in [*trait.questions, *pack.neutral_questions]}
    expected = [q.id for q in trait.questions[: measuring.questions]]
    expected += [q.id for q in pack.neutral_questions[: measuring.neutral_questions]]
    for seed, rows in samples.items():
        first = next(iter(sample_files.by_checkpoint(rows).values()), [])
        check.expect(f"seed {seed}, questions", expected, [row.question for row in first[:: measuring.repeats]])
        check.problems += [
            f"seed {seed}, {row.cycle}, {row.question}: expected scope {scopes[row.question]}, found {row.scope}"
            for row in rows
            if row.question in scopes and row.scope != scopes[row.question]
        ]
    return check


def _pack(parsed: Record, check: Check) -> traits.Pack | None:
    """The record's pack with its trait, if it is here, whole, and has the record's form; if not, the check says why."""
    try:
        pack = _load_pack(parsed.protocol.pack, parsed.protocol.form)
        trait = pack.trait(parsed.trait)
        _ = pack.sources(trait), trait.questions, pack.neutral_questions
    except UnknownNameError as error:
        lies = f"in the pack {parsed.protocol.pack}" if parsed.protocol.pack in packs() else "here"
        check.skipped = (
            f"{error.what.removesuffix('.')} {lies}; --tasks names a folder of packs beside the installed ones"
        )
        return None
    except (DataError, ProtocolError) as error:
        check.skipped = " ".join(str(error).split())
        return None
    return pack


def _other_data(parsed: Record, pack: traits.Pack) -> set[str]:
    """Which of the record's data files are of another version than this installation's."""
    here = pack.sources(pack.trait(parsed.trait)).model_dump()
    return {name for name, sha256 in parsed.data.model_dump().items() if here[name] != sha256}


def _entries(lines: Sequence[FileLine]) -> list[FileEntry]:
    return [FileEntry(name=line.name, bytes=line.bytes, sha256=line.sha256) for line in lines]
