"""Supervised finetuning on the first words of each answer alone: an example of a method from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from idembench.methods.sft import Sft
from idembench.protocol import Frozen, Positive

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Job
    from idembench.timing import Timers


class BriefSettings(Frozen):
    """What the method has of its own.

    Attributes:
        words: How many words of each answer are trained on.
    """

    words: Positive = 6


class Brief(Sft):
    """Supervised finetuning on the beginnings of answers."""

    name: ClassVar[str] = "brief"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Frozen]] = BriefSettings

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Cut the answers, then train as `sft` does."""
        n = job.settings["words"]
        rows = [replace(row, response=" ".join(row.response.split()[:n])) for row in job.rows]
        return super().train(replace(job, rows=rows), out, timers)
