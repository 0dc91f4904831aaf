"""A larger pool of prompts than a pack's own: a JSON Lines file, or a dataset on the Hub.

    prompts.jsonl
    lmsys/lmsys-chat-1m@<commit>,column=conversation,only=language:English,rows=60000

What a row asks is its text, or the first thing a user says in it where it is a conversation. Empty, repeated and very long
prompts are left out and counted, and those that spell a special token of the model that is to answer them. A pool is named in a record by its name and by the SHA-256 of its prompts, so that a dataset
that was changed in the meantime is another pool. Knows nothing about chains.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError, EnvironmentProblem, InputError
from idembench.files import read_jsonl
from idembench.traits import Pool, Question

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

COLUMNS = ("prompt", "messages", "conversation", "conversations", "question", "instruction", "text")
"""Where the prompt is looked for, in this order, unless a column is named."""
LONGEST = 2000
"""Characters of the longest prompt that is taken, unless told otherwise: one that a model cannot read would end a chain."""
_OPTIONS = ("column", "config", "split", "only", "rows", "longest")
_OF_DATASETS = ("config", "split")
_FILE = ".jsonl"
_USER = ("user", "human")
_SOME = 3
_NOTHING = object()


def read(named: str) -> Pool:
    """Read the pool that `NAME[@REVISION][,key=value...]` names.

    Args:
        named: A `.jsonl` file, or a dataset on the Hub (or a folder that `datasets` loads), with any of `column=` (where the
            prompt is), `config=`, `split=` (`train`), `only=COLUMN:VALUE` (rows that are taken), `rows=` (the first of
            them), `longest=` (in characters).

    Raises:
        InputError: If the name does not hold, or the dataset does not have what it says.
        DataError: If the file or the dataset does not hold, or nothing is left of it.
        EnvironmentProblem: If the Hub cannot be reached, or the disk is full.
    """
    name, options = _parse(named)
    is_file = name.endswith(_FILE)
    where = Path(name).expanduser()
    rows = read_jsonl(where) if is_file else _from_datasets(name, options)
    shown = where.name if is_file or where.is_dir() else name
    said = ",".join([shown, *(f"{key}={value}" for key, value in options.items())])
    return _pool(said, rows, options, where=name)


def without(pool: Pool, tokens: Collection[str]) -> Pool:
    """What is left of a pool without the prompts that spell any of `tokens`; they are counted as `special`.

    A tokenizer reads the end of a turn that a stranger typed as the end of the turn, so the rest would be answered as if
    somebody else had said it; in a document it would end the text in the middle.

    Args:
        pool: As it was read.
        tokens: Special tokens of the model that is to answer.

    Raises:
        DataError: If nothing is left.
    """
    spelled = re.compile("|".join(re.escape(token) for token in sorted(tokens) if token.strip()) or r"(?!)")
    prompts = tuple(question for question in pool.prompts if not spelled.search(question.prompt))
    left_out = len(pool.prompts) - len(prompts)
    if not left_out:
        return pool
    if not prompts:
        raise DataError(
            "Every prompt of a pool spells a special token of the model.",
            expected="prompts that are text alone",
            found=f"{left_out} prompts with {', '.join(sorted(tokens)[:_SOME])} or the like",
            where=pool.name,
            do="Take out what marks turns: a row is what a user asks.",
        )
    return Pool(name=pool.name, prompts=prompts, left_out=dict(sorted({**pool.left_out, "special": left_out}.items())))


def _pool(said: str, rows: Iterable[Mapping[str, Any]], options: Mapping[str, str], *, where: str) -> Pool:
    longest = int(options.get("longest", LONGEST))
    column, _, value = options.get("only", "").partition(":")
    most = int(options["rows"]) if "rows" in options else None
    prompts: dict[str, Question] = {}
    left_out: Counter[str] = Counter()
    taken = 0
    for number, row in enumerate(rows, start=1):
        if column and column not in row:
            raise _no_column(row, column, f"{where}, row {number}", do="Name one that is there in only=COLUMN:VALUE.")
        if column and str(row[column]) != value:
            continue
        if most is not None and taken == most:
            break
        taken += 1
        text = _text(row, options.get("column"), where=f"{where}, row {number}").strip()
        if not text:
            left_out["empty"] += 1
        elif len(text) > longest:
            left_out["long"] += 1
        elif text in prompts:
            left_out["twice"] += 1
        else:
            prompts[text] = Question(id=f"row-{number}", prompt=text)
    if not prompts:
        raise DataError(
            "A pool of prompts is empty.",
            expected="rows with a prompt",
            found=f"{taken} rows, of which {dict(left_out) or 'none'} were left out",
            where=where,
        )
    return Pool(name=said, prompts=tuple(prompts.values()), left_out=dict(sorted(left_out.items())))


def _parse(named: str) -> tuple[str, dict[str, str]]:
    name, *parts = named.split(",")
    options = dict(part.partition("=")[::2] for part in parts)
    numbers = [options[key] for key in ("rows", "longest") if key in options]
    holds = name and len(options) == len(parts) and options.keys() <= set(_OPTIONS) and all(options.values())
    if (
        not holds
        or not all(number.isdecimal() and int(number) for number in numbers)
        or ("only" in options and not all(options["only"].partition(":")))
    ):
        raise InputError(
            "A pool of prompts cannot be read.",
            expected=f"FILE.jsonl or OWNER/NAME[@REVISION], then any of {', '.join(f',{key}=...' for key in _OPTIONS)}",
            found=named,
            where="--prompts",
            do="only= takes COLUMN:VALUE; rows= and longest= take whole numbers from 1.",
        )
    if name.endswith(_FILE) and (ignored := [key for key in _OF_DATASETS if key in options]):
        raise InputError(
            "A file has no configurations and no splits.",
            expected=f"FILE{_FILE}, then any of {', '.join(f',{key}=...' for key in _OPTIONS if key not in _OF_DATASETS)}",
            found=", ".join(f"{key}={options[key]}" for key in ignored),
            where=f"--prompts {name}",
            do="Leave it out, or name a dataset on the Hub, or a folder.",
        )
    return name, options


def _from_datasets(name: str, options: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    import datasets
    from datasets.exceptions import (
        DatasetGenerationError,
        DatasetNotFoundError,
        DatasetsError,
    )

    repository, _, revision = name.partition("@")
    # Inside `only` rows are counted after they were chosen, so all are read.
    split = options.get("split", "train") + (
        f"[:{options['rows']}]" if "rows" in options and "only" not in options else ""
    )
    try:
        return datasets.load_dataset(repository, options.get("config"), split=split, revision=revision or None)  # type: ignore[no-any-return]
    except DatasetNotFoundError as error:
        raise InputError(
            "There is no such dataset, or it is private.",
            expected="a .jsonl file, a folder, or OWNER/NAME[@REVISION] on the Hub",
            found=_first(error),
            where=name,
            do="For a gated dataset accept its terms on the Hub and run `hf auth login`.",
        ) from error
    except ValueError as error:
        raise InputError(
            "A dataset does not have what is asked of it.",
            found=_first(error),
            where=name,
            do="See config= and split=.",
        ) from error
    except (OSError, DatasetsError) as error:
        # What goes wrong while a dataset is made of its files comes wrapped, be it the machine's fault or theirs.
        inner = error.__cause__ if isinstance(error, DatasetGenerationError) else None
        if isinstance(error, DatasetGenerationError) and not isinstance(inner, OSError):
            raise DataError(
                "The files of a dataset cannot be read.",
                expected="JSON, CSV, Parquet or text as `datasets` reads them, with the same columns in all files",
                found=" ".join(str(inner or error).split())[:400],
                where=name,
                do="Correct the files, or name one .jsonl file.",
            ) from error
        raise EnvironmentProblem(
            "A dataset cannot be fetched from the Hub, or not be kept on this machine.",
            found=_first(inner or error),
            where=name,
            do="Check the network and the disk, or download it elsewhere and name the folder, or a .jsonl file.",
        ) from error


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _text(row: Mapping[str, Any], column: str | None, *, where: str) -> str:
    """What a row asks: its text, or a user's first turn; empty if it asks nothing."""
    named = column or next((name for name in COLUMNS if name in row), None)
    if named is None or named not in row:
        raise _no_column(row, named or " or ".join(COLUMNS), where, do="Name the column with column=.")
    value = row[named]
    if isinstance(value, str):
        return value
    if value is None or value == []:
        return ""
    turns = [turn for turn in value if isinstance(turn, dict)] if isinstance(value, list) else []
    first = next((turn for turn in turns if str(turn.get("role", turn.get("from"))).lower() in _USER), None)
    said = "" if first is None else next((first[key] for key in ("content", "value") if key in first), _NOTHING)
    if not turns or not (said is None or isinstance(said, str)):
        raise DataError(
            "A row of a pool holds no prompt.",
            expected="text, or turns with a role and content (or from and value)",
            found=f"{type(value).__name__} in {named}",
            where=where,
            do="Name the column with column=.",
        )
    return said or ""


def _no_column(row: Mapping[str, Any], expected: str, where: str, *, do: str) -> InputError:
    found = ", ".join(map(str, row)) or "no columns"
    return InputError("A pool of prompts has no such column.", expected=expected, found=found, where=where, do=do)
