"""Named timers: where a chain's time goes. Durations end in a sidecar, never in anything hashed.

Four names are the work itself (`forward_backward`, `optimizer`, `generate`, `loglikelihood`), `imports` is
paid once per process; everything else is overhead, and `Timers.overhead_share` is what the project promises to keep small.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPORTS = "imports"
WORK = ("forward_backward", "optimizer", "generate", "loglikelihood")


@dataclass(slots=True)
class Timers:
    """Seconds by name; a name may be entered many times, and names may nest.

    Attributes:
        seconds: Total wall-clock seconds spent under each name.
        counts: How often each name was entered.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add `seconds` to `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.counts[name] = self.counts.get(name, 0) + 1

    def work_s(self) -> float:
        """Seconds inside forward, backward, optimizer step and generate."""
        return sum(self.seconds.get(name, 0.0) for name in WORK)

    def overhead_share(self, *, total_s: float) -> float:
        """Share of `total_s`, importing libraries left out, that was not the work itself, 0..1."""
        beyond_s = total_s - self.seconds.get(IMPORTS, 0.0)
        return max(0.0, 1.0 - self.work_s() / beyond_s) if beyond_s > 0 else 0.0

    def merge(self, other: Timers) -> None:
        """Add another's seconds and counts to this one's."""
        for name, seconds in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]

    def watch_training(self, trainer: Any) -> None:
        """Time a transformers Trainer's forward and backward passes and its optimizer steps."""
        inner = trainer.training_step

        def training_step(*args: Any, **kwargs: Any) -> Any:
            with self.time("forward_backward"):
                return inner(*args, **kwargs)

        trainer.training_step = training_step
        create = trainer.create_optimizer

        def create_optimizer(*args: Any, **kwargs: Any) -> Any:
            optimizer = create(*args, **kwargs)
            started = [0.0]
            trainer.optimizer.register_step_pre_hook(lambda *_: started.__setitem__(0, time.perf_counter()))
            trainer.optimizer.register_step_post_hook(
                lambda *_: self.add("optimizer", time.perf_counter() - started[0])
            )
            return optimizer

        trainer.create_optimizer = create_optimizer
