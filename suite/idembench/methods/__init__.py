"""Finetuning methods: how one generation learns from rows.

A method is a class with a `name`, a `version` and a `train`; the registry finds ours and those that other
distributions enter through the entry-point group `idembench.methods`. Only this folder knows TRL.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from idembench.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.models import Model
    from idembench.protocol import Execution, Training
    from idembench.timing import Timers
    from idembench.traits import Example

GROUP = "idembench.methods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one training step is given.

    Attributes:
        model: The base model.
        parent: Folder of the adapter to continue, or None to start a new one on the base model.
        rows: What to learn from, in the order they were drawn.
        training: Hyper-parameters.
        execution: Device, dtype, threads.
        seed: For adapter initialisation and the order of rows.
    """

    model: Model
    parent: Path | None
    rows: Sequence[Example]
    training: Training
    execution: Execution
    seed: int


class Method(Protocol):
    """What a finetuning method must be."""

    name: ClassVar[str]
    version: ClassVar[int]

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Write the adapter into `out` and return facts about the training, as JSON.

        Raises:
            Diverged: If the loss or the weights stop being finite.
        """
        ...


def available() -> list[str]:
    """Names of the installed methods."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def get(name: str) -> Method:
    """One method by name.

    Raises:
        UnknownNameError: If none of that name is installed.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            method: Method = point.load()()
            return method
    raise UnknownNameError("method", name, available(), where=f"entry points {GROUP}")
