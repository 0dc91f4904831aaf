"""Trait data: held against the bar that a pack's data has to meet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from idembench.cli.app import trait_app
from idembench.cli.options import AsJson, print_json


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
