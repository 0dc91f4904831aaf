"""Options that several commands share, and what reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from idembench.errors import InputError
from idembench.shipped import TASKS

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
Pack = Annotated[
    str | None,
    typer.Option("--pack", envvar="IDEMBENCH_PACK", help="Family of traits; the baseline's own if not given."),
]
Tasks = Annotated[
    Path | None,
    typer.Option("--tasks", envvar=TASKS, help="A folder of your own packs, beside the installed ones.", metavar="DIR"),
]
Judge = Annotated[
    str | None,
    typer.Option("--judge", envvar="IDEMBENCH_JUDGE", help="Who scores, see `judge ls`; the pack's if not given."),
]
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


def execution(**settings: Any) -> Any:
    """An `Execution` from options.

    Raises:
        InputError: If a setting does not hold.
    """
    from pydantic import ValidationError

    from idembench.protocol import Execution, explain

    try:
        return Execution(**settings)
    except ValidationError as error:
        raise InputError("An execution setting does not hold.", found="; ".join(explain(error))) from error


def use_tasks(folder: Path | None) -> None:
    """Let the packs of a folder stand beside the installed ones, in this process and in those that it starts."""
    if folder is not None:
        os.environ[TASKS] = str(folder.expanduser().resolve())


def step_store(path: Path | None) -> Any:
    """The store at `path`, or the user's."""
    from idembench.files import user_folder
    from idembench.store import Store as StepStore

    return StepStore(path or user_folder() / "store")


def print_json(value: object) -> None:
    """Print JSON to stdout, for machines."""
    # ASCII, so that no encoding of stdout and no reader of lines can spoil it.
    typer.echo(json.dumps(value, indent=2, allow_nan=False))
