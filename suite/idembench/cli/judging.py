"""Judges: which there are, how far each can be trusted, and how the offline one is made."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from idembench.cli.app import app, judge_app
from idembench.cli.options import AsJson, Results, print_json
from idembench.errors import InputError


@judge_app.command("ls")
def judge_ls(*, as_json: AsJson = False) -> None:
    """List the installed judges."""
    from idembench import judges

    names = judges.available()
    print_json(names) if as_json else typer.echo("\n".join(names))


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


@app.command()
def rejudge(
    path: Annotated[Path, typer.Argument(help="A record's folder, or a results folder.", metavar="RECORD")],
    *,
    judge: Annotated[str, typer.Option("--judge", envvar="IDEMBENCH_JUDGE", help="Who scores, see `judge ls`.")],
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Score stored responses by another judge, without sampling again; the new records name both.

    Example: idembench rejudge out/results --judge hf:Qwen/Qwen3-4B-Instruct-2507 --results out/rejudged
    """
    from idembench import judges, record, render_judges
    from idembench.files import find_records
    from idembench.rejudge import rejudge as again

    folders = find_records(path)
    if not folders:
        raise InputError("There is no record here.", expected="a folder with a record.json", where=str(path))
    # A record that this judge scored already has nothing to be compared with; of a whole folder it is passed over.
    fingerprint = judges.get(judge).fingerprint
    asked = [folder for folder in folders if len(folders) == 1 or record.read(folder).judge.fingerprint != fingerprint]
    done = [again(folder, judge, results=results) for folder in asked]
    if as_json:
        print_json([{"from": old.id, "record_id": new.id, "path": str(where)} for old, new, where in done])
    else:
        render_judges.side_by_side(done)
