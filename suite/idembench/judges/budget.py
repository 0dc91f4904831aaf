"""How much judges may ask endpoints: calls and tokens of one run, which all judges and all workers of a command share.

    IDEMBENCH_JUDGE_CALLS      most calls of a command
    IDEMBENCH_JUDGE_TOKENS     most tokens of a command, those of prompts and answers together

What a call costs is known when it is answered. So one is let through only if the most that it and those under way can
cost still fits: a token is at least one byte, so a prompt has no more tokens than bytes, and an answer's length is asked
for. Where that does not fit, the call waits for those under way, whose real cost is mostly a quarter of it. A call that is
sent again is entered again: the one before may have been charged for (`metered.py`).

What was spent stands in a ledger (`ledger.py`). A command makes one, in a temporary folder that goes with it, and hands it
to the processes that it starts through `IDEMBENCH_JUDGE_LEDGER`, a variable that is not for people (`of_run`). Where nobody
made one, as in a notebook, all judges of a process share one in memory. Without a limit no ledger is kept. The next command
has the whole budget again: what was answered before is kept (`kept.py`), and costs it nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from idembench.errors import EnvironmentProblem, InputError
from idembench.files import temporary_folder
from idembench.judges import ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from idembench.judges.ledger import Ledger

CALLS, TOKENS = "IDEMBENCH_JUDGE_CALLS", "IDEMBENCH_JUDGE_TOKENS"
LEDGER = "IDEMBENCH_JUDGE_LEDGER"
"""Names the folder of the run's ledger."""
_PAUSE_S = 0.05  # between looks at what other processes have given back
_opened: dict[str, Ledger] = {}
_guard = threading.Lock()


def whole(variable: str) -> int | None:
    """The whole number above 0 in an environment variable; None where it is not set.

    Raises:
        InputError: If it holds something else.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            "An environment variable does not hold.", expected="a whole number from 1", found=text, where=variable
        )
    return int(text)


@contextmanager
def of_run() -> Iterator[None]:
    """Have one budget for all that is asked inside, by this process and those that it starts.

    Inside another one, it is that one's.

    Raises:
        EnvironmentProblem: If there is a limit and the ledger cannot be written.
    """
    if os.environ.get(LEDGER) or not any(os.environ.get(limit, "").strip() for limit in (CALLS, TOKENS)):
        yield
        return
    with temporary_folder() as folder:
        ledger.begin(folder)
        os.environ[LEDGER] = str(folder)
        try:
            yield
        finally:
            del os.environ[LEDGER]
            with _guard:
                done = _opened.pop(str(folder), None)
            if done is not None:
                done.close()


def _ledger() -> Ledger:
    """The ledger that this process writes into now: the run's, or its own."""
    place = os.environ.get(LEDGER, "")
    with _guard:
        if place not in _opened:
            _opened[place] = ledger.Ledger(Path(place) if place else None)
        return _opened[place]


@dataclass(eq=False)
class Cost:
    """What a call that was let through may cost, until its answer says what it did.

    Attributes:
        tokens: Prompt and answer together.
        made: Whether it counts as a call; one that was put off, or never had a connection, does not.
    """

    tokens: int
    made: bool = True


@dataclass(kw_only=True)
class Budget:
    """What may be asked from one event loop, of what the whole run may ask.

    Attributes:
        calls: Most calls of the run; None for no limit. One that is sent again counts again, unless it was put off.
        tokens: Most tokens of the run, those of prompts and answers together; None for no limit.
    """

    calls: int | None = None
    tokens: int | None = None
    _under_way: int = 0
    _settled: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    def from_environment(cls) -> Budget:
        """The budget that IDEMBENCH_JUDGE_CALLS and IDEMBENCH_JUDGE_TOKENS set.

        Raises:
            InputError: If one holds something else than a whole number above 0.
        """
        return cls(calls=whole(CALLS), tokens=whole(TOKENS))

    @property
    def limited(self) -> bool:
        """Whether there is a limit; without one nothing is counted."""
        return self.calls is not None or self.tokens is not None

    @asynccontextmanager
    async def call(self, most: int) -> AsyncIterator[Cost]:
        """Let one call through; inside, its real cost is set when it is known.

        Args:
            most: Tokens that the call costs at most.

        Raises:
            EnvironmentProblem: If it does not fit, or the ledger is gone.
        """
        cost = Cost(most)
        if not self.limited:
            yield cost
            return
        spending = _ledger()
        await self._let_through(spending, most)
        try:
            yield cost
        finally:
            self._under_way -= 1
            try:
                spending.settle(most, cost.tokens, made=cost.made)
            finally:
                async with self._settled:
                    self._settled.notify_all()

    async def _let_through(self, spending: Ledger, most: int) -> None:
        async with self._settled:
            while not spending.take(most, calls=self.calls, tokens=self.tokens):
                if self._under_way:
                    await self._settled.wait()
                elif spending.awaits_others(self._under_way):
                    await asyncio.sleep(_PAUSE_S)
                elif self.calls is not None and spending.calls >= self.calls:
                    raise self._used_up("calls", CALLS, f"at most {self.calls} calls", f"{spending.calls} made")
                else:
                    found = f"{spending.tokens} spent, and up to {most} for the next call"
                    raise self._used_up("tokens", TOKENS, f"at most {self.tokens} tokens", found)
            self._under_way += 1

    @staticmethod
    def _used_up(what: str, variable: str, expected: str, found: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The judge may not be asked more: its {what} are used up.",
            expected=f"{expected} in one run, over all its workers and judges",
            found=found,
            where=variable,
            do="Raise it and run the same command again: what was answered is kept and not asked again.",
        )
