"""The loop: one protocol, one model, one trait, one seed, through all its cycles.

The order of steps is `steps.walk`; here each is found in the store or made and sealed there, so the loop
itself keeps nothing: killed anywhere and run again, it ends in the same place. What a step does when it
has to be made is `work.py`'s business.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from idembench import measure, methods, sample_files, stack, task_answers, work
from idembench.errors import ModelError
from idembench.record import (
    ChainLine,
    Divergence,
    FileLine,
    StepLine,
    checkpoint,
    file_lines,
)
from idembench.sample_files import Sample, by_checkpoint
from idembench.steps import ON_STACK, walk
from idembench.timing import Timers

if TYPE_CHECKING:
    from idembench.protocol import Protocol as ProtocolSettings
    from idembench.steps import Step
    from idembench.store import Sealed, Store
    from idembench.task_answers import Answer
    from idembench.work import ChainSpec, Engine


class Observer(Protocol):
    """Who is told what the chain does."""

    def started(self, spec: ChainSpec, step: Step) -> None:
        """A step is being made."""
        ...

    def finished(self, spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        """A step is there, made just now or found."""
        ...


@dataclass(kw_only=True)
class ChainRun:
    """A finished chain.

    Attributes:
        seed: The chain's seed.
        lineage: Its steps, in the order they were taken.
        samples: Every measured response.
        answers: To the tasks that were asked beside.
        diverged: Where it fell apart, or None.
        stacks: The stacks that made its steps, by digest.
        made: Steps that were made, not found.
        timers: Where the time went.
    """

    seed: int
    lineage: list[StepLine] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    diverged: Divergence | None = None
    stacks: dict[str, dict[str, str]] = field(default_factory=dict)
    made: int = 0
    timers: Timers = field(default_factory=Timers)

    def line(self, protocol: ProtocolSettings, samples: FileLine, answers: FileLine | None = None) -> ChainLine:
        """The chain's line in a record, given the files its samples and answers went to."""
        groups, answered = by_checkpoint(self.samples), task_answers.by_checkpoint(self.answers)
        return ChainLine(
            seed=self.seed,
            diverged=self.diverged,
            samples=samples,
            answers=answers,
            rows=len(self.samples),
            lineage=self.lineage,
            checkpoints=[checkpoint(rows, protocol, answered.get(label, ())) for label, rows in groups.items()],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One step of a dry run: would it be found?"""

    kind: str
    cycle: str
    found: bool


class _Stop(Exception):  # noqa: N818 -- control flow within this module
    """The chain ends early; carries why."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.reason)
        self.divergence = divergence


def answers_prompts(protocol: ProtocolSettings) -> bool:
    """Whether any generation of a protocol answers prompts: those of the pack, or of a pool of somebody's own."""
    return protocol.cycles > 0 and protocol.control not in ("fresh-data", "frozen")


def check(spec: ChainSpec) -> None:
    """Ask for all the data a chain will need before anything is trained.

    Raises:
        DataError: If there is not enough.
        UnknownNameError: If its method is not installed.
    """
    data, cycles = spec.protocol.data, spec.protocol.cycles
    if spec.protocol.control == "fresh-data":
        spec.trait.draw_demonstrations(n=data.n_seed + cycles * data.n_sampled, seed=spec.seed)
    else:
        spec.trait.draw_demonstrations(n=data.n_seed, seed=spec.seed)
    if answers_prompts(spec.protocol):
        spec.pack.draw_prompts(cycle=cycles, n=data.n_sampled, seed=spec.seed)
    measure.asked(spec.pack, spec.trait, spec.protocol.measuring)
    for name in spec.protocol.methods:
        methods.get(name)


def plan_chain(spec: ChainSpec, store: Store, *, mixed_stack: bool = False) -> list[Planned]:
    """Which steps a run would find. What follows a missing step cannot be known, and counts as missing.

    Raises:
        StackError: If the run would stop because another stack made a part.
        StoreError: If a part in the store is broken.
    """
    check(spec)
    here = stack.current(spec.execution.device, spec.execution.threads)
    planned: list[Planned] = []

    def take(kind: str, cycle: str, step: Step | None, **_: Sealed | None) -> Sealed | None:
        needed = here if kind in ON_STACK else None
        sealed = store.find(step, stack=needed, mixed=mixed_stack) if step else None
        planned.append(Planned(kind=kind, cycle=cycle, found=sealed is not None))
        if sealed is not None and "diverged" in sealed.facts:
            raise _Stop(Divergence(cycle=cycle, reason=str(sealed.facts["diverged"])))
        return sealed

    with contextlib.suppress(_Stop):
        walk(spec.plan, take)
    return planned


def run_chain(
    spec: ChainSpec, store: Store, *, engine: Engine, observer: Observer, mixed_stack: bool = False
) -> ChainRun:
    """Run one chain to its end, making what the store lacks.

    Raises:
        BusyError: If another process runs the same chain.
        StackError: If a part was made by another stack and `mixed_stack` is false.
        StoreError: If a part in the store is broken.
        DataError: If it asks for more data than there is.
        ModelError: If the base model itself cannot answer.
    """
    check(spec)
    with store.chain_lock(spec.id, what=spec.describe()):
        maker = _Maker(spec, store, engine=engine, observer=observer, mixed_stack=mixed_stack)
        try:
            walk(spec.plan, maker)
        except _Stop as stop:
            maker.run.diverged = stop.divergence
            if stop.divergence.cycle == "base":
                raise ModelError(
                    "The base model cannot answer at all.",
                    found=stop.divergence.reason,
                    where=spec.model.name,
                    do="Check that the model generates text in plain transformers.",
                ) from None
        # Once more: a run that was killed between sealing a step and noting it finds the step here.
        maker.note()
        return maker.run


class _Maker:
    """Takes every step for real: found in the store, or made and sealed there."""

    def __init__(self, spec: ChainSpec, store: Store, *, engine: Engine, observer: Observer, mixed_stack: bool) -> None:
        self.run = ChainRun(seed=spec.seed)
        self._spec, self._store, self._observer, self._mixed = spec, store, observer, mixed_stack
        self._stack = stack.current(spec.execution.device, spec.execution.threads)
        self._worker = work.Worker(spec, engine, self.run.timers)

    def __call__(self, kind: str, cycle: str, step: Step | None, **parents: Sealed | None) -> Sealed:
        """Find or make one step, and add it to the lineage."""
        if step is None:
            raise AssertionError(f"{kind} {cycle}: a real walk has every parent")
        sealed = self._find(step)
        found = sealed is not None
        if sealed is None:
            self._observer.started(self._spec, step)
            with self._store.step_lock(step):
                sealed = self._find(step)
                found = sealed is not None  # made by another process while this one waited
                if sealed is None:
                    sealed = self._make(step, parents)
        self._observer.finished(self._spec, step, sealed.facts, found=found)
        self._add(step, sealed)
        if kind == "task":
            self.run.answers += task_answers.read(cycle, step.inputs["task"]["name"], sealed.folder / work.ANSWERS)
        if kind == "judge":
            self._join(cycle, parents["responses"], sealed)
        if kind == "perplexity":
            self.run.samples = sample_files.with_nll(self.run.samples, cycle, sealed.folder / work.NLL)
        return sealed

    def _join(self, cycle: str, responses: Sealed | None, scores: Sealed) -> None:
        assert responses is not None  # noqa: S101 -- for the type checker; the walk passes it
        self.run.samples += sample_files.join(
            cycle,
            responses.folder / work.RESPONSES,
            scores.folder / work.SCORES,
            scopes={q.id: q.scope for q in [*self._spec.trait.questions, *self._spec.pack.neutral_questions]},
        )

    def _find(self, step: Step) -> Sealed | None:
        return self._store.find(step, stack=self._stack if step.kind in ON_STACK else None, mixed=self._mixed)

    def _make(self, step: Step, parents: dict[str, Sealed | None]) -> Sealed:
        self.run.made += 1
        with self.run.timers.time(f"step.{step.kind}"):
            sealed = self._store.make(
                step,
                lambda out: self._worker.fill(step, parents, out),
                stack=self._stack if step.kind in ON_STACK else None,
            )
        self.note(sealed.key)
        return sealed

    def note(self, *more: str) -> None:
        """Note the steps of the lineage so far, and `more`, as used by this chain."""
        keys = [*(line.key for line in self.run.lineage), *more]
        self._store.note_chain(self._spec.id, what=self._spec.describe(), keys=keys)

    def _add(self, step: Step, sealed: Sealed) -> None:
        if sealed.stack is not None:
            self.run.stacks[sealed.stack.digest] = sealed.stack.parts
        self.run.lineage.append(
            StepLine.model_validate(
                {
                    "kind": step.kind,
                    "cycle": step.cycle,
                    "key": sealed.key,
                    "digest": sealed.digest,
                    "stack": sealed.stack.digest if sealed.stack else None,
                    "files": file_lines(sealed.files),
                    "facts": sealed.facts,
                }
            )
        )
        if "diverged" in sealed.facts:
            raise _Stop(Divergence(cycle=step.cycle, reason=str(sealed.facts["diverged"])))
