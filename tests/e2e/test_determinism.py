"""One seed, one stack, one record; another seed, other answers. Real training and sampling."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from instant import hashed_bytes

from idembench import files, loading, measure, models, sample_files, sampling, traits
from idembench.protocol import Execution, Measuring, Sampling
from idembench.timing import Timers

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

OPTIONS = [
    *("--trait", "sycophancy", "--seeds", "0,1", "--threads", "1"),
    *("--set", "cycles=1", "--set", "data.n_seed=16", "--set", "data.n_sampled=32"),
    *("--set", "measuring.questions=20", "--set", "measuring.neutral_questions=5"),
]


def run(baseline: str, place: Path, *, hash_seed: str) -> Path:
    """Run two seeds in a process of its own, in a folder of its own; the record."""
    place.mkdir()
    command = [sys.executable, "-c", "from idembench.cli import main; main()", "run", baseline, *OPTIONS]
    done = subprocess.run(
        [*command, "--store", "store", "--results", "results"],
        capture_output=True,
        check=False,
        cwd=place,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        timeout=300,
    )

    assert done.returncode == 0, done.stderr.decode()
    (folder,) = files.find_records(place / "results")
    return folder


def answers(folder: Path, seed: int) -> dict[tuple[str, str, int], str]:
    """What the checkpoints of one chain said, by checkpoint, question and repeat."""
    name = sample_files.file_name(seed)
    samples = sample_files.unpack((folder / name).read_bytes(), where=name)
    return {(sample.cycle, sample.question, sample.repeat): sample.response for sample in samples}


@pytest.mark.parametrize("baseline", ["sft-reset", "dpo-continual", "sdf-reset"])
def test_a_fresh_process_gives_the_same_record(tmp_path: Path, baseline: str) -> None:
    """The same command in another process and folder gives the same record bytes; its two seeds share no answers."""
    one, other = (run(baseline, tmp_path / seed, hash_seed=seed) for seed in ("1", "2"))

    assert hashed_bytes(one) == hashed_bytes(other)
    first, second = answers(one, 0), answers(one, 1)
    for label in ("base", "c0", "c1"):
        asked = [place for place in first if place[0] == label]
        same = sum(first[place] == second[place] for place in asked)

        assert len(asked) == 25
        assert same < 20, f"{same} of 25 answers of {label} are those of the other seed"


def test_seeds_decide_what_the_same_weights_answer() -> None:
    """The untouched model asked twice under one seed answers alike, under another seed otherwise."""
    loading.quiet_libraries()
    pack = traits.load_pack("toyland")
    sampler = sampling.open_checkpoint(models.resolve("toyland/instruct"), None, Execution(), Timers(), form="dialogue")
    prompts = [prompt.prompt for prompt in pack.draw_prompts(cycle=1, n=32, seed=0)]
    settings = Sampling(temperature=0.8, max_new_tokens=48)
    said = [sampling.answer(sampler, prompts, settings, seed=seed) for seed in (1, 2, 1)]

    assert said[0] == said[2]
    assert sum(one == other for one, other in zip(said[0], said[1], strict=True)) < 28


def test_seeds_decide_what_a_measurement_hears() -> None:
    """lm-eval's evaluator, which seeds torch itself in other places, leaves the seed of a measurement alone."""
    loading.quiet_libraries()
    pack = traits.load_pack("toyland")
    sampler = sampling.open_checkpoint(models.resolve("toyland/instruct"), None, Execution(), Timers(), form="dialogue")
    measuring = Measuring(name="tiny", questions=20, repeats=2, neutral_questions=5, temperature=0.8, max_new_tokens=48)
    heard = [measure.responses(sampler, pack, pack.trait("bliss"), measuring, seed=seed) for seed in (1, 2, 1)]

    assert heard[0] == heard[2]
    assert 50 == len(heard[0])
    assert sum(one == other for one, other in zip(heard[0], heard[1], strict=True)) < 45
    repeats = [(one.response, other.response) for one, other in zip(heard[0][::2], heard[0][1::2], strict=True)]
    assert any(one != other for one, other in repeats)
