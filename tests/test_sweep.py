"""Sweeps: chains over worker processes give what they give one by one, share every step, and fail alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from instant import InstantEngine, fresh_python, hashed_bytes, make_cell, make_spec, run_cell
from troubled import ERROR, HANG, KILL, SURPRISE, Troubled, Watch

from idembench import grids, runs, sweep
from idembench.errors import DataError, EnvironmentProblem, IdembenchError, InputError, StoreError
from idembench.files import find_records, read_json
from idembench.protocol import Execution
from idembench.record import PROVENANCE
from idembench.steps import steps_of
from idembench.store import Store
from idembench.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.work import ChainSpec

GRID = {
    "name": "small",
    "why": "Small enough to be found in a test.",
    "baselines": ["sft-reset"],
    "traits": ["bliss"],
    "seeds": [0, 1],
    "cells": [
        {
            "cycles": 1,
            "data.n_seed": 8,
            "measuring.questions": 10,
            "measuring.neutral_questions": 3,
            "measuring.repeats": 2,
        }
    ],
    "set": {"data.n_sampled": [12, 14]},
}


def rows(n: int, **options: Any) -> ChainSpec:
    """A chain whose first training has `n` rows."""
    return make_spec("sft-reset", "cycles=1", f"data.n_seed={n}", **options)


def steps_in(store: Path) -> set[str]:
    """Keys of the steps in a store."""
    return {path.name for path in (store / "steps").iterdir() if not path.name.startswith(".")}


def run(specs: Sequence[ChainSpec], place: Path, **options: Any) -> list[sweep.ChainResult]:
    """Run chains with a store below `place`, in this process unless told otherwise."""
    settings = {"workers": 1, "observer": Watch(), "engine": InstantEngine(), **options}
    return sweep.run_chains(specs, store=place / "store", **settings)


CELLS = (make_cell("sft-reset", seeds=(0, 1)), make_cell("sft-continual", seeds=(0, 1)))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watch, list[sweep.Outcome], Troubled]:
    """Two cells that share their cycle 0, run by two workers."""
    place = tmp_path_factory.mktemp("swept")
    watch, engine = Watch(), Troubled(notes=place / "notes")
    outcomes = sweep.run_cells(
        CELLS, results=place / "results", store=place / "store", observer=watch, workers=2, engine=engine
    )
    return place, watch, outcomes, engine


# -- the same, shared -----------------------------------------------------------------------------


def test_workers_make_the_same_records_as_one_process(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled], tmp_path: Path
) -> None:
    """Records of a sweep over two workers are byte for byte those of the cells run one after the other; they hold."""
    alone = [run_cell(cell, tmp_path) for cell in CELLS]

    _, _, outcomes, _ = swept
    assert [hashed_bytes(one.folder) for one in alone] == [hashed_bytes(one.finished.folder) for one in outcomes]
    assert all(verify(one.finished.folder).ok for one in outcomes)


def test_every_shared_step_is_made_once(swept: tuple[Path, Watch, list[sweep.Outcome], Troubled]) -> None:
    """Over all workers each step is made exactly once: steps made, trainings and folders are equally many."""
    place, watch, outcomes, engine = swept
    distinct = {name for cell in CELLS for spec in cell.specs for name in sweep.step_names(spec)}

    made = watch.told("made")
    assert len(made) == len(set(made)) == len(distinct) == sum(one.finished.made for one in outcomes)
    assert steps_in(place / "store") == set(made)
    assert sum(kind == "train" for cell in CELLS for s in cell.specs for kind, _ in steps_of(s.plan)) == 2 + len(
        engine.noted()
    )
    asked = sum(len(steps_of(spec.plan)) for cell in CELLS for spec in cell.specs)
    assert asked == sum(one.finished.made + one.finished.found for one in outcomes)


def test_both_workers_work_and_events_name_them(swept: tuple[Path, Watch, list[sweep.Outcome], Troubled]) -> None:
    """Two processes share the trainings, neither is this one, and every event says whose it is."""
    _, watch, _, engine = swept

    assert 2 == len({pid for pid, _ in engine.noted()} - {os.getpid()})
    assert {0, 1} == {event[1] for event in watch.events if event[0] in ("made", "found", "began", "ended")}
    assert 4 == len(watch.told("began")) == len(watch.told("ended"))


def test_a_worker_ends_a_chain_before_it_begins_another(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled],
) -> None:
    """What an observer is told of each worker alternates between one chain's beginning and its end."""
    _, watch, _, _ = swept

    for worker in (0, 1):
        told = [event[0] for event in watch.events if event[0] in ("began", "ended") and event[1] == worker]
        assert ["began", "ended"] * (len(told) // 2) == told


def test_no_worker_outlives_its_sweep(swept: tuple[Path, Watch, list[sweep.Outcome], Troubled]) -> None:
    """After a sweep no worker process is left."""
    assert [] == multiprocessing.active_children()


def test_the_sidecar_carries_the_workers_durations(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled],
) -> None:
    """A record's provenance has the steps its chains made and where the workers' time went."""
    _, _, outcomes, _ = swept

    for outcome in outcomes:
        sidecar = read_json(outcome.finished.folder / PROVENANCE)
        assert outcome.finished.made == sidecar["steps_made"]
        assert {"forward_backward", "step.train", "measure.evaluate"} <= sidecar["timers_s"].keys()
        assert (
            sum(value for name, value in sidecar["timers_s"].items() if name.startswith("step.")) <= sidecar["wall_s"]
        )


def test_a_finished_sweep_is_found_without_any_worker(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled], tmp_path: Path
) -> None:
    """Run again, everything is found in this process in under 3 s, and the records are the same."""
    place, _, outcomes, _ = swept
    watch, engine = Watch(), Troubled(notes=tmp_path / "notes")
    start = time.monotonic()

    again = sweep.run_cells(
        CELLS, results=tmp_path / "results", store=place / "store", observer=watch, workers=2, engine=engine
    )

    assert time.monotonic() - start < 3
    assert [one.finished.record for one in outcomes] == [one.finished.record for one in again]
    assert [] == watch.told("made")
    assert [] == engine.noted()


def test_results_come_in_the_order_of_the_chains(tmp_path: Path) -> None:
    """Each result stands where its chain stands, with its steps, its time and no error."""
    specs = [rows(8, seed=seed) for seed in (2, 0, 1)]

    found = run(specs, tmp_path)

    assert [2, 0, 1] == [one.run.seed for one in found]
    assert specs == [one.spec for one in found]
    assert all(one.error is None and one.wall_s > 0 for one in found)


def test_a_chain_that_is_named_twice_runs_once(tmp_path: Path) -> None:
    """Of two equal chains one is run; the other's result is the same run with nothing made."""
    watch = Watch()

    first, second = run([rows(8), rows(8)], tmp_path, observer=watch)

    assert first.run.lineage == second.run.lineage
    assert (first.run.made, 0) == (len(first.run.lineage), second.run.made)
    assert 1 == len(watch.told("began"))


# -- who is next ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "busy", "expected"),
    [
        ("aab", "", 0),
        ("aab", "a", 2),
        ("aba", "b", 0),
        ("aa", "a", 0),
        ("abab", "ab", 0),
        ("abcab", "ab", 2),
    ],
)
def test_a_free_worker_takes_a_group_that_nobody_is_on(waiting: str, busy: str, expected: int) -> None:
    """The first chain of a free group is next, in the given order; if every group is taken, the first chain."""
    assert expected == sweep.choose([(name, "", "", 0) for name in waiting], {(name, "", "", 0) for name in busy})


def test_chains_share_a_group_if_model_trait_and_seed_agree() -> None:
    """Baseline and settings do not tell groups apart; trait and seed do."""
    one = sweep.group(rows(8))

    assert one == sweep.group(make_spec("sft-continual", "data.n_sampled=20"))
    assert 3 == len({one, sweep.group(rows(8, trait="bliss")), sweep.group(rows(8, seed=1))})


def test_no_more_workers_than_cores_or_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are as many as cores hold their threads, never more than chains, one on a GPU, and too many are refused."""
    monkeypatch.setattr(sweep, "available_cores", lambda: 4)
    plain = [rows(8, seed=seed) for seed in range(9)]
    threaded = [replace(spec, execution=Execution(threads=2)) for spec in plain]
    on_gpu = [replace(spec, execution=Execution(device="cuda")) for spec in plain]

    assert (4, 2, 1) == tuple(map(sweep.workers_for, (plain, threaded, on_gpu)))
    assert (3, 2, 4, 1) == (
        *(sweep.workers_for(plain[:n], 3 if n > 2 else 4) for n in (9, 2)),
        *(sweep.workers_for(plain, n) for n in (4, 1)),
    )
    with pytest.raises(InputError, match="fewer cores") as caught:
        sweep.workers_for(threaded, 3)
    assert "--workers 2" in caught.value.do


# -- failures -------------------------------------------------------------------------------------


def test_a_failed_chain_stops_no_other_and_is_tried_again_alone(tmp_path: Path) -> None:
    """An error, an unforeseen one and a killed process each fail their own chain; run again, only those are made."""
    specs = [rows(KILL), rows(8), rows(SURPRISE, seed=1), rows(ERROR, seed=2), rows(10, seed=3)]
    engine = Troubled(notes=tmp_path / "notes")

    found = run(specs, tmp_path, workers=2, engine=engine)
    again = run(specs, tmp_path)

    killed, fine, surprised, wrong, last = found
    assert [True, False, True, True, False] == [one.run is None for one in found]
    assert isinstance(killed.error, EnvironmentProblem)
    assert "SIGKILL" in killed.error.found
    assert "ZeroDivisionError: who could know" == surprised.error.found
    assert "Traceback" in Path(surprised.error.where).read_text()
    assert (DataError, "These rows are no good.") == (type(wrong.error), wrong.error.what)
    assert [True] * 5 == [one.run is not None for one in again]
    assert (0, 0) == (again[1].run.made, again[4].run.made)
    assert all(again[place].run.made for place in (0, 2, 3))
    assert {} == Store(tmp_path / "store").verify()
    assert [] == multiprocessing.active_children()
    assert fine.run.lineage == again[1].run.lineage
    assert last.run.lineage == again[4].run.lineage


def test_a_cell_with_a_failed_chain_writes_no_record(tmp_path: Path) -> None:
    """The failed cell is told with seed and error and leaves no record; the other cell's record is written."""
    good, bad = rows(8), rows(ERROR)
    cells = [
        runs.Cell(specs=[replace(bad, seed=seed) for seed in (0, 1)], rule=make_cell().rule),
        runs.Cell(specs=[good], rule=make_cell().rule),
    ]
    engine = Troubled(notes=tmp_path / "notes")
    options = {"results": tmp_path / "results", "store": tmp_path / "store"}

    failed, done = sweep.run_cells(cells, observer=(watch := Watch()), engine=engine, **options)
    again, _ = sweep.run_cells(cells, observer=Watch(), engine=InstantEngine(), **options)

    assert [0, 1] == [one.spec.seed for one in failed.failures]
    assert failed.finished is None
    assert [("closed", False), ("closed", True)] == [event[:2] for event in watch.events if event[0] == "closed"]
    assert {done.finished.folder, again.finished.folder} == set(find_records(tmp_path / "results"))


def test_a_failed_control_fails_its_cell_and_says_so(tmp_path: Path) -> None:
    """A cell is run with its control's chains; if one of those fails there is no record, and the failure names it."""
    control = runs.Cell(specs=[rows(ERROR)], rule=make_cell().rule)
    cell = runs.Cell(specs=[rows(8)], rule=make_cell().rule, control=control)
    options = {"results": tmp_path / "results", "store": tmp_path / "store"}

    (failed,) = sweep.run_cells([cell], observer=Watch(), engine=Troubled(notes=tmp_path / "notes"), **options)

    assert [control.specs[0]] == [one.spec for one in failed.failures]
    assert [] == find_records(tmp_path / "results")


def test_a_record_that_cannot_be_written_fails_its_cell_alone(tmp_path: Path) -> None:
    """Where results cannot be written each cell says so, and the chains are kept."""
    (tmp_path / "results").write_text("a file")

    found = sweep.run_cells(
        CELLS, results=tmp_path / "results", store=tmp_path / "store", observer=Watch(), engine=InstantEngine()
    )

    assert [[None]] * 2 == [[failure.spec for failure in one.failures] for one in found]
    assert all(isinstance(one.failures[0].error, EnvironmentProblem) for one in found)
    assert steps_in(tmp_path / "store")


def test_an_unforeseen_error_is_told_even_if_its_traceback_cannot_be_written(tmp_path: Path) -> None:
    """If the log cannot be written, the error carries the traceback itself."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "logs").write_text("a file")

    (found,) = run([rows(SURPRISE)], tmp_path, engine=Troubled(notes=tmp_path / "notes"))

    assert "Traceback" in found.error.where
    assert "A file cannot be written" in found.error.where


HANGING = """
import sys, pathlib
import troubled, instant
from idembench import sweep
place = pathlib.Path(sys.argv[1])
if __name__ == "__main__":
    specs = [instant.make_spec("sft-reset", "cycles=1", f"data.n_seed={n}", seed=n) for n in (8, troubled.HANG)]
    engine = troubled.Troubled(notes=place / "notes")
    sweep.run_chains(specs, store=place / "store", workers=2, observer=troubled.Watch(), engine=engine)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_a_sweep_that_is_stopped_leaves_whole_steps_and_no_worker(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C, which the terminal sends to all processes, or a killed parent ends every worker within seconds."""
    engine = Troubled(notes=tmp_path / "notes")
    running = fresh_python(HANGING, str(tmp_path), start_new_session=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while HANG not in [n for _, n in engine.noted()] and time.monotonic() < deadline:
        time.sleep(0.05)
    (hanging,) = (pid for pid, n in engine.noted() if n == HANG)
    start = time.monotonic()

    os.killpg(running.pid, how) if how is signal.SIGINT else os.kill(running.pid, how)

    _, err = running.communicate(timeout=60)
    while Path(f"/proc/{hanging}").exists() and time.monotonic() < start + 60:
        time.sleep(0.05)
    assert time.monotonic() - start < 30
    assert (how is signal.SIGINT) == ("KeyboardInterrupt" in err)
    assert err.count("Traceback") <= 1
    assert {} == Store(tmp_path / "store").verify()
    done = run([make_spec("sft-reset", "cycles=1", f"data.n_seed={n}", seed=n) for n in (8, HANG)], tmp_path)
    assert [None, None] == [one.error for one in done]


# -- grids ----------------------------------------------------------------------------------------


def test_a_grid_becomes_cells_in_the_order_of_its_file() -> None:
    """Each variant is a cell with all seeds, and its protocol has what the grid sets."""
    found = sweep.expand(grids.Grid.model_validate(GRID))

    assert [12, 14] == [one.cell.protocol.data.n_sampled for one in found]
    assert [{"data.n_sampled": 12, **GRID["cells"][0]}, {"data.n_sampled": 14, **GRID["cells"][0]}] == [
        dict(one.variant.settings) for one in found
    ]
    assert [[0, 1], [0, 1]] == [[spec.seed for spec in one.cell.specs] for one in found]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"baselines": ["sft-rest"]}, "sft-rest"),
        ({"traits": ["calm"]}, "calm"),
        ({"models": ["toyland/giant"]}, "toyland/giant"),
        ({"set": {"data.n_sampled": [12, "many"]}}, 'data.n_sampled="many"'),
        ({"set": {"nothing.there": [1]}}, "nothing.there"),
        ({"set": {"data.n_sampled": [1, 1.0]}}, None),
        ({"baselines": ["sft-reset", "sft-continual"], "set": {"mode": ["reset"]}}, "Two cells"),
        ({"rule": "lenient"}, "lenient"),
        ({"seeds": [0, 0]}, "0, 0"),
        ({"measurement": "quik"}, "quik"),
    ],
)
def test_what_a_grid_names_wrongly_is_an_error_that_says_where(change: dict[str, Any], part: str | None) -> None:
    """An unknown name, a setting that does not hold and cells that are the same each name the grid."""
    with pytest.raises((IdembenchError, ValueError)) as caught:
        sweep.expand(grids.Grid.model_validate({**GRID, **change}))

    if part is not None:
        assert part in str(caught.value)
        assert "grid small" in caught.value.where


def test_a_dry_run_counts_what_is_shared_and_found(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled], tmp_path: Path
) -> None:
    """Steps asked, different and found are those that a real sweep then makes."""
    place, watch, _, _ = swept
    specs = [spec for cell in CELLS for spec in cell.specs]
    asked = sum(len(steps_of(spec.plan)) for spec in specs)

    before = sweep.sharing(specs, sweep.plan_chains(specs, store=tmp_path / "store"))
    after = sweep.sharing(specs, sweep.plan_chains(specs, store=place / "store"))
    partly = shutil.copytree(place / "store", tmp_path / "partly")
    gone = next(key for key in watch.told("made") if (partly / "steps" / key / "adapter.bin").exists())
    shutil.rmtree(partly / "steps" / gone)
    some = sweep.sharing(specs, sweep.plan_chains(specs, store=partly))

    made = len(watch.told("made"))
    assert sweep.Sharing(asked=asked, distinct=made, found=0) == before
    assert sweep.Sharing(asked=asked, distinct=made, found=made) == after
    assert 0 < some.found < made


def test_a_diverged_chain_asks_for_no_more_than_it_took(tmp_path: Path) -> None:
    """The dry run of a chain that fell apart counts the steps up to there, all of them found."""
    spec = make_spec()
    (done,) = run([spec], tmp_path, engine=InstantEngine(diverge_at=1))

    found = sweep.sharing([spec], sweep.plan_chains([spec], store=tmp_path / "store"))

    steps = len(done.run.lineage)
    assert "c1" == done.run.diverged.cycle
    assert sweep.Sharing(asked=steps, distinct=steps, found=steps) == found


def test_a_broken_step_fails_the_chains_that_need_it(
    swept: tuple[Path, Watch, list[sweep.Outcome], Troubled], tmp_path: Path
) -> None:
    """A step whose bytes changed fails the one cell that uses it; the others are found."""
    store = shutil.copytree(swept[0] / "store", tmp_path / "store")
    own = swept[2][0].finished.record.chains[1].lineage[-1].key
    (store / "steps" / own / "facts.json").write_text("{}")

    found = sweep.run_cells(CELLS, results=tmp_path / "r", store=store, observer=Watch(), engine=InstantEngine())

    assert [[(1, StoreError)], []] == [[(one.spec.seed, type(one.error)) for one in cell.failures] for cell in found]
    assert json.loads(json.dumps([failure.error.code for failure in found[0].failures])) == ["store"]
