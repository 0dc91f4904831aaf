"""What an endpoint has answered already, kept in the user's cache folder, so that a run that was stopped asks the rest alone.

One JSON Lines file per judge, added to batch by batch; the first line says which judge, each other is a reading under the
SHA-256 of the judge's fingerprint and the messages it was asked. A line that a kill cut short is passed over. Answers may
have cost money, so nothing is ever dropped by itself: `idembench store ls --answers` lists them and `store gc --answers`
drops them, whatever `--store` is. Knows nothing of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError
from idembench.files import append_jsonl, parse_json, remove, sha256_json, user_folder
from idembench.judges.logprob import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FOLDER = "judged"


class Kept:
    """Readings of one judge.

    Args:
        fingerprint: The judge's.
        judge: Its name.
    """

    def __init__(self, fingerprint: str, judge: str) -> None:
        """Read what there is."""
        self._fingerprint, self._judge = fingerprint, judge
        self._known = dict(_lines(self.path))

    @property
    def path(self) -> Path:
        """Where they are."""
        return folder() / f"{self._fingerprint}.jsonl"

    def key(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """What names a reading."""
        return sha256_json([self._fingerprint, list(messages)])

    def get(self, key: str) -> Reading | None:
        """One reading, if there is one."""
        return self._known.get(key)

    def add(self, readings: Mapping[str, Reading]) -> None:
        """Keep readings, by key.

        Raises:
            EnvironmentProblem: If they cannot be written.
        """
        if not readings:
            return
        first = [] if self.path.exists() else [{"judge": self._judge}]
        append_jsonl(self.path, [*first, *(_row(key, reading) for key, reading in readings.items())])
        self._known |= readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is kept of one judge: one line of `idembench store ls --answers`.

    Attributes:
        judge: Its name; None where the file does not say it.
        fingerprint: Its fingerprint, of which the answers are.
        answers: How many.
        bytes: Size of the file.
    """

    judge: str | None
    fingerprint: str
    answers: int
    bytes: int


def folder() -> Path:
    """Where all of them are."""
    return user_folder() / FOLDER


def held() -> list[Answers]:
    """What is kept, largest first."""
    found = [
        Answers(
            judge=_judge(path),
            fingerprint=path.stem,
            answers=len(dict(_lines(path))),
            bytes=path.stat().st_size,
        )
        for path in _files()
    ]
    return sorted(found, key=lambda one: (-one.bytes, one.fingerprint))


def size() -> tuple[int, int]:
    """How many judges' answers are kept, and their bytes; nothing is read."""
    return len(_files()), sum(path.stat().st_size for path in _files())


def drop() -> int:
    """Remove all that is kept; of how many judges it was.

    Raises:
        StoreError: If something cannot be removed.
    """
    found = _files()
    for path in found:
        remove(path)
    return len(found)


def _files() -> list[Path]:
    return sorted(folder().glob("*.jsonl"))


def _judge(path: Path) -> str | None:
    with path.open("rb") as file:
        line = file.readline()
    try:
        return str(parse_json(line, where=str(path))["judge"])
    except (DataError, KeyError, TypeError):
        return None


def _row(key: str, reading: Reading) -> dict[str, Any]:
    numbers = {str(number): p for number, p in reading.numbers.items()}
    return {"key": key, "numbers": numbers, "missing": reading.missing}


def _lines(path: Path) -> list[tuple[str, Reading]]:
    found = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        try:
            row = parse_json(line, where=str(path))
            numbers = {int(number): float(p) for number, p in row["numbers"].items()}
            found.append((str(row["key"]), Reading(numbers=numbers, missing=row["missing"])))
        except (DataError, KeyError, TypeError, ValueError, AttributeError):
            continue  # a line that a kill cut short, or the empty end
    return found
