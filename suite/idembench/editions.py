"""Editions: frozen, versioned lists of what a model is submitted with; YAML in, cells out.

An edition names protocols, their controls, traits, seeds, judge, execution and decision rule. Its *fingerprint*
covers everything these names resolve to (every setting, the judge, the data files), and stands in the file: an
edition whose protocols or data were changed is refused, not run. An edition never changes; it gets a successor.

No weights are needed to freeze an edition or to tell that it is as it was frozen: the model is no part of it, and a judge
that is a model is named by a whole commit, which stands for its files.

    # Why this edition exists, in one line.
    pack: toyland
    judge: toyland-exact
    traits: [sycophancy, misalignment, bliss]
    seeds: 0..4
    measurement: ranked
    rule: default
    execution: {batch_size: 256, threads: 1}
    arms:
      - {protocol: sft-reset, control: sft-unseeded}
      - {protocol: frozen}
    unconfirmed: [...]      # what whoever runs it first has to find out; no part of the fingerprint
    fingerprint: 3f0c...

Knows nothing about models: the same edition is run on any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from idembench import judges, loading, runs, shipped
from idembench.errors import EnvironmentProblem, ProtocolError, UnknownNameError
from idembench.files import sha256_json
from idembench.grids import parse_seeds
from idembench.models import Model
from idembench.protocol import Execution, Frozen, explain
from idembench.steps import CURRENT, Sha256
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.protocol import Data, Form
    from idembench.runs import Cell, Design
    from idembench.steps import Step


class Arm(Frozen):
    """One protocol of an edition.

    Attributes:
        protocol: A shipped baseline.
        control: The baseline whose chains its records are set beside, or None.
    """

    protocol: str
    control: str | None = None


class Edition(Frozen):
    """A frozen list of cells.

    Attributes:
        name: The file's name without its ending.
        why: Its first comment line.
        pack: The family of traits.
        judge: Name of the judge.
        traits: Traits of the pack.
        seeds: Chains per cell.
        measurement: Of every checkpoint.
        rule: Decision rule by name.
        execution: What only changes the bits.
        arms: What is run.
        unconfirmed: What nobody has found out yet, a sentence each; said before it is run, and no part of the fingerprint.
        fingerprint: SHA-256 of everything these resolve to.
    """

    name: str
    why: str
    pack: str
    judge: str
    traits: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[int], Field(min_length=1)]
    measurement: str
    rule: str
    execution: Execution
    arms: Annotated[list[Arm], Field(min_length=1)]
    unconfirmed: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    fingerprint: Sha256

    @field_validator("seeds", mode="before")
    @classmethod
    def _ranges(cls, seeds: object) -> object:
        return parse_seeds(seeds, where="seeds") if isinstance(seeds, str) else seeds

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise ValueError("seeds are different whole numbers from 0")
        return seeds

    @field_validator("arms")
    @classmethod
    def _once(cls, arms: list[Arm]) -> list[Arm]:
        if twice := [name for name, count in Counter(arm.protocol for arm in arms).items() if count > 1]:
            raise ValueError(f"{', '.join(twice)}: a protocol is an arm once")
        return arms


def load(name: str) -> Edition:
    """One edition by name.

    Raises:
        UnknownNameError: If there is none of that name.
        ProtocolError: If the file does not hold.
    """
    known = shipped.files("editions")
    if name not in known:
        raise UnknownNameError("edition", name, known, where="baselines/editions")
    path = known[name]
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ProtocolError("An edition is a mapping.", found=type(content).__name__, where=str(path))
    if fixed := sorted({"name", "why"} & content.keys()):
        raise ProtocolError(
            "An edition's name is its file's, and why it exists is its first comment.",
            found=", ".join(fixed),
            where=str(path),
        )
    try:
        return Edition.model_validate({**content, "name": name, "why": shipped.purpose(path)})
    except ValidationError as error:
        raise ProtocolError("An edition does not hold.", found="; ".join(explain(error)), where=str(path)) from error


def designs(edition: Edition) -> list[Design]:
    """Everything that is asked of a model, in the order of the file; no model and no judge is looked for.

    Raises:
        IdembenchError: See `runs.designs`.
    """
    # One for all arms: a judge that is a model loads its weights once.
    judge = judges.get(edition.judge, offline=True)
    return [
        design
        for arm in edition.arms
        for design in runs.designs(
            [arm.protocol],
            pack=edition.pack,
            trait_names=edition.traits,
            measurement=edition.measurement,
            rule=edition.rule,
            control=arm.control,
            judge=judge,
        )
    ]


def frozen(edition: Edition) -> list[Design]:
    """The same, if it is what it was when it was frozen.

    Raises:
        ProtocolError: If the edition's fingerprint is not that of what its names resolve to here.
        IdembenchError: See `runs.designs`.
    """
    asked = designs(edition)
    here = fingerprint(edition, asked)
    if here != edition.fingerprint:
        raise ProtocolError(
            "This edition is not what it was when it was frozen.",
            expected=f"fingerprint {edition.fingerprint}",
            found=here,
            where=f"baselines/editions/{edition.name}.yaml and what it names",
            do="Undo the change of its protocols, data or judge, or freeze a successor under a new name.",
        )
    return asked


def cells(
    edition: Edition,
    asked: Sequence[Design] | None = None,
    *,
    models: Mapping[Form, str] | None = None,
    fetch: bool = True,
) -> list[Cell]:
    """What a model is submitted with. The judge is not looked for: see `runs.ready`.

    Args:
        edition: The edition.
        asked: What `frozen` says of it, or the part of that which is to be run; found out if None.
        models: The model for each form of text; arms of a form without one are left out. None for the pack's own.
        fetch: See `runs.Design.cell`.

    Raises:
        EnvironmentProblem: If the edition's device is not here, before any model is looked for.
        IdembenchError: See `frozen` and `models.resolve`.
    """
    asked = frozen(edition) if asked is None else asked
    try:
        loading.check_device(edition.execution)
    except EnvironmentProblem as error:
        error.where = f"edition {edition.name}, which fixes its device"
        error.do = "Run it where torch can use one such device; of several GPUs CUDA_VISIBLE_DEVICES shows one."
        raise
    return [
        design.cell(
            None if models is None else models[design.protocol.form],
            seeds=edition.seeds,
            execution=edition.execution,
            fetch=fetch,
        )
        for design in asked
        if models is None or design.protocol.form in models
    ]


def fingerprint(edition: Edition, asked: Sequence[Design]) -> str:
    """SHA-256 of everything that an edition's names resolve to; the model is no part of it.

    Args:
        edition: The edition.
        asked: Its designs.

    Raises:
        ProtocolError: If its judge may change under its name.
    """
    judge = _pinned(edition, asked[0].judge)
    parts: dict[str, Any] = {
        "pack": edition.pack,
        "seeds": edition.seeds,
        "execution": edition.execution.model_dump(),
        "cells": [_frozen(design, judge) for design in asked],
    }
    return sha256_json(parts)


def _pinned(edition: Edition, judge: judges.Judge) -> str:
    found = judges.pinned(judge)
    if found is None:
        raise ProtocolError(
            "This edition's judge may change under its name.",
            expected="a judge that comes with idembench, or hf:OWNER/NAME@COMMIT with all 40 digits of a commit",
            found=judge.name,
            where=f"baselines/editions/{edition.name}.yaml",
            do="Name the commit; a branch, a folder and an endpoint may be something else tomorrow.",
        )
    return found


def _frozen(design: Design, judge: str) -> dict[str, Any]:
    return {
        "protocol": design.protocol.model_dump(),
        "method_versions": design.method_versions,
        "step_versions": CURRENT.model_dump(),
        "trait": design.trait.name,
        "data": design.sources.model_dump(),
        "judge": judge,
        "rule": asdict(design.rule),
        "control": _frozen(design.control, judge) if design.control else None,
    }


# -- what it takes --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an edition takes at most, on any model, if nothing is there yet; what chains are known to share counts once.

    Steps that turn out to make the same bytes of other inputs let what follows be shared too, which nobody knows before.

    Attributes:
        chains: Chains, those of controls included.
        steps: Steps.
        trainings: Generations that are trained.
        sampled: Answers that generations give for others to learn from, those that are to lose included.
        measured: Responses that are measured.
        scores: What the judge gives them: coherence to each, and a score of the trait to those whose question is about it.
    """

    chains: int
    steps: int
    trainings: int
    sampled: int
    measured: int
    scores: int


def cost(edition: Edition, asked: Sequence[Design]) -> Cost:
    """Count what an edition takes; no model and no judge is looked for.

    Args:
        edition: The edition.
        asked: Its designs, or those of them that count.
    """
    stand = Model(name="any", revision=None, folder=Path(), files=())
    chains = {
        spec.id: spec
        for design in asked
        for one in design.with_control
        for spec in replace(one, judge=judges.Absent(edition.judge), control=None)
        .on(stand, seeds=edition.seeds, execution=edition.execution)
        .specs
    }
    steps = {step.key: (step, spec.protocol.data) for spec in chains.values() for step in runs.steps_ahead(spec)}
    asked_of = [step.inputs["measuring"] for step, _ in steps.values() if step.kind == "measure"]
    return Cost(
        chains=len(chains),
        steps=len(steps),
        trainings=sum(step.kind == "train" for step, _ in steps.values()),
        sampled=sum(_sampled(step, data) for step, data in steps.values()),
        measured=sum((of["questions"] + of["neutral_questions"]) * of["repeats"] for of in asked_of),
        scores=sum((2 * of["questions"] + of["neutral_questions"]) * of["repeats"] for of in asked_of),
    )


def _sampled(step: Step, data: Data) -> int:
    """Answers of a step that samples some to learn from; those that are to lose may answer a demonstration's prompt each."""
    match step.kind:
        case "generate":
            return int(step.inputs["n"] * step.inputs["candidates"])
        case "reject":
            return data.n_seed if step.cycle == "c0" else data.n_sampled
        case _:
            return 0
