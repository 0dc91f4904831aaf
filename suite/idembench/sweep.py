"""Many chains at once: shared steps made once, a failure kept to itself, records as soon as their chains are done.

    run_chains(specs, workers=n)   equals, chain by chain,   run_chains(specs, workers=1)

Chains share through the store alone: whoever comes first to a step makes it, whoever comes while it is being made
waits. So that nobody has to wait, a free worker gets a chain of a model, trait and seed that no other worker is on.
Nothing is remembered about failures: run again, finished chains are found and the others are tried again.
Knows nothing about terminals; torch is loaded in the workers only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from idembench import runs
from idembench.chain import plan_chain
from idembench.errors import IdembenchError, InputError
from idembench.files import available_cores, user_folder
from idembench.judges import budget
from idembench.steps import steps_of
from idembench.store import Store
from idembench.timing import Timers
from idembench.work import TorchEngine
from idembench.workers import Pool, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from idembench.chain import ChainRun, Planned
    from idembench.grids import Grid, Variant
    from idembench.runs import Cell, Finished
    from idembench.steps import Step
    from idembench.work import ChainSpec, Engine
    from idembench.workers import Attempt

Group = tuple[str, str, str, int]
Planning = Mapping[str, Sequence["Planned"]]
"""Dry runs of chains, by their ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainResult:
    """What came of one chain.

    Attributes:
        spec: The chain.
        run: It, finished: steps made, timers, samples, divergence; None if it failed.
        error: Why it failed; None if it did not.
        wall_s: Seconds it took in its worker.
    """

    spec: ChainSpec
    run: ChainRun | None
    error: IdembenchError | None
    wall_s: float


class SweepObserver(Protocol):
    """Who is told what the workers do; workers are counted from 0."""

    def began(self, worker: int, spec: ChainSpec) -> None:
        """A worker takes up a chain."""
        ...

    def started(self, worker: int, spec: ChainSpec, step: Step) -> None:
        """A step is being made, or waited for while another worker makes it."""
        ...

    def finished(self, worker: int, spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        """A step is there, made just now or found."""
        ...

    def ended(self, worker: int, result: ChainResult) -> None:
        """A chain has finished or failed."""
        ...


class CellObserver(SweepObserver, Protocol):
    """The same for cells, which end in records."""

    def closed(self, outcome: Outcome) -> None:
        """A cell's record is written, or cannot be."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a cell has no record.

    Attributes:
        spec: The chain that failed, the cell's own or its control's; None if all were well and the record could not
            be written.
        error: Why.
    """

    spec: ChainSpec | None
    error: IdembenchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one cell: its record, or why there is none.

    Attributes:
        cell: The cell.
        finished: Its record; None if anything failed.
        failures: What failed, in the order of the cell's `all_specs`.
    """

    cell: Cell
    finished: Finished | None
    failures: list[Failure] = field(default_factory=list)


def workers_for(specs: Sequence[ChainSpec], asked: int | None = None) -> int:
    """How many workers to use.

    Not told, as many as there are cores for their torch threads (on a GPU one, for workers would share its memory),
    and never more than chains. Torch with more threads than cores waits at barriers and is 10 to 50 times slower
    (design.md, section 5), so asking for that is refused.

    Raises:
        InputError: If more are asked for than there are cores for.
    """
    threads = max((spec.execution.threads for spec in specs), default=1)
    cores = available_cores()
    if asked is None:
        on_gpu = any(spec.execution.device != "cpu" for spec in specs)
        asked = 1 if on_gpu else max(1, cores // threads)
    elif asked > 1 and asked * threads > cores:
        raise InputError(
            "There are fewer cores than the workers would use.",
            expected=f"workers x threads of at most {cores}",
            found=f"{asked} workers x {threads} threads",
            where="--workers",
            do=f"Use --workers {max(1, cores // threads)}: torch with more threads than cores is far slower.",
        )
    return max(1, min(asked, len(specs)))


# -- chains ---------------------------------------------------------------------------------------


def run_chains(
    specs: Sequence[ChainSpec],
    *,
    store: Path,
    workers: int,
    observer: SweepObserver,
    mixed_stack: bool = False,
    engine: Engine | None = None,
) -> list[ChainResult]:
    """Run chains, several at a time; one that fails does not stop the others.

    Args:
        specs: The chains. One that is named twice runs once.
        store: Step store.
        workers: Processes; with 1 everything happens in this one.
        observer: Who is told what happens, in this process.
        mixed_stack: Accept steps that another stack made.
        engine: Trains and samples; torch if None. With several workers it has to be picklable.

    Returns:
        A result per chain, in the order of `specs`.
    """
    results: dict[int, ChainResult] = {}
    each = _each_chain(
        specs, store=store, workers=workers, observer=observer, mixed_stack=mixed_stack, engine=engine or TorchEngine()
    )
    with contextlib.closing(each):
        results.update(each)
    return [results[number] for number in range(len(specs))]


def _each_chain(
    specs: Sequence[ChainSpec],
    *,
    store: Path,
    workers: int,
    observer: SweepObserver,
    mixed_stack: bool,
    engine: Engine,
) -> Generator[tuple[int, ChainResult], None, None]:
    """Every chain's number and result, as they end."""
    same: dict[str, list[int]] = {}
    for number, spec in enumerate(specs):
        same.setdefault(spec.id, []).append(number)
    waiting = [numbers[0] for numbers in same.values()]
    # A worker takes a second to start and to import; what is only to be found again is found here.
    here = waiting if workers == 1 else [number for number in waiting if _seems_finished(specs[number], store)]

    def settle(number: int, worker: int, done: Attempt) -> list[tuple[int, ChainResult]]:
        """The results of a chain and of those equal to it, told to the observer."""
        results = []
        for twin in same[specs[number].id]:
            # What was made was made once, whoever else asked for it.
            run = replace(done.run, made=0, timers=Timers()) if done.run and twin != number else done.run
            wall_s = done.wall_s if twin == number else 0.0
            results.append((twin, ChainResult(spec=specs[twin], run=run, error=done.error, wall_s=wall_s)))
        observer.ended(worker, results[0][1])
        return results

    with budget.of_run():
        for number in here:
            observer.began(0, specs[number])
            inner = _Numbered(0, observer)
            done = attempt(specs[number], store=store, engine=engine, observer=inner, mixed_stack=mixed_stack)
            yield from settle(number, 0, done)
        left = [number for number in waiting if number not in set(here)]
        with Pool(workers, store=store, engine=engine, mixed_stack=mixed_stack) as pool:
            yield from _in_workers(specs, left, observer, pool, settle)


def _in_workers(
    specs: Sequence[ChainSpec],
    numbers: Sequence[int],
    observer: SweepObserver,
    pool: Pool,
    settle: Callable[[int, int, Attempt], list[tuple[int, ChainResult]]],
) -> Generator[tuple[int, ChainResult], None, None]:
    """Run chains in worker processes; what `settle` makes of each, as they end."""
    waiting = list(numbers)
    busy: dict[int, int] = {}
    ended: list[tuple[int, ChainResult]] = []
    while waiting or busy or ended:
        while waiting and len(busy) < pool.count:
            groups = {group(specs[number]) for number in busy.values()}
            number = waiting.pop(choose([group(specs[number]) for number in waiting], groups))
            worker = min(set(range(pool.count)) - busy.keys())
            busy[worker] = number
            observer.began(worker, specs[number])
            pool.give(worker, specs[number])
        # Only now, with all workers at work, is there time for what the caller does with a result.
        yield from ended
        ended = []
        for worker, said in pool.wait() if busy else ():
            spec = specs[busy[worker]]
            if said.attempt is not None:
                ended += settle(busy.pop(worker), worker, said.attempt)
            elif said.step is not None and said.facts is None:
                observer.started(worker, spec, said.step)
            elif said.step is not None and said.facts is not None:
                observer.finished(worker, spec, said.step, said.facts, found=said.found)


def group(spec: ChainSpec) -> Group:
    """Chains of one group share steps: the base model's measurement, and often cycle 0."""
    return spec.model.digest, spec.pack.name, spec.trait.name, spec.seed


def choose(waiting: Sequence[Group], busy: AbstractSet[Group]) -> int:
    """Which waiting chain is next: the first of a group that no worker is on; if there is none, the first."""
    return next((place for place, one in enumerate(waiting) if one not in busy), 0)


def _seems_finished(spec: ChainSpec, store: Path) -> bool:
    """Whether a chain has noted as many steps as it takes and all are there; whether they are whole is not asked."""
    return Store(store).holds(spec.id) >= len(steps_of(spec.plan))


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Tells a sweep's observer what a chain in this process does."""

    worker: int
    observer: SweepObserver

    def started(self, spec: ChainSpec, step: Step) -> None:
        self.observer.started(self.worker, spec, step)

    def finished(self, spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        self.observer.finished(self.worker, spec, step, facts, found=found)


# -- cells ----------------------------------------------------------------------------------------


def run_cells(
    cells: Sequence[Cell],
    *,
    results: Path,
    observer: CellObserver,
    store: Path | None = None,
    workers: int = 1,
    mixed_stack: bool = False,
    engine: Engine | None = None,
) -> list[Outcome]:
    """Run cells, several chains at a time, and write each record as soon as its last chain is done.

    Args:
        cells: What to run.
        results: Results folder; records go below `results/records`.
        observer: Who is told what happens.
        store: Step store; the user's cache folder if None.
        workers: See `run_chains`.
        mixed_stack: See `run_chains`.
        engine: See `run_chains`.

    Returns:
        An outcome per cell, in the order of `cells`.
    """
    of = [(place, spec) for place, cell in enumerate(cells) for spec in cell.all_specs]
    first = {place: number for number, (place, _) in reversed(list(enumerate(of)))}
    left: list[dict[int, ChainResult]] = [{} for _ in cells]
    outcomes: dict[int, Outcome] = {}
    each = _each_chain(
        [spec for _, spec in of],
        store=store or user_folder() / "store",
        workers=workers,
        observer=observer,
        mixed_stack=mixed_stack,
        engine=engine or TorchEngine(),
    )
    with contextlib.closing(each):
        for number, result in each:
            place = of[number][0]
            left[place][number - first[place]] = result
            if len(left[place]) == len(cells[place].all_specs):
                ended = [left[place][one] for one in sorted(left[place])]
                outcomes[place] = _close(cells[place], ended, results)
                left[place] = {}
                observer.closed(outcomes[place])
    return [outcomes[place] for place in range(len(cells))]


def _close(cell: Cell, ended: Sequence[ChainResult], results: Path) -> Outcome:
    """Write a cell's record, if all of its chains are there, given in the order of `all_specs`."""
    failures = [Failure(spec=one.spec, error=one.error) for one in ended if one.error is not None]
    chains = [one.run for one in ended if one.run is not None]
    finished = None
    if not failures:
        try:
            finished = runs.finish(cell, chains, results=results, chains_s=sum(one.wall_s for one in ended))
        except IdembenchError as error:
            failures = [Failure(spec=None, error=error)]
    return Outcome(cell=cell, finished=finished, failures=failures)


# -- grids ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GridCell:
    """A cell of a grid, and what the grid sets in it.

    Attributes:
        cell: The cell.
        variant: Its baseline, model and settings, as the grid says them.
    """

    cell: Cell
    variant: Variant


def expand(grid: Grid, *, fetch: bool = True) -> list[GridCell]:
    """Every cell of a grid, in the order of the file; nothing is trained yet.

    Args:
        grid: The grid.
        fetch: See `runs.cells`.

    Raises:
        IdembenchError: If a name is unknown or a setting does not hold; it says in which variant.
        InputError: If two cells are the same.
    """
    found: dict[tuple[str, str, str], GridCell] = {}
    for variant in grid.variants:
        try:
            cells = runs.cells(
                [variant.baseline],
                trait_names=grid.traits or (),
                model=variant.model,
                seeds=grid.seeds,
                pack=grid.pack,
                measurement=grid.measurement,
                overrides=variant.overrides,
                execution=grid.execution,
                rule=grid.rule,
                fetch=fetch,
            )
        except IdembenchError as error:
            error.where = f"grid {grid.name}, {variant.describe()}" + (f": {error.where}" if error.where else "")
            raise
        for cell in cells:
            key = (cell.protocol.fingerprint, cell.trait, cell.specs[0].model.digest)
            if key in found:
                raise InputError(
                    "Two cells of a grid are the same.",
                    found=f"{found[key].variant.describe()} and {variant.describe()}, {cell.trait}",
                    where=f"grid {grid.name}",
                )
            found[key] = GridCell(cell=cell, variant=variant)
    return list(found.values())


# -- what is shared -------------------------------------------------------------------------------


def step_names(spec: ChainSpec) -> list[str]:
    """A name for every step of a chain, in order, without making any: chains share what they name alike."""
    return [step.key for step in runs.steps_ahead(spec)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How much chains have in common.

    Attributes:
        asked: Steps of all chains.
        distinct: Different ones among them.
        found: Of these, how many the store has.
    """

    asked: int
    distinct: int
    found: int


def plan_chains(specs: Sequence[ChainSpec], *, store: Path | None = None, mixed_stack: bool = False) -> Planning:
    """A dry run of each chain, by its id.

    Raises:
        IdembenchError: See `chain.plan_chain`.
    """
    where = Store(store or user_folder() / "store")
    return {spec.id: plan_chain(spec, where, mixed_stack=mixed_stack) for spec in specs}


def sharing(specs: Sequence[ChainSpec], planning: Planning) -> Sharing:
    """Count what chains share, given their dry runs."""
    every: set[str] = set()
    found: set[str] = set()
    asked = 0
    for spec in specs:
        names, planned = step_names(spec), planning[spec.id]
        if all(step.found for step in planned):  # it is finished, and may have ended early
            names = names[: len(planned)]
        asked += len(names)
        every.update(names)
        found.update(name for name, step in zip(names, planned, strict=False) if step.found)
    return Sharing(asked=asked, distinct=len(every), found=len(found))
