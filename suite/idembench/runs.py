"""From what a person asks for to records: baselines x traits x seeds, one record per baseline and trait.

The API behind `idembench run` and, through `sweep.py` and `editions.py`, behind whatever makes records. `run` takes
the chains of one cell one after the other; many at a time are `sweep.run_cells`. Knows nothing about terminals.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from idembench import (
    choice_tasks,
    judges,
    loading,
    methods,
    models,
    prompt_pools,
    protocol_files,
    record,
    sample_files,
    task_answers,
    traits,
)
from idembench.chain import ChainRun, answers_prompts, plan_chain, run_chain
from idembench.errors import IdembenchError, InputError
from idembench.files import available_cores, sha256_bytes, sha256_json, user_folder
from idembench.protocol import Execution
from idembench.statistics import RULES
from idembench.steps import walk
from idembench.store import Store
from idembench.timing import Timers
from idembench.work import ChainSpec, TorchEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.chain import Observer, Planned
    from idembench.judges import Judge
    from idembench.models import Model
    from idembench.protocol import Protocol
    from idembench.record import Record
    from idembench.statistics import Rule
    from idembench.steps import AskedTask, Sources, Step
    from idembench.traits import Pack, Pool, Trait
    from idembench.work import Engine


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What becomes one record: the chains of one protocol and trait, one per seed.

    Attributes:
        specs: One chain per seed.
        rule: The decision rule.
        control: The same seeds under the protocol that the record names as its control, or None.
    """

    specs: list[ChainSpec]
    rule: Rule
    control: Cell | None = None

    @property
    def protocol(self) -> Protocol:
        """The protocol they share."""
        return self.specs[0].protocol

    @property
    def trait(self) -> str:
        """The trait's name."""
        return self.specs[0].trait.name

    @property
    def with_control(self) -> list[Cell]:
        """This cell, after its control if it has one."""
        return [*(self.control.with_control if self.control else []), self]

    @property
    def all_specs(self) -> list[ChainSpec]:
        """Every chain that the record needs, those of its control first."""
        return [spec for cell in self.with_control for spec in cell.specs]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A cell that was run.

    Attributes:
        record: Its record.
        folder: Where it was written.
        made: Steps made just now.
        found: Steps found in the store.
        wall_s: Seconds it took, of all its chains added up.
        overhead_share: Share of that outside forward, backward, optimizer step and generate, 0..1, imports left
            out; None if nothing was made.
    """

    record: Record
    folder: Path
    made: int
    found: int
    wall_s: float
    overhead_share: float | None


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is asked of a model: a cell before there is a model to run it on, and before its judge was looked for.

    Attributes:
        protocol: What is done.
        pack: The family of traits, in the protocol's form.
        trait: One of them.
        judge: Who scores.
        rule: The decision rule.
        control: What each record is set beside, or None.
        tasks: What every checkpoint is asked beside.
    """

    protocol: Protocol
    pack: Pack
    trait: Trait
    judge: Judge
    rule: Rule
    control: Design | None = None
    tasks: tuple[AskedTask, ...] = ()

    @property
    def sources(self) -> Sources:
        """Hashes of the data files; of a pool of prompts before the model is known (see `on`)."""
        return self.pack.sources(self.trait)

    @property
    def method_versions(self) -> dict[str, int]:
        """Version of every method that the protocol uses, by name."""
        return {name: methods.get(name).version for name in self.protocol.methods}

    @property
    def with_control(self) -> list[Design]:
        """This design, after its control if it has one."""
        return [*(self.control.with_control if self.control else []), self]

    def on(self, model: Model, *, seeds: Sequence[int], execution: Execution) -> Cell:
        """The cell that it is on a model, a chain for each of the seeds.

        Prompts of somebody's own that spell one of the model's special tokens are left out: see `prompt_pools.without`.

        Raises:
            ModelError: If there is a pool of prompts, and the model's tokenizer cannot be loaded.
            DataError: If nothing is left of it.
        """
        pack, pool = self.pack, self.pack.pool
        if pool is not None:
            pack = replace(pack, pool=prompt_pools.without(pool, _special_tokens(model)))
        specs = [
            ChainSpec(
                model=model,
                pack=pack,
                trait=self.trait,
                protocol=self.protocol,
                execution=execution,
                judge=self.judge,
                seed=seed,
                tasks=self.tasks,
            )
            for seed in sorted(seeds)
        ]
        control = None if self.control is None else self.control.on(model, seeds=seeds, execution=execution)
        return Cell(specs=specs, rule=self.rule, control=control)

    def cell(self, model: str | None = None, *, seeds: Sequence[int], execution: Execution, fetch: bool = True) -> Cell:
        """The same on a model by name.

        Args:
            model: Embedded name, folder or Hub id; the pack's default if None.
            seeds: Chains.
            execution: Device, dtype, batch size, threads.
            fetch: Whether the model may be fetched. Without, for a dry run, a judge that is not on this machine is
                `judges.Absent`.

        Raises:
            IdembenchError: See `models.resolve`.
        """
        asked = self if fetch else self._at_hand()
        return asked.on(_resolved(model or self.pack.default_model, fetch=fetch), seeds=seeds, execution=execution)

    def _at_hand(self) -> Design:
        control = None if self.control is None else self.control._at_hand()  # noqa: SLF001 -- its own kind
        return replace(self, judge=judges.at_hand(self.judge), control=control)


def cells(
    baselines: Sequence[str],
    *,
    trait_names: Sequence[str] = (),
    model: str | None = None,
    seeds: Sequence[int] = (0,),
    pack: str | None = None,
    measurement: str | None = None,
    overrides: Sequence[str] = (),
    execution: Execution | None = None,
    rule: str = "default",
    control: str | None = None,
    judge: str | None = None,
    tasks: Sequence[str] = (),
    prompts: str | None = None,
    fetch: bool = True,
) -> list[Cell]:
    """Resolve names to cells; nothing is trained yet.

    Args:
        baselines: See `designs`.
        trait_names: See `designs`.
        model: Embedded name, folder or Hub id; the pack's default if None.
        seeds: Chains per cell.
        pack: Family of traits; None for that of the baselines.
        measurement: See `designs`.
        overrides: See `designs`.
        execution: Device, dtype, batch size, threads.
        rule: See `designs`.
        control: See `designs`.
        judge: See `designs`.
        tasks: See `designs`.
        prompts: See `designs`.
        fetch: Whether the model's files and the judge's may be fetched; without, for a dry run, see `Design.cell`. Data
            that `tasks` and `prompts` name are fetched all the same, because what would be found depends on them.

    Raises:
        IdembenchError: If a name is unknown or something does not hold; see each resolver.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError("Seeds must be different whole numbers from 0.", found=", ".join(map(str, seeds)) or "none")
    # In this order: what costs nothing to find out is found out before anything is fetched, be it data, a judge or a model.
    run = execution or Execution()
    loading.check_device(run)
    asked = designs(
        baselines,
        trait_names=trait_names,
        pack=pack or protocol_files.pack_of(baselines, model=model),
        measurement=measurement,
        overrides=overrides,
        rule=rule,
        control=control,
        judge=judge,
        tasks=tasks,
        prompts=prompts,
    )
    for design in asked[:1] if fetch else ():
        _ready(design.judge)
    return [design.cell(model, seeds=seeds, execution=run, fetch=fetch) for design in asked]


def ready(cells: Sequence[Cell]) -> None:
    """Make sure that the judges of cells can be asked here; what they need is fetched.

    Raises:
        IdembenchError: If one cannot; see `judges.ready`.
    """
    for judge in {id(spec.judge): spec.judge for cell in cells for spec in cell.all_specs}.values():
        _ready(judge)


def _ready(judge: Judge) -> None:
    try:
        judges.ready(judge)
    except IdembenchError as error:
        error.where = f"the judge {judge.name}" + (f": {error.where}" if error.where else "")
        raise


def designs(
    baselines: Sequence[str],
    *,
    pack: str,
    trait_names: Sequence[str] = (),
    measurement: str | None = None,
    overrides: Sequence[str] = (),
    rule: str = "default",
    control: str | None = None,
    judge: Judge | str | None = None,
    tasks: Sequence[str] = (),
    prompts: str | None = None,
) -> list[Design]:
    """Resolve names to what is asked of a model; no model and no judge is looked for, but the data of tasks and prompts are.

    Args:
        baselines: Names of shipped protocols, or paths of YAML files.
        pack: Family of traits.
        trait_names: Traits of the pack; all of them if empty.
        measurement: `quick` or `ranked`; None for the protocol's own, or `quick`.
        overrides: `key.path=value`, applied to every baseline.
        rule: Decision rule by name.
        control: Name of the protocol whose chains each record is set beside, seed by seed.
        judge: Who scores, by name or as it is: weights that it loads are loaded once for all that have the same. The pack's if None.
        tasks: lm-eval tasks that every checkpoint is asked beside, by name; `NAME:N` is the first N items.
        prompts: What generations answer instead of the pack's own prompts, see `prompt_pools.read`. A control whose
            generations answer none is without them, so that no record states a pool that nothing used.

    Raises:
        IdembenchError: If a name is unknown or something does not hold; see each resolver.
    """
    for what, listed in (("baseline", baselines), ("trait", trait_names)):
        if twice := sorted({name for name in listed if list(listed).count(name) > 1}):
            raise InputError(f"A {what} is named twice.", found=", ".join(twice), do="Name each once.")
    headers = traits.load_pack(pack)
    if rule not in RULES:
        raise InputError("There is no such decision rule.", expected=" or ".join(RULES), found=rule)
    names = [headers.trait(name).name for name in (trait_names or headers.traits)]
    named = headers.judge if judge is None else judge
    scorer = judges.get(named, offline=True) if isinstance(named, str) else named
    judges.check_traits(scorer, names, pack=pack)

    def settings(baseline: str, trait: str, overrides: Sequence[str] = overrides) -> Protocol:
        loaded = protocol_files.load(
            baseline,
            pack=pack,
            measurements=headers.measurements,
            document_measurements=headers.document_measurements,
            measurement=measurement,
            trait=trait,
            overrides=overrides,
        )
        return methods.settle(loaded)

    asked = [(name, settings(name, trait), trait) for name in baselines for trait in names]
    if prompts is not None:
        _check_answering([(name, one) for name, one, _ in asked])
    pool = None if prompts is None else prompt_pools.read(prompts)

    def design(one: Protocol, trait: str, against: Design | None) -> Design:
        own = _pack(pack, one.form)
        if pool is not None and answers_prompts(one):
            own = replace(own, pool=pool)
        return Design(
            protocol=one,
            pack=own,
            trait=own.trait(trait),
            judge=scorer,
            rule=RULES[rule],
            control=against,
            tasks=choice_tasks.resolve(tasks, form=one.form),
        )

    def beside(one: Protocol, trait: str) -> Design | None:
        if control is None:
            return None
        # What a control says itself is what makes it one: an override of the arm leaves that alone.
        own = protocol_files.own_settings(control, pack=pack)
        against = settings(control, trait, [o for o in overrides if o.partition("=")[0].strip() not in own])
        _check_control(one, against)
        return design(against, trait, None)

    return [design(one, trait, beside(one, trait)) for _, one, trait in asked]


def _check_answering(protocols: Sequence[tuple[str, Protocol]]) -> None:
    """Refuse prompts for what answers none; each protocol stands beside the name that was given for it."""
    if idle := dict.fromkeys(name for name, one in protocols if not answers_prompts(one)):
        raise InputError(
            "There is nothing to answer prompts here.",
            expected="baselines whose generations learn from own outputs",
            found=", ".join(idle),
            where="--prompts",
            do="Run what is named above without --prompts.",
        )


def _check_control(one: Protocol, against: Protocol) -> None:
    """Refuse a control whose scores could not be set beside the chains' own, before anything is trained."""
    if one.fingerprint == against.fingerprint:
        raise InputError(
            "A protocol cannot be its own control.", found=against.name, do="See `idembench ls baselines`."
        )
    for name in ("form", "cycles", "measuring"):
        expected, found = getattr(one, name), getattr(against, name)
        if expected != found:
            raise InputError(
                "A control does not fit the protocol that it is to stand beside.",
                expected=f"{name}: {expected}",
                found=f"{name}: {found}",
                where=f"{one.name} beside {against.name}",
                do="Give both the same form, cycles and measurement.",
            )


# Listing a model's files hashes them, and a pack's data is read once; neither changes while cells are resolved.
_pack = cache(traits.load_pack)
_resolved = cache(models.resolve)
_special_tokens = cache(loading.special_tokens)


@dataclass(frozen=True, slots=True)
class _Stand:
    """Stands for a step that is not there yet: its digest follows from its key, as a real one's does."""

    digest: str


def steps_ahead(spec: ChainSpec) -> list[Step]:
    """Every step of a chain in order, without making any: chains share those whose keys are alike.

    The keys are no real ones, because parents' contents are not known yet.
    """
    ahead: list[Step] = []

    def take(kind: str, cycle: str, step: Step | None, **_: _Stand | None) -> _Stand:
        if step is None:
            raise AssertionError(f"{kind} {cycle}: every parent of this walk is there")
        ahead.append(step)
        return _Stand(sha256_json([step.key]))

    walk(spec.plan, take)
    return ahead


def plan(cell: Cell, *, store: Path | None = None, mixed_stack: bool = False) -> dict[int, list[Planned]]:
    """A dry run: which steps each seed's chain would find."""
    where = Store(store or user_folder() / "store")
    return {spec.seed: plan_chain(spec, where, mixed_stack=mixed_stack) for spec in cell.specs}


def run(
    cell: Cell,
    *,
    results: Path,
    observer: Observer,
    store: Path | None = None,
    engine: Engine | None = None,
    mixed_stack: bool = False,
) -> Finished:
    """Run a cell and write its record.

    Args:
        cell: What to run.
        results: Results folder; the record goes below `results/records`.
        observer: Who is told what happens.
        store: Step store; the user's cache folder if None.
        engine: Trains and samples; torch if None.
        mixed_stack: Accept steps that another stack made.

    Raises:
        IdembenchError: See `chain.run_chain`.
    """
    start = time.perf_counter()
    where = Store(store or user_folder() / "store")
    chains = [
        run_chain(spec, where, engine=engine or TorchEngine(), observer=observer, mixed_stack=mixed_stack)
        for spec in cell.all_specs
    ]
    return finish(cell, chains, results=results, chains_s=time.perf_counter() - start)


def finish(cell: Cell, chains: Sequence[ChainRun], *, results: Path, chains_s: float) -> Finished:
    """Write the record of finished chains, and before it that of its control.

    Args:
        cell: What was run.
        chains: Its chains, in the order of `cell.all_specs`.
        results: Results folder; the record goes below `results/records`.
        chains_s: Seconds the chains took, added up.
    """
    start = time.perf_counter()
    beside = None
    own = chains[len(chains) - len(cell.specs) :]
    if cell.control is not None:
        of_control = chains[: len(cell.control.specs)]
        beside = build(cell.control, of_control)[0], of_control
        finish(cell.control, of_control, results=results, chains_s=0.0)
    built, samples, answers = build(cell, own, beside)
    made = sum(one.made for one in chains)
    timers = Timers()
    for one in chains:
        timers.merge(one.timers)
    wall_s = chains_s + time.perf_counter() - start
    folder = record.write(results, built, samples, _provenance(made, timers, wall_s), answers=answers)
    return Finished(
        record=built,
        folder=folder,
        made=made,
        found=sum(len(one.lineage) for one in chains) - made,
        wall_s=wall_s,
        overhead_share=timers.overhead_share(total_s=wall_s) if made else None,
    )


def build(
    cell: Cell, runs: Sequence[ChainRun], control: tuple[Record, Sequence[ChainRun]] | None = None
) -> tuple[Record, dict[int, bytes], dict[int, bytes]]:
    """The record of finished chains, and by seed the bytes of its samples files and of its answers files.

    Args:
        cell: What was run.
        runs: Its chains, in order of seeds.
        control: The record of its control, and the chains of that.

    Raises:
        RecordError: If the control has other seeds or was measured otherwise.
    """
    spec = cell.specs[0]
    samples = {one.seed: sample_files.pack(one.samples) for one in runs}
    answers = {one.seed: task_answers.pack(one.answers) for one in runs} if spec.tasks else {}
    lines = [
        one.line(
            spec.protocol,
            _file(sample_files.file_name(one.seed), samples[one.seed]),
            _file(task_answers.file_name(one.seed), answers[one.seed]) if answers else None,
        )
        for one in runs
    ]
    built = record.Record(
        schema_version=record.SCHEMA_VERSION,
        model=record.ModelLine(
            name=spec.model.name,
            revision=spec.model.revision,
            digest=spec.model.digest,
            files=record.file_lines(spec.model.files),
        ),
        trait=spec.trait.name,
        protocol=spec.protocol,
        protocol_fingerprint=spec.protocol.fingerprint,
        execution=spec.execution,
        data=spec.sources,
        step_versions=spec.subject.versions,
        method_versions=spec.method_versions,
        judge=judges.line(spec.judge),
        stacks={digest: parts for one in runs for digest, parts in one.stacks.items()},
        chains=lines,
        analysis=record.analysis(
            {one.seed: one.samples for one in runs},
            {one.seed: one.diverged for one in runs},
            spec.protocol,
            cell.rule,
        ),
        control=_beside(cell, runs, *control) if control else None,
        pool=_pool_line(spec.pack.pool),
        tasks=list(spec.tasks),
    )
    return built, samples, answers


def _file(name: str, data: bytes) -> record.FileLine:
    return record.FileLine(name=name, bytes=len(data), sha256=sha256_bytes(data))


def _pool_line(pool: Pool | None) -> record.PoolLine | None:
    if pool is None:
        return None
    return record.PoolLine(name=pool.name, prompts=len(pool.prompts), left_out=pool.left_out)


def _beside(cell: Cell, runs: Sequence[ChainRun], of: Record, chains: Sequence[ChainRun]) -> record.ControlLine:
    return record.ControlLine(
        record=of.id,
        protocol=of.protocol.name,
        net=record.net_of(
            {one.seed: one.samples for one in runs},
            {one.seed: one.samples for one in chains},
            cell.protocol,
            cell.rule,
        ),
    )


def _provenance(made: int, timers: Timers, wall_s: float) -> dict[str, object]:
    """Clock, host class and durations: true of this run alone, so never hashed."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "idembench": version("idembench"),
        "host": {"system": platform.system(), "machine": platform.machine(), "cores": available_cores()},
        "steps_made": made,
        "wall_s": round(wall_s, 3),
        "timers_s": {name: round(value, 3) for name, value in sorted(timers.seconds.items())},
    }
