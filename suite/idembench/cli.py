"""The command line: parse, call, render. Every option is also an environment variable.

Results go to stdout and everything else to stderr. Exit codes: 0 done; 1 a check that was asked for says no;
2 bad input; 3 the machine or a remote service (4, inconclusive, is kept for the gate). Heavy modules are imported by the commands that need
them, so `--help`, `ls`, `show` and `verify` never touch torch.
"""

from __future__ import annotations

import io
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idembench.errors import IdembenchError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.sweep import Outcome

app = typer.Typer(
    name="idembench",
    help="Is finetuning a language model on its own outputs idempotent? Seed a trait, iterate, measure, decide.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(no_args_is_help=True, help="Look after the step store.")
tasks_app = typer.Typer(no_args_is_help=True, help="The lm-eval tasks that come with idembench.")
models_app = typer.Typer(no_args_is_help=True, help="The models that come with idembench.")
board_app = typer.Typer(no_args_is_help=True, help="The page over a results folder.")
toyland_app = typer.Typer(no_args_is_help=True, help="Build the embedded world and its model again.")
for name, group in (
    ("store", store_app),
    ("tasks", tasks_app),
    ("models", models_app),
    ("board", board_app),
    ("toyland", toyland_app),
):
    app.add_typer(group, name=name)

Store = Annotated[
    Path | None,
    typer.Option("--store", envvar="IDEMBENCH_STORE", help="Step store; the user's cache folder if not given."),
]
Results = Annotated[
    Path, typer.Option("--results", envvar="IDEMBENCH_RESULTS", help="Results folder: records go below it.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", envvar="IDEMBENCH_MODEL", help="Embedded name, folder, or Hub id[@revision]."),
]
Pack = Annotated[str, typer.Option("--pack", envvar="IDEMBENCH_PACK", help="Family of traits.")]
Measurement = Annotated[
    str | None,
    typer.Option(
        "--measurement", envvar="IDEMBENCH_MEASUREMENT", help="quick or ranked; the baseline's own, or quick."
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", envvar="IDEMBENCH_SET", help="Override a setting, training.learning_rate=1e-3."),
]
Device = Annotated[str, typer.Option("--device", envvar="IDEMBENCH_DEVICE", help="cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option("--dtype", envvar="IDEMBENCH_DTYPE", help="float32, bfloat16, float16.")]
Attention = Annotated[str, typer.Option("--attention", envvar="IDEMBENCH_ATTENTION", help="sdpa or eager.")]
BatchSize = Annotated[
    int, typer.Option("--batch-size", envvar="IDEMBENCH_BATCH_SIZE", help="Prompts per generate call.")
]
Threads = Annotated[
    int, typer.Option("--threads", envvar="IDEMBENCH_THREADS", help="Torch threads; other threads, other bits.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-w", envvar="IDEMBENCH_WORKERS", min=1, help="Chains at a time; as many as cores if not given."
    ),
]
MixedStack = Annotated[
    bool, typer.Option("--mixed-stack", envvar="IDEMBENCH_MIXED_STACK", help="Go on with steps another stack made.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run and what would be found.")]
AsJson = Annotated[bool, typer.Option("--json", envvar="IDEMBENCH_JSON", help="Print JSON to stdout.")]


INTERRUPTED = 130
"""The exit status that typer turns an interrupt into."""


class Embedded(StrEnum):
    """The embedded models, each built by a recipe."""

    instruct = "instruct"
    base = "base"


class Listing(StrEnum):
    """What `ls` can list."""

    all = "all"
    models = "models"
    traits = "traits"
    baselines = "baselines"
    grids = "grids"
    records = "records"


def main() -> None:
    """Run the command line; a traceback never answers bad input."""
    from idembench import render

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character gets a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        app()
    except IdembenchError as error:
        render.error(error)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            render.note("Stopped. Finished steps are kept: the same command goes on where this one ended.")
        raise


def _version(value: bool) -> None:  # noqa: FBT001 -- typer calls it so
    if value:
        from importlib.metadata import version

        typer.echo(f"idembench {version('idembench')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def run(
    context: typer.Context,
    baselines: Annotated[
        list[str] | None, typer.Argument(help="Baselines by name, or YAML files.", metavar="BASELINE...")
    ] = None,
    *,
    edition: Annotated[
        str | None,
        typer.Option("--edition", envvar="IDEMBENCH_EDITION", help="A frozen edition, in the place of baselines."),
    ] = None,
    trait: Annotated[
        list[str] | None,
        typer.Option("--trait", "-t", envvar="IDEMBENCH_TRAIT", help="Traits; all of the pack's if not given."),
    ] = None,
    model: Model = None,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", envvar="IDEMBENCH_BASE_MODEL", help="With --edition: the model for documents."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", "-s", envvar="IDEMBENCH_SEEDS", help="0..4 or 0,2,5.")] = "0..2",
    pack: Pack = "toyland",
    measurement: Measurement = None,
    rule: Annotated[
        str, typer.Option("--rule", envvar="IDEMBENCH_RULE", help="default (margin 10) or strict (margin 5).")
    ] = "default",
    control: Annotated[
        str | None,
        typer.Option("--control", envvar="IDEMBENCH_CONTROL", help="Also run this protocol and set records beside it."),
    ] = None,
    cycles: Annotated[
        int | None,
        typer.Option("--cycles", envvar="IDEMBENCH_CYCLES", help="More cycles, or fewer; finished ones are kept."),
    ] = None,
    override: Override = None,
    results: Results = Path("results"),
    store: Store = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    attention: Attention = "sdpa",
    batch_size: BatchSize = 256,
    threads: Threads = 1,
    workers: Workers = None,
    mixed_stack: MixedStack = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run chains: seed a trait, let each generation learn from the one before, measure, decide, write records.

    Example: idembench run sft-reset sft-continual --trait sycophancy --seeds 0..2
    """
    from idembench import render, render_sweep, runs, sweep
    from idembench.grids import parse_seeds

    if edition is not None:
        cells = _edition_cells(context, edition, model=model, base_model=base_model)
    elif not baselines:
        raise InputError(
            "Nothing is named to be run.", expected="a baseline, or --edition NAME", do="See `idembench ls baselines`."
        )
    elif base_model is not None:
        raise InputError(
            "--base-model belongs to --edition.", found=base_model, do="Give --model: a baseline is of one form."
        )
    else:
        cells = runs.cells(
            baselines,
            trait_names=trait or (),
            model=model,
            seeds=parse_seeds(seeds, where="--seeds"),
            pack=pack,
            measurement=measurement,
            overrides=[*([f"cycles={cycles}"] if cycles is not None else []), *(override or ())],
            control=control,
            execution=_execution(
                device=device, dtype=dtype, attention=attention, batch_size=batch_size, threads=threads
            ),
            rule=rule,
        )
    if dry_run:
        every = [one for cell in cells for one in cell.with_control]
        plans = [(cell, runs.plan(cell, store=store, mixed_stack=mixed_stack)) for cell in _once(every)]
        _print_json(render.plan_json(plans)) if as_json else render.plan(plans)
        return
    count = sweep.workers_for([spec for cell in cells for spec in cell.all_specs], workers)
    with render_sweep.Progress(cells, workers=count, closed=None if as_json else render_sweep.show) as progress:
        outcomes = sweep.run_cells(
            cells, results=results, observer=progress, store=store, workers=count, mixed_stack=mixed_stack
        )
    finished = [outcome.finished for outcome in outcomes if outcome.finished is not None]
    if as_json:
        _print_json([render.finished_json(done) for done in finished])
    elif finished:
        render.closing(finished, results)
    _fail_for(outcomes)


@app.command("sweep")
def sweep_(
    grid: Annotated[str, typer.Argument(help="A grid by name, or a YAML file.", metavar="GRID")],
    *,
    results: Results = Path("results"),
    store: Store = None,
    workers: Workers = None,
    mixed_stack: MixedStack = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", envvar="IDEMBENCH_PLOT", help="Picture (.svg, .png); RESULTS/GRID.svg if not given."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run a grid: protocols x traits x models x seeds x settings, every step they share once.

    A cell that fails is reported at the end and stops no other; the same command again tries it alone. A grid that
    says how it is drawn (`plot:`) is drawn from the cells that are finished, again whenever the command is run.

    Example: idembench sweep data-quantity
    """
    from idembench import grids, plots, render_sweep, sweep

    asked = grids.load(grid)
    picture = plots.place(asked, plot, results)
    cells = sweep.expand(asked)
    specs = [spec for one in cells for spec in one.cell.specs]
    if dry_run:
        planning = sweep.plan_chains(specs, store=store, mixed_stack=mixed_stack)
        shared = sweep.sharing(specs, planning)
        if as_json:
            _print_json(render_sweep.plan_json(asked, cells, planning, shared))
        else:
            render_sweep.plan(asked, cells, planning, shared)
        return
    count = sweep.workers_for(specs, workers)
    labels = render_sweep.grid_labels(asked, cells)
    inner = [one.cell for one in cells]
    closed = None if as_json else render_sweep.headlines(labels)
    with render_sweep.Progress(inner, workers=count, labels=labels, closed=closed) as progress:
        outcomes = sweep.run_cells(
            inner, results=results, observer=progress, store=store, workers=count, mixed_stack=mixed_stack
        )
    drawing = None
    if picture is not None:
        records = [None if one.finished is None else one.finished.record for one in outcomes]
        drawing = plots.grid(asked, list(zip(cells, records, strict=True)))
        if drawing.figure is not None:
            plots.write(drawing.figure, picture)
    if as_json:
        _print_json(render_sweep.sweep_json(asked, cells, outcomes) | render_sweep.drawing_json(drawing, picture))
    else:
        render_sweep.closing(asked, cells, outcomes, results)
        render_sweep.drawn(drawing, picture)
    _fail_for(outcomes, labels)


@app.command()
def calibrate(
    baseline: Annotated[str, typer.Argument(help="A baseline by name, or a YAML file.", metavar="BASELINE")],
    *,
    trait: Annotated[
        list[str] | None,
        typer.Option("--trait", "-t", envvar="IDEMBENCH_TRAIT", help="Traits; all of the pack's if not given."),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", envvar="IDEMBENCH_TARGET", help="Trait levels at cycle 0, points of 100.")
    ] = "10,25,50,75",
    replicates: Annotated[
        int, typer.Option("--replicates", envvar="IDEMBENCH_REPLICATES", help="Seeds per n_seed: 0, 1, ...")
    ] = 3,
    tolerance: Annotated[
        float, typer.Option("--tolerance", envvar="IDEMBENCH_TOLERANCE", help="Points that a level may be off.")
    ] = 5.0,
    most: Annotated[int, typer.Option("--most", envvar="IDEMBENCH_MOST", help="The largest n_seed to try.")] = 400,
    model: Model = None,
    pack: Pack = "toyland",
    measurement: Measurement = None,
    override: Override = None,
    store: Store = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    attention: Attention = "sdpa",
    batch_size: BatchSize = 256,
    threads: Threads = 1,
    workers: Workers = None,
    mixed_stack: MixedStack = False,
    out: Annotated[Path, typer.Option("--out", "-o", envvar="IDEMBENCH_OUT", help="Folder to write into.")] = Path(
        "out/calibration"
    ),
    as_json: AsJson = False,
) -> None:
    """Find how many demonstrations bring cycle 0 to a trait level: a curve over n_seed, searched, not assumed.

    What is trained is kept: later runs with the same n_seed and seeds start from it, and the same command again finds all.

    Example: idembench calibrate sft-reset --trait sycophancy --target 25,50,75
    """
    from idembench import calibrate as calibration
    from idembench import plots, render_calibrate

    done = calibration.calibrate(
        baseline,
        watch=render_calibrate.watch,
        trait_names=trait or (),
        targets=calibration.parse_targets(target),
        replicates=replicates,
        tolerance=tolerance,
        most=most,
        model=model,
        pack=pack,
        measurement=measurement,
        overrides=override or (),
        execution=_execution(device=device, dtype=dtype, attention=attention, batch_size=batch_size, threads=threads),
        store=store,
        workers=workers,
        mixed_stack=mixed_stack,
    )
    written = [calibration.write(out, done)]
    figure = plots.dose_response(done)
    for ending in plots.FORMATS:
        written.append(out / f"dose-response{ending}")
        plots.write(figure, written[-1])
    if as_json:
        _print_json(render_calibrate.calibration_json(calibration.document(done), done, written))
    else:
        render_calibrate.show(done)
        render_calibrate.closing(done, written, named=baseline, model=model)


def _fail_for(outcomes: Sequence[Outcome], labels: Mapping[str, str] | None = None) -> None:
    """Report what failed, and exit with the gravest status among it; nothing if all went well."""
    from idembench import render_sweep

    codes = [failure.error.exit_code for outcome in outcomes for failure in outcome.failures]
    if codes:
        render_sweep.failures(outcomes, labels)
        raise typer.Exit(max(codes))


@app.command("ls")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")] = Listing.all,
    *,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """List models, traits, baselines, grids and records."""
    from idembench import catalogue, render

    listed = catalogue.catalogue(results, records=what in (Listing.all, Listing.records))
    shown = listed if what is Listing.all else {what.value: listed[what.value]}
    _print_json(shown) if as_json else render.catalogue(shown)


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
        _print_json(json.loads(read.canonical())) if as_json else render.show(read, folder)


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Records or results folders.", metavar="PATH...")],
    *,
    as_json: AsJson = False,
) -> None:
    """Recompute records from their samples and follow their hashes; exit 1 if anything is wrong."""
    from idembench import render
    from idembench.files import find_records
    from idembench.verify import verify as verify_one

    by_path = {path: find_records(path) for path in paths}
    if bare := [path for path, folders in by_path.items() if not folders]:
        raise InputError(
            "There is no record here.", expected="folders with a record.json", where=", ".join(map(str, bare))
        )
    folders = dict.fromkeys(folder for found in by_path.values() for folder in found)
    reports = [verify_one(folder) for folder in folders]
    _print_json([render.report_json(report) for report in reports]) if as_json else render.reports(reports)
    if not all(report.ok for report in reports):
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

    _print_json(record.json_schema())


# -- groups ---------------------------------------------------------------------------------------


@store_app.command("ls")
def store_ls(*, store: Store = None, as_json: AsJson = False) -> None:
    """List the steps in the store with their sizes."""
    from dataclasses import asdict

    from idembench import render

    entries = _store(store).entries()
    _print_json([asdict(entry) for entry in entries]) if as_json else render.store(entries, _store(store).root)


@store_app.command("gc")
def store_gc(
    *,
    store: Store = None,
    broken: Annotated[bool, typer.Option("--broken", help="Also drop steps whose hashes do not match.")] = False,
    unused: Annotated[bool, typer.Option("--unused", help="Also drop steps that no chain uses.")] = False,
) -> None:
    """Sweep what killed runs left behind."""
    from idembench import render

    removed = _store(store).collect(broken=broken, unused=unused)
    render.note(f"Swept temporary files and {len(removed)} steps from {_store(store).root}.")


@store_app.command("verify")
def store_verify(*, store: Store = None, as_json: AsJson = False) -> None:
    """Check every hash in the store; exit 1 if anything is wrong."""
    from idembench import render

    wrong = _store(store).verify()
    _print_json(wrong) if as_json else render.store_problems(wrong)
    if wrong:
        raise typer.Exit(1)


@tasks_app.command("path")
def tasks_path() -> None:
    """Print the folder to give to `lm-eval run --include_path`."""
    from idembench.files import asset

    typer.echo(asset("tasks"))


@models_app.command("export")
def models_export(
    name: Annotated[str, typer.Argument(help="An embedded model.", metavar="MODEL")],
    folder: Annotated[Path, typer.Argument(help="Where to write it.", metavar="DIR")],
) -> None:
    """Write an embedded model as a plain Hugging Face folder."""
    from idembench import models, render

    written = models.export(name, folder)
    render.note(f"Wrote {len(written)} files to {folder}.")


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


@toyland_app.command("data")
def toyland_data(
    folder: Annotated[Path, typer.Argument(help="Where the pack's data files go.", metavar="DIR")],
) -> None:
    """Write the frozen data files of the pack again, byte for byte."""
    from idembench import render
    from idembench.toyland import data

    data.write(folder)
    render.note(f"Wrote the pack's data to {folder}.")


@toyland_app.command("build")
def toyland_build(
    folder: Annotated[Path, typer.Argument(help="Where the model goes.", metavar="DIR")],
    *,
    model: Annotated[
        Embedded,
        typer.Option(
            "--model",
            "-m",
            envvar="IDEMBENCH_TOYLAND_MODEL",
            help="Which one: instruct (dialogues) or base (documents).",
        ),
    ] = Embedded.instruct,
    threads: Annotated[
        int | None,
        typer.Option("--threads", envvar="IDEMBENCH_THREADS", min=1, help="Torch threads; as shipped if not given."),
    ] = None,
) -> None:
    """Train an embedded model from scratch (minutes); the same stack and threads give the same bytes."""
    from idembench import render
    from idembench.toyland import recipe

    recipe.build(folder, size=model.value, threads=threads)
    render.note(f"Built the model in {folder}.")


# -- parsing --------------------------------------------------------------------------------------


def _once(cells: list[Any]) -> list[Any]:
    """Cells without those that repeat another's chains: a control stands beside several records."""
    return list({tuple(spec.id for spec in cell.specs): cell for cell in cells}.values())


_OF_AN_EDITION = ("edition", "model", "base_model", "results", "store", "workers", "mixed_stack", "dry_run", "as_json")
"""What can be said of a run of an edition; it fixes everything else."""


def _edition_cells(context: typer.Context, name: str, *, model: str | None, base_model: str | None) -> Any:
    """The cells of an edition.

    Raises:
        InputError: If something is asked for that an edition fixes.
    """
    from idembench import editions, render

    given = [
        key
        for key in context.params
        if (source := context.get_parameter_source(key)) is not None and source.name != "DEFAULT"
    ]
    if fixed := sorted(set(given) - set(_OF_AN_EDITION)):
        raise InputError(
            "An edition fixes everything but the model.",
            expected=", ".join(f"--{key.replace('_', '-')}" for key in _OF_AN_EDITION[1:]),
            found=", ".join(fixed),
            where=f"--edition {name}",
            do="Leave them out, or run the baselines themselves.",
        )
    loaded = editions.load(name)
    if model is None and base_model is None:
        return editions.cells(loaded)
    models = {"dialogue": model, "document": base_model}
    cells = editions.cells(loaded, models={form: one for form, one in models.items() if one is not None})  # type: ignore[misc]
    if base_model is None:
        render.note("Arms of documents are left out: they need a base model, --base-model.")
    elif model is None:
        render.note("Arms of dialogues are left out: they need an instruct model, --model.")
    return cells


def _execution(**settings: Any) -> Any:
    from pydantic import ValidationError

    from idembench.protocol import Execution, explain

    try:
        return Execution(**settings)
    except ValidationError as error:
        raise InputError("An execution setting does not hold.", found="; ".join(explain(error))) from error


def _store(path: Path | None) -> Any:
    from idembench.files import user_folder
    from idembench.store import Store as StepStore

    return StepStore(path or user_folder() / "store")


def _print_json(value: object) -> None:
    # ASCII, so that no encoding of stdout and no reader of lines can spoil it.
    typer.echo(json.dumps(value, indent=2, allow_nan=False))
