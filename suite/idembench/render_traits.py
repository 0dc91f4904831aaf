"""What people see of trait data: a line of figures per file, and below it where it misses the bar. Knows rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from idembench.render import clean, note, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.trait_check import Checked


def show(found: Sequence[Checked]) -> None:
    """Print the figures of every file, its problems, and a verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("file")
    for column in ("rows", "categories", "words", "distinct-2", "closest", "open alike", ""):
        table.add_column(column, justify="right")
    for one in found:
        table.add_row(
            Text(clean(one.name)),
            str(one.rows),
            *(_figures(one) if one.categories else "-----"),
            Text("FAILED", style="bold red") if one.problems else Text("ok", style="green"),
        )
    out.print(table)
    for one in found:
        for problem in one.problems:
            out.print(Text(f"  {clean(one.name)}: {clean(problem)}"))
    wrong = sum(bool(one.problems) for one in found)
    note(
        f"{wrong} of {len(found)} files miss the bar; see tasks/README.md for what it is."
        if wrong
        else f"All {len(found)} files meet the bar."
    )


def _figures(one: Checked) -> list[str]:
    low, middle, high = one.words
    return [
        str(one.categories),
        f"{low} .. {middle:.0f} .. {high}",
        f"{one.distinct_2[1]:.2f}, least {one.distinct_2[0]:.2f}",
        f"{one.closest:.2f}",
        f"{one.opening:.1%}",
    ]
