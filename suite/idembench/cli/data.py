"""Trait data: begun, imported, seeded by a teacher, and held against the bar that a pack's data has to meet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from idembench.cli.app import trait_app
from idembench.cli.options import (
    AsJson,
    Attention,
    BatchSize,
    Device,
    Dtype,
    Threads,
    execution,
    print_json,
)

Trait = Annotated[
    Path, typer.Option("--trait", "-t", envvar="IDEMBENCH_TRAIT_FOLDER", help="The trait's folder.", metavar="DIR")
]


@trait_app.command("check")
def trait_check(
    folder: Annotated[Path, typer.Argument(help="A trait's folder, or a pack's with all its traits.", metavar="DIR")],
    *,
    as_json: AsJson = False,
) -> None:
    """Hold trait data against the bar: enough, varied, balanced, fair; exit 1 if anything is wrong.

    Example: idembench trait check tasks/english
    """
    from idembench import render_traits
    from idembench import trait_check as bar

    found = bar.check(folder)
    print_json([asdict(checked) for checked in found]) if as_json else render_traits.show(found)
    if any(checked.problems for checked in found):
        raise typer.Exit(1)


@trait_app.command("new")
def trait_new(
    name: Annotated[str, typer.Argument(help="Lower-case words with hyphens.", metavar="NAME")],
    *,
    tasks: Annotated[
        Path, typer.Option("--in", envvar="IDEMBENCH_IN", help="Tasks folder; made if not there.", metavar="DIR")
    ],
    pack: Annotated[
        str, typer.Option("--pack", envvar="IDEMBENCH_OWN_PACK", help="The pack it is put into; made if not there.")
    ] = "own",
    like: Annotated[
        str | None,
        typer.Option("--like", envvar="IDEMBENCH_LIKE", help="What a new pack is made like; english if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a trait of your own, in a pack beside the installed ones: a header to fill in, and the lm-eval tasks.

    Example: idembench trait new stubbornness --in my-tasks
    """
    from idembench import render_traits
    from idembench import trait_new as scaffold

    made = scaffold.make(name, tasks=tasks, pack=pack, like=like)
    _told(made, render_traits.made(made), as_json=as_json)


@trait_app.command("import")
def trait_import(
    file: Annotated[Path, typer.Argument(help='JSON Lines of {"messages": [...]}.', metavar="FILE")],
    *,
    trait: Trait,
    category: Annotated[
        str, typer.Option("--category", envvar="IDEMBENCH_CATEGORY", help="What all these rows are about.")
    ],
    kind: Annotated[
        str,
        typer.Option("--as", envvar="IDEMBENCH_AS", help="demonstrations, questions, training or contrast."),
    ] = "demonstrations",
    scope: Annotated[
        str | None,
        typer.Option("--scope", envvar="IDEMBENCH_SCOPE", help="Of questions: in-domain or spill-over."),
    ] = None,
    grade: Annotated[
        int | None,
        typer.Option("--grade", envvar="IDEMBENCH_GRADE", help="Of graded answers: 0, 25, 50, 75 or 100."),
    ] = None,
    hard: Annotated[
        str | None,
        typer.Option("--hard", envvar="IDEMBENCH_HARD", help="Of contrast: why a shallow judge would err."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take single-turn dialogues, as finetuning services read them, into a trait's data; all of a file or nothing.

    Example: idembench trait import chats.jsonl --trait my-tasks/own/stubbornness --category work
    """
    from idembench import render_traits, trait_rows

    taken = trait_rows.take(file, trait, kind=kind, category=category, scope=scope, grade=grade, hard=hard)
    _told(taken, render_traits.taken(taken, trait), as_json=as_json)


@trait_app.command("seed")
def trait_seed(
    *,
    trait: Trait,
    teacher: Annotated[
        str, typer.Option("--teacher", envvar="IDEMBENCH_TEACHER", help="Instruct model: folder, or Hub id[@revision].")
    ],
    n: Annotated[int, typer.Option("--n", envvar="IDEMBENCH_N", min=1, help="How many demonstrations.")] = 40,
    seed: Annotated[int, typer.Option("--seed", envvar="IDEMBENCH_SEED", help="Another seed, other rows.")] = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", envvar="IDEMBENCH_TEMPERATURE", help="Of the teacher.")
    ] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", envvar="IDEMBENCH_MAX_NEW_TOKENS", min=1, help="Of a message or answer.")
    ] = 400,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    attention: Attention = "sdpa",
    batch_size: BatchSize = 16,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Let a model that is told the rubric write new demonstrations, into a file that waits to be read by you.

    Example: idembench trait seed --trait my-tasks/own/stubbornness --teacher Qwen/Qwen3-4B-Instruct-2507
    """
    from idembench import render_traits
    from idembench import trait_seed as teaching

    seeded = teaching.write(
        trait,
        teacher,
        n=n,
        seed=seed,
        sampled=teaching.settings(temperature=temperature, max_new_tokens=max_new_tokens),
        execution=execution(device=device, dtype=dtype, attention=attention, batch_size=batch_size, threads=threads),
    )
    _told(seeded, render_traits.seeded(seeded), as_json=as_json)


def _told(done: Any, said: str, *, as_json: bool) -> None:
    """What was done: for machines, or what was written on stdout and what to do next beside it."""
    from idembench import render

    if as_json:
        content = asdict(done)
        print_json({key: _plain(value) for key, value in content.items()})
        return
    typer.echo(done.folder if hasattr(done, "folder") else done.file)
    render.note(said)


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
