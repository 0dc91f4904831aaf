"""The pure steps of a chain, as data: what each depends on, and the key that follows from it.

A step's key is the SHA-256 of its kind, its version and its inputs. Inputs name parents by the *digest of
their content*, so a chain of keys is a hash chain over everything that was trained on, sampled and
measured. The same functions serve the chain, which makes the steps, and the verifier, which checks that a
record's keys follow from what the record says. Knows nothing about how a step is carried out.

The protocol's fingerprint is deliberately no input: two protocols that agree on a step share it, which is
why reset and continual chains train one cycle 0 between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idembench.files import derive_seed, sha256_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from idembench.protocol import Data, Execution, Measuring, Sampling, Training

# Raise a kind's version when the code behind it changes what it makes from the same inputs.
VERSIONS = {"seed": 1, "train": 1, "generate": 1, "measure": 1, "judge": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that is to be found or made.

    Attributes:
        kind: `seed`, `train`, `generate`, `measure` or `judge`.
        cycle: The checkpoint it belongs to, for people: `base`, `c0`, ...
        inputs: Everything its outputs depend on, as JSON.
    """

    kind: str
    cycle: str
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """SHA-256 of kind, version and inputs; the cycle's label is not part of it."""
        return sha256_json({"kind": self.kind, "version": VERSIONS[self.kind], "inputs": self.inputs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose chain it is: what stays the same through all cycles.

    Attributes:
        model: Digest of the base model's files.
        pack: Name of the pack.
        trait: Name of the trait.
        seed: The chain's seed, counted by people from 0.
        execution: What only changes the bits.
    """

    model: str
    pack: str
    trait: str
    seed: int
    execution: Execution

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
        return Step(kind="seed", cycle="c0", inputs=inputs)

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
        return Step(kind="generate", cycle=f"c{cycle}", inputs=inputs)

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
        return Step(kind="train", cycle=f"c{cycle}", inputs=inputs)

    def measurement(
        self, *, label: str, adapter: str | None, questions: str, neutral: str, measuring: Measuring
    ) -> Step:
        """Ask one checkpoint the frozen questions."""
        inputs = {
            "model": self.model,
            "adapter": adapter,
            "pack": self.pack,
            "trait": self.trait,
            "questions": questions,
            "neutral_questions": neutral,
            "measuring": measuring.model_dump(exclude={"name"}),
            "execution": self.execution.model_dump(),
            "seed": self.derive("measure", label),
        }
        return Step(kind="measure", cycle=label, inputs=inputs)

    def judgement(self, *, label: str, responses: str, judge: str) -> Step:
        """Score one checkpoint's responses by the judge with this fingerprint."""
        return Step(kind="judge", cycle=label, inputs={"responses": responses, "judge": judge, "trait": self.trait})
