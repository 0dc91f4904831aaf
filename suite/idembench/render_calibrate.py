"""What people see of a calibration: live progress, the curve of each trait, what it says of each target. Knows rich."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from idembench.render import clean, err, note, number, out
from idembench.render_sweep import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from idembench.calibrate import Calibration, Curve, Dose
    from idembench.runs import Cell

_BAR = 20


def watch(cells: Sequence[Cell]) -> Progress:
    """Live progress of one round; chains are named by trait, dose and seed."""
    labels = {
        spec.id: f"{spec.trait.name} · n_seed {spec.protocol.data.n_seed} · seed {spec.seed}"
        for cell in cells
        for spec in cell.specs
    }
    return Progress(cells, labels=labels, records=False)


def show(done: Calibration) -> None:
    """Print every curve, what it says, and the line that a protocol takes."""
    for curve in done.curves:
        out.print()
        title = f"{done.baseline} · {curve.trait} · {done.spec.model.name}"
        out.print(Text.assemble((clean(title), "bold"), f"   {len(done.seeds)} seeds a dose"))
        out.print(_doses(curve))
        out.print(_answers(curve))
        for sentence in remarks(done, curve):
            out.print(Text(f"  {sentence}"))
    out.print()
    for target in done.targets:
        out.print(yaml_line(done, target), soft_wrap=True)


def _doses(curve: Curve) -> Table:
    chosen = {answer.chosen.n_seed for answer in curve.answers if answer.chosen is not None}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for column in ("trait", "95 %", "sd"):
        table.add_column(column, justify="right")
    table.add_column("0" + " " * (_BAR - 4) + "100")
    table.add_column("coherence", justify="right")
    table.add_column("")
    for dose in curve.every:
        level = dose.trait
        ends = f"{number(level.low)} to {number(level.high)}" if level.low is not None else ""
        table.add_row(
            f"  n_seed {dose.n_seed}" if dose.n_seed else "  base",
            number(level.mean),
            ends,
            number(dose.sd),
            "█" * round((level.mean or 0) / 100 * _BAR),
            number(dose.coherence.mean),
            "chosen" if dose.n_seed in chosen else "" if dose.usable else "not usable",
        )
    return table


def _answers(curve: Curve) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("  target", "n_seed", "level", "within", "doses tried"):
        table.add_column(column, justify="right")
    table.add_column("")
    for answer in curve.answers:
        within = "yes" if answer.outcome == "found" else "no"
        table.add_row(
            f"{answer.target:g}",
            str(answer.chosen.n_seed) if answer.chosen else number(None),
            number(answer.chosen.mean if answer.chosen else None),
            Text(within, style="green" if within == "yes" else "yellow"),
            str(curve.evaluations(answer.target)),
            Text(answer.sentence),
        )
    return table


def remarks(done: Calibration, curve: Curve) -> list[str]:
    """The verdict on one curve in sentences: how many targets, its shape, and what to mind."""
    found = [answer for answer in curve.answers if answer.outcome == "found"]
    said = [f"{len(found)} of {len(curve.answers)} targets found within {curve.tolerance:g} points."]
    said += [
        f"Not monotone: from n_seed {before.n_seed} to {after.n_seed} the level falls from {before.mean:.1f} to {after.mean:.1f}, beyond noise."
        for before, after in curve.falls
    ] or ["Monotone within its noise."]
    wide = [
        f"{answer.target:g}"
        for answer in curve.answers
        if answer.chosen is not None and (answer.chosen.high - answer.chosen.low) / 2 > curve.tolerance
    ]
    if wide:
        said.append(
            f"At {', '.join(wide)} the interval is wider than the tolerance: more --replicates would narrow it."
        )
    if curve.top < curve.pool and any(answer.outcome == "unreached" for answer in curve.answers):
        said.append(f"There are {curve.pool} demonstrations: --most may go beyond {curve.top}.")
    if curve.pool < done.most:
        said.append(f"The pool ends at {curve.pool} demonstrations, before the {done.most} that were allowed.")
    said += [f"n_seed {dose.n_seed} is not used: {_why(done, dose)}." for dose in curve.every if not dose.usable]
    return said


def _why(done: Calibration, dose: Dose) -> str:
    if dose.diverged:
        return "; ".join(f"seed {seed} fell apart ({clean(reason)})" for seed, reason in dose.diverged.items())
    return f"{dose.trait.missing:.0%} of the scores of its {len(done.seeds)} seeds are missing"


def yaml_line(done: Calibration, target: float) -> str:
    """What a protocol file takes to start from a target, with the traits that have no dose named beside it."""
    found = done.n_seeds(target)
    without = [curve.trait for curve in done.curves if curve.trait not in found]
    off = [
        f"{curve.trait} is at {answer.chosen.mean:.1f}"
        for curve in done.curves
        for answer in curve.answers
        if answer.target == target and answer.chosen is not None and answer.outcome != "found"
    ]
    if not found:
        return f"# no n_seed is shown to bring cycle 0 near {target:g} of 100"
    beside = "; ".join([f"cycle 0 near {target:g}", *off, *([f"none for {', '.join(without)}"] if without else [])])
    inner = ", ".join(f"{trait}: {dose}" for trait, dose in found.items())
    return f"data: {{n_seed: {{{inner}}}}}  # {beside}"


def closing(
    done: Calibration,
    written: Sequence[Path],
    *,
    named: str,
    model: str | None,
    pack: str | None = None,
    judge: str | None = None,
) -> None:
    """How much was made, what was written, and what to type next."""
    note(f"{done.made} steps were run of {done.asked} that the doses ask for; the others were shared or found.")
    note(f"Wrote {', '.join(path.as_posix() for path in written)}.")
    usable = [(target, trait, dose) for target in done.targets for trait, dose in done.n_seeds(target).items()]
    if not usable:
        return
    _, trait, dose = usable[len(usable) // 2]
    settings = [part for setting in (*done.overrides, f"data.n_seed={dose}") for part in ("--set", setting)]
    given = {"--model": model, "--pack": pack, "--judge": judge}
    options = ["--trait", trait, *(part for name, value in given.items() if value for part in (name, value)), *settings]
    err.print()
    err.print(Text("Next:", style="bold"))
    err.print("  one of the lines above in a protocol of your own, or", soft_wrap=True)
    err.print(f"  idembench run {shlex.join([named, *options])}", soft_wrap=True)


def calibration_json(document: dict[str, Any], done: Calibration, written: Sequence[Path]) -> dict[str, Any]:
    """A calibration for machines: the document, and what is true of this run alone."""
    return {**document, "written": [str(path) for path in written], "steps": {"asked": done.asked, "made": done.made}}
