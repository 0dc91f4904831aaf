"""Steps as data: a key depends on every input, and the walk is the experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from idembench.files import sha256_json
from idembench.protocol import Data, Execution, Lora, Measuring, Protocol, Sampling, Training
from idembench.steps import Plan, Sources, Step, StepVersions, Subject, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

SUBJECT = Subject(model="m" * 64, pack="toyland", trait="bliss", seed=0, execution=Execution())
DATA = Data(n_seed=8, n_sampled=16)
TRAINING = Training(learning_rate=1e-3, epochs=2, batch_size=4, max_tokens=99, lora=Lora(rank=4, alpha=8))
SAMPLING = Sampling(temperature=0.8, max_new_tokens=48)
MEASURING = Measuring(name="quick", questions=20, repeats=2, neutral_questions=5, temperature=0.8, max_new_tokens=48)


def make_step(kind: str, subject: Subject = SUBJECT, **changes: Any) -> Step:
    """A step of that kind, with some of its arguments changed."""
    arguments: dict[str, dict[str, Any]] = {
        "seed": {"demonstrations": "d" * 64, "data": DATA},
        "generate": {"cycle": 1, "adapter": "a" * 64, "prompts": "p" * 64, "data": DATA, "sampling": SAMPLING},
        "train": {
            "cycle": 1,
            "parent": None,
            "rows": "r" * 64,
            "method": "sft",
            "method_version": 1,
            "training": TRAINING,
        },
        "measure": {
            "label": "c1",
            "adapter": "a" * 64,
            "questions": "q" * 64,
            "neutral": "n" * 64,
            "tasks": "t" * 64,
            "measuring": MEASURING,
        },
        "judge": {
            "label": "c1",
            "responses": "r" * 64,
            "questions": "q" * 64,
            "neutral": "n" * 64,
            "judge": "j" * 64,
        },
    }
    make: dict[str, Callable[..., Step]] = {
        "seed": subject.seeding,
        "generate": subject.generation,
        "train": subject.training,
        "measure": subject.measurement,
        "judge": subject.judgement,
    }
    return make[kind](**{**arguments[kind], **changes})


def variants(model: BaseModel, *, skip: tuple[str, ...] = ()) -> list[BaseModel]:
    """The same settings with one field changed, for every field."""
    found: list[BaseModel] = []
    choices = {"schedule": "linear", "device": "cuda", "dtype": "bfloat16", "attention": "eager"}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if name in skip:
            continue
        if isinstance(value, Lora):
            found += [model.model_copy(update={name: inner}) for inner in variants(value)]
        elif isinstance(value, str):
            found.append(model.model_copy(update={name: choices[name]}))
        else:
            found.append(model.model_copy(update={name: value + 1 if isinstance(value, int) else value / 2 + 0.01}))
    return found


EXECUTIONS = variants(Execution(), skip=("backend",))
CHANGED: dict[str, list[Step]] = {
    "seed": [
        make_step("seed", demonstrations="e" * 64),
        make_step("seed", data=Data(n_seed=9, n_sampled=16)),
        make_step("seed", replace(SUBJECT, seed=1)),
        make_step("seed", replace(SUBJECT, trait="sycophancy")),
        make_step("seed", replace(SUBJECT, pack="english")),
    ],
    "generate": [
        *(make_step("generate", sampling=one) for one in variants(SAMPLING)),
        *(make_step("generate", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("generate", cycle=2),
        make_step("generate", adapter="b" * 64),
        make_step("generate", prompts="q" * 64),
        make_step("generate", data=Data(n_seed=8, n_sampled=17)),
        make_step("generate", replace(SUBJECT, seed=1)),
        make_step("generate", replace(SUBJECT, trait="sycophancy")),
        make_step("generate", replace(SUBJECT, pack="english")),
        make_step("generate", replace(SUBJECT, model="n" * 64)),
    ],
    "train": [
        *(make_step("train", training=one) for one in variants(TRAINING)),
        *(make_step("train", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("train", cycle=2),
        make_step("train", parent="a" * 64),
        make_step("train", rows="s" * 64),
        make_step("train", method="dpo"),
        make_step("train", method_version=2),
        make_step("train", replace(SUBJECT, seed=1)),
        make_step("train", replace(SUBJECT, trait="sycophancy")),
        make_step("train", replace(SUBJECT, pack="english")),
        make_step("train", replace(SUBJECT, model="n" * 64)),
    ],
    "measure": [
        make_step("measure", tasks="u" * 64),
        *(make_step("measure", measuring=one) for one in variants(MEASURING, skip=("name",))),
        *(make_step("measure", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("measure", label="c2"),
        make_step("measure", adapter=None),
        make_step("measure", adapter="b" * 64),
        make_step("measure", questions="r" * 64),
        make_step("measure", neutral="o" * 64),
        make_step("measure", replace(SUBJECT, seed=1)),
        make_step("measure", replace(SUBJECT, trait="sycophancy")),
        make_step("measure", replace(SUBJECT, pack="english")),
        make_step("measure", replace(SUBJECT, model="n" * 64)),
    ],
    "judge": [
        make_step("judge", responses="s" * 64),
        make_step("judge", questions="r" * 64),
        make_step("judge", neutral="o" * 64),
        make_step("judge", judge="k" * 64),
        make_step("judge", replace(SUBJECT, trait="sycophancy")),
        make_step("judge", replace(SUBJECT, pack="english")),
    ],
}


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CHANGED)
def test_a_key_depends_on_every_input(kind: str) -> None:
    """Changing any one input of a step gives another key, and no two changes give the same."""
    keys = [make_step(kind).key, *(step.key for step in CHANGED[kind])]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("kind", CHANGED)
def test_a_key_depends_on_the_version_of_its_kind(kind: str) -> None:
    """Raising the version of a kind of step makes its old results unusable, and no other kind's."""
    raised = replace(SUBJECT, versions=StepVersions(**{kind: 2}))

    assert {kind} == {other for other in CHANGED if make_step(other).key != make_step(other, raised).key}


def test_what_does_not_matter_is_in_no_key() -> None:
    """How a measurement is called, and what a cycle's own judgement is labelled, change no key."""
    renamed = MEASURING.model_copy(update={"name": "ranked"})

    assert make_step("measure").key == make_step("measure", measuring=renamed).key
    assert make_step("judge").key == make_step("judge", label="c2").key
    assert make_step("seed").key == make_step("seed", data=Data(n_seed=8, n_sampled=99)).key
    assert make_step("generate").key == make_step("generate", data=Data(n_seed=9, n_sampled=16)).key


def test_demonstrations_do_not_depend_on_the_machine() -> None:
    """Drawing demonstrations is the same everywhere and for every model."""
    other = replace(SUBJECT, model="n" * 64, execution=Execution(threads=2))

    assert make_step("seed").key == make_step("seed", other).key


def test_calls_of_one_chain_have_seeds_of_their_own() -> None:
    """Every call that samples or trains is seeded by what it is for, so no two share their noise."""
    calls = [(kind, f"c{cycle}") for kind in ("train", "generate", "measure") for cycle in range(7)]
    chains = [replace(SUBJECT, seed=seed, trait=trait) for seed in range(3) for trait in ("bliss", "sycophancy")]
    seeds = [chain.derive(*call) for chain in chains for call in calls]

    assert len(seeds) == len(set(seeds))


# -- the walk -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fake:
    """A finished step whose content follows from its key."""

    digest: str


def make_plan(mode: str = "reset", *, subject: Subject = SUBJECT, cycles: int = 2, **changes: Any) -> Plan:
    """A plan of a small chain."""
    protocol = Protocol(
        name="tiny",
        pack="toyland",
        method="sft",
        mode=mode,
        cycles=cycles,
        data=DATA,
        training=TRAINING,
        sampling=SAMPLING,
        measuring=MEASURING,
    ).model_copy(update=changes)
    sources = Sources(
        demonstrations="d" * 64, prompts="b" * 64, questions="c" * 64, neutral_questions="e" * 64, tasks="f" * 64
    )
    return Plan(subject=subject, protocol=protocol, sources=sources, judge="j" * 64, method_version=1)


def walked(plan: Plan, *, without: tuple[str, str] | None = None) -> list[tuple[str, str, Step | None, dict[str, Any]]]:
    """Everything the walk asks for: kind, cycle, step, parents; the step named `without` is not there."""
    asked = []

    def take(kind: str, cycle: str, step: Step | None, **parents: Fake | None) -> Fake | None:
        asked.append((kind, cycle, step, parents))
        return None if step is None or (kind, cycle) == without else Fake(sha256_json(step.key))

    walk(plan, take)
    return asked


def keys(plan: Plan) -> dict[tuple[str, str], str]:
    """The keys of a chain, by kind and cycle."""
    return {(kind, cycle): step.key for kind, cycle, step, _ in walked(plan) if step is not None}


ORDER = [
    ("measure", "base"),
    ("judge", "base"),
    ("seed", "c0"),
    ("train", "c0"),
    ("measure", "c0"),
    ("judge", "c0"),
    ("generate", "c1"),
    ("train", "c1"),
    ("measure", "c1"),
    ("judge", "c1"),
    ("generate", "c2"),
    ("train", "c2"),
    ("measure", "c2"),
    ("judge", "c2"),
]


@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_the_order_of_steps(mode: str) -> None:
    """Measure the base, seed, then sample, train and measure, cycle by cycle; a step is called by its own cycle."""
    asked = walked(make_plan(mode))

    assert ORDER == [(kind, cycle) for kind, cycle, _, _ in asked]
    assert ORDER == [(step.kind, step.cycle) for _, _, step, _ in asked if step is not None]


@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_who_learns_from_whom(mode: str) -> None:
    """Each cycle learns from what the generation before said; only in continual mode it also starts from it."""
    plan = make_plan(mode)
    made = {key: Fake(sha256_json(value)) for key, value in keys(plan).items()}
    for kind, cycle, step, parents in walked(plan):
        assert step is not None
        number = 0 if cycle == "base" else int(cycle[1:])
        if kind == "generate":
            assert {"adapter": made["train", f"c{number - 1}"]} == parents
            assert step.inputs["slice"] == number
        elif kind == "train":
            rows = made["seed" if number == 0 else "generate", cycle]
            before = made["train", f"c{number - 1}"] if mode == "continual" and number else None

            assert {"rows": rows, "parent": before} == parents
            assert (rows.digest, before and before.digest) == (step.inputs["rows"], step.inputs["parent"])
        elif kind == "measure":
            assert {"adapter": None if cycle == "base" else made["train", cycle]} == parents
        elif kind == "judge":
            assert {"responses": made["measure", cycle]} == parents


def test_keys_of_a_chain_are_unique() -> None:
    """No two steps of a chain share a key."""
    found = list(keys(make_plan(cycles=6)).values())

    assert len(found) == len(set(found))


def test_modes_share_what_does_not_depend_on_the_mode() -> None:
    """Reset and continual share the base, the whole of cycle 0 and what it says; they part where cycle 1 is trained."""
    reset, continual = keys(make_plan("reset")), keys(make_plan("continual"))
    shared = [place for place in ORDER if reset[place] == continual[place]]

    assert ORDER[:7] == shared


def test_a_longer_chain_begins_like_a_shorter_one() -> None:
    """Asking for more cycles keeps every step of the shorter chain."""
    short, long = keys(make_plan(cycles=2)), keys(make_plan(cycles=4))

    assert short == {place: long[place] for place in short}


def test_seeds_share_nothing() -> None:
    """Another seed measures, draws, trains and samples anew, the base included."""
    one, other = keys(make_plan()), keys(make_plan(subject=replace(SUBJECT, seed=1)))

    assert set() == set(one.values()) & set(other.values())


def test_a_protocols_name_is_in_no_key() -> None:
    """Protocols that agree share all their steps, however they are called."""
    assert keys(make_plan()) == keys(make_plan(name="other"))


def test_another_sampling_temperature_keeps_cycle_zero() -> None:
    """A setting changes the keys of the steps it reaches, and of those that follow from them."""
    warm = Sampling(temperature=1.0, max_new_tokens=48)
    one, other = keys(make_plan()), keys(make_plan(sampling=warm))

    assert ORDER[:6] == [place for place in ORDER if one[place] == other[place]]


@pytest.mark.parametrize(
    ("without", "unknown"),
    [
        (("measure", "base"), [("judge", "base")]),
        (("judge", "base"), []),
        (("seed", "c0"), ORDER[3:]),
        (("train", "c0"), ORDER[4:]),
        (("measure", "c1"), [("judge", "c1")]),
        (("generate", "c1"), ORDER[7:]),
        (("train", "c2"), [("measure", "c2"), ("judge", "c2")]),
    ],
)
@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_what_follows_a_missing_step_is_unknown(
    mode: str, without: tuple[str, str], unknown: list[tuple[str, str]]
) -> None:
    """Where a parent is not there, the walk still visits every step, with none where the key cannot be known."""
    asked = walked(make_plan(mode), without=without)

    assert ORDER == [(kind, cycle) for kind, cycle, _, _ in asked]
    assert unknown == [(kind, cycle) for kind, cycle, step, _ in asked if step is None]
