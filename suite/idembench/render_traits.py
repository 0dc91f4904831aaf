"""What people see of trait data: figures and problems by file, and what was begun, taken or seeded. Knows rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from idembench.render import clean, note, out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.trait_check import Checked
    from idembench.trait_new import Made
    from idembench.trait_rows import Taken
    from idembench.trait_seed import Seeded


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


def made(done: Made) -> str:
    """What was made, and what comes next."""
    folder, tasks = (clean(str(path)) for path in (done.folder, done.folder.parent.parent))
    pack = "" if done.like is None else f" in a new pack like {done.like}"
    return (
        f"Began {folder}{pack}. Now fill in its trait.yaml and write its data: `idembench trait check {folder}` says what is "
        f"missing, `trait import` and `trait seed` help. Then: idembench run study/sft-reset --tasks {tasks} "
        f"--pack {done.pack} --trait {done.folder.name} --set data.n_seed=40. {done.judge} scores it, if it knows this trait; "
        f"a judge that reads the rubric does: --judge hf:MODEL,pack={done.pack}."
    )


def taken(done: Taken, trait: Path) -> str:
    """What was taken, and what comes next."""
    left = f" {done.answers_left} answers were left out: questions have none." if done.answers_left else ""
    return (
        f"Took {done.rows} rows; {clean(done.file.name)} has {done.total} now.{left} "
        f"Next: idembench trait check {clean(str(trait))}"
    )


def seeded(done: Seeded) -> str:
    """What a teacher wrote, what was dropped, and what comes next."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in done.dropped.items())
    return (
        f"{clean(done.teacher)} wrote {done.rows} of the {done.asked} rows asked for, in {done.tried} tries"
        f"{f' (dropped: {dropped})' if dropped else ''}. Read every one: what is good goes into demonstrations.jsonl, the rest "
        f"away, and the teacher's name into `authorship` of trait.yaml. Then: idembench trait check "
        f"{clean(str(done.file.parent))}"
    )
