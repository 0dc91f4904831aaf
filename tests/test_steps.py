"""Steps as data: a key depends on every input, and the walk is the experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from idembench.files import sha256_json
from idembench.protocol import Data, Execution, Learning, Lora, Measuring, Protocol, Sampling, Training
from idembench.steps import ON_STACK, AskedTask, Plan, Sources, Step, StepVersions, Subject, extends, steps_of, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

SUBJECT = Subject(model="m" * 64, pack="toyland", trait="bliss", form="dialogue", seed=0, execution=Execution())
DATA = Data(n_seed=8, n_sampled=16)
TRAINING = Training(learning_rate=1e-3, epochs=2, batch_size=4, max_tokens=99, lora=Lora(rank=4, alpha=8))
SAMPLING = Sampling(temperature=0.8, max_new_tokens=48)
MEASURING = Measuring(name="quick", questions=20, repeats=2, neutral_questions=5, temperature=0.8, max_new_tokens=48)


LEARNING = Learning(method="sft", training=TRAINING)
SOURCES = Sources(
    demonstrations="d" * 64, prompts="b" * 64, questions="c" * 64, neutral_questions="e" * 64, tasks="f" * 64
)


TASK = AskedTask(name="arc_easy", version="1.0", items=9, sha256="a" * 64)
OTHER_TASK = AskedTask(name="piqa", version=None, items=7, sha256="b" * 64)


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
    versions = dict.fromkeys([*protocol.methods, "dpo"], 1)
    return Plan(subject=subject, protocol=protocol, sources=SOURCES, judge="j" * 64, method_versions=versions)


def learned(**changes: Any) -> Learning:
    """How a cycle learns, changed."""
    return LEARNING.model_copy(update=changes)


def selected(subject: Subject = SUBJECT, **changes: Any) -> Step:
    """A selection; `judge`, `prompts` and `data` change its plan, `learning` how the cycle learns."""
    learning = changes.pop("learning", LEARNING)
    plan = make_plan(subject=subject, **{key: changes.pop(key) for key in ("data", "control") if key in changes})
    plan = replace(plan, **{key: changes.pop(key) for key in ("judge", "sources", "method_versions") if key in changes})
    given: dict[str, Any] = {"cycle": 1, "own": "o" * 64, "rejected": None, "demonstrations": None, **changes}
    return subject.selection(plan=plan, learning=learning, **given)


def make_step(kind: str, subject: Subject = SUBJECT, **changes: Any) -> Step:
    """A step of some kind, with some of its arguments changed."""
    if kind == "select":
        return selected(subject, **changes)
    arguments: dict[str, dict[str, Any]] = {
        "seed": {"cycle": 0, "demonstrations": "d" * 64, "after": 0, "n": 8},
        "generate": {
            "cycle": 1,
            "adapter": "a" * 64,
            "prompts": "p" * 64,
            "n": 16,
            "candidates": 1,
            "sampling": SAMPLING,
        },
        "reject": {"cycle": 1, "adapter": "a" * 64, "prompts": "p" * 64, "n": 16, "rows": None, "sampling": SAMPLING},
        "train": {"cycle": 1, "parent": None, "rows": "r" * 64, "method_version": 1, "learning": LEARNING},
        "measure": {
            "label": "c1",
            "adapter": "a" * 64,
            "questions": "q" * 64,
            "neutral": "n" * 64,
            "tasks": "t" * 64,
            "measuring": MEASURING,
        },
        "task": {"label": "c1", "adapter": "a" * 64, "task": TASK},
        "perplexity": {
            "label": "c1",
            "responses": "r" * 64,
            "questions": "q" * 64,
            "neutral": "n" * 64,
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
        "reject": subject.rejection,
        "train": subject.training,
        "measure": subject.measurement,
        "task": subject.asking,
        "perplexity": subject.perplexity,
        "judge": subject.judgement,
    }
    return make[kind](**{**arguments[kind], **changes})


def variants(model: BaseModel, *, skip: tuple[str, ...] = ()) -> list[BaseModel]:
    """The same settings with one field changed, for every field."""
    found: list[BaseModel] = []
    choices = {"schedule": "linear", "device": "cuda", "dtype": "bfloat16", "attention": "eager"}
    others: dict[str, Any] = {"max_steps": 3, "stop": ["\n"], "epochs": 3}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if name in skip:
            continue
        if isinstance(value, Lora):
            found += [model.model_copy(update={name: inner}) for inner in (None, *variants(value))]
        elif name in others:
            found.append(model.model_copy(update={name: others[name]}))
        elif isinstance(value, str):
            found.append(model.model_copy(update={name: choices[name]}))
        else:
            found.append(model.model_copy(update={name: value + 1 if isinstance(value, int) else value / 2 + 0.01}))
    return found


EXECUTIONS = variants(Execution(), skip=("backend",))
CHANGED: dict[str, list[Step]] = {
    "seed": [
        make_step("seed", demonstrations="e" * 64),
        make_step("seed", n=9),
        make_step("seed", after=1),
        make_step("seed", replace(SUBJECT, seed=1)),
        make_step("seed", replace(SUBJECT, trait="sycophancy")),
        make_step("seed", replace(SUBJECT, pack="english")),
    ],
    "generate": [
        *(make_step("generate", sampling=one) for one in variants(SAMPLING)),
        *(make_step("generate", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("generate", cycle=2),
        make_step("generate", adapter="b" * 64),
        make_step("generate", adapter=None),
        make_step("generate", prompts="q" * 64),
        make_step("generate", n=17),
        make_step("generate", candidates=2),
        make_step("generate", replace(SUBJECT, seed=1)),
        make_step("generate", replace(SUBJECT, trait="sycophancy")),
        make_step("generate", replace(SUBJECT, pack="english")),
        make_step("generate", replace(SUBJECT, form="document")),
        make_step("generate", replace(SUBJECT, model="n" * 64)),
    ],
    "reject": [
        *(make_step("reject", sampling=one) for one in variants(SAMPLING)),
        *(make_step("reject", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("reject", cycle=2),
        make_step("reject", adapter=None),
        make_step("reject", rows="r" * 64),
        make_step("reject", rows="s" * 64),
        make_step("reject", prompts="q" * 64),
        make_step("reject", n=17),
        make_step("reject", replace(SUBJECT, seed=1)),
        make_step("reject", replace(SUBJECT, trait="sycophancy")),
        make_step("reject", replace(SUBJECT, pack="english")),
        make_step("reject", replace(SUBJECT, form="document")),
        make_step("reject", replace(SUBJECT, model="n" * 64)),
    ],
    "select": [
        make_step("select", cycle=2),
        make_step("select", own="p" * 64),
        make_step("select", rejected="r" * 64),
        make_step("select", demonstrations="d" * 64),
        make_step("select", data=DATA.model_copy(update={"original_mix": 0.5})),
        make_step("select", data=DATA.model_copy(update={"coherence_filter": 70.0})),
        make_step("select", control="shuffled"),
        make_step("select", judge="k" * 64),
        make_step("select", sources=SOURCES.model_copy(update={"prompts": "x" * 64})),
        make_step("select", learning=learned(method="dpo")),
        make_step("select", method_versions={"sft": 2}),
        make_step("select", learning=learned(settings={"scorer": "length"})),
        make_step("select", replace(SUBJECT, seed=1)),
        make_step("select", replace(SUBJECT, trait="sycophancy")),
        make_step("select", replace(SUBJECT, pack="english")),
    ],
    "train": [
        *(make_step("train", learning=learned(training=one)) for one in variants(TRAINING)),
        *(make_step("train", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("train", cycle=2),
        make_step("train", parent="a" * 64),
        make_step("train", rows="s" * 64),
        make_step("train", learning=learned(method="dpo")),
        make_step("train", learning=learned(settings={"beta": 0.2})),
        make_step("train", method_version=2),
        make_step("train", replace(SUBJECT, seed=1)),
        make_step("train", replace(SUBJECT, trait="sycophancy")),
        make_step("train", replace(SUBJECT, pack="english")),
        make_step("train", replace(SUBJECT, form="document")),
        make_step("train", replace(SUBJECT, model="n" * 64)),
    ],
    "measure": [
        make_step("measure", tasks="u" * 64),
        *(make_step("measure", measuring=one) for one in variants(MEASURING, skip=("name", "perplexity"))),
        *(make_step("measure", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("measure", label="c2"),
        make_step("measure", adapter=None),
        make_step("measure", adapter="b" * 64),
        make_step("measure", questions="r" * 64),
        make_step("measure", neutral="o" * 64),
        make_step("measure", replace(SUBJECT, seed=1)),
        make_step("measure", replace(SUBJECT, trait="sycophancy")),
        make_step("measure", replace(SUBJECT, pack="english")),
        make_step("measure", replace(SUBJECT, form="document")),
        make_step("measure", replace(SUBJECT, model="n" * 64)),
    ],
    "task": [
        *(make_step("task", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("task", adapter=None),
        make_step("task", adapter="b" * 64),
        make_step("task", task=OTHER_TASK),
        make_step("task", task=TASK.model_copy(update={"name": "arc_challenge"})),
        make_step("task", task=TASK.model_copy(update={"version": "2.0"})),
        make_step("task", task=TASK.model_copy(update={"items": 8})),
        make_step("task", task=TASK.model_copy(update={"sha256": "c" * 64})),
        make_step("task", replace(SUBJECT, form="document")),
        make_step("task", replace(SUBJECT, model="n" * 64)),
    ],
    "perplexity": [
        *(make_step("perplexity", replace(SUBJECT, execution=one)) for one in EXECUTIONS),
        make_step("perplexity", responses="s" * 64),
        make_step("perplexity", questions="r" * 64),
        make_step("perplexity", neutral="o" * 64),
        make_step("perplexity", replace(SUBJECT, trait="sycophancy")),
        make_step("perplexity", replace(SUBJECT, pack="english")),
        make_step("perplexity", replace(SUBJECT, form="document")),
        make_step("perplexity", replace(SUBJECT, model="n" * 64)),
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
    asked = MEASURING.model_copy(update={"perplexity": True})

    assert make_step("measure").key == make_step("measure", measuring=renamed).key
    assert make_step("measure").key == make_step("measure", measuring=asked).key
    assert make_step("task").key == make_step("task", label="c2").key
    assert make_step("task").key == make_step("task", replace(SUBJECT, seed=1, trait="sycophancy", pack="english")).key
    assert make_step("judge").key == make_step("judge", label="c2").key
    assert make_step("seed").key == make_step("seed", cycle=1).key
    assert make_step("reject", rows="r" * 64).key == make_step("reject", rows="r" * 64, n=99, prompts="q" * 64).key


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
    ("select", "c1"),
    ("train", "c1"),
    ("measure", "c1"),
    ("judge", "c1"),
    ("generate", "c2"),
    ("select", "c2"),
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
            rows = made["seed" if number == 0 else "select", cycle]
            before = made["train", f"c{number - 1}"] if mode == "continual" and number else None

            assert {"rows": rows, "parent": before} == parents
            assert (rows.digest, before and before.digest) == (step.inputs["rows"], step.inputs["parent"])
        elif kind == "select":
            assert {"own": made["generate", cycle], "rejected": None, "demonstrations": None} == parents
        elif kind == "measure":
            assert {"adapter": None if cycle == "base" else made["train", cycle]} == parents
        elif kind == "judge":
            assert {"responses": made["measure", cycle]} == parents


def test_what_a_record_leaves_out_means_the_first_version() -> None:
    """Versions are raised for an installation, never in what a record means that does not state one."""
    assert {1} == set(StepVersions().model_dump().values()) | {StepVersions().task, StepVersions().perplexity}
    assert StepVersions(perplexity=2) == StepVersions.model_validate(StepVersions(perplexity=2).model_dump())


def test_what_is_asked_beside_is_asked_of_every_checkpoint_and_changes_nothing_else() -> None:
    """Each task is a step behind every measurement, of the same checkpoint; every other step keeps its key and its parents."""
    plain, more = make_plan("continual"), replace(make_plan("continual"), tasks=(TASK, OTHER_TASK))
    found = walked(more)
    beside = [index for index, (kind, *_) in enumerate(found) if kind == "task"]

    assert walked(plain) == [one for one in found if one[0] != "task"]
    assert [*("base", "base", "c0", "c0", "c1", "c1", "c2", "c2")] == [found[index][1] for index in beside]
    for first, second in zip(beside[::2], beside[1::2], strict=True):
        kind, cycle, measured, parents = found[first - 1]

        assert ("measure", cycle) == (kind, found[first][1])
        for index, task in ((first, TASK), (second, OTHER_TASK)):
            step = found[index][2]
            assert step is not None
            assert measured is not None
            assert parents == found[index][3]
            assert (task.model_dump(), measured.inputs["adapter"]) == (step.inputs["task"], step.inputs["adapter"])


def test_a_checkpoint_that_is_not_there_is_asked_nothing() -> None:
    """Where a training is missing, its tasks are unknown, as its measurement is."""
    plan = replace(make_plan(), tasks=(TASK,))
    unknown = [(kind, cycle) for kind, cycle, step, _ in walked(plan, without=("train", "c1")) if step is None]

    assert ("task", "c1") in unknown
    assert ("task", "c0") not in unknown


def test_the_bits_of_what_is_asked_depend_on_the_stack() -> None:
    """Likelihoods are computed on a stack, so their step is bound to it."""
    assert "task" in ON_STACK


def test_keys_of_a_chain_are_unique() -> None:
    """No two steps of a chain share a key."""
    found = list(keys(make_plan(cycles=6)).values())

    assert len(found) == len(set(found))


def test_modes_share_what_does_not_depend_on_the_mode() -> None:
    """Reset and continual share the base, the whole of cycle 0 and what it says; they part where cycle 1 is trained."""
    reset, continual = keys(make_plan("reset")), keys(make_plan("continual"))
    shared = [place for place in ORDER if reset[place] == continual[place]]

    assert ORDER[:8] == shared


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
        (("select", "c1"), ORDER[8:]),
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


# -- pairs, mixes, controls -----------------------------------------------------------------------


PAIRS = {"method": "dpo", "rejected": "base", "settings": {"beta": 0.1}}
SEEDED_BY_SFT = {**PAIRS, "seeding": LEARNING}


def kinds(plan: Plan, cycle: str) -> list[str]:
    """Kinds of steps of one cycle, in order."""
    return [kind for kind, at, _, _ in walked(plan) if at == cycle]


def parents_of(plan: Plan, kind: str, cycle: str) -> dict[str, Any]:
    """What one step is given."""
    return next(parents for at, label, _, parents in walked(plan) if (at, label) == (kind, cycle))


def test_pairs_are_made_where_a_method_learns_from_them() -> None:
    """A chain seeded by preferences samples losers in cycle 0 too; one seeded by rows from cycle 1 on."""
    by_pairs, by_rows = make_plan(**PAIRS), make_plan(**SEEDED_BY_SFT)

    assert ["seed", "reject", "select", "train", "measure", "judge"] == kinds(by_pairs, "c0")
    assert ["seed", "train", "measure", "judge"] == kinds(by_rows, "c0")
    assert ["generate", "reject", "select", "train", "measure", "judge"] == kinds(by_rows, "c1")


@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_who_loses(mode: str) -> None:
    """`base` lets the base model lose in every cycle, `previous` the generation before the winner, the base at first."""
    base = make_plan(mode, cycles=3, **SEEDED_BY_SFT)
    previous = make_plan(mode, cycles=3, **{**SEEDED_BY_SFT, "rejected": "previous"})
    made = keys(previous)

    assert [None] * 3 == [parents_of(base, "reject", f"c{n}")["adapter"] for n in (1, 2, 3)]
    assert [None, *(Fake(sha256_json(made["train", f"c{n}"])) for n in (0, 1))] == [
        parents_of(previous, "reject", f"c{n}")["adapter"] for n in (1, 2, 3)
    ]


def test_arms_share_the_base_models_losers() -> None:
    """What the base model says to a cycle's prompts is sampled once for reset, continual and any beta."""
    plans = [
        make_plan(mode, **{**SEEDED_BY_SFT, "settings": {"beta": beta}})
        for mode, beta in (("reset", 0.1), ("continual", 0.1), ("reset", 0.3))
    ]

    assert all(1 == len({keys(plan)["reject", cycle] for plan in plans}) for cycle in ("c1", "c2"))


def test_seeding_by_rows_is_shared_with_supervised_chains() -> None:
    """A preference chain that is seeded as a supervised one has the base, cycle 0 and its first answers in common."""
    supervised, preferred = keys(make_plan()), keys(make_plan(**SEEDED_BY_SFT))

    assert ORDER[:7] == [place for place in ORDER if supervised[place] == preferred.get(place)]


def test_demonstrations_join_later_cycles_where_they_are_mixed_in() -> None:
    """With a mix every later selection is given the demonstrations of cycle 0; without one, none."""
    plan = make_plan(data=DATA.model_copy(update={"original_mix": 0.25}))
    seeds = Fake(sha256_json(keys(plan)["seed", "c0"]))

    assert [seeds, seeds] == [parents_of(plan, "select", cycle)["demonstrations"] for cycle in ("c1", "c2")]


UNSEEDED = {"control": "unseeded", "data": DATA.model_copy(update={"n_seed": 0})}


@pytest.mark.parametrize("mode", ["reset", "continual"])
def test_an_unseeded_chain_measures_the_base_twice_and_learns_from_it(mode: str) -> None:
    """Cycle 0 is the base model, measured under a seed of its own; cycle 1 learns from what the base model says."""
    plan = make_plan(mode, **UNSEEDED)
    made = keys(plan)

    assert ["measure", "judge"] == kinds(plan, "c0")
    assert {"adapter": None} == parents_of(plan, "measure", "c0") == parents_of(plan, "generate", "c1")
    assert made["measure", "base"] != made["measure", "c0"]
    assert None is parents_of(plan, "train", "c1")["parent"]


def test_fresh_data_draws_other_demonstrations_for_every_cycle() -> None:
    """Every cycle has a slice of the seed's one order: n_seed first, then n_sampled each, none twice."""
    plan = make_plan(control="fresh-data")
    drawn = [step for kind, _, step, _ in walked(plan) if kind == "seed" and step is not None]

    assert ["seed", "select", "train", "measure", "judge"] == kinds(plan, "c1")
    assert [(0, 8), (8, 16), (24, 16)] == [(step.inputs["after"], step.inputs["n"]) for step in drawn]


def test_a_frozen_chain_measures_the_seeded_model_again_and_again() -> None:
    """After cycle 0 nothing is trained or sampled; every measurement is of cycle 0's model, under its own seed."""
    plan = make_plan(control="frozen")
    made = keys(plan)
    seeded = Fake(sha256_json(made["train", "c0"]))

    assert [["measure", "judge"]] * 2 == [kinds(plan, cycle) for cycle in ("c1", "c2")]
    assert [{"adapter": seeded}] * 3 == [parents_of(plan, "measure", cycle) for cycle in ("c0", "c1", "c2")]
    assert 4 == len({made["measure", label] for label in ("base", "c0", "c1", "c2")})


def test_shuffling_parts_at_the_selection() -> None:
    """The shuffled control shares everything with its arm up to what cycle 1 selects."""
    arm, control = keys(make_plan()), keys(make_plan(control="shuffled"))

    assert ORDER[:7] == [place for place in ORDER if arm[place] == control[place]]


@pytest.mark.parametrize(
    "changes", [{}, PAIRS, SEEDED_BY_SFT, UNSEEDED, {"control": "frozen"}, {"control": "fresh-data"}]
)
def test_steps_are_listed_as_they_are_walked(changes: dict[str, Any]) -> None:
    """Counting the steps of a chain, none of which is there, names those that a run takes, in order."""
    plan = make_plan("continual", **changes)

    assert [(kind, cycle) for kind, cycle, _, _ in walked(plan)] == steps_of(plan)


def test_a_chain_of_no_cycles_seeds_and_measures() -> None:
    """With 0 cycles the walk ends at the seeded model's measurement: what a calibration needs."""
    assert ORDER[:6] == steps_of(make_plan(cycles=0))


@pytest.mark.parametrize(
    ("longer", "shorter", "expected"),
    [("abc", "ab", True), ("ab", "ab", True), ("ab", "abc", False), ("axc", "ab", False)],
)
def test_a_chain_extends_what_it_begins_with(longer: str, shorter: str, *, expected: bool) -> None:
    """Keys that begin with all of another's are the same chain, taken further."""
    assert expected == extends(list(longer), list(shorter))
