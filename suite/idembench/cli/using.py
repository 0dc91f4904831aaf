"""What reads records, and never needs torch: ls, show, verify, board; and what was simulated."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idembench.cli.app import app, board_app
from idembench.cli.options import AsJson, Results, Tasks, print_json, use_tasks
from idembench.errors import InputError


class Listing(StrEnum):
    """What `ls` can list."""

    all = "all"
    models = "models"
    traits = "traits"
    baselines = "baselines"
    grids = "grids"
    editions = "editions"
    records = "records"


@app.command("ls")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.all,
    *,
    tasks: Tasks = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """List models, traits, baselines, grids, editions and records."""
    from idembench import catalogue, render

    use_tasks(tasks)
    shown = catalogue.catalogue(results, kinds=catalogue.KINDS if what is Listing.all else [what.value])
    print_json(shown) if as_json else render.catalogue(shown)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A record's folder, or a results folder.", metavar="RECORD")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show records: trajectory, statements, where they come from."""
    from idembench import record, render
    from idembench.files import find_records

    folders = find_records(path)
    if not folders:
        raise InputError("There is no record here.", expected="a folder with a record.json", where=str(path))
    for folder in folders:
        read = record.read(folder)
        print_json(json.loads(read.canonical())) if as_json else render.show(read, folder)


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Records or results folders.", metavar="PATH...")],
    *,
    tasks: Tasks = None,
    as_json: AsJson = False,
) -> None:
    """Recompute records from their samples and follow their hashes; exit 1 if anything is wrong."""
    from idembench import render
    from idembench.files import find_records
    from idembench.verify import verify as verify_one

    use_tasks(tasks)
    by_path = {path: find_records(path) for path in paths}
    if bare := [path for path, folders in by_path.items() if not folders]:
        raise InputError(
            "There is no record here.", expected="folders with a record.json", where=", ".join(map(str, bare))
        )
    folders = dict.fromkeys(folder for found in by_path.values() for folder in found)
    reports = map(verify_one, folders)
    if as_json:
        made = list(reports)
        print_json([render.report_json(report) for report in made])
        holds = all(report.ok for report in made)
    else:
        holds = render.reports(reports)
    if not holds:
        raise typer.Exit(1)


@app.command("error-rates")
def error_rates(
    *,
    draws: Annotated[int, typer.Option("--draws", envvar="IDEMBENCH_DRAWS", help="Draws per cell.")] = 20_000,
    out: Annotated[Path, typer.Option("--out", envvar="IDEMBENCH_OUT", help="Folder to write into.")] = Path("suite"),
) -> None:
    """Simulate how often the statements are wrong, and write the table."""
    from idembench import error_rates as simulation
    from idembench import render

    simulation.write(out, draws=draws)
    render.note(f"Wrote error-rates.json and error-rates.md to {out}.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of `record.json`."""
    from idembench import record

    print_json(record.json_schema())


@board_app.command("build")
def board_build(
    results: Annotated[Path, typer.Argument(help="A results folder, or one record.")] = Path("results"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", envvar="IDEMBENCH_OUT", help="Where the page goes.")] = Path(
        "out/board"
    ),
) -> None:
    """Build the page over a results folder; it opens from disk and from any web server."""
    from idembench import board, render

    render.board(board.build(results, out))
