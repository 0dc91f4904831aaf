"""Finetuning methods: how one generation learns from rows.

A method is a class derived from `Method`; the registry finds ours and those that other distributions enter
through the entry-point group `idembench.methods`. Only this folder knows TRL.

    common.py   what all trainings share: adapter or all weights, hyper-parameters, checks
    sft.py      supervised finetuning on dialogues, loss on the answer
    rft.py      the same on the best of several own answers (rejection sampling)
    dpo.py      direct preference optimisation on pairs
    sdf.py      synthetic document finetuning of a base model, loss on every token
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from idembench.errors import ProtocolError, UnknownNameError
from idembench.files import canonical_json
from idembench.protocol import Frozen, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from idembench.judges import Score
    from idembench.models import Model
    from idembench.protocol import Execution, Form, Learning, Training
    from idembench.protocol import Protocol as ProtocolSettings
    from idembench.timing import Timers
    from idembench.traits import Example

    Scorer = Callable[[Example], Score]
    """Scores one sampled answer by the chain's judge, for the chain's trait."""

GROUP = "idembench.methods"


class NoSettings(Frozen):
    """The settings of a method that has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one training step is given.

    Attributes:
        model: The base model.
        parent: Folder of the generation to continue (an adapter, or whole weights), or None to start from the base
            model. A method that needs a reference policy takes this one: the base model in reset mode, the
            generation before in continual mode.
        rows: What to learn from, in the order they were selected; each has `rejected` if the method learns from pairs.
        form: Whether rows are dialogues, or documents in two parts (opening and continuation).
        settings: The method's own settings, as its `Settings` says them.
        training: Hyper-parameters.
        execution: Device, dtype, threads.
        seed: For adapter initialisation and the order of rows.
    """

    model: Model
    parent: Path | None
    rows: Sequence[Example]
    form: Form
    settings: Mapping[str, Any]
    training: Training
    execution: Execution
    seed: int


class Method(ABC):
    """What a finetuning method must be.

    Attributes:
        name: As protocols name it, and the name of its entry point.
        version: Raised whenever the same job or the same candidates give something else; part of every key.
        form: What it trains on.
        pairs: Whether it learns from pairs (rows with a `rejected` answer).
        Settings: Its own settings, a frozen model; a protocol's `settings` are checked by it.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    form: ClassVar[Form] = "dialogue"
    pairs: ClassVar[bool] = False
    Settings: ClassVar[type[Frozen]] = NoSettings

    def check(self, training: Training) -> None:
        """Refuse hyper-parameters that this method has no use for, by default none; asked before anything is made.

        Raises:
            ProtocolError: If there are such.
        """
        del training

    def select(
        self, candidates: Sequence[Sequence[Example]], settings: Mapping[str, Any], scorer: Scorer
    ) -> list[Example]:
        """Choose what to train on among what was sampled; by default the first answer to each prompt.

        Args:
            candidates: Per prompt, the answers that say something, in the order they were sampled; none is empty.
            settings: The method's own settings.
            scorer: Scores an answer by the chain's judge.
        """
        del settings, scorer
        return [answers[0] for answers in candidates]

    @abstractmethod
    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Write the generation into `out` and return facts about the training, as JSON.

        `out` gets a PEFT adapter, or a whole model's configuration and weights where `training.lora` is None.

        Raises:
            Diverged: If the loss or the weights stop being finite.
        """


@cache
def _points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def available() -> list[str]:
    """Names of the installed methods."""
    return sorted({point.name for point in _points()})


def get(name: str) -> Method:
    """One method by name.

    Raises:
        UnknownNameError: If none of that name is installed.
    """
    for point in _points():
        if point.name == name:
            method: Method = point.load()()
            return method
    raise UnknownNameError("method", name, available(), where=f"entry points {GROUP}")


def settle(protocol: ProtocolSettings) -> ProtocolSettings:
    """The protocol with its methods' settings checked and written out in full, defaults included.

    Raises:
        UnknownNameError: If a method is not installed.
        ProtocolError: If a method does not fit the protocol, or its settings do not hold.
    """
    main = protocol.learning(1)
    changes: dict[str, Any] = {"settings": _settled(main, protocol).settings}
    if protocol.seeding is not None:
        changes["seeding"] = _settled(protocol.seeding, protocol)
    if protocol.mode == "continual" and protocol.control not in ("unseeded", "frozen"):
        _check_continued(protocol)
    settled = protocol.model_copy(update=changes)
    plain, plus, _ = protocol.name.partition("+")
    return settled.model_copy(update={"name": f"{plain}+{settled.fingerprint[:6]}"}) if plus else settled


def _check_continued(protocol: ProtocolSettings) -> None:
    """In a continual chain, cycle 1 goes on with the adapter, or the weights, of cycle 0."""
    shapes = [
        f"rank {lora.rank}, alpha {lora.alpha}" if (lora := protocol.learning(cycle).training.lora) else "all weights"
        for cycle in (0, 1)
    ]
    if shapes[0] != shapes[1]:
        raise ProtocolError(
            "A continual chain cannot go on with what its cycle 0 trains.",
            expected=f"{shapes[0]}, as in cycle 0",
            found=shapes[1],
            where=f"{protocol.name}, training.lora",
            do="Give seeding and the later cycles the same rank and alpha.",
        )


def _settled(learning: Learning, protocol: ProtocolSettings) -> Learning:
    method = get(learning.method)
    where = f"{protocol.name}, method {method.name}"
    if method.form != protocol.form:
        raise ProtocolError(
            "This method learns from another form of text.",
            expected=f"form: {method.form}",
            found=f"form: {protocol.form}",
            where=where,
        )
    if method.pairs != (learning.rejected is not None):
        raise ProtocolError(
            "This method learns from pairs, and nothing says whose answers lose."
            if method.pairs
            else "This method does not learn from pairs.",
            expected="rejected: base, or rejected: previous" if method.pairs else "no `rejected`",
            found=f"rejected: {learning.rejected}",
            where=where,
        )
    method.check(learning.training)
    try:
        settings = method.Settings.model_validate_json(canonical_json(learning.settings))
    except ValidationError as error:
        raise ProtocolError("A method's settings do not hold.", found="; ".join(explain(error)), where=where) from error
    return learning.model_copy(update={"settings": settings.model_dump(mode="json")})
