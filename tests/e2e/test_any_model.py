"""Any Hugging Face causal model in a folder goes through the whole chain: here a Qwen3 of random weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_qwen

from idembench import record

pytestmark = pytest.mark.slow

SIZES = (
    *("cycles=2", "data.n_seed=8", "data.n_sampled=8", "training.epochs=1", "training.batch_size=4"),
    *("training.max_tokens=2048", "training.lora.rank=4", "training.lora.alpha=8", "sampling.max_new_tokens=12"),
    *("measuring.questions=4", "measuring.neutral_questions=2", "measuring.max_new_tokens=12"),
)


def idembench(*arguments: object, cwd: Path) -> Any:
    """Run the command line offline; its JSON."""
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("idembench")), *map(str, arguments), "--json"],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3, saved as a folder."""
    return write_qwen(tmp_path_factory.mktemp("models") / "tiny-qwen3")


SEEDED = (
    *("seeding.training.epochs=1", "seeding.training.batch_size=4", "seeding.training.max_tokens=2048"),
    *("seeding.training.lora.rank=4", "seeding.training.lora.alpha=8"),
)
"""The same sizes for a cycle 0 that learns otherwise than the later ones."""


@pytest.mark.parametrize(
    ("baseline", "pack", "dtype", "steps", "more"),
    [
        ("sft-reset", "toyland", "float32", 16, ()),
        ("sft-continual", "toyland", "bfloat16", 16, ()),
        ("dpo-continual", "toyland", "float32", 18, SEEDED),
        ("sdf-reset", "toyland", "float32", 16, ()),
        ("study/sft-reset", "english", "float32", 20, ()),
        ("study/dpo-continual", "english", "float32", 24, ()),
        ("study/sdf-reset", "english", "float32", 20, ("data.n_seed=8",)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_model_from_a_folder_goes_through_the_whole_chain(
    qwen: Path, tmp_path: Path, baseline: str, pack: str, dtype: str, steps: int, more: tuple[str, ...]
) -> None:
    """A model nobody prepared is seeded, iterated and measured; its record verifies, and is found when run again."""
    flags = [part for setting in (*SIZES, *more) for part in ("--set", setting)]
    command = ["run", baseline, "--model", qwen, "--trait", "sycophancy", "--seeds", "0", "--dtype", dtype, *flags]
    command += ["--pack", pack]
    command += ["--store", tmp_path / "store", "--results", tmp_path / "results"]

    (first,) = idembench(*command, cwd=tmp_path)
    (again,) = idembench(*command, cwd=tmp_path)
    (report,) = idembench("verify", tmp_path / "results", cwd=tmp_path)

    made = record.read(Path(first["path"]))
    assert (steps, 0) == (first["steps_made"], again["steps_made"])
    assert first["record_id"] == again["record_id"]
    assert report["ok"]
    assert all(check["skipped"] is None for check in report["checks"])
    assert "local/tiny-qwen3" == made.model.name
    assert ["base", "c0", "c1", "c2"] == [point.cycle for point in made.chains[0].checkpoints]
    # Random weights say nothing that means anything, and nothing of it is lost.
    assert all(point.responses == 4 * made.protocol.measuring.repeats for point in made.chains[0].checkpoints)
    assert str(qwen.parent) not in made.canonical().decode()
