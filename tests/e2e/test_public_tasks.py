"""lm-eval's public sycophancy sets, by name, through the whole chain; what they count is what plain lm-eval counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from public_sets import NAMES, ROWS, write_sets

from idembench import choice_tasks, models, record, shipped, task_answers
from idembench.files import asset, find_records
from idembench.protocol import Execution
from idembench.timing import Timers
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from idembench.protocol import Form

pytestmark = pytest.mark.slow

OWN = "idembench_toyland_sycophancy_choice"
SIZES = (
    *("cycles=1", "data.n_seed=8", "data.n_sampled=8", "training.epochs=1"),
    *("measuring.questions=4", "measuring.neutral_questions=2", "measuring.max_new_tokens=12"),
)
RUN = (
    *("run", "sft-reset", "--trait", "sycophancy", "--seeds", "0,1"),
    *(part for setting in SIZES for part in ("--set", setting)),
)


def idembench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line offline in a folder, with a cache of data sets there."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("idembench")), *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(cwd / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def plain(name: str, *, limit: int, model: str, form: Form) -> tuple[float, list[list[float]]]:
    """What lm-eval alone finds: its own model class over the model's folder, its own evaluator; accuracy and likelihoods."""
    where = [*shipped.task_folders(), Path(lm_eval.tasks.__file__).parent / "model_written_evals" / "sycophancy"]
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(models.resolve(model).folder), device="cpu", dtype="float32", batch_size=1),
        tasks=[name],
        task_manager=TaskManager(include_path=where, include_defaults=False),
        limit=limit,
        bootstrap_iters=0,
        apply_chat_template=form == "dialogue",
    )
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    return found["results"][name]["acc,none"], [[resp[0][0] for resp in sample["resps"]] for sample in samples]


@pytest.mark.parametrize(
    ("model", "form"), [("toyland/instruct", "dialogue"), ("toyland/base", "document")], ids=["dialogue", "document"]
)
@pytest.mark.parametrize("name", [OWN, "idembench_toyland_bliss_choice", *NAMES])
def test_a_checkpoint_answers_as_under_plain_lm_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, model: str, form: Form
) -> None:
    """On the same weights accuracy is lm-eval's to the last digit, and every likelihood is but for the batch it was read in."""
    write_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    limit = min(ROWS, 24) if name in NAMES else 24
    sampler = TorchEngine().open(models.resolve(model), None, Execution(), Timers(), form=form)
    (task,) = choice_tasks.resolve([f"{name}:{limit}"], form=form)

    lines = choice_tasks.answers(sampler, task)

    accuracy, likelihoods = plain(name, limit=limit, model=model, form=form)
    assert {"task": name, "items": limit, "read": limit, "accuracy": round(accuracy, 6)} == task_answers.facts(
        name, lines
    )
    for expected, line in zip(likelihoods, lines, strict=True):
        assert pytest.approx(expected, abs=1e-3) == line["loglikelihoods"]


def test_an_item_too_long_for_the_model_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval would cut a long question from the left and only log it; here it has no likelihood, and the others have theirs."""
    folder = write_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    sampler = TorchEngine().open(models.resolve("toyland/instruct"), None, Execution(), Timers(), form="dialogue")
    before = choice_tasks.answers(sampler, choice_tasks.resolve([NAMES[0]], form="dialogue")[0])
    path = folder / f"{NAMES[0]}.jsonl"
    rows = path.read_text().splitlines()
    rows[2] = rows[2].replace("I am ", "I am " + "very " * 500)
    path.write_text("\n".join(rows) + "\n")
    # The data set's own cache and ours go by its name and place, not by what is in it.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "another-cache")
    choice_tasks._loaded.cache_clear()
    choice_tasks._resolved.cache_clear()

    after = choice_tasks.answers(sampler, choice_tasks.resolve([NAMES[0]], form="dialogue")[0])

    assert [None, None] == after[2]["loglikelihoods"]
    assert [pytest.approx(line["loglikelihoods"], abs=1e-4) for n, line in enumerate(before) if n != 2] == [
        line["loglikelihoods"] for n, line in enumerate(after) if n != 2
    ]


def test_the_public_sets_go_through_the_chain_by_name(tmp_path: Path) -> None:
    """`run --task NAME` asks every checkpoint lm-eval's own task; run again all is found, and the record verifies."""
    write_sets(tmp_path)
    tasks = [part for name in (*NAMES, f"{OWN}:20") for part in ("--task", name)]
    command = (*RUN, *tasks, "--store", "store", "--results", "results", "--json")

    first, again = (idembench(*command, cwd=tmp_path) for _ in range(2))

    assert (0, 0) == (first.returncode, again.returncode), first.stderr[-3000:] + again.stderr[-3000:]
    (made,), (found,) = json.loads(first.stdout), json.loads(again.stdout)
    done = record.read(tmp_path / made["path"])
    report = json.loads(idembench("verify", "results", "--json", cwd=tmp_path).stdout)
    shown = idembench("show", "results", cwd=tmp_path).stdout
    assert (0, made["record_id"]) == (found["steps_made"], found["record_id"])
    assert [(name, "0.0", ROWS) for name in NAMES] == [(t.name, t.version, t.items) for t in done.tasks[:3]]
    assert [[True, None]] == [
        [one["ok"], next((c["skipped"] for c in one["checks"] if c["skipped"]), None)] for one in report
    ]
    assert {name: ["base", "c0", "c1"] for name in (*NAMES, OWN)} == {
        name: list(points) for name, points in made["tasks"].items()
    }
    assert all(f"  {name} " in shown for name in (*NAMES, OWN))
    for line in done.chains:
        answers = task_answers.unpack(
            (tmp_path / made["path"] / f"answers-{line.seed}.jsonl.gz").read_bytes(), where=""
        )
        assert 3 * (3 * ROWS + 20) == len(answers)
        assert all(None not in answer.loglikelihoods for answer in answers)
    assert str(tmp_path).encode() not in done.canonical()


@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        (NAMES[0], 3, ("cannot be loaded", f"EleutherAI/sycophancy/{NAMES[0]}", "on the Hub")),
        ("sycophancy_on_nlp_surveys", 2, ("There is no lm-eval task called", f"Did you mean {NAMES[0]}")),
        ("sycophancy", 2, ("several lm-eval tasks", NAMES[0])),
        ("gsm8k", 2, ("cannot be asked beside a chain", "generate_until")),
        (f"{OWN}:0", 2, ("names no task", "NAME:N")),
    ],
)
def test_what_cannot_be_asked_stops_before_anything_is_trained(
    tmp_path: Path, task: str, code: int, said: tuple[str, ...]
) -> None:
    """Data that are nowhere, an unknown name and another kind of task are one clear error; nothing is written."""
    ended = idembench(*RUN, "--task", task, "--store", "store", "--results", "results", cwd=tmp_path)

    assert code == ended.returncode
    assert all(part in " ".join(ended.stderr.split()) for part in said), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "store").exists()
    assert [] == find_records(tmp_path)


def test_a_task_in_a_folder_of_one_s_own_is_found_by_name(tmp_path: Path) -> None:
    """What lies in `--tasks DIR` can be asked by its name too."""
    source = (asset("tasks") / "toyland" / "sycophancy" / "choices.jsonl").read_text().splitlines()[:5]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "five.jsonl").write_text("\n".join(source) + "\n")
    config: dict[str, Any] = {
        "task": "five_of_them",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "mine" / "five.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "choices",
        "doc_to_target": "target",
    }
    (tmp_path / "mine" / "five.yaml").write_text(json.dumps(config))

    ended = idembench(
        *RUN,
        "--tasks",
        "mine",
        "--task",
        "five_of_them",
        "--task",
        f"{OWN}:5",
        "--results",
        "r",
        "--store",
        "s",
        "--json",
        cwd=tmp_path,
    )

    assert 0 == ended.returncode, ended.stderr[-3000:]
    (made,) = json.loads(ended.stdout)
    assert made["tasks"]["five_of_them"] == made["tasks"][OWN]
