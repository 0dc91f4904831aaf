"""From records to the index: what the page needs of each, rounded, cut to size and in ranked order.

The shape is that of the typed dictionaries below, in JSON. A record is input from anywhere: what cannot be
read, is too large, or contradicts itself so that it cannot be shown, is left out with the reason.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypedDict

from idembench import record
from idembench.errors import DataError, IdembenchError
from idembench.files import RECORD, canonical_json, find_records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.record import Record
    from idembench.statistics import Effect, Level, Verdict

INDEX_VERSION: Final = 1
LARGEST_RECORD_BYTES: Final = 16 << 20
FULL_SCALE: Final = 100.0
_SENTENCE, _NAME = 600, 120  # characters of a record's text that the page shows
_KEY = 8  # hexadecimal digits of a record id that name it on the page, unless two records share them

Standing = Literal["ranked", "exploratory", "not ranked"]
Interval = tuple[float | None, float | None, float | None]
"""Estimate, lower and upper end of the 95 % interval."""


class Row(TypedDict):
    """One record in the table. Numbers are points of 100, rounded to two decimals.

    Attributes:
        key: Names the record on the page: the first digits of its id.
        model: The base model's name.
        trait: The trait's name.
        pack: The pack's name.
        protocol: The protocol's name.
        method: How a generation learns.
        mode: `reset` or `continual`.
        cycles: K.
        seeds: One chain each.
        measurement: `quick`, `ranked`, ...
        responses: Answers to the trait's questions at each checkpoint.
        margin: What counts as unchanged.
        standing: `ranked`; `exploratory`: one seed; `not ranked`: see `not_ranked`.
        not_ranked: Why it is not ranked, or None.
        estimand: What numbers and statements are about.
        seeding: First statement.
        transmission: Second statement.
        iteration: Third statement: everything that holds.
        coherence: Fourth statement: everything that holds.
        qualified: True if the word idempotent, where it stands, needs the qualification `not_ranked`.
        seeding_effect: y[0] - y[base].
        drift: y[K] - y[1].
        bound: Proven bound; smaller is better.
        coherence_change: coherence[K] - coherence[1].
        why: Reasons of missing numbers, by the attribute's name.
    """

    key: str
    model: str
    trait: str
    pack: str
    protocol: str
    method: str
    mode: str
    cycles: int
    seeds: list[int]
    measurement: str
    responses: int
    margin: float
    standing: Standing
    not_ranked: str | None
    estimand: str
    seeding: str
    transmission: str
    iteration: list[str]
    coherence: list[str]
    qualified: bool
    seeding_effect: Interval
    drift: Interval
    bound: float | None
    coherence_change: Interval
    why: dict[str, str]


class Curve(TypedDict):
    """Mean scores at base, c0 .. cK, one decimal; None where there is none.

    Attributes:
        mean: Mean over seeds.
        low: Lower end of the 95 % interval, under the row's estimand.
        high: Upper end.
        seeds: Mean of each seed, seeds x checkpoints.
    """

    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    seeds: list[list[float | None]]


class Diverged(TypedDict):
    """A chain that fell apart."""

    seed: int
    cycle: str
    reason: str


class Detail(TypedDict):
    """What the plot and the panel need of one record.

    Attributes:
        id: The record's id.
        path: Its folder, below the results folder as it was given.
        command: What checks it.
        headline: The result in one or two sentences.
        claim: What the verdict is about, in words.
        sentences: The four statements in words, in their order.
        caveats: What a reader has to keep in mind.
        trait: The trait's trajectory.
        coherence: Coherence's trajectory.
        diverged: Chains that fell apart.
        settings: The protocol: name and value, in reading order.
        execution: Execution and software, likewise.
        origin: Model revision, judge and fingerprints, likewise.
    """

    id: str
    path: str
    command: str
    headline: str
    claim: str
    sentences: list[str]
    caveats: list[str]
    trait: Curve
    coherence: Curve
    diverged: list[Diverged]
    settings: list[tuple[str, str]]
    execution: list[tuple[str, str]]
    origin: list[tuple[str, str]]


class LeftOut(TypedDict):
    """A record that is not on the page."""

    path: str
    reason: str


class Index(TypedDict):
    """Everything the page knows. `records` is what the table needs, `details` the rest, position by position.

    Attributes:
        version: Of this shape.
        records: In ranked order (see `rank_key`).
        details: In the same order.
        left_out: Records that could not be read or shown.
    """

    version: int
    records: list[Row]
    details: list[Detail]
    left_out: list[LeftOut]


def build_index(results: Path) -> Index:
    """Read all records below `results`.

    Raises:
        DataError: If `results` is no folder.
    """
    if not results.is_dir():
        raise DataError(
            "There is no results folder here.",
            where=str(results),
            do="Name the folder that was given to `idembench run --results`.",
        )
    shown = _shown(results)
    found: dict[str, tuple[Row, Detail]] = {}
    left_out: list[LeftOut] = []
    for folder in find_records(results):
        # A name on disk need not be text.
        path = (shown / folder.relative_to(results)).as_posix().encode("utf-8", "replace").decode()
        try:
            row, detail = _entry(folder, path)
        except IdembenchError as error:
            left_out.append(LeftOut(path=_clip(path, _SENTENCE), reason=_reason(error)))
            continue
        if detail["id"] in found:
            same = found[detail["id"]][1]["path"]
            left_out.append(LeftOut(path=_clip(path, _SENTENCE), reason=f"The same record is at {same}."))
            continue
        found[detail["id"]] = (row, detail)
    entries = sorted(found.values(), key=lambda entry: rank_key(entry[0]))
    for row, key in zip((row for row, _ in entries), _keys([detail["id"] for _, detail in entries]), strict=True):
        row["key"] = key
    return Index(
        version=INDEX_VERSION,
        records=[row for row, _ in entries],
        details=[detail for _, detail in entries],
        left_out=left_out,
    )


def _shown(results: Path) -> Path:
    """The folder as it is typed from here; a page that is published names no folder of the machine that made it."""
    if not results.is_absolute():
        return results
    here = Path.cwd()
    return results.relative_to(here) if results.is_relative_to(here) else Path(results.name)


def rank_key(row: Row) -> tuple[object, ...]:
    """Ranked records first, then exploratory ones, then the rest; within these the smaller proven bound first."""
    standings = ("ranked", "exploratory", "not ranked")
    missing = row["bound"] is None
    names = (row["model"], row["trait"], row["protocol"], row["key"])
    return (standings.index(row["standing"]), missing, row["bound"] or 0.0, *names)


def _reason(error: IdembenchError) -> str:
    """The error without its place, which stands beside it."""
    return _clip(" ".join([error.what, *([f"Found: {error.found}."] if error.found else [])]), _SENTENCE)


def _entry(folder: Path, path: str) -> tuple[Row, Detail]:
    """The row and the detail of one record.

    Raises:
        RecordError: If it cannot be read.
        DataError: If it is too large, or its numbers contradict each other so that they cannot be shown.
    """
    try:
        size = (folder / RECORD).stat().st_size
    except OSError as error:
        raise DataError("The record cannot be read.", found=str(error.strerror)) from error
    if size > LARGEST_RECORD_BYTES:
        raise DataError("The record is too large.", found=f"{size} bytes", expected=f"up to {LARGEST_RECORD_BYTES}")
    read = record.read(folder)
    _check_trajectory(read)
    verdict = read.analysis.artefact if read.analysis.exploratory else read.analysis.chain_law
    entry = _row(read, verdict), _detail(read, verdict, path)
    canonical_json(entry)  # refuses here what would break the whole index later
    return entry


def _check_trajectory(read: Record) -> None:
    """A well-formed record may still have a trajectory that no plot can show."""
    labels, analysis = read.protocol.labels, read.analysis
    levels = [level for point in analysis.trajectory for level in (point.trait, point.coherence)]
    wrong = []
    if [point.name for point in analysis.trajectory] != labels:
        wrong.append(f"checkpoints other than {labels[0]} to {labels[-1]}")
    if any(len(level.seeds) != len(read.chains) for level in levels):
        wrong.append(f"values of other than its {len(read.chains)} seeds")
    ends = [end for level in levels for end in (level.mean, *_ends(level, exploratory=False), *level.seeds)]
    ends += [end for level in levels for end in _ends(level, exploratory=True)]
    if any(end is not None and not 0.0 <= end <= FULL_SCALE for end in ends):
        wrong.append("a score outside 0 to 100")
    if analysis.exploratory != (len(read.chains) == 1):
        wrong.append(f"{len(read.chains)} seeds, but exploratory is {str(analysis.exploratory).lower()}")
    if wrong:
        raise DataError("The record contradicts itself.", found="; ".join(wrong))


def _ends(level: Level, *, exploratory: bool) -> tuple[float | None, float | None]:
    return (level.artefact_low, level.artefact_high) if exploratory else (level.low, level.high)


def _row(read: Record, verdict: Verdict) -> Row:
    protocol, effects = read.protocol, verdict.effects
    standing, not_ranked = _standing(read, verdict)
    numbers: Mapping[str, Effect] = {
        "seeding_effect": effects.seeding,
        "drift": effects.drift,
        "coherence_change": effects.coherence_cost,
    }
    reasons = {name: effect.reason for name, effect in numbers.items()} | {"bound": effects.proven_bound.reason}
    return Row(
        key=read.id,
        model=_clip(read.model.name, _NAME),
        trait=_clip(read.trait, _NAME),
        pack=_clip(protocol.pack, _NAME),
        protocol=_clip(protocol.name, _NAME),
        method=_clip(protocol.method, _NAME),
        mode=protocol.mode,
        cycles=protocol.cycles,
        seeds=[line.seed for line in read.chains],
        measurement=_clip(protocol.measuring.name, _NAME),
        responses=protocol.measuring.questions * protocol.measuring.repeats,
        margin=verdict.iteration.margin,
        standing=standing,
        not_ranked=not_ranked,
        estimand=verdict.estimand,
        seeding=verdict.seeding.value,
        transmission=verdict.transmission.value,
        iteration=list(verdict.iteration.values),
        coherence=list(verdict.coherence.values),
        qualified=verdict.iteration.qualified,
        seeding_effect=_interval(effects.seeding),
        drift=_interval(effects.drift),
        bound=_round(effects.proven_bound.estimate, 2),
        coherence_change=_interval(effects.coherence_cost),
        why={name: _clip(reason, _SENTENCE) for name, reason in reasons.items() if reason is not None},
    )


def _standing(read: Record, verdict: Verdict) -> tuple[Standing, str | None]:
    if not verdict.eligible:
        return "not ranked", _clip(verdict.eligible_reason or "no reason is given", _SENTENCE)
    if read.analysis.exploratory:
        return "exploratory", "one seed says nothing about another chain"
    return "ranked", None


def _interval(effect: Effect) -> Interval:
    return _round(effect.estimate, 2), _round(effect.low, 2), _round(effect.high, 2)


def _detail(read: Record, verdict: Verdict, path: str) -> Detail:
    points = read.analysis.trajectory
    exploratory = read.analysis.exploratory
    statements = (verdict.seeding, verdict.transmission, verdict.iteration, verdict.coherence)
    return Detail(
        id=read.id,
        path=_clip(path, _SENTENCE),
        command=f"idembench verify {shlex.quote(path)}",
        headline=_clip(read.analysis.headline, _SENTENCE),
        claim=_clip(verdict.claim, _SENTENCE),
        sentences=[_clip(statement.sentence, _SENTENCE) for statement in statements],
        caveats=_caveats(read, verdict),
        trait=_curve([point.trait for point in points], exploratory=exploratory),
        coherence=_curve([point.coherence for point in points], exploratory=exploratory),
        diverged=[
            Diverged(seed=line.seed, cycle=line.diverged.cycle, reason=_clip(line.diverged.reason, _SENTENCE))
            for line in read.chains
            if line.diverged is not None
        ],
        settings=_flat(read.protocol.model_dump(exclude={"name"})),
        execution=_flat(read.execution.model_dump()) + _software(read),
        origin=[
            ("model revision", _clip(read.model.revision or "none named", _NAME)),
            ("model digest", read.model.digest),
            ("protocol fingerprint", read.protocol_fingerprint),
            ("judge", _clip(read.judge.name, _NAME) + (", deterministic" if read.judge.deterministic else "")),
            ("judge fingerprint", read.judge.fingerprint),
            ("decision rule", _clip(read.analysis.rule.name, _NAME)),
        ],
    )


def _caveats(read: Record, verdict: Verdict) -> list[str]:
    """What has to be kept in mind, the gravest first."""
    said = []
    if read.analysis.exploratory:
        said.append(
            "Exploratory: one seed. Intervals and statements are about these very checkpoints; "
            "another chain, trained the same way, may behave differently."
        )
    elif verdict.eligible_reason is not None:
        said.append(f"Not ranked: {verdict.eligible_reason}.")
    said += [
        f"Seed {line.seed} diverged at {line.diverged.cycle}: {line.diverged.reason}"
        for line in read.chains
        if line.diverged is not None
    ]
    said.append(read.analysis.beyond_margin.sentence)
    if len(read.stacks) > 1:
        said.append(f"Parts of it were made by {len(read.stacks)} different software or hardware stacks.")
    return [_clip(text, _SENTENCE) for text in said]


def _curve(levels: Sequence[Level], *, exploratory: bool) -> Curve:
    ends = [_ends(level, exploratory=exploratory) for level in levels]
    return Curve(
        mean=[_round(level.mean, 1) for level in levels],
        low=[_round(low, 1) for low, _ in ends],
        high=[_round(high, 1) for _, high in ends],
        seeds=[[_round(value, 1) for value in seed] for seed in zip(*(level.seeds for level in levels), strict=True)],
    )


def _software(read: Record) -> list[tuple[str, str]]:
    """The parts of the first stack; a caveat says when there are more."""
    parts = next(iter(read.stacks.values()), {})
    return [(_clip(name, _NAME), _clip(value, _NAME)) for name, value in list(parts.items())[:40]]


def _flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as one list: `training.lora.rank` -> `16`."""
    flat: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{name}.")
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            flat.append((f"{prefix}{name}", _clip(text, _NAME)))
    return flat


def _keys(ids: Sequence[str]) -> list[str]:
    """The shortest prefixes of one length, at least `_KEY`, by which the ids can be told apart."""
    length = _KEY
    while len({one[:length] for one in ids}) < len(ids):
        length += 1
    return [one[:length] for one in ids]


def _round(value: float | None, digits: int) -> float | None:
    """Rounded, without a negative zero."""
    return None if value is None else round(value, digits) + 0.0


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
