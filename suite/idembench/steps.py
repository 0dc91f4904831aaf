"""The pure steps of a chain, as data: what each depends on, and the key that follows from it.

    base ──measure──judge
    seed ──train── c0 ──measure──judge
      c0 ──generate──train── c1 ──measure──judge      reset: c1 is trained from base
      c1 ──generate──train── c2 ...                   continual: c2 is trained from c1

A step's key is the SHA-256 of its kind, its version and its inputs. Inputs name parents by the *digest of
their content*, so a chain of keys is a hash chain over everything that was trained on, sampled and
measured. The same walk serves the chain, which makes the steps, and the verifier, which checks that a
record's keys follow from what the record says. The only module that knows about cycles. Knows nothing about how a step is carried out.

The protocol's fingerprint is deliberately no input: two protocols that agree on a step share it, which is
why reset and continual chains train one cycle 0 between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from pydantic import Field

from idembench.files import derive_seed, sha256_json
from idembench.protocol import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idembench.protocol import Data, Execution, Measuring, Sampling, Training
    from idembench.protocol import Protocol as ProtocolSettings

ON_STACK = ("train", "generate", "measure")
"""Kinds of steps whose bits depend on the stack."""


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Sources(Frozen):
    """The SHA-256 of every file that a chain draws from or is asked; `tasks` is that of the lm-eval task files."""

    demonstrations: Sha256
    prompts: Sha256
    questions: Sha256
    neutral_questions: Sha256
    tasks: Sha256


class StepVersions(Frozen):
    """The version of each kind of step; raise one when the code behind it makes something else of the same inputs.

    A record holds those it was made with, so that its keys can be followed after any of them was raised.
    """

    seed: Annotated[int, Field(ge=1)] = 1
    train: Annotated[int, Field(ge=1)] = 1
    generate: Annotated[int, Field(ge=1)] = 1
    measure: Annotated[int, Field(ge=1)] = 1
    judge: Annotated[int, Field(ge=1)] = 1


CURRENT = StepVersions()
"""The versions of this installation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that is to be found or made.

    Attributes:
        kind: `seed`, `train`, `generate`, `measure` or `judge`.
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
        seed: The chain's seed, counted by people from 0.
        execution: What only changes the bits.
        versions: Versions of the kinds of steps.
    """

    model: str
    pack: str
    trait: str
    seed: int
    execution: Execution
    versions: StepVersions = CURRENT

    def _step(self, kind: str, cycle: str, inputs: Mapping[str, Any]) -> Step:
        return Step(kind=kind, cycle=cycle, inputs=inputs, version=getattr(self.versions, kind))

    def derive(self, purpose: str, cycle: str) -> int:
        """The torch seed of one call; the protocol is no part of it, so arms are paired by seed."""
        return derive_seed(purpose, self.pack, self.trait, self.seed, cycle)

    def seeding(self, *, demonstrations: str, data: Data) -> Step:
        """Draw the demonstrations of cycle 0 from the pool named by its SHA-256."""
        inputs = {
            "pack": self.pack,
            "trait": self.trait,
            "demonstrations": demonstrations,
            "n": data.n_seed,
            "seed": self.seed,
        }
        return self._step("seed", "c0", inputs)

    def generation(self, *, cycle: int, adapter: str, prompts: str, data: Data, sampling: Sampling) -> Step:
        """Let the generation before `cycle` answer that cycle's slice of the prompt pool."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "pack": self.pack,
            "prompts": prompts,
            "slice": cycle,
            "n": data.n_sampled,
            "draw": self.seed,
            "sampling": sampling.model_dump(),
            "execution": self.execution.model_dump(),
            "seed": self.derive("generate", f"c{cycle}"),
        }
        return self._step("generate", f"c{cycle}", inputs)

    def training(
        self, *, cycle: int, parent: str | None, rows: str, method: str, method_version: int, training: Training
    ) -> Step:
        """Train one generation on `rows`, from the base model or from the adapter `parent`."""
        inputs = {
            "model": self.model,
            "parent": parent,
            "rows": rows,
            "method": method,
            "method_version": method_version,
            "training": training.model_dump(),
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
            "pack": self.pack,
            "trait": self.trait,
            "questions": questions,
            "neutral_questions": neutral,
            "tasks": tasks,
            "measuring": measuring.model_dump(exclude={"name"}),
            "execution": self.execution.model_dump(),
            "seed": self.derive("measure", label),
        }
        return self._step("measure", label, inputs)

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
        judge: The judge's fingerprint.
        method_version: Version of the method that trains.
    """

    subject: Subject
    protocol: ProtocolSettings
    sources: Sources
    judge: str
    method_version: int


def walk(plan: Plan, take: Take[D]) -> None:
    """Take every step of a chain in order: the whole experiment on one screen."""
    p, subject, sources = plan.protocol, plan.subject, plan.sources

    def measured(label: str, adapter: D | None) -> None:
        step = subject.measurement(
            label=label,
            adapter=adapter.digest if adapter else None,
            questions=sources.questions,
            neutral=sources.neutral_questions,
            tasks=sources.tasks,
            measuring=p.measuring,
        )
        known = label == "base" or adapter is not None
        responses = take("measure", label, step if known else None, adapter=adapter)
        judgement = (
            subject.judgement(
                label=label,
                responses=responses.digest,
                questions=sources.questions,
                neutral=sources.neutral_questions,
                judge=plan.judge,
            )
            if responses
            else None
        )
        take("judge", label, judgement, responses=responses)

    measured("base", None)
    adapter: D | None = None
    for cycle in range(p.cycles + 1):
        label = f"c{cycle}"
        if cycle == 0:
            rows = take("seed", label, subject.seeding(demonstrations=sources.demonstrations, data=p.data))
        else:
            generation = (
                subject.generation(
                    cycle=cycle, adapter=adapter.digest, prompts=sources.prompts, data=p.data, sampling=p.sampling
                )
                if adapter
                else None
            )
            rows = take("generate", label, generation, adapter=adapter)
        parent = adapter if p.mode == "continual" else None
        training = (
            subject.training(
                cycle=cycle,
                parent=parent.digest if parent else None,
                rows=rows.digest,
                method=p.method,
                method_version=plan.method_version,
                training=p.training,
            )
            if rows
            else None
        )
        adapter = take("train", label, training, rows=rows, parent=parent)
        measured(label, adapter)
