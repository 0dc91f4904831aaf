"""Pictures of finished sweeps and calibrations; the only module that knows matplotlib, which it loads when asked to draw.

The same numbers give the same bytes under one matplotlib: text is drawn as outlines of its own font, ids are salted with a
constant, no file holds a date, and nobody's matplotlibrc is read. Eight inches at 100 pixels an inch, so a picture is made for
800 pixels and shown larger for sharp screens. Lines differ in colour (Okabe and Ito's palette, which colour-blind readers tell
apart), in marker and in the label at their end. Decides nothing: estimates and intervals are those of records.
"""

from __future__ import annotations

import io
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idembench.errors import InputError
from idembench.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Transform

    from idembench.calibrate import Calibration, Curve
    from idembench.grids import Grid
    from idembench.record import Record
    from idembench.sweep import GridCell

FORMATS = (".svg", ".png")
_DPI = 200
_INCHES = 8.0
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Source: Okabe and Ito 2008, Color Universal Design."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GLYPHS = "●■▲◆▼✚✖"
"""The same shapes as letters, for labels."""
_GREY = "#666666"
_LIGHT = "#dddddd"
_LOG_FROM = 8.0
"""A setting that varies by more than this factor gets a logarithmic axis."""
_TICKS = 10
_STYLE: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "idembench",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": "#222222",
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "figure.facecolor": "white",
}

_SETTINGS = {
    "cycles": "self-training cycles",
    "mode": "mode",
    "data.n_seed": "demonstrations in cycle 0",
    "data.n_sampled": "answers sampled per cycle",
    "data.candidates": "answers sampled per prompt",
    "data.original_mix": "share of cycle 0's demonstrations kept in every cycle",
    "data.coherence_filter": "least coherence of training rows, points of 100",
    "settings.beta": "beta of preference optimisation",
    "training.learning_rate": "peak learning rate",
    "training.epochs": "passes over a cycle's rows",
    "training.max_steps": "optimizer steps per cycle",
    "training.batch_size": "rows per batch",
    "training.lora.rank": "rank of the adapter",
    "sampling.temperature": "sampling temperature",
    "sampling.top_p": "nucleus of sampling (top p)",
    "measuring.temperature": "temperature of measuring",
}
"""Settings in words with their units; another is named by its key."""
_EFFECTS = {
    "seeding": "seeding effect, points of 100 (base to cycle 0)",
    "transmission": "transmission, points of 100 (cycle 0 to 1)",
    "remaining": "trait above the base, points of 100 (base to cycle 1)",
    "retention": "retention, share of the seeded trait at {last}",
    "drift": "drift, points of 100 (cycle 1 to {end})",
    "proven_bound": "proven bound, points of 100 (cycle 2 to {end})",
    "coherence_cost": "change of coherence, points of 100 (cycle 1 to {end})",
}
_NO_ZERO = ("proven_bound",)
"""Effects of which none is no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A grid's picture.

    Attributes:
        figure: The picture; None if there is nothing to draw.
        drawn: Cells in it.
        missing: Cells that are not in it, and why.
    """

    figure: Figure | None
    drawn: int
    missing: list[str]


def place(asked: Grid, wanted: Path | None, results: Path) -> Path | None:
    """Where a grid's picture goes, asked before anything is run; None if nobody wants one.

    Raises:
        InputError: If one is wanted that cannot be: the grid has no plot, or the name is none of a picture.
    """
    if wanted is None:
        return results / f"{asked.name}.svg" if asked.plot else None
    if asked.plot is None:
        raise _no_plot(asked)
    if wanted.suffix not in FORMATS:
        raise InputError(
            "This is no name of a picture.",
            expected=f"a file ending in {' or '.join(FORMATS)}",
            found=str(wanted),
            where="--plot",
        )
    return wanted


def _no_plot(asked: Grid) -> InputError:
    return InputError(
        "This grid does not say how it is drawn.",
        expected="plot: {x: ..., y: ..., lines: ...}",
        where=f"grid {asked.name}",
        do="Add it to the grid's file; see baselines/README.md.",
    )


def write(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its name ends with, one of `FORMATS`.

    Raises:
        EnvironmentProblem: If the place cannot be written.
    """
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with _style():
        figure.savefig(buffer, format=path.suffix[1:], dpi=_DPI, metadata=metadata)
    write_bytes(path, buffer.getvalue())


# -- dose-response --------------------------------------------------------------------------------


def dose_response(done: Calibration) -> Figure:
    """Curves of a calibration, one panel per trait: replicates, means, targets, and the doses that were chosen."""
    with _style():
        figure, panels = _panels([curve.trait for curve in done.curves])
        for axes, curve in zip(panels, done.curves, strict=True):
            _curve(axes, curve)
        figure.supxlabel("demonstrations in cycle 0 (n_seed)", fontsize=10)
        figure.supylabel("trait at cycle 0, points of 100", fontsize=10)
        law = f"small: one seed each; large: mean of {len(done.seeds)} seeds, 95 % interval; ring: chosen"
        _head(figure, f"{done.baseline} · {done.spec.model.name}", law)
        figure.draw_without_rendering()
        for axes in panels:
            _spread(axes)
    return figure


def _curve(axes: Axes, curve: Curve) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    doses = [dose for dose in curve.every if dose.n_seed]
    axes.set_xscale("log", base=2)
    axes.set_ylim(-3, 103)
    aside = _aside(axes, -6)
    for dose in doses:
        own = [level for level in dose.trait.seeds if level is not None]
        axes.plot([dose.n_seed] * len(own), own, "o", color=_GREY, markersize=2.5, linestyle="none", transform=aside)
    points = [point for point in curve.points if point.n_seed]
    at = [point.n_seed for point in points]
    spread = [[p.mean - p.low for p in points], [p.high - p.mean for p in points]]
    axes.errorbar(
        at, [p.mean for p in points], yerr=spread, color=_COLOURS[0], marker="o", markersize=6, linewidth=1.2, capsize=0
    )
    if curve.base is not None and curve.base.trait.mean is not None:
        axes.axhline(curve.base.trait.mean, color=_GREY, linestyle=":", linewidth=1)
        _end_label(axes, curve.base.trait.mean, f"base {curve.base.trait.mean:.1f}", _GREY)
    for answer in curve.answers:
        axes.axhline(answer.target, color=_GREY, linestyle="--", linewidth=0.8, zorder=0)
        text = f"{answer.target:g}: no n_seed"
        if answer.chosen is not None:
            near = "" if answer.outcome == "found" else "nearest "
            text = f"{answer.target:g}: {near}n_seed {answer.chosen.n_seed}"
            axes.plot(
                answer.chosen.n_seed, answer.chosen.mean, "o", markersize=12, markerfacecolor="none", color=_COLOURS[1]
            )
        _end_label(axes, answer.target, text, _GREY if answer.chosen is None else _COLOURS[1])
    first = min((dose.n_seed for dose in doses), default=1)
    ticks = [2**power for power in range(int(math.log2(first)), int(math.log2(curve.top)) + 1)]
    if curve.top > 1.3 * ticks[-1]:
        ticks.append(curve.top)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


# -- grids ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Value:
    """What is drawn of one cell."""

    x: Any
    y: float
    low: float | None
    high: float | None


def grid(asked: Grid, cells: Sequence[tuple[GridCell, Record | None]]) -> Drawing:
    """Draw what a grid's `plot` says from the records of its cells.

    Whatever the grid varies beside x and lines gets a panel for each combination; traits are one of these.

    Args:
        asked: The grid; it has a plot.
        cells: Every cell, and its record if it has one.

    Raises:
        InputError: If the grid has no plot.
    """
    plot = asked.plot
    if plot is None:
        raise _no_plot(asked)
    apart = _apart([cell for cell, _ in cells], [plot.x, *([plot.lines] if plot.lines else [])])
    found: dict[tuple[str, ...], dict[str, list[_Value]]] = {}
    missing = []
    for cell, record in cells:
        value = None if record is None else _value(plot.y, record)
        if value is None:
            why = "no record" if record is None else f"its record has no {plot.y}"
            missing.append(f"{cell.variant.describe()} · {cell.cell.trait}: {why}")
            continue
        panel = tuple(_said(axis, _at(cell, axis)) for axis in apart)
        line = "" if plot.lines is None else _said(plot.lines, _at(cell, plot.lines))
        y, low, high = value
        found.setdefault(panel, {}).setdefault(line, []).append(_Value(_at(cell, plot.x), y, low, high))
    drawn = len(cells) - len(missing)
    figure = _grid_figure(asked, cells, found, missing) if found else None
    return Drawing(figure=figure, drawn=drawn, missing=missing)


def _grid_figure(
    asked: Grid,
    cells: Sequence[tuple[GridCell, Record | None]],
    found: dict[tuple[str, ...], dict[str, list[_Value]]],
    missing: Sequence[str],
) -> Figure:
    records = [record for _, record in cells if record is not None]
    plot = asked.plot
    assert plot is not None  # noqa: S101 -- for the type checker; `grid` asked
    names = list(dict.fromkeys(name for lines in found.values() for name in lines))
    values = [value.x for lines in found.values() for line in lines.values() for value in line]
    axis = _Axis.of(values)
    with _style():
        figure, panels = _panels([", ".join(panel) for panel in found])
        for axes, lines in zip(panels, found.values(), strict=True):
            if plot.y in _EFFECTS and plot.y not in _NO_ZERO:
                axes.axhline(0, color=_GREY, linewidth=0.8, zorder=0)
            if plot.y == "drift":
                margin = max(record.analysis.rule.margin for record in records)
                axes.axhspan(-margin, margin, color=_LIGHT, alpha=0.4, linewidth=0, zorder=-1)
            for name, line in lines.items():
                _line(axes, line, axis, name, names.index(name), len(names))
            axis.dress(axes)
            if "." in plot.y:
                axes.set_ylim(-3, 103)
        figure.supxlabel(_SETTINGS.get(plot.x, plot.x), fontsize=10)
        figure.supylabel(_quantity(plot.y, records), fontsize=10)
        same = {axis: {str(_at(cell, axis)) for cell, _ in cells} for axis in ("baseline", "trait", "model")}
        title = [asked.name, *(next(iter(values)) for values in same.values() if len(values) == 1)]
        absent = [f"{len(missing)} of {len(cells)} cells are missing"] if missing else []
        _head(figure, " · ".join(title), "; ".join([*_caption(plot.y, records), *absent]))
        figure.draw_without_rendering()
        for axes in panels:
            _spread(axes)
    return figure


def _line(axes: Axes, line: list[_Value], axis: _Axis, name: str, number: int, count: int) -> None:
    moved = _aside(axes, (number - (count - 1) / 2) * 3)  # so that intervals at one x stand beside each other
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    joined = ("-", "--", ":", "-.")[number // len(_COLOURS) % 4]
    style = joined if axis.numeric else "none"  # between names there is nothing to pass through
    placed = sorted(line, key=lambda value: axis.place(value.x))
    at, levels = [axis.place(value.x) for value in placed], [value.y for value in placed]
    ends = [(place, end) for place, value in zip(at, placed, strict=True) for end in (value.low, value.high)]
    # Shifted lines are not counted where limits are taken from what is drawn.
    axes.update_datalim([*zip(at, levels, strict=True), *((place, end) for place, end in ends if end is not None)])
    axes.plot(at, levels, color=colour, marker=marker, linestyle=style, markersize=6, linewidth=1.5, transform=moved)
    for place, value in zip(at, placed, strict=True):
        if value.low is not None and value.high is not None:
            axes.plot([place] * 2, [value.low, value.high], color=colour, linewidth=1.2, transform=moved)
    if name:
        _end_label(axes, levels[-1], f"{_GLYPHS[number % len(_GLYPHS)]} {name}", colour)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where values of a setting lie: numbers on a scale, everything else side by side."""

    values: list[Any]
    numeric: bool

    @classmethod
    def of(cls, values: Sequence[Any]) -> _Axis:
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        different = list(dict.fromkeys(map(json.dumps, values)))
        return cls(sorted(set(values)) if numeric else different, numeric)

    @property
    def log(self) -> bool:
        return self.numeric and self.values[0] > 0 and self.values[-1] / self.values[0] >= _LOG_FROM

    def place(self, value: Any) -> float:
        return float(value) if self.numeric else float(self.values.index(json.dumps(value)))

    def dress(self, axes: Axes) -> None:
        from matplotlib.ticker import NullLocator

        if self.log:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        if not self.numeric:
            axes.set_xticks(range(len(self.values)), [_plain(json.loads(value)) for value in self.values])
            axes.set_xlim(-0.5, len(self.values) - 0.5)
            return
        if len(self.values) <= _TICKS:
            axes.set_xticks(self.values, [_plain(value) for value in self.values])
        axes.margins(x=0.08)


def _value(quantity: str, record: Record) -> tuple[float, float | None, float | None] | None:
    """A quantity of a record with its 95 % interval; of these very checkpoints where there is one seed."""
    analysis = record.analysis
    name, _, part = quantity.partition(".")
    if part:
        level = next((getattr(point, part) for point in analysis.trajectory if point.name == name), None)
        if level is None or level.mean is None:
            return None
        ends = (level.artefact_low, level.artefact_high) if analysis.exploratory else (level.low, level.high)
        return level.mean, *ends
    effect = getattr((analysis.artefact if analysis.exploratory else analysis.chain_law).effects, quantity)
    if effect.estimate is None:
        return None
    return effect.estimate, getattr(effect, "low", None), getattr(effect, "high", None)


def _apart(cells: Sequence[GridCell], used: Sequence[str]) -> list[str]:
    """The axes that tell cells apart beside those in use; what follows from others, as in `cells` of a grid, is none."""
    axes = ["trait", "baseline", "model", *dict.fromkeys(key for cell in cells for key in cell.variant.settings)]

    def told(by: Sequence[str]) -> int:
        return len({json.dumps([_at(cell, axis) for axis in by]) for cell in cells})

    apart: list[str] = []
    for axis in axes:
        if told([*used, *apart, axis]) > told([*used, *apart]):
            apart.append(axis)
    return apart


def _at(cell: GridCell, axis: str) -> Any:
    """Where a cell lies on an axis."""
    match axis:
        case "trait":
            return cell.cell.trait
        case "baseline":
            return cell.variant.baseline
        case "model":
            return cell.cell.specs[0].model.name
        case _:
            return cell.variant.settings.get(axis)


def _said(axis: str, value: Any) -> str:
    """A value for a label: `n_seed 40`; a name speaks for itself."""
    return _plain(value) if axis in ("trait", "baseline", "model") else f"{axis.rpartition('.')[2]} {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)


def _quantity(quantity: str, records: Sequence[Record]) -> str:
    """What is on the vertical axis, in words and with its unit."""
    name, _, part = quantity.partition(".")
    if part:
        where = "of the base model" if name == "base" else f"at cycle {name[1:]}"
        return f"{part} {where}, points of 100"
    ends = {record.protocol.cycles for record in records}
    end = str(next(iter(ends))) if len(ends) == 1 else "the last"
    return _EFFECTS[quantity].format(end=end, last=f"cycle {end}" if len(ends) == 1 else "the last cycle")


def _caption(quantity: str, records: Sequence[Record]) -> list[str]:
    """How to read the picture, in parts."""
    counts = sorted({len(record.chains) for record in records})
    if counts == [1]:
        said = ["one seed: these very checkpoints, and intervals over their questions"]
    else:
        said = [f"{' or '.join(map(str, counts))} seeds, 95 % intervals"]
    if quantity == "proven_bound":
        said = [said[0].partition(",")[0]]
    if quantity == "drift":
        said.append(f"grey: margin of {max(record.analysis.rule.margin for record in records):g}")
    return said


# -- common ---------------------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def _panels(titles: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, two in a row."""
    from matplotlib.figure import Figure

    columns = 1 if len(titles) == 1 else 2
    rows = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(_INCHES, 4.5 if rows == columns == 1 else 3.2 * rows + 0.6), layout="constrained")
    grid_of = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    every = list(grid_of.flat)
    for axes, title in zip(every, titles, strict=False):
        axes.set_title(title)
    for axes in every[len(titles) :]:
        axes.set_axis_off()
    for axes in every[: len(titles)]:  # shared, and yet each is to be read by itself
        axes.tick_params(labelbottom=True)
    return figure, every[: len(titles)]


def _head(figure: Figure, title: str, caption: str) -> None:
    """What is drawn, and below it how."""
    figure.suptitle(f"{title}\n{caption}", x=0.01, ha="left", fontsize=9, color=_GREY, linespacing=1.5)


def _aside(axes: Axes, points: float) -> Transform:
    """Data coordinates, shifted to the right by so many points of type."""
    from matplotlib.transforms import ScaledTranslation

    return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)


def _end_label(axes: Axes, y: float, text: str, colour: str) -> None:
    """A label to the right of the axes, at the height of what it names; `_spread` parts it from others."""
    axes.text(
        1.01,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        color=colour,
        va="center",
        ha="left",
        fontsize=9,
        gid="label",
    )


def _spread(axes: Axes) -> None:
    """Move labels apart that would cover each other, as little as need be and in their order."""
    labels: list[Text] = sorted((text for text in axes.texts if text.get_gid() == "label"), key=_height)
    if not labels:
        return
    bottom, top = axes.get_ylim()
    per_point = (top - bottom) / (axes.get_window_extent().height / axes.figure.dpi * 72)
    for label, place in zip(labels, part([_height(label) for label in labels], 11 * per_point), strict=True):
        label.set_y(place)


def _height(label: Text) -> float:
    return float(label.get_position()[1])


def part(places: Sequence[float], gap: float) -> list[float]:
    """Places in ascending order moved apart to at least `gap`, each cluster about its own mean.

    Least squares: with i gaps taken off the i-th place, the order of places is a monotone fit.
    """
    from scipy import optimize

    shifted = [place - number * gap for number, place in enumerate(places)]
    return [float(place) + number * gap for number, place in enumerate(optimize.isotonic_regression(shifted).x)]
