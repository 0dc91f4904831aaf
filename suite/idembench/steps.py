"""The pure steps of a chain, as data: what each depends on, and the key that follows from it.

    base ──measure──(task ...)──judge──(perplexity)
    seed ──(reject──select)──train── c0 ──measure──(task ...)──judge──(perplexity)
      c0 ──generate──(reject)──select──train── c1 ──measure──judge      reset: c1 is trained from base
      c1 ──generate──(reject)──select──train── c2 ...                   continual: c2 is trained from c1

`seed` draws demonstrations, `generate` lets a checkpoint answer prompts, `reject` (for methods that learn from
pairs) samples the answers that are to lose, `select` makes training rows of them all. `task` asks a checkpoint an lm-eval
task beside the trait's questions, `perplexity` the base model how likely it finds what was answered. A control leaves
something out: see `Protocol.control`.

A step's key is the SHA-256 of its kind, its version and its inputs. Inputs name parents by the *digest of
their content*, so a chain of keys is a hash chain over everything that was trained on, sampled and
measured. The same walk serves the chain, which makes the steps, and the verifier, which checks that a
record's keys follow from what the record says. The only module that knows about cycles. Knows nothing about how a step is carried out.

The protocol's fingerprint is deliberately no input: two protocols that agree on a step share it, which is
why reset and continual chains train one cycle 0 between them, and those that let the base model lose sample its
answers once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar

from pydantic import Field

from idembench.files import derive_seed, sha256_json
from idembench.protocol import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.protocol import Execution, Form, Learning, Measuring, Sampling
    from idembench.protocol import Protocol as ProtocolSettings

KINDS = ("seed", "generate", "reject", "select", "train", "measure", "task", "judge", "perplexity")
"""Kinds of steps, in the order of a cycle."""
ON_STACK = ("generate", "reject", "train", "measure", "task", "perplexity")
"""Kinds of steps whose bits depend on the stack."""
BESIDE = ("task", "perplexity")
"""Kinds of steps that no other step depends on: a chain that has them is the same chain as one that has not."""


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Sources(Frozen):
    """The SHA-256 of every file that a chain draws from or is asked, in the form of its protocol.

    Attributes:
        demonstrations: What seeds the trait: `demonstrations.jsonl`, or `documents.jsonl`.
        prompts: What the generations answer or continue: `prompts.jsonl`, or `openings.jsonl`.
        questions: What measures the trait: the trait's `questions.jsonl`, or its `openings.jsonl`.
        neutral_questions: The same of `coherence/`.
        tasks: The lm-eval task files.
    """

    demonstrations: Sha256
    prompts: Sha256
    questions: Sha256
    neutral_questions: Sha256
    tasks: Sha256


class AskedTask(Frozen):
    """An lm-eval task that every checkpoint is asked beside the trait's questions; no part of the protocol.

    Attributes:
        name: Its name in lm-eval, in printable ASCII: names from records are shown in terminals.
        version: As its file states it; None where that states none.
        items: How many of its items are asked, the first ones.
        sha256: Of what is asked, in the protocol's form and without any model's chat template: the options of every item,
            each a context and what may follow it, and which of them are the target.
    """

    name: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
    version: str | None
    items: Annotated[int, Field(ge=1)]
    sha256: Sha256


class StepVersions(Frozen):
    """The version of each kind of step.

    A record holds those it was made with, so that its keys can be followed after any of them was raised. What is given here
    is what a record means that leaves one out, so it is never raised here but in `CURRENT`.
    """

    seed: Annotated[int, Field(ge=1)] = 1
    generate: Annotated[int, Field(ge=1)] = 1
    reject: Annotated[int, Field(ge=1)] = 1
    select: Annotated[int, Field(ge=1)] = 1
    train: Annotated[int, Field(ge=1)] = 1
    measure: Annotated[int, Field(ge=1)] = 1
    task: Annotated[int, Field(ge=1, exclude_if=lambda version: version == 1)] = 1
    perplexity: Annotated[int, Field(ge=1, exclude_if=lambda version: version == 1)] = 1
    judge: Annotated[int, Field(ge=1)] = 1


CURRENT = StepVersions()
"""The versions of this installation: raise one, `StepVersions(train=2)`, when its code makes something else of the same inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that is to be found or made.

    Attributes:
        kind: One of `KINDS`.
        cycle: The checkpoint it belongs to, for people: `base`, `c0`, ...
        inputs: Everything its outputs depend on, as JSON.
        version: Version of its kind.
    """

    kind: str
    cycle: str
    inputs: Mapping[str, Any]
    version: int = 1

    @property
    def key(self) -> str:
        """SHA-256 of kind, version and inputs; the cycle's label is not part of it."""
        return sha256_json({"kind": self.kind, "version": self.version, "inputs": self.inputs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose chain it is: what stays the same through all cycles.

    Attributes:
        model: Digest of the base model's files.
        pack: Name of the pack.
        trait: Name of the trait.
        form: What the model is given, dialogues or documents.
        seed: The chain's seed, counted by people from 0.
        execution: What only changes the bits.
        versions: Versions of the kinds of steps.
    """

    model: str
    pack: str
    trait: str
    form: Form
    seed: int
    execution: Execution
    versions: StepVersions = CURRENT

    def _step(self, kind: str, cycle: str, inputs: Mapping[str, Any]) -> Step:
        return Step(kind=kind, cycle=cycle, inputs=inputs, version=getattr(self.versions, kind))

    def derive(self, purpose: str, cycle: str) -> int:
        """The torch seed of one call; the protocol is no part of it, so arms are paired by seed."""
        return derive_seed(purpose, self.pack, self.trait, self.seed, cycle)

    def seeding(self, *, cycle: int, demonstrations: str, after: int, n: int) -> Step:
        """Draw `n` demonstrations from the pool named by its SHA-256, after the first `after` of this seed's order."""
        inputs = {
            "pack": self.pack,
            "trait": self.trait,
            "demonstrations": demonstrations,
            "after": after,
            "n": n,
            "seed": self.seed,
        }
        return self._step("seed", f"c{cycle}", inputs)

    def generation(
        self, *, cycle: int, adapter: str | None, prompts: str, n: int, candidates: int, sampling: Sampling
    ) -> Step:
        """Let the generation before `cycle` answer that cycle's slice of the prompt pool."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "form": self.form,
            **self._slice(prompts, cycle, n),
            "candidates": candidates,
            "sampling": sampling.model_dump(),
            "execution": self.execution.model_dump(),
            "seed": self.derive("generate", f"c{cycle}"),
        }
        return self._step("generate", f"c{cycle}", inputs)

    def rejection(
        self, *, cycle: int, adapter: str | None, prompts: str, n: int, rows: str | None, sampling: Sampling
    ) -> Step:
        """Sample what loses in each pair: answers to the cycle's slice of the pool, or to the prompts of `rows`."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "form": self.form,
            **(self._slice(prompts, cycle, n) if rows is None else {"rows": rows}),
            "sampling": sampling.model_dump(),
            "execution": self.execution.model_dump(),
            "seed": self.derive("reject", f"c{cycle}"),
        }
        return self._step("reject", f"c{cycle}", inputs)

    def _slice(self, prompts: str, cycle: int, n: int) -> dict[str, Any]:
        return {"pack": self.pack, "prompts": prompts, "slice": cycle, "n": n, "draw": self.seed}

    def selection(
        self,
        *,
        cycle: int,
        own: str,
        rejected: str | None,
        demonstrations: str | None,
        plan: Plan,
        learning: Learning,
    ) -> Step:
        """Make a cycle's training rows of what was drawn and sampled for it.

        The method is an input, because it may choose among candidates, and so is the judge, whom it may ask.
        """
        p = plan.protocol
        inputs = {
            "own": own,
            "rejected": rejected,
            "demonstrations": demonstrations,
            "pack": self.pack,
            "trait": self.trait,
            "prompts": plan.sources.prompts,
            "mixed": p.data.original_mix,
            "coherence_filter": p.data.coherence_filter,
            "control": p.control,
            "method": learning.method,
            "method_version": plan.method_versions[learning.method],
            "settings": learning.settings,
            "judge": plan.chooser or plan.judge,
            "seed": self.derive("select", f"c{cycle}"),
        }
        return self._step("select", f"c{cycle}", inputs)

    def training(self, *, cycle: int, parent: str | None, rows: str, method_version: int, learning: Learning) -> Step:
        """Train one generation on `rows`, from the base model or from the adapter `parent`."""
        inputs = {
            "model": self.model,
            "parent": parent,
            "rows": rows,
            "form": self.form,
            "method": learning.method,
            "method_version": method_version,
            "settings": learning.settings,
            "training": learning.training.model_dump(),
            "execution": self.execution.model_dump(),
            "seed": self.derive("train", f"c{cycle}"),
        }
        return self._step("train", f"c{cycle}", inputs)

    def measurement(
        self, *, label: str, adapter: str | None, questions: str, neutral: str, tasks: str, measuring: Measuring
    ) -> Step:
        """Ask one checkpoint the frozen questions."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "form": self.form,
            "pack": self.pack,
            "trait": self.trait,
            "questions": questions,
            "neutral_questions": neutral,
            "tasks": tasks,
            "measuring": measuring.model_dump(exclude={"name", "perplexity"}),
            "execution": self.execution.model_dump(),
            "seed": self.derive("measure", label),
        }
        return self._step("measure", label, inputs)

    def asking(self, *, label: str, adapter: str | None, task: AskedTask) -> Step:
        """Ask one checkpoint an lm-eval task; nothing is drawn, so pack, trait and seed are no part of it."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "form": self.form,
            "task": task.model_dump(),
            "execution": self.execution.model_dump(),
        }
        return self._step("task", label, inputs)

    def perplexity(self, *, label: str, responses: str, questions: str, neutral: str) -> Step:
        """Ask the base model how likely it finds one checkpoint's responses."""
        inputs = {
            "model": self.model,
            "form": self.form,
            "pack": self.pack,
            "trait": self.trait,
            "responses": responses,
            "questions": questions,
            "neutral_questions": neutral,
            "execution": self.execution.model_dump(),
        }
        return self._step("perplexity", label, inputs)

    def judgement(self, *, label: str, responses: str, questions: str, neutral: str, judge: str) -> Step:
        """Score one checkpoint's responses by the judge with this fingerprint.

        The questions are an input of their own: what a question means can change without its text.
        """
        inputs = {
            "responses": responses,
            "pack": self.pack,
            "trait": self.trait,
            "questions": questions,
            "neutral_questions": neutral,
            "judge": judge,
        }
        return self._step("judge", label, inputs)


class Done(Protocol):
    """What the walk needs to know of a step that is there."""

    @property
    def digest(self) -> str:
        """SHA-256 of what it contains."""
        ...


D = TypeVar("D", bound=Done)


class Take(Protocol[D]):
    """What happens when the walk comes to a step: find it, make it, check it, or note that it is unknown."""

    def __call__(self, kind: str, cycle: str, step: Step | None, **parents: D | None) -> D | None:
        """Take one step; `step` is None where a parent is not there, and the answer is None likewise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything the walk depends on.

    Attributes:
        subject: Whose chain it is.
        protocol: What is done.
        sources: Hashes of the data files.
        judge: The fingerprint of the judge that scores.
        chooser: Of the one that methods asked when they chose among candidates; None if it is the same. They differ
            where stored responses were scored anew.
        method_versions: Version of every method that the protocol uses, by name.
        tasks: What every checkpoint is asked beside.
    """

    subject: Subject
    protocol: ProtocolSettings
    sources: Sources
    judge: str
    chooser: str | None = None
    method_versions: Mapping[str, int]
    tasks: Sequence[AskedTask] = ()


def walk(plan: Plan, take: Take[D]) -> None:
    """Take every step of a chain in order."""
    _Walk(plan, take).all()


def steps_of(plan: Plan) -> list[tuple[str, str]]:
    """Kind and checkpoint of every step that the walk takes, in order."""
    asked: list[tuple[str, str]] = []

    def note(kind: str, cycle: str, step: Step | None, **_: Done | None) -> Done | None:
        del step
        asked.append((kind, cycle))
        return None

    _Walk[Done](plan, note).all()
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint(Generic[D]):
    """The base model, or the one that a training made; `known` unless a step before it is not there."""

    adapter: D | None = None
    known: bool = True

    @property
    def digest(self) -> str | None:
        return self.adapter.digest if self.adapter else None


class _Walk(Generic[D]):
    """The whole experiment on one screen."""

    def __init__(self, plan: Plan, take: Take[D]) -> None:
        self._plan, self._take = plan, take
        self._checkpoints: list[_Checkpoint[D]] = [_Checkpoint()]  # base, c0, c1, ...
        self._demonstrations: D | None = None  # of cycle 0
        self._unread: list[tuple[str, D | None]] = []  # responses that the base model is still to read, by checkpoint

    def all(self) -> None:
        """Measure the base model, then train and measure one generation after the other."""
        self._measure("base")
        for cycle in range(self._plan.protocol.cycles + 1):
            self._checkpoints.append(self._train(cycle))
            self._measure(f"c{cycle}")
        self._perplexity()

    def _train(self, cycle: int) -> _Checkpoint[D]:
        p, before = self._plan.protocol, self._checkpoints[-1]
        if (p.control == "unseeded" and cycle == 0) or (p.control == "frozen" and cycle > 0):
            return before
        learning = p.learning(cycle)
        rows = self._rows(cycle, learning)
        self._perplexity()  # only now: the generation before was needed for the rows, and loads once
        parent = before if p.mode == "continual" else self._checkpoints[0]
        step = (
            self._plan.subject.training(
                cycle=cycle,
                parent=parent.digest,
                rows=rows.digest,
                method_version=self._plan.method_versions[learning.method],
                learning=learning,
            )
            if rows
            else None
        )
        adapter = self._take("train", f"c{cycle}", step, rows=rows, parent=parent.adapter)
        return _Checkpoint(adapter=adapter, known=adapter is not None)

    def _rows(self, cycle: int, learning: Learning) -> D | None:
        """What a cycle trains on: demonstrations, or what the generation before says, with all that joins it."""
        p, label = self._plan.protocol, f"c{cycle}"
        drawn = cycle == 0 or p.control == "fresh-data"
        own = self._draw(cycle) if drawn else self._generate(cycle)
        if cycle == 0:
            self._demonstrations = own
            if learning.rejected is None:
                return own
        rejected = self._reject(cycle, learning, own if drawn else None) if learning.rejected else None
        mixes = cycle > 0 and p.data.original_mix > 0
        mixed = self._demonstrations if mixes else None
        whole = own and (rejected or not learning.rejected) and (mixed or not mixes)
        step = (
            self._plan.subject.selection(
                cycle=cycle,
                own=own.digest,
                rejected=rejected.digest if rejected else None,
                demonstrations=mixed.digest if mixed else None,
                plan=self._plan,
                learning=learning,
            )
            if own and whole
            else None
        )
        return self._take("select", label, step, own=own, rejected=rejected, demonstrations=mixed)

    def _draw(self, cycle: int) -> D | None:
        data = self._plan.protocol.data
        step = self._plan.subject.seeding(
            cycle=cycle,
            demonstrations=self._plan.sources.demonstrations,
            after=0 if cycle == 0 else data.n_seed + (cycle - 1) * data.n_sampled,
            n=data.n_seed if cycle == 0 else data.n_sampled,
        )
        return self._take("seed", f"c{cycle}", step)

    def _generate(self, cycle: int) -> D | None:
        p, before = self._plan.protocol, self._checkpoints[-1]
        step = self._plan.subject.generation(
            cycle=cycle,
            adapter=before.digest,
            prompts=self._plan.sources.prompts,
            n=p.data.n_sampled,
            candidates=p.data.candidates,
            sampling=p.sampling,
        )
        return self._take("generate", f"c{cycle}", step if before.known else None, adapter=before.adapter)

    def _reject(self, cycle: int, learning: Learning, drawn: D | None) -> D | None:
        """Samples of the base model, or of the generation before the one that wins (the base in cycles 0 and 1)."""
        p = self._plan.protocol
        loser = self._checkpoints[0 if learning.rejected == "base" else max(0, cycle - 1)]
        asks_rows = cycle == 0 or p.control == "fresh-data"
        step = self._plan.subject.rejection(
            cycle=cycle,
            adapter=loser.digest,
            prompts=self._plan.sources.prompts,
            n=p.data.n_sampled,
            rows=drawn.digest if drawn else None,
            sampling=p.sampling,
        )
        there = loser.known and (drawn is not None or not asks_rows)
        return self._take("reject", f"c{cycle}", step if there else None, adapter=loser.adapter, rows=drawn)

    def _measure(self, label: str) -> None:
        """Ask a checkpoint the frozen questions, and have its answers judged; ask it what is asked beside."""
        at, subject, sources = self._checkpoints[-1], self._plan.subject, self._plan.sources
        step = subject.measurement(
            label=label,
            adapter=at.digest,
            questions=sources.questions,
            neutral=sources.neutral_questions,
            tasks=sources.tasks,
            measuring=self._plan.protocol.measuring,
        )
        responses = self._take("measure", label, step if at.known else None, adapter=at.adapter)
        for task in self._plan.tasks:
            asking = subject.asking(label=label, adapter=at.digest, task=task) if at.known else None
            self._take("task", label, asking, adapter=at.adapter)
        judgement = (
            subject.judgement(
                label=label,
                responses=responses.digest,
                questions=sources.questions,
                neutral=sources.neutral_questions,
                judge=self._plan.judge,
            )
            if responses
            else None
        )
        self._take("judge", label, judgement, responses=responses)
        if self._plan.protocol.measuring.perplexity:
            self._unread.append((label, responses))

    def _perplexity(self) -> None:
        """Let the base model read the responses that it has not read yet."""
        sources = self._plan.sources
        for label, responses in self._unread:
            step = (
                self._plan.subject.perplexity(
                    label=label,
                    responses=responses.digest,
                    questions=sources.questions,
                    neutral=sources.neutral_questions,
                )
                if responses
                else None
            )
            self._take("perplexity", label, step, responses=responses)
        self._unread.clear()


def extends(longer: Sequence[str], shorter: Sequence[str]) -> bool:
    """Whether a chain's keys begin with all of another's: it is the same chain, taken further."""
    return list(longer[: len(shorter)]) == list(shorter)
