"""How much a judge may ask an endpoint: calls and tokens of one judge, of which a run of many workers has several.

What a call costs is known when it is answered. So one is let through only if the most that it and those under way can
cost still fits: a token is at least one byte, so a prompt has no more tokens than bytes, and an answer's length is asked
for. Where that does not fit, the call waits for those under way, whose real cost is mostly a quarter of it.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from idembench.errors import EnvironmentProblem, InputError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

CALLS, TOKENS = "IDEMBENCH_JUDGE_CALLS", "IDEMBENCH_JUDGE_TOKENS"


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


@dataclass(eq=False)  # two calls may cost the same, and are still two
class Cost:
    """What a call that was let through may cost, until its answer says what it did.

    Attributes:
        tokens: Prompt and answer together.
    """

    tokens: int


@dataclass(kw_only=True)
class Budget:
    """Calls and tokens that are left.

    Attributes:
        calls: Most calls; None for no limit. A call that the endpoint put off and that was sent again is one.
        tokens: Most tokens, those of prompts and answers together; None for no limit.
        called: Calls so far.
        spent: Tokens so far.
    """

    calls: int | None = None
    tokens: int | None = None
    called: int = 0
    spent: int = 0
    _under_way: list[Cost] = field(default_factory=list)

    @classmethod
    def from_environment(cls) -> Budget:
        """The budget that IDEMBENCH_JUDGE_CALLS and IDEMBENCH_JUDGE_TOKENS set.

        Raises:
            InputError: If one holds something else than a whole number above 0.
        """
        return cls(calls=whole(CALLS), tokens=whole(TOKENS))

    @asynccontextmanager
    async def call(self, settled: asyncio.Condition, most: int) -> AsyncIterator[Cost]:
        """Let one call through; inside, its real cost is set when it is known.

        Args:
            settled: Told whenever a call is over; of the running event loop.
            most: Tokens that the call costs at most.

        Raises:
            EnvironmentProblem: If it does not fit.
        """
        async with settled:
            await settled.wait_for(lambda: self._fits(most) or not self._under_way or not self._calls_left())
            if not self._fits(most):
                raise self._spent_up(most)
            self.called += 1
            cost = Cost(most)
            self._under_way.append(cost)
        try:
            yield cost
        finally:
            self._under_way.remove(cost)
            self.spent += cost.tokens
            async with settled:
                settled.notify_all()

    def _calls_left(self) -> bool:
        return self.calls is None or self.called < self.calls

    def _fits(self, most: int) -> bool:
        reserved = sum(cost.tokens for cost in self._under_way)
        return self._calls_left() and (self.tokens is None or self.spent + reserved + most <= self.tokens)

    def _spent_up(self, most: int) -> EnvironmentProblem:
        if not self._calls_left():
            return EnvironmentProblem(
                "The judge may not be asked more: its calls are used up.",
                expected=f"at most {self.calls} calls by this judge",
                found=f"{self.called} made",
                where=CALLS,
                do="Raise it and run the same command again: what was answered is kept and not asked again.",
            )
        return EnvironmentProblem(
            "The judge may not be asked more: its tokens are used up.",
            expected=f"at most {self.tokens} tokens by this judge",
            found=f"{self.spent} spent, and up to {most} for the next call",
            where=TOKENS,
            do="Raise it and run the same command again: what was answered is kept and not asked again.",
        )
