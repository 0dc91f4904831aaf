"""An edition for real models, end to end: a model nobody prepared, scored by a model that a whole commit names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from huggingface_hub import constants
from tiny_model import write_grader, write_qwen

from idembench import editions, judges, models, record, runs, shipped, traits
from idembench.files import asset

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Said

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
JUDGE = f"hf:owner/grader@{COMMIT},batch_size=4"
ARM: dict[str, Any] = {
    "extends": "sft-reset",
    "cycles": 1,
    "data": {"n_seed": 8, "n_sampled": 8},
    "training": {"batch_size": 4, "lora": {"rank": 4, "alpha": 8}},
    "sampling": {"max_new_tokens": 12},
}
EDITION: dict[str, Any] = {
    "pack": "english",
    "judge": JUDGE,
    "traits": ["sycophancy"],
    "seeds": "0..1",
    "measurement": "tiny",
    "rule": "default",
    "execution": {"batch_size": 16},
    "arms": [{"protocol": "tiny", "control": "tiny-unseeded"}],
    "unconfirmed": ["Whether a model of random weights keeps a trait."],
    "fingerprint": "0" * 64,
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped baselines and packs with a small arm, its control, a small measurement and an edition of these, frozen."""
    baselines = shutil.copytree(asset("baselines"), tmp_path / "shipped" / "baselines")
    tasks = shutil.copytree(asset("tasks"), tmp_path / "shipped" / "tasks")
    mine = {"baselines": baselines, "tasks": tasks}
    monkeypatch.setattr(shipped, "asset", lambda name: mine.get(name) or asset(name))
    monkeypatch.setattr(runs, "_pack", traits.load_pack)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    header = yaml.safe_load((tasks / "english" / "pack.yaml").read_text())
    size = {"questions": 4, "repeats": 2, "neutral_questions": 2, "temperature": 0.7, "max_new_tokens": 12}
    header["measurements"]["tiny"] = size
    (tasks / "english" / "pack.yaml").write_text(yaml.safe_dump(header))
    (baselines / "english" / "tiny.yaml").write_text(f"# Small.\n{yaml.safe_dump(ARM)}")
    without = {**ARM, "control": "unseeded", "data": {"n_seed": 0, "n_sampled": 8}}
    (baselines / "english" / "tiny-unseeded.yaml").write_text(f"# Control.\n{yaml.safe_dump(without)}")
    place = baselines / "editions" / "tiny-1.yaml"
    place.write_text(f"# Small.\n{yaml.safe_dump(EDITION)}")
    edition = editions.load("tiny-1")
    print_ = editions.fingerprint(edition, editions.designs(edition))
    place.write_text(f"# Small.\n{yaml.safe_dump({**EDITION, 'fingerprint': print_})}")
    return tmp_path


def test_an_edition_runs_by_a_judge_that_a_commit_names(small: Path, say: Callable[..., Said]) -> None:
    """Frozen without the judge's weights, it is refused until they are there, and then runs to records that verify."""
    model = write_qwen(small / "models" / "tiny-qwen3")
    command = ("run", "--edition", "tiny-1", "--model", model, "--store", small / "store", "--json")
    # In this process, where what is shipped was replaced.
    command = (*command, "--results", small / "results", "--workers", 1)

    early = say(*command)
    judge = write_grader(small / "hub" / "models--owner--grader" / "snapshots" / COMMIT)
    planned = say(*command, "--dry-run")
    first = say(*command)
    again = say(*command)
    verified = say("verify", small / "results", "--json")

    assert (3, False) == (early.code, "Traceback" in early.err)
    assert f"owner/grader@{COMMIT}" in early.err
    assert (0, 0, 0, 0) == (planned.code, first.code, again.code, verified.code), first.err
    assert "is not on this machine" not in planned.err
    assert EDITION["unconfirmed"][0] in first.err
    (made,), (found,) = json.loads(first.out), json.loads(again.out)
    read = record.read(Path(made["path"]))
    assert (made["record_id"], 0) == (found["record_id"], found["steps_made"])
    assert (JUDGE, models.resolve(str(judge)).digest) == (read.judge.name, read.judge.weights)
    assert judges.get(JUDGE).fingerprint == read.judge.fingerprint != judges.pinned(judges.get(JUDGE))
    assert read.control is not None
    assert all(point.coherence.mean is not None for point in read.analysis.trajectory)
    # What nothing but the judge's name says of it froze the edition; nothing that was fetched since changes that.
    assert editions.frozen(editions.load("tiny-1"))
    assert all(report["ok"] for report in json.loads(verified.out))
