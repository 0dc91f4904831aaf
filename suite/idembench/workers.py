"""Worker processes that run chains, one chain at a time each, and tell their parent what happens.

A worker is a fresh Python (never a fork: torch's threads do not survive one) that imports torch once and serves
many chains. It speaks to its parent through a pipe of its own, so that one that is killed in the middle of a word
harms no other. Nothing here decides which chain is next; `sweep.py` does.

However a worker ends, the store stays whole: steps are sealed or not there, and locks go with the process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any, Self

from idembench.chain import run_chain
from idembench.errors import EnvironmentProblem, IdembenchError
from idembench.files import write_bytes
from idembench.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from pathlib import Path

    from idembench.chain import ChainRun, Observer
    from idembench.steps import Step
    from idembench.work import ChainSpec, Engine

_PATIENCE_S = 5.0
"""How long a worker that was asked to end may take before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of running one chain.

    Attributes:
        run: The finished chain; None if it failed.
        error: Why it failed; None if it did not.
        wall_s: Seconds it took.
    """

    run: ChainRun | None
    error: IdembenchError | None
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One thing a worker says: a step is being made, a step is there, or its chain has ended.

    Attributes:
        step: The step; None at the end.
        facts: The facts of a step that is there; None before it is.
        found: Whether it was found, not made.
        attempt: What came of the chain; None before its end.
    """

    step: Step | None = None
    facts: dict[str, Any] | None = None
    found: bool = False
    attempt: Attempt | None = None


def attempt(spec: ChainSpec, *, store: Path, engine: Engine, observer: Observer, mixed_stack: bool) -> Attempt:
    """Run one chain; an error is an answer. One that nobody foresaw leaves its traceback in the store's `logs`."""
    start = time.perf_counter()
    run: ChainRun | None = None
    error: IdembenchError | None = None
    try:
        run = run_chain(spec, Store(store), engine=engine, observer=observer, mixed_stack=mixed_stack)
    except IdembenchError as expected:
        error = expected
    except Exception as unexpected:  # noqa: BLE001 -- one chain's fault must not end the others
        error = _unforeseen(unexpected, store / "logs" / f"{spec.id}.txt")
    return Attempt(run=run, error=error, wall_s=time.perf_counter() - start)


def _unforeseen(error: Exception, log: Path) -> IdembenchError:
    write_log = "".join(traceback.format_exception(error))
    try:
        write_bytes(log, write_log.encode("utf-8", errors="backslashreplace"))
    except EnvironmentProblem as unwritable:
        place = f"{unwritable}\n{write_log}"
    else:
        place = str(log)
    return EnvironmentProblem(
        "A chain stopped at something that idembench did not foresee.",
        found=" ".join(f"{type(error).__name__}: {error}".split()),
        where=place,
        do="The traceback is there. Running the same command again tries this chain again.",
    )


class Pool:
    """Worker processes behind pipes; use it in a `with`, which ends them all, also at an interrupt."""

    def __init__(self, count: int, *, store: Path, engine: Engine, mixed_stack: bool) -> None:
        """Have up to `count` workers; each process starts with its first chain."""
        self.count = count
        self._settings = (store, engine, mixed_stack)
        self._processes: list[SpawnProcess | None] = [None] * count
        self._pipes: list[Connection | None] = [None] * count

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End every worker: idle ones by hanging up, and all at once if something was raised."""
        for pipe in self._pipes:
            if pipe is not None:
                pipe.close()
        alive = [process for process in self._processes if process is not None]
        if kind is not None:
            for process in alive:
                process.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for process in alive:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def give(self, worker: int, spec: ChainSpec) -> None:
        """Let a worker run a chain; one that is not there, or is there no more, is started."""
        pipe = self._pipes[worker] or self._start(worker)
        try:
            pipe.send(spec)
        except OSError:  # it was killed while it had nothing to do
            self._end(worker)
            self._start(worker).send(spec)

    def wait(self) -> list[tuple[int, Said]]:
        """Wait until workers say something; a worker that died says that its chain has failed."""
        pipes = {pipe: worker for worker, pipe in enumerate(self._pipes) if pipe is not None}
        said = []
        for ready in connection.wait(list(pipes)):
            worker = pipes[ready]  # type: ignore[index]  # only pipes were waited for
            try:
                said.append((worker, self._pipe(worker).recv()))
            except (EOFError, OSError):
                error = _died(self._end(worker))
                said.append((worker, Said(attempt=Attempt(run=None, error=error, wall_s=0.0))))
        return said

    def _pipe(self, worker: int) -> Connection:
        pipe = self._pipes[worker]
        assert pipe is not None  # noqa: S101 -- for the type checker; only workers with a pipe are read from
        return pipe

    def _start(self, worker: int) -> Connection:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, *self._settings), name=f"worker {worker}", daemon=True)
        # An interrupt of the terminal goes to all processes of its group; it is for the parent to end the others.
        # What is blocked here stays blocked in the child, from its first instruction on. The tracker process
        # of multiprocessing is started before, because starting it would unblock.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            self._processes[worker], self._pipes[worker] = process, here
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        return here

    def _end(self, worker: int) -> int | None:
        """Forget a worker that is there no more; its exit code."""
        process, pipe = self._processes[worker], self._pipes[worker]
        self._processes[worker] = self._pipes[worker] = None
        if pipe is not None:
            pipe.close()
        if process is None:
            return None
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()
        return process.exitcode


def _died(exit_code: int | None) -> EnvironmentProblem:
    if exit_code is not None and exit_code < 0:
        found = f"it was ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    else:
        found = f"it ended with exit code {exit_code}"
    return EnvironmentProblem(
        "The process that ran a chain is gone.",
        found=found,
        do="If memory ran out, use fewer --workers. Running the same command again goes on where this chain was.",
    )


class _Teller:
    """Tells the parent what a chain does."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def started(self, _spec: ChainSpec, step: Step) -> None:
        self._pipe.send(Said(step=step))

    def finished(self, _spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        self._pipe.send(Said(step=step, facts=facts, found=found))


def _serve(pipe: Connection, store: Path, engine: Engine, mixed_stack: bool) -> None:  # noqa: FBT001 -- the arguments of a process have no names
    """What a worker process does: run the chains it is given, until its parent is gone."""
    # Asked to end, a worker cleans up behind itself; one that does not come to it is killed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            spec = pipe.recv()
        except EOFError:
            return
        done = attempt(spec, store=store, engine=engine, observer=_Teller(pipe), mixed_stack=mixed_stack)
        pipe.send(Said(attempt=done))


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, so they see to it themselves."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
