"""What makes records: run, sweep, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idembench.cli.app import app
from idembench.cli.options import (
    AsJson,
    Attention,
    BatchSize,
    Device,
    DryRun,
    Dtype,
    Judge,
    Measurement,
    MixedStack,
    Model,
    Override,
    Pack,
    Results,
    Store,
    Tasks,
    Threads,
    Workers,
    execution,
    print_json,
    use_tasks,
)
from idembench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.protocol import Form
    from idembench.sweep import Outcome


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
    pack: Pack = None,
    tasks: Tasks = None,
    measurement: Measurement = None,
    rule: Annotated[
        str, typer.Option("--rule", envvar="IDEMBENCH_RULE", help="default (margin 10) or strict (margin 5).")
    ] = "default",
    control: Annotated[
        str | None,
        typer.Option("--control", envvar="IDEMBENCH_CONTROL", help="Also run this protocol and set records beside it."),
    ] = None,
    judge: Judge = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", envvar="IDEMBENCH_TASK", help="An lm-eval task to ask every checkpoint beside: NAME or NAME:N."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            envvar="IDEMBENCH_PROMPTS",
            help="What generations answer, if not the pack's prompts: FILE.jsonl or a Hub dataset.",
        ),
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

    --task asks every checkpoint, from the base on, one of lm-eval's multiple-choice tasks too: no judge takes part, and
    nothing else changes. NAME:N is its first N items; a set of 10,000 is long to ask of eight checkpoints.

    Example: idembench run sft-reset sft-continual --trait sycophancy --seeds 0..2 --task sycophancy_on_nlp_survey:500
    """
    from idembench import render, render_sweep, runs, sweep
    from idembench.grids import parse_seeds

    use_tasks(tasks)
    if edition is not None:
        cells = _edition_cells(context, edition, model=model, base_model=base_model, fetch=not dry_run)
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
            judge=judge,
            tasks=task or (),
            prompts=prompts,
            execution=execution(
                device=device, dtype=dtype, attention=attention, batch_size=batch_size, threads=threads
            ),
            rule=rule,
            fetch=not dry_run,
        )
    if prompts is not None:
        render.pool(cells[0].specs[0].pack.pool)
    if dry_run:
        render.absent(cells)
        every = [one for cell in cells for one in cell.with_control]
        plans = [(cell, runs.plan(cell, store=store, mixed_stack=mixed_stack)) for cell in _once(every)]
        print_json(render.plan_json(plans)) if as_json else render.plan(plans)
        return
    runs.ready(cells)
    count = sweep.workers_for([spec for cell in cells for spec in cell.all_specs], workers)
    with render_sweep.Progress(cells, workers=count, closed=None if as_json else render_sweep.show) as progress:
        outcomes = sweep.run_cells(
            cells, results=results, observer=progress, store=store, workers=count, mixed_stack=mixed_stack
        )
    finished = [outcome.finished for outcome in outcomes if outcome.finished is not None]
    if as_json:
        print_json([render.finished_json(done) for done in finished])
    elif finished:
        render.closing(finished, results)
    _fail_for(outcomes)


@app.command("sweep")
def sweep_(
    grid: Annotated[str, typer.Argument(help="A grid by name, or a YAML file.", metavar="GRID")],
    *,
    tasks: Tasks = None,
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
    from idembench import grids, plots, render, render_sweep, sweep

    use_tasks(tasks)
    asked = grids.load(grid)
    picture = plots.place(asked, plot, results)
    cells = sweep.expand(asked, fetch=not dry_run)
    specs = [spec for one in cells for spec in one.cell.specs]
    if dry_run:
        render.absent([one.cell for one in cells])
        planning = sweep.plan_chains(specs, store=store, mixed_stack=mixed_stack)
        shared = sweep.sharing(specs, planning)
        if as_json:
            print_json(render_sweep.plan_json(asked, cells, planning, shared))
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
        print_json(render_sweep.sweep_json(asked, cells, outcomes) | render_sweep.drawing_json(drawing, picture))
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
    pack: Pack = None,
    tasks: Tasks = None,
    measurement: Measurement = None,
    judge: Judge = None,
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

    use_tasks(tasks)
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
        execution=execution(device=device, dtype=dtype, attention=attention, batch_size=batch_size, threads=threads),
        judge=judge,
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
        print_json(render_calibrate.calibration_json(calibration.document(done), done, written))
    else:
        render_calibrate.show(done)
        render_calibrate.closing(done, written, named=baseline, model=model, pack=pack, judge=judge)


@app.command()
def rejudge(
    path: Annotated[Path, typer.Argument(help="A record's folder, or a results folder.", metavar="RECORD")],
    *,
    judge: Annotated[str, typer.Option("--judge", envvar="IDEMBENCH_JUDGE", help="Who scores, see `judge ls`.")],
    tasks: Tasks = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Score stored responses by another judge, without sampling again; the new records name both.

    Example: idembench rejudge out/results --judge hf:Qwen/Qwen3-4B-Instruct-2507 --results out/rejudged
    """
    from idembench import judges, record, render, render_judges
    from idembench.files import find_records
    from idembench.rejudge import rejudge as again

    use_tasks(tasks)
    folders = find_records(path)
    if not folders:
        raise InputError("There is no record here.", expected="a folder with a record.json", where=str(path))
    # A record that this judge scored already has nothing to be compared with; of a whole folder it is passed over.
    scorer = judges.get(judge)
    known = scorer.fingerprint
    asked = [folder for folder in folders if len(folders) == 1 or record.read(folder).judge.fingerprint != known]
    done = []
    for number, folder in enumerate(asked, start=1):
        done.append(again(folder, scorer, results=results))
        if not as_json:
            render_judges.anew(done[-1][0], number, len(asked))
    if not done:
        render.note(f"Nothing to do: {scorer.name} scored every record here.")
    if as_json:
        print_json([{"from": old.id, "record_id": new.id, "path": str(where)} for old, new, where in done])
    elif done:
        render_judges.side_by_side(done)


def _fail_for(outcomes: Sequence[Outcome], labels: Mapping[str, str] | None = None) -> None:
    """Report what failed, and exit with the gravest status among it; nothing if all went well."""
    from idembench import render_sweep

    codes = [failure.error.exit_code for outcome in outcomes for failure in outcome.failures]
    if codes:
        render_sweep.failures(outcomes, labels)
        raise typer.Exit(max(codes))


def _once(cells: list[Any]) -> list[Any]:
    """Cells without those that repeat another's chains: a control stands beside several records."""
    return list({tuple(spec.id for spec in cell.specs): cell for cell in cells}.values())


_OF_AN_EDITION = (
    "edition",
    "model",
    "base_model",
    "tasks",
    "results",
    "store",
    "workers",
    "mixed_stack",
    "dry_run",
    "as_json",
)
"""What can be said of a run of an edition; it fixes everything else."""


def _edition_cells(context: typer.Context, name: str, *, model: str | None, base_model: str | None, fetch: bool) -> Any:
    """The cells of an edition, after what is to be known of it before.

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
        typed = {key.name: key.opts[0] for key in context.command.params}
        raise InputError(
            "An edition fixes everything but the model.",
            expected=", ".join(typed[key] for key in _OF_AN_EDITION[1:]),
            found=", ".join(typed[key] for key in fixed),
            where=f"--edition {name}",
            do="Leave them out, or run the baselines themselves.",
        )
    loaded = editions.load(name)
    by_form: dict[Form, str | None] = {"dialogue": model, "document": base_model}
    models = {form: one for form, one in by_form.items() if one is not None} or None
    asked = [one for one in editions.frozen(loaded) if models is None or one.protocol.form in models]
    render.edition(loaded, editions.cost(loaded, asked))
    if models and base_model is None:
        render.note("Arms of documents are left out: they need a base model, --base-model.")
    elif models and model is None:
        render.note("Arms of dialogues are left out: they need an instruct model, --model.")
    return editions.cells(loaded, asked, models=models, fetch=fetch)
