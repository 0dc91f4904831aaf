"""Judges: which there are, how far each can be trusted, and how the offline one is made."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from idembench.cli.app import judge_app
from idembench.cli.options import AsJson, print_json


@judge_app.command("ls")
def judge_ls(*, as_json: AsJson = False) -> None:
    """List the installed judges: what is typed for each, and what it is."""
    from idembench import judges, render_judges

    print_json(judges.available()) if as_json else render_judges.listed(judges.described())


@judge_app.command("card")
def judge_card(
    name: Annotated[str, typer.Argument(help="A judge's name.", metavar="JUDGE")],
    *,
    pack: Annotated[str, typer.Option("--pack", envvar="IDEMBENCH_PACK", help="Whose graded answers.")] = "english",
    trait: Annotated[
        list[str] | None,
        typer.Option("--trait", "-t", envvar="IDEMBENCH_TRAIT", help="A trait, or coherence; all if not given."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", envvar="IDEMBENCH_OUT", help="Also write the cards to this Markdown file.", metavar="FILE"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge on graded answers: how well it ranks, how well it is calibrated, whether it can be swayed.

    Example: idembench judge card classifier
    """
    from idembench import judges, render_judges, traits
    from idembench.files import write_bytes
    from idembench.judges import cards

    judge, loaded = judges.get(name), traits.load_pack(pack)
    names = trait or [*loaded.traits, cards.COHERENCE]
    for one in names:
        if one != cards.COHERENCE:
            loaded.trait(one)
    found = [cards.measure(judge, loaded.folder, one) for one in names]
    if out is not None:
        write_bytes(out, render_judges.page(found, pack=pack).encode())
    print_json([asdict(card) for card in found]) if as_json else render_judges.show(found)


@judge_app.command("fit")
def judge_fit(
    folder: Annotated[Path, typer.Argument(help="The pack's folder, with graded answers to fit on.", metavar="DIR")],
    out: Annotated[Path, typer.Argument(help="Where the numbers go.", metavar="FILE")],
) -> None:
    """Fit the offline classifier again: the same graded answers give the same numbers."""
    from idembench import render
    from idembench.files import write_bytes
    from idembench.judges import fitting

    numbers = json.dumps(fitting.fit(folder), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    write_bytes(out, f"{numbers}\n".encode())
    render.note(f"Wrote the classifier's numbers to {out}.")
