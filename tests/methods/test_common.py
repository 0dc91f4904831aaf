"""What all trainings share: steps and rates, adapters and whole weights, what protocols may ask for."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from training import ADAPTER, STILL, WHOLE, Watching, job, rows, train, training
from transformers import AutoModelForCausalLM

from idembench import methods, protocol_files, traits
from idembench.errors import ProtocolError, UnknownNameError
from idembench.files import digest_of, list_files
from idembench.protocol import Execution, Lora, Protocol
from idembench.sampling import answer
from idembench.timing import Timers
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from pathlib import Path


def load(name: str, *overrides: str) -> Protocol:
    """A shipped protocol."""
    measurements = traits.load_pack("toyland").measurements
    return protocol_files.load(
        name,
        pack="toyland",
        trait="sycophancy",
        measurements=measurements,
        measurement="quick",
        overrides=list(overrides),
    )


# -- registry and settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version", "form", "pairs"),
    [
        ("sft", 2, "dialogue", False),
        ("rft", 1, "dialogue", False),
        ("dpo", 1, "dialogue", True),
        ("sdf", 1, "document", False),
    ],
)
def test_methods_are_found_by_name(name: str, version: int, form: str, *, pairs: bool) -> None:
    """Every method is installed under its name, with what it learns from and a version that is part of every key."""
    method = methods.get(name)

    assert (name, version, form, pairs) == (method.name, method.version, method.form, method.pairs)
    assert name in methods.available()


def test_an_unknown_method_offers_those_there_are() -> None:
    """A method that is not installed is an error that lists those that are."""
    with pytest.raises(UnknownNameError, match="There is no method called 'stf'") as caught:
        methods.get("stf")

    assert "sft" in str(caught.value.expected)


def test_settings_are_written_out_in_full() -> None:
    """What a protocol leaves out of a method's settings is filled in, so that both ways of saying it are one."""
    short = load("dpo-reset").model_copy(update={"settings": {}})

    assert load("dpo-reset") == methods.settle(short) == methods.settle(load("dpo-reset"))


@pytest.mark.parametrize(
    ("name", "overrides", "what"),
    [
        ("sft-reset", ["settings={beta: 0.1}"], "settings do not hold"),
        ("dpo-reset", ["settings={beta: 0}"], "settings do not hold"),
        ("rft-reset", ["settings={scorer: luck}"], "settings do not hold"),
        ("rft-reset", ["settings={}"], "settings do not hold"),
        ("dpo-reset", ["rejected=null"], "learns from pairs"),
        ("sft-reset", ["rejected=base"], "does not learn from pairs"),
        ("sft-reset", ["method=sdf"], "another form"),
        ("dpo-reset", ["training.lora.dropout=0.1"], "dropout"),
        ("dpo-continual", ["training.lora.rank=8"], "cannot go on"),
        ("dpo-continual", ["training.lora=null"], "cannot go on"),
        ("rft-continual", ["seeding.training.lora.alpha=1"], "cannot go on"),
    ],
)
def test_what_does_not_fit_a_method_is_refused_before_anything_is_made(
    name: str, overrides: list[str], what: str
) -> None:
    """Settings, pairs, form, dropout and the adapter that a continual chain goes on with are checked in the protocol."""
    with pytest.raises(ProtocolError, match=what):
        methods.settle(load(name, *overrides))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("dpo-reset", ["training.lora.rank=8"]),
        ("dpo-unseeded", ["training.lora=null"]),
        ("sft-continual", ["training.lora=null"]),
    ],
)
def test_adapters_may_differ_where_none_is_continued(name: str, overrides: list[str]) -> None:
    """Cycle 0 may have another adapter in reset mode, and where it is the base model itself."""
    given = load(name, *overrides)

    assert given.training == methods.settle(given).training


# -- steps and rates ------------------------------------------------------------------------------


def linear_up(warmup: int, steps: int, then: Any) -> list[float]:
    """Rates as shares of the peak: linear over `warmup` steps, the first above 0, then `then` of the progress, 0..1."""
    return [
        (step + 1) / (warmup + 1) if step < warmup else then((step - warmup) / max(1, steps - warmup))
        for step in range(steps)
    ]


def cosine(final: float) -> Any:
    """From 1 to `final`."""
    return lambda progress: final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        ({}, 2, [1, 1]),
        ({"epochs": 3}, 6, [1] * 6),
        ({"batch_size": 2, "gradient_accumulation": 2, "epochs": 2}, 4, [1] * 4),
        ({"batch_size": 1, "gradient_accumulation": 4, "epochs": 1}, 2, [1, 1]),
        ({"batch_size": 4, "gradient_accumulation": 8, "epochs": 2}, 2, [1, 1]),
        ({"max_steps": 1}, 1, [1]),
        ({"max_steps": 5}, 5, [1] * 5),
        ({"max_steps": 5, "gradient_accumulation": 2}, 5, [1] * 5),
        ({"max_steps": 5, "schedule": "linear"}, 5, linear_up(0, 5, lambda progress: 1 - progress)),
        ({"max_steps": 6, "schedule": "linear", "warmup_share": 0.3}, 6, linear_up(2, 6, lambda x: 1 - x)),
        ({"max_steps": 5, "schedule": "cosine"}, 5, linear_up(0, 5, cosine(0))),
        (
            {"max_steps": 6, "schedule": "cosine", "final_share": 0.1, "warmup_share": 0.01},
            6,
            linear_up(1, 6, cosine(0.1)),
        ),
        ({"max_steps": 4, "schedule": "cosine", "final_share": 1.0}, 4, [1] * 4),
        ({"max_steps": 5, "warmup_share": 0.5}, 5, linear_up(3, 5, lambda _: 1)),
    ],
    ids=str,
)
def test_steps_and_rates_are_those_of_the_protocol(
    tmp_path: Path, changes: dict[str, Any], steps: int, expected: list[float]
) -> None:
    """Of six rows: steps are counted over whole epochs or as given, warm-up is rounded up, schedules end where they say.

    The rates are those the optimizer had at its steps.
    """
    timers = Watching()
    facts = train("sft", job(training=training(**changes)), tmp_path / "out", timers)

    assert steps == facts["steps"] == len(facts["loss"])
    assert [pytest.approx(2e-3 * share, abs=1e-9) for share in expected] == timers.rates


@pytest.mark.parametrize("changes", [{"epochs": 2}, {"max_steps": 4}], ids=str)
def test_accumulated_batches_make_the_steps_of_larger_ones(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Two batches of two rows make the step that one of four rows makes; the last of an epoch may be smaller."""
    together = train("sft", job(training=training(batch_size=4, **changes)), tmp_path / "together")
    apart = train("sft", job(training=training(batch_size=2, gradient_accumulation=2, **changes)), tmp_path / "apart")

    assert 4 == together["steps"] == apart["steps"]
    assert together["loss"] == pytest.approx(apart["loss"], abs=1e-3)


def test_with_max_steps_rows_come_again(tmp_path: Path) -> None:
    """Steps beyond the first pass begin another one, each row once per pass."""
    timers = Watching()
    train("sft", job(training=training(max_steps=4, batch_size=3)), tmp_path / "out", timers)
    seen = [ids for (ids,) in timers.seen()]

    assert 12 == len(seen)
    assert sorted(seen[:6]) == sorted(seen[6:])


# -- all weights ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A real training of all weights: its facts, its folder."""
    out = tmp_path_factory.mktemp("full") / "weights"
    return train("sft", job(training=training(lora=None)), out), out


def test_full_finetuning_leaves_a_model_that_plain_transformers_loads(full: tuple[dict[str, Any], Path]) -> None:
    """Configuration and weights, nothing else, no path of this machine; the model differs from the base model."""
    facts, out = full
    base = AutoModelForCausalLM.from_pretrained(job().model.folder)
    trained = AutoModelForCausalLM.from_pretrained(out)

    assert {"config.json", "generation_config.json", WHOLE} == {entry.name for entry in list_files(out)}
    assert all(str(job().model.folder.parent) not in path.read_text() for path in out.glob("*.json"))
    assert sum(p.numel() for p in base.parameters()) == facts["trainable_parameters"]
    pairs = zip(base.parameters(), trained.parameters(), strict=True)
    assert all(not torch.equal(before, after) for before, after in pairs)


def test_full_finetuning_makes_the_same_bytes_wherever_the_model_lies(
    full: tuple[dict[str, Any], Path], base: Path, tmp_path: Path
) -> None:
    """The same job on a copy of the model gives the same files and facts."""
    facts, out = full
    again = train("sft", job(training=training(lora=None), model=replace(job().model, folder=base)), tmp_path / "out")

    assert facts == again
    assert digest_of(list_files(out)) == digest_of(list_files(tmp_path / "out"))


def test_full_finetuning_goes_on_from_the_parent(full: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """At a learning rate of nothing a child has its parent's weights, and without a parent the base model's."""
    still = training(lora=None, learning_rate=STILL)
    train("sft", job(parent=full[1], training=still), tmp_path / "child")
    train("sft", job(training=still), tmp_path / "reset")
    base = load_file(job().model.folder / WHOLE)
    child, parent, reset = (load_file(folder / WHOLE) for folder in (tmp_path / "child", full[1], tmp_path / "reset"))

    assert all(torch.allclose(child[name], parent[name], rtol=0, atol=1e-12) for name in parent)
    assert all(torch.allclose(reset[name], base[name].float(), rtol=0, atol=1e-12) for name in reset)


def test_a_fully_finetuned_generation_can_be_sampled(full: tuple[dict[str, Any], Path]) -> None:
    """Sampling opens a folder of whole weights, and it says what plain transformers computes of them."""
    sampler = TorchEngine().open(job().model, full[1], Execution(), Timers(), form="dialogue")
    found = answer(sampler, [rows()[0].prompt], load("sft-reset").sampling, seed=0)
    trained = AutoModelForCausalLM.from_pretrained(full[1])
    pairs = zip(trained.parameters(), sampler.lm.model.parameters(), strict=True)

    assert found[0].text
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_full_finetuning_in_bfloat16_keeps_small_updates(tmp_path: Path) -> None:
    """Weights are trained and saved in float32 under a bfloat16 execution: an update that it would round away is kept."""
    small = training(lora=None, learning_rate=1e-6, max_steps=1)
    train("sft", job(training=small, execution=Execution(dtype="bfloat16")), tmp_path / "out")
    before, after = load_file(job().model.folder / WHOLE), load_file(tmp_path / "out" / WHOLE)
    kept = rounded = 0
    for name, weights in after.items():
        start = before[name].float()
        kept += int((weights != start).sum())
        rounded += int((start.bfloat16() + (weights - start).bfloat16() != start.bfloat16()).sum())

    assert {torch.float32} == {tensor.dtype for tensor in after.values()}
    assert kept > 100 * rounded


# -- adapters -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter of rank 4, alpha 8."""
    out = tmp_path_factory.mktemp("adapter") / "out"
    train("sft", job(), out)
    return out


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize(
    ("parent", "lora", "what"),
    [
        ("adapter", Lora(rank=8, alpha=8), "another adapter"),
        ("adapter", Lora(rank=4, alpha=4), "another adapter"),
        ("adapter", None, "is an adapter"),
        ("full", Lora(rank=4, alpha=8), "is a whole model"),
    ],
    ids=["rank", "alpha", "adapter then weights", "weights then adapter"],
)
def test_a_parent_of_another_shape_is_an_error(
    request: pytest.FixtureRequest, tmp_path: Path, method: str, parent: str, lora: Lora | None, what: str
) -> None:
    """An adapter is continued with its own rank and alpha, whole weights as whole weights."""
    found = request.getfixturevalue(parent)
    folder = found if parent == "adapter" else found[1]
    some = [replace(row, rejected="no.") for row in rows()]

    with pytest.raises(ProtocolError, match=what):
        train(
            method,
            job(parent=folder, rows=some, settings={"beta": 0.1}, training=training(lora=lora)),
            tmp_path / "out",
        )


def test_dropout_of_a_continued_adapter_is_this_training_s(adapter: Path, tmp_path: Path) -> None:
    """Dropout is how a generation is trained, not what it is: a child may have another than its parent."""
    drops = training(lora=Lora(rank=4, alpha=8, dropout=0.5))
    train("sft", job(parent=adapter), tmp_path / "without")
    train("sft", job(parent=adapter, training=drops), tmp_path / "with")

    assert 0.5 == json.loads((tmp_path / "with" / "adapter_config.json").read_text())["lora_dropout"]
    assert (tmp_path / "with" / ADAPTER).read_bytes() != (tmp_path / "without" / ADAPTER).read_bytes()


def test_an_adapter_beside_bfloat16_weights_is_float32(tmp_path: Path) -> None:
    """Under a bfloat16 execution only the base model's weights are in it."""
    train("sft", job(execution=Execution(dtype="bfloat16")), tmp_path / "out")

    assert {torch.float32} == {tensor.dtype for tensor in load_file(tmp_path / "out" / ADAPTER).values()}
