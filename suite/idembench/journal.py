"""Lines that several processes add to one file, in turns, each reading what the others have added.

    with journal.turn() as news:      nobody else has a turn until this one ends, however it ends
        journal.add(line)

A line is a JSON object. It is there whole or not at all: one that its writer's death cut short is passed over, and the
next stands on a line of its own. The lock is the kernel's, on the open file, and goes with a process that dies; it costs
microseconds, where `filelock`, which the store uses for steps of seconds, costs a seventh of a millisecond. Lines are
not forced onto the disk: they outlive a process, not the machine. Knows nothing of what the lines say.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError, EnvironmentProblem
from idembench.files import canonical_json, parse_json, write_bytes, writing_under

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Journal:
    """One process's hold on a file of lines; one thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        """Open a file that `begin` has made.

        Raises:
            EnvironmentProblem: If it is not there.
        """
        self.path = path
        self._read_bytes = 0
        try:
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND), "rb+", buffering=0)
        except OSError as error:
            raise self._gone(str(error.strerror)) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @contextmanager
    def turn(self) -> Iterator[list[dict[str, Any]]]:
        """Wait until nobody else has the turn, and have it; what was added since the last one, own lines too.

        Raises:
            EnvironmentProblem: If the file lost lines, or cannot be locked or read.
        """
        with writing_under(self.path):
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield self._news()
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def add(self, line: Mapping[str, object]) -> None:
        """Add a line, in a turn.

        Raises:
            EnvironmentProblem: If it cannot be written.
        """
        with writing_under(self.path):
            end = self._file.seek(0, os.SEEK_END)
            whole = not end or os.pread(self._file.fileno(), 1, end - 1) == b"\n"
            self._file.write((b"" if whole else b"\n") + canonical_json(line))

    def _news(self) -> list[dict[str, Any]]:
        with writing_under(self.path):
            end = self._file.seek(0, os.SEEK_END)
            if end < self._read_bytes:
                raise self._gone("it is shorter than it was")
            data = os.pread(self._file.fileno(), end - self._read_bytes, self._read_bytes)
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        return list(_parsed(whole))

    def _gone(self, found: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            "A file that several processes share is gone.",
            found=found,
            where=str(self.path),
            do="Run the same command again; it begins a new one.",
        )


def begin(path: Path) -> None:
    """Make a file that journals can open.

    Raises:
        EnvironmentProblem: If it cannot be written.
    """
    write_bytes(path, b"")


def _parsed(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        try:
            found = parse_json(line, where="a line")
        except DataError:
            continue  # its writer died in the middle of it
        if isinstance(found, dict):
            yield found
