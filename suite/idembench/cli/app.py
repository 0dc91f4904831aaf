"""The application: its groups of commands, and what an error or an interrupt ends in."""

from __future__ import annotations

import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

from idembench.errors import IdembenchError

app = typer.Typer(
    name="idembench",
    help="Is finetuning a language model on its own outputs idempotent? Seed a trait, iterate, measure, decide.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(no_args_is_help=True, help="Look after the step store.")
trait_app = typer.Typer(
    no_args_is_help=True, help="Trait data: begun, imported, seeded by a teacher, checked against the bar."
)
judge_app = typer.Typer(no_args_is_help=True, help="Judges, and how far each can be trusted.")
tasks_app = typer.Typer(no_args_is_help=True, help="The lm-eval tasks that come with idembench.")
models_app = typer.Typer(no_args_is_help=True, help="The models that come with idembench.")
board_app = typer.Typer(no_args_is_help=True, help="The page over a results folder.")
toyland_app = typer.Typer(no_args_is_help=True, help="Build the embedded world and its model again.")
for name, group in (
    ("store", store_app),
    ("trait", trait_app),
    ("judge", judge_app),
    ("tasks", tasks_app),
    ("models", models_app),
    ("board", board_app),
    ("toyland", toyland_app),
):
    app.add_typer(group, name=name)

INTERRUPTED = 130
"""The exit status that typer turns an interrupt into."""


def main() -> None:
    """Run the command line; a traceback never answers bad input."""
    from idembench import render

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character gets a question mark, not a traceback.
            stream.reconfigure(errors="replace")
    try:
        with _one_budget():
            app()
    except IdembenchError as error:
        render.error(error)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            render.note("Stopped. Finished steps are kept: the same command goes on where this one ended.")
        raise


def _one_budget() -> AbstractContextManager[None]:
    """What all judges of the command may ask, together; loaded only where somebody has set a limit."""
    if not any(name.startswith("IDEMBENCH_JUDGE_") for name in os.environ):
        return nullcontext()
    from idembench.judges import budget

    return budget.of_run()


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
