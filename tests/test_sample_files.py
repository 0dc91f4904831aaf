"""Samples: one spelling, nothing unknown, the same from step to record and back."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from builders import sample
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from idembench import sample_files
from idembench.errors import DataError, IdembenchError, RecordError
from idembench.files import gzip_bytes, jsonl_bytes, write_jsonl

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.sample_files import Sample

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
samples = st.builds(
    sample,
    question=texts,
    repeat=st.integers(0, 9),
    response=texts,
    truncated=st.booleans(),
    trait=st.none() | st.floats(0, 100),
    coherence=st.none() | st.floats(0, 100),
    scope=st.sampled_from([None, "in-domain", "spill-over"]),
    nll=st.none() | st.floats(0, 50),
)


@tries(max_examples=60, deadline=None)
@given(rows=st.lists(samples, max_size=8))
def test_samples_survive_packing(rows: list[Sample]) -> None:
    """Any samples, whatever their text, come back from their file as they were, and always as the same bytes."""
    data = sample_files.pack(rows)

    assert rows == sample_files.unpack(data, where="here")
    assert data == sample_files.pack(sample_files.unpack(data, where="here"))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r", "\n", "\r\n"])
def test_any_line_break_of_unicode_stays_inside_its_response(tmp_path: Path, character: str) -> None:
    """A response with any character that some reader takes for a line end is one response from step to sample."""
    said = sample(response=f"yes,{character}no.")
    write_jsonl(tmp_path / "responses.jsonl", [sample_files.response_row(said)])
    write_jsonl(tmp_path / "scores.jsonl", [sample_files.score_row(said)])

    joined = sample_files.join("c1", tmp_path / "responses.jsonl", tmp_path / "scores.jsonl", scopes={"q": None})

    assert [said] == joined
    assert [said] == sample_files.unpack(sample_files.pack([said]), where="here")


def test_a_sample_is_joined_from_what_its_steps_wrote(tmp_path: Path) -> None:
    """Responses, what the base model finds of them, scores and the questions' scopes become the sample they came from."""
    said = [sample(repeat=0, nll=1.25, scope="spill-over"), sample(repeat=1, response="", nll=None, scope="spill-over")]
    for name, rows in (
        ("responses", [sample_files.response_row(one) for one in said]),
        ("nll", [sample_files.nll_row(one) for one in said]),
        ("scores", [sample_files.score_row(one) for one in said]),
    ):
        write_jsonl(tmp_path / f"{name}.jsonl", rows)

    joined = sample_files.join(
        "c1", tmp_path / "responses.jsonl", tmp_path / "scores.jsonl", scopes={"q": "spill-over"}
    )
    other = sample(cycle="c2")

    assert [other, *said] == sample_files.with_nll([other, *joined], "c1", tmp_path / "nll.jsonl")


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"repeat": "0"},
        {"repeat": True},
        {"truncated": 0},
        {"trait": "10"},
        {"response": None},
        {"coherence": True},
        {"trait": 100.5},
        {"coherence": -1.0},
        {"scope": "elsewhere"},
        {"scope": None},
        {"nll": -0.5},
        {"nll": 1e6},
        {"nll": None},
    ],
)
def test_a_sample_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    """A sample with an unknown key or a value of another type names its line."""
    good = sample_files.row(sample())
    data = gzip_bytes(jsonl_bytes([good, {**good, **change}]))

    with pytest.raises(RecordError, match="line 2"):
        sample_files.unpack(data, where="here")


@pytest.mark.parametrize(
    "line",
    [
        b'{"cycle":"c1","coherence":90.0,"question":"q","repeat":0,"response":"yes.","trait":10.0,"truncated":false}\n',
        b'{"coherence":90.0, "cycle":"c1","question":"q","repeat":0,"response":"yes.","trait":10.0,"truncated":false}\n',
        b'{"coherence":90.0,"cycle":"c1","question":"q","repeat":0,"response":"yes.","trait":10.0,"truncated":false}',
        b'{"coherence":NaN,"cycle":"c1","question":"q","repeat":0,"response":"yes.","trait":10.0,"truncated":false}\n',
        b'{"coherence":1e999,"cycle":"c1","question":"q","repeat":0,"response":"yes.","trait":10.0,"truncated":false}\n',
        b'{"coherence":90.0,"cycle":"c1","question":"q","repeat":0,"response":"\\u0079es.","trait":10.0,"truncated":false}\n',
        b'{"coherence":1.0,"coherence":90.0,"cycle":"c1","question":"q","repeat":0,"response":"","trait":1.0,"truncated":false}\n',
        b"\n",
        b"[]\n",
        b"\xff\n",
    ],
)
def test_a_line_that_is_not_canonical_is_refused(line: bytes) -> None:
    """Samples have one spelling: other key orders, blanks, escapes, numbers or line ends are errors."""
    with pytest.raises(IdembenchError, match="line 1"):
        sample_files.unpack(gzip_bytes(line), where="here")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain text",
        gzip_bytes(b"x")[:-4],
        gzip_bytes(b"") + b"more",
        gzip_bytes(b"") + gzip_bytes(b""),
    ],
    ids=["nothing", "text", "cut short", "more behind", "two streams"],
)
def test_a_broken_samples_file_is_one_clear_error(data: bytes) -> None:
    """A samples file that is no single whole gzip stream is refused."""
    with pytest.raises(DataError, match="gzip"):
        sample_files.unpack(data, where="here")


def test_a_samples_file_that_swells_is_refused_before_it_fills_the_memory() -> None:
    """A small file of many zeros is refused at a limit, not unpacked."""
    bomb = gzip.compress(b"\0" * (sample_files.LIMIT_BYTES + 1), compresslevel=1)

    assert len(bomb) < 2_000_000
    with pytest.raises(DataError, match="too large"):
        sample_files.unpack(bomb, where="here")


def test_facts_of_measuring_and_judging_are_plain_counts() -> None:
    """What measure and judge steps say of themselves can be counted again from the samples."""
    rows = [sample(response=" "), sample(truncated=True, trait=None), sample(coherence=None)]

    measured = sample_files.measure_facts([sample_files.response_row(row) for row in rows])
    judged = sample_files.judge_facts([sample_files.score_row(row) for row in rows], 2)
    surprised = sample_files.nll_facts([sample_files.nll_row(row) for row in [sample(nll=1.0), sample(nll=2.0), *rows]])

    assert {"responses": 3, "empty": 1, "truncated": 1} == measured
    assert {"trait": 10.0, "coherence": 90.0} == judged
    assert {"asked": 2, "nll": 1.5} == surprised
