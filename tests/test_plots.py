"""Pictures: the same bytes each time, every finished cell where its numbers are, nothing drawn that was not measured."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pytest
from builders import Story, build_record, settings
from hypothesis import given
from hypothesis import strategies as st
from instant import SMALL, InstantEngine
from matplotlib.colors import to_rgb
from PIL import Image
from troubled import Watch

from idembench import grids, plots, sweep
from idembench.errors import EnvironmentProblem, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure
    from saying import Said

    from idembench.record import Record
    from idembench.sweep import GridCell

PLOT = {"x": "sampling.temperature", "y": "drift", "lines": "data.n_seed"}
GRID = f"""# Small enough to be found.
baselines: [sft-reset]
traits: [bliss]
seeds: 0..1
cells: [{{{", ".join(setting.replace("=", ": ") for setting in SMALL if "sampled" not in setting)}}}]
set: {{data.n_sampled: [12, 14]}}
plot: {{x: data.n_sampled, y: drift}}
"""
SET = {"sampling.temperature": [0.6, 0.8, 1.0], "data.n_seed": [30, 120]}


def make_grid(plot: dict[str, Any] | None = None, **changes: Any) -> grids.Grid:
    """A grid of six cells on one trait, drawn as `plot` says."""
    plain = {"name": "mine", "why": "", "baselines": ["sft-reset"], "traits": ["bliss"], "seeds": [0, 1, 2], "set": SET}
    return grids.Grid.model_validate({**plain, "plot": {**PLOT, **(plot or {})}, **changes})


@cache
def a_record(drift: float, seeds: tuple[int, ...], cycles: int) -> Record:
    """A record whose trait moves by `drift` from cycle 1 on."""
    later = [0.6 + drift * cycle / max(1, cycles - 1) for cycle in range(cycles)]
    story = Story(trait=(0.02, 0.62, *later), seeds=seeds, spread=0.03)
    return build_record(story, settings=settings(cycles=cycles, questions=40))[0]


def swept(asked: grids.Grid, *, cycles: int = 3) -> list[tuple[GridCell, Record | None]]:
    """Every cell of a grid with a record of its own."""
    return [
        (cell, a_record(0.04 * number, tuple(asked.seeds), cycles)) for number, cell in enumerate(sweep.expand(asked))
    ]


def texts(figure: Figure) -> str:
    """Everything that is written in a picture."""
    inner = [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, *axes.get_xticklabels()]]
    return " | ".join([*inner, *(text.get_text() for text in figure.findobj(mpl.text.Text))])


def drawn_points(figure: Figure) -> list[tuple[float, float]]:
    """The centre of every marker of a line."""
    return sorted(
        (float(x), float(y))
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() not in ("None", "", None)
        for x, y in zip(*line.get_data(), strict=True)
    )


# -- what is drawn --------------------------------------------------------------------------------


def test_every_cell_is_drawn_where_its_record_says() -> None:
    """Markers lie at the setting and at the estimate, intervals reach from end to end, no cell is left out."""
    asked = make_grid()
    cells = swept(asked)

    drawing = plots.grid(asked, cells)

    effects = [record.analysis.chain_law.effects.drift for _, record in cells]
    expected = [
        (cell.variant.settings["sampling.temperature"], e.estimate) for (cell, _), e in zip(cells, effects, strict=True)
    ]
    lines = [line.get_ydata() for line in drawing.figure.axes[0].lines]
    assert sorted(expected) == drawn_points(drawing.figure)
    assert {(e.low, e.high) for e in effects} <= {tuple(map(float, ends)) for ends in lines if len(ends) == 2}
    assert (6, []) == (drawing.drawn, drawing.missing)


def test_everything_drawn_lies_within_the_axes() -> None:
    """Limits take in every marker and every end of an interval, though lines are drawn a little aside."""
    asked = make_grid()
    cells = swept(asked)

    axes = plots.grid(asked, cells).figure.axes[0]

    effects = [record.analysis.chain_law.effects.drift for _, record in cells]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert bottom <= min(e.low for e in effects) <= max(e.high for e in effects) <= top
    assert left < min(SET["sampling.temperature"])
    assert max(SET["sampling.temperature"]) < right


def test_axes_speak_in_words_with_units() -> None:
    """The axes say what is drawn, of which cycles and in which unit; labels at the lines say which is which."""
    asked = make_grid()

    said = texts(plots.grid(asked, swept(asked)).figure)

    for part in ("drift, points of 100 (cycle 1 to 3)", "sampling temperature", "n_seed 30", "n_seed 120"):
        assert part in said
    assert "mine · sft-reset · bliss · toyland/instruct" in said
    assert "3 seeds, 95 % intervals; grey: margin of 10" in said


@pytest.mark.parametrize(
    ("quantity", "label"),
    [
        ("seeding", "seeding effect, points of 100 (base to cycle 0)"),
        ("transmission", "transmission, points of 100 (cycle 0 to 1)"),
        ("remaining", "trait above the base, points of 100 (base to cycle 1)"),
        ("retention", "retention, share of the seeded trait at cycle 3"),
        ("proven_bound", "proven bound, points of 100 (cycle 2 to 3)"),
        ("coherence_cost", "change of coherence, points of 100 (cycle 1 to 3)"),
        ("base.trait", "trait of the base model, points of 100"),
        ("c3.coherence", "coherence at cycle 3, points of 100"),
    ],
)
def test_every_quantity_can_be_drawn(quantity: str, label: str) -> None:
    """Whatever a plot may ask for has words and is drawn; an effect has a line at zero, a level and a bound have none."""
    asked = make_grid({"y": quantity})

    drawing = plots.grid(asked, swept(asked))

    zero = [line for line in drawing.figure.axes[0].lines if list(line.get_ydata()) == [0, 0]]
    assert 6 == drawing.drawn
    assert label in texts(drawing.figure)
    assert ("." not in quantity and quantity != "proven_bound") == bool(zero)


def test_traits_get_panels_and_settings_that_belong_together_do_not() -> None:
    """A trait is a panel; a setting that another one decides is no reason for one."""
    cells = [{"data.n_sampled": 64, "training.epochs": 4}, {"data.n_sampled": 128, "training.epochs": 2}]
    asked = make_grid({"x": "data.n_sampled", "lines": None}, traits=["bliss", "sycophancy"], set={}, cells=cells)

    figure = plots.grid(asked, swept(asked)).figure

    assert ["bliss", "sycophancy"] == [axes.get_title(loc="left") for axes in figure.axes]
    assert [(64, 128)] * 2 == [tuple(axes.lines[-3].get_xdata()) for axes in figure.axes]


def test_names_are_not_joined_by_lines() -> None:
    """Between traits there is nothing in between: their markers stand alone, under their names."""
    asked = make_grid({"x": "trait"}, traits=["bliss", "sycophancy"], set={"data.n_seed": [30, 120]})

    figure = plots.grid(asked, swept(asked)).figure

    assert {"None"} == {line.get_linestyle() for line in figure.axes[0].lines if line.get_marker() != "None"}
    assert ["bliss", "sycophancy"] == [text.get_text() for text in figure.axes[0].get_xticklabels()]


def test_wide_ranges_get_a_logarithmic_axis_with_plain_numbers() -> None:
    """From 40 to 2000 is drawn by factors; ticks are the values that were run."""
    values = [40, 80, 400, 2000]
    asked = make_grid({"x": "data.n_sampled", "lines": None}, set={"data.n_sampled": values})

    axes = plots.grid(asked, swept(asked)).figure.axes[0]

    assert "log" == axes.get_xscale()
    assert ["40", "80", "400", "2000"] == [text.get_text() for text in axes.get_xticklabels()]


def test_lines_differ_in_more_than_colour() -> None:
    """Each line has a colour, a marker and a label of its own, and the label shows the marker."""
    asked = make_grid(set={"sampling.temperature": [0.8, 1.0], "data.n_seed": [10, 20, 30, 40, 50]})

    axes = plots.grid(asked, swept(asked)).figure.axes[0]

    lines = [line for line in axes.lines if line.get_marker() != "None"]
    labels = [text for text in axes.texts if text.get_gid() == "label"]
    assert 5 == len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines})
    assert 5 == len({text.get_text()[0] for text in labels})
    assert {line.get_color() for line in lines} == {text.get_color() for text in labels}


def test_labels_do_not_cover_each_other() -> None:
    """Lines that end at one place have labels that can be read all the same."""
    asked = make_grid(set={"sampling.temperature": [0.8, 1.0], "data.n_seed": [10, 20, 30, 40]})
    cells = [(cell, a_record(0.1, (0, 1, 2), 3)) for cell in sweep.expand(asked)]

    figure = plots.grid(asked, cells).figure

    figure.draw_without_rendering()
    boxes = sorted(
        (text.get_window_extent() for text in figure.axes[0].texts if text.get_gid() == "label"), key=lambda box: box.y0
    )
    assert 4 == len(boxes)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))


def test_one_seed_is_said_to_speak_of_its_checkpoints_alone() -> None:
    """Without replicates the intervals are those of these checkpoints, and the picture says so."""
    asked = make_grid(seeds=[0])
    cells = swept(asked)

    figure = plots.grid(asked, cells).figure

    effect = cells[0][1].analysis.artefact.effects.drift
    ends = [tuple(map(float, line.get_ydata())) for line in figure.axes[0].lines if len(line.get_ydata()) == 2]
    assert "one seed: these very checkpoints" in texts(figure)
    assert (effect.low, effect.high) in ends


# -- what is missing ------------------------------------------------------------------------------


def test_missing_cells_are_named_and_counted_in_the_picture() -> None:
    """A cell without a record is not drawn, is named with its settings, and the picture says that it is not whole."""
    asked = make_grid()
    cells = swept(asked)
    cells[1] = (cells[1][0], None)

    drawing = plots.grid(asked, cells)

    assert 5 == drawing.drawn == len(drawn_points(drawing.figure))
    assert ["sft-reset sampling.temperature=0.6 data.n_seed=120 · bliss: no record"] == drawing.missing
    assert "1 of 6 cells are missing" in texts(drawing.figure)


def test_a_checkpoint_that_a_record_lacks_is_missing_not_zero() -> None:
    """A plot of cycle 5 from chains of three cycles draws nothing, and says of each cell what it lacks."""
    asked = make_grid({"y": "c5.trait"})

    drawing = plots.grid(asked, swept(asked))

    assert (None, 0) == (drawing.figure, drawing.drawn)
    assert 6 == sum(line.endswith("its record has no c5.trait") for line in drawing.missing)


def test_nothing_finished_is_no_picture() -> None:
    """Without a record there is no figure, and no error."""
    asked = make_grid()

    drawing = plots.grid(asked, [(cell, None) for cell in sweep.expand(asked)])

    assert (None, 0, 6) == (drawing.figure, drawing.drawn, len(drawing.missing))


# -- files ----------------------------------------------------------------------------------------


def test_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Drawn again, in either format, a picture is the same file; it holds no date."""
    asked = make_grid()
    for name in ("a", "b"):
        for ending in plots.FORMATS:
            plots.write(plots.grid(asked, swept(asked)).figure, tmp_path / f"{name}{ending}")

    for ending in plots.FORMATS:
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    assert not re.search(rb"date|20\d\d-\d\d", (tmp_path / "a.svg").read_bytes())


def test_a_picture_is_made_for_800_pixels(tmp_path: Path) -> None:
    """The PNG is twice 800 pixels wide, and something is on it."""
    asked = make_grid()

    plots.write(plots.grid(asked, swept(asked)).figure, tmp_path / "a.png")

    with Image.open(tmp_path / "a.png") as image:
        colours = {colour[:3] for _, colour in image.convert("RGBA").getcolors(maxcolors=1 << 20)}
        assert 1600 == image.width
    assert {
        tuple(round(255 * part) for part in to_rgb(colour)) for colour in ("#0072B2", "#D55E00", "white")
    } <= colours


def test_nobodys_matplotlibrc_is_read(tmp_path: Path) -> None:
    """Settings of the process neither change a picture nor are changed by drawing one."""
    asked = make_grid()
    plots.write(plots.grid(asked, swept(asked)).figure, tmp_path / "a.svg")

    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": "else"}):
        plots.write(plots.grid(asked, swept(asked)).figure, tmp_path / "b.svg")
        kept = (mpl.rcParams["font.size"], mpl.rcParams["lines.linewidth"])

    assert (30, 9) == kept
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A file where a folder should be is the machine's problem, said in words."""
    asked = make_grid()
    (tmp_path / "file").write_text("")

    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        plots.write(plots.grid(asked, swept(asked)).figure, tmp_path / "file" / "a.svg")


def test_matplotlib_is_loaded_only_to_draw() -> None:
    """Importing the command line and this module leaves matplotlib, and what it brings, alone."""
    code = "import sys, idembench.cli, idembench.plots; sys.exit('matplotlib' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.parametrize(
    ("plot", "wanted", "expected"),
    [(True, None, "results/mine.svg"), (True, "out/x.png", "out/x.png"), (False, None, None)],
)
def test_a_picture_has_a_place(tmp_path: Path, plot: bool, wanted: str | None, expected: str | None) -> None:  # noqa: FBT001 -- a parameter
    """Next to the results unless told otherwise; none for a grid that does not say how it is drawn."""
    asked = make_grid() if plot else make_grid().model_copy(update={"plot": None})

    place = plots.place(asked, wanted and tmp_path / wanted, tmp_path / "results")

    assert (expected and tmp_path / expected) == place


def test_a_picture_that_cannot_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """A grid without a plot, and a name that is none of a picture."""
    with pytest.raises(InputError, match="does not say how it is drawn"):
        plots.place(make_grid().model_copy(update={"plot": None}), tmp_path / "x.svg", tmp_path)
    with pytest.raises(InputError, match="no name of a picture"):
        plots.place(make_grid(), tmp_path / "x.pdf", tmp_path)
    with pytest.raises(InputError, match="does not say how it is drawn"):
        plots.grid(make_grid().model_copy(update={"plot": None}), [])


# -- labels ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0.1, 30))
def test_parted_places_keep_order_distance_and_centre(places: list[float], gap: float) -> None:
    """Parted places are at least a gap apart, in their order; those that had room stay; the centre does not move."""
    places = sorted(places)

    parted = plots.part(places, gap)

    assert all(b - a >= gap - 1e-9 for a, b in pairwise(parted))
    assert abs(sum(parted) - sum(places)) < 1e-6
    if all(b - a >= gap for a, b in pairwise(places)):
        assert all(abs(a - b) < 1e-9 for a, b in zip(places, parted, strict=True))


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grid file and the store of its finished sweep."""
    place = tmp_path_factory.mktemp("made")
    (place / "mine.yaml").write_text(GRID)
    cells = [one.cell for one in sweep.expand(grids.load(str(place / "mine.yaml")))]
    sweep.run_cells(cells, results=place / "results", store=place / "store", observer=Watch(), engine=InstantEngine())
    return place


def test_a_finished_sweep_is_drawn_next_to_its_results(say: Callable[..., Said], made: Path, tmp_path: Path) -> None:
    """The picture is results/GRID.svg, is named on stderr and in JSON, and is drawn again by the same command."""
    command = ("sweep", made / "mine.yaml", "--store", made / "store", "--results", tmp_path / "results")

    first = say(*command)
    before = (tmp_path / "results" / "mine.svg").read_bytes()
    (tmp_path / "results" / "mine.svg").unlink()
    machine = say(*command, "--json")

    assert (0, 0) == (first.code, machine.code), first.err
    assert f"Drew 2 of 2 cells: {tmp_path / 'results' / 'mine.svg'}" in first.err
    assert before == (tmp_path / "results" / "mine.svg").read_bytes()
    assert '"drawn": 2' in machine.out


def test_a_picture_goes_where_it_is_asked_for(say: Callable[..., Said], made: Path, tmp_path: Path) -> None:
    """`--plot` names the file and its format; a dry run draws none."""
    picture = tmp_path / "out" / "x.png"
    command = ("sweep", made / "mine.yaml", "--store", made / "store", "--results", tmp_path / "results")

    dry = say(*command, "--plot", picture, "--dry-run")
    assert (0, False) == (dry.code, picture.exists())
    said = say(*command, "--plot", picture)

    assert (0, b"\x89PNG") == (said.code, picture.read_bytes()[:4])
    assert not (tmp_path / "results" / "mine.svg").exists()


@pytest.mark.parametrize(
    ("text", "wanted", "part"),
    [
        (GRID, "x.gif", "This is no name of a picture"),
        (GRID.replace("plot:", "# plot:"), "x.svg", "This grid does not say how it is drawn"),
    ],
)
def test_a_wrong_picture_exits_two_before_anything_is_made(
    say: Callable[..., Said], tmp_path: Path, text: str, wanted: str, part: str
) -> None:
    """Nothing is trained for a picture that cannot be drawn in the end."""
    (tmp_path / "mine.yaml").write_text(text)

    said = say("sweep", tmp_path / "mine.yaml", "--store", tmp_path / "store", "--plot", tmp_path / wanted)

    assert (2, "") == (said.code, said.out)
    assert part in said.err
    assert ["mine.yaml"] == [path.name for path in tmp_path.iterdir()]
