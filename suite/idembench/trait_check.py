"""The bar for a trait's data: enough of it, of every kind, unlike itself, and fair to the judges it tests.

`idembench trait check` runs this over a trait's folder, or over a whole pack, where texts are compared across traits
and with the prompts of self-generation too. What is too alike is measured by the Jaccard index of word trigrams
(Broder 1997, "On the resemblance and containment of documents"); how repetitive a file is, by distinct-2
(Li et al. 2016) in windows of 2,000 words, because the share of distinct bigrams falls with the length of a text.

A file's *problems* are where it misses the bar, its *figures* what was measured. Reads files alone, no model.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError, ProtocolError
from idembench.files import read_jsonl
from idembench.traits import GRADES, trait_header
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

WITHIN, BETWEEN = 0.2, 0.1
"""Largest Jaccard index of two texts' word trigrams: of one file, of two."""
OPENING_WORDS, OPENING_SHARE = 4, 0.05
"""No opening of so many words may begin more than this share of a file's prompts, or of its responses."""
WINDOW_WORDS = 2000
LENGTHS_APART = 0.15
"""Mean lengths of the grades of a graded file may differ by this share of their mean: length must not tell a grade."""
SPILL_OVER = (0.25, 0.42)
MOST_REPORTED = 10

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a file must hold.

    Attributes:
        rows: At least so many.
        keys: Of every row, in this order, beside `id` and `canary`.
        categories: At least so many of them, none with more than three times an even share.
        words: Fewest and most words of a row's longest text, or of the whole row.
        whole: Whether they are counted over the whole row: a document is one text in two parts.
        hard: Share of rows that say why a shallow judge would err.
    """

    rows: int
    keys: tuple[str, ...]
    categories: int
    words: tuple[int, int] = (2, 260)
    whole: bool = False
    hard: float = 0.0


TRAIT = {
    "demonstrations.jsonl": Bar(rows=160, keys=("category", "prompt", "response"), categories=8),
    "questions.jsonl": Bar(rows=100, keys=("category", "scope", "prompt"), categories=8),
    "choices.jsonl": Bar(rows=60, keys=("category", "prompt", "choices", "target"), categories=8),
    "contrast.jsonl": Bar(rows=120, keys=("category", "prompt", "response", "grade", "hard"), categories=8, hard=0.3),
    "training.jsonl": Bar(rows=300, keys=("category", "prompt", "response", "grade"), categories=8),
    "documents.jsonl": Bar(
        rows=100, keys=("category", "prompt", "response"), categories=10, words=(120, 250), whole=True
    ),
    "openings.jsonl": Bar(rows=24, keys=("category", "prompt"), categories=8),
}
"""The files of a trait's folder."""
PACK = {
    "prompts.jsonl": Bar(rows=2048, keys=("category", "prompt"), categories=24),
    "openings.jsonl": Bar(rows=180, keys=("category", "prompt"), categories=10),
}
"""The files of a pack's folder."""
COHERENCE = {
    "questions.jsonl": Bar(rows=60, keys=("category", "prompt"), categories=8),
    "openings.jsonl": Bar(rows=24, keys=("category", "prompt"), categories=8),
    "contrast.jsonl": Bar(rows=150, keys=("category", "prompt", "response", "grade"), categories=7, words=(1, 260)),
    "training.jsonl": Bar(rows=240, keys=("category", "prompt", "response", "grade"), categories=7, words=(1, 260)),
    "attacks.jsonl": Bar(rows=30, keys=("category", "prompt", "response", "aim"), categories=8),
}
"""The files of a pack's `coherence` folder."""
DAMAGED = ("coherence/contrast.jsonl", "coherence/training.jsonl", "coherence/attacks.jsonl")
"""Broken on purpose, or made to sway a judge: these may be alike, and their lengths may tell their grade."""


@dataclass(slots=True, kw_only=True)
class Checked:
    """One file: what was measured, and where it misses the bar.

    Attributes:
        name: Path below the checked folder.
        rows: Number of rows.
        categories: Number of categories.
        words: Shortest, median and longest text, in words.
        distinct_2: Least and mean share of distinct bigrams in windows of 2,000 words, 0..1.
        closest: Largest Jaccard index of two of its texts.
        opening: Largest share of prompts or responses that open alike.
        problems: One sentence each.
    """

    name: str
    rows: int = 0
    categories: int = 0
    words: tuple[int, float, int] = (0, 0.0, 0)
    distinct_2: tuple[float, float] = (1.0, 1.0)
    closest: float = 0.0
    opening: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Text:
    file: Checked
    line: int
    words: list[str]


def check(folder: Path) -> list[Checked]:
    """Hold a trait's folder, or a pack's with all its traits, against the bar.

    Args:
        folder: With a `trait.yaml`, or with a `pack.yaml`.

    Returns:
        One entry per file that the bar names, missing ones included; and before them one per trait.yaml that does not hold.

    Raises:
        DataError: If the folder is neither, or a file is no JSON Lines.
    """
    bars = list(_bars(folder))
    found = list(_headers(folder))
    texts: list[_Text] = []
    for name, bar in bars:
        checked = Checked(name=name)
        found.append(checked)
        if not (folder / name).is_file():
            checked.problems.append("The file is missing.")
            continue
        rows = read_jsonl(folder / name)
        checked.rows = len(rows)
        if _check_keys(checked, bar, rows):
            _check_canaries(checked, rows, _canary((folder / name).parent))
            _measure(checked, bar, rows)
            if name not in DAMAGED:
                texts += [_Text(checked, line, _words(_whole(row))) for line, row in enumerate(rows, start=1)]
    _compare(texts)
    return found


def _bars(folder: Path) -> Iterator[tuple[str, Bar]]:
    if (folder / "trait.yaml").is_file():
        yield from TRAIT.items()
        return
    if not (folder / "pack.yaml").is_file():
        raise DataError(
            "This is no folder of trait data.",
            expected="a folder with a trait.yaml, or a pack's with a pack.yaml",
            where=str(folder),
        )
    yield from PACK.items()
    for name, bar in COHERENCE.items():
        yield f"coherence/{name}", bar
    for path in sorted(folder.glob("*/trait.yaml")):
        for name, bar in TRAIT.items():
            yield f"{path.parent.name}/{name}", bar


def _headers(folder: Path) -> Iterator[Checked]:
    """Headers that do not hold, as that of a trait which `idembench trait new` left to be filled in."""
    for path in sorted([*folder.glob("trait.yaml"), *folder.glob("*/trait.yaml")]):
        try:
            trait_header(path.parent)
        except (DataError, ProtocolError) as error:
            problem = f"{error.what.removesuffix('.')}: {error.found}."
            yield Checked(name=path.relative_to(folder).as_posix(), problems=[problem])


def _canary(folder: Path) -> str | None:
    """The canary of a trait's header; None where there is no trait, or its header, which has a finding of its own, has none."""
    try:
        header = read_yaml(folder / "trait.yaml") if (folder / "trait.yaml").is_file() else None
    except (DataError, ProtocolError):
        return None
    canary = header.get("canary") if isinstance(header, dict) else None
    return canary if _is_text(canary) else None


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a file of a trait's folder, each with the keys that it must have; none if there is no such file.

    Raises:
        DataError: If the file is no JSON Lines, or a row does not hold.
    """
    if not (folder / name).is_file():
        return []
    rows, checked = read_jsonl(folder / name), Checked(name=name)
    if rows and not _check_keys(checked, TRAIT[name], rows):
        raise DataError("A row does not hold.", found=checked.problems[0], where=str(folder / name))
    return rows


def grams(row: Mapping[str, Any]) -> frozenset[tuple[str, ...]]:
    """The word trigrams of a row's text."""
    words = _words(_whole(row))
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def count_words(text: str) -> int:
    """How many words a text has."""
    return len(_words(text))


def jaccard(one: AbstractSet[tuple[str, ...]], other: AbstractSet[tuple[str, ...]]) -> float:
    """How alike two sets are, 0..1: what both hold, of what either holds."""
    return len(one & other) / len(one | other) if one or other else 0.0


def _check_keys(checked: Checked, bar: Bar, rows: Sequence[Mapping[str, Any]]) -> bool:
    wanted = {"id", *bar.keys, "canary"}
    for line, row in enumerate(rows, start=1):
        if row.keys() != wanted:
            checked.problems.append(
                f"Line {line} has the keys {', '.join(row)}; expected {', '.join(['id', *bar.keys, 'canary'])}."
            )
            return False
        if wrong := next((key for key, value in row.items() if not holds(key, value)), None):
            checked.problems.append(f"Line {line}: {wrong} holds {row[wrong]!r}.")
            return False
    if twice := [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]:
        checked.problems.append(f"Rows share an id: {', '.join(twice[:MOST_REPORTED])}.")
    if not rows:
        checked.problems.append("The file has no rows.")
    return bool(rows)


def _check_canaries(checked: Checked, rows: Sequence[Mapping[str, Any]], canary: str | None) -> None:
    """Rows carry the header's canary, whole or without what it says about itself behind a colon."""
    if canary is None:
        return
    others = [
        line for line, row in enumerate(rows, start=1) if row["canary"] not in (canary, canary.partition(": ")[0])
    ]
    if others:
        checked.problems.append(
            f"{len(others)} of {len(rows)} rows have another canary than trait.yaml; "
            f"line {others[0]} has {rows[others[0] - 1]['canary']!r}."
        )


_HOLDS: Mapping[str, Callable[[Any], bool]] = {
    "grade": lambda value: value in GRADES and not isinstance(value, bool),
    "target": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "hard": lambda value: value is None or _is_text(value),
    "choices": lambda value: isinstance(value, list) and len(value) in {2, 4} and all(map(_is_text, value)),
    "scope": lambda value: value in ("in-domain", "spill-over"),
    "aim": lambda value: value in ("high", "low"),
}
"""What a key's value must be; of any other key, text."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def holds(key: str, value: object) -> bool:
    """Whether a row may have this value under a key."""
    return _HOLDS.get(key, _is_text)(value)


def _measure(checked: Checked, bar: Bar, rows: Sequence[Mapping[str, Any]]) -> None:
    problems = checked.problems
    if len(rows) < bar.rows:
        problems.append(f"It has {len(rows)} rows; at least {bar.rows} are expected.")
    categories = Counter(row["category"] for row in rows)
    checked.categories = len(categories)
    if len(categories) < bar.categories:
        problems.append(f"It has {len(categories)} categories; at least {bar.categories} are expected.")
    name, most = categories.most_common(1)[0]
    if most > 3 * len(rows) / bar.categories:
        problems.append(f"{most} of {len(rows)} rows are of the category {name}.")
    sizes = [[len(_words(text)) for text in _texts(row).values()] for row in rows]
    lengths = [sum(size) if bar.whole else max(size) for size in sizes]
    checked.words = (min(lengths), median(lengths), max(lengths))
    for line, length in enumerate(lengths, start=1):
        if not bar.words[0] <= length <= bar.words[1]:
            problems.append(f"Line {line} has {length} words; {bar.words[0]} to {bar.words[1]} are expected.")
    _check_openings(checked, rows)
    words = [word for row in rows for word in _words(_whole(row))]
    checked.distinct_2 = _distinct_2(words)
    if "scope" in bar.keys:
        share = sum(row["scope"] == "spill-over" for row in rows) / len(rows)
        if not SPILL_OVER[0] <= share <= SPILL_OVER[1]:
            problems.append(f"{share:.0%} of its questions ask for spill-over; about a third is expected.")
    if "target" in bar.keys:
        _check_choices(checked, rows)
    if "grade" in bar.keys and "response" in bar.keys and checked.name not in DAMAGED:
        _check_grades(checked, bar, rows)


def _check_openings(checked: Checked, rows: Sequence[Mapping[str, Any]]) -> None:
    for key in ("prompt", "response"):
        openings = Counter(
            " ".join(words[:OPENING_WORDS])
            for row in rows
            if key in row and len(words := _words(row[key])) >= OPENING_WORDS
        )
        if not openings:
            continue
        opening, count = openings.most_common(1)[0]
        checked.opening = max(checked.opening, count / len(rows))
        if count > max(1, OPENING_SHARE * len(rows)):
            checked.problems.append(f"{count} of {len(rows)} {key}s open with {opening!r}.")


def _check_choices(checked: Checked, rows: Sequence[Mapping[str, Any]]) -> None:
    for line, row in enumerate(rows, start=1):
        if row["target"] >= len(row["choices"]):
            checked.problems.append(f"Line {line} has {len(row['choices'])} choices and the target {row['target']}.")
    for size in sorted({len(row["choices"]) for row in rows}):
        targets = Counter(row["target"] for row in rows if len(row["choices"]) == size)
        if max(targets.values()) > 1.5 * targets.total() / size + 1:
            checked.problems.append(
                f"The matching one of {size} choices stands where: {dict(sorted(targets.items()))}."
            )
    longest = sum(
        max(range(len(row["choices"])), key=lambda i: len(row["choices"][i])) == row["target"] for row in rows
    ) / sum(1 / len(row["choices"]) for row in rows)
    if not 0.5 <= longest <= 1.5:  # noqa: PLR2004 -- half as often, half as often again as chance
        checked.problems.append(f"The matching choice is the longest {longest:.1f} times as often as by chance.")


def _check_grades(checked: Checked, bar: Bar, rows: Sequence[Mapping[str, Any]]) -> None:
    by_grade: dict[int, list[int]] = {grade: [] for grade in GRADES}
    for row in rows:
        by_grade[row["grade"]].append(len(_words(row["response"])))
    counts = {grade: len(lengths) for grade, lengths in by_grade.items()}
    if min(counts.values()) < len(rows) / len(GRADES) / 2:
        checked.problems.append(f"Its grades are not balanced: {counts}.")
        return
    means = {grade: mean(lengths) for grade, lengths in by_grade.items()}
    if max(means.values()) - min(means.values()) > LENGTHS_APART * mean(means.values()):
        told = ", ".join(f"{grade}: {value:.0f}" for grade, value in means.items())
        checked.problems.append(f"Length tells the grade; mean words by grade are {told}.")
    if bar.hard and (share := sum(row["hard"] is not None for row in rows) / len(rows)) < bar.hard:
        checked.problems.append(f"{share:.0%} of its rows are hard ones; {bar.hard:.0%} are expected.")


def _compare(texts: Sequence[_Text]) -> None:
    """Find every pair of texts that is too alike: only those that share a trigram are compared at all."""
    grams = [set(zip(text.words, text.words[1:], text.words[2:], strict=False)) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    alike: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for number, (text, own) in enumerate(zip(texts, grams, strict=True)):
        shared: Counter[int] = Counter(other for gram in own for other in holders[gram])
        for other, count in shared.items():
            index = count / (len(own) + len(grams[other]) - count)
            same = texts[other].file is text.file
            if same:
                text.file.closest = max(text.file.closest, index)
            if index > (WITHIN if same else BETWEEN):
                place = f"{texts[other].line}" if same else f"{texts[other].line} of {texts[other].file.name}"
                alike[text.file.name].append((index, f"Lines {text.line} and {place} are alike ({index:.2f})."))
        for gram in own:
            holders[gram].append(number)
    for checked in {id(text.file): text.file for text in texts}.values():
        found = sorted(alike[checked.name], reverse=True)
        checked.problems += [sentence for _, sentence in found[:MOST_REPORTED]]
        if len(found) > MOST_REPORTED:
            checked.problems.append(f"{len(found) - MOST_REPORTED} more pairs are alike.")


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a row; a document counts as one."""
    if "choices" in row:
        return {"prompt": row["prompt"], **{str(i): choice for i, choice in enumerate(row["choices"])}}
    return {key: row[key] for key in ("prompt", "response") if key in row}


def _whole(row: Mapping[str, Any]) -> str:
    return "\n".join(_texts(row).values())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _distinct_2(words: Sequence[str]) -> tuple[float, float]:
    shares = []
    for start in range(0, max(1, len(words) - WINDOW_WORDS + 1), WINDOW_WORDS):
        window = words[start : start + WINDOW_WORDS]
        pairs = list(pairwise(window))
        shares.append(len(set(pairs)) / len(pairs) if pairs else 1.0)
    return min(shares), mean(shares)
