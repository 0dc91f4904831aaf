"""How many demonstrations a trait takes: `n_seed` for a wanted trait level at cycle 0, searched and never assumed.

    coarse grid 8, 16, 32, ... --> where is each target crossed, beyond noise? --> bisect there --> answers in words

One dose is a chain per replicate seed that ends at cycle 0. Its steps are those with which every longer chain of that
dose and seed begins, so the store makes none twice: later chains find them, and a second calibration finds all.

The study calibrates too (protocol.md, section 4), by binary search over n_seed = 2, 4, 6, ... It assumes that the level
rises with n_seed, takes one training per size and 36 responses to it, has no tolerance, gives the largest size for a level that
is never reached, pads its list with sizes that answer no target, and starts each search where the one before ended; its
cache does not hold the targets it was made for, and those of its main sweeps are lost. Here the whole range is looked at first; a
target is bisected only where several seeds show, beyond their noise, that the curve crosses it, once, upwards; what is not shown
is said instead of a number (`crossings.py`); and `dose-response.json` holds every replicate and every setting. The
reason is the same as there: the response is steep (25 to 75 points within 6 examples), and its place differs from trait to trait.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from idembench import crossings, record, runs
from idembench.crossings import Answer, Point
from idembench.errors import InputError
from idembench.files import user_folder, write_json
from idembench.judges import budget
from idembench.sweep import run_chains, workers_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from idembench.chain import ChainRun
    from idembench.protocol import Execution
    from idembench.runs import Cell
    from idembench.statistics import Checkpoint, Level
    from idembench.steps import Sources
    from idembench.sweep import ChainResult, SweepObserver
    from idembench.work import ChainSpec, Engine

DOCUMENT = "dose-response.json"
FEWEST_REPLICATES = 2
"""One training says nothing of the noise between trainings."""
OWN = ("cycles", "data.n_seed")
"""Settings that a calibration sets itself."""


class Watch(Protocol):
    """Gives the observer of one round of chains, for as long as it is run."""

    def __call__(self, cells: Sequence[Cell]) -> AbstractContextManager[SweepObserver]:
        """Watch the chains of these cells."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """What one number of demonstrations does.

    Attributes:
        n_seed: The number; 0 is the base model.
        trait: Mean trait level over replicates with its 95 % interval, points of 100 (see `statistics.Level`).
        coherence: The same of coherence.
        protocol: Fingerprint of the protocol that was run; None for the base model.
        diverged: Why a replicate fell apart, by seed.
        usable: Whether the level counts: enough of it was measured, and no replicate fell apart.
    """

    n_seed: int
    trait: Level
    coherence: Level
    protocol: str | None
    diverged: Mapping[int, str]
    usable: bool

    @property
    def sd(self) -> float | None:
        """Standard deviation of the level over replicates, in points; None if fewer than two have one."""
        levels = [level for level in self.trait.seeds if level is not None]
        return round(statistics.stdev(levels), 6) if len(levels) > 1 else None

    @property
    def point(self) -> Point | None:
        """The dose as a point of the curve, if it is usable."""
        level = self.trait
        if not self.usable or level.mean is None or level.low is None or level.high is None:
            return None
        return Point(n_seed=self.n_seed, mean=level.mean, low=level.low, high=level.high)


@dataclass(kw_only=True)
class Curve:
    """One trait's dose-response curve, as far as it is known.

    Attributes:
        trait: The trait.
        sources: Hashes of the files that it is drawn from and measured by.
        pool: Demonstrations that there are.
        top: The largest dose that may be tried.
        targets: Levels asked for, in points of 100.
        tolerance: How far from a target a level may be, in points.
        base: The base model.
        doses: Every dose that was tried, by `n_seed`.
        asked: By target, the doses that were tried for it after the coarse grid.
    """

    trait: str
    sources: Sources
    pool: int
    top: int
    targets: Sequence[float]
    tolerance: float
    base: Dose | None = None
    doses: dict[int, Dose] = field(default_factory=dict)
    asked: dict[float, list[int]] = field(default_factory=dict)

    @property
    def every(self) -> list[Dose]:
        """The base model and every dose, in order."""
        return [*([self.base] if self.base else []), *(self.doses[n] for n in sorted(self.doses))]

    @property
    def points(self) -> list[Point]:
        """What of that can be used."""
        return [dose.point for dose in self.every if dose.point is not None]

    def ask(self) -> list[int]:
        """The doses to try next: the coarse grid, then one for every target that one would help; none at the end.

        What is asked for is noted, and has to be entered before asking again.
        """
        if not self.doses:
            return crossings.coarse(self.top)
        for target in self.targets:
            dose = crossings.wanted(self.points, target, tolerance=self.tolerance, tried=self.doses)
            if dose is not None:
                self.asked.setdefault(target, []).append(dose)
        return sorted({dose for doses in self.asked.values() for dose in doses} - self.doses.keys())

    @property
    def answers(self) -> list[Answer]:
        """What can be said of each target."""
        return [crossings.decide(self.points, target, tolerance=self.tolerance) for target in self.targets]

    def evaluations(self, target: float) -> int:
        """Doses that a target's answer rests on: the coarse grid's, and those tried for it."""
        return len(crossings.coarse(self.top)) + len(self.asked.get(target, []))

    @property
    def falls(self) -> list[tuple[Point, Point]]:
        """Neighbouring doses between which the level falls beyond noise."""
        return crossings.falls(self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Curves of one baseline and model, and what they were made with.

    Attributes:
        baseline: The protocol's name, or its file's without the ending.
        overrides: What was set over it.
        spec: A chain of it, for all that doses and traits have in common.
        seeds: The replicates.
        targets: Levels asked for, in points of 100.
        tolerance: How far from a target a level may be, in points.
        most: The largest dose that was allowed.
        curves: One per trait.
        stacks: What made the steps, by digest.
        made: Steps that were made just now.
        asked: Steps of all chains.
    """

    baseline: str
    overrides: Sequence[str]
    spec: ChainSpec
    seeds: Sequence[int]
    targets: Sequence[float]
    tolerance: float
    most: int
    curves: Sequence[Curve]
    stacks: Mapping[str, Mapping[str, str]]
    made: int
    asked: int

    def n_seeds(self, target: float) -> dict[str, int]:
        """The dose for a target by trait, for those that have one: what `data.n_seed` of a protocol takes."""
        found = {}
        for curve in self.curves:
            chosen = next(answer.chosen for answer in curve.answers if answer.target == target)
            if chosen is not None:
                found[curve.trait] = chosen.n_seed
        return found


@budget.of_run()
def calibrate(
    baseline: str,
    *,
    watch: Watch,
    trait_names: Sequence[str] = (),
    targets: Sequence[float] = (10.0, 25.0, 50.0, 75.0),
    replicates: int = 3,
    tolerance: float = 5.0,
    most: int = 400,
    model: str | None = None,
    pack: str | None = None,
    measurement: str | None = None,
    overrides: Sequence[str] = (),
    execution: Execution | None = None,
    judge: str | None = None,
    store: Path | None = None,
    workers: int | None = None,
    mixed_stack: bool = False,
    engine: Engine | None = None,
) -> Calibration:
    """Find, for each trait and target, the `n_seed` whose cycle-0 level is nearest.

    Args:
        baseline: Name of a shipped protocol, or path of a YAML file.
        watch: Who is told what happens, round by round.
        trait_names: Traits of the pack; all of them if empty.
        targets: Trait levels at cycle 0, in points of 100.
        replicates: Seeds per dose: 0, 1, ...; at least `FEWEST_REPLICATES`.
        tolerance: How far from a target a level may be, in points.
        most: The largest dose to try; the number of demonstrations if that is smaller.
        model: See `runs.cells`.
        pack: See `runs.cells`.
        measurement: See `runs.cells`.
        overrides: See `runs.cells`; none of `OWN`.
        execution: See `runs.cells`.
        judge: See `runs.cells`.
        store: Step store; the user's cache folder if None.
        workers: See `sweep.workers_for`.
        mixed_stack: See `sweep.run_chains`.
        engine: See `sweep.run_chains`.

    Raises:
        InputError: If an argument does not hold.
        IdembenchError: If a name is unknown or a setting does not hold, or what stopped a chain.
    """
    _check(targets, replicates=replicates, tolerance=tolerance, most=most, overrides=overrides)
    seeds = range(replicates)

    def cells(dose: int, names: Sequence[str]) -> list[Cell]:
        return runs.cells(
            [baseline],
            trait_names=names,
            model=model,
            seeds=seeds,
            pack=pack,
            measurement=measurement,
            overrides=[*overrides, "cycles=0", f"data.n_seed={dose}"],
            execution=execution,
            judge=judge,
        )

    plain = {cell.trait: cell.specs[0] for cell in cells(1, trait_names)}
    curves = [_curve(spec, targets=sorted(targets), tolerance=tolerance, most=most) for spec in plain.values()]
    stacks: dict[str, Mapping[str, str]] = {}
    made = asked = 0
    while todo := [(curve, cells(dose, [curve.trait])[0]) for curve in curves for dose in curve.ask()]:
        specs = [spec for _, cell in todo for spec in cell.specs]
        with watch([cell for _, cell in todo]) as observer:
            ended = run_chains(
                specs,
                store=store or user_folder() / "store",
                workers=workers_for(specs, workers),
                observer=observer,
                mixed_stack=mixed_stack,
                engine=engine,
            )
        chains = _chains(ended)
        for place, (curve, cell) in enumerate(todo):
            _enter(curve, cell, chains[place * replicates : (place + 1) * replicates])
        for chain in chains:
            stacks.update(chain.stacks)
            made += chain.made
            asked += len(chain.lineage)
    return Calibration(
        baseline=PurePath(baseline).stem if baseline.endswith((".yaml", ".yml")) else baseline,
        overrides=list(overrides),
        spec=next(iter(plain.values())),
        seeds=list(seeds),
        targets=sorted(targets),
        tolerance=tolerance,
        most=most,
        curves=curves,
        stacks=stacks,
        made=made,
        asked=asked,
    )


def parse_targets(text: str) -> list[float]:
    """`10,25,50` as levels.

    Raises:
        InputError: If they are no numbers.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            "The targets cannot be read.", expected="levels such as 10,25,50", found=text, where="--target"
        ) from None


def _check(targets: Sequence[float], *, replicates: int, tolerance: float, most: int, overrides: Sequence[str]) -> None:
    if not targets or len(set(targets)) != len(targets) or not all(0 < target < 100 for target in targets):  # noqa: PLR2004 -- points of 100
        raise InputError(
            "The targets do not hold.",
            expected="different trait levels between 0 and 100",
            found=", ".join(f"{target:g}" for target in targets) or "none",
            where="--target",
        )
    if replicates < FEWEST_REPLICATES:
        raise InputError(
            "One training says nothing of the noise between trainings.",
            expected=f"at least {FEWEST_REPLICATES}",
            found=str(replicates),
            where="--replicates",
        )
    if not 0 < tolerance < math.inf:
        raise InputError("The tolerance is not positive and finite.", found=f"{tolerance:g}", where="--tolerance")
    if most < 1:
        raise InputError("There is no dose to try.", expected="at least 1", found=str(most), where="--most")
    for override in overrides:
        if override.partition("=")[0].strip() in OWN:
            raise InputError(
                "A calibration sets this itself.",
                found=override,
                where="--set",
                do="Leave it out; --most bounds data.n_seed.",
            )


def _curve(spec: ChainSpec, *, targets: Sequence[float], tolerance: float, most: int) -> Curve:
    pool = len(spec.trait.demonstrations)
    return Curve(
        trait=spec.trait.name,
        sources=spec.sources,
        pool=pool,
        top=min(most, pool),
        targets=targets,
        tolerance=tolerance,
    )


def _chains(ended: Sequence[ChainResult]) -> list[ChainRun]:
    """The chains of a round.

    Raises:
        IdembenchError: What stopped the first of them that failed.
    """
    for result in ended:
        if result.error is not None:
            error = result.error
            chain = f"{result.spec.describe()}, n_seed {result.spec.protocol.data.n_seed}"
            error.where = chain + (f": {error.where}" if error.where else "")
            raise error
    return [result.run for result in ended if result.run is not None]


def _enter(curve: Curve, cell: Cell, chains: Sequence[ChainRun]) -> None:
    """Enter what one dose's chains measured; the base model is the same in all of them."""
    found = record.analysis(
        {chain.seed: chain.samples for chain in chains},
        {chain.seed: chain.diverged for chain in chains},
        cell.protocol,
        cell.rule,
    )
    base, seeded = found.trajectory
    diverged = {chain.seed: chain.diverged.reason for chain in chains if chain.diverged is not None}

    def dose(n_seed: int, at: Checkpoint, protocol: str | None, fell: Mapping[int, str]) -> Dose:
        usable = not fell and at.trait.missing <= cell.rule.max_missing
        return Dose(
            n_seed=n_seed, trait=at.trait, coherence=at.coherence, protocol=protocol, diverged=fell, usable=usable
        )

    n_seed = cell.protocol.data.n_seed
    curve.base = dose(0, base, None, {})
    curve.doses[n_seed] = dose(n_seed, seeded, cell.protocol.fingerprint, diverged)


# -- for machines ---------------------------------------------------------------------------------


def document(done: Calibration) -> dict[str, Any]:
    """Everything that was asked, measured and said, as JSON: the same for the same steps, whenever they were made."""
    spec = done.spec
    settings = spec.protocol.model_dump(mode="json", exclude={"name": True, "data": {"n_seed"}})
    return {
        "schema_version": 1,
        "baseline": done.baseline,
        "overrides": list(done.overrides),
        "settings": settings,
        "execution": spec.execution.model_dump(mode="json"),
        "model": {"name": spec.model.name, "revision": spec.model.revision, "digest": spec.model.digest},
        "judge": {"name": spec.judge.name, "fingerprint": spec.judge.fingerprint},
        "step_versions": spec.subject.versions.model_dump(mode="json"),
        "method_versions": spec.method_versions,
        "stacks": {digest: dict(parts) for digest, parts in done.stacks.items()},
        "seeds": list(done.seeds),
        "targets": list(done.targets),
        "tolerance": done.tolerance,
        "most": done.most,
        "traits": {curve.trait: _curve_json(curve) for curve in done.curves},
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    return {
        "data": curve.sources.model_dump(mode="json"),
        "pool": curve.pool,
        "doses": [_dose_json(dose) for dose in curve.every],
        "falls": [[before.n_seed, after.n_seed] for before, after in curve.falls],
        "answers": [
            {
                **asdict(answer),
                "within_tolerance": answer.outcome == "found",
                "evaluations": curve.evaluations(answer.target),
            }
            for answer in curve.answers
        ],
    }


def _dose_json(dose: Dose) -> dict[str, Any]:
    return {
        "n_seed": dose.n_seed,
        "trait": {**_level_json(dose.trait), "sd": dose.sd},
        "coherence": _level_json(dose.coherence),
        "protocol_fingerprint": dose.protocol,
        "diverged": {str(seed): reason for seed, reason in dose.diverged.items()},
        "usable": dose.usable,
    }


def _level_json(level: Level) -> dict[str, Any]:
    return {
        "mean": level.mean,
        "low": level.low,
        "high": level.high,
        "replicates": list(level.seeds),
        "missing": level.missing,
    }


def write(folder: Path, done: Calibration) -> Path:
    """Write `dose-response.json`; its path."""
    path = folder / DOCUMENT
    write_json(path, document(done))
    return path
