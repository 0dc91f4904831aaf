"""`idembench sweep` and `run --workers`: exit codes, streams, JSON, and what a second try finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from instant import SMALL, InstantEngine
from troubled import Watch

from idembench import grids, sweep
from idembench.files import available_cores, find_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Said

TOGETHER = "\n".join(
    f"    {key}: {value}" for key, value in (setting.split("=") for setting in SMALL) if "sampled" not in key
)
GRID = f"""# Small enough to be found.
baselines: [sft-reset]
traits: [bliss]
seeds: 0..1
cells:
  -
{TOGETHER}
set:
  data.n_sampled: [12, 14]
plot: {{x: data.n_sampled, y: drift}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grid file and the store and results of its sweep, training and sampling replaced."""
    place = tmp_path_factory.mktemp("made")
    (place / "mine.yaml").write_text(GRID)
    cells = [one.cell for one in sweep.expand(grids.load(str(place / "mine.yaml")))]
    sweep.run_cells(cells, results=place / "results", store=place / "store", observer=Watch(), engine=InstantEngine())
    return place


@pytest.fixture
def broken(made: Path, tmp_path: Path) -> Path:
    """A copy of the store in which the last step of one chain is broken."""
    last = json.loads((find_records(made / "results")[0] / "record.json").read_bytes())["chains"][0]["lineage"][-1]
    store = Path(shutil.copytree(made / "store", tmp_path / "store"))
    (store / "steps" / last["key"] / "facts.json").write_text("{}")
    return store


def test_a_finished_sweep_is_found_again(say: Callable[..., Said], made: Path, tmp_path: Path) -> None:
    """The same sweep again makes nothing, writes the same records, and ends in a table of its cells."""
    said = say("sweep", made / "mine.yaml", "--store", made / "store", "--results", tmp_path / "results")

    assert 0 == said.code, said.err
    assert "0 steps were run of" in said.err
    assert f"idembench verify {tmp_path / 'results'}" in said.err
    assert 2 == said.out.count("bliss")
    assert [path.name for path in find_records(made / "results")] == [
        path.name for path in find_records(tmp_path / "results")
    ]


def test_a_dry_run_says_what_is_shared_and_leaves_nothing(say: Callable[..., Said], made: Path, tmp_path: Path) -> None:
    """Steps asked, different and found are printed, and no file is written."""
    said = say("sweep", made / "mine.yaml", "--dry-run", "--store", tmp_path / "store")
    machine = say("sweep", made / "mine.yaml", "--dry-run", "--store", made / "store", "--json")

    steps = json.loads(machine.out)["steps"]
    assert (0, 0) == (said.code, machine.code)
    assert f"ask for {steps['asked']} steps, {steps['distinct']} of them different; 0 are in the store" in said.out
    assert steps["found"] == steps["distinct"] < steps["asked"]
    assert [] == list(tmp_path.iterdir())


def test_a_failed_cell_exits_with_its_error_and_keeps_the_others(
    say: Callable[..., Said], made: Path, broken: Path, tmp_path: Path
) -> None:
    """One broken step fails one cell: exit 3, the error with the chain it stopped, the other cell's record written."""
    command = ("sweep", made / "mine.yaml", "--store", broken, "--results", tmp_path / "results")

    said = say(*command)
    machine = say(*command, "--json")

    assert (3, 3) == (said.code, machine.code)
    assert 1 == said.err.count("error  A step in the store is broken")
    assert "stopped   sft-reset data.n_sampled=1" in said.err
    assert "the same command again" in said.err
    assert "failed" in said.out
    assert 1 == len(find_records(tmp_path / "results"))
    cells = json.loads(machine.out)["cells"]
    assert ["store"] == [failure["code"] for cell in cells for failure in cell["failures"]]
    assert 1 == sum(cell["record"] is None for cell in cells)


def test_a_run_too_reports_failures_at_the_end(
    say: Callable[..., Said], made: Path, broken: Path, tmp_path: Path
) -> None:
    """`run` writes the records it can, then reports what failed and exits with its code; it finds a grid's steps."""
    small = [part for setting in SMALL if "sampled" not in setting for part in ("--set", setting)]
    options = ("-t", "bliss", "-s", "0,1", *small, "--results", tmp_path / "results")

    codes = {
        n: say("run", "sft-reset", *options, "--set", f"data.n_sampled={n}", "--store", broken).code for n in (12, 14)
    }

    assert [0, 3] == sorted(codes.values())
    assert 1 == len(find_records(tmp_path / "results"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("temperate",), ["There is no grid called 'temperate'", "Did you mean temperature?"]),
        (("no.yaml",), ["A file cannot be read", "no.yaml"]),
        (
            ("temperature", "--workers", 99999),
            ["fewer cores than the workers would use", f"at most {available_cores()}"],
        ),
    ],
)
def test_bad_input_is_answered_with_what_to_do(
    say: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    parts: list[str],
) -> None:
    """A wrong name, file or number of workers exits 2 before anything is made; stdout stays empty."""
    monkeypatch.chdir(tmp_path)

    said = say("sweep", *arguments, "--store", tmp_path / "store")

    flat = " ".join(said.err.split())
    assert (2, "") == (said.code, said.out)
    assert [] == [part for part in parts if part not in flat]
    assert [] == list(tmp_path.iterdir())


def test_no_workers_at_all_is_a_usage_error(say: Callable[..., Said]) -> None:
    """Fewer than one worker cannot be asked for."""
    said = say("run", "sft-reset", "--workers", 0)

    assert 2 == said.code
    assert "--workers" in said.err
