"""Answers to lm-eval tasks: one spelling, the same from step to record and back, counted by lm-eval's rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idembench import task_answers
from idembench.errors import DataError, RecordError
from idembench.files import gzip_bytes, jsonl_bytes, write_jsonl
from idembench.task_answers import Answer

if TYPE_CHECKING:
    from pathlib import Path

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.none() | st.floats(-1e4, 0, allow_subnormal=False)
answers = st.builds(
    Answer,
    cycle=texts,
    task=texts,
    item=st.integers(0, 99),
    loglikelihoods=st.lists(numbers, min_size=1, max_size=5).map(tuple),
    targets=st.lists(st.integers(0, 5), max_size=2).map(tuple),
)


def answer(**given_values: Any) -> Answer:
    """An answer that prefers its second option, which is the target."""
    plain = {"cycle": "c1", "task": "t", "item": 0, "loglikelihoods": (-2.5, -1.0), "targets": (1,)}
    return Answer(**{**plain, **given_values})


# -- files ----------------------------------------------------------------------------------------


@given(rows=st.lists(answers, max_size=8))
def test_answers_survive_packing(rows: list[Answer]) -> None:
    """Any answers come back from their file as they were, and always as the same bytes."""
    data = task_answers.pack(rows)

    assert rows == task_answers.unpack(data, where="here")
    assert data == task_answers.pack(task_answers.unpack(data, where="here"))


def test_an_answer_is_what_its_step_wrote(tmp_path: Path) -> None:
    """The lines of a step become the answers they came from, with the checkpoint and the task they are of."""
    said = [answer(item=0), answer(item=1, loglikelihoods=(None, -3.0, -0.25), targets=(0, 2))]
    write_jsonl(tmp_path / "answers.jsonl", [task_answers.step_row(one) for one in said])

    assert said == task_answers.read("c1", "t", tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"item": "0"},
        {"item": -1},
        {"item": True},
        {"task": None},
        {"loglikelihoods": []},
        {"loglikelihoods": ["-1.0"]},
        {"loglikelihoods": None},
        {"targets": [-1]},
        {"targets": [0.5]},
        {"targets": 1},
    ],
)
def test_an_answer_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    """An answer with an unknown key or a value of another type names its line."""
    good = task_answers.row(answer())
    data = gzip_bytes(jsonl_bytes([good, {**good, **change}]))

    with pytest.raises(RecordError, match="An answer does not hold") as caught:
        task_answers.unpack(data, where="here")

    assert caught.value.where == "here, line 2"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"plain text", "gzip"),
        (gzip_bytes(b'{"cycle":"c1"}\n'), "does not hold"),
        (gzip_bytes(b'{"cycle":"c1", "item":0,"loglikelihoods":[-1.0],"targets":[0],"task":"t"}\n'), "not canonical"),
        (gzip_bytes(b'{"cycle":"c1","item":0,"loglikelihoods":[NaN],"targets":[0],"task":"t"}\n'), "not valid JSON"),
        (gzip_bytes(b'{"cycle":"c1","item":0,"loglikelihoods":[-1e999],"targets":[0],"task":"t"}\n'), "not valid JSON"),
    ],
    ids=["text", "keys", "blanks", "nan", "infinite"],
)
def test_a_file_that_is_not_canonical_is_refused(data: bytes, said: str) -> None:
    """Answers have one spelling, and no number in them is none."""
    with pytest.raises((DataError, RecordError), match=said):
        task_answers.unpack(data, where="here")


# -- counting -------------------------------------------------------------------------------------


@given(values=st.lists(st.floats(-3, 0).map(lambda x: round(x, 0)), min_size=1, max_size=5), data=st.data())
def test_the_likeliest_option_is_lm_eval_s(values: list[float], data: st.DataObject) -> None:
    """What counts is where numpy finds the maximum, the first of several equal ones, as in lm-eval."""
    targets = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=3))

    assert (int(np.argmax(values)) in targets) == task_answers.on_target(values, targets)


def test_an_item_that_was_not_read_whole_does_not_count() -> None:
    """An item with an option without a likelihood is neither right nor wrong; an accuracy of none is none."""
    rows = [answer(), answer(item=1, targets=(0,)), answer(item=2, loglikelihoods=(None, -1.0))]
    unread = [answer(task="u", loglikelihoods=(None, None))]

    assert {"t": 0.5, "u": None} == task_answers.accuracies([*rows, *unread])
    assert {"task": "t", "items": 3, "read": 2, "accuracy": 0.5} == task_answers.facts(
        "t", [task_answers.step_row(row) for row in rows]
    )
    assert {"task": "u", "items": 1, "read": 0, "accuracy": None} == task_answers.facts(
        "u", [task_answers.step_row(row) for row in unread]
    )


def test_an_item_without_a_target_is_never_right() -> None:
    """An item whose data name no option that is there counts as missed, as in lm-eval; any of several targets is right."""
    rows = [answer(targets=()), answer(item=1, targets=(0, 1))]

    assert {"t": 0.5} == task_answers.accuracies(rows)
