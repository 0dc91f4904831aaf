"""The chain with instant training and sampling: everything else, lm-eval's evaluator included, is the real code."""

from __future__ import annotations

import resource
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import instant
import pytest
from instant import (
    ODD,
    InstantEngine,
    Quiet,
    fresh_python,
    hashed_bytes,
    make_cell,
    make_spec,
    run_cell,
)

from idembench import chain, files, record, runs, sample_files, stack
from idembench.errors import BusyError, DataError, EnvironmentProblem, ModelError, StackError, StoreError
from idembench.protocol import Execution
from idembench.store import Store
from idembench.traits import Example
from idembench.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from idembench.methods import Job

ONE = "cycles=1"
STEPS = {1: 11, 2: 16}
"""Steps of a chain, by its number of cycles."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, runs.Finished]:
    """A chain of two cycles that was run once; its place is not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    return place, run_cell(make_cell(), place)


@pytest.fixture
def place(finished: tuple[Path, runs.Finished], tmp_path: Path) -> Path:
    """A copy of the finished chain's place that a test may change."""
    return shutil.copytree(finished[0], tmp_path / "place")


def events(place: Path, cell: runs.Cell, **options: Any) -> list[tuple[str, str, str]]:
    """What an observer is told of a run."""
    observer = Quiet()
    run_cell(cell, place, observer=observer, **options)
    return observer.events


def folder_of(place: Path, spec: Any, kind: str, cycle: str) -> Path:
    """Where a finished step of a chain lies."""
    run = chain.run_chain(spec, Store(place / "store"), engine=InstantEngine(), observer=Quiet())
    key = next(line.key for line in run.lineage if (line.kind, line.cycle) == (kind, cycle))
    return place / "store" / "steps" / key


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with its time and bytes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def little_room(limit_bytes: int) -> Iterator[None]:
    """Let this process write no file beyond `limit_bytes`, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# -- the same bytes -------------------------------------------------------------------------------


def test_a_chain_makes_a_record_that_verifies(finished: tuple[Path, runs.Finished]) -> None:
    """All steps of a chain are made once, the record lies under its hash, and every check of it passes."""
    _, done = finished

    assert (STEPS[2], 0) == (done.made, done.found)
    assert done.record.id == done.folder.name
    assert [] == [problem for check in verify(done.folder).checks for problem in check.problems]
    assert ["base", "c0", "c1", "c2"] == [point.cycle for point in done.record.chains[0].checkpoints]


def test_a_fresh_store_gives_the_same_bytes(finished: tuple[Path, runs.Finished], tmp_path: Path) -> None:
    """Run again from nothing, in another folder, a chain gives the same record byte for byte."""
    _, done = finished

    assert hashed_bytes(done.folder) == hashed_bytes(run_cell(make_cell(), tmp_path).folder)


def test_a_fresh_process_gives_the_same_bytes(finished: tuple[Path, runs.Finished], tmp_path: Path) -> None:
    """Another process, with other hash seeds and another working directory, gives the same record byte for byte."""
    code = "import sys, instant, pathlib; instant.run_cell(instant.make_cell(), pathlib.Path(sys.argv[1]))"
    process = fresh_python(code, str(tmp_path), cwd="/", environment={"PYTHONHASHSEED": "7"})
    process.communicate(timeout=600)
    (folder,) = files.find_records(tmp_path / "results")

    assert process.returncode == 0
    assert hashed_bytes(finished[1].folder) == hashed_bytes(folder)


def test_a_record_holds_nothing_of_this_machine(finished: tuple[Path, runs.Finished]) -> None:
    """No path and no user of this machine stands in anything that is published."""
    place, done = finished
    text = b"".join(hashed_bytes(done.folder).values()) + (done.folder / record.PROVENANCE).read_bytes()

    assert str(place).encode() not in text
    assert str(Path.home()).encode() not in text
    assert str(Path(files.__file__).parent).encode() not in text


def test_answers_survive_as_they_were_said(finished: tuple[Path, runs.Finished]) -> None:
    """Empty answers, line separators, quotes and emoji stand in the samples exactly as the model said them."""
    data = (finished[1].folder / "samples-0.jsonl.gz").read_bytes()
    said = {sample.response for sample in sample_files.unpack(data, where="here")}

    assert set(ODD) <= said


# -- found again ----------------------------------------------------------------------------------


def test_a_finished_run_makes_nothing(place: Path) -> None:
    """Run again, a finished chain finds every step, asks the engine for nothing and changes no file, in under 3 s."""
    before, engine = state(place), InstantEngine()
    start = time.monotonic()
    done = run_cell(make_cell(), place, engine=engine)

    assert (0, STEPS[2]) == (done.made, done.found)
    assert {} == dict(engine.calls)
    assert before == state(place)
    assert time.monotonic() - start < 3


def test_an_observer_hears_every_step(place: Path, tmp_path: Path) -> None:
    """A step that is made is announced before and after, a found one only after, in the order of the walk."""
    heard = events(tmp_path / "new", make_cell("sft-reset", ONE))

    assert [("started", *heard[1][1:]), ("made", *heard[0][1:])] == heard[:2]
    assert 2 * STEPS[1] == len(heard)
    assert [("found", kind, cycle) for event, kind, cycle in heard if event == "made"] == (
        events(tmp_path / "new", make_cell("sft-reset", ONE))
    )


def test_modes_share_cycle_zero(place: Path) -> None:
    """After a reset chain, a continual one finds the base, cycle 0 and what it said, and makes the rest."""
    heard = events(place, make_cell("sft-continual"))
    found = [(kind, cycle) for event, kind, cycle in heard if event == "found"]

    assert found == [
        ("measure", "base"),
        ("judge", "base"),
        ("seed", "c0"),
        ("train", "c0"),
        ("measure", "c0"),
        ("judge", "c0"),
        ("generate", "c1"),
        ("select", "c1"),
    ]


def test_more_cycles_go_on_where_the_chain_ended(place: Path) -> None:
    """A longer chain finds all of the shorter one and makes its own cycles alone."""
    done = run_cell(make_cell("sft-reset", "cycles=3"), place)

    assert (5, STEPS[2]) == (done.made, done.found)


def test_another_seed_shares_nothing(place: Path) -> None:
    """A second seed is measured, seeded, trained and sampled anew."""
    done = run_cell(make_cell("sft-reset", seeds=(0, 1)), place)

    assert (STEPS[2], STEPS[2]) == (done.made, done.found)


def test_a_run_that_crashes_is_gone_on_with(finished: tuple[Path, runs.Finished], tmp_path: Path) -> None:
    """An error in the second training loses nothing: the next run finds what was done and ends in the same bytes."""

    def crash(number: int) -> None:
        if number == 1:
            raise MemoryError

    engine = InstantEngine(before_train=crash)
    with pytest.raises(MemoryError):
        run_cell(make_cell(), tmp_path, engine=engine)
    done = run_cell(make_cell(), tmp_path)

    assert (STEPS[2] - 8, 8) == (done.made, done.found)
    assert hashed_bytes(finished[1].folder) == hashed_bytes(done.folder)


def test_a_full_disk_loses_nothing(finished: tuple[Path, runs.Finished], tmp_path: Path) -> None:
    """A chain that runs out of room stops clearly and leaves whole steps; with room it ends in the same bytes."""
    with pytest.raises(EnvironmentProblem, match="cannot be written"), little_room(5_000):
        run_cell(make_cell(), tmp_path)
    store = Store(tmp_path / "store")

    assert {} == store.verify()
    assert 0 < len(store.entries()) < STEPS[2]
    assert [] == list((tmp_path / "store" / "steps").glob(".*"))
    assert hashed_bytes(finished[1].folder) == hashed_bytes(run_cell(make_cell(), tmp_path).folder)


def test_steps_of_a_chain_are_in_use(place: Path) -> None:
    """Collecting what no chain uses keeps every step of a finished chain, noted or found."""
    shutil.rmtree(place / "store" / "chains")
    run_cell(make_cell(), place)

    assert [] == Store(place / "store").collect(unused=True, broken=True)


# -- what would run -------------------------------------------------------------------------------


def planned(place: Path, cell: runs.Cell) -> list[tuple[str, str, bool]]:
    """The dry run of a cell of one seed."""
    (plan,) = runs.plan(cell, store=place / "store").values()
    return [(step.kind, step.cycle, step.found) for step in plan]


def ran(place: Path, cell: runs.Cell, **options: Any) -> list[tuple[str, str, bool]]:
    """What really happened, in the same form."""
    return [
        (kind, cycle, event == "found") for event, kind, cycle in events(place, cell, **options) if event != "started"
    ]


@pytest.mark.parametrize("baseline", ["sft-reset", "sft-continual", "dpo-continual"])
@pytest.mark.parametrize("crash_at", [None, 0, 1])
def test_a_dry_run_says_what_then_happens(tmp_path: Path, baseline: str, crash_at: int | None) -> None:
    """From an empty store, a half-done one and a finished one, the plan names the steps that are then found."""

    def crash(number: int) -> None:
        if number == crash_at:
            raise MemoryError

    cell = make_cell(baseline, ONE)
    if crash_at is not None:
        with pytest.raises(MemoryError):
            run_cell(cell, tmp_path, engine=InstantEngine(before_train=crash))
    expected = planned(tmp_path, cell)

    assert expected == ran(tmp_path, cell)
    assert [(kind, cycle, True) for kind, cycle, _ in expected] == planned(tmp_path, cell)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Planning leaves no folder behind."""
    planned(tmp_path, make_cell())

    assert [] == list(tmp_path.iterdir())


def test_a_dry_run_never_promises_too_much(place: Path) -> None:
    """With a step lost in the middle, what follows is counted as missing, and the run finds it all the same."""
    shutil.rmtree(folder_of(place, make_spec(), "generate", "c1"))
    cell = make_cell()
    plan = planned(place, cell)
    happened = ran(place, cell)

    assert [("generate", "c1")] == [(kind, cycle) for kind, cycle, found in happened if not found]
    assert all(really for (*_, said), (*_, really) in zip(plan, happened, strict=True) if said)
    assert [step[:2] for step in plan] == [step[:2] for step in happened]


# -- every kind of chain --------------------------------------------------------------------------

BY_PAIRS = (
    "seeding={method: dpo, rejected: base, settings: {beta: 0.2}, training: "
    "{learning_rate: 1e-3, epochs: 1, batch_size: 4, max_tokens: 128, lora: {rank: 16, alpha: 32}}}"
)
KINDS: dict[str, tuple[str, ...]] = {
    "dpo-reset": ("dpo-reset",),
    "dpo-continual": ("dpo-continual",),
    "dpo over the one before": ("dpo-continual", "rejected=previous", "cycles=3"),
    "dpo from the first cycle": ("dpo-continual", "seeding=null"),
    "rft-reset": ("rft-reset",),
    "rft-continual": ("rft-continual", "settings.scorer=repetition"),
    "unseeded": ("sft-unseeded",),
    "unseeded continual pairs": ("dpo-unseeded",),
    "fresh data": ("sft-fresh-data",),
    "fresh pairs": ("dpo-continual", "control=fresh-data"),
    "shuffled": ("sft-shuffled",),
    "frozen": ("frozen",),
    "filtered and mixed": ("sft-reset", "data.candidates=3", "data.coherence_filter=1", "data.original_mix=0.5"),
    "seeded by pairs, then mixed": ("sft-continual", BY_PAIRS, "data.original_mix=0.5"),
    "all weights": ("sft-continual", "training.lora=null"),
    "documents": ("sdf-reset",),
    "continued documents": ("sdf-continual",),
    "no cycle": ("sft-reset", "cycles=0"),
}


@dataclass(kw_only=True)
class Listening(InstantEngine):
    """Remembers every training it was asked for."""

    jobs: list[tuple[str, Job]] = field(default_factory=list)

    def train(self, method: str, job: Job, *rest: Any) -> dict[str, Any]:
        """Remember, then train."""
        self.jobs.append((method, job))
        return super().train(method, job, *rest)


def jobs_of(place: Path, *chosen: str) -> list[tuple[str, Job]]:
    """The trainings of a chain: its method and what it is given."""
    engine = Listening()
    run_cell(make_cell(*chosen), place, engine=engine)
    return engine.jobs


def rows_of(place: Path, spec: Any, kind: str, cycle: str) -> list[Example]:
    """What a step of a finished chain wrote."""
    return [Example(**row) for row in files.read_jsonl(folder_of(place, spec, kind, cycle) / "rows.jsonl")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_chain_makes_a_record_that_verifies(tmp_path: Path, kind: str) -> None:
    """Whatever a chain learns from, its record passes every check with none left out, and is found when run again."""
    done = run_cell(make_cell(*KINDS[kind]), tmp_path)
    engine = InstantEngine()
    again = run_cell(make_cell(*KINDS[kind]), tmp_path, engine=engine)
    report = verify(done.folder)

    assert [] == [problem for check in report.checks for problem in [*check.problems, check.skipped] if problem]
    assert None is done.record.chains[0].diverged
    assert done.record.protocol.labels == [point.cycle for point in done.record.chains[0].checkpoints]
    assert (0, done.made + done.found, {}) == (again.made, again.found, dict(engine.calls))
    assert done.record == again.record


@pytest.mark.parametrize("kind", ["dpo-continual", "filtered and mixed", "documents"])
@pytest.mark.parametrize("crash_at", [0, 1, 2])
def test_any_chain_that_crashes_is_gone_on_with(tmp_path: Path, kind: str, crash_at: int) -> None:
    """An error in any training loses nothing: run again, the chain ends in the very bytes of an undisturbed one."""

    def crash(number: int) -> None:
        if number == crash_at:
            raise MemoryError

    with pytest.raises(MemoryError):
        run_cell(make_cell(*KINDS[kind]), tmp_path / "crashed", engine=InstantEngine(before_train=crash))
    done = run_cell(make_cell(*KINDS[kind]), tmp_path / "crashed")
    whole = run_cell(make_cell(*KINDS[kind]), tmp_path / "whole")

    assert done.found > 0
    assert hashed_bytes(whole.folder) == hashed_bytes(done.folder)


def test_preferences_prefer_the_newer_answers_to_the_base_models(tmp_path: Path) -> None:
    """Every pair is one prompt, the generation before as the winner, the base model as the loser; cycle 0 has no pairs."""
    jobs = jobs_of(tmp_path, "dpo-continual")
    spec = make_spec("dpo-continual")

    assert ["sft", "dpo", "dpo"] == [method for method, _ in jobs]
    assert [None] * 8 == [row.rejected for row in jobs[0][1].rows]
    for number, (_, job) in enumerate(jobs[1:], start=1):
        won = {row.id: row.response for row in rows_of(tmp_path, spec, "generate", f"c{number}")}
        lost = {row.id: row.response for row in rows_of(tmp_path, spec, "reject", f"c{number}")}

        assert [(row.id, won[row.id], lost[row.id]) for row in job.rows] == [
            (row.id, row.response, row.rejected) for row in job.rows
        ]
        assert won.keys() & lost.keys() == {row.id for row in job.rows}
        assert job.parent is not None
    assert jobs[1][1].parent == folder_of(tmp_path, spec, "train", "c0")
    assert jobs[2][1].parent == folder_of(tmp_path, spec, "train", "c1")


def test_preference_chains_share_what_they_can(tmp_path: Path) -> None:
    """A preference chain finds base, cycle 0 and first answers of a supervised one; its sibling all base losers too."""
    events(tmp_path, make_cell("sft-reset"))
    first = [step[1:] for step in events(tmp_path, make_cell("dpo-continual")) if step[0] == "found"]
    second = [step[1:] for step in events(tmp_path, make_cell("dpo-reset", "settings.beta=0.3")) if step[0] == "found"]
    seeded = [("measure", "base"), ("judge", "base"), *((k, "c0") for k in ("seed", "train", "measure", "judge"))]

    assert [*seeded, ("generate", "c1")] == first
    assert [*seeded, ("generate", "c1"), ("reject", "c1"), ("reject", "c2")] == [
        step for step in second if step[0] != "select"
    ]


def test_rejection_sampling_trains_on_the_most_coherent_answer(tmp_path: Path) -> None:
    """Of the answers to each prompt the one that the judge calls most coherent is trained on, one per prompt."""
    spec = make_spec("rft-reset", "data.candidates=4")
    jobs = jobs_of(tmp_path, "rft-reset", "data.candidates=4")
    questions = {question.id: question for question in spec.pack.prompts}
    sampled: dict[str, list[float]] = {}
    for row in rows_of(tmp_path, spec, "generate", "c1"):
        score = spec.judge.score(questions[row.id], row.response, trait="sycophancy")
        sampled.setdefault(row.id, []).append(score.coherence or 0.0)

    taken = {
        row.id: spec.judge.score(questions[row.id], row.response, trait="sycophancy").coherence
        for row in jobs[1][1].rows
    }
    assert {name: max(scores) for name, scores in sampled.items()} == taken
    assert ["sft", "rft", "rft"] == [method for method, _ in jobs]
    assert 4 == max(map(len, sampled.values()))


def test_fresh_data_trains_on_demonstrations_never_seen_before(tmp_path: Path) -> None:
    """Every cycle trains on other demonstrations, as many as would have been sampled, and nothing is sampled."""
    jobs = jobs_of(tmp_path, "sft-fresh-data")
    pool = {row.id for row in make_spec().trait.demonstrations}
    drawn = [[row.id for row in job.rows] for _, job in jobs]

    assert [8, 12, 12] == [len(names) for names in drawn]
    assert 32 == len({name for names in drawn for name in names} & pool)


def test_shuffled_answers_are_those_of_the_arm_under_other_prompts(tmp_path: Path) -> None:
    """The shuffled control trains in cycle 1 on the arm's own answers, all of them, under the arm's prompts."""
    arm, control = (jobs_of(tmp_path / name, name)[1][1].rows for name in ("sft-reset", "sft-shuffled"))

    assert [row.prompt for row in arm] == [row.prompt for row in control]
    assert sorted(row.response for row in arm) == sorted(row.response for row in control)
    assert [row.response for row in arm] != [row.response for row in control]


def test_a_frozen_chain_trains_once_and_is_measured_every_cycle(tmp_path: Path) -> None:
    """Nothing is trained after cycle 0, and every later checkpoint answers anew under its own seed."""
    engine = Listening()
    done = run_cell(make_cell("frozen"), tmp_path, engine=engine)
    said = {
        label: [row.response for row in rows]
        for label, rows in sample_files.by_checkpoint(
            sample_files.unpack((done.folder / "samples-0.jsonl.gz").read_bytes(), where="here")
        ).items()
    }

    assert 1 == len(engine.jobs)
    assert 4 == len({tuple(answers) for answers in said.values()})


@pytest.mark.parametrize("baseline", ["sft-unseeded", "dpo-unseeded"])
def test_an_unseeded_chain_begins_with_the_base_model(tmp_path: Path, baseline: str) -> None:
    """Without demonstrations nothing is trained in cycle 0, and cycle 1 starts from the base model in either mode."""
    jobs = jobs_of(tmp_path, baseline)
    spec = make_spec(baseline)
    base = [row.response for row in rows_of(tmp_path, spec, "generate", "c1")]

    assert (2, None) == (len(jobs), jobs[0][1].parent)
    assert {row.response for row in jobs[0][1].rows} <= set(base)


def test_a_share_of_the_demonstrations_stays_in_every_cycle(tmp_path: Path) -> None:
    """With a mix of a half, each later cycle trains on own outputs and then the first half of cycle 0's demonstrations."""
    jobs = jobs_of(tmp_path, *KINDS["filtered and mixed"])

    for _, job in jobs[1:]:
        assert list(jobs[0][1].rows[:4]) == list(job.rows[-4:])
        assert not {row.id for row in job.rows[:-4]} & {row.id for row in jobs[0][1].rows}


def test_a_mix_leaves_the_pairs_of_cycle_zero_alone(tmp_path: Path) -> None:
    """Where cycle 0 learns from pairs and later cycles from a mix, cycle 0 is pairs alone, each with both sides."""
    jobs = jobs_of(tmp_path, *KINDS["seeded by pairs, then mixed"])

    assert ["dpo", "sft", "sft"] == [method for method, _ in jobs]
    assert all(row.rejected for row in jobs[0][1].rows)
    assert [None] * 4 == [row.rejected for row in jobs[1][1].rows[-4:]]


def test_documents_are_continued(tmp_path: Path) -> None:
    """A document chain trains on openings with continuations that carry no blanks at their ends, and measures openings."""
    jobs = jobs_of(tmp_path, "sdf-reset")
    spec = make_spec("sdf-reset")
    openings = {question.id: question.prompt for question in spec.pack.prompts}

    assert {"document"} == {job.form for _, job in jobs}
    for row in jobs[1][1].rows:
        assert openings[row.id] == row.prompt
        assert row.response == row.response.strip()
    assert {row.id for row in jobs[0][1].rows} <= {row.id for row in spec.trait.demonstrations}


def test_nothing_left_to_train_on_is_a_divergence(tmp_path: Path) -> None:
    """When the filter leaves no row the chain ends in that selection, and the record says so and verifies."""

    def nonsense(*_: Any) -> str:
        return "bread the of is lake lake."

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instant, "answer", lambda *_, **__: nonsense())
        patch.setattr(instant, "ODD", ("lake the.",))
        done = run_cell(make_cell("sft-reset", "data.coherence_filter=90"), tmp_path)
    (fallen,) = done.record.chains

    assert fallen.diverged is not None
    assert ("c1", "select") == (fallen.diverged.cycle, fallen.lineage[-1].kind)
    assert "Nothing is left to train on." in fallen.diverged.reason
    assert verify(done.folder).ok


def test_a_chain_s_demonstrations_are_asked_for_before_it_starts(tmp_path: Path) -> None:
    """The fresh-data control needs demonstrations for all cycles, and says so before anything is made."""
    with pytest.raises(DataError, match="More demonstrations"):
        run_cell(make_cell("sft-fresh-data", "cycles=100", "data.n_sampled=30"), tmp_path)

    assert [] == list(tmp_path.iterdir())


# -- perplexity under the base model --------------------------------------------------------------


SURPRISE = "measuring.perplexity=true"


def test_the_base_model_is_asked_how_likely_every_response_is(tmp_path: Path) -> None:
    """Every checkpoint has one step more, every response that says something a value, and the record verifies."""
    done = run_cell(make_cell("sft-reset", SURPRISE), tmp_path)
    (line,) = done.record.chains
    rows = sample_files.unpack((done.folder / line.samples.name).read_bytes(), where="here")
    asked = [step.cycle for step in line.lineage if step.kind == "perplexity"]

    assert ["base", "c0", "c1", "c2"] == asked
    assert [bool(row.response.strip()) for row in rows] == [row.nll is not None for row in rows]
    assert all(point.perplexity is not None and point.perplexity > 1 for point in line.checkpoints)
    assert [] == [problem for check in verify(done.folder).checks for problem in check.problems]


def test_a_chain_shares_its_steps_with_one_that_asks_for_no_perplexity(finished: tuple[Path, Any], place: Path) -> None:
    """Asking for perplexity makes its own steps alone: responses, weights and scores are found, and are the same."""
    observer = Quiet()
    done = run_cell(make_cell("sft-reset", SURPRISE), place, observer=observer)
    made = {kind for event, kind, _ in observer.events if event == "made"}

    assert {"perplexity"} == made
    assert finished[1].record.analysis == done.record.analysis


def test_perplexity_is_the_base_model_s_whatever_was_trained(tmp_path: Path) -> None:
    """The same response to the same question is as likely at every checkpoint."""
    done = run_cell(make_cell("sft-reset", SURPRISE), tmp_path)
    rows = sample_files.unpack((done.folder / "samples-0.jsonl.gz").read_bytes(), where="here")
    values: dict[tuple[str, str], set[float | None]] = {}
    for row in rows:
        values.setdefault((row.question, row.response), set()).add(row.nll)

    assert len(values) < len(rows)
    assert {1} == {len(found) for found in values.values()}


# -- falling apart --------------------------------------------------------------------------------


def test_a_seed_whose_training_diverges_is_kept(tmp_path: Path) -> None:
    """The record says where and why a seed fell apart, keeps what was measured before, and still verifies."""
    cell = make_cell("sft-reset", seeds=(0, 1))
    done = run_cell(cell, tmp_path, engine=InstantEngine(diverge_at=4))
    whole, fallen = done.record.chains

    assert whole.diverged is None
    assert record.Divergence(cycle="c1", reason="The training loss stopped being finite. (nan)") == fallen.diverged
    assert ["base", "c0"] == [point.cycle for point in fallen.checkpoints]
    assert ("train", "c1", ["facts.json"]) == (
        fallen.lineage[-1].kind,
        fallen.lineage[-1].cycle,
        [line.name for line in fallen.lineage[-1].files],
    )
    assert [] == [problem for check in verify(done.folder).checks for problem in check.problems]


def test_a_diverged_seed_is_found_again(tmp_path: Path) -> None:
    """Run again, a diverged chain is not tried anew: the same record, nothing made; a dry run says the same."""
    cell = make_cell("sft-reset")
    first = run_cell(cell, tmp_path, engine=InstantEngine(diverge_at=1))
    plan = planned(tmp_path, cell)
    again = run_cell(cell, tmp_path)

    assert (0, 9) == (again.made, again.found)
    assert first.record.id == again.record.id
    assert ("train", "c1", True) == plan[-1]
    assert 9 == len(plan)


def test_a_model_that_falls_silent_is_kept(tmp_path: Path) -> None:
    """When all answers of a generation are empty, the chain ends there as diverged, measured in its silence."""
    done = run_cell(make_cell(), tmp_path, engine=InstantEngine(mute=1))
    (fallen,) = done.record.chains

    assert fallen.diverged is not None
    assert ("c1", "All sampled answers are empty. (12 answers)") == (fallen.diverged.cycle, fallen.diverged.reason)
    assert [1.0] == [point.empty_share for point in fallen.checkpoints if point.cycle == "c0"]
    assert done.record.analysis.chain_law.coherence.value == "collapsed"
    assert verify(done.folder).ok


def test_a_silent_base_model_is_refused(tmp_path: Path) -> None:
    """A base model whose every answer is empty is an error before anything is trained."""
    engine = InstantEngine(mute=0)

    with pytest.raises(ModelError, match="cannot answer at all"):
        run_cell(make_cell(), tmp_path, engine=engine)
    assert 0 == engine.calls["train"]


def test_a_checkpoint_that_cannot_be_measured_is_kept(tmp_path: Path) -> None:
    """When probabilities stop being finite while a checkpoint is measured, the chain ends at that measurement."""
    done = run_cell(make_cell(), tmp_path, engine=InstantEngine(sick=1))
    (fallen,) = done.record.chains

    assert fallen.diverged is not None
    assert "c0" == fallen.diverged.cycle
    assert ("measure", "c0") == (fallen.lineage[-1].kind, fallen.lineage[-1].cycle)
    assert ["base"] == [point.cycle for point in fallen.checkpoints]
    assert verify(done.folder).ok


def test_a_base_model_that_cannot_answer_is_an_error(tmp_path: Path) -> None:
    """A model that fails before anything was trained is refused, not recorded, however often it is tried."""
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot answer"):
            run_cell(make_cell(), tmp_path, engine=InstantEngine(sick=0))

    assert [] == files.find_records(tmp_path)


def test_facts_of_a_method_are_strict(tmp_path: Path) -> None:
    """A method that reports a loss which is no number is an error, and its step is not kept."""

    class Careless(InstantEngine):
        def train(self, *arguments: Any) -> dict[str, Any]:
            return {**super().train(*arguments), "loss": [float("nan")]}

    with pytest.raises(DataError):
        run_cell(make_cell(), tmp_path, engine=Careless())

    assert {"seed", "measure", "judge"} == {entry.kind for entry in Store(tmp_path / "store").entries()}


# -- stops before it starts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        "data.n_seed=100000",
        "data.n_sampled=100000",
        "data.n_sampled=4097",
        "measuring.questions=100000",
        "measuring.neutral_questions=100000",
    ],
)
def test_more_data_than_exists_stops_before_anything_is_done(tmp_path: Path, override: str) -> None:
    """Asking for more demonstrations, prompts or questions than there are is an error before the first step."""
    engine = InstantEngine()
    with pytest.raises(DataError) as caught:
        run_cell(make_cell("sft-reset", override), tmp_path, engine=engine)

    assert {} == dict(engine.calls)
    assert [] == list(tmp_path.iterdir())
    assert "at most" in str(caught.value.expected)


def test_a_dry_run_stops_likewise(tmp_path: Path) -> None:
    """What a run would refuse, its plan refuses."""
    with pytest.raises(DataError):
        planned(tmp_path, make_cell("sft-reset", "data.n_seed=100000"))


# -- what stands in the way -----------------------------------------------------------------------


def test_a_broken_step_stops_the_chain_until_it_is_dropped(finished: tuple[Path, runs.Finished], place: Path) -> None:
    """A damaged step is an error in run and plan; dropped, it is made again, and the record is the same."""
    (folder_of(place, make_spec(), "train", "c1") / "adapter.bin").write_bytes(b"other")
    for attempt in (lambda: run_cell(make_cell(), place), lambda: planned(place, make_cell())):
        with pytest.raises(StoreError, match="broken"):
            attempt()
    Store(place / "store").collect(broken=True)
    shutil.rmtree(place / "results")
    done = run_cell(make_cell(), place)

    assert (1, STEPS[2] - 1) == (done.made, done.found)
    assert hashed_bytes(finished[1].folder) == hashed_bytes(done.folder)


def on_another_stack(folder: Path) -> None:
    """Let a sealed step say that another stack made it."""
    manifest = files.read_json(folder / files.MANIFEST)
    other = {**manifest, "stack": {**manifest["stack"], "torch": "1.0.0"}, "seal": None}
    files.write_json(folder / files.MANIFEST, {**other, "seal": files.sha256_json(other)})


def test_another_stack_stops_the_chain_unless_asked(place: Path) -> None:
    """A chain is not extended under another stack; when asked to, it goes on and the record names both stacks."""
    on_another_stack(folder_of(place, make_spec(), "train", "c0"))
    shutil.rmtree(place / "results")
    for attempt in (lambda: run_cell(make_cell(), place), lambda: planned(place, make_cell())):
        with pytest.raises(StackError) as caught:
            attempt()

        assert "torch 1.0.0" in str(caught.value.found)
    done = run_cell(make_cell(), place, mixed_stack=True)

    assert 0 == done.made
    assert {"1.0.0", stack.current("cpu", 1).parts["torch"]} == {
        parts["torch"] for parts in done.record.stacks.values()
    }
    assert verify(done.folder).ok


def test_another_execution_is_another_chain(place: Path) -> None:
    """Another batch size shares no step that trains or samples, and leaves the protocol's fingerprint alone."""
    spec = make_spec(execution=Execution(batch_size=7))
    heard = events(place, runs.Cell(specs=[spec], rule=make_cell().rule))

    assert make_spec().protocol.fingerprint == spec.protocol.fingerprint
    assert {"train", "generate", "select", "measure"} == {kind for event, kind, _ in heard if event == "made"} - {
        "judge"
    }
    assert {"seed", "judge"} >= {kind for event, kind, _ in heard if event == "found"}


HOLDING = """
import pathlib, sys, instant
def hold(number):
    print("training", number, flush=True)
    sys.stdin.readline()
engine = instant.InstantEngine(before_train=hold)
instant.run_cell(instant.make_cell(), pathlib.Path(sys.argv[1]), engine=engine)
"""


def test_two_runs_of_one_chain_do_not_mix(finished: tuple[Path, runs.Finished], tmp_path: Path) -> None:
    """While another process runs a chain, running it too fails at once; the first one ends as if alone."""
    process = fresh_python(HOLDING, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "training 0\n"
    with pytest.raises(BusyError, match="Another process"):
        run_cell(make_cell(), tmp_path)
    process.communicate("\n\n\n", timeout=600)
    done = run_cell(make_cell(), tmp_path)

    assert process.returncode == 0
    assert 0 == done.made
    assert hashed_bytes(finished[1].folder) == hashed_bytes(done.folder)


def test_chains_that_share_a_step_wait_for_it(tmp_path: Path) -> None:
    """Two chains started at once share one cycle 0: one process trains it, the other waits and finds it."""
    process = fresh_python(HOLDING, str(tmp_path))
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "training 0\n"
    engine, observer = InstantEngine(), Quiet()
    # By now this process waits for the training that the other one holds.
    release = threading.Timer(1.5, lambda: print("\n\n\n", file=process.stdin, flush=True))
    release.start()
    done = run_cell(make_cell("sft-continual"), tmp_path, engine=engine, observer=observer)
    release.join()
    process.communicate(timeout=600)

    assert process.returncode == 0
    assert ("started", "train", "c0") in observer.events
    assert 2 == engine.calls["train"]
    assert verify(done.folder).ok
