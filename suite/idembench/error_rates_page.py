"""The table of error rates as a document: every number is looked up, none is typed in.

Knows the table's layout and nothing about how it was made (see `error_rates.py`).
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMAND: Final = "idembench error-rates --draws {draws} --out suite"
JUMPS: Final = "rare jumps"
QUESTIONS_DIFFER: Final = "questions differ"
STUDY: Final = {
    "study delta-10": "delta >= 10",
    "study delta-15": "delta >= 15",
    "study late-delta-10": "late delta >= 10",
    "study late-delta-15": "late delta >= 15",
    "study late-delta-from-cycle-1-10": "late delta from cycle 1 >= 10",
    "study prefix-regression-1.67": "prefix slope >= 1.67",
}


class Row(TypedDict):
    """One cell of the simulation."""

    noise: str
    seeds: int
    responses: int
    drift: float
    rates: dict[str, float]


class Table(TypedDict):
    """The whole simulation; `margins` by rule name, `noises` with their words in the order of the tables."""

    schema: int
    seed: str
    draws: int
    cycles: int
    questions: int
    margins: dict[str, float]
    noises: list[dict[str, str]]
    cells: list[Row]


def page(table: Table) -> str:
    """The document in Markdown."""
    parts = [
        _opening(table),
        _reading(table),
        _coverage(table),
        _misuse(table),
        _false_idempotent(table),
        _power(table),
        _false_drift(table),
        _jumps(table),
        _beyond(table),
        _study(table),
    ]
    return "\n".join(parts)


# -- looking up -----------------------------------------------------------------------------------


def _rates(table: Table, noise: str, responses: int, seeds: int, drift: float) -> dict[str, float]:
    wanted = (noise, responses, seeds, drift)
    return next(
        row["rates"] for row in table["cells"] if (row["noise"], row["responses"], row["seeds"], row["drift"]) == wanted
    )


def _values(
    table: Table, rate: str, drift: float, *, without: Sequence[str] = (), only: str | None = None
) -> list[float]:
    return [
        row["rates"][rate]
        for row in table["cells"]
        if row["drift"] == drift and row["noise"] not in without and only in {None, row["noise"]}
    ]


def _noises(table: Table) -> list[str]:
    return [noise["name"] for noise in table["noises"]]


def _seeds(table: Table) -> list[int]:
    return sorted({row["seeds"] for row in table["cells"]})


def _responses(table: Table) -> list[int]:
    return sorted({row["responses"] for row in table["cells"]})


def _percent(share: float) -> str:
    return f"{100.0 * share:.1f}"


def _span(values: Sequence[float]) -> str:
    return f"{_percent(min(values))} to {_percent(max(values))} %"


def _grid(
    table: Table,
    groups: dict[str, Callable[[dict[str, float]], float]],
    *,
    drifts: Sequence[float],
    skip: Sequence[str] = (),
) -> str:
    """A table with one row per noise and number of responses; for every group a column per seeds."""
    seeds = _seeds(table)
    head = [f"{name}, {count} seeds" for name in groups for count in seeds]
    lines = [
        "| noise | responses | " + " | ".join(head) + " |",
        "|---|---|" + "---|" * len(head),
    ]
    for noise in _noises(table):
        if noise in skip:
            continue
        for responses in _responses(table):
            cells = [
                _percent(value(_rates(table, noise, responses, count, drift)))
                for (value, drift) in zip(groups.values(), drifts, strict=True)
                for count in seeds
            ]
            lines.append(f"| {noise} | {responses:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _of(name: str) -> Callable[[dict[str, float]], float]:
    return lambda rates: rates[name]


# -- the sections ---------------------------------------------------------------------------------


def _opening(table: Table) -> str:
    draws = table["draws"]
    widest = 100.0 * math.sqrt(0.25 / draws)
    at_five = 100.0 * math.sqrt(0.05 * 0.95 / draws)
    noises = "\n".join(f"- **{noise['name']}**: {noise['words']}." for noise in table["noises"])
    return f"""# Error rates of idembench

How often the intervals and statements of `idembench.statistics` are wrong on simulated chains whose truth is
known. Made by

    {COMMAND.format(draws=draws)}

with the seed named "{table["seed"]}": {draws:,} sets of chains per cell, judged by the same functions that judge
real ones. The numbers are in `error-rates.json`. All shares are in percent. Monte Carlo standard error: at most
{widest:.2f} points of percent, {at_five:.2f} near 5 %.

A chain here is a mean score at cycles 0 to {table["cycles"]}, asked {table["questions"]} questions once (200 responses a checkpoint) or five times
(1,000), each answer 0 or 100. What differs between chains trained the same way:

{noises}

*Drift* is the true change of the mean at the last cycle; the cycles before it stay where cycle 1 is, which is
where the equivalence test errs most. The sd is that of one checkpoint, so a change between two has 1.4 times it.
"""


def _reading(table: Table) -> str:
    normal = [name for name in _noises(table) if name.startswith("normal")]
    odd = [JUMPS, QUESTIONS_DIFFER]
    cover = _values(table, "coverage chain law", 0.0, without=[JUMPS])
    jump_cover = _values(table, "coverage chain law", 0.0, only=JUMPS)
    default, strict = table["margins"]["default"], table["margins"]["strict"]
    false_default = _values(table, "idempotent default", default, without=odd)
    false_strict = _values(table, "idempotent strict", strict, without=odd)
    drift = [
        row["rates"]["amplified"] + row["rates"]["decayed"]
        for row in table["cells"]
        if row["drift"] == 0.0 and row["noise"] not in {JUMPS, QUESTIONS_DIFFER}
    ]
    few, many = _responses(table)[0], _responses(table)[-1]
    low, middle, high = _seeds(table)

    def power(responses: int, seeds: int) -> str:
        rates = [_rates(table, noise, responses, seeds, 0.0)["idempotent default"] for noise in normal]
        return ", ".join(_percent(rate) for rate in rates[:-1]) + f" and {_percent(rates[-1])}"

    jumps = _rates(table, JUMPS, many, middle, 0.0)
    crowd = _rates(table, JUMPS, many, high, 0.0)
    beyond_few, beyond_many = (
        [
            row["rates"]["seed beyond margin"]
            for row in table["cells"]
            if row["drift"] == 0.0 and row["responses"] == responses and row["noise"] != JUMPS
        ]
        for responses in (few, many)
    )
    artefact, pooled, bootstrap = (
        _values(table, f"chain law covered by {other}", 0.0, without=[JUMPS])
        for other in ("artefact interval", "pooled interval", "bootstrap over seeds")
    )
    alarms = _values(table, "study prefix-regression-1.67", 0.0, without=[JUMPS])
    late = _values(table, "study late-delta-10", 0.0, without=[JUMPS])
    bullets = [
        (
            f"**Intervals.** Chain-law intervals cover the truth in {_span(cover)} of the draws under every noise but rare "
            f"jumps; 95 % is nominal. Most of the excess is the floor: an interval is at least as wide as the answers alone "
            f"would have it, and with few answers that is often more than the seeds show. Under rare jumps they fail "
            f"({_span(jump_cover)}): a few seeds that all happened not to jump know nothing of jumps."
        ),
        (
            f'**False "idempotent".** With a true change of exactly the margin at one cycle: {_span(false_default)} at margin '
            f"{default:g} and {_span(false_strict)} at margin {strict:g}; 5 % is nominal."
        ),
        (
            f"**Power.** Where nothing changes and chains have an sd of 2, 3 and 4, margin {default:g} is proven with {many:,} "
            f"responses in {power(many, low)} % of draws with {low} seeds, in {power(many, middle)} % with {middle}, in "
            f"{power(many, high)} % with {high}; with {few} responses in {power(few, low)} %, {power(few, middle)} % and "
            f"{power(few, high)} %. So {low} seeds and {few} responses are for finding amplification and decay; in the middle of "
            f"the scale they can hardly ever prove idempotence, near its ends they can."
        ),
        (
            f"**Drift.** Where nothing drifts, the predeclared test calls amplified or decayed in {_span(drift)}; 5 % is "
            f"nominal."
        ),
        (
            f"**Rare jumps escape.** When a fifth of the chains jump by 30 points, {middle} seeds with {many:,} responses are "
            f"called idempotent within {default:g} points in {_percent(jumps['idempotent default'])} % of draws; in "
            f"{_percent(jumps['no seed beyond margin'])} % no seed moved, and no interval can see what did not happen. With "
            f"{high} seeds jumps are seen and the statement still stands in {_percent(crowd['idempotent default'])} %, because it "
            f"is about the mean, and the mean drifts by 6 points only. This is why every record says beside it how many seeds "
            f"moved, out of how many, and how many chains still could."
        ),
        (
            f"**Counting seeds.** That count is of observed changes: with {few} responses, noise alone carries "
            f"{_span(beyond_few)} of constant seeds beyond {default:g} points, with {many:,} {_span(beyond_many)}. It errs upwards."
        ),
        (
            f"**The study's rules** call single trendless chains amplified in up to {_percent(max(alarms))} % (prefix slope) and "
            f"{_percent(max(late))} % (late delta >= 10) of cases; table at the end."
        ),
        (
            f"**Other intervals.** For the same truth, the interval of these very checkpoints covers in {_span(artefact)}, "
            f"pooling all answers in {_span(pooled)}, a percentile bootstrap over seeds in {_span(bootstrap)} (without rare "
            f"jumps); hence three estimands, each with its name."
        ),
        (
            f"**Not simulated.** Judge error, missing scores, dependence between answers to one question beyond what "
            f'"{QUESTIONS_DIFFER}" has, and the coherence and transmission statements (the same t intervals on other pairs).'
        ),
    ]
    return "## Reading\n\n" + "\n".join(_bullet(text) for text in bullets) + "\n"


def _bullet(text: str) -> str:
    return textwrap.fill(
        text, 110, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _coverage(table: Table) -> str:
    groups = {
        "chain law": _of("coverage chain law"),
        "new questions": _of("coverage new questions"),
        "this artefact": _of("coverage this artefact"),
    }
    return f"""## Coverage of 95 % intervals

Of the drift from cycle 1 to cycle {table["cycles"]}, no true drift (under rare jumps: a mean one of 6 points), each interval
against its own truth.

{_grid(table, groups, drifts=[0.0] * len(groups))}"""


def _misuse(table: Table) -> str:
    groups = {
        "artefact": _of("chain law covered by artefact interval"),
        "pooled": _of("chain law covered by pooled interval"),
        "bootstrap": _of("chain law covered by bootstrap over seeds"),
    }
    return f"""## The same truth, other intervals

What another chain would do, covered by: the interval of *this artefact*; one that pools all answers of all seeds as
independent; a percentile bootstrap over seeds. idembench uses none of them for that.

{_grid(table, groups, drifts=[0.0] * len(groups))}"""


def _false_idempotent(table: Table) -> str:
    default, strict = table["margins"]["default"], table["margins"]["strict"]
    groups = {
        f"margin {default:g}": _of("idempotent default"),
        f"margin {strict:g}": _of("idempotent strict"),
    }
    grid = _grid(table, groups, drifts=[default, strict], skip=[JUMPS, QUESTIONS_DIFFER])
    wide = _grid(
        table,
        {"chain law": _of("idempotent default"), "new questions": _of("idempotent default new questions")},
        drifts=[default, default],
        skip=[name for name in _noises(table) if name != QUESTIONS_DIFFER],
    )
    return f"""## False "idempotent": the true drift is exactly the margin

Nominal: at most 5.

{grid}
Where questions differ, the drift of the {table["questions"]} frozen questions is the margin only on average over question
sets; for half of the sets it is below, and the chain law, which is about the set, is right to say so. About other
questions of the kind, margin {default:g}, nominal at most 5:

{wide}"""


def _power(table: Table) -> str:
    default, strict = table["margins"]["default"], table["margins"]["strict"]
    groups = {
        f"margin {default:g}": _of("idempotent default"),
        f"margin {strict:g}": _of("idempotent strict"),
    }
    return f"""## Power: "idempotent" where nothing changes

{_grid(table, groups, drifts=[0.0, 0.0], skip=[JUMPS])}"""


def _false_drift(table: Table) -> str:
    groups: dict[str, Callable[[dict[str, float]], float]] = {
        "amplified": _of("amplified"),
        "decayed": _of("decayed"),
        "non-monotone": _of("non-monotone"),
    }
    grid = _grid(table, groups, drifts=[0.0] * len(groups), skip=[JUMPS, QUESTIONS_DIFFER])
    wide = _grid(
        table,
        {
            "chain law": lambda rates: rates["amplified"] + rates["decayed"],
            "new questions": _of("drift new questions"),
        },
        drifts=[0.0, 0.0],
        skip=[name for name in _noises(table) if name != QUESTIONS_DIFFER],
    )
    return f"""## False drift: nothing drifts

Nominal: 2.5 for each direction; non-monotone is a secondary statement, Holm-corrected, nominal at most 5.

{grid}
Where questions differ, the mean change of the frozen questions is not exactly zero, and the chain law is about these
questions: what it finds there is partly true. About other questions of the kind, nominal 5:

{wide}"""


def _jumps(table: Table) -> str:
    default, strict = table["margins"]["default"], table["margins"]["strict"]
    lines = [
        f"| seeds | responses | idempotent, margin {default:g} | idempotent, margin {strict:g} | amplified | interval covers | no seed beyond the margin |",
        "|---|---|---|---|---|---|---|",
    ]
    names = ("idempotent default", "idempotent strict", "amplified", "coverage chain law", "no seed beyond margin")
    for seeds in _seeds(table):
        for responses in _responses(table):
            rates = _rates(table, JUMPS, responses, seeds, 0.0)
            lines.append(f"| {seeds} | {responses:,} | " + " | ".join(_percent(rates[name]) for name in names) + " |")
    return (
        """## Rare jumps: 20 % of the chains jump by 30 points

The mean over chains drifts by 6 points at the last cycle, but no chain does: four fifths stay and one fifth moves far.

"""
        + "\n".join(lines)
        + "\n"
    )


def _beyond(table: Table) -> str:
    groups = {"beyond": _of("seed beyond margin")}
    return f"""## Seeds counted as moved beyond the margin of {table["margins"]["default"]:g} although nothing drifts

Per seed. Here chain noise and measurement noise alone carry a seed beyond the margin.

{_grid(table, groups, drifts=[0.0], skip=[JUMPS])}"""


def _study(table: Table) -> str:
    seeds = _seeds(table)[-1]
    lines = [
        "| noise | responses | " + " | ".join(STUDY.values()) + " |",
        "|---|---|" + "---|" * len(STUDY),
    ]
    for noise in _noises(table):
        if noise == JUMPS:
            continue
        for responses in _responses(table):
            rates = _rates(table, noise, responses, seeds, 0.0)
            lines.append(f"| {noise} | {responses:,} | " + " | ".join(_percent(rates[name]) for name in STUDY) + " |")
    return (
        f"""## False alarms of the study's own rules

Share of single trendless chains that each rule calls amplified (from the cells with {seeds} seeds).

"""
        + "\n".join(lines)
        + "\n"
    )
