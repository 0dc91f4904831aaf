"""What an endpoint has answered already, kept in the user's cache folder, so that a run that was stopped asks the rest alone.

One JSON Lines file per judge, added to batch by batch; each line is a reading under the SHA-256 of the judge's
fingerprint and the messages it was asked. A line that a kill cut short is passed over. Knows nothing of HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idembench.errors import DataError
from idembench.files import append_jsonl, parse_json, sha256_json, user_folder
from idembench.judges.logprob import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FOLDER = "judged"


class Kept:
    """Readings of one judge.

    Args:
        fingerprint: The judge's.
    """

    def __init__(self, fingerprint: str) -> None:
        """Read what there is."""
        self._fingerprint = fingerprint
        self._known = dict(_lines(self.path))

    @property
    def path(self) -> Path:
        """Where they are."""
        return user_folder() / FOLDER / f"{self._fingerprint}.jsonl"

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
        append_jsonl(self.path, [_row(key, reading) for key, reading in readings.items()])
        self._known |= readings


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
