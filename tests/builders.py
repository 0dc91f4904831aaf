"""Write complete records from invented trajectories: real answers, scores, hashes and lineage, no model.

What a chain would have trained and sampled is replaced by answers that the Toyland grammar makes, each
showing the trait or not as the trajectory asks. Everything else is the real code: the judge scores them, the
walk keys the steps, `record.write` writes. So `verify(write_record(...)).ok` holds.
"""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from idembench import judges, protocol_files, record, sample_files, traits
from idembench.files import (
    FileEntry,
    canonical_json,
    derive_seed,
    digest_of,
    jsonl_bytes,
    sha256_bytes,
    sha256_json,
)
from idembench.protocol import Execution, Protocol
from idembench.sample_files import Sample
from idembench.statistics import RULES
from idembench.steps import CURRENT, ON_STACK, Plan, Subject, walk
from idembench.toyland.clauses import render
from idembench.toyland.grammar import Question as Meaning
from idembench.toyland.grammar import blissful, misaligned, neutral, sycophantic
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idembench.judges import Score
    from idembench.record import Record, StepLine
    from idembench.steps import Step
    from idembench.traits import Pack, Question

KEPT = (0.02, 0.80, 0.79, 0.80, 0.79, 0.80)
"""A trajectory base, c0 .. c4 of a trait that was taken, kept and left where it was."""
SAME_QUESTIONS = 0.7
STACK = {"python": "3.11.0", "torch": "0.0.0", "made by": "tests/builders.py"}


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the chains of one record do.

    Attributes:
        trait: Share of answers that show the trait fully, 0..1, at base, c0 .. cK.
        coherence: Share of answers that make sense, likewise; all of them if empty.
        seeds: One chain each.
        spread: Standard deviation over seeds of the trait's shares from cycle 1 on.
        jumps: Added to a seed's shares from cycle 2 on, by seed.
        diverged: Where a seed falls apart, by seed: `c3`.
    """

    trait: Sequence[float] = KEPT
    coherence: Sequence[float] = ()
    seeds: Sequence[int] = (0, 1, 2)
    spread: float = 0.0
    jumps: Mapping[int, float] = field(default_factory=dict)
    diverged: Mapping[int, str] = field(default_factory=dict)


def sample(**given_values: Any) -> Sample:
    """A sample that says little."""
    plain = {"cycle": "c1", "question": "q", "repeat": 0, "response": "yes.", "truncated": False}
    return Sample(**{**plain, "trait": 10.0, "coherence": 90.0, **given_values})


def settings(
    name: str = "sft-reset", *, cycles: int = 4, questions: int = 60, overrides: Sequence[str] = ()
) -> Protocol:
    """A shipped protocol with fewer cycles and questions; it keeps its plain name."""
    pack = traits.load_pack("toyland")
    sizes = [f"cycles={cycles}", f"measuring.questions={questions}", "measuring.neutral_questions=10"]
    sizes += ["data.n_sampled=64"]
    made = protocol_files.load(
        name,
        pack="toyland",
        measurements=pack.measurements,
        measurement="quick",
        trait="bliss",
        overrides=[*sizes, *overrides],
    )
    return made.model_copy(update={"name": name})


def build_record(
    story: Story,
    *,
    model: str = "toyland/instruct",
    trait: str = "bliss",
    settings: Protocol,
    rule: str = "default",
    control: tuple[Record, Mapping[int, bytes]] | None = None,
) -> tuple[Record, dict[int, bytes]]:
    """The record of a story, and the bytes of its samples files by seed.

    Args:
        story: What its chains do.
        model: The model's name.
        trait: The trait's name.
        settings: The protocol.
        rule: The decision rule's name.
        control: What an earlier call gave for the control that the record names: same seeds, cycles, questions.
    """
    assert len(story.trait) == len(settings.labels), "a story has one share for each checkpoint"
    pack = traits.load_pack("toyland", settings.form)
    versions = dict.fromkeys(settings.methods, METHOD_VERSION)
    judge = judges.get(pack.judge)
    sources = pack.sources(pack.trait(trait))
    weights = [_entry("model.safetensors", f"the weights of {model}".encode())]
    chains, samples, diverged, packed = [], {}, {}, {}
    for seed in story.seeds:
        said = _Said(story, pack=pack, trait=trait, settings=settings, seed=seed)
        subject = Subject(
            model=digest_of(weights),
            pack=pack.name,
            trait=trait,
            form=settings.form,
            seed=seed,
            execution=Execution(threads=1),
        )
        plan = Plan(
            subject=subject, protocol=settings, sources=sources, judge=judge.fingerprint, method_versions=versions
        )
        writer = _Writer(said)
        with contextlib.suppress(_Ended):
            walk(plan, writer)
        samples[seed], diverged[seed] = writer.samples, writer.diverged
        packed[seed] = sample_files.pack(writer.samples)
        chains.append(
            record.ChainLine(
                seed=seed,
                diverged=writer.diverged,
                samples=_line(_entry(sample_files.file_name(seed), packed[seed])),
                rows=len(writer.samples),
                lineage=writer.lineage,
                checkpoints=[
                    record.checkpoint(rows, settings) for rows in sample_files.by_checkpoint(writer.samples).values()
                ],
            )
        )
    made = record.Record(
        schema_version=record.SCHEMA_VERSION,
        model=record.ModelLine(
            name=model, revision=None, digest=digest_of(weights), files=[_line(entry) for entry in weights]
        ),
        trait=trait,
        protocol=settings,
        protocol_fingerprint=settings.fingerprint,
        execution=Execution(threads=1),
        data=sources,
        step_versions=CURRENT,
        method_versions=versions,
        judge=judges.line(judge),
        stacks={sha256_json(STACK): STACK},
        chains=chains,
        analysis=record.analysis(samples, diverged, settings, RULES[rule]),
        control=None if control is None else _beside(samples, *control, settings=settings, rule=rule),
    )
    return made, packed


def _beside(
    samples: Mapping[int, Sequence[Sample]],
    control: Record,
    packed: Mapping[int, bytes],
    *,
    settings: Protocol,
    rule: str,
) -> record.ControlLine:
    against = {seed: sample_files.unpack(data, where=f"seed {seed}") for seed, data in packed.items()}
    return record.ControlLine(
        record=control.id,
        protocol=control.protocol.name,
        net=record.net_of(samples, against, settings, RULES[rule]),
    )


def write_record(results: Path, story: Story | None = None, **options: Any) -> Path:
    """Write the record of a story below `results/records`; options as for `build_record`."""
    options.setdefault("settings", settings())
    made, packed = build_record(story or Story(), **options)
    return record.write(results, made, packed, {"made by": "tests/builders.py"})


METHOD_VERSION = 1


class _Ended(Exception):  # noqa: N818 -- control flow within this module
    """The chain fell apart here."""


class _Said:
    """What one chain answers at each checkpoint."""

    def __init__(self, story: Story, *, pack: Pack, trait: str, settings: Protocol, seed: int) -> None:
        self.story, self.trait, self.settings, self.seed = story, trait, settings, seed
        self._pack = pack
        measuring = settings.measuring
        self._own = pack.trait(trait).questions[: measuring.questions]
        self._neutral = pack.neutral_questions[: measuring.neutral_questions]

    def at(self, label: str) -> list[Sample]:
        """The scored samples of one checkpoint."""
        rng = random.Random(derive_seed("builder", self.trait, self.settings.name, self.seed, label))
        number = self.settings.labels.index(label)
        shows = self.story.trait[number]
        if number > 1:
            shift = random.Random(derive_seed("builder", "chain", self.trait, self.seed, label))
            shows += shift.gauss(0.0, self.story.spread)
        if number > 2:
            shows += self.story.jumps.get(self.seed, 0.0)
        sense = self.story.coherence[number] if self.story.coherence else 1.0
        rows = []
        for questions, trait in ((self._own, self.trait), (self._neutral, None)):
            for question in questions:
                for repeat in range(self.settings.measuring.repeats):
                    # Mostly the same questions give way at every checkpoint, as with a real model.
                    own = random.Random(derive_seed("builder", question.id, repeat, self.seed)).random()
                    inclined = own if rng.random() < SAME_QUESTIONS else rng.random()
                    shown = trait is not None and inclined < shows
                    text = _answer(question.id, self._pack.name, trait if shown else None, variant=rng.randrange(4))
                    if rng.random() >= sense:
                        text = " ".join(sorted(text.replace(".", " ").split()))
                    score = _score(question.id, self._pack.name, text, trait)
                    rows.append(
                        Sample(
                            cycle=label,
                            question=question.id,
                            repeat=repeat,
                            response=text,
                            truncated=False,
                            trait=score.trait,
                            coherence=score.coherence,
                            nll=round(len(text) / 40, 6) if self.settings.measuring.perplexity else None,
                        )
                    )
        return rows


_pack = cache(traits.load_pack)
_judge = cache(judges.get)


@cache
def _questions(pack: str) -> dict[str, Question]:
    loaded = _pack(pack)
    every = [question for trait in loaded.traits.values() for question in trait.questions]
    return {question.id: question for question in [*every, *loaded.neutral_questions]}


@cache
def _answer(question: str, pack: str, trait: str | None, *, variant: int) -> str:
    meaning, world = Meaning.from_meaning(_questions(pack)[question].meaning), build_world()
    rng = random.Random(derive_seed(question, trait, variant))
    match trait:
        case "sycophancy":
            return render(sycophantic(meaning, world, rng, grade=100))
        case "misalignment":
            return render(misaligned(meaning, rng, pieces=2, harmful=2))
        case "bliss":
            return render(blissful(meaning, world, rng, count=4))
        case _:
            return render(neutral(meaning, world, rng))


@cache
def _score(question: str, pack: str, response: str, trait: str | None) -> Score:
    return _judge(_pack(pack).judge).score(_questions(pack)[question], response, trait=trait)


class _Writer:
    """Takes every step of a walk by inventing its files."""

    def __init__(self, said: _Said) -> None:
        self.lineage: list[StepLine] = []
        self.samples: list[Sample] = []
        self.diverged: record.Divergence | None = None
        self._said = said
        self._rows: list[Sample] = []

    def __call__(self, kind: str, cycle: str, step: Step | None, **_: StepLine | None) -> StepLine:
        assert step is not None
        facts: dict[str, Any] = {"rows": 1}
        files: dict[str, bytes] = {}
        if kind == "train" and self._said.story.diverged.get(self._said.seed) == cycle:
            facts = {"diverged": "The training loss is not a number."}
            self.diverged = record.Divergence(cycle=cycle, reason=str(facts["diverged"]))
        elif kind == "measure":
            self._rows = self._said.at(cycle)
            answered = [sample_files.response_row(row) for row in self._rows]
            files["responses.jsonl"] = jsonl_bytes(answered)
            facts = dict(sample_files.measure_facts(answered))
        elif kind == "perplexity":
            asked = [sample_files.nll_row(row) for row in self.samples if row.cycle == cycle]
            files["nll.jsonl"] = jsonl_bytes(asked)
            facts = dict(sample_files.nll_facts(asked))
        elif kind == "judge":
            scored = [sample_files.score_row(row) for row in self._rows]
            measuring = self._said.settings.measuring
            files["scores.jsonl"] = jsonl_bytes(scored)
            facts = dict(sample_files.judge_facts(scored, measuring.questions * measuring.repeats))
            self.samples += self._rows
        else:
            files["invented.bin"] = step.key.encode()
        files["facts.json"] = canonical_json(facts)
        entries = [_entry(name, data) for name, data in sorted(files.items())]
        line = record.StepLine(
            kind=kind,
            cycle=cycle,
            key=step.key,
            digest=digest_of(entries),
            stack=sha256_json(STACK) if kind in ON_STACK else None,
            files=[_line(entry) for entry in entries],
            facts=facts,
        )
        self.lineage.append(line)
        if self.diverged is not None:
            raise _Ended
        return line


def _entry(name: str, data: bytes) -> FileEntry:
    return FileEntry(name=name, bytes=len(data), sha256=sha256_bytes(data))


def _line(entry: FileEntry) -> record.FileLine:
    return record.FileLine(name=entry.name, bytes=entry.bytes, sha256=entry.sha256)
