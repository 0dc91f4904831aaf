"""lm-eval's multiple-choice tasks by name: what each asks, fixed before a chain starts, and how a checkpoint answers.

Any task that scores options by log-likelihood and counts accuracy, the packs' own and those that lm-eval ships, can be
asked of every checkpoint beside the trait's questions; no judge takes part. What is asked is hashed first, so that
checkpoints and seeds answer the same, and it is asked through lm-eval's evaluator, so that the numbers are lm-eval's.
Only this module, `measure.py` and `sampling.py` know lm-eval.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idembench import loading, task_answers
from idembench.errors import DataError, EnvironmentProblem, InputError, UnknownNameError
from idembench.files import sha256_json
from idembench.measure import task_manager
from idembench.shipped import task_folders
from idembench.steps import AskedTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.protocol import Form
    from idembench.sampling import Sampler

OPTION = "--task"
_SOME = 3
_NAME = re.compile(r"[!-~]{1,200}")  # as `steps.AskedTask` has it
_UNCONDITIONAL = "acc_mutual_info"
_SEVERAL = ("GROUP", "TAG")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a task.

    Attributes:
        options: What may be said, each as a context and what follows it. Of a dialogue the context is its messages.
        targets: Numbers of the options that count as right.
    """

    options: list[tuple[str, str]]
    targets: list[int]


def resolve(asked: Sequence[str], *, form: Form) -> tuple[AskedTask, ...]:
    """Find tasks by name, load what they ask and hash it.

    Args:
        asked: Names in lm-eval, each once; `NAME:N` is its first N items.
        form: What the model is given, turns of a dialogue or plain text.

    Raises:
        InputError: If a name is unknown or given twice, is of several tasks, or its task is of another kind: one that
            generates, shows worked examples first, or scores by a function of its own.
        EnvironmentProblem: If a task or its data cannot be loaded.
        DataError: If a task has fewer items than are asked for, or one that cannot be asked.
    """
    parts = [_parse(text) for text in asked]
    names = [name for name, _ in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError("A task is named twice.", found=", ".join(twice), where=OPTION, do="Name each once.")
    return tuple(_resolved(name, items, form, tuple(task_folders()), Path.cwd()) for name, items in parts)


def answers(sampler: Sampler, asked: AskedTask) -> list[dict[str, Any]]:
    """Ask a checkpoint a task; the lines of `answers.jsonl`.

    An option that does not fit the model whole has no likelihood, and its item does not count: nothing is cut.

    Raises:
        DataError: If the task asks something else than when the chain was begun, or lm-eval counts otherwise than
            `task_answers.on_target`.
    """
    from lm_eval.evaluator import evaluate

    task = _loaded(asked.name, tuple(task_folders()), Path.cwd())
    items = _items(task, asked.name, asked.items, sampler.form)
    if (found := _hash(items)) != asked.sha256:
        raise DataError(
            "A task asks something else than when this chain was begun.",
            expected=f"sha256 {asked.sha256}",
            found=found,
            where=f"{OPTION} {asked.name}",
            do="Run the command again.",
        )
    results = evaluate(
        lm=sampler.lm,
        task_dict={"tasks": {asked.name: task}},
        limit=asked.items,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=sampler.form == "dialogue",
    )
    samples = sorted(results["samples"][asked.name], key=lambda sample: int(sample["doc_id"]))
    return [
        _row(number, item, sample, asked.name) for number, (item, sample) in enumerate(zip(items, samples, strict=True))
    ]


def _row(number: int, item: Item, sample: Mapping[str, Any], name: str) -> dict[str, Any]:
    likelihoods = [float(repeats[0][0]) for repeats in sample["resps"]]
    known = [value if math.isfinite(value) else None for value in likelihoods]
    hit = task_answers.on_target(known, item.targets)
    if hit is not None and float(hit) != sample["acc"]:
        raise DataError(
            "This task counts as right something else than its likeliest option.",
            expected=f"acc {float(hit)}, of log-likelihoods {likelihoods} and targets {item.targets}",
            found=str(sample["acc"]),
            where=f"{OPTION} {name}, item {number}",
        )
    return {"item": number, "loglikelihoods": known, "targets": item.targets}


def _parse(text: str) -> tuple[str, int | None]:
    name, colon, count = text.partition(":")
    if not name or (colon and not (count.isascii() and count.isdigit() and int(count) > 0)):
        raise InputError(
            "This names no task.",
            expected="NAME, or NAME:N for the first N of its items",
            found=repr(text),
            where=OPTION,
        )
    if not _NAME.fullmatch(name):
        raise InputError(
            "A task of this name cannot be asked.",
            expected="up to 200 printable ASCII characters without a space: a record names the task, and is shown in terminals",
            found=repr(name),
            where=OPTION,
            do="Give it another name in its file.",
        )
    return name, int(count) if colon else None


# Where data lie depends on the working directory: a folder there is preferred to a data set of the same name elsewhere.
@cache
def _resolved(name: str, items: int | None, form: Form, folders: tuple[Path, ...], here: Path) -> AskedTask:
    task = _loaded(name, folders, here)
    there = len(task.eval_docs)
    if items is not None and items > there:
        raise DataError(
            "A task has fewer items than are asked for.",
            expected=f"at most {there}",
            found=str(items),
            where=f"{OPTION} {name}:{items}",
        )
    found = _items(task, name, items or there, form)
    stated = (task.config.metadata or {}).get("version")
    return AskedTask(name=name, version=None if stated is None else str(stated), items=len(found), sha256=_hash(found))


def _hash(items: Sequence[Item]) -> str:
    return sha256_json(
        [{"options": [list(option) for option in item.options], "targets": item.targets} for item in items]
    )


# -- finding --------------------------------------------------------------------------------------


@cache
def _loaded(name: str, folders: tuple[Path, ...], here: Path) -> Any:
    """The task with its data, after everything that can be said without these was checked."""
    del here
    loading.quiet_libraries()
    manager = _manager_of(name, folders)
    entry = manager.task_index[name]
    _check(name, manager.task_index)
    try:
        return manager.load([name])["tasks"][name]
    except Exception as error:  # it runs the task's own code and reads from the network: anything may come
        config = entry.cfg or {}
        data = "/".join(str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key))
        raise EnvironmentProblem(
            "An lm-eval task or its data cannot be loaded.",
            expected=f"the data set {data} in the format of the task, from the Hub, its cache, or a folder of that name in the working directory",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:400],
            where=f"{OPTION} {name}",
            do="If the data are not here, connect to the network once, or lay them where they are looked for.",
        ) from error


def _manager_of(name: str, folders: tuple[Path, ...]) -> Any:
    """An lm-eval task manager that knows the task: of the packs; else of one folder of lm-eval; else of all of it.

    lm-eval's own index reads 14,000 files as YAML, which takes 8 to 30 s; to look for a line in them takes one.

    Raises:
        UnknownNameError: If none knows it.
    """
    own = task_manager(folders)
    if name in own.task_index:
        return own
    import lm_eval.tasks

    line = re.compile(rb"^([\"']?)task\1:[ \t]*([\"']?)" + re.escape(name.encode()) + rb"\2[ \t\r]*$", re.MULTILINE)
    for path in sorted(Path(lm_eval.tasks.__file__).parent.rglob("*.yaml")):
        content = path.read_bytes()
        if name.encode() in content and line.search(content) and name in task_manager((path.parent,)).task_index:
            return task_manager((path.parent,))
    every = _every_task()
    if name in every.task_index:
        return every
    known = [*own.task_index, *every.task_index]
    near = difflib.get_close_matches(name, known, n=_SOME, cutoff=0.6)
    unknown = UnknownNameError("lm-eval task", name, near, where=OPTION)
    unknown.expected = f"one of {len(known)} names, which `lm-eval ls tasks` lists, or of those in --tasks DIR"
    raise unknown


@cache
def _every_task() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _check(name: str, index: Mapping[str, Any]) -> None:
    """Refuse what is no single task of options without worked examples, scored by lm-eval's own accuracy.

    Raises:
        InputError: If it is something else.
    """
    kind, config = index[name].kind.name, index[name].cfg or {}
    if kind in _SEVERAL:
        inner = _members(name, index)
        raise InputError(
            "This is the name of several lm-eval tasks.",
            expected="one task, such as " + ", ".join(inner[:_SOME]) if inner else "the name of one task",
            found=name,
            where=OPTION,
            do=f"Name each with a {OPTION} of its own.",
        )
    metrics = [one.get("metric") for one in config.get("metric_list") or [{"metric": "acc"}]]
    wrong = None
    if kind != "TASK":
        wrong = "a task written in Python"
    elif (output := config.get("output_type", "generate_until")) != "multiple_choice":
        wrong = f"output_type: {output}"
    elif config.get("num_fewshot"):
        wrong = f"num_fewshot: {config['num_fewshot']}"
    elif config.get("process_results") is not None:
        wrong = "process_results: a function of its own"
    elif config.get("doc_to_image") is not None or config.get("doc_to_audio") is not None:
        wrong = "pictures or sounds"
    elif config.get("unsafe_code"):
        wrong = "unsafe_code: true"
    elif "acc" not in metrics or _UNCONDITIONAL in metrics:
        wrong = f"metrics: {', '.join(map(str, metrics))}"
    if wrong is not None:
        raise InputError(
            "An lm-eval task of this kind cannot be asked beside a chain.",
            expected="output_type: multiple_choice with the metric acc, no worked examples, no scoring of its own, "
            f"and not {_UNCONDITIONAL}, for which lm-eval asks every option again without its question",
            found=wrong,
            where=f"{OPTION} {name}",
        )


def _members(name: str, index: Mapping[str, Any]) -> list[str]:
    """The single tasks of a group or tag that the index knows."""
    entry = index[name]
    inner = (entry.cfg or {}).get("task") if entry.kind.name == "GROUP" else sorted(entry.tags)
    known = [one for one in inner or [] if isinstance(one, str) and one in index and one != name]
    return [leaf for one in known for leaf in (_members(one, index) if index[one].kind.name in _SEVERAL else [one])]


# -- what is asked --------------------------------------------------------------------------------


def _items(task: Any, name: str, count: int, form: Form) -> list[Item]:
    """The first items as lm-eval renders them, a dialogue's messages in the place of a chat template's text.

    Raises:
        DataError: If lm-eval cannot render one.
    """
    try:
        task.build_all_requests(
            limit=count,
            apply_chat_template=form == "dialogue",
            chat_template=_messages if form == "dialogue" else None,
        )
        options: list[list[tuple[str, str]]] = [[] for _ in range(count)]
        documents: list[Any] = [None] * count
        for request in task.instances:
            options[request.doc_id].append((request.args[0], request.args[1]))
            documents[request.doc_id] = request.doc
        items = [
            Item(options=said, targets=_targets(task, document))
            for said, document in zip(options, documents, strict=True)
        ]
    except Exception as error:  # templates and functions of the task's own: anything may come
        raise DataError(
            "lm-eval cannot ask an item of this task.",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:400],
            where=f"{OPTION} {name}",
        ) from error
    for number, item in enumerate(items):
        if not all(text for _, text in item.options):
            raise DataError(
                "An option says nothing.",
                expected="text in every option: without a token it has no likelihood",
                found=", ".join(repr(text) for _, text in item.options)[:400],
                where=f"{OPTION} {name}, item {number}",
                do="Take the item out, or ask only the first ones with NAME:N.",
            )
    return items


def _messages(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:  # noqa: FBT001, FBT002 -- lm-eval's signature
    return json.dumps([messages, add_generation_prompt], sort_keys=True)


def _targets(task: Any, document: Any) -> list[int]:
    """Numbers of the options that count as right.

    Source: lm-eval 0.4.13, `ConfigurableTask.process_results`, of `multiple_choice`.
    """
    choices = task.doc_to_choice(document)
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, list) != bool(task.multiple_target):
        raise TypeError(
            f"its target is {gold!r}, while that of the first item is {'' if task.multiple_target else 'no '}list"
        )
    if isinstance(gold, str):
        gold = choices.index(gold) if gold in choices else -1
    several = gold if isinstance(gold, list) else [gold]
    if not all(isinstance(one, int) and one >= -len(choices) for one in several):
        raise TypeError(f"its target is {gold!r}, which is no number of an option")
    return [one for one in several if 0 <= one < len(choices)]
