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
_USER = ("user", "human")
_SOME = 3


def read(named: str) -> Pool:
    """Read the pool that `NAME[@REVISION][,key=value...]` names.

    Args:
        named: A `.jsonl` file, or a dataset on the Hub (or a folder that `datasets` loads), with any of `column=` (where the
            prompt is), `config=`, `split=` (`train`), `only=COLUMN:VALUE` (rows that are taken), `rows=` (the first of
            them), `longest=` (in characters).

    Raises:
        InputError: If the name does not hold, or the dataset does not have what it says.
        DataError: If the file does not hold, or nothing is left of it.
        EnvironmentProblem: If the Hub cannot be reached.
    """
    name, options = _parse(named)
    is_file = name.endswith(".jsonl")
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
        if column and str(_cell(row, column, where)) != value:
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
    return name, options


def _from_datasets(name: str, options: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

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
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise EnvironmentProblem(
            "A dataset cannot be fetched from the Hub.",
            found=_first(error),
            where=name,
            do="Check the network, or download it elsewhere and name the folder, or a .jsonl file.",
        ) from error


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _cell(row: Mapping[str, Any], column: str, where: str) -> Any:
    if column not in row:
        raise InputError(
            "A pool of prompts has no such column.", expected=column, found=", ".join(map(str, row)), where=where
        )
    return row[column]


def _text(row: Mapping[str, Any], column: str | None, *, where: str) -> str:
    """What a row asks: its text, or a user's first turn."""
    named = column or next((name for name in COLUMNS if name in row), COLUMNS[0])
    value = _cell(row, named, where)
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    turns = [turn for turn in value if isinstance(turn, dict)] if isinstance(value, list) else []
    said = [
        turn.get("content", turn.get("value"))
        for turn in turns
        if str(turn.get("role", turn.get("from"))).lower() in _USER
    ]
    if not turns or (said and not isinstance(said[0], str)):
        raise DataError(
            "A row of a pool holds no prompt.",
            expected="text, or turns with a role and content (or from and value)",
            found=f"{type(value).__name__} in {named}",
            where=where,
            do="Name the column with column=.",
        )
    return str(said[0]) if said else ""
