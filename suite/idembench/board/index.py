"""From records to the index: what the page needs of each, rounded, cut to size and in ranked order.

A record is input from anywhere: what cannot be read, is too large, or contradicts itself so that it cannot be
shown, is left out with the reason. A record that another one takes further is not shown beside it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from idembench import beside_scores, judges, record
from idembench.board import superseded
from idembench.board.settings import flat
from idembench.board.shape import (
    INDEX_VERSION,
    NAME,
    SENTENCE,
    Beside,
    BesideScores,
    Curve,
    Detail,
    Diverged,
    Index,
    LeftOut,
    Net,
    Row,
    Standing,
    Superseded,
)
from idembench.board.story import claims
from idembench.errors import DataError, IdembenchError
from idembench.files import RECORD, canonical_json, find_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from idembench.board.shape import Interval
    from idembench.record import ControlLine, Record
    from idembench.statistics import Effect, Level, Verdict

    _Find = Callable[[Mapping[str, superseded.Trace], Callable[[str], Record]], dict[str, str]]

LARGEST_RECORD_BYTES: Final = 16 << 20
FULL_SCALE: Final = 100.0
_TASKS = 20  # lm-eval tasks that are shown of a record
_KEY = 8  # hexadecimal digits of a record id that name it on the page, unless two records share them
_READ_AT_ONCE = 64  # records that are kept while looking for those that supersede others
LEAVES_OUT: Final[Mapping[str, str]] = {
    "unseeded": "no trait is seeded",
    "fresh-data": "every cycle trains on new demonstrations, not on own outputs",
    "shuffled": "own outputs stand under other prompts",
    "frozen": "nothing is trained after cycle 0",
}
"""What each kind of control does otherwise, in words (see `Protocol.control`)."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One record on its way to the page."""

    row: Row
    detail: Detail
    folder: Path
    trace: superseded.Trace


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
    found: dict[str, _Entry] = {}
    left_out: list[LeftOut] = []
    for folder in find_records(results):
        # A name on disk need not be text.
        path = (shown / folder.relative_to(results)).as_posix().encode("utf-8", "replace").decode()
        try:
            entry = _entry(folder, path)
        except IdembenchError as error:
            left_out.append(LeftOut(path=_clip(path, SENTENCE), reason=_reason(error)))
            continue
        name = entry.detail["id"]
        if name in found:
            same = found[name].detail["path"]
            left_out.append(LeftOut(path=_clip(path, SENTENCE), reason=f"The same record is at {same}."))
            continue
        found[name] = entry
    by = _by_steps(superseded.superseded, found)
    standing = {name: found[name] for name in sorted(found.keys() - by.keys())}
    keys = dict(zip(standing, _keys(list(standing)), strict=True))
    _rank_chains_once(standing, keys)
    _rank_one_judge(list(standing.values()))
    entries = sorted(standing.values(), key=lambda entry: rank_key(entry.row))
    for entry in entries:
        entry.row["key"] = keys[entry.detail["id"]]
        if entry.detail["control"] is not None:
            _link(entry.detail["control"], found, by, keys)
    rows, details = [entry.row for entry in entries], [entry.detail for entry in entries]
    return Index(
        version=INDEX_VERSION,
        records=rows,
        details=details,
        claims=claims(rows, details),
        superseded=[
            Superseded(path=found[name].detail["path"], by=keys[by[name]])
            for name in sorted(by, key=lambda name: found[name].detail["path"])
        ],
        left_out=left_out,
    )


def _by_steps(find: _Find, found: Mapping[str, _Entry]) -> dict[str, str]:
    read = lru_cache(_READ_AT_ONCE)(lambda name: record.read(found[name].folder))
    return find({name: entry.trace for name, entry in found.items()}, read)


def _rank_chains_once(standing: Mapping[str, _Entry], keys: Mapping[str, str]) -> None:
    """Let the same chains take one rank, however often they were asked something else beside.

    The furthest stands for them also where it is not ranked itself: else a chain could be kept at where it looked best.
    """
    for name, by in _by_steps(superseded.stood_for, standing).items():
        row = standing[name].row
        if row["standing"] == "ranked":
            row["standing"] = "not ranked"
            row["not_ranked"] = f"its chains are those of record {keys[by]}, which stands for them"


def _rank_one_judge(entries: Sequence[_Entry]) -> None:
    """Let ranks compare scores of one judge: in each pack that of the most ranked records; the others say whose they are."""
    ranked = [(dict(entry.detail["origin"]), entry.row) for entry in entries if entry.row["standing"] == "ranked"]
    for pack in {row["pack"] for _, row in ranked}:
        judged = [(origin, row) for origin, row in ranked if row["pack"] == pack]
        counts = Counter(origin["judge fingerprint"] for origin, _ in judged)
        first = min(counts, key=lambda fingerprint: (-counts[fingerprint], fingerprint))
        for origin, row in judged:
            if origin["judge fingerprint"] != first:
                row["standing"] = "not ranked"
                row["not_ranked"] = _clip(
                    f"scored by another judge ({origin['judge']}) than the records that are", SENTENCE
                )


def _link(beside: Beside, found: Mapping[str, _Entry], by: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Put in what is known of a control whose record is here too."""
    name = beside["id"]
    beside["key"] = keys.get(by.get(name, name))
    if name in found:
        control = found[name].detail
        beside["trait"], beside["coherence"] = control["trait"]["mean"], control["coherence"]["mean"]


def _shown(results: Path) -> Path:
    """The folder as it is typed from here; a page that is published names no folder of the machine that made it."""
    if not results.is_absolute():
        return results
    here = Path.cwd()
    return results.relative_to(here) if results.is_relative_to(here) else Path(results.name)


def rank_key(row: Row) -> tuple[object, ...]:
    """Ranked records first, then exploratory ones, the rest, controls; within these the smaller bound first."""
    standings = get_args(Standing)
    missing = row["bound"] is None
    names = (row["model"], row["trait"], row["protocol"], row["key"])
    return (standings.index(row["standing"]), missing, row["bound"] or 0.0, *names)


def _reason(error: IdembenchError) -> str:
    """The error without its place, which stands beside it."""
    return _clip(" ".join([error.what, *([f"Found: {error.found}."] if error.found else [])]), SENTENCE)


def _entry(folder: Path, path: str) -> _Entry:
    """One record.

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
    row, detail = _row(read, verdict), _detail(read, verdict, path)
    canonical_json([row, detail])  # refuses here what would break the whole index later
    return _Entry(row, detail, folder, superseded.trace(read))


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
        model=_clip(read.model.name, NAME),
        trait=_clip(read.trait, NAME),
        pack=_clip(protocol.pack, NAME),
        protocol=_clip(protocol.name, NAME),
        method=_clip(protocol.method, NAME),
        mode=protocol.mode,
        form=protocol.form,
        control=protocol.control,
        cycles=protocol.cycles,
        seeds=[line.seed for line in read.chains],
        measurement=_clip(protocol.measuring.name, NAME),
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
        why={name: _clip(reason, SENTENCE) for name, reason in reasons.items() if reason is not None},
    )


def _unfit(read: Record) -> str | None:
    """Why a record's scores are shown and never ranked, if they are not."""
    if read.judged_itself:
        return "the model judged itself"
    if read.judge.name == judges.WEAK:
        return "scored by the offline classifier, which no claim should rest on (see its card)"
    if read.pool is not None:
        return f"its generations answered other prompts than the pack's own ({read.pool.name})"
    # It stands beside the one whose responses it scores anew, which is ranked.
    return f"scored anew by {read.judge.name}" if read.rejudged is not None else None


def _standing(read: Record, verdict: Verdict) -> tuple[Standing, str | None]:
    if read.protocol.control is not None:
        return "control", f"a control: {LEAVES_OUT[read.protocol.control]}"
    unfit = _unfit(read)
    if not verdict.eligible:
        reasons = [verdict.eligible_reason or "no reason is given", *([unfit] if unfit else [])]
        return "not ranked", _clip("; ".join(reasons), SENTENCE)
    if unfit is not None:
        return "not ranked", _clip(unfit, SENTENCE)
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
        path=_clip(path, SENTENCE),
        command=f"idembench verify {shlex.quote(path)}",
        headline=_clip(read.analysis.headline, SENTENCE),
        claim=_clip(verdict.claim, SENTENCE),
        sentences=[_clip(statement.sentence, SENTENCE) for statement in statements],
        caveats=_caveats(read, verdict),
        trait=_curve([point.trait for point in points], exploratory=exploratory),
        coherence=_curve([point.coherence for point in points], exploratory=exploratory),
        beside=_beside_scores(read),
        diverged=[
            Diverged(seed=line.seed, cycle=line.diverged.cycle, reason=_clip(line.diverged.reason, SENTENCE))
            for line in read.chains
            if line.diverged is not None
        ],
        control=None if read.control is None else _control(read.control, verdict),
        settings=flat(read.protocol.model_dump(exclude={"name"})),
        execution=flat(read.execution.model_dump()) + _software(read),
        origin=[
            ("model revision", _clip(read.model.revision or "none named", NAME)),
            ("model digest", read.model.digest),
            ("protocol fingerprint", read.protocol_fingerprint),
            ("judge", _clip(read.judge.name, NAME) + (", deterministic" if read.judge.deterministic else "")),
            ("judge fingerprint", read.judge.fingerprint),
            *([("scored anew from", read.rejudged.record)] if read.rejudged else []),
            *([("prompts", _clip(f"{read.pool.name} ({read.pool.prompts})", NAME))] if read.pool else []),
            ("decision rule", _clip(read.analysis.rule.name, NAME)),
        ],
    )


def _beside_scores(read: Record) -> BesideScores:
    columns = [column for column in beside_scores.columns(read) if column.measured]
    return BesideScores(
        values={one.name: [_round(value, 1) for value in one.values] for one in columns if not one.zero},
        zero=[one.name for one in columns if one.zero],
        tasks=[
            (_clip(task.name, NAME), task.items, [_percent(value) for value in means.values()])
            for task, means in list(beside_scores.accuracies(read).items())[:_TASKS]
        ],
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else _round(100 * share, 1)


def _control(line: ControlLine, verdict: Verdict) -> Beside:
    raw, net = verdict.effects, line.net
    effects = {
        "seeding": (raw.seeding, net.seeding),
        "transmission": (raw.transmission, net.transmission),
        "drift": (raw.drift, net.drift),
        "coherence": (raw.coherence_cost, net.coherence_cost),
    }
    return Beside(
        id=line.record,
        protocol=_clip(line.protocol, NAME),
        key=None,
        trait=None,
        coherence=None,
        sentence=_clip(net.sentence, SENTENCE),
        effects=[
            Net(
                name=name,
                raw=_interval(of_chain),
                net=_interval(beside),
                why=None if beside.reason is None else _clip(beside.reason, SENTENCE),
            )
            for name, (of_chain, beside) in effects.items()
        ],
    )


def _caveats(read: Record, verdict: Verdict) -> list[str]:
    """What has to be kept in mind, the gravest first."""
    said = []
    if read.protocol.control is not None:
        said.append(f"A control, never ranked: {LEAVES_OUT[read.protocol.control]}.")
    if read.analysis.exploratory:
        said.append(
            "Exploratory: one seed. Intervals and statements are about these very checkpoints; "
            "another chain, trained the same way, may behave differently."
        )
    elif verdict.eligible_reason is not None and read.protocol.control is None:
        said.append(f"Not ranked: {verdict.eligible_reason}.")
    said += [
        f"Seed {line.seed} diverged at {line.diverged.cycle}: {line.diverged.reason}"
        for line in read.chains
        if line.diverged is not None
    ]
    if read.judged_itself:
        said.append("The model under test scored its own generations, which is no evidence.")
    if read.rejudged is not None:
        said.append(
            f"Scored anew by {read.judge.name}: the same responses, scored by {read.rejudged.judge.name}, are record "
            f"{read.rejudged.record[:12]}. Scores of two judges are not compared by rank."
        )
    said += beside_scores.warnings(read)
    said.append(read.analysis.beyond_margin.sentence)
    if len(read.stacks) > 1:
        said.append(f"Parts of it were made by {len(read.stacks)} different software or hardware stacks.")
    return [_clip(text, SENTENCE) for text in said]


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
    return [(_clip(name, NAME), _clip(value, NAME)) for name, value in list(parts.items())[:40]]


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
