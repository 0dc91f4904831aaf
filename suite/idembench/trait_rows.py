"""Rows of trait data out of what finetuning services read: `{"messages": [{"role": ..., "content": ...}, ...]}` a line.

One turn of a user and one of an assistant make a row; what else a row of ours says (category, scope, grade) is said once for a
whole file, and the canary is the trait's. All or nothing: a line that does not hold, or says what another row says, is an
error that names it, and then nothing is written. Rows that are there are kept byte for byte. Knows nothing about models.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idembench import trait_check
from idembench.errors import DataError, InputError, UnknownNameError
from idembench.files import read_jsonl, write_bytes
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idembench.trait_check import Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What rows can be taken as.

    Attributes:
        file: The file of the trait's folder that they join.
        stem: What their ids have between the trait's name and their number.
        told: What has to be said of the file: keys that no message holds.
    """

    file: str
    stem: str
    told: tuple[str, ...] = ()

    @property
    def bar(self) -> Bar:
        """The bar of its file."""
        return trait_check.TRAIT[self.file]


KINDS: Mapping[str, Kind] = {
    "demonstrations": Kind(file="demonstrations.jsonl", stem="demo"),
    "questions": Kind(file="questions.jsonl", stem="question", told=("scope",)),
    "training": Kind(file="training.jsonl", stem="training", told=("grade",)),
    "contrast": Kind(file="contrast.jsonl", stem="contrast", told=("grade", "hard")),
}
"""By name. Choices and documents are no dialogues, so no such file holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken.

    Attributes:
        file: Where the rows are now.
        rows: How many were taken.
        total: How many the file has.
        answers_left: Answers that were left out, because questions have none.
    """

    file: Path
    rows: int
    total: int
    answers_left: int


def take(source: Path, trait: Path, *, kind: str, category: str, **told: Any) -> Taken:
    """Take the dialogues of a file into a trait's folder, behind the rows that are there.

    Args:
        source: JSON Lines of messages.
        trait: The trait's folder.
        kind: One of `KINDS`.
        category: Of all the rows.
        **told: `scope`, `grade` or `hard` of all the rows, None where it is not said.

    Raises:
        UnknownNameError: If there is no such kind.
        InputError: If something is said that rows of the kind do not have, or not said that they must have.
        DataError: If a line does not hold or says what another row says, or the folder's files do not hold.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of rows", kind, KINDS, where="--as")
    chosen = KINDS[kind]
    known = _told(chosen, kind, {"category": category, **told})
    name, canary = naming(trait)
    there = trait_check.read(trait, chosen.file)
    answered = "response" in chosen.bar.keys
    turns = [
        _turns(line, where=f"{source}, line {number}", answered=answered)
        for number, line in enumerate(read_jsonl(source), start=1)
    ]
    if not turns:
        raise DataError("The file has no lines.", expected='{"messages": [...]} a line', where=str(source))
    first = next_number(there, f"{name}-{chosen.stem}")
    rows = []
    for number, (prompt, response) in enumerate(turns, start=first):
        said = known | {"prompt": prompt} | ({"response": response} if answered else {})
        rows.append(row(f"{name}-{chosen.stem}-{number:03d}", said, chosen.bar, canary))
    _refuse_duplicates(there, rows, trait / chosen.file, source)
    path = trait / chosen.file
    before = path.read_bytes() if path.is_file() else b""
    write_bytes(path, before + (b"" if not before or before.endswith(b"\n") else b"\n") + lines(rows))
    left = 0 if answered else sum(response is not None for _, response in turns)
    return Taken(file=path, rows=len(rows), total=len(there) + len(rows), answers_left=left)


def naming(trait: Path) -> tuple[str, str]:
    """A trait's name and canary, from a header of which other fields may still be open.

    Raises:
        DataError: If the header does not say them.
        ProtocolError: If it cannot be read or is no YAML.
    """
    header = read_yaml(trait / "trait.yaml")
    found = [header.get(key) if isinstance(header, dict) else None for key in ("name", "canary")]
    if not all(isinstance(value, str) and value.strip() for value in found):
        raise DataError(
            "The trait's header does not say what rows need.",
            expected="name and canary",
            where=str(trait / "trait.yaml"),
            do="`idembench trait new` writes a header to fill in.",
        )
    return str(found[0]), str(found[1])


def next_number(rows: Sequence[Mapping[str, Any]], stem: str) -> int:
    """The number behind `stem` that no id of the rows has reached."""
    numbers = [
        int(found[1]) for row in rows if (found := re.fullmatch(rf"{re.escape(stem)}-([0-9]{{1,9}})", row["id"]))
    ]
    return max(numbers, default=0) + 1


def row(name: str, said: Mapping[str, Any], bar: Bar, canary: str) -> dict[str, Any]:
    """A row in the order of keys that all of a file have."""
    return {"id": name, **{key: said[key] for key in bar.keys}, "canary": canary}


def lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as they stand in a data file: their keys in order, one row a line."""
    return "".join(f"{json.dumps(one, ensure_ascii=False, separators=(',', ':'))}\n" for one in rows).encode()


def same(one: Mapping[str, Any]) -> str:
    """What two rows share that say the same: their texts, whatever their blanks and capitals."""
    return "\n".join(" ".join(str(one.get(key, "")).split()).casefold() for key in ("prompt", "response"))


def _told(kind: Kind, name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("category", *kind.told)
    for key, value in {**dict.fromkeys(wanted), **told}.items():
        if value is not None and key not in wanted:
            raise InputError(f"Rows of this kind have no {key}.", found=f"--{key} {value}", where=f"--as {name}")
        if key in wanted and value is not None and not trait_check.holds(key, value):
            raise InputError(f"No row can have this {key}.", found=repr(value), where=f"--{key}")
        if value is None and key in wanted and key != "hard":
            raise InputError(
                f"Messages do not say the {key} of a row.",
                expected=f"--{key}, for all rows of the file",
                where=f"--as {name}",
                do=f"Give it; import one file for each {key}.",
            )
    return {key: told.get(key) for key in wanted}


def _turns(line: Mapping[str, Any], *, where: str, answered: bool) -> tuple[str, str | None]:
    """The user's and the assistant's text of one line."""
    messages = line.get("messages")
    if line.keys() != {"messages"} or not isinstance(messages, list):
        raise DataError(
            "A line holds something else than messages.",
            expected='{"messages": [{"role": ..., "content": ...}, ...]}',
            found=f"the keys {', '.join(line) or '(none)'}",
            where=where,
        )
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            found = ", ".join(message) if isinstance(message, dict) else type(message).__name__
            raise DataError("A message does not hold.", expected="role and content", found=found, where=where)
    roles = [message["role"] for message in messages]
    if roles not in ([["user", "assistant"]] if answered else [["user"], ["user", "assistant"]]):
        raise DataError(
            "A dialogue has other turns than these data hold.",
            expected="one turn of the user and one of the assistant, and no system message",
            found=", ".join(map(str, roles)) or "no message",
            where=where,
            do="Leave the line out, or write it as a single turn.",
        )
    texts = [_text(message["content"], where=where) for message in messages]
    return texts[0], texts[1] if len(texts) > 1 else None


def _text(content: object, *, where: str) -> str:
    if not isinstance(content, str) or not content.strip():
        raise DataError("A message is no text.", expected="text in content", found=repr(content)[:80], where=where)
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError("A message is no Unicode text.", found=str(error), where=where) from error
    return content.strip()


def _refuse_duplicates(
    there: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], file: Path, source: Path
) -> None:
    places = {same(one): f"line {number} of {file.name}" for number, one in enumerate(there, start=1)}
    twice = []
    for number, one in enumerate(rows, start=1):
        text = same(one)
        if text in places:
            twice.append(f"line {number} is {places[text]}")
        places.setdefault(text, f"line {number}")
    if twice:
        more = len(twice) - trait_check.MOST_REPORTED
        raise DataError(
            "Lines say what other rows say already.",
            expected="every row once",
            found="; ".join(twice[: trait_check.MOST_REPORTED]) + (f"; and {more} more" if more > 0 else ""),
            where=str(source),
            do="Leave these lines out. Nothing was taken.",
        )
