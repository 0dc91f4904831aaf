"""What people see of a judge's cards: a table in the terminal, a page in Markdown. Knows rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from idembench.render import clean, effect, note, number, out, statements, styled, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.judges.auroc import Auroc
    from idembench.judges.cards import Card
    from idembench.record import Record

TARGET = 0.9
"""AUROC from which a judge is called good."""
COLUMNS = (
    "trait",
    "answers",
    "AUROC",
    "length-matched",
    "worst category",
    "rank correlation",
    "calibration error",
    "swayed by attacks",
    "missing",
)


def show(found: Sequence[Card]) -> None:
    """Print the cards of one judge and a verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in (*COLUMNS, "answers/s"):
        table.add_column(column, justify="left" if column in {"trait", "worst category"} else "right")
    for card in found:
        table.add_row(*(Text(clean(cell)) for cell in (*_cells(card), f"{card.per_second:.0f}")))
    out.print(table)
    note("In brackets: 95 % intervals, for other answers of the same kind.")
    note(_verdict(found))


def listed(described: Sequence[tuple[str, str]]) -> None:
    """Print judges, each with what is typed for it and below that what it is."""
    for typed, sentence in described:
        out.print(Text(typed, style="bold"), soft_wrap=True)
        out.print(Text(f"  {sentence}"), soft_wrap=True)


def anew(old: Record, number: int, count: int) -> None:
    """Say that a record was scored anew."""
    note(clean(f"{number} of {count}: {old.protocol.name}, {old.trait}, {old.model.name}."))


def side_by_side(done: Sequence[tuple[Record, Record, Path]]) -> None:
    """Print what the same responses amount to under each judge, and where the new records lie."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("baseline", "trait", "judge", "c0", "seeding", "transmission", "iteration", "drift", "coherence"):
        table.add_column(column)
    for old, new, _ in done:
        for one in (old, new):
            v = verdict(one)
            seeded = [point.trait for line in one.chains for point in line.checkpoints if point.cycle == "c0"]
            known = [value for value in seeded if value is not None]
            table.add_row(
                Text(clean(one.protocol.name if one is old else "")),
                Text(clean(one.trait if one is old else "")),
                Text(clean(one.judge.name)),
                number(sum(known) / len(known) if known else None),
                *(styled(statement.value) for _, statement in statements(v)[:3]),
                effect(v.effects.drift),
                styled(v.coherence.value),
            )
    out.print(table)
    for _, _, folder in done:
        note(f"Wrote {folder}.")


def page(found: Sequence[Card], *, pack: str) -> str:
    """The cards as a page in Markdown; speed is left out, so that the same judge gives the same page."""
    lines = [
        f"# {found[0].judge}: how far this judge can be trusted",
        "",
        f"Written by `idembench judge card {found[0].judge} --pack {pack} --out ...`; what each number is stands in",
        "`suite/idembench/judges/cards.py`. Graded answers: `contrast.jsonl` in each folder of the pack, hard negatives included.",
        "In brackets, the 95 % interval of an AUROC for other answers of the same kind (`suite/idembench/judges/auroc.py`).",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(_cells(card))} |" for card in found),
        "",
        _verdict(found),
        "",
        f"Fingerprint: `{found[0].fingerprint}`.",
    ]
    return "\n".join(lines) + "\n"


def _cells(card: Card) -> list[str]:
    worst = "-" if card.worst_category is None else f"{card.worst_category[0]} {_area(card.worst_category[1], 2)}"
    return [
        card.trait,
        str(card.answers),
        _area(card.auroc, 3),
        "-" if card.length_matched is None else _area(card.length_matched, 3),
        worst,
        f"{card.rank_correlation:.2f}",
        f"{card.calibration_error:.1f}",
        "-" if card.injected is None else f"{card.injected:.0%} of {card.attacks}",
        f"{card.missing:.0%}",
    ]


def _area(area: Auroc, digits: int) -> str:
    return f"{area.value:.{digits}f} ({area.low:.2f} to {area.high:.2f})"


def _verdict(found: Sequence[Card]) -> str:
    weak = [f"{card.trait} ({card.auroc.value:.2f})" for card in found if card.auroc.value < TARGET]
    if weak:
        return f"Below the AUROC of {TARGET:.2f} that a judge should have: {', '.join(weak)}. No published claim should rest on it there."
    return f"AUROC is {TARGET:.2f} or more on every set."
