"""What is seen of many chains: the live table counts what is there, the end names what failed, nothing is markup."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from instant import InstantEngine, make_cell, make_spec
from rich.console import Console

from idembench import grids, render, render_sweep, sweep
from idembench.errors import DataError, EnvironmentProblem
from idembench.steps import Step, steps_of
from idembench.sweep import ChainResult, Failure, GridCell, Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.runs import Cell

MARKUP = "[bold]x[/bold] [/nothing] :smile:"
GRID = grids.Grid(
    name="two", why="Two cells.", baselines=["sft-reset"], seeds=[0, 1], set={"data.n_sampled": [12, MARKUP]}
)
CELLS = [make_cell(seeds=(0, 1)), make_cell("sft-continual", seeds=(0, 1))]
IN_GRID = [GridCell(cell=cell, variant=variant) for cell, variant in zip(CELLS, GRID.variants, strict=True)]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals wide enough that nothing is wrapped."""
    monkeypatch.setattr(render.out, "_width", 400)
    monkeypatch.setattr(render.err, "_width", 400)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal is sent in place of stderr."""
    sent = io.StringIO()
    console = Console(file=sent, force_terminal=True, width=200, height=50, highlight=False, markup=False)
    monkeypatch.setattr(render_sweep, "err", console)
    return sent


def run(cells: list[Cell], place: Path, progress: render_sweep.Progress, **options: Any) -> list[Outcome]:
    """Run cells in this process, told to a progress."""
    options = {"engine": InstantEngine(), **options}
    with progress:
        return sweep.run_cells(cells, results=place / "r", store=place / "s", observer=progress, **options)


def failed(cell: Cell, *errors: tuple[int | None, Any]) -> Outcome:
    """A cell that has no record."""
    return Outcome(
        cell=cell,
        finished=None,
        failures=[Failure(spec=None if seed is None else cell.specs[seed], error=error) for seed, error in errors],
    )


# -- live -----------------------------------------------------------------------------------------


def test_without_a_terminal_there_is_a_line_per_checkpoint(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where no table can be drawn, each measured checkpoint is one line on stderr with its scores."""
    cell = make_cell()

    (done,) = run([cell], tmp_path, render_sweep.Progress([cell]))

    said = capsys.readouterr()
    assert "" == said.out
    lines = [line for line in said.err.splitlines() if "coherence" in line]
    assert done.finished.record.protocol.labels == [line.split(" · ")[3].split()[0] for line in lines]


def test_what_is_only_found_is_not_told_line_by_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A finished run that is found again says nothing about its checkpoints."""
    run(CELLS, tmp_path, render_sweep.Progress(CELLS))
    capsys.readouterr()

    run(CELLS, tmp_path, render_sweep.Progress(CELLS))

    assert "" == capsys.readouterr().err


def test_totals_count_different_steps_once(tmp_path: Path) -> None:
    """Before a run as many steps are left as chains have different ones; after it none, and made and found add up."""
    progress = render_sweep.Progress(CELLS)
    before = progress._totals()
    specs = [spec for cell in CELLS for spec in cell.specs]
    distinct = len({name for spec in specs for name in sweep.step_names(spec)})

    outcomes = run(CELLS, tmp_path, progress)

    made, found = sum(o.finished.made for o in outcomes), sum(o.finished.found for o in outcomes)
    assert distinct == made
    assert f"records: 0 done, 0 failed, 2 left   steps: 0 made, 0 found, {distinct} left" == before
    assert f"records: 2 done, 0 failed, 0 left   steps: {made} made, {found} found, 0 left" == progress._totals()


def test_steps_of_failed_and_diverged_chains_are_not_waited_for(tmp_path: Path) -> None:
    """A chain that ends early takes its remaining steps out of what is left."""
    cell, other = make_cell(), make_cell("sft-reset", "data.n_seed=99999")
    progress = render_sweep.Progress([cell, other])

    run([cell, other], tmp_path, progress, engine=InstantEngine(diverge_at=1))

    assert "1 done, 1 failed, 0 left" in progress._totals()
    assert progress._totals().endswith("found, 0 left")


def test_a_control_s_chains_are_counted_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The steps of a cell's control are awaited, told and done like its own."""
    cell = replace(CELLS[0], control=CELLS[1])
    progress = render_sweep.Progress([cell])

    run([cell], tmp_path, progress)

    assert progress._totals().endswith("found, 0 left")
    assert CELLS[1].protocol.name in capsys.readouterr().err


def test_time_left_is_what_the_kinds_took_over_the_workers() -> None:
    """With every kind known to take a minute, what is left takes a minute per different step and worker."""
    alone, shared = (render_sweep.Progress(CELLS, workers=n) for n in (1, 2))
    for progress in (alone, shared):
        progress._spent = {kind: [60.0] for kind in ("measure", "judge", "seed", "train", "generate", "select")}
    minutes = len({name for cell in CELLS for spec in cell.specs for name in sweep.step_names(spec)})

    assert (f"{minutes}:00 left", f"{minutes // 2}:{minutes % 2 * 30:02} left") == (alone._eta(), shared._eta())
    assert "" == render_sweep.Progress(CELLS)._eta()


def test_the_table_has_a_row_for_every_worker(terminal: io.StringIO) -> None:
    """On a terminal each running worker is a row with its chain, its step and its last checkpoint; below are totals."""
    specs = [spec for cell in CELLS for spec in cell.specs]
    progress = render_sweep.Progress(CELLS, workers=2, labels={specs[1].id: MARKUP})
    step = Step(kind="train", cycle="c1", inputs={})
    scores = {"trait": 12.5, "coherence": 99.0, "tokens": 10}

    with progress:
        for worker in (0, 1):
            progress.began(worker, specs[worker])
            progress.started(worker, specs[worker], step)
        progress.finished(0, specs[0], replace(step, kind="judge"), scores, found=False)
        progress._live.refresh()
        progress.ended(0, ChainResult(spec=specs[0], run=None, error=DataError("x"), wall_s=0.0))
        shown = terminal.getvalue()
        left = [row.chain for row in progress._rows.values()]

    assert "sft-reset" in shown
    assert "c1 train" in shown
    assert "trait 12.5  coherence 99.0" in shown
    assert "tokens/s" in shown
    assert "records: 0 done, 0 failed, 2 left   steps: 1 made" in shown
    assert MARKUP in shown
    assert [MARKUP] == left


def test_a_record_is_shown_between_two_tables(
    terminal: io.StringIO, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On a terminal a finished cell is printed to stdout whole, and the table goes on."""
    run([CELLS[0]], tmp_path, render_sweep.Progress([CELLS[0]], closed=render_sweep.show))

    assert "seeding" in capsys.readouterr().out
    assert "steps made, 0 found in the store" in terminal.getvalue()


def test_a_finished_cell_of_a_grid_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A cell's line says what the grid varies and the four statements."""
    labels = render_sweep.grid_labels(GRID, IN_GRID)

    (done,) = run([CELLS[0]], tmp_path, render_sweep.Progress([CELLS[0]], closed=render_sweep.headlines(labels)))

    (line,) = (line for line in capsys.readouterr().err.splitlines() if "record: " in line)
    assert line.startswith("sft-reset data.n_sampled=12 · sycophancy · record: seeding ")
    assert done.finished.record.analysis.chain_law.coherence.value == line.rpartition(" ")[2]


# -- the end --------------------------------------------------------------------------------------


def test_the_closing_table_has_a_row_for_every_cell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Cells stand with what the grid sets in them, failed ones too; what was shared and what comes next is said."""
    (done,) = run([CELLS[0]], tmp_path, render_sweep.Progress([CELLS[0]]))

    render_sweep.closing(GRID, IN_GRID, [done, failed(CELLS[1], (0, DataError("x")))], tmp_path / "r")

    said = capsys.readouterr()
    rows = said.out.splitlines()
    assert ["baseline", "data.n_sampled", "trait", "seeding"] == rows[2].split()[:4]
    assert ["sft-reset", "12", "sycophancy"] == rows[3].split()[:3]
    assert MARKUP in rows[4]
    assert rows[4].rstrip().endswith("failed")
    asked = sum(len(steps_of(spec.plan)) for spec in CELLS[0].specs)
    assert f"{done.finished.made} steps were run of {asked} that the records ask for" in said.err
    assert "the same command again" in said.err
    assert f"idembench verify {tmp_path / 'r'}" in said.err


def test_an_error_is_laid_out_once_with_all_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """Chains that failed alike are listed below one error; other errors stand apart; nothing is taken for markup."""
    same = [DataError("Too few.", found="3") for _ in range(3)]
    other = EnvironmentProblem(MARKUP, where="there")
    outcomes = [
        failed(CELLS[0], (0, same[0]), (1, same[1])),
        failed(CELLS[1], (0, same[2]), (1, other), (None, DataError("The record."))),
    ]

    render_sweep.failures(outcomes, {CELLS[1].specs[0].id: MARKUP})

    said = capsys.readouterr().err
    assert 1 == said.count("Too few.")
    assert 3 == said.count("seed 0") + said.count("seed 1")
    assert 2 == said.count(MARKUP)
    assert "the record of sft-continual" in said


def test_machines_get_a_sweep_as_plain_json(tmp_path: Path) -> None:
    """Cells, records and failures are JSON without NaN, and the steps add up."""
    (done,) = run([CELLS[0]], tmp_path, render_sweep.Progress([CELLS[0]]))
    outcomes = [done, failed(CELLS[1], (1, DataError("Too few.", found="3")))]

    found = json.loads(json.dumps(render_sweep.sweep_json(GRID, IN_GRID, outcomes), allow_nan=False))

    assert "two" == found["grid"]["name"]
    assert [{"data.n_sampled": 12}, {"data.n_sampled": MARKUP}] == [cell["settings"] for cell in found["cells"]]
    assert done.finished.record.id == found["cells"][0]["record"]["record_id"]
    assert found["cells"][1]["record"] is None
    assert [{"protocol": CELLS[1].protocol.name, "seed": 1, "code": "data", "what": "Too few.", "found": "3"}] == found[
        "cells"
    ][1]["failures"]
    assert {"asked": done.finished.made, "made": done.finished.made} == found["steps"]


def test_a_plan_says_what_is_asked_shared_and_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The dry run has a row per cell and ends in steps asked, different, found and to run; JSON says the same."""
    run([CELLS[0]], tmp_path, render_sweep.Progress([CELLS[0]]))
    capsys.readouterr()
    specs = [spec for cell in CELLS for spec in cell.specs]
    planning = sweep.plan_chains(specs, store=tmp_path / "s")
    shared = sweep.sharing(specs, planning)

    render_sweep.plan(GRID, IN_GRID, planning, shared)

    said = capsys.readouterr().out
    machine = json.loads(json.dumps(render_sweep.plan_json(GRID, IN_GRID, planning, shared)))
    assert f"2 records from 4 chains ask for {shared.asked} steps, {shared.distinct} of them different" in said
    assert f"{shared.found} are in the store and {shared.distinct - shared.found} would run" in said
    assert {"asked": shared.asked, "distinct": shared.distinct, "found": shared.found} == machine["steps"]
    assert shared.asked == sum(cell["steps"]["asked"] for cell in machine["cells"])


def test_a_spec_is_labelled_by_what_it_is() -> None:
    """Outside a grid a chain is its protocol, trait and seed; in one, what the grid sets stands in place of a hash."""
    spec = make_spec(seed=3)

    assert f"{spec.protocol.name} · sycophancy · seed 3" == render_sweep.chain_label(spec)
    labels = render_sweep.grid_labels(GRID, IN_GRID)
    assert "sft-reset data.n_sampled=12 · sycophancy · seed 1" == labels[CELLS[0].specs[1].id]
