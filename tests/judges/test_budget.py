"""The budget: one for all judges and workers of a run, never overspent whatever dies, and used up to the last call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chat_server import completion, serving
from instant import InstantEngine, fresh_python, make_spec
from troubled import Watch

from idembench import judges, sweep
from idembench.errors import EnvironmentProblem
from idembench.judges import budget, ledger
from idembench.judges.budget import Budget
from idembench.judges.ledger import Ledger

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from saying import Say

GOOD = completion([("75", {"75": 0.6, "50": 0.3, "100": 0.05}), ("", {"": 1.0})])
ASK = """
import asyncio, sys
from idembench.errors import EnvironmentProblem
from idembench.judges.budget import Budget
most, cost = int(sys.argv[1]), int(sys.argv[2])
made = 0
async def ask(shared):
    global made
    async with shared.call(most) as spent:
        made += 1
        await asyncio.sleep(0.002)
        spent.tokens = cost
async def everything():
    shared = Budget.from_environment()
    return await asyncio.gather(*(ask(shared) for _ in range(60)), return_exceptions=True)
sys.stdin.readline()  # all begin at once
ended = [one for one in asyncio.run(everything()) if one is not None]
assert all(isinstance(one, EnvironmentProblem) for one in ended), ended
print(made, len(ended))
"""
HOLD = """
import asyncio, sys
from idembench.judges.budget import Budget
async def hold():
    async with Budget.from_environment().call(900) as cost:
        print("asked", flush=True)
        await asyncio.sleep(float(sys.argv[1]))
        cost.tokens = 100
asyncio.run(hold())
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (budget.CALLS, budget.TOKENS, budget.LEDGER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(budget, "_opened", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")


@contextlib.contextmanager
def run(monkeypatch: pytest.MonkeyPatch, *, calls: int | None = None, tokens: int | None = None) -> Iterator[Path]:
    """A run of limited calls or tokens; the folder of its ledger."""
    for name, limit in ((budget.CALLS, calls), (budget.TOKENS, tokens)):
        if limit is not None:
            monkeypatch.setenv(name, str(limit))
    with budget.of_run():
        yield Path(os.environ[budget.LEDGER])


def call(shared: Budget, most: int, cost: int) -> None:
    """Make one call that may cost `most` and costs `cost`."""

    async def ask() -> None:
        async with shared.call(most) as spent:
            spent.tokens = cost

    asyncio.run(ask())


def everyone(*arguments: int, processes: int = 3) -> list[tuple[int, int]]:
    """Calls made and refused by each of several processes that ask at once."""
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(fresh_python(ASK, *map(str, arguments))) for _ in range(processes)]
        said = [one.communicate("go\n")[0].split() for one in asking]
    return [(int(made), int(refused)) for made, refused in said]


@contextlib.contextmanager
def holding(seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process with a call of 900 tokens at most under way, which turns out to cost 100 after so many seconds."""
    with fresh_python(HOLD, str(seconds)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_calls_of_one_cost_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many calls under way that may cost the same, ending in another order than they began: each ends once, all are counted."""
    shared = Budget(calls=40, tokens=4000)

    async def ask(number: int) -> None:
        async with shared.call(100) as cost:
            await asyncio.sleep(0.001 * (number * 7 % 5))
            cost.tokens = 60 + number % 3 * 20  # real costs that equal what others may still cost
            await asyncio.sleep(0.001 * (number * 3 % 4))

    async def everything() -> None:
        await asyncio.gather(*(ask(number) for number in range(40)))

    asyncio.run(everything())
    spent = budget._ledger()

    assert (40, sum(60 + number % 3 * 20 for number in range(40))) == (spent.calls, spent.tokens)
    assert not spent.awaits_others(0)


@pytest.mark.parametrize("shared", [False, True], ids=["no run", "run"])
def test_judges_of_a_process_have_one_budget(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Two judges together make as many calls as are allowed, inside a run and where nobody began one."""
    monkeypatch.setenv(budget.CALLS, "10")

    with budget.of_run() if shared else contextlib.nullcontext():
        for number in range(10):
            call(Budget.from_environment(), 9, number)
        with pytest.raises(EnvironmentProblem, match="calls are used up") as caught:
            call(Budget.from_environment(), 9, 1)

    assert ("10 made", budget.CALLS) == (caught.value.found, caught.value.where)
    assert "in one run, over all its workers and judges" in str(caught.value.expected)


def test_a_run_ends_with_its_ledger_and_the_next_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run inside another is that one; after it there is no folder, no variable and nothing spent."""
    folders = []
    for _ in range(2):
        with run(monkeypatch, calls=2) as folder:
            with budget.of_run():
                call(Budget.from_environment(), 1, 1)
            call(Budget.from_environment(), 1, 1)
            folders.append(folder)

    assert [False, False] == [folder.exists() for folder in folders]
    assert folders[0] != folders[1]
    assert budget.LEDGER not in os.environ


def test_without_a_limit_nothing_is_kept() -> None:
    """A run that nobody limits makes no folder and counts nothing."""
    with budget.of_run():
        call(Budget.from_environment(), 1, 1)
        made = os.environ.get(budget.LEDGER)

    assert (None, {}) == (made, budget._opened)


def test_processes_share_the_calls_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes that want 60 calls each make the 50 that are allowed, not one more and not one less."""
    with run(monkeypatch, calls=50):
        made = everyone(10, 1)

    assert 50 == sum(count for count, _ in made)
    assert [60] * 3 == [sum(one) for one in made]


def test_processes_share_the_tokens_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for what the others give back: what is left over would not have been enough for one call more."""
    with run(monkeypatch, tokens=5000):
        made = everyone(400, 100)

    spent = 100 * sum(count for count, _ in made)
    assert 5000 - 400 < spent <= 5000


def test_what_a_killed_process_set_aside_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that a kill cut off may have been paid for: the most that it can have cost stays counted, and nobody waits for it."""
    with run(monkeypatch, tokens=1000), holding(60) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        start = time.monotonic()
        with pytest.raises(EnvironmentProblem, match="tokens are used up") as caught:
            call(Budget.from_environment(), 101, 101)
        call(Budget.from_environment(), 100, 100)

    assert "900 spent, and up to 101 for the next call" == caught.value.found
    assert time.monotonic() - start < 10


def test_a_living_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that does not fit while another process asks is made when that one has its answer."""
    with run(monkeypatch, tokens=1000), holding(0.5):
        call(Budget.from_environment(), 900, 900)
        with pytest.raises(EnvironmentProblem, match="tokens are used up") as caught:
            call(Budget.from_environment(), 1, 1)

    assert f"{100 + 900} spent, and up to 1 for the next call" == caught.value.found


@pytest.mark.parametrize("cut", [b'{"account":"x","mo', b'{"account":"x","back":5', b"\xff"])
def test_a_line_that_was_cut_short_counts_for_nothing(cut: bytes, tmp_path: Path) -> None:
    """What a kill left half written gives nothing back, and the next line stands on its own."""
    ledger.begin(tmp_path)
    first = Ledger(tmp_path)
    assert first.take(60, calls=None, tokens=100)
    with (tmp_path / ledger._LINES).open("ab") as file:
        file.write(cut)
    second = Ledger(tmp_path)

    assert not second.take(60, calls=None, tokens=100)
    assert second.take(40, calls=None, tokens=100)
    first.settle(60, 10)
    assert second.take(50, calls=None, tokens=100)
    assert not second.take(1, calls=None, tokens=100)
    assert (3, 100) == (second.calls, second.tokens)
    for one in (first, second):
        one.close()


def test_a_ledger_that_is_gone_is_one_error(tmp_path: Path) -> None:
    """Without knowing what was spent nothing is spent: neither by who opens it nor by who had it open."""
    ledger.begin(tmp_path)
    opened = Ledger(tmp_path)
    opened.take(10, calls=None, tokens=100)
    opened.take(10, calls=None, tokens=100)
    (tmp_path / ledger._LINES).write_bytes(b"")

    for asked in (lambda: opened.take(10, calls=None, tokens=100), lambda: opened.settle(10, 1)):
        with pytest.raises(EnvironmentProblem, match="is gone") as caught:
            asked()
        assert str(tmp_path / ledger._LINES) == caught.value.where
    (tmp_path / ledger._LINES).unlink()
    with pytest.raises(EnvironmentProblem, match="is gone"):
        Ledger(tmp_path)
    opened.close()


def test_what_cannot_be_given_back_is_not_waited_for(tmp_path: Path) -> None:
    """A process that lives and cannot write any more stops nobody else for ever."""
    ledger.begin(tmp_path)
    broken, other = Ledger(tmp_path), Ledger(tmp_path)
    broken.take(90, calls=None, tokens=100)
    other.take(90, calls=None, tokens=100)
    waiting = other.awaits_others(0)
    broken._journal._file.close()  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="closed file"):
        broken.settle(90, 1)

    assert (True, False) == (waiting, other.awaits_others(0))
    assert not broken.awaits_others(0)
    other.close()


@pytest.mark.slow
def test_workers_of_a_sweep_share_one_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two worker processes and this one make five calls together where five are allowed; each chain says why it stopped."""
    monkeypatch.setenv(budget.CALLS, "5")
    judge = judges.get("openai:grader,pack=toyland")
    specs = [replace(make_spec(seed=seed), judge=judge) for seed in (0, 1)]

    with serving(lambda _: GOOD, latency_s=0.01) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        ended = sweep.run_chains(specs, store=tmp_path / "store", workers=2, observer=Watch(), engine=InstantEngine())

    assert 5 == len(server.asked)
    assert [budget.CALLS] * 2 == [one.error.where for one in ended if one.error is not None]


def test_each_command_has_the_whole_budget(monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """A command stops at the limit and exits 3; the next one has it again, and goes on where that stopped."""
    with serving(lambda _: GOOD) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        card = ("judge", "card", "openai:grader", "-t", "bliss")
        said = [say(*card, **{budget.CALLS: "100"}) for _ in range(2)]
        asked = len(server.asked)
        done = say(*card)

    assert [3, 3, 0] == [one.code for one in (*said, done)]
    assert all("calls are used up" in one.err for one in said)
    assert (200, len({str(one) for one in server.asked})) == (asked, len(server.asked))
