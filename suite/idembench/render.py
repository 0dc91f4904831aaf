"""What people see in a terminal: progress, tables, statements, errors. Knows rich; decides nothing.

Results go to stdout, progress and notes to stderr. Colour never carries meaning alone, and everything reads
the same without it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from idembench.steps import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from idembench.board import Built
    from idembench.chain import Planned
    from idembench.errors import IdembenchError
    from idembench.record import Record
    from idembench.runs import Cell, Finished
    from idembench.statistics import Effect, Level, Verdict
    from idembench.steps import Step
    from idembench.store import Entry
    from idembench.verify import Report
    from idembench.work import ChainSpec

# Names, reasons and sentences come from records of other people: brackets in them are brackets.
# A pipe or a log has no width of its own, and 80 columns would fold every table.
_PIPE_COLUMNS = 132
out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
err = Console(
    stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else _PIPE_COLUMNS
)

_STYLES = {
    "taken": "green",
    "kept": "green",
    "idempotent": "green",
    "held": "green",
    "amplified": "bold red",
    "collapsed": "bold red",
    "fell": "red",
    "decayed": "yellow",
    "weakened": "yellow",
    "strengthened": "yellow",
    "lost": "yellow",
}
_DASH = "\N{EN DASH}"
_SHOWN = 20


def clean(text: str) -> str:
    """Text from a file as a terminal may show it: control characters, which could steer it, are replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


# -- one-liners -----------------------------------------------------------------------------------


def note(text: str) -> None:
    """Say something that is no result."""
    err.print(Text(text))


def error(problem: IdembenchError) -> None:
    """Lay out an error: what, expected, found, where, what to do."""
    err.print(Text.assemble(("error", "bold red"), f"  {problem.what}  ", (f"[{problem.code}]", "dim")))
    for label, text in problem.parts():
        err.print(Text.assemble((f"  {label:<9}", "bold"), clean(text)))


# -- progress -------------------------------------------------------------------------------------


class Progress:
    """Live progress of a run: which chain, which step, how fast, how long still.

    On a terminal one bar; elsewhere one line per measured checkpoint.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Count the steps of all chains."""
        self._left: dict[str, int] = {}
        for cell in cells:
            for spec in cell.specs:
                for kind, _ in steps_of(spec.plan):
                    self._left[kind] = self._left.get(kind, 0) + 1
        self._spent: dict[str, list[float]] = {}
        self._began = time.perf_counter()
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[eta]}"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("starting", total=sum(self._left.values()), rate="", eta="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def started(self, spec: ChainSpec, step: Step) -> None:
        """A step is being made."""
        self._began = time.perf_counter()
        self._bar.update(self._task, description=f"{_chain(spec)} · {step.cycle} {step.kind}")

    def finished(self, spec: ChainSpec, step: Step, facts: dict[str, Any], *, found: bool) -> None:
        """A step is there."""
        self._left[step.kind] -= 1
        if not found:
            seconds = time.perf_counter() - self._began
            self._spent.setdefault(step.kind, []).append(seconds)
            if facts.get("tokens"):
                rate = f"{facts['tokens'] / max(seconds, 1e-9):,.0f} tokens/s"
                self._bar.update(self._task, rate=rate)
        self._bar.update(self._task, advance=1, eta=self._eta())
        if step.kind == "judge" and not found and not err.is_terminal:
            values = f"trait {_number(facts.get('trait'))}  coherence {_number(facts.get('coherence'))}"
            note(f"{_chain(spec)} · {step.cycle:<4}  {values}  {self._eta()}")

    def show(self, done: Finished) -> None:
        """Print a finished record without tearing the bar."""
        self._bar.stop()
        show(done.record, done.folder)
        err.print(Text(made_of(done), style="dim"))
        self._bar.start()

    def _eta(self) -> str:
        known = {kind: sum(times) / len(times) for kind, times in self._spent.items()}
        if not known:
            return ""
        seconds = sum(count * known.get(kind, 0.0) for kind, count in self._left.items())
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} left" if seconds >= 1 else ""


def _chain(spec: ChainSpec) -> str:
    return f"{spec.protocol.name} · {spec.trait.name} · seed {spec.seed}"


def made_of(done: Finished) -> str:
    """One line: what was made, what was found, how long it took."""
    if done.made == 0:
        return f"All {done.found} steps were found in the store; nothing was computed ({done.wall_s:.1f} s)."
    overhead = f", {done.overhead_share:.0%} outside training and sampling" if done.overhead_share is not None else ""
    return f"{done.made} steps made, {done.found} found in the store, {done.wall_s:.0f} s{overhead}."


# -- records --------------------------------------------------------------------------------------


def show(record: Record, folder: Path) -> None:
    """Print one record: what it is of, the trajectory, the four statements."""
    seeds = [line.seed for line in record.chains]
    title = f"{record.protocol.name} · {record.trait} · {record.model.name}"
    detail = (
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}), {record.protocol.measuring.name}"
    )
    out.print()
    out.print(Text.assemble((clean(title), "bold"), f"   {clean(detail)}"))
    out.print(_trajectory(record))
    said = Table.grid(padding=(0, 2, 0, 0))
    for name, statement in _statements(verdict(record)):
        values = " ".join(getattr(statement, "values", (statement.value,)))
        said.add_row(f"  {name}", Text(values, style=_STYLES.get(statement.value, "")), Text(clean(statement.sentence)))
    if not record.analysis.exploratory:
        said.add_row("  seeds", "", Text(clean(record.analysis.beyond_margin.sentence)))
    for chain in record.chains:
        if chain.diverged is not None:
            reason = f"diverged at {chain.diverged.cycle}: {chain.diverged.reason}"
            said.add_row(f"  seed {chain.seed}", "", Text(clean(reason)))
    if len(record.stacks) > 1:
        said.add_row("  stacks", "", f"made on {len(record.stacks)} different stacks; bits agree within one only")
    out.print(said)
    out.print(Text(clean(f"  {folder}"), style="dim"), soft_wrap=True)


def verdict(record: Record) -> Verdict:
    """The verdict to show: of the chain law, or of these very checkpoints where there is one seed."""
    return record.analysis.artefact if record.analysis.exploratory else record.analysis.chain_law


def _statements(shown_verdict: Verdict) -> list[tuple[str, Any]]:
    return [(name, getattr(shown_verdict, name)) for name in ("seeding", "transmission", "iteration", "coherence")]


def _trajectory(record: Record) -> Table:
    one = record.analysis.exploratory
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("trait", justify="right")
    table.add_column("95 %" + (" (these checkpoints)" if one else ""), justify="right")
    table.add_column("0      100")
    table.add_column("coherence", justify="right")
    table.add_column("95 %", justify="right")
    for point in record.analysis.trajectory:
        table.add_row(
            clean(f"  {point.name}"),
            _number(point.trait.mean),
            _interval(point.trait, artefact=one),
            _bar(point.trait.mean),
            _number(point.coherence.mean),
            _interval(point.coherence, artefact=one),
        )
    return table


def _interval(level: Level, *, artefact: bool) -> str:
    low, high = (level.artefact_low, level.artefact_high) if artefact else (level.low, level.high)
    return _DASH if low is None or high is None else f"{low:.1f} to {high:.1f}"


def _bar(mean: float | None, width: int = 10) -> str:
    if mean is None:
        return ""
    eighths = round(mean / 100 * width * 8)
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _number(value: float | None, *, signed: bool = False) -> str:
    return _DASH if value is None else f"{value:+.1f}" if signed else f"{value:.1f}"


def _effect(effect: Effect) -> str:
    if effect.estimate is None:
        return _DASH
    if effect.low is None or effect.high is None:
        return _number(effect.estimate, signed=True)
    return f"{effect.estimate:+.1f} ({effect.low:.1f} to {effect.high:.1f})"


def closing(finished: Sequence[Finished], results: Path) -> None:
    """One table over all records of a run, and what to type next."""
    out.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="Records", title_justify="left")
    for column in ("baseline", "trait", "seeding", "transmission", "iteration", "drift", "proven bound", "coherence"):
        table.add_column(column)
    for done in finished:
        v = verdict(done.record)
        table.add_row(
            done.record.protocol.name,
            done.record.trait,
            *(_styled(statement.value) for _, statement in _statements(v)[:3]),
            _effect(v.effects.drift),
            _number(v.effects.proven_bound.estimate),
            _styled(v.coherence.value),
        )
    out.print(table)
    if any(done.record.analysis.exploratory for done in finished):
        note("One seed is exploratory: it speaks of these checkpoints, not of the method. Run more with --seeds 0..4.")
    err.print()
    err.print(Text("Next:", style="bold"))
    err.print(f"  idembench verify {results}", soft_wrap=True)
    err.print(f"  idembench board build {results} --out out/board", soft_wrap=True)


def _styled(value: str) -> Text:
    return Text(value, style=_STYLES.get(value, ""))


def finished_json(done: Finished) -> dict[str, Any]:
    """A finished cell for machines."""
    v = verdict(done.record)
    return {
        "path": str(done.folder),
        "record_id": done.record.id,
        "protocol": done.record.protocol.name,
        "trait": done.record.trait,
        "model": done.record.model.name,
        "seeds": [line.seed for line in done.record.chains],
        "exploratory": done.record.analysis.exploratory,
        "headline": done.record.analysis.headline,
        "statements": {name: statement.value for name, statement in _statements(v)},
        "drift": v.effects.drift.estimate,
        "proven_bound": v.effects.proven_bound.estimate,
        "steps_made": done.made,
        "steps_found": done.found,
        "wall_s": round(done.wall_s, 3),
        "overhead_share": None if done.overhead_share is None else round(done.overhead_share, 4),
    }


# -- plans ----------------------------------------------------------------------------------------


def plan(plans: Sequence[tuple[Cell, Mapping[int, Sequence[Planned]]]]) -> None:
    """Print what a run would do."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("baseline", "trait", "seed", "would be found", "would run"):
        table.add_column(column)
    total = 0
    for cell, by_seed in plans:
        for seed, steps in by_seed.items():
            missing = [step for step in steps if not step.found]
            total += len(missing)
            table.add_row(
                cell.protocol.name,
                cell.trait,
                str(seed),
                str(len(steps) - len(missing)),
                f"{len(missing)}, from {missing[0].cycle} {missing[0].kind}" if missing else "nothing",
            )
    out.print(table)
    out.print(f"{total} steps would run. Chains that share steps, as reset and continual share cycle 0, run them once.")


def plan_json(plans: Sequence[tuple[Cell, Mapping[int, Sequence[Planned]]]]) -> list[dict[str, Any]]:
    """A plan for machines."""
    return [
        {
            "protocol": cell.protocol.name,
            "protocol_fingerprint": cell.protocol.fingerprint,
            "trait": cell.trait,
            "seed": seed,
            "steps": [{"kind": step.kind, "cycle": step.cycle, "found": step.found} for step in steps],
        }
        for cell, by_seed in plans
        for seed, steps in by_seed.items()
    ]


# -- lists ----------------------------------------------------------------------------------------


def catalogue(listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print what there is, one table per kind."""
    for kind, rows in listed.items():
        out.print(Text(kind, style="bold"))
        if not rows:
            out.print(Text("  none yet", style="dim"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in _cells(kind, row)))
        out.print(table)


def _cells(kind: str, row: Mapping[str, Any]) -> list[str]:
    if kind == "models":
        return [f"  {row['name']}"]
    if kind == "traits":
        return [f"  {row['pack']}/{row['name']}", str(row["definition"])]
    if kind == "baselines":
        return [f"  {row['name']}", f"{row['pack']}: {row['why']}"]
    if "error" in row:
        return [f"  {row['path']}", f"cannot be read: {row['error']}"]
    return [f"  {row['protocol']}", row["trait"], f"{len(row['seeds'])} seeds, {row['measurement']}", row["headline"]]


def reports(found: Iterable[Report]) -> None:
    """Print what verifying found: a line per record, every problem below it."""
    total = wrong = partly = 0
    for report in found:
        total += 1
        wrong += not report.ok
        skipped = [check for check in report.checks if check.skipped is not None]
        partly += report.ok and bool(skipped)
        done = len(report.checks) - len(skipped)
        word = Text("ok    ", style="green") if report.ok else Text("FAILED", style="bold red")
        out.print(word, Text(clean(f" {report.folder}  ({done} of {len(report.checks)} checks made)")), soft_wrap=True)
        for check in report.checks:
            for problem in _first(check.problems):
                out.print(Text(clean(f"    {check.name}: {problem}")), soft_wrap=True)
            if check.skipped is not None:
                out.print(Text(clean(f"    {check.name}: not checked, {check.skipped}"), style="dim"), soft_wrap=True)
    unmade = f" Of these, {partly} only as far as the checks that could be made here." if partly else ""
    out.print(f"{total - wrong} of {total} records hold: recomputed from their samples, hashes followed.{unmade}")


def _first(problems: Sequence[str]) -> list[str]:
    """The first problems and how many more there are, for a terminal."""
    more = len(problems) - _SHOWN
    return [*problems[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]


def report_json(report: Report) -> dict[str, Any]:
    """A report for machines."""
    return {
        "path": str(report.folder),
        "ok": report.ok,
        "checks": [
            {"name": check.name, "problems": check.problems, "skipped": check.skipped} for check in report.checks
        ],
    }


def store(entries: Sequence[Entry], root: Path) -> None:
    """Print the store's steps, summed by kind."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("kind", "steps", "size", "used by no chain"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in sorted({entry.kind for entry in entries}):
        own = [entry for entry in entries if entry.kind == kind]
        unused = sum(entry.used_by == 0 for entry in own)
        table.add_row(kind, str(len(own)), _size(sum(entry.bytes for entry in own)), str(unused))
    out.print(table)
    out.print(f"{len(entries)} steps, {_size(sum(entry.bytes for entry in entries))} in {root}", soft_wrap=True)


def _size(count_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count_bytes < 1000:  # noqa: PLR2004 -- SI prefixes
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def store_problems(wrong: Mapping[str, Sequence[str]]) -> None:
    """Print what is wrong in the store."""
    for key, problems in wrong.items():
        out.print(Text(f"FAILED {key}"), soft_wrap=True)
        for problem in problems:
            out.print(Text(f"    {problem}"), soft_wrap=True)
    out.print("Every step is whole." if not wrong else f"{len(wrong)} steps are broken: `idembench store gc --broken`.")


def board(built: Built) -> None:
    """Print where the page is."""
    for record in built.left_out:
        err.print(Text(clean(f"left out  {record['path']}: {record['reason']}")))
    count = f"{built.records} record{'s' * (built.records != 1)}"
    out.print(f"The page, with {count}: {built.page.resolve()}", soft_wrap=True)
