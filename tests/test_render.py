"""Rendering: everything is shown as it is written, on the right stream, and fits what the walk does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from builders import Story, build_record, settings
from instant import make_cell, run_cell

from idembench import beside_scores, render, render_beside
from idembench.errors import IdembenchError, UnknownNameError
from idembench.runs import Finished
from idembench.verify import Check, Report

if TYPE_CHECKING:
    from idembench.record import ChainLine, Record

TINY = settings(cycles=2, questions=6)
STORY = Story(trait=(0.02, 0.8, 0.79, 0.8), seeds=(0, 1))
MARKUP = "[bold]x[/bold] [/nothing] :smile: [link=file:///x]y"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals wide enough that nothing is wrapped."""
    monkeypatch.setattr(render.out, "_width", 400)
    monkeypatch.setattr(render.err, "_width", 400)


def test_an_error_shows_all_its_parts_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """What, expected, found, where and what to do each stand on a line of their own; stdout stays empty."""
    render.error(IdembenchError("It broke.", expected="a", found="b", where="c", do="d"))

    said = capsys.readouterr()
    assert "" == said.out
    assert ["error  It broke.  [error]", "  expected a", "  found    b", "  where    c", "  do       d"] == [
        line.rstrip() for line in said.err.splitlines()
    ]


def test_nothing_that_was_given_is_taken_for_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Brackets and colons in names, reasons, paths and errors are shown as they are, everywhere."""
    made, _ = build_record(replace(STORY, diverged={1: "c1"}), settings=TINY)
    line = made.chains[1].model_copy(update={"diverged": made.chains[1].diverged.model_copy(update={"reason": MARKUP})})
    odd = made.model_copy(update={"trait": MARKUP, "chains": [made.chains[0], line]})
    place = tmp_path / MARKUP.replace("/", "|")

    render.error(UnknownNameError("trait", MARKUP, ["[red]", "[/]"]))
    render.note(MARKUP)
    render.show(odd, place)
    render.catalogue(
        {
            "models": [{"name": MARKUP}],
            "traits": [{"pack": "p", "name": "n", "definition": MARKUP}],
            "baselines": [{"name": "n", "pack": "p", "why": MARKUP}],
            "records": [{"path": str(place), "error": MARKUP}],
        }
    )
    render.reports([Report(folder=place, checks=[Check(name="n", problems=[MARKUP]), Check(name="s", skipped=MARKUP)])])
    render.store([], place)
    render.store_problems({MARKUP: [MARKUP]})

    said = capsys.readouterr()
    assert 3 == said.err.count(MARKUP)
    assert 9 <= said.out.count(MARKUP)
    assert 4 <= said.out.count(place.name)


def test_the_trajectory_has_a_line_for_every_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """`show` prints each checkpoint's means with their intervals and each statement's sentence."""
    made, _ = build_record(STORY, settings=TINY)

    render.show(made, Path("somewhere"))

    said = capsys.readouterr().out
    trajectory, _, _ = said.partition("beside the scores")
    for point in made.analysis.trajectory:
        (line,) = (line for line in trajectory.splitlines() if line.strip().startswith(f"{point.name} "))
        assert f"{point.trait.mean:.1f}" in line
        assert f"{point.coherence.mean:.1f}" in line
    verdict = made.analysis.chain_law
    for statement in (verdict.seeding, verdict.transmission, verdict.iteration, verdict.coherence):
        assert statement.sentence in said


def test_one_seed_speaks_of_its_own_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    """A record of one seed shows the verdict on these very checkpoints, never one on the method."""
    made, _ = build_record(replace(STORY, seeds=(4,)), settings=TINY)

    render.show(made, Path("somewhere"))

    said = capsys.readouterr().out
    assert made.analysis.artefact == render.verdict(made)
    assert "these checkpoints" in said
    assert made.analysis.artefact.iteration.sentence in said


@pytest.mark.parametrize("story", [STORY, replace(STORY, seeds=(0,), diverged={0: "c0"})], ids=["whole", "diverged"])
def test_any_record_fits_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, story: Story
) -> None:
    """Rendering never fails for want of columns or of numbers."""
    monkeypatch.setattr(render.out, "_width", 40)
    made, _ = build_record(story, settings=TINY)

    render.show(made, Path("somewhere"))

    assert "seeding" in capsys.readouterr().out


def test_a_finished_run_is_told_from_a_found_one(tmp_path: Path) -> None:
    """What was made, what was found and how much was overhead is said in one line."""
    first = run_cell(make_cell(), tmp_path)
    again = run_cell(make_cell(), tmp_path)

    assert render.made_of(first).startswith(f"{first.made} steps made, 0 found in the store")
    assert "outside training and sampling" in render.made_of(first)
    assert render.made_of(again).startswith(f"All {first.made} steps were found in the store; nothing was computed")


def test_what_machines_get_is_plain_json() -> None:
    """Finished cells for machines are JSON without NaN, and say what people are told."""
    made, _ = build_record(STORY, settings=TINY)
    done = Finished(record=made, folder=Path("here"), made=28, found=0, wall_s=1.5, overhead_share=None)

    found = json.loads(json.dumps(render.finished_json(done), allow_nan=False))

    verdict = render.verdict(done.record)
    assert (done.record.id, [0, 1], 28) == (found["record_id"], found["seeds"], found["steps_made"])
    assert verdict.iteration.value == found["statements"]["iteration"]
    assert verdict.effects.drift.estimate == found["drift"]


@pytest.mark.parametrize(
    ("mean", "bar"),
    [(None, ""), (0.0, ""), (100.0, "█" * 10), (50.0, "█" * 5), (1.25, "▏"), (99.9, "█" * 10), (95.0, "█" * 9 + "▌")],
)
def test_bars_are_as_long_as_their_number(mean: float | None, bar: str) -> None:
    """Ten blocks are 100 points, in eighths."""
    assert bar == render._bar(mean)


def test_many_problems_are_counted_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal gets the first problems of a check and how many more there are."""
    render.reports([Report(folder=Path("here"), checks=[Check(name="n", problems=[f"p{n}." for n in range(1000)])])])

    said = capsys.readouterr().out
    assert "p19." in said
    assert "p20." not in said
    assert "and 980 more" in said
    assert "0 of 1 records hold" in said


def test_control_characters_do_not_reach_the_terminal() -> None:
    """What a file says cannot move the cursor or change colours: control characters are replaced."""
    assert "a\N{REPLACEMENT CHARACTER}[31mb é" == render.clean("a\x1b[31mb é")


def test_a_record_of_someone_else_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Names of folders and of checkpoints, which anyone may have written, are cleaned like all text of a record."""
    made, _ = build_record(STORY, settings=TINY)
    points = (replace(made.analysis.trajectory[0], name="\x1b[31mbase"), *made.analysis.trajectory[1:])
    odd = made.model_copy(update={"analysis": replace(made.analysis, trajectory=points)})
    place = tmp_path / "\x1b[2J"

    render.show(odd, place)
    render.reports([Report(folder=place, checks=[])])

    assert "\x1b" not in capsys.readouterr().out


def test_a_record_whose_checks_were_not_all_made_is_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line does not say of a record that it holds without saying that a check could not be made."""
    render.reports([Report(folder=Path("a"), checks=[Check(name="s", skipped="no judge")])])
    partly = capsys.readouterr().out.splitlines()[-1]
    render.reports([Report(folder=Path("a"), checks=[Check(name="s")])])
    wholly = capsys.readouterr().out.splitlines()[-1]

    assert "1 of 1 records hold" in partly
    assert "1 only as far as the checks that could be made here" in partly
    assert "only" not in wholly


# -- beside the scores ----------------------------------------------------------------------------


def everything(cycles: int = 2) -> Record:
    """A record that has every number beside its scores, each as wide as it gets."""
    made, _ = build_record(STORY, settings=settings(cycles=cycles, questions=6))
    wide = {
        **dict.fromkeys(("trait_coherent", "trait_in_domain", "trait_spill_over"), 100.0),
        **dict.fromkeys(("missing_share", "empty_share", "truncated_share", "refusal_share", "foreign"), 1.0),
        **dict.fromkeys(("repetition", "distinct_2"), 1.0),
        "coherent_share": 0.0,
        "words": 1234.5,
        "perplexity": 12345678.9,
    }
    return made.model_copy(update={"chains": [_with(line, wide) for line in made.chains]})


def _with(line: ChainLine, changes: dict[str, float]) -> ChainLine:
    return line.model_copy(update={"checkpoints": [point.model_copy(update=changes) for point in line.checkpoints]})


def shown_beside(said: str) -> list[str]:
    """The lines from the title to the first statement."""
    lines = said.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("  beside the scores"))
    last = next(at for at, line in enumerate(lines) if line.startswith("  seeding"))
    return [line.rstrip() for line in lines[first:last]]


def test_the_numbers_beside_the_scores_have_a_line_for_every_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """`show` says what is known of responses at each checkpoint, leaves out what says nothing, and names what is zero."""
    made, _ = build_record(replace(STORY, coherence=(1, 1, 0.9, 0.7)), settings=TINY)

    render.show(made, Path("somewhere"))

    title, _, names, *rows, legend = shown_beside(capsys.readouterr().out)
    columns = {column.name: column for column in beside_scores.columns(made)}
    filtered, words = columns["filtered"].values[3], columns["words"].values[3]
    assert "  beside the scores, means over seeds" == title
    assert ["coherent", "%", "words"] == [names.split()[0], names.split()[1], names.split()[-1]]
    assert ["base", "c0", "c1", "c2"] == [row.split()[0] for row in rows]
    assert [f"{filtered:.1f}", f"{words:.1f}"] == [rows[3].split()[2], rows[3].split()[-1]]
    assert "0.0 % throughout: missing, empty, cut off, refused, foreign" in legend
    assert not any(word in names for word in ("in-domain", "perplexity"))


def test_every_number_beside_the_scores_fits_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All columns that there are stand beside each other within the columns that a pipe is given."""
    monkeypatch.setattr(render.out, "_width", 132)

    render.show(everything(), Path("somewhere"))

    title, _, names, *rows, legend = shown_beside(capsys.readouterr().out)
    assert 4 == len(rows)
    assert max(map(len, (title, names, *rows, legend))) <= 132
    assert [1 + len(beside_scores.NAMES)] * 4 == [len(row.split()) for row in rows]


@pytest.mark.parametrize("width", [50, 80, 100])
def test_on_a_narrow_terminal_the_columns_go_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """No number is cut or folded: what does not fit stands below, with the checkpoints' names again."""
    monkeypatch.setattr(render.out, "_width", width)

    render.show(everything(), Path("somewhere"))

    lines = shown_beside(capsys.readouterr().out)
    rows = [line for line in lines if line.startswith("  c2 ")]
    assert max(map(len, lines)) <= width
    assert len(rows) > 1
    assert len(beside_scores.NAMES) == sum(len(row.split()) - 1 for row in rows)


def test_every_column_has_a_heading() -> None:
    """What is worked out can be shown."""
    assert [*beside_scores.NAMES] == [*render_beside._HEADINGS]


def test_a_run_ends_with_what_is_alarming(capsys: pytest.CaptureFixture[str]) -> None:
    """The closing notes say of each record what its last score hides, and nothing of the others."""
    good, _ = build_record(STORY, settings=TINY)
    poor, _ = build_record(replace(STORY, coherence=(1, 1, 0.9, 0.4)), settings=TINY, trait="misalignment")
    done = [
        Finished(record=made, folder=Path("here"), made=28, found=0, wall_s=1.5, overhead_share=None)
        for made in (good, poor)
    ]

    render.closing(done, Path("results"))
    render.show(poor, Path("somewhere"))

    said = capsys.readouterr()
    first, *_ = warned = beside_scores.warnings(poor)
    assert "do not count as coherent" in first
    assert [f"sft-reset, misalignment: {one}" for one in warned] == [
        line.rstrip() for line in said.err.splitlines() if "At c2" in line
    ]
    assert len(warned) == said.out.count("  responses ")
