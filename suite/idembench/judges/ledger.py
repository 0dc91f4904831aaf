"""What judges have spent so far: of one process, or, in a folder that its processes share, of a whole command.

Every call is written down twice: before it is made, with the most that it may cost, and when it is over, with what of
that it gives back. Both are lines of one file that processes write in turns (`journal.py`), and nobody makes a call
whose first line is not there. So whatever a process dies of, and whenever, too much is counted and never too little: a
first line that was cut short is of a call that was not made, and a second that is cut short or never came gives nothing back.

    limit >= spent + set aside >= what was really paid      at any moment, over all processes

A process shows that it is alive by holding a lock of its own, which the kernel takes from it when it dies: what a dead one
has set aside stays so, but nobody waits for it. Knows nothing of endpoints or environment variables.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from idembench import journal
from idembench.files import writing_under

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LINES = "calls.jsonl"


class Ledger:
    """Calls and tokens that are spent or set aside, by all who write into it.

    Attributes:
        calls: Calls that are made or under way, as far as it has read.
        tokens: Tokens that are spent, or set aside for calls whose cost is not known yet, as far as it has read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open the ledger in a folder, which `begin` has made one; without a folder, begin one in memory.

        Raises:
            EnvironmentProblem: If there is no ledger, or it cannot be written.
        """
        self.calls, self.tokens = 0, 0
        self._folder = folder
        self._account = uuid4().hex
        self._under_way: Counter[str] = Counter()  # by account, as far as it has read
        self._own_under_way = 0
        self._guard = threading.RLock()  # of threads; processes have turns
        self._journal: journal.Journal | None = None
        if folder is not None:
            self._journal = journal.Journal(folder / _LINES)
            with writing_under(folder):
                # Of the process and not of a thread: event loops come and go.
                self._alive = FileLock(_life(folder, self._account), thread_local=False)
                self._alive.acquire()

    def close(self) -> None:
        """Write no more; nobody waits for what is still under way."""
        if self._journal is not None:
            self._journal.close()
            self._alive.release()

    def take(self, most: int, *, calls: int | None, tokens: int | None) -> bool:
        """Set aside what a call costs at most, and count it, if both limits allow; whether they did.

        Args:
            most: Tokens.
            calls: Most calls of all; None for no limit.
            tokens: Most tokens of all; None for no limit.

        Raises:
            EnvironmentProblem: If the ledger cannot be read or written.
        """
        with self._turn():
            if calls is not None and self.calls >= calls:
                return False
            if tokens is not None and self.tokens + most > tokens:
                return False
            self._write({"account": self._account, "most": most})
            self._own_under_way += 1
            return True

    def settle(self, most: int, spent: int, *, made: bool = True) -> None:
        """A call that was set aside for is over, and this is what it cost.

        Args:
            most: Tokens that were set aside for it.
            spent: Tokens that it cost.
            made: Whether it counts as a call; else that is given back too.

        Raises:
            EnvironmentProblem: If the ledger cannot be read or written.
        """
        with self._guard:
            self._own_under_way -= 1
        try:
            with self._turn():
                self._write({"account": self._account, "back": most - spent, "calls": int(not made)})
        except BaseException:
            if self._journal is not None:
                self._alive.release()  # what could not be given back never will be: nobody is to wait for it
            raise

    def awaits_others(self, own: int) -> bool:
        """Whether calls of others are under way, which may give something back.

        Args:
            own: Calls of this process that the caller has under way itself.
        """
        with self._guard:
            others = [account for account, count in self._under_way.items() if count > 0 and account != self._account]
            return self._own_under_way > own or any(self._lives(account) for account in others)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._guard:
            if self._journal is None:
                yield
                return
            with self._journal.turn() as news:
                for line in news:
                    self._take_in(line)
                yield

    def _write(self, line: dict[str, Any]) -> None:
        if self._journal is None:
            self._take_in(line)
        else:
            self._journal.add(line)

    def _take_in(self, line: dict[str, Any]) -> None:
        if "most" in line:
            self.tokens += line["most"]
            self.calls += 1
            self._under_way[line["account"]] += 1
        else:
            self.tokens -= line["back"]
            self.calls -= line["calls"]
            self._under_way[line["account"]] -= 1

    def _lives(self, account: str) -> bool:
        assert self._folder is not None  # noqa: S101 -- for the type checker; in memory there is one account
        with writing_under(self._folder):
            try:
                with FileLock(_life(self._folder, account), timeout=0):
                    return False
            except Timeout:
                return True


def begin(folder: Path) -> None:
    """Make a folder one that a ledger can be opened in.

    Raises:
        EnvironmentProblem: If it cannot be written.
    """
    journal.begin(folder / _LINES)


def _life(folder: Path, account: str) -> Path:
    return folder / f"{account}.lock"
