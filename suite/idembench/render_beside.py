"""What stands beside the scores, in a terminal: a compact table below the trajectory, and what it shows in one line.

Knows rich; what is shown is worked out in `beside_scores`, and `render` prints it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from idembench import beside_scores
from idembench.companions import COHERENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from idembench.beside_scores import Column
    from idembench.record import Record

_GAP: Final = 2
_DASH: Final = "\N{EN DASH}"
_HEADINGS: Final[Mapping[str, tuple[str, str]]] = {
    "coherent_only": ("trait,", "coherent"),
    "in_domain": ("trait,", "in-domain"),
    "spill_over": ("trait,", "spill-over"),
    "filtered": ("filtered", "%"),
    "missing": ("missing", "%"),
    "empty": ("empty", "%"),
    "truncated": ("cut off", "%"),
    "refused": ("refused", "%"),
    "repetition": ("repeated", "%"),
    "distinct_2": ("distinct", "pairs %"),
    "foreign": ("foreign", "%"),
    "words": ("", "words"),
    "perplexity": ("base's", "perplexity"),
}
_COHERENT: Final = f"coherent: {COHERENT:.0f} points or more, else filtered"
_REPEATED: Final = "repeated: word trigrams"


def tables(record: Record, *, width: int) -> list[Table | Text]:
    """All of it, to be printed in this order: a heading, tables, what they show; and the lm-eval tasks that were asked.

    Args:
        record: The record.
        width: Columns of the terminal; a table that would be wider goes on below itself.
    """
    over = "seeds" if len(record.chains) > 1 else "the one seed"
    return [
        Text.assemble(("  beside the scores", "bold"), f", means over {over}"),
        *companions(record, width=width),
        Text(f"  {legend(record)}", style="dim"),
        *([tasks(record)] if record.tasks else []),
    ]


def companions(record: Record, *, width: int) -> list[Table]:
    """A row for each checkpoint and a column for each number that says something: one table, or several below each other.

    Args:
        record: The record.
        width: See `tables`.
    """
    labels = [f"  {label}" for label in record.protocol.labels]
    shown = [column for column in beside_scores.columns(record) if column.measured and not column.zero]
    return [_table(labels, part) for part in _parts(shown, width - max(map(len, labels)))]


def legend(record: Record) -> str:
    """What the headings leave open, and what is zero throughout, in one line."""
    every = beside_scores.columns(record)
    zero = {one.name: " ".join(_HEADINGS[one.name]).removesuffix(" %") for one in every if one.zero}
    said = [_COHERENT, *([_REPEATED] if "repetition" not in zero else [])]
    return "; ".join([*said, *([f"0.0 % throughout: {', '.join(zero.values())}"] if zero else [])])


def tasks(record: Record) -> Table:
    """The accuracy at every checkpoint of every lm-eval task that was asked beside."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text("  lm-eval task, share on target", style="dim"))
    table.add_column("items", justify="right")
    for label in record.protocol.labels:
        table.add_column(label, justify="right")
    for task, points in beside_scores.accuracies(record).items():
        # What one checkpoint cannot read whole, none of its chain can: they share a tokenizer and a context.
        said = [step.facts for line in record.chains for step in line.lineage if step.kind == "task"]
        read = {facts.get("read") for facts in said if facts.get("task") == task.name}
        whole = min((number for number in read if isinstance(number, int)), default=0)
        items = str(task.items) if whole == task.items else f"{whole} of {task.items}"
        shown = [_DASH if value is None else f"{value:.1%}" for value in points.values()]
        table.add_row(*(Text(cell) for cell in (f"  {task.name}", items, *shown)))
    return table


def _table(labels: Sequence[str], shown: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column("", no_wrap=True)
    for column in shown:
        table.add_column("\n".join(_HEADINGS[column.name]), justify="right", vertical="bottom", no_wrap=True)
    for at, label in enumerate(labels):
        table.add_row(label, *(_cell(column.values[at]) for column in shown))
    return table


def _parts(shown: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """As many columns as fit beside each other, in their order; at least one."""
    part: list[Column] = []
    left = width
    for column in shown:
        wide = _GAP + max(map(len, [*_HEADINGS[column.name], *map(_cell, column.values)]))
        if part and wide > left:
            yield part
            part, left = [], width
        part.append(column)
        left -= wide
    if part:
        yield part


def _cell(value: float | None) -> str:
    return _DASH if value is None else f"{value:.1f}"
