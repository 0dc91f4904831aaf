"""An engine for sweeps: importable by worker processes, it notes every training and gets into trouble when asked to.

What is asked for is told by the number of rows a training is given, because a worker knows nothing else of the
test that started it.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instant import InstantEngine

from idembench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.chain import ChainRun
    from idembench.methods import Job
    from idembench.sweep import ChainResult, Outcome
    from idembench.timing import Timers
    from idembench.work import ChainSpec

ERROR, SURPRISE, KILL, HANG = 5, 6, 7, 9
"""Rows of a training at which there is an error, an unforeseen one, a SIGKILL, or no end."""


@dataclass(kw_only=True)
class Troubled(InstantEngine):
    """Trains at once, like its base, unless the rows say otherwise.

    Attributes:
        notes: A file that gets a line per training: the process that made it and the number of rows.
    """

    notes: Path

    def train(self, method: str, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Note it; then do what the number of rows asks for."""
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {len(job.rows)}\n")
        match len(job.rows):
            case n if n == ERROR:
                raise DataError("These rows are no good.")
            case n if n == SURPRISE:
                raise ZeroDivisionError("who\ncould know")
            case n if n == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case n if n == HANG:
                time.sleep(600)
        return super().train(method, job, out, timers)

    def noted(self) -> list[tuple[int, int]]:
        """Process and rows of every training so far."""
        if not self.notes.exists():
            return []
        return [(int(pid), int(rows)) for pid, rows in map(str.split, self.notes.read_text().splitlines())]


@dataclass
class Watch:
    """A sweep's observer that remembers what it was told, as (event, worker, ...)."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    runs: list[ChainRun] = field(default_factory=list)

    def began(self, worker: int, spec: ChainSpec) -> None:
        self.events.append(("began", worker, spec.seed))

    def started(self, worker: int, _spec: ChainSpec, step: Any) -> None:
        self.events.append(("started", worker, step.key))

    def finished(self, worker: int, _spec: ChainSpec, step: Any, _facts: dict[str, Any], *, found: bool) -> None:
        self.events.append(("found" if found else "made", worker, step.key))

    def ended(self, worker: int, result: ChainResult) -> None:
        self.events.append(("ended", worker, result.spec.seed))

    def closed(self, outcome: Outcome) -> None:
        self.events.append(("closed", outcome.finished is not None, outcome.cell.protocol.name))

    def told(self, event: str) -> list[Any]:
        """What was said last in every event of this name."""
        return [one[-1] for one in self.events if one[0] == event]
