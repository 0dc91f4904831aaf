"""What people see in a terminal: tables, statements, errors. Knows rich; decides nothing.

Results go to stdout, notes to stderr; what is seen of many chains at once is in `render_sweep.py`. Colour never carries meaning alone, and everything reads
the same without it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from idembench import beside_scores, judges, render_beside
from idembench.judges import Absent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from idembench.board import Built
    from idembench.chain import Planned
    from idembench.editions import Cost, Edition
    from idembench.errors import IdembenchError
    from idembench.judges.kept import Answers
    from idembench.record import Record
    from idembench.runs import Cell, Finished
    from idembench.statistics import Effect, Level, Verdict
    from idembench.store import Entry
    from idembench.traits import Pool
    from idembench.verify import Report

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
    err.print(Text(text), soft_wrap=True)


def pool(named: Pool | None) -> None:
    """Say which prompts generations will answer, and what of the rows gave none."""
    if named is not None:
        left = ", ".join(f"{count:,} {reason}" for reason, count in named.left_out.items()) or "none"
        note(clean(f"Generations answer {named.name}: {len(named.prompts):,} prompts; rows left out: {left}."))


def error(problem: IdembenchError) -> None:
    """Lay out an error: what, expected, found, where, what to do."""
    err.print(Text.assemble(("error", "bold red"), f"  {problem.what}  ", (f"[{problem.code}]", "dim")))
    for label, text in problem.parts():
        err.print(Text.assemble((f"  {label:<9}", "bold"), clean(text)))


# -- records --------------------------------------------------------------------------------------


def made_of(done: Finished) -> str:
    """One line: what was made, what was found, how long it took."""
    if done.made == 0:
        return f"All {done.found} steps were found in the store; nothing was computed ({done.wall_s:.1f} s)."
    overhead = f", {done.overhead_share:.0%} outside training and sampling" if done.overhead_share is not None else ""
    return f"{done.made} steps made, {done.found} found in the store, {done.wall_s:.0f} s{overhead}."


def show(record: Record, folder: Path) -> None:
    """Print one record: what it is of, the trajectory, what stands beside the scores, the four statements."""
    seeds = [line.seed for line in record.chains]
    title = f"{record.protocol.name} · {record.trait} · {record.model.name}"
    detail = (
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}), "
        f"{record.protocol.measuring.name}, scored by {record.judge.name}"
    )
    out.print()
    out.print(Text.assemble((clean(title), "bold"), f"   {clean(detail)}"))
    out.print(_trajectory(record))
    for table in render_beside.tables(record, width=out.width):
        out.print(table)
    said = Table.grid(padding=(0, 2, 0, 0))
    for name, statement in statements(verdict(record)):
        values = " ".join(getattr(statement, "values", (statement.value,)))
        said.add_row(f"  {name}", Text(values, style=_STYLES.get(statement.value, "")), Text(clean(statement.sentence)))
    for name, sentence in _noted(record):
        said.add_row(f"  {name}", "", Text(clean(sentence)))
    out.print(said)
    out.print(Text(clean(f"  {folder}"), style="dim"), soft_wrap=True)


def _noted(record: Record) -> Iterator[tuple[str, str]]:
    """What is to be kept in mind beside the statements, each with what it is about."""
    if not record.analysis.exploratory:
        yield "seeds", record.analysis.beyond_margin.sentence
    for chain in record.chains:
        if chain.diverged is not None:
            yield f"seed {chain.seed}", f"diverged at {chain.diverged.cycle}: {chain.diverged.reason}"
    for warning in beside_scores.warnings(record):
        yield "responses", warning
    if record.pool is not None:
        yield (
            "prompts",
            f"generations answered {record.pool.name} ({record.pool.prompts:,} prompts), not the pack's own",
        )
    if record.judged_itself:
        yield "judge", "this model scored its own generations, which is no evidence"
    if record.rejudged is not None:
        before = record.rejudged
        yield "judge", f"{record.judge.name}; {before.judge.name} scored these responses in {before.record[:12]}"
    if len(record.stacks) > 1:
        yield "stacks", f"made on {len(record.stacks)} different stacks; bits agree within one only"


def verdict(record: Record) -> Verdict:
    """The verdict to show: of the chain law, or of these very checkpoints where there is one seed."""
    return record.analysis.artefact if record.analysis.exploratory else record.analysis.chain_law


def statements(shown_verdict: Verdict) -> list[tuple[str, Any]]:
    """The four statements of a verdict, by name."""
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
            number(point.trait.mean),
            _interval(point.trait, artefact=one),
            _bar(point.trait.mean),
            number(point.coherence.mean),
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


def number(value: float | None, *, signed: bool = False) -> str:
    """A mean or an estimate to a tenth of a point; a dash if there is none."""
    return _DASH if value is None else f"{value:+.1f}" if signed else f"{value:.1f}"


def effect(effect: Effect) -> str:
    """An estimate with its interval."""
    if effect.estimate is None:
        return _DASH
    if effect.low is None or effect.high is None:
        return number(effect.estimate, signed=True)
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
            *(styled(statement.value) for _, statement in statements(v)[:3]),
            effect(v.effects.drift),
            number(v.effects.proven_bound.estimate),
            styled(v.coherence.value),
        )
    out.print(table)
    for done in finished:
        for warning in beside_scores.warnings(done.record):
            note(clean(f"{done.record.protocol.name}, {done.record.trait}: {warning}"))
    if any(done.record.analysis.exploratory for done in finished):
        note("One seed is exploratory: it speaks of these checkpoints, not of the method. Run more with --seeds 0..4.")
    if any(done.record.judge.name == judges.WEAK for done in finished):
        note(
            f"The offline {judges.WEAK} scored, which is weak and never ranked: `idembench judge card {judges.WEAK}` says how "
            "weak, `idembench rejudge` asks another judge."
        )
    err.print()
    err.print(Text("Next:", style="bold"))
    err.print(f"  idembench verify {results}", soft_wrap=True)
    err.print(f"  idembench board build {results} --out out/board", soft_wrap=True)


def styled(value: str) -> Text:
    """A statement's value in its colour."""
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
        "statements": {name: statement.value for name, statement in statements(v)},
        "drift": v.effects.drift.estimate,
        "proven_bound": v.effects.proven_bound.estimate,
        "steps_made": done.made,
        "steps_found": done.found,
        "wall_s": round(done.wall_s, 3),
        "overhead_share": None if done.overhead_share is None else round(done.overhead_share, 4),
        "tasks": {
            task.name: {label: None if value is None else round(value, 6) for label, value in points.items()}
            for task, points in beside_scores.accuracies(done.record).items()
        },
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


def absent(cells: Sequence[Cell]) -> None:
    """Say which judges a dry run could not look for, and what that means."""
    for name in sorted(
        {spec.judge.name for cell in cells for spec in cell.all_specs if isinstance(spec.judge, Absent)}
    ):
        note(f"The judge {name} is not on this machine: steps that rest on its scores count as missing.")


def edition(asked: Edition, cost: Cost) -> None:
    """Say what is not known of an edition yet, and what it takes."""
    if asked.unconfirmed:
        note(f"Of {asked.name} this is not confirmed yet; whoever runs it first finds out:")
        for one in asked.unconfirmed:
            note(f"  - {one}")
    note(
        f"{asked.name} takes {cost.chains:,} chains of {cost.steps:,} different steps: {cost.trainings:,} trainings, "
        f"{cost.sampled:,} answers to learn from, {cost.measured:,} to measure, {cost.scores:,} scores of the judge. "
        "What the store has is not done again."
    )


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
    match kind:
        case "models":
            cells = [row["name"]]
        case "traits":
            cells = [f"{row['pack']}/{row['name']}", row["definition"]]
        case "baselines":
            cells = [row["name"], f"{row['pack']}: {row['why']}"]
        case "editions" if row["unconfirmed"]:
            cells = [row["name"], f"{row['why']} Not confirmed in {len(row['unconfirmed'])} of its points: see --json."]
        case "grids" | "editions":
            cells = [row["name"], row["why"]]
        case _ if "error" in row:
            cells = [row["path"], f"cannot be read: {row['error']}"]
        case _:
            cells = [row["protocol"], row["trait"], f"{len(row['seeds'])} seeds, {row['measurement']}", row["headline"]]
    return [f"  {cells[0]}", *map(str, cells[1:])]


def reports(found: Iterable[Report]) -> bool:
    """Print what verifying found as it comes, a line per record, every problem below it; whether all of them hold."""
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
    return not wrong


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


def answers(held: Sequence[Answers], folder: Path) -> None:
    """Print what is kept of what judges behind endpoints have answered, a line per judge."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("judge", "answers", "size", "fingerprint"):
        table.add_column(column, justify="right" if column in {"answers", "size"} else "left")
    for one in held:
        table.add_row(
            Text(clean(one.judge or _DASH)), str(one.answers), _size(one.bytes), Text(clean(one.fingerprint[:12]))
        )
    out.print(table)
    total = sum(one.bytes for one in held)
    out.print(f"{sum(one.answers for one in held)} answers, {_size(total)} in {folder}", soft_wrap=True)


def kept(judges: int, count_bytes: int) -> None:
    """Say that answers are kept, where there are any."""
    if judges:
        note(f"Beside the steps, answers of {judges} judges are kept, {_size(count_bytes)}: `store ls --answers`.")


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
