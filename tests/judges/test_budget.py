"""The budget: calls that cost the same are still different calls, and what is spent is what they cost."""

from __future__ import annotations

import asyncio

from idembench.judges.budget import Budget


def test_calls_of_one_cost_are_told_apart() -> None:
    """Many calls under way that may cost the same, ending in another order than they began: each ends once, all are counted."""
    budget = Budget(calls=40, tokens=4000)

    async def ask(settled: asyncio.Condition, number: int) -> None:
        async with budget.call(settled, 100) as cost:
            await asyncio.sleep(0.001 * (number * 7 % 5))
            cost.tokens = 60 + number % 3 * 20  # real costs that equal what others may still cost
            await asyncio.sleep(0.001 * (number * 3 % 4))

    async def everything() -> None:
        settled = asyncio.Condition()
        await asyncio.gather(*(ask(settled, number) for number in range(40)))

    asyncio.run(everything())

    assert 40 == budget.called
    assert sum(60 + number % 3 * 20 for number in range(40)) == budget.spent
    assert [] == budget._under_way
