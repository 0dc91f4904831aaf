"""What people see of many chains at once: the live table, the report at the end, the dry run. Knows rich.

On a terminal one row per worker and a line of totals; elsewhere a line per measured checkpoint. Everything live goes
to stderr; the closing table is a result and goes to stdout.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from idembench.render import (
    clean,
    effect,
    err,
    error,
    finished_json,
    made_of,
    note,
    number,
    out,
    statements,
    styled,
    verdict,
)
from idembench.render import show as show_record
from idembench.steps import steps_of
from idembench.sweep import step_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from idembench.errors import IdembenchError
    from idembench.grids import Grid
    from idembench.plots import Drawing
    from idembench.runs import Cell
    from idembench.steps import Step
    from idembench.sweep import ChainResult, GridCell, Outcome, Planning, Sharing
    from idembench.work import ChainSpec

_PER_SECOND = 4


@dataclass(slots=True)
class _Row:
    """What one worker is doing."""

    chain: str
    step: str = ""
    began: float = 0.0
    checkpoint: str = ""
    rate: str = ""


class Progress:
    """Live progress of cells: who is at what, how fast, how long still."""

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        workers: int = 1,
        labels: Mapping[str, str] | None = None,
        closed: Callable[[Outcome], None] | None = None,
        records: bool = True,
    ) -> None:
        """Count the different steps of all chains.

        Args:
            cells: What is run.
            workers: By how many processes.
            labels: Names to show, by a chain's id; protocol, trait and seed where there is none.
            closed: Prints a cell's outcome; the live table makes room for it.
            records: Whether cells end in records, which are then counted.
        """
        self._labels, self._print, self._workers, self._records = labels or {}, closed, workers, records
        self._cells, self._done, self._failed = len(cells), 0, 0
        self._made = self._found = 0
        self._names: dict[str, list[str]] = {}
        self._at: Counter[str] = Counter()
        self._kinds: dict[str, str] = {}
        self._asked: Counter[str] = Counter()
        for spec in {spec.id: spec for cell in cells for spec in cell.all_specs}.values():
            names = self._names[spec.id] = step_names(spec)
            self._kinds.update(zip(names, (kind for kind, _ in steps_of(spec.plan)), strict=True))
            self._asked.update(set(names))
        self._there: set[str] = set()
        self._spent: dict[str, list[float]] = {}
        self._rows: dict[int, _Row] = {}
        self._live = Live(
            console=err, transient=True, refresh_per_second=_PER_SECOND, get_renderable=self._table, auto_refresh=True
        )

    def __enter__(self) -> Self:
        """Show the table."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the table away."""
        self._live.stop()

    def _start(self) -> None:
        if err.is_terminal:
            self._live.start()

    # -- what the workers tell --

    def began(self, worker: int, spec: ChainSpec) -> None:
        """A worker takes up a chain."""
        self._rows[worker] = _Row(chain=self._label(spec))
        self._at[spec.id] = 0

    def started(self, worker: int, spec: ChainSpec, step: Step) -> None:
        """A step is being made."""
        del spec
        row = self._rows[worker]
        row.step, row.began = f"{step.cycle} {step.kind}", time.perf_counter()

    def finished(self, worker: int, spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        """A step is there."""
        row = self._rows[worker]
        self._there.add(self._names[spec.id][self._at[spec.id]])
        self._at[spec.id] += 1
        self._made += not found
        self._found += found
        if not found:
            seconds = time.perf_counter() - row.began
            self._spent.setdefault(step.kind, []).append(seconds)
            if facts.get("tokens"):
                row.rate = f"{facts['tokens'] / max(seconds, 1e-9):,.0f} tokens/s"
        if step.kind == "judge":
            row.checkpoint = (
                f"{step.cycle:<4}  trait {number(facts.get('trait'))}  coherence {number(facts.get('coherence'))}"
            )
            if not found and not err.is_terminal:
                note(f"{row.chain} · {row.checkpoint}  {self._eta()}".rstrip())

    def ended(self, worker: int, result: ChainResult) -> None:
        """A chain has finished or failed."""
        self._rows.pop(worker, None)
        for name in set(self._names.pop(result.spec.id, [])):
            self._asked[name] -= 1
        if result.error is not None and not err.is_terminal:
            note(f"{self._label(result.spec)} · failed: {clean(result.error.what)}")

    def closed(self, outcome: Outcome) -> None:
        """A cell's record is written, or cannot be."""
        self._done += outcome.finished is not None
        self._failed += outcome.finished is None
        if self._print is not None:
            self._live.stop()
            self._print(outcome)
            self._start()

    # -- what is shown --

    def _label(self, spec: ChainSpec) -> str:
        return self._labels.get(spec.id) or chain_label(spec)

    def _table(self) -> Group:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for row in (self._rows[worker] for worker in sorted(self._rows)):
            seconds = f"{time.perf_counter() - row.began:.0f} s" if row.began else ""
            table.add_row(*(Text(clean(cell)) for cell in (row.chain, row.step, seconds, row.checkpoint, row.rate)))
        return Group(table, Text(self._totals(), style="dim"))

    def _totals(self) -> str:
        left = self._cells - self._done - self._failed
        parts = [f"records: {self._done} done, {self._failed} failed, {left} left"] if self._records else []
        parts.append(f"steps: {self._made} made, {self._found} found, {len(self._missing())} left")
        if eta := self._eta():
            parts.append(eta)
        return "   ".join(parts)

    def _missing(self) -> list[str]:
        """The different steps that are still to come."""
        return [name for name, chains in self._asked.items() if chains > 0 and name not in self._there]

    def _eta(self) -> str:
        """How long still, from what steps of each kind took so far, over the workers that have something to do."""
        mean_s = {kind: sum(times) / len(times) for kind, times in self._spent.items()}
        busy = max(1, min(self._workers, len(self._names)))
        seconds = sum(mean_s.get(self._kinds[name], 0.0) for name in self._missing()) / busy
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} left" if seconds >= 1 else ""


def chain_label(spec: ChainSpec) -> str:
    """A chain in a few words."""
    return f"{spec.protocol.name} · {spec.trait.name} · seed {spec.seed}"


def grid_labels(grid: Grid, cells: Sequence[GridCell]) -> dict[str, str]:
    """Names of a grid's chains by id: what the grid varies, not the fingerprint that it leads to."""
    return {
        spec.id: f"{one.variant.describe(only=grid.varied)} · {spec.trait.name} · seed {spec.seed}"
        for one in cells
        for spec in one.cell.specs
    }


# -- the end --------------------------------------------------------------------------------------


def show(outcome: Outcome) -> None:
    """A cell's record in full, and how much of it was made just now."""
    if outcome.finished is not None:
        show_record(outcome.finished.record, outcome.finished.folder)
        err.print(Text(made_of(outcome.finished), style="dim"))


def headlines(labels: Mapping[str, str]) -> Callable[[Outcome], None]:
    """Prints a line about each cell of a grid that is done, on stderr."""

    def headline(outcome: Outcome) -> None:
        if outcome.finished is not None:
            cell, _, _ = labels[outcome.cell.specs[0].id].rpartition(" · ")
            said = ", ".join(f"{name} {one.value}" for name, one in statements(verdict(outcome.finished.record)))
            note(clean(f"{cell} · record: {said}"))

    return headline


def closing(grid: Grid, cells: Sequence[GridCell], outcomes: Sequence[Outcome], results: Path) -> None:
    """One table over all cells of a grid, what was shared, and what to type next."""
    table = _grid_table(grid)
    for column in ("seeding", "transmission", "iteration", "drift", "proven bound", "coherence"):
        table.add_column(column)
    for one, outcome in zip(cells, outcomes, strict=True):
        if outcome.finished is None:
            table.add_row(*_coordinates(grid, one), Text("failed", style="bold red"))
            continue
        v = verdict(outcome.finished.record)
        table.add_row(
            *_coordinates(grid, one),
            *(styled(statement.value) for _, statement in statements(v)[:3]),
            effect(v.effects.drift),
            number(v.effects.proven_bound.estimate),
            styled(v.coherence.value),
        )
    out.print()
    out.print(table)
    done = [outcome.finished for outcome in outcomes if outcome.finished is not None]
    made, found = sum(one.made for one in done), sum(one.found for one in done)
    if done:
        note(f"{made} steps were run of {made + found} that the records ask for; the others were shared or found.")
    err.print()
    err.print(Text("Next:", style="bold"))
    if len(done) < len(outcomes):
        note("  the same command again: it finds what is finished and tries what failed")
    if done:
        err.print(f"  idembench verify {results}", soft_wrap=True)
        err.print(f"  idembench board build {results} --out out/board", soft_wrap=True)


def drawn(drawing: Drawing | None, picture: Path | None) -> None:
    """Say where a grid's picture is, and which cells are not in it."""
    if drawing is None:
        return
    if drawing.figure is None:
        note("No picture: there is no finished cell to draw.")
    else:
        err.print(f"Drew {drawing.drawn} of {drawing.drawn + len(drawing.missing)} cells: {picture}", soft_wrap=True)
    for cell in drawing.missing:
        err.print(Text(clean(f"  not drawn  {cell}"), style="dim"), soft_wrap=True)


def drawing_json(drawing: Drawing | None, picture: Path | None) -> dict[str, Any]:
    """The same for machines; nothing where there is none."""
    if drawing is None:
        return {}
    path = None if drawing.figure is None else str(picture)
    return {"plot": {"path": path, "drawn": drawing.drawn, "missing": drawing.missing}}


def _grid_table(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=clean(grid.name), title_justify="left")
    for column in ("baseline", *(["model"] if grid.models else []), *grid.varied, "trait"):
        table.add_column(column)
    return table


def _coordinates(grid: Grid, one: GridCell) -> list[str]:
    """Where a cell lies in its grid."""
    variant = one.variant
    model = [variant.model or ""] if grid.models else []
    settings = [str(variant.settings.get(key, "")) for key in grid.varied]
    return [clean(text) for text in (variant.baseline, *model, *settings, one.cell.trait)]


def failures(outcomes: Sequence[Outcome], labels: Mapping[str, str] | None = None) -> None:
    """Lay out every error once, with the chains that it stopped."""
    same: dict[tuple[str, str, str | None], tuple[IdembenchError, list[str]]] = {}
    for outcome in outcomes:
        for failure in outcome.failures:
            wrong, spec = failure.error, failure.spec
            if spec is None:
                stopped = f"the record of {outcome.cell.protocol.name} · {outcome.cell.trait}"
            else:
                stopped = (labels or {}).get(spec.id) or chain_label(spec)
            same.setdefault((wrong.code, wrong.what, wrong.found), (wrong, []))[1].append(stopped)
    for wrong, chains in same.values():
        error(wrong)
        for place, name in enumerate(chains):
            err.print(Text.assemble(("  stopped   " if place == 0 else " " * 12, "bold"), clean(name)))


def failures_json(outcome: Outcome) -> list[dict[str, Any]]:
    """Why a cell has no record, for machines."""
    return [
        {**_chain_json(one.spec), "code": one.error.code, "what": one.error.what, **dict(one.error.parts())}
        for one in outcome.failures
    ]


def _chain_json(spec: ChainSpec | None) -> dict[str, Any]:
    return {"protocol": None, "seed": None} if spec is None else {"protocol": spec.protocol.name, "seed": spec.seed}


def sweep_json(grid: Grid, cells: Sequence[GridCell], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """A finished sweep for machines."""
    done = [outcome.finished for outcome in outcomes if outcome.finished is not None]
    made, found = sum(one.made for one in done), sum(one.found for one in done)
    return {
        "grid": grid.model_dump(mode="json"),
        "cells": [
            {
                **_cell_json(one),
                "record": None if outcome.finished is None else finished_json(outcome.finished),
                "failures": failures_json(outcome),
            }
            for one, outcome in zip(cells, outcomes, strict=True)
        ],
        "steps": {"asked": made + found, "made": made},
    }


def _cell_json(one: GridCell) -> dict[str, Any]:
    return {
        "baseline": one.variant.baseline,
        "model": one.cell.specs[0].model.name,
        "trait": one.cell.trait,
        "settings": dict(one.variant.settings),
        "seeds": [spec.seed for spec in one.cell.specs],
    }


# -- dry runs -------------------------------------------------------------------------------------


def plan(grid: Grid, cells: Sequence[GridCell], planning: Planning, shared: Sharing) -> None:
    """Print what a sweep would do."""
    table = _grid_table(grid)
    for column in ("seeds", "steps", "would be found"):
        table.add_column(column, justify="right")
    for one in cells:
        plans = [planning[spec.id] for spec in one.cell.specs]
        table.add_row(
            *_coordinates(grid, one),
            str(len(plans)),
            str(sum(map(len, plans))),
            str(sum(step.found for steps in plans for step in steps)),
        )
    out.print(table)
    out.print(
        f"{len(cells)} records from {sum(len(one.cell.specs) for one in cells)} chains ask for {shared.asked} steps, "
        f"{shared.distinct} of them different; {shared.found} are in the store and "
        f"{shared.distinct - shared.found} would run."
    )


def plan_json(grid: Grid, cells: Sequence[GridCell], planning: Planning, shared: Sharing) -> dict[str, Any]:
    """A sweep's dry run for machines."""
    return {
        "grid": grid.model_dump(mode="json"),
        "cells": [
            {
                **_cell_json(one),
                "steps": {
                    "asked": sum(len(planning[spec.id]) for spec in one.cell.specs),
                    "found": sum(step.found for spec in one.cell.specs for step in planning[spec.id]),
                },
            }
            for one in cells
        ],
        "steps": {"asked": shared.asked, "distinct": shared.distinct, "found": shared.found},
    }
