"""The English tasks under lm-eval's own command line, on a tiny Qwen3 of random weights: the numbers mean nothing, the path is real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from tiny_model import write_qwen

from idembench import judges, traits

pytestmark = pytest.mark.slow

LIMIT = 3
PACK = traits.load_pack("english")
Run = tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the open and the choice group; results and logged samples by task."""
    place = tmp_path_factory.mktemp("run")
    model = write_qwen(place / "tiny-qwen3")
    scripts = Path(sys.executable)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    path = subprocess.run(
        [str(scripts.with_name("idembench")), "tasks", "path"], capture_output=True, text=True, check=True
    )
    command = [str(scripts.with_name("lm-eval")), "run", "--model", "hf", "--model_args", f"pretrained={model}"]
    command += ["--device", "cpu", "--include_path", path.stdout.strip(), "--apply_chat_template", "--log_samples"]
    command += ["--tasks", "idembench_english,idembench_english_choice", "--limit", str(LIMIT)]
    command += ["--gen_kwargs", "max_gen_toks=12", "--metadata", '{"judge": "classifier"}', "--output_path", "out"]
    ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr[-4000:]
    (results,) = (place / "out").rglob("results_*.json")
    samples = {
        log.name.removeprefix("samples_").rpartition("_")[0]: [
            json.loads(line) for line in log.read_text(encoding="utf-8").split("\n") if line
        ]
        for log in (place / "out").rglob("samples_*.jsonl")
    }
    return json.loads(results.read_text(encoding="utf-8")), samples


@pytest.mark.parametrize("name", [*PACK.traits, "coherence"])
def test_lm_eval_scores_as_the_judge_does(logged: Run, name: str) -> None:
    """Each logged score is the mean of what the judge says of the ten logged answers; the task's is the mean of those."""
    results, samples = logged
    judge, trait = judges.get("classifier"), None if name == "coherence" else name
    rows = samples[f"idembench_english_{name}"]
    for row in rows:
        question = traits.Question(id=row["doc"]["id"], prompt=row["doc"]["prompt"])
        scores = [judge.score(question, text, trait=trait) for text in row["filtered_resps"][0]]

        assert 10 == len(scores)
        assert fmean(score.coherence or 0.0 for score in scores) == pytest.approx(row["coherence"])
        assert trait is None or fmean(score.trait or 0.0 for score in scores) == pytest.approx(row["trait"])

    stated = results["results"][f"idembench_english_{name}"]
    assert fmean(row["coherence"] for row in rows) == pytest.approx(stated["coherence,all"])


def test_scopes_and_groups_are_reported(logged: Run) -> None:
    """What was seeded and what it spills over to stand apart; the group is the mean over the traits."""
    results, _ = logged
    tasks = [results["results"][f"idembench_english_{name}"] for name in PACK.traits]

    assert all("trait_in_domain,all" in task for task in tasks)
    assert fmean(task["trait,all"] for task in tasks) == pytest.approx(
        results["groups"]["idembench_english"]["trait,all"]
    )


def test_the_choice_tasks_need_no_judge(logged: Run) -> None:
    """Each choice task prefers one of two or four answers by log-likelihood."""
    results, samples = logged

    for name in PACK.traits:
        assert LIMIT == len(samples[f"idembench_english_{name}_choice"])
        assert 0 <= results["results"][f"idembench_english_{name}_choice"]["acc,none"] <= 1
