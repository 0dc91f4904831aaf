"""Lines that processes share: each process reads them all, in one order, and turns exclude each other."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from instant import fresh_python

from idembench import journal
from idembench.errors import EnvironmentProblem
from idembench.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

COUNT = """
import sys
from pathlib import Path
from idembench.journal import Journal
ours, last = Journal(Path(sys.argv[1])), 0
for _ in range(200):
    with ours.turn() as news:
        last = max([last, *(line["n"] for line in news)])
        ours.add({"n": last + 1})
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to share."""
    journal.begin(tmp_path / "lines.jsonl")
    return tmp_path / "lines.jsonl"


def test_each_reads_what_all_have_added_since_its_last_turn(path: Path) -> None:
    """Own lines and those of others come in the order in which they were added, each once."""
    with closing(Journal(path)) as one, closing(Journal(path)) as other:
        with one.turn() as first:
            one.add({"by": "one"})
        with other.turn() as second:
            other.add({"by": "other"})
        with one.turn() as third:
            pass
        with one.turn() as fourth:
            pass

    assert ([], [{"by": "one"}], [{"by": "one"}, {"by": "other"}], []) == (first, second, third, fourth)


def test_turns_of_processes_exclude_each_other(path: Path) -> None:
    """Three processes that each add one to the last number 200 times count to 600, and every number is there once."""
    counting = [fresh_python(COUNT, str(path)) for _ in range(3)]
    for process in counting:
        with process:
            process.communicate()
    with closing(Journal(path)) as ours, ours.turn() as news:
        found = [line["n"] for line in news]

    assert list(range(1, 601)) == found


@pytest.mark.parametrize("cut", [b"12", b'{"a":1', b"\xff\xfe", b"\n\n"])
def test_a_line_without_an_end_is_passed_over(path: Path, cut: bytes) -> None:
    """What a kill left is no line while it has no end, and spoils none that comes after it."""
    with closing(Journal(path)) as ours:
        with ours.turn():
            ours.add({"before": 1})
        path.write_bytes(path.read_bytes() + cut)
        with ours.turn() as news:
            ours.add({"behind": 1})
        with ours.turn() as more:
            pass

    assert ([{"before": 1}], [{"behind": 1}]) == (news, more)


def test_a_file_that_is_not_there_or_lost_lines_is_one_error(path: Path, tmp_path: Path) -> None:
    """It is never begun anew in silence."""
    with closing(Journal(path)) as ours:
        with ours.turn():
            ours.add({"n": 1})
        with ours.turn():
            pass
        path.write_bytes(b"")
        with pytest.raises(EnvironmentProblem, match="is gone"), ours.turn():
            pass
    with pytest.raises(EnvironmentProblem, match="is gone") as caught:
        Journal(tmp_path / "other.jsonl")

    assert str(tmp_path / "other.jsonl") == caught.value.where
    assert not (tmp_path / "other.jsonl").exists()
