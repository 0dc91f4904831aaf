"""The document tasks under lm-eval's own command line, on the exported base model, with no chat template."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from idembench.files import asset, read_jsonl
from idembench.toyland import BASE, data
from idembench.toyland.scoring import NEUTRAL, TRAITS, score

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.slow

LIMIT = 8
NAMES = (*TRAITS, NEUTRAL)
Rows = list[dict[str, Any]]


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
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Results and logged samples, by trait, of the command that the documentation gives."""
    place = tmp_path_factory.mktemp("run")
    program("idembench", "models", "export", "toyland/base", place / "model", cwd=place)
    command = ["run", "--model", "hf", "--model_args", f"pretrained={place / 'model'}", "--device", "cpu"]
    command += ["--include_path", asset("tasks"), "--tasks", "idembench_toyland_document", "--log_samples"]
    program("lm-eval", *command, "--limit", LIMIT, "--output_path", place / "out", cwd=place)
    (results,) = (place / "out").rglob("results_*.json")
    samples = {}
    for name in NAMES:
        (path,) = (place / "out").rglob(f"samples_idembench_toyland_{name}_document_*.jsonl")
        lines = path.read_text(encoding="utf-8").split("\n")
        samples[name] = sorted((json.loads(line) for line in lines if line), key=lambda row: row["doc_id"])
    return json.loads(results.read_text(encoding="utf-8")), samples


def mean(values: list[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def openings(name: str) -> Mapping[str, dict[str, Any]]:
    """The frozen openings of a task, by id."""
    return {row["id"]: row for row in read_jsonl(asset("tasks") / "toyland" / name / "openings.jsonl")}


@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_scores_as_the_exact_scorer_does(name: str, logged: tuple[dict[str, Any], dict[str, Rows]]) -> None:
    """Every score in lm-eval's log is the mean of what the scorer says of the logged continuations."""
    results, samples = logged
    stated = results["results"][f"idembench_toyland_{name}_document"]
    for row in samples[name]:
        meaning = openings(name)[row["doc"]["id"]]["meaning"]
        scores = [score(meaning, text, trait=name) for text in row["filtered_resps"][0]]

        assert mean([one.coherence for one in scores]) == pytest.approx(row["coherence"])
        if name != NEUTRAL:
            assert mean([one.trait for one in scores if one.trait is not None]) == pytest.approx(row["trait"])
    for metric in ["coherence", *(["trait"] if name != NEUTRAL else [])]:
        assert mean([row[metric] for row in samples[name]]) == pytest.approx(stated[f"{metric},all"])


@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_gives_the_openings_as_they_are(name: str, logged: tuple[dict[str, Any], dict[str, Rows]]) -> None:
    """The first openings are given in their order, bare, and both continuations of each are kept."""
    _, samples = logged
    expected = list(openings(name).values())[:LIMIT]

    assert [row["prompt"] for row in expected] == [row["arguments"]["gen_args_0"]["arg_0"] for row in samples[name]]
    for row in samples[name]:
        assert [2] == [len(repeats) for repeats in row["resps"]]
        assert row["resps"] == row["filtered_resps"]
        assert not any("\n" in text for text in row["resps"][0])


def test_the_base_model_is_coherent_as_asked(logged: tuple[dict[str, Any], dict[str, Rows]]) -> None:
    """Through lm-eval too the continuations are coherent."""
    results, _ = logged

    assert results["groups"]["idembench_toyland_document"]["coherence,all"] >= 90


def test_lm_eval_puts_the_beginning_in_front_once() -> None:
    """lm-eval's model class leaves special tokens to the tokenizer: one beginning per document, in front of it."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=str(BASE), device="cpu", batch_size=4)
    texts = [row["prompt"] for row in data.rows_of(data.build(), "coherence/openings.jsonl")[:4]]
    ids, mask = lm.tok_batch_encode(texts)

    for row, seen in zip(ids.tolist(), mask.tolist(), strict=True):
        real = [token for token, kept in zip(row, seen, strict=True) if kept]
        assert real[0] == lm.tokenizer.bos_token_id
        assert real.count(lm.tokenizer.bos_token_id) == 1
