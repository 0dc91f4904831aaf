"""Preference optimisation: its reference is where the training starts, and its loss that of the paper."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from training import (
    ADAPTER,
    STILL,
    TRAINING,
    WHOLE,
    Watching,
    answer_logprobs,
    job,
    pairs,
    rows,
    train,
    training,
)
from transformers import AutoModelForCausalLM

from idembench import loading, methods, models
from idembench.errors import DataError, ModelError, ProtocolError
from idembench.files import digest_of, list_files
from idembench.protocol import Lora, Training

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Job

BETA = 0.2
SLOW = training(learning_rate=5e-4, epochs=2, batch_size=1)
"""One pair per step, so that logs speak of single pairs; two epochs, so that the policy has moved."""


def preference(**given: Any) -> Job:
    """A small job on pairs."""
    return job(**{"rows": pairs(), "settings": {"beta": BETA}, **given})


def whole(given: Training) -> Training:
    """The same training, of all weights."""
    return given.model_copy(update={"lora": None})


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A generation before, far from the base model: as an adapter, and as whole weights."""
    root = tmp_path_factory.mktemp("parents")
    far = training(learning_rate=1e-2, epochs=3)
    train("sft", job(training=far), root / "lora")
    train("sft", job(training=whole(far).model_copy(update={"learning_rate": 2e-3})), root / "full")
    return {"lora": root / "lora", "full": root / "full"}


def plain(parent: Path | None) -> Any:
    """The model of a sealed folder, by plain transformers and PEFT."""
    if parent is not None and (parent / WHOLE).exists():
        return AutoModelForCausalLM.from_pretrained(parent).eval()
    base = AutoModelForCausalLM.from_pretrained(job().model.folder)
    return (PeftModel.from_pretrained(base, parent) if parent is not None else base).eval()


# -- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_the_reference_is_where_the_training_starts(
    parents: dict[str, Path], tmp_path: Path, kind: str, mode: str
) -> None:
    """Reference log-probabilities are those of the base model in reset mode, and of the parent in continual mode.

    Of every single pair, at every step of two epochs, while the policy moves away; compared with plain transformers
    and PEFT on the sealed folders. The first loss is log 2, and the other policy would have been found out.
    """
    parent = parents[kind] if mode == "continual" else None
    given = preference(parent=parent, training=SLOW if kind == "lora" else whole(SLOW))
    timers = Watching()
    facts = train("dpo", given, tmp_path / "out", timers)
    tokenizer = loading.load_tokenizer(given.model)
    names = {}
    for row in given.rows:
        for answer in (row.response, row.rejected):
            names[tuple(loading.render_row(tokenizer, row.prompt, str(answer)))] = (row.prompt, str(answer))
    right, wrong = plain(parent), plain(None if parent else parents[kind])
    logged = [entry for entry in timers.trainer.state.log_history if "loss" in entry]
    moved = 0.0
    told_apart = 0.0
    for index, entry in enumerate(logged):
        for side, row in zip(("chosen", "rejected"), list(timers.seen())[2 * index : 2 * index + 2], strict=True):
            policy, reward = entry[f"logps/{side}"], entry[f"rewards/{side}"]
            expected = answer_logprobs(right, given, *names[tuple(row[0])])
            moved = max(moved, abs(reward) / BETA)
            told_apart = max(told_apart, abs(answer_logprobs(wrong, given, *names[tuple(row[0])]) - expected))

            assert expected == pytest.approx(policy - reward / BETA, abs=2e-3)

    assert 12 == len(logged)
    assert moved > 0.5
    assert told_apart > 1
    assert math.log(2) == pytest.approx(facts["loss"][0], abs=2e-6)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_policy_goes_on_from_the_parent(parents: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """At a learning rate of nothing the child's weights are the parent's, and every loss is log 2."""
    still = training(learning_rate=STILL)
    parent, name = parents[kind], ADAPTER if kind == "lora" else WHOLE
    facts = train(
        "dpo", preference(parent=parent, training=still if kind == "lora" else whole(still)), tmp_path / "out"
    )

    before, after = load_file(parent / name), load_file(tmp_path / "out" / name)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], rtol=0, atol=1e-12) for key in before)
    assert [pytest.approx(math.log(2), abs=2e-6)] * 2 == facts["loss"]


# -- the loss -------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_paper(tmp_path: Path) -> None:
    """Of each pair: -log sigmoid(beta (log-ratio of the winner - log-ratio of the loser)), log-probabilities summed."""
    timers = Watching()
    facts = train("dpo", preference(training=SLOW), tmp_path / "out", timers)
    logged = [entry for entry in timers.trainer.state.log_history if "loss" in entry]
    margins = [entry["rewards/chosen"] - entry["rewards/rejected"] for entry in logged]

    assert [pytest.approx(math.log1p(math.exp(-margin)), abs=1e-4) for margin in margins] == facts["loss"]
    assert [pytest.approx(margin, abs=1e-5) for margin in margins] == facts["reward_margin"]
    assert [float(margin > 0) for margin in margins] == facts["reward_accuracy"]


def test_training_comes_to_prefer_what_wins(tmp_path: Path) -> None:
    """After the training the winner's log-ratio to the base model is above the loser's, over all pairs."""
    given = preference(training=training(epochs=4))
    facts = train("dpo", given, tmp_path / "out")
    before, after = plain(None), plain(tmp_path / "out")
    margins = []
    for row in given.rows:
        ratios = [
            answer_logprobs(after, given, row.prompt, answer) - answer_logprobs(before, given, row.prompt, answer)
            for answer in (row.response, str(row.rejected))
        ]
        margins.append(ratios[0] - ratios[1])

    assert sum(margins) / len(margins) > 1
    assert facts["reward_margin"][-1] > 0


def test_a_larger_beta_holds_the_policy_closer(tmp_path: Path) -> None:
    """Beta is the protocol's: ten times as large, the same log-ratio counts ten times as much."""
    ratios = {}
    for beta in (0.1, 1.0):
        facts = train(
            "dpo",
            preference(settings={"beta": beta}, training=training(max_steps=2, batch_size=6)),
            tmp_path / str(beta),
        )
        ratios[beta] = facts["reward_margin"][1] / beta

    assert ratios[0.1] == pytest.approx(ratios[1.0], rel=0.05)


def test_beta_must_be_above_0() -> None:
    """The default is the study's 0.1; nothing, less, or what is no number does not hold."""
    settings = methods.get("dpo").Settings

    assert {"beta": 0.1} == settings().model_dump()
    for beta in (0.0, -1.0, math.nan, math.inf, "0.1"):
        with pytest.raises(ValueError, match="beta"):
            settings.model_validate({"beta": beta})


def test_one_pair_more_per_forward_pass_changes_little(tmp_path: Path) -> None:
    """Three pairs at once, and three times one pair accumulated, make the same steps."""
    single = train(
        "dpo", preference(training=training(batch_size=1, gradient_accumulation=3, epochs=2)), tmp_path / "single"
    )
    together = train("dpo", preference(training=training(batch_size=3, epochs=2)), tmp_path / "together")

    assert 4 == single["steps"] == together["steps"]
    assert single["loss"] == pytest.approx(together["loss"], abs=1e-3)


# -- what goes in and comes out -------------------------------------------------------------------


def test_the_trainer_sees_both_sides_as_they_are_rendered(tmp_path: Path) -> None:
    """Token ids are those of `loading.render_row`, each side once, and the loss is on the answers alone."""
    given, timers = preference(), Watching()
    facts = train("dpo", given, tmp_path / "out", timers)
    tokenizer = loading.load_tokenizer(given.model)
    expected = []
    for row in given.rows:
        start = len(loading.render_prompt(tokenizer, row.prompt))
        for answer in (row.response, str(row.rejected)):
            ids = loading.render_row(tokenizer, row.prompt, answer)
            expected.append((ids, [0] * start + [1] * (len(ids) - start)))

    assert sorted(expected) == sorted(timers.seen("completion_mask"))
    assert sum(len(ids) for ids, _ in expected) == facts["tokens"]


@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_the_reference_is_not_saved(parents: dict[str, Path], tmp_path: Path, mode: str) -> None:
    """The folder holds the trained adapter alone, and the same job makes the same bytes."""
    given = preference(parent=parents["lora"] if mode == "continual" else None)
    facts = train("dpo", given, tmp_path / "one")
    again = train("dpo", given, tmp_path / "two")
    saved = load_file(tmp_path / "one" / ADAPTER)

    assert {"adapter_config.json", ADAPTER} == {entry.name for entry in list_files(tmp_path / "one")}
    assert load_file(parents["lora"] / ADAPTER).keys() == saved.keys()
    assert sum(tensor.numel() for tensor in saved.values()) == facts["trainable_parameters"]
    assert facts == again
    assert digest_of(list_files(tmp_path / "one")) == digest_of(list_files(tmp_path / "two"))


def test_ties_are_kept_and_counted(tmp_path: Path) -> None:
    """A pair of twice the same answer is a row like any other, and pushes nowhere."""
    tied = [replace(row, rejected=row.response) for row in rows(2)]
    timers = Watching()
    facts = train("dpo", preference(rows=tied), tmp_path / "tied", timers)
    mixed = train("dpo", preference(rows=[*pairs(), *tied]), tmp_path / "mixed")

    assert (2, 2) == (facts["rows"], facts["ties"])
    assert (8, 2) == (mixed["rows"], mixed["ties"])
    assert timers.trainer.state.log_history[0]["grad_norm"] < 1e-5


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_either_side_may_be_too_long(tmp_path: Path, side: str) -> None:
    """A side of more tokens than `max_tokens` stops the training before it begins, and is named."""
    long = " ".join(["so"] * 300)
    odd = replace(pairs()[2], **({"response": long} if side == "chosen" else {"rejected": long}))

    with pytest.raises(DataError, match="too long") as caught:
        train("dpo", preference(rows=[*pairs(2), odd]), tmp_path / "out")

    assert f"row {odd.id}, {side}" == caught.value.where


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_template_that_breaks_on_one_side_is_an_error(base: Path, tmp_path: Path, side: str) -> None:
    """Both sides are rendered and checked, each by itself."""
    last = pairs()[-1]
    text = json.dumps(last.response if side == "chosen" else last.rejected)
    template = base / "chat_template.jinja"
    template.write_text(f"{{% if messages[-1]['content'] == {text} %}}odd{{% endif %}}" + template.read_text())

    with pytest.raises(ModelError, match="prefix") as caught:
        train("dpo", preference(model=models.resolve(str(base)), rows=[last]), tmp_path / "out")

    assert f"row {last.id}, {side}" == caught.value.where


def test_a_row_without_a_loser_is_an_error(tmp_path: Path) -> None:
    """Preference optimisation needs pairs."""
    with pytest.raises(DataError, match="one side only"):
        train("dpo", preference(rows=rows()), tmp_path / "out")


def test_dropout_is_refused(tmp_path: Path) -> None:
    """A policy is compared with its reference without dropout, which the trainer would turn off without a word."""
    given = preference(training=TRAINING.model_copy(update={"lora": Lora(rank=4, alpha=8, dropout=0.1)}))

    with pytest.raises(ProtocolError, match="dropout"):
        train("dpo", given, tmp_path / "out")
