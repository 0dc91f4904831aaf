"""Every error idembench raises on purpose, in one tree.

    IdembenchError
    ├── InputError          exit 2   what the user typed or wrote is wrong
    │   ├── UnknownNameError         a name that is not there (near matches are offered)
    │   ├── ProtocolError            a protocol, override or pack file does not hold
    │   ├── DataError                demonstrations, questions, prompts: missing, too few, malformed
    │   ├── ModelError               a model that cannot be loaded safely or rendered
    │   └── RecordError              a record that cannot be read
    ├── EnvironmentProblem  exit 3   the machine or a remote service stands in the way
    │   ├── StoreError               a broken or unwritable store
    │   ├── BusyError                another process holds the same chain
    │   └── StackError               the chain so far was made by another software or hardware stack
    └── Diverged            (caught) training or sampling fell apart; the seed is kept, marked as diverged

An error says what happened, what was expected, what was found, where, and what to do. It knows
nothing about how it is printed: `cli/app.py` renders it and turns its `exit_code` into the exit status.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class IdembenchError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: One sentence: what went wrong.
        expected: What would have been right.
        found: What was there instead.
        where: The file, option or step concerned.
        do: What the reader can do now.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        what: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        where: str | None = None,
        do: str | None = None,
    ) -> None:
        """Keep the parts apart, so that a renderer can lay them out."""
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.found = found
        self.where = where
        self.do = do

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes as it is, whatever a subclass asks for to be built."""
        return _restore, (type(self), self.args, self.__dict__)

    def parts(self) -> list[tuple[str, str]]:
        """The labelled parts that are known, in reading order."""
        labelled = [
            ("expected", self.expected),
            ("found", self.found),
            ("where", self.where),
            ("do", self.do),
        ]
        return [(label, text) for label, text in labelled if text is not None]

    def __str__(self) -> str:
        """All parts on lines of their own, for logs and uncaught tracebacks."""
        lines = [f"{self.what} [{self.code}]"]
        lines += [f"  {label}: {text}" for label, text in self.parts()]
        return "\n".join(lines)


def _restore(kind: type[IdembenchError], args: tuple[object, ...], state: dict[str, object]) -> IdembenchError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(IdembenchError):
    """What the user typed or wrote is wrong."""

    code = "input"


class UnknownNameError(InputError):
    """A name that is not there; offers the nearest ones that are."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str | None = None) -> None:
        """Build the message for an unknown `kind` called `name` among `known`."""
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        super().__init__(
            f"There is no {kind} called {name!r}.",
            expected=f"one of: {', '.join(names)}" if names else f"a {kind} (none is installed)",
            found=repr(name),
            where=where,
            do=f"Did you mean {' or '.join(near)}?" if near else "See `idembench ls`.",
        )


class ProtocolError(InputError):
    """A protocol, an override or a pack file does not hold."""

    code = "protocol"


class DataError(InputError):
    """Demonstrations, questions or prompts are missing, too few or malformed."""

    code = "data"


class ModelError(InputError):
    """A model cannot be loaded safely, or its chat template cannot be used."""

    code = "model"


class RecordError(InputError):
    """A record cannot be read."""

    code = "record"


class EnvironmentProblem(IdembenchError):  # noqa: N818 -- "EnvironmentError" is a builtin
    """The machine or a remote service stands in the way."""

    code = "environment"
    exit_code = 3


class StoreError(EnvironmentProblem):
    """The step store is broken or cannot be written."""

    code = "store"


class BusyError(EnvironmentProblem):
    """Another process holds what this one needs."""

    code = "busy"


class StackError(EnvironmentProblem):
    """The chain so far was made by another software or hardware stack."""

    code = "stack"


class Diverged(IdembenchError):  # noqa: N818 -- an outcome that is recorded, not a mistake
    """Training or sampling fell apart; the chain keeps the seed and says so."""

    code = "diverged"
    exit_code = 4
