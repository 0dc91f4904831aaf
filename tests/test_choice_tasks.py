"""lm-eval tasks by name: what is asked is fixed before anything is trained, and answered as lm-eval itself has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import datasets
import pytest
import yaml
from instant import InstantLM, InstantSampler
from public_sets import NAMES, ROWS, rows, write_sets

from idembench import choice_tasks, task_answers
from idembench.errors import DataError, EnvironmentProblem, IdembenchError, InputError, UnknownNameError
from idembench.files import asset, read_jsonl, write_jsonl
from idembench.shipped import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.protocol import Form
    from idembench.steps import AskedTask

OWN = "idembench_toyland_sycophancy_choice"
SURVEY = NAMES[0]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a cache of data sets of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def own(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tasks folder of somebody's own."""
    folder = here / "own"
    folder.mkdir()
    monkeypatch.setenv(TASKS, str(folder))
    return folder


def write_task(folder: Path, name: str, items: Sequence[dict[str, Any]], **config: Any) -> str:
    """Write an lm-eval task over rows of its own; its name."""
    write_jsonl(folder / f"{name}.jsonl", items)
    plain = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "options",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    settings = {key: value for key, value in {**plain, **config}.items() if value is not None}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return name


QUESTIONS = [{"question": f"is {n} even?", "options": ["yes", "no"], "gold": n % 2, "odd": n / 2} for n in range(6)]


def resolved(name: str, form: Form = "dialogue") -> AskedTask:
    """One task."""
    (task,) = choice_tasks.resolve([name], form=form)
    return task


class Fixed(InstantLM):
    """Finds every option as likely as `likely` says, by what is asked and what follows it."""

    def __init__(self, likely: Any) -> None:
        super().__init__("fixed", seeded=True)
        self.likely = likely
        self.asked: list[tuple[str, str]] = []

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        self.asked += [request.args for request in requests]
        return [(self.likely(*request.args), False) for request in requests]


def asked(name: str, likely: Any, form: Form = "dialogue") -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The lines of a task under likelihoods that are given, and the pairs that were asked."""
    lm = Fixed(likely)
    return choice_tasks.answers(InstantSampler(lm=lm, form=form), resolved(name, form)), lm.asked


# -- what is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [OWN, "idembench_english_sycophancy_choice"])
def test_a_task_of_the_packs_is_known_by_its_name(name: str) -> None:
    """Name, version, number of items and a hash of what is asked; asked again they are the same."""
    found = resolved(name)
    there = read_jsonl(asset("tasks") / name.split("_")[1] / "sycophancy" / "choices.jsonl")

    assert (name, "1.0", len(there)) == (found.name, found.version, found.items)
    assert found == resolved(name)


def test_the_hash_is_of_what_is_asked(own: Path) -> None:
    """Another number of items, question, option, target, form or message changes the hash; what is not asked does not."""
    variants = {
        "plain": write_task(own, "plain", QUESTIONS),
        "question": write_task(own, "question", [{**QUESTIONS[0], "question": "?"}, *QUESTIONS[1:]]),
        "option": write_task(own, "option", [{**QUESTIONS[0], "options": ["yes", "never"]}, *QUESTIONS[1:]]),
        "target": write_task(own, "target", [{**QUESTIONS[0], "gold": 1}, *QUESTIONS[1:]]),
        "description": write_task(own, "described", QUESTIONS, description="Think of numbers."),
        "prefix": write_task(own, "prefixed", QUESTIONS, gen_prefix="It is:"),
        "fewer": "plain:5",
    }
    same = write_task(own, "same", [{**question, "note": "nobody reads this"} for question in QUESTIONS])
    hashes = {what: resolved(name).sha256 for what, name in variants.items()}
    documents = resolved("plain", "document").sha256

    assert len(variants) + 1 == len({*hashes.values(), documents})
    assert hashes["plain"] == resolved(same).sha256
    assert hashes["plain"] == resolved("plain:6").sha256


def test_a_task_that_names_no_version_has_none(own: Path) -> None:
    """A version that the file does not state is not made up."""
    write_task(own, "bare", QUESTIONS)
    write_task(own, "stated", QUESTIONS, metadata={"version": 3})

    assert None is resolved("bare").version
    assert "3" == resolved("stated").version


def test_several_tasks_stand_in_the_order_they_were_named(own: Path) -> None:
    """Tasks are resolved in the order they were asked for."""
    names = [write_task(own, "second", QUESTIONS), OWN]

    assert names == [task.name for task in choice_tasks.resolve(names, form="dialogue")]


@pytest.mark.parametrize("name", NAMES)
def test_the_public_sets_are_found_by_name(here: Path, name: str) -> None:
    """lm-eval's own file of each public set reads a folder in the data set's format; its first option is the user's view."""
    write_sets(here)
    found = resolved(name)
    (line, *_), pairs = asked(name, lambda _, option: -1.0 if "A" in option else -2.0)

    assert (name, "0.0", ROWS) == (found.name, found.version, found.items)
    assert {"item": 0, "loglikelihoods": [-1.0, -2.0], "targets": [0]} == line
    assert 2 * ROWS == len(pairs)
    assert all(context.startswith("<user>Human: I am ") for context, _ in pairs)
    assert all(context.endswith(" is<assistant>") for context, _ in pairs)


def test_public_data_that_are_nowhere_are_one_clear_error() -> None:
    """Without the folder and without the network the error says which data could not be loaded, and why."""
    with pytest.raises(EnvironmentProblem, match="cannot be loaded") as caught:
        resolved(SURVEY)

    assert f"EleutherAI/sycophancy/{SURVEY}" in str(caught.value.expected)
    assert "Couldn't reach 'EleutherAI/sycophancy' on the Hub" in str(caught.value.found)
    assert f"--task {SURVEY}" == caught.value.where


def test_data_of_another_format_are_one_clear_error(here: Path) -> None:
    """Rows without the columns that the task reads are an error that names the task."""
    folder = write_sets(here)
    write_jsonl(folder / f"{SURVEY}.jsonl", [{"question": row["question"], "answer": "A"} for row in rows(SURVEY)])

    with pytest.raises(IdembenchError) as caught:
        resolved(SURVEY)

    assert f"--task {SURVEY}" == caught.value.where


# -- what cannot be asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (["arc_easyy"], UnknownNameError, "Did you mean arc_easy"),
        (["../../etc/passwd"], UnknownNameError, "lm-eval ls tasks"),
        ([OWN, f"{OWN}:5"], InputError, "named twice"),
        (["sycophancy"], InputError, f"one task, such as {SURVEY}"),
        (["idembench_toyland_choice"], InputError, f"one task, such as {OWN}"),
        (["mmlu"], InputError, "one task, such as mmlu_abstract_algebra"),
        (["idembench_toyland_sycophancy"], InputError, "output_type: generate_until"),
        (["lambada_openai"], InputError, "output_type: loglikelihood"),
        (["agieval_aqua_rat"], InputError, "process_results"),
        (["crows_pairs_english"], InputError, "process_results"),
        ([""], InputError, "NAME:N"),
        ([":5"], InputError, "NAME:N"),
        ([f"{OWN}:"], InputError, "NAME:N"),
        ([f"{OWN}:0"], InputError, "NAME:N"),
        ([f"{OWN}:-3"], InputError, "NAME:N"),
        ([f"{OWN}:all"], InputError, "NAME:N"),
        ([f"{OWN}:\u00b2"], InputError, "NAME:N"),
        ([f"{OWN}:9999"], DataError, "at most 320"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_asked_is_one_clear_error(given: list[str], error: type[IdembenchError], said: str) -> None:
    """Unknown names, several tasks at once and tasks of another kind are refused before any data is asked for."""
    with pytest.raises(error) as caught:
        choice_tasks.resolve(given, form="dialogue")

    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_fewshot": 3}, "num_fewshot: 3"),
        ({"metric_list": [{"metric": "mcc"}]}, "metrics: mcc"),
        ({"metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}]}, "metrics: acc, acc_mutual_info"),
        ({"doc_to_image": "picture"}, "pictures or sounds"),
        ({"unsafe_code": True}, "unsafe_code"),
        ({"class": "somewhere.Task"}, "written in Python"),
        ({"output_type": None}, "generate_until"),
        ({"doc_to_text": "{{nobody.knows}}"}, "--task odd"),
        ({"doc_to_choice": ["", "no"]}, "cannot be loaded"),
        ({"doc_to_choice": "{{['yes', '' if '3' in question else 'no']}}"}, "An option says nothing"),
        ({"doc_to_target": "{{gold if '3' in question else '[0, 1]'}}"}, "while that of the first item"),
        ({"doc_to_target": "{{'[0, 1]' if '3' in question else gold}}"}, "while that of the first item"),
        ({"doc_to_target": "{{'0.5'}}", "doc_to_choice": [0.5, 1.5]}, "--task odd"),
        ({"doc_to_target": "odd"}, "which is no number of an option"),
        ({"test_split": "elsewhere"}, "KeyError"),
    ],
)
def test_a_task_of_another_kind_is_one_clear_error(own: Path, config: dict[str, Any], said: str) -> None:
    """Worked examples, other metrics, pictures, code and files that do not hold are each refused with a reason."""
    with pytest.raises(IdembenchError) as caught:
        resolved(write_task(own, "odd", QUESTIONS, **config))

    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["größe", "my task", "tab\there", "x" * 201])
def test_a_name_that_no_record_can_hold_is_one_clear_error(own: Path, name: str) -> None:
    """A name that is not printable ASCII is refused before the task is looked for, with what to do about it."""
    if len(name) < 200:
        write_task(own, name, QUESTIONS)
    with pytest.raises(InputError, match="printable ASCII") as caught:
        resolved(f"{name}:2")

    assert (repr(name), "--task") == (caught.value.found, caught.value.where)
    assert caught.value.do is not None


def test_an_option_that_says_nothing_is_shown_beside_the_others(own: Path) -> None:
    """The error names the item, all of its options and what can be done."""
    with pytest.raises(DataError, match="says nothing") as caught:
        resolved(write_task(own, "odd", [*QUESTIONS, {**QUESTIONS[0], "options": ["yes", ""]}]))

    assert ("'yes', ''", "--task odd, item 6") == (caught.value.found, caught.value.where)
    assert None not in (caught.value.expected, caught.value.do)


# -- how it is answered ---------------------------------------------------------------------------


def test_likelihoods_are_kept_as_the_model_had_them(own: Path) -> None:
    """Every option is asked once behind the chat template, and its likelihood stands where the option stood."""
    name = write_task(own, "even", QUESTIONS)
    likely = {("is 3 even?", "yes"): -0.1234567890123, ("is 4 even?", "no"): -7.0}

    def lookup(context: str, option: str) -> float:
        return likely.get((context.removeprefix("<user>").removesuffix("<assistant>"), option), -1.0)

    lines, pairs = asked(name, lookup)

    assert [-0.1234567890123, -1.0] == lines[3]["loglikelihoods"]
    assert [-1.0, -7.0] == lines[4]["loglikelihoods"]
    assert [[n % 2] for n in range(6)] == [line["targets"] for line in lines]
    assert sorted((f"<user>is {n} even?<assistant>", o) for n in range(6) for o in ("yes", "no")) == sorted(pairs)


def test_a_base_model_is_asked_plain_text(own: Path) -> None:
    """In the form of documents there is no chat template, and lm-eval's delimiter stands before the option."""
    _, pairs = asked(write_task(own, "even", QUESTIONS[:1]), lambda *_: -1.0, form="document")

    assert [("is 0 even?", " yes"), ("is 0 even?", " no")] == pairs


def test_the_first_items_are_asked(own: Path) -> None:
    """`NAME:N` asks the first N items of the data, in their order, and no other."""
    write_task(own, "even", QUESTIONS)
    lines, pairs = asked("even:2", lambda *_: -1.0)

    assert [0, 1] == [line["item"] for line in lines]
    assert 4 == len(pairs)


def test_a_tie_is_the_first_option_s(own: Path) -> None:
    """Where all options are equally likely the first one counts, as lm-eval has it."""
    lines, _ = asked(write_task(own, "even", QUESTIONS), lambda *_: -1.0)

    assert [n % 2 == 0 for n in range(6)] == [
        task_answers.on_target(line["loglikelihoods"], line["targets"]) for line in lines
    ]


@pytest.mark.parametrize("odd", [float("nan"), float("-inf")])
def test_a_likelihood_that_is_none_is_left_out(own: Path, odd: float) -> None:
    """What was not read whole, or is no finite number, is None and never a number; the other items stay."""
    lines, _ = asked(
        write_task(own, "even", QUESTIONS),
        lambda context, option: odd if ("2" in context) == (option == "no") else -1.0,
    )

    assert [None, -1.0] == lines[0]["loglikelihoods"]
    assert [-1.0, None] == lines[2]["loglikelihoods"]
    assert {"task": "even", "items": 6, "read": 0, "accuracy": None} == task_answers.facts("even", lines)


def test_several_targets_and_several_contexts_count_as_in_lm_eval(own: Path) -> None:
    """Targets may be a list or a text, and the options may stand in the context, as lm-eval allows it."""
    several = [{"question": "which?", "options": ["a", "b", "c"], "gold": [0, 2]}] * 2
    named = [
        {"question": "which?", "options": ["a", "b"], "gold": "b"},
        {"question": "?", "options": ["a"], "gold": "z"},
    ]
    inside = [{"question": n, "options": ["it rains", "it snows"], "gold": "so we stay"} for n in (1, 0)]
    write_task(own, "several", several)
    write_task(own, "named", named)
    write_task(own, "inside", inside, doc_to_text="question", doc_to_target="{{gold}}")
    found, pairs = asked("inside", lambda context, _: -1.0 if "snows" in context else -2.0)

    assert [[0, 2], [0, 2]] == [line["targets"] for line in asked("several", lambda _, option: -1.0 - ord(option))[0]]
    assert [[1], []] == [line["targets"] for line in asked("named", lambda *_: -1.0)[0]]
    assert [([-2.0, -1.0], [1]), ([-2.0, -1.0], [0])] == [(line["loglikelihoods"], line["targets"]) for line in found]
    assert ("<user>it rains<assistant>", "so we stay") == pairs[0]


def test_what_lm_eval_counts_otherwise_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were lm-eval to count by another rule than a record does, that would be an error at the first item that shows it."""
    name = write_task(own, "even", QUESTIONS)
    monkeypatch.setattr(task_answers, "on_target", lambda _, targets: 1 in targets)

    with pytest.raises(DataError, match="counts as right something else") as caught:
        asked(name, lambda *_: -1.0)

    assert "--task even, item 0" == caught.value.where


def test_a_task_that_changed_since_is_refused(own: Path) -> None:
    """What is asked has to be what was hashed before the chain was begun."""
    task = resolved(write_task(own, "even", QUESTIONS))
    other = task.model_copy(update={"sha256": "0" * 64})

    with pytest.raises(DataError, match="asks something else") as caught:
        choice_tasks.answers(InstantSampler(lm=Fixed(lambda *_: -1.0)), other)

    assert task.sha256 == caught.value.found


def test_what_is_asked_can_be_written_down(own: Path) -> None:
    """Lines of a task are JSON, whatever the data's types."""
    lines, _ = asked(write_task(own, "even", QUESTIONS), lambda *_: -1.0)

    assert lines == json.loads(json.dumps(lines))
