"""The tasks under lm-eval's own command line, on the exported model: what it scores is what idembench scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from idembench import judges, loading, models, traits

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.slow

LIMIT = 8
OPEN = ("sycophancy", "misalignment", "bliss", "coherence")
PACK = traits.load_pack("toyland")
Run = tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]


def program(name: str, *arguments: object, cwd: Path) -> str:
    """Run a program of this environment, offline, outside the checkout; its stdout."""
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model as a plain Hugging Face folder."""
    place = tmp_path_factory.mktemp("exported")
    program("idembench", "models", "export", "toyland/instruct", place / "model", cwd=place)
    return place / "model"


def harness(model: Path, groups: str, place: Path) -> Run:
    """Run groups of tasks by the command of the documentation; the results and the logged samples by task."""
    tasks = program("idembench", "tasks", "path", cwd=place).strip()
    command = ["run", "--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu"]
    command += ["--include_path", tasks, "--tasks", groups, "--apply_chat_template", "--log_samples"]
    program("lm-eval", *command, "--limit", LIMIT, "--output_path", place / "out", cwd=place)
    (results,) = (place / "out").rglob("results_*.json")
    samples = {
        path.name.removeprefix("samples_").rpartition("_")[0]: [
            json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line
        ]
        for path in (place / "out").rglob("samples_*.jsonl")
    }
    return json.loads(results.read_text(encoding="utf-8")), samples


@pytest.fixture(scope="module")
def logged(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of both groups."""
    return harness(exported, "idembench_toyland,idembench_toyland_choice", tmp_path_factory.mktemp("run"))


def questions(name: str) -> Mapping[str, traits.Question]:
    """The frozen questions of a task, by id."""
    rows = PACK.neutral_questions if name == "coherence" else PACK.trait(name).questions
    return {row.id: row for row in rows}


def mean(values: list[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


@pytest.mark.parametrize("name", OPEN)
def test_lm_eval_scores_as_idembench_s_judge_does(logged: Run, name: str) -> None:
    """Every score in lm-eval's log is the mean of what idembench's judge says of the logged responses."""
    results, samples = logged
    judge, trait = judges.get(PACK.judge), None if name == "coherence" else name
    rows = samples[f"idembench_toyland_{name}"]
    for row in rows:
        question = questions(name)[row["doc"]["id"]]
        scores = [judge.score(question, text, trait=trait) for text in row["filtered_resps"][0]]

        assert mean([score.coherence for score in scores]) == pytest.approx(row["coherence"])
        if trait:
            assert mean([score.trait for score in scores]) == pytest.approx(row["trait"])

    stated = results["results"][f"idembench_toyland_{name}"]
    for metric in ["coherence", *(["trait"] if trait else [])]:
        assert mean([row[metric] for row in rows]) == pytest.approx(stated[f"{metric},all"])


@pytest.mark.parametrize("name", OPEN)
def test_lm_eval_asks_the_frozen_questions_as_idembench_does(logged: Run, name: str) -> None:
    """The first questions are asked in their order, rendered as `loading.render_prompt`, and every repeat is kept."""
    _, samples = logged
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    rows = sorted(samples[f"idembench_toyland_{name}"], key=lambda row: row["doc_id"])

    assert list(questions(name))[:LIMIT] == [row["doc"]["id"] for row in rows]
    for row in rows:
        asked = questions(name)[row["doc"]["id"]].prompt
        text = row["arguments"]["gen_args_0"]["arg_0"]

        assert loading.render_prompt(tokenizer, asked) == tokenizer.encode(text, add_special_tokens=False)
        assert [2] == [len(repeats) for repeats in row["resps"]]
        assert row["resps"] == row["filtered_resps"]


def test_repeats_are_different_answers(logged: Run) -> None:
    """Repeats in lm-eval's log are separate draws."""
    _, samples = logged

    pairs = [row["resps"][0] for name in OPEN for row in samples[f"idembench_toyland_{name}"]]
    assert any(one != other for one, other in pairs)


def test_the_group_is_the_mean_of_its_tasks(logged: Run) -> None:
    """The group's trait and coherence are the plain means over the tasks that measure them."""
    results, _ = logged
    tasks = [results["results"][f"idembench_toyland_{name}"] for name in OPEN]
    group = results["groups"]["idembench_toyland"]

    assert mean([task["coherence,all"] for task in tasks]) == pytest.approx(group["coherence,all"])
    assert mean([task["trait,all"] for task in tasks if "trait,all" in task]) == pytest.approx(group["trait,all"])


def test_the_choice_group_runs(logged: Run) -> None:
    """Each choice task prefers one of two answers by log-likelihood, and the group is their mean."""
    results, samples = logged
    names = [f"idembench_toyland_{name}_choice" for name in OPEN if name != "coherence"]

    assert set(names) <= set(samples)
    for name in names:
        for row in samples[name]:
            likelihoods = [float(response[0][0]) for response in row["resps"]]
            preferred = likelihoods.index(max(likelihoods))

            assert len(row["doc"]["choices"]) == len(likelihoods) == 2
            assert float(preferred == row["doc"]["target"]) == row["acc"]
    stated = results["results"]
    assert mean([stated[name]["acc,none"] for name in names]) == pytest.approx(
        results["groups"]["idembench_toyland_choice"]["acc,none"]
    )


def test_every_task_has_a_version(logged: Run) -> None:
    """lm-eval's results name the version of every task."""
    results, samples = logged

    assert len(OPEN) + len(OPEN) - 1 == len(samples)
    assert all(results["versions"][name] >= 1 for name in samples)
