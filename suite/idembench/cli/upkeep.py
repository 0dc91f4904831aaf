"""What looks after the rest: the step store, the tasks and models that come with it, the embedded world."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from idembench.cli.app import models_app, store_app, tasks_app, toyland_app
from idembench.cli.options import AsJson, Store, print_json, step_store


class Embedded(StrEnum):
    """The embedded models, each built by a recipe."""

    instruct = "instruct"
    base = "base"


@store_app.command("ls")
def store_ls(
    *,
    store: Store = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="List the answers of judges behind endpoints that are kept, instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the steps in the store with their sizes; or what was answered already by judges behind endpoints.

    Answers lie in the user's cache folder, whatever --store is: a run that is stopped asks the rest alone, and pays no answer twice.
    """
    from dataclasses import asdict

    from idembench import render
    from idembench.judges import kept

    if answers:
        held = kept.held()
        print_json([asdict(one) for one in held]) if as_json else render.answers(held, kept.folder())
        return
    entries = step_store(store).entries()
    if as_json:
        print_json([asdict(entry) for entry in entries])
    else:
        render.store(entries, step_store(store).root)
        render.kept(*kept.size())


@store_app.command("gc")
def store_gc(
    *,
    store: Store = None,
    broken: Annotated[bool, typer.Option("--broken", help="Also drop steps whose hashes do not match.")] = False,
    unused: Annotated[bool, typer.Option("--unused", help="Also drop steps that no chain uses.")] = False,
    answers: Annotated[
        bool,
        typer.Option(
            "--answers", help="Also drop all kept answers of judges behind endpoints: a run would ask, and pay, again."
        ),
    ] = False,
) -> None:
    """Sweep what killed runs left behind."""
    from idembench import render
    from idembench.judges import kept

    removed = step_store(store).collect(broken=broken, unused=unused)
    render.note(f"Swept temporary files and {len(removed)} steps from {step_store(store).root}.")
    if answers:
        render.note(f"Dropped the kept answers of {kept.drop()} judges from {kept.folder()}.")


@store_app.command("verify")
def store_verify(*, store: Store = None, as_json: AsJson = False) -> None:
    """Check every hash in the store; exit 1 if anything is wrong."""
    from idembench import render

    wrong = step_store(store).verify()
    print_json(wrong) if as_json else render.store_problems(wrong)
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
