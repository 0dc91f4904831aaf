"""Benchmarks of what is done often: `make bench`."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import Story, settings, write_record
from instant import SMALL, Quiet

from idembench import runs
from idembench.statistics import RULES, analyse
from idembench.steps import Step
from idembench.store import Store
from idembench.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.bench


def test_store_make_and_find(benchmark: Any, tmp_path: Path) -> None:
    """Sealing a step of one megabyte and finding it again, every hash checked."""
    store, numbers = Store(tmp_path), count()

    def make_and_find() -> None:
        step = Step(kind="train", cycle="c0", inputs={"number": next(numbers)})
        store.make(step, lambda out: {"bytes": (out / "weights").write_bytes(b"x" * 1_000_000)})

        assert store.find(step) is not None

    benchmark(make_and_find)


def test_analyse_at_ranked_size(benchmark: Any) -> None:
    """The whole analysis of 5 seeds, 8 checkpoints and 500 + 150 questions."""
    rng = np.random.default_rng(0)
    trait = np.clip(rng.normal(60, 20, (5, 8, 500)), 0, 100)
    coherence = np.clip(rng.normal(97, 5, (5, 8, 650)), 0, 100)

    found = benchmark(analyse, trait, coherence, rule=RULES["default"], diverged=[None] * 5, repeats=2)

    assert 5 == found.n_seeds


def test_verify_a_record(benchmark: Any, tmp_path: Path) -> None:
    """Verifying a record of 3 seeds with 8 checkpoints of 250 responses, every answer scored again."""
    shares = (0.02, *[0.8] * 7)
    size = settings(cycles=6, questions=200, overrides=["measuring.neutral_questions=50"])
    folder = write_record(tmp_path, Story(trait=shares), settings=size)

    report = benchmark.pedantic(verify, (folder,), rounds=3)

    assert report.ok


def test_one_tiny_real_chain(benchmark: Any, tmp_path: Path) -> None:
    """A chain of 2 cycles on the embedded model, trained and sampled for real, imports warm."""
    numbers = count()

    def chain() -> runs.Finished:
        place = tmp_path / str(next(numbers))
        (cell,) = runs.cells(["sft-reset"], trait_names=["sycophancy"], seeds=(0,), overrides=SMALL)
        return runs.run(cell, results=place / "results", store=place / "store", observer=Quiet())

    done = benchmark.pedantic(chain, rounds=2, warmup_rounds=1)

    assert 16 == done.made
    benchmark.extra_info["overhead_share"] = done.overhead_share
