"""Editions: frozen, versioned lists of what a model is submitted with; YAML in, cells out.

An edition names protocols, their controls, traits, seeds, judge, execution and decision rule. Its *fingerprint*
covers everything these names resolve to (every setting, the judge, the data files), and stands in the file: an
edition whose protocols or data were changed is refused, not run. An edition never changes; it gets a successor.

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
    fingerprint: 3f0c...

Knows nothing about models: the same edition is run on any.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from idembench import runs, shipped
from idembench.errors import ProtocolError, UnknownNameError
from idembench.files import sha256_json
from idembench.grids import parse_seeds
from idembench.protocol import Execution, Frozen, explain
from idembench.steps import Sha256
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from idembench.protocol import Form
    from idembench.runs import Cell


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
    fingerprint: Sha256

    @field_validator("seeds", mode="before")
    @classmethod
    def _ranges(cls, seeds: object) -> object:
        return parse_seeds(seeds, where="seeds") if isinstance(seeds, str) else seeds

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


def cells(edition: Edition, *, models: dict[Form, str] | None = None) -> list[Cell]:
    """Everything that a model is submitted with, in the order of the file.

    Args:
        edition: The edition.
        models: The model for each form of text; arms of a form without one are left out. None for the pack's own.

    Raises:
        ProtocolError: If the edition's fingerprint is not that of what its names resolve to here.
        IdembenchError: See `runs.cells`.
    """
    found = _cells(edition, model=None)
    if (judge := found[0].specs[0].judge.name) != edition.judge:
        raise ProtocolError(
            "This edition is judged by another judge than its pack's.",
            expected=edition.judge,
            found=judge,
            where=f"baselines/editions/{edition.name}.yaml",
        )
    here = fingerprint(edition, found)
    if here != edition.fingerprint:
        raise ProtocolError(
            "This edition is not what it was when it was frozen.",
            expected=f"fingerprint {edition.fingerprint}",
            found=here,
            where=f"baselines/editions/{edition.name}.yaml and what it names",
            do="Undo the change of its protocols, data or judge, or freeze a successor under a new name.",
        )
    if models is None:
        return found
    # Arm by arm, each has a cell for every trait.
    forms = [cell.protocol.form for cell in found[:: len(edition.traits)]]
    return [
        cell
        for arm, form in zip(edition.arms, forms, strict=True)
        if form in models
        for cell in _cells(edition.model_copy(update={"arms": [arm]}), model=models[form])
    ]


def _cells(edition: Edition, *, model: str | None) -> list[Cell]:
    return [
        cell
        for arm in edition.arms
        for cell in runs.cells(
            [arm.protocol],
            trait_names=edition.traits,
            model=model,
            seeds=edition.seeds,
            pack=edition.pack,
            measurement=edition.measurement,
            execution=edition.execution,
            rule=edition.rule,
            control=arm.control,
        )
    ]


def fingerprint(edition: Edition, found: list[Cell]) -> str:
    """SHA-256 of everything that an edition's names resolve to; the model is no part of it.

    Args:
        edition: The edition.
        found: Its cells, on any model.
    """
    parts: dict[str, Any] = {
        "pack": edition.pack,
        "seeds": edition.seeds,
        "execution": edition.execution.model_dump(),
        "cells": [_frozen(cell) for cell in found],
    }
    return sha256_json(parts)


def _frozen(cell: Cell) -> dict[str, Any]:
    spec = cell.specs[0]
    return {
        "protocol": cell.protocol.model_dump(),
        "method_versions": spec.method_versions,
        "step_versions": spec.subject.versions.model_dump(),
        "trait": cell.trait,
        "data": spec.sources.model_dump(),
        "judge": spec.judge.fingerprint,
        "rule": asdict(cell.rule),
        "control": _frozen(cell.control) if cell.control else None,
    }
