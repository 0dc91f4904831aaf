"""The committed records: all of them verify, and they are the ones the README speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from idembench import record
from idembench.files import find_records
from idembench.verify import verify

RESULTS = Path(__file__).resolve().parent.parent / "results"
FOLDERS = find_records(RESULTS / "records")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.parent.parent.name}")
def test_every_committed_record_verifies(folder: Path) -> None:
    """A committed record is recomputed from its samples without a problem and with no check left out."""
    report = verify(folder)

    assert [] == [problem for check in report.checks for problem in check.problems]
    assert [] == [check.name for check in report.checks if check.skipped is not None]


def test_both_baselines_are_there_on_all_traits() -> None:
    """Both baselines have one record of three seeds for each Toyland trait."""
    found = {(read.protocol.name, read.trait, len(read.chains)) for read in map(record.read, FOLDERS)}

    assert {
        (baseline, trait, 3)
        for baseline in ("sft-reset", "sft-continual")
        for trait in ("sycophancy", "misalignment", "bliss")
    } <= found


def test_the_committed_results_stay_small() -> None:
    """Everything below results/ takes less than 20 MB."""
    size = sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file())

    assert size < 20_000_000
