"""The record: what is published of one or more chains of one protocol, and how it follows from samples.

    records/<owner>__<model>/<trait>/<protocol>/<record id>/
        record.json              canonical JSON; `record id` is its SHA-256
        samples-<seed>.jsonl.gz  every measured response with its scores
        answers-<seed>.jsonl.gz  where lm-eval tasks were asked beside, the likelihoods of all their options
        provenance.json          clock, durations, host class: the one file that is not hashed

`summarise` turns samples into every derived number; the chain calls it to build a record and the verifier
calls it to check one. Nothing here knows torch, lm-eval or a store; a record describes steps by the lines
of their manifests, so that its keys and digests can be followed without the folders they came from.

    Record.model_validate_json(canonical_json(r.model_dump(mode="json"))) == r
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, JsonValue, ValidationError

from idembench import companions, sample_files, task_answers
from idembench.errors import RecordError
from idembench.files import (
    RECORD,
    canonical_json,
    parse_json,
    sha256_bytes,
    sweep_temporary,
    write_bytes,
    write_json,
)
from idembench.protocol import Count, Execution, Frozen, Points, Positive, Protocol, explain
from idembench.statistics import Analysis, NetEffects, Rule, analyse, net_effects
from idembench.steps import BESIDE, AskedTask, Sha256, Sources, StepVersions, extends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from idembench.files import FileEntry
    from idembench.sample_files import Sample
    from idembench.task_answers import Answer
    from idembench.traits import Scope

SCHEMA_VERSION: Literal[1] = 1
PROVENANCE = "provenance.json"
Label = Annotated[str, Field(pattern=r"^(base|c\d+)$")]
Share = Annotated[float, Field(ge=0, le=1)]
_ABSENT: Any = Field(default=None, exclude_if=lambda value: value is None)
"""For what came after the first records: not written where it is None, so that those keep their bytes."""

_EMPTY_MAP: Any = Field(default_factory=dict, exclude_if=lambda value: not value)
_EMPTY_LIST: Any = Field(default_factory=list, exclude_if=lambda value: not value)
"""The same for what is empty."""


class FileLine(Frozen):
    """One line of a manifest: a file, its size and its hash."""

    name: str
    bytes: Count
    sha256: Sha256


class ModelLine(Frozen):
    """The base model: its name for people, its files for machines; `digest` is the hash of their list."""

    name: str
    revision: str | None
    digest: Sha256
    files: list[FileLine]


class JudgeLine(Frozen):
    """Who scored the samples; equal fingerprints mean equal scores.

    Attributes:
        weights: Digest of the model that judges, if it is one whose files are at hand: a model that judges itself is
            no witness, and the record says so (`Record.judged_itself`).
    """

    name: str
    fingerprint: Sha256
    deterministic: bool
    weights: Sha256 | None = None


class RejudgedLine(Frozen):
    """Whose samples were scored anew, without sampling again.

    Attributes:
        record: Id of the record they come from.
        judge: Who scored them there, and was asked where a method chose among candidates.
    """

    record: Sha256
    judge: JudgeLine


class PoolLine(Frozen):
    """The prompts that generations answered, where somebody named others than the pack's own; `data.prompts` is their hash.

    Attributes:
        name: As it was named.
        prompts: Different ones in it.
        left_out: Rows that gave none, counted by reason.
    """

    name: str
    prompts: Positive
    left_out: dict[str, Positive]


class ControlLine(Frozen):
    """The record that this one is set beside, seed by seed.

    Attributes:
        record: Its id.
        protocol: Its protocol's name.
        net: Effects net of it.
    """

    record: Sha256
    protocol: str
    net: NetEffects


class StepLine(Frozen):
    """One step of a chain: its key follows from its inputs, its digest from its files.

    Attributes:
        kind: One of `steps.KINDS`.
        cycle: The checkpoint it belongs to.
        key: SHA-256 of what it was made from.
        digest: SHA-256 of what it contains.
        stack: Digest of the stack that made it; None where that cannot matter.
        files: Its manifest lines.
        facts: The content of its `facts.json`.
    """

    kind: Literal["seed", "generate", "reject", "select", "train", "measure", "task", "perplexity", "judge"]
    cycle: Label
    key: Sha256
    digest: Sha256
    stack: Sha256 | None
    files: list[FileLine]
    facts: dict[str, JsonValue]


class Checkpoint(Frozen):
    """What one checkpoint's responses amount to.

    Attributes:
        cycle: `base`, `c0`, ...
        responses: Responses to the trait's questions.
        trait: Mean trait score over all of them that have one.
        trait_coherent: The same over coherent ones (coherence of at least 50); None if there is none.
        coherent_share: Share of trait responses that are coherent.
        coherence: Mean coherence over trait and neutral responses.
        missing_share: Share of trait responses without a trait score.
        empty_share: Share of all responses that say nothing.
        truncated_share: Share of all responses cut at the token limit.
        repetition: Mean share of word trigrams that occurred before in the same response.
        distinct_2: Mean share of a response's word bigrams that are different ones.
        refusal_share: Share of all responses that open by refusing.
        foreign: Mean share of letters outside ASCII.
        words: Mean length in words.
        trait_in_domain: Mean trait score over the questions that ask for what was seeded; like the next two left out of a
            record where there is none, as in all records of before there were any.
        trait_spill_over: The same over those that ask for what that may spill over to.
        perplexity: Of the responses to the trait's questions under the base model: the exponential of their mean negative
            log-likelihood per token, each response counting once. So it is the geometric mean of their perplexities; the
            arithmetic one that the study took is that of its outliers.
        tasks: Of every lm-eval task that was asked beside, its accuracy: the share of items whose likeliest option is a
            target, of those that the model read whole; None if it read none.
    """

    cycle: Label
    responses: Positive
    trait: Points | None
    trait_coherent: Points | None
    coherent_share: Share
    coherence: Points | None
    missing_share: Share
    empty_share: Share
    truncated_share: Share
    repetition: Share
    distinct_2: Share
    refusal_share: Share
    foreign: Share
    words: Annotated[float, Field(ge=0)]
    trait_in_domain: Points | None = _ABSENT
    trait_spill_over: Points | None = _ABSENT
    perplexity: Annotated[float, Field(ge=1)] | None = _ABSENT
    tasks: dict[str, Share | None] = _EMPTY_MAP


class Divergence(Frozen):
    """Where and why a chain fell apart; its seed is kept, its later checkpoints do not exist."""

    cycle: Label
    reason: str


class ChainLine(Frozen):
    """One chain: its lineage and its checkpoints.

    Attributes:
        seed: The chain's seed.
        diverged: Where it fell apart, or None.
        samples: File with its samples; `bytes` and `sha256` are of the compressed file.
        answers: File with its answers to the tasks that were asked beside; left out where none was.
        rows: Samples in it.
        lineage: Its steps, in the order they were taken.
        checkpoints: One per checkpoint that was measured.
    """

    seed: Count
    diverged: Divergence | None
    samples: FileLine
    answers: FileLine | None = _ABSENT
    rows: Positive
    lineage: list[StepLine]
    checkpoints: list[Checkpoint]


class Record(Frozen):
    """The published result of one or more chains of one protocol on one model and trait.

    `tasks` are the lm-eval tasks that every checkpoint was asked beside; left out where there are none.
    """

    model_config = ConfigDict(title="idembench record")

    schema_version: Literal[1]
    model: ModelLine
    trait: str
    protocol: Protocol
    protocol_fingerprint: Sha256
    execution: Execution
    data: Sources
    step_versions: StepVersions
    method_versions: dict[str, Positive]
    judge: JudgeLine
    stacks: dict[Sha256, dict[str, str]]
    chains: Annotated[list[ChainLine], Field(min_length=1)]
    analysis: Analysis
    control: ControlLine | None
    rejudged: RejudgedLine | None = None
    pool: PoolLine | None = _ABSENT
    tasks: list[AskedTask] = _EMPTY_LIST

    @property
    def id(self) -> str:
        """SHA-256 of the canonical JSON."""
        return sha256_bytes(self.canonical())

    @property
    def judged_itself(self) -> bool:
        """Whether the base model under test scored its own generations: by its weights, or by its name at an endpoint."""
        asked = self.judge.name.partition(":")[2].partition(",")[0].partition("@")[0]
        return self.judge.weights == self.model.digest or asked == self.model.name

    def canonical(self) -> bytes:
        """The bytes of `record.json`."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def place(self) -> Path:
        """Where the record lies below `records/`."""
        return Path(self.model.name.replace("/", "__")) / self.trait / self.protocol.name / self.id


def supersedes(record: Record, other: Record) -> bool:
    """Whether `record` is `other` taken further, so that nothing is lost where it stands for it.

    It continues `other` (see `continues`), and more cycles, more seeds, a control or more asked of lm-eval's tasks make it
    more; none of these may be less: a record that names a control is not superseded by one that names none, or another,
    nor one that was asked a task by one that was not. Of those only one is ranked all the same.
    This follows from the two records alone, so it is not written into one: naming the record that lay beside it
    would make a record's bytes depend on what else a folder holds.
    """
    if other.control and (record.control is None or _baseline(record.control) != _baseline(other.control)):
        return False
    if not all(any(_covers(more, task) for more in record.tasks) for task in other.tasks):
        return False
    more, less = extent(record), extent(other)
    return more != less and all(a >= b for a, b in zip(more, less, strict=True)) and continues(record, other)


def continues(record: Record, other: Record) -> bool:
    """Whether every chain of `other` is one of `record`, or the beginning of one, whatever stands or was asked beside.

    Neither a control nor a task changes a chain, so two records may continue each other. A record never continues one of
    another judge, decision rule or protocol, and one that was scored anew stands beside what it comes from. Chains that
    fell apart in cycle 0 have the same steps whatever would have followed, so settings and cycles are compared too.
    """
    if (record.analysis.rule, record.judge) != (other.analysis.rule, other.judge) or record.rejudged or other.rejudged:
        return False
    ours, theirs = (one.protocol.model_dump(exclude={"name", "cycles"}) for one in (record, other))
    if ours != theirs or record.protocol.cycles < other.protocol.cycles:
        return False
    chains = {line.seed: _steps(line) for line in record.chains}
    return all(line.seed in chains and extends(chains[line.seed], _steps(line)) for line in other.chains)


def _steps(line: ChainLine) -> list[str]:
    # The content too: a training that fell apart and one that did not have the same key.
    return [f"{step.key} {step.digest}" for step in line.lineage if step.kind not in BESIDE]


def _covers(more: AskedTask, task: AskedTask) -> bool:
    """Whether one asks all of the other: the same, or further items of the same version."""
    return more == task or ((more.name, more.version) == (task.name, task.version) and more.items > task.items)


def _baseline(control: ControlLine) -> str:
    # Overridden, cycles included, a protocol has digits of its fingerprint behind its baseline's name.
    return control.protocol.partition("+")[0]


def extent(record: Record) -> tuple[int, int, bool, int]:
    """How far a record goes: its seeds, its cycles, whether it names a control, items of tasks asked beside."""
    asked = sum(task.items for task in record.tasks)
    return len(record.chains), record.protocol.cycles, record.control is not None, asked


def file_lines(entries: Iterable[FileEntry]) -> list[FileLine]:
    """Manifest lines as a record holds them."""
    return [FileLine(name=entry.name, bytes=entry.bytes, sha256=entry.sha256) for entry in entries]


# -- derived numbers ------------------------------------------------------------------------------


def checkpoint(samples: Sequence[Sample], protocol: Protocol, answers: Sequence[Answer] = ()) -> Checkpoint:
    """Summarise the samples of one checkpoint.

    Args:
        samples: All of them, trait rows first.
        protocol: Says how many of them ask about the trait.
        answers: Its answers to the tasks that were asked beside.
    """
    measuring = protocol.measuring
    own = samples[: measuring.questions * measuring.repeats]
    scored = [s.trait for s in own if s.trait is not None]
    coherent = [s for s in own if s.coherence is not None and s.coherence >= companions.COHERENT]
    judged = [s.coherence for s in samples if s.coherence is not None]
    nll = sample_files.mean([s.nll for s in own if s.nll is not None])
    return Checkpoint(
        cycle=samples[0].cycle,
        responses=len(own),
        trait=sample_files.mean(scored),
        trait_coherent=sample_files.mean([s.trait for s in coherent if s.trait is not None]),
        coherent_share=_share(len(coherent), len(own)),
        coherence=sample_files.mean(judged),
        missing_share=_share(len(own) - len(scored), len(own)),
        empty_share=_share(sum(not s.response.strip() for s in samples), len(samples)),
        truncated_share=_share(sum(s.truncated for s in samples), len(samples)),
        repetition=sample_files.mean([companions.repetition(s.response) for s in samples]) or 0.0,
        distinct_2=sample_files.mean([companions.distinct_2(s.response) for s in samples]) or 0.0,
        refusal_share=_share(sum(companions.refusal(s.response) for s in samples), len(samples)),
        foreign=sample_files.mean([companions.foreign(s.response) for s in samples]) or 0.0,
        words=sample_files.mean([float(companions.words(s.response)) for s in samples]) or 0.0,
        trait_in_domain=_scoped(own, "in-domain"),
        trait_spill_over=_scoped(own, "spill-over"),
        perplexity=None if nll is None else round(math.exp(nll), 6),
        tasks=task_answers.accuracies(answers),
    )


def _scoped(samples: Sequence[Sample], scope: Scope) -> float | None:
    return sample_files.mean([s.trait for s in samples if s.scope == scope and s.trait is not None])


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6)


def analysis(
    samples: Mapping[int, Sequence[Sample]],
    diverged: Mapping[int, Divergence | None],
    protocol: Protocol,
    rule: Rule,
) -> Analysis:
    """Effects and statements from the samples of all seeds.

    Args:
        samples: By seed.
        diverged: By seed.
        protocol: Says which checkpoints and how many questions to expect.
        rule: Margin and levels.
    """
    trait, coherence = _scores(samples, protocol)
    labels = protocol.labels
    fell = [diverged[seed] for seed in sorted(samples)]
    return analyse(
        trait,
        coherence,
        rule=rule,
        repeats=protocol.measuring.repeats,
        diverged=[None if d is None else max(0, labels.index(d.cycle) - 1) for d in fell],
    )


def net_of(
    samples: Mapping[int, Sequence[Sample]],
    control: Mapping[int, Sequence[Sample]],
    protocol: Protocol,
    rule: Rule,
) -> NetEffects:
    """Effects of chains net of those of their control.

    Args:
        samples: By seed.
        control: The control's, by seed.
        protocol: Says which checkpoints and how many questions to expect, of both.
        rule: Margin and levels.

    Raises:
        RecordError: If the control has other seeds or was measured otherwise.
    """
    if samples.keys() != control.keys():
        raise RecordError(
            "A control has other seeds than the chains it stands beside.",
            expected=", ".join(map(str, sorted(samples))),
            found=", ".join(map(str, sorted(control))),
        )
    try:
        return net_effects(
            *_scores(samples, protocol), *_scores(control, protocol), rule=rule, repeats=protocol.measuring.repeats
        )
    except ValueError as error:
        raise RecordError(
            "A control was measured otherwise than the chains it stands beside.", found=str(error)
        ) from error


def _scores(
    samples: Mapping[int, Sequence[Sample]], protocol: Protocol
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Trait [S, C, Q] and coherence [S, C, P] by seed, checkpoint and question; NaN where there is no score."""
    seeds = sorted(samples)
    m, labels = protocol.measuring, protocol.labels
    trait = np.full((len(seeds), len(labels), m.questions), np.nan)
    coherence = np.full((len(seeds), len(labels), m.questions + m.neutral_questions), np.nan)
    for s, seed in enumerate(seeds):
        for label, rows in sample_files.by_checkpoint(samples[seed]).items():
            c = labels.index(label)
            trait[s, c] = _per_question([row.trait for row in rows[: m.questions * m.repeats]], m.repeats)
            coherence[s, c] = _per_question([row.coherence for row in rows], m.repeats)
    return trait, coherence


def _per_question(scores: Sequence[float | None], repeats: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean over the repeats that have a score, per question; NaN where none has. Shape [Q]."""
    grid = np.array([np.nan if score is None else score for score in scores], dtype=np.float64).reshape(-1, repeats)
    present = ~np.isnan(grid)
    counts = present.sum(axis=1)
    sums = np.where(present, grid, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


# -- files ----------------------------------------------------------------------------------------


def write(
    results: Path,
    record: Record,
    samples: Mapping[int, bytes],
    provenance: Mapping[str, object],
    *,
    answers: Mapping[int, bytes] | None = None,
) -> Path:
    """Write a record below `results/records`; `record.json` comes last, so a killed write is no record.

    Args:
        results: The results folder.
        record: What to write.
        samples: Bytes of the samples files, by seed.
        provenance: What is known about this run that is not hashed; kept if there is one already.
        answers: Bytes of the answers files, by seed, if tasks were asked beside.

    Returns:
        The record's folder.
    """
    folder = results / "records" / record.place
    sweep_temporary(folder)
    contents = {sample_files.file_name(seed): data for seed, data in samples.items()}
    contents |= {task_answers.file_name(seed): data for seed, data in (answers or {}).items()}
    for name, data in contents.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != data:
            write_bytes(path, data)
    if not (folder / PROVENANCE).exists():
        write_json(folder / PROVENANCE, provenance)
    path = folder / RECORD
    if not path.exists() or path.read_bytes() != record.canonical():
        write_bytes(path, record.canonical())
    return folder


def read(folder: Path) -> Record:
    """Read a record strictly, without checking that it is true (see `verify`).

    Raises:
        DataError: If it is no JSON.
        RecordError: If it is missing or does not hold.
    """
    path = folder / RECORD
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(
            "There is no record here.", expected=RECORD, where=str(folder), do="See `idembench ls records`."
        ) from error
    return parse(data, where=str(path))


def parse(data: bytes, *, where: str) -> Record:
    """Parse the bytes of a `record.json` strictly.

    Raises:
        DataError: If they are no JSON.
        RecordError: If they are no record, or one of a schema this version does not know.
    """
    content = parse_json(data, where=where)
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != SCHEMA_VERSION:
        raise RecordError(
            "This record has another schema.",
            expected=f"schema_version {SCHEMA_VERSION}",
            found=repr(found),
            where=where,
            do="Use the idembench version that wrote it, or a later one.",
        )
    try:
        # From JSON, not Python: strict mode lets lists stand for the tuples of frozen dataclasses only there.
        return Record.model_validate_json(data)
    except ValidationError as error:
        problems = explain(error)
        shown = problems[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])  # noqa: PLR2004
        raise RecordError("A record does not hold.", found="; ".join(shown), where=where) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `record.json`."""
    return Record.model_json_schema()
