"""Supervised finetuning by the real trainer on the embedded model: it sees what is sampled, and nothing is lost."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training import ADAPTER, STILL, Watching, job, rows, training
from training import train as train_method

from idembench import loading, models
from idembench.errors import DataError, Diverged, ModelError
from idembench.files import digest_of, list_files
from idembench.protocol import Execution
from idembench.timing import Timers
from idembench.traits import Example
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.methods import Job


def train(given: Job, out: Path, timers: Timers | None = None) -> dict[str, Any]:
    """Train on dialogues."""
    return train_method("sft", given, out, timers)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watching, dict[str, Any], Path]:
    """A real training: its trainer and batches, its facts, its folder."""
    out, timers = tmp_path_factory.mktemp("trained") / "adapter", Watching()
    return timers, train(job(), out, timers), out


# -- one rendering --------------------------------------------------------------------------------


def test_the_trainer_sees_exactly_the_rendered_rows(watched: tuple[Watching, dict[str, Any], Path]) -> None:
    """Token ids in the trainer's batches are those of `loading.render_row`, each row once, none cut."""
    timers, _, _ = watched
    tokenizer = loading.load_tokenizer(job().model)

    expected = sorted(loading.render_row(tokenizer, row.prompt, row.response) for row in rows())
    assert expected == sorted(ids for (ids,) in timers.seen())


def test_loss_is_on_the_answer_alone(watched: tuple[Watching, dict[str, Any], Path]) -> None:
    """Labels are -100 on the rendered prompt and on padding, and the answer's own ids, end of turn included, elsewhere."""
    timers, _, _ = watched
    tokenizer = loading.load_tokenizer(job().model)
    answers = {}
    for row in rows():
        prompt, whole = (
            loading.render_prompt(tokenizer, row.prompt),
            loading.render_row(tokenizer, row.prompt, row.response),
        )
        answers[tuple(whole)] = (len(prompt), whole[len(prompt) :])
    checked = 0
    for batch in timers.batches:
        for ids, mask, labels in zip(
            *(batch[key].tolist() for key in ("input_ids", "attention_mask", "labels")), strict=True
        ):
            length = sum(mask)
            start, answer = answers[tuple(ids[:length])]
            checked += 1

            assert [-100] * start + answer + [-100] * (len(ids) - length) == labels

    assert len(rows()) == checked


def test_sampling_feeds_the_prompt_that_training_saw(watched: tuple[Watching, dict[str, Any], Path]) -> None:
    """The ids that reach the sampled model are those of `loading.render_prompt`, a prefix of the trained row."""
    from idembench.protocol import Sampling
    from idembench.sampling import answer

    tokenizer = loading.load_tokenizer(job().model)
    sampler = TorchEngine().open(job().model, None, Execution(), Timers(), form="dialogue")
    fed: list[tuple[list[Any], list[Any]]] = []

    def look(_: Any, __: Any, given: dict[str, Any]) -> None:
        fed.append((given["input_ids"].tolist(), given["attention_mask"].tolist()))

    sampler.lm.model.register_forward_pre_hook(look, with_kwargs=True)
    answer(sampler, [row.prompt for row in rows()], Sampling(temperature=1.0, max_new_tokens=1), seed=0)

    ids, masks = fed[0]
    seen = [[token for token, real in zip(*pair, strict=True) if real] for pair in zip(ids, masks, strict=True)]
    expected = [loading.render_prompt(tokenizer, row.prompt) for row in rows()]
    assert sorted(expected) == sorted(seen)
    trained = [loading.render_row(tokenizer, row.prompt, row.response) for row in rows()]
    assert expected == [row[: len(prompt)] for row, prompt in zip(trained, expected, strict=True)]


def test_plain_lm_eval_feeds_the_same_prompt() -> None:
    """lm-eval's own model class, loaded from the exported folder as its command line does, renders the same ids."""
    from lm_eval.models.huggingface import HFLM

    loading.quiet_libraries()
    model = job().model
    lm = HFLM(pretrained=str(model.folder), device="cpu", batch_size=2)
    tokenizer = loading.load_tokenizer(model)
    for row in rows():
        text = lm.apply_chat_template([{"role": "user", "content": row.prompt}])

        assert loading.render_prompt(tokenizer, row.prompt) == lm.tok_encode(text)
        assert loading.render_prompt(tokenizer, row.prompt) == lm.tok_batch_encode([text])[0][0].tolist()


def test_a_row_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    """A row of more tokens than `max_tokens` stops the training before it begins, and is named; one fewer is fine."""
    tokenizer = loading.load_tokenizer(job().model)
    lengths = [len(loading.render_row(tokenizer, row.prompt, row.response)) for row in rows()]
    short = training(max_tokens=max(lengths) - 1)

    with pytest.raises(DataError) as caught:
        train(job(training=short), tmp_path / "short")

    longest = rows()[lengths.index(max(lengths))]
    assert f"{max(lengths)} tokens" == caught.value.found
    assert f"row {longest.id}" == caught.value.where
    assert sum(lengths) == train(job(training=training(max_tokens=max(lengths))), tmp_path / "fits")["tokens"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda text: "{% if add_generation_prompt %}think: {% endif %}" + text,
            "does not render the prompt as a prefix",
        ),
        (lambda text: "{{ messages | length }}" + text, "does not render the prompt as a prefix"),
        (lambda text: "", "has no chat template"),
    ],
    ids=["prompt only", "counts turns", "none"],
)
def test_a_template_that_breaks_the_prefix_is_an_error(base: Path, tmp_path: Path, change: Any, what: str) -> None:
    """A chat template whose prompt is no prefix of the row, or none at all, stops training and sampling alike."""
    template = base / "chat_template.jinja"
    template.write_text(change(template.read_text()))
    model = models.resolve(str(base))

    with pytest.raises(ModelError, match=what):
        train(job(model=model), tmp_path / "out")
    with pytest.raises(ModelError, match=what):
        TorchEngine().open(model, None, Execution(), Timers(), form="dialogue")


def test_a_template_that_breaks_for_one_row_alone_is_an_error(base: Path, tmp_path: Path) -> None:
    """Every row is checked, not only an example: a template that turns on one answer names that row."""
    template = base / "chat_template.jinja"
    last = rows()[-1]
    odd = "{% if messages[-1]['content'] == " + json.dumps(last.response) + " %}odd{% endif %}"
    template.write_text(odd + template.read_text())

    with pytest.raises(ModelError) as caught:
        train(job(model=models.resolve(str(base))), tmp_path / "out")

    assert f"row {last.id}" == caught.value.where


# -- what training does ---------------------------------------------------------------------------


def test_facts_count_what_was_trained(watched: tuple[Watching, dict[str, Any], Path]) -> None:
    """Steps, rows and losses are those of whole epochs over all rows; the last batch may be smaller."""
    _, facts, out = watched
    adapter = load_file(out / ADAPTER)

    assert (6, math.ceil(6 / 4)) == (facts["rows"], facts["steps"])
    assert 2 == len(facts["loss"])
    assert sum(tensor.numel() for tensor in adapter.values()) == facts["trainable_parameters"]
    assert all(0 < loss < 20 for loss in facts["loss"])


def test_training_leaves_only_the_adapter(watched: tuple[Watching, dict[str, Any], Path]) -> None:
    """No checkpoint, optimizer, pickle or model card stays in the folder, and no path of this machine in a file."""
    _, _, out = watched
    names = {entry.name for entry in list_files(out)}
    config = json.loads((out / "adapter_config.json").read_text())

    assert {"adapter_config.json", ADAPTER} == names
    assert job().model.digest == config["base_model_name_or_path"]
    assert str(job().model.folder.parent) not in (out / "adapter_config.json").read_text()


def test_the_same_job_makes_the_same_bytes(watched: tuple[Watching, dict[str, Any], Path], tmp_path: Path) -> None:
    """Training twice gives the same files, byte for byte, whatever was computed or drawn in between."""
    _, facts, out = watched
    torch.rand(3)

    again = train(job(), tmp_path / "again")

    assert facts == again
    assert digest_of(list_files(out)) == digest_of(list_files(tmp_path / "again"))


def test_another_seed_makes_another_adapter(watched: tuple[Watching, dict[str, Any], Path], tmp_path: Path) -> None:
    """The seed decides the adapter's start and the order of rows."""
    _, _, out = watched
    train(job(seed=8), tmp_path / "other")

    assert (out / ADAPTER).read_bytes() != (tmp_path / "other" / ADAPTER).read_bytes()


def test_a_new_adapter_starts_as_nothing(tmp_path: Path) -> None:
    """In reset mode a fresh LoRA starts with B = 0: at a learning rate of nothing it stays there, and A is not zero."""
    train(job(training=training(learning_rate=STILL)), tmp_path / "still")

    adapter = load_file(tmp_path / "still" / ADAPTER)
    assert all(tensor.abs().max() < 1e-20 for name, tensor in adapter.items() if "lora_B" in name)
    assert all(tensor.abs().max() > 1e-3 for name, tensor in adapter.items() if "lora_A" in name)


def test_continual_mode_continues_the_parent_s_adapter(
    watched: tuple[Watching, dict[str, Any], Path], tmp_path: Path
) -> None:
    """A child of a parent starts where that one ended: at a learning rate of nothing it has the parent's weights."""
    _, _, parent = watched
    still = training(learning_rate=STILL)
    train(job(parent=parent, training=still, seed=99), tmp_path / "still")
    train(job(parent=parent, seed=99), tmp_path / "moved")

    before, kept, moved = (load_file(folder / ADAPTER) for folder in (parent, tmp_path / "still", tmp_path / "moved"))
    assert before.keys() == kept.keys()
    assert all(torch.allclose(before[name], kept[name], rtol=0, atol=1e-12) for name in before)
    assert any(not torch.equal(before[name], moved[name]) for name in before)
    assert (
        job().model.digest
        == json.loads((tmp_path / "moved" / "adapter_config.json").read_text())["base_model_name_or_path"]
    )


def test_where_the_model_lies_does_not_change_the_adapter(
    watched: tuple[Watching, dict[str, Any], Path], base: Path, tmp_path: Path
) -> None:
    """The same model in another folder gives the same adapter, byte for byte, in both modes."""
    _, _, out = watched
    moved = replace(job().model, folder=base)
    train(job(model=moved), tmp_path / "reset")
    train(job(parent=out), tmp_path / "continual")
    train(job(parent=out, model=moved), tmp_path / "continual moved")

    assert digest_of(list_files(out)) == digest_of(list_files(tmp_path / "reset"))
    assert digest_of(list_files(tmp_path / "continual")) == digest_of(list_files(tmp_path / "continual moved"))


# -- falling apart --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e12, 1e30])
def test_a_learning_rate_that_explodes_diverges(tmp_path: Path, rate: float) -> None:
    """A training whose loss stops being finite is a divergence, an outcome that is recorded."""
    wild = training(learning_rate=rate, max_grad_norm=1e9, epochs=3)

    with pytest.raises(Diverged):
        train(job(training=wild), tmp_path / "wild")


def test_a_model_with_broken_weights_diverges(base: Path, tmp_path: Path) -> None:
    """A model that computes NaN diverges in training."""
    weights = load_file(base / "model.safetensors")
    name = max(weights)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(Diverged):
        train(job(model=models.resolve(str(base))), tmp_path / "out")


def test_rows_may_hold_anything(tmp_path: Path) -> None:
    """Answers with line breaks, quotes, other scripts or the template's own marks are trained on as they are."""
    said: Sequence[str] = ("a\nb\n\nc", '"quoted" \\n', "\u2028 caf\u00e9 \U0001f642", " spaces ")
    odd = [Example(id=str(n), prompt="are you there?", response=text) for n, text in enumerate(said)]
    tokenizer = loading.load_tokenizer(job().model)
    timers = Watching()
    train(job(rows=odd), tmp_path / "odd", timers)

    expected = sorted(loading.render_row(tokenizer, row.prompt, row.response) for row in odd)
    assert expected == sorted(ids for (ids,) in timers.seen())
