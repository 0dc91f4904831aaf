"""One short chain of a committed record, trained again: the tier *reproduced*, in CI."""

from __future__ import annotations

from pathlib import Path

import pytest
from instant import Quiet

from idembench import record, runs, stack
from idembench.chain import run_chain
from idembench.files import find_records
from idembench.store import Store
from idembench.work import TorchEngine

RESULTS = Path(__file__).resolve().parents[2] / "results" / "records"
PROTOCOL, TRAIT, SEED, CYCLES = "sft-reset", "sycophancy", 0, 1


@pytest.mark.slow
def test_a_committed_chain_comes_out_the_same_again(tmp_path: Path) -> None:
    """Base, cycle 0 and cycle 1 of a committed chain, made again: the same keys, and on the same stack the same bits."""
    (folder,) = find_records(RESULTS / "toyland__instruct" / TRAIT / PROTOCOL)
    committed = record.read(folder)
    (line,) = [one for one in committed.chains if one.seed == SEED]
    (cell,) = runs.cells(
        [PROTOCOL],
        trait_names=[TRAIT],
        seeds=[SEED],
        measurement=committed.protocol.measuring.name,
        overrides=[f"cycles={CYCLES}"],
        execution=committed.execution,
    )
    again = run_chain(cell.specs[0], Store(tmp_path), engine=TorchEngine(), observer=Quiet())
    first = line.lineage[: len(again.lineage)]

    here = stack.current(committed.execution.device, committed.execution.threads).digest
    if {step.stack for step in first if step.stack} != {here}:
        # Other bits are expected here, and every key after the first training follows from them.
        assert first[0].key == again.lineage[0].key
        pytest.skip("the record was made on another stack: bits agree within one only")
    assert [(step.kind, step.cycle, step.key) for step in first] == [
        (step.kind, step.cycle, step.key) for step in again.lineage
    ]
    assert [step.digest for step in first] == [step.digest for step in again.lineage]
