"""Runs: names become cells, cells become records, and a record depends on nothing but what it names."""

from __future__ import annotations

import getpass
import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from instant import SMALL, InstantEngine, InstantSampler, Quiet, hashed_bytes, make_cell, make_model, run_cell

from idembench import runs
from idembench.errors import Diverged, IdembenchError, InputError, ModelError, UnknownNameError
from idembench.files import RECORD
from idembench.protocol import Execution
from idembench.verify import verify

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store and the results of one small chain."""
    place = tmp_path_factory.mktemp("shared")
    run_cell(make_cell(), place)
    return place


# -- names become cells ---------------------------------------------------------------------------


def test_cells_are_baselines_by_traits() -> None:
    """Every baseline meets every trait of the pack, each with all seeds in order."""
    found = runs.cells(["sft-reset", "sft-continual"], seeds=(2, 0))

    names = ["bliss", "misalignment", "sycophancy"]
    expected = [(baseline, trait) for baseline in ("sft-reset", "sft-continual") for trait in names]
    assert expected == [(cell.protocol.name, cell.trait) for cell in found]
    assert [[0, 2]] * 6 == [[spec.seed for spec in cell.specs] for cell in found]


def test_what_is_not_given_is_the_pack_s() -> None:
    """Model and judge are the pack's, the execution the default, the rule the default one."""
    (cell,) = runs.cells(["sft-reset"], trait_names=["bliss"])

    spec = cell.specs[0]
    assert ("toyland/instruct", "toyland-exact", "default") == (spec.model.name, spec.judge.name, cell.rule.name)
    assert Execution() == spec.execution


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"baselines": ["sft"]}, UnknownNameError),
        ({"trait_names": ["calm"]}, UnknownNameError),
        ({"pack": "klingon"}, UnknownNameError),
        ({"model": "toyland/giant"}, UnknownNameError),
        ({"measurement": "slow"}, UnknownNameError),
        ({"rule": "mine"}, InputError),
        ({"seeds": ()}, InputError),
        ({"seeds": (0, 0)}, InputError),
        ({"seeds": (-1,)}, InputError),
        ({"overrides": ["cycles"]}, InputError),
    ],
)
def test_what_cannot_be_resolved_is_an_error(given: dict[str, Any], error: type[IdembenchError]) -> None:
    """An unknown name or an impossible seed is refused before anything is trained."""
    with pytest.raises(error):
        runs.cells(**{"baselines": ["sft-reset"], **given})


# -- cells become records -------------------------------------------------------------------------


def test_a_run_makes_one_record_that_verifies(tmp_path: Path) -> None:
    """A run makes every step once, writes one record below `records/`, and the record holds."""
    done = run_cell(make_cell(seeds=(0, 1)), tmp_path)

    assert [done.folder] == [path.parent for path in (tmp_path / "results").rglob(RECORD)]
    assert (28, 0) == (done.made, done.found)
    assert done.record.id == done.folder.name
    assert verify(done.folder).ok


def test_the_same_run_again_finds_everything_and_writes_nothing(tmp_path: Path) -> None:
    """Running again makes no step and leaves every file, the provenance included, as it was."""
    first = run_cell(make_cell(), tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.*")}
    engine = InstantEngine()

    again = run_cell(make_cell(), tmp_path, engine=engine)

    assert (0, 14) == (again.made, again.found)
    assert not engine.calls
    assert again.overhead_share is None
    assert first.record == again.record
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.*")
    }


def test_a_record_does_not_depend_on_where_or_when_it_was_made(tmp_path: Path) -> None:
    """Another store, another results folder, another order of seeds: the same bytes."""
    first = run_cell(make_cell(seeds=(0, 1)), tmp_path / "a")
    run_cell(make_cell(seeds=(1,)), tmp_path / "b")
    second = run_cell(make_cell(seeds=(0, 1)), tmp_path / "b")

    assert hashed_bytes(first.folder) == hashed_bytes(second.folder)
    assert (14, 14) == (second.made, second.found)


def test_nothing_hashed_names_this_machine(shared: Path) -> None:
    """No path, host, user or clock of this machine stands in any hashed file."""
    done = run_cell(make_cell(), shared)

    hashed = hashed_bytes(done.folder)[RECORD].decode()
    for name in (str(shared), "/tmp", "/home", platform.node(), f'"{getpass.getuser()}"', "created", "wall_s"):
        assert name not in hashed
    assert {"created", "idembench", "host", "steps_made", "wall_s", "timers_s"} == set(
        json.loads((done.folder / "provenance.json").read_bytes())
    )
    assert platform.node() not in (done.folder / "provenance.json").read_text()


@pytest.mark.parametrize(
    "other",
    [
        {"baseline": "sft-continual"},
        {"trait": "bliss"},
        {"model": make_model("toyland/other")},
        {"execution": Execution(batch_size=3)},
        {"seeds": (1,)},
    ],
    ids=["baseline", "trait", "model", "execution", "seed"],
)
def test_another_setting_is_another_record(shared: Path, other: dict[str, Any]) -> None:
    """Baseline, trait, model, execution and seed each change the record, also in a shared store."""
    first = run_cell(make_cell(), shared)
    second = run_cell(make_cell(**other), shared)

    assert first.record.id != second.record.id
    assert first.folder.exists()
    assert verify(second.folder).ok


def test_reset_and_continual_share_what_they_agree_on(tmp_path: Path) -> None:
    """Both modes share the base's measurement and cycle 0, so the second run finds them."""
    run_cell(make_cell("sft-reset"), tmp_path)

    second = run_cell(make_cell("sft-continual"), tmp_path)

    # base: measure, judge; c0: seed, train, measure, judge; c1: the rows sampled from c0.
    assert 7 == second.found


def test_a_rule_changes_the_analysis_alone(shared: Path) -> None:
    """The strict rule decides over the same steps: nothing is made again, the record is another."""
    first = run_cell(make_cell(), shared)
    (cell,) = runs.cells(["sft-reset"], trait_names=["sycophancy"], overrides=SMALL, rule="strict")

    strict = runs.Cell(specs=make_cell().specs, rule=cell.rule)
    second = run_cell(strict, shared)

    assert 0 == second.made
    assert (10.0, 5.0) == (first.record.analysis.rule.margin, second.record.analysis.rule.margin)
    assert first.record.chains == second.record.chains


def test_a_dry_run_knows_what_a_run_would_find(shared: Path, tmp_path: Path) -> None:
    """A plan before a run finds nothing, after it everything, and with one more cycle all up to there."""
    before = runs.plan(make_cell(), store=tmp_path / "store")
    after = runs.plan(make_cell(), store=shared / "store")
    longer = runs.plan(make_cell("sft-reset", "cycles=3"), store=shared / "store")

    assert [False] * 14 == [step.found for step in before[0]]
    assert [True] * 14 == [step.found for step in after[0]]
    assert [True] * 14 + [False] * 4 == [step.found for step in longer[0]]


def test_one_seed_that_falls_apart_does_not_lose_the_others(tmp_path: Path) -> None:
    """A seed that diverges stays in the record with its reason beside the seeds that did not."""
    done = run_cell(make_cell(seeds=(0, 1)), tmp_path, engine=InstantEngine(diverge_at=4))

    assert [None, "c1"] == [line.diverged and line.diverged.cycle for line in done.record.chains]
    assert "The training loss stopped being finite. (nan)" == done.record.chains[1].diverged.reason
    assert 1 in done.record.analysis.beyond_margin.seeds
    assert verify(done.folder).ok


@dataclass(kw_only=True)
class Unmeasurable(InstantEngine):
    """Falls apart when a checkpoint is opened that was trained `after` times."""

    after: int

    def open(self, *given: Any) -> InstantSampler:
        """Open, or say that nothing can be sampled."""
        if self.calls["train"] > self.after:
            raise Diverged("The model's probabilities are not finite.")
        return super().open(*given)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_checkpoint_that_cannot_be_measured_is_kept_as_diverged(tmp_path: Path, after: int) -> None:
    """A trained checkpoint that cannot answer ends its chain there; the record says so, verifies, and is found again."""
    done = run_cell(make_cell(seeds=(0,)), tmp_path, engine=Unmeasurable(after=after))
    again = run_cell(make_cell(seeds=(0,)), tmp_path)

    assert f"c{after}" == done.record.chains[0].diverged.cycle
    assert 0 == again.made
    assert done.record == again.record
    assert "" == " ".join(problem for check in verify(done.folder).checks for problem in check.problems)


def test_a_base_model_that_cannot_answer_is_an_error(tmp_path: Path) -> None:
    """If the base model itself cannot be sampled there is nothing to measure against: an error, no record."""
    with pytest.raises(ModelError, match="cannot answer at all"):
        run_cell(make_cell(), tmp_path, engine=Unmeasurable(after=-1))

    assert not list(tmp_path.rglob(RECORD))


def test_observers_are_told_every_step_in_order(tmp_path: Path) -> None:
    """Each step is announced before it is made and reported after, and reported once when found."""
    watching, again = Quiet(), Quiet()
    run_cell(make_cell(), tmp_path, observer=watching)
    run_cell(make_cell(), tmp_path, observer=again)

    started = [event[1:] for event in watching.events if event[0] == "started"]
    made = [event[1:] for event in watching.events if event[0] == "made"]
    assert started == made
    assert made == [event[1:] for event in again.events]
    assert {"found"} == {event[0] for event in again.events}
