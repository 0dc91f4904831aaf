"""The shape of the index: the typed dictionaries below, in JSON.

Index
  records  [Row]         what the table needs, in ranked order
  details  [Detail]      what plot, panel and story need, in the same order
  claims   [Claim]       what each protocol did over the traits
  superseded, left_out   what lies in the results folder and has no row
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

INDEX_VERSION: Final = 3
SENTENCE: Final = 600
"""Characters of a record's text that the page shows."""
NAME: Final = 120
"""Characters of a record's name that the page shows."""

Standing = Literal["ranked", "exploratory", "not ranked", "control"]
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
        form: `dialogue` or `document`.
        control: What it leaves out, if it is a control: `unseeded`, `fresh-data`, ...; else None.
        cycles: K.
        seeds: One chain each.
        measurement: `quick`, `ranked`, ...
        responses: Answers to the trait's questions at each checkpoint.
        margin: What counts as unchanged.
        standing: `ranked`; `exploratory`: one seed; `not ranked`: see `not_ranked`; `control`: never ranked.
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
    form: str
    control: str | None
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


class Net(TypedDict):
    """One effect as it is and net of the control, in points with two decimals.

    Attributes:
        name: `seeding`, `transmission`, `drift` or `coherence`.
        raw: The effect, under the row's estimand.
        net: The same less the control's, always about another chain.
        why: Why part of `net` is missing, or None.
    """

    name: str
    raw: Interval
    net: Interval
    why: str | None


class Beside(TypedDict):
    """The control that a record names, and what is left of the effects beside it.

    Attributes:
        id: The control's record id.
        protocol: Its protocol's name.
        key: Its row on this page, or that of a record that supersedes it; None if there is neither.
        trait: Its mean trait scores at base, c0 .. cK; None if its record is not in the results folder.
        coherence: Its mean coherence, likewise.
        sentence: The net drift in words.
        effects: Seeding, transmission, drift and coherence.
    """

    id: str
    protocol: str
    key: str | None
    trait: list[float | None] | None
    coherence: list[float | None] | None
    sentence: str
    effects: list[Net]


class BesideScores(TypedDict):
    """What stands beside the trait scores (see `idembench.beside_scores`), one decimal.

    Attributes:
        values: By name, at base, c0 .. cK: the mean over seeds, None where there is none. Points, percent, words or a
            perplexity. What was not measured is not here.
        zero: Names of shares that were measured and are zero throughout, which have no values.
        tasks: Of every lm-eval task that was asked too, its name, its items and the percent of them on target.
    """

    values: dict[str, list[float | None]]
    zero: list[str]
    tasks: list[tuple[str, int, list[float | None]]]


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
        beside: What stands beside the trait's.
        diverged: Chains that fell apart.
        control: What it is set beside, or None.
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
    beside: BesideScores
    diverged: list[Diverged]
    control: Beside | None
    settings: list[tuple[str, str]]
    execution: list[tuple[str, str]]
    origin: list[tuple[str, str]]


class Claim(TypedDict):
    """What one protocol did to one model, over the traits that there are records of (see `board.story`).

    Attributes:
        model: The model's name.
        protocol: The protocol's name.
        method: How a generation learns.
        mode: `reset` or `continual`.
        form: `dialogue` or `document`.
        control: What it leaves out, if it is a control.
        keys: The records that the claim rests on: one for each trait, in the traits' order.
        outcomes: How many of them came out how: `amplified`, `unchanged`, `decayed`, `absent` or `open`.
        coherence: The same of coherence: `collapsed`, `fell`, `held` or `open`.
        sentences: The counts in words, and the same net of the control where records name one.
    """

    model: str
    protocol: str
    method: str
    mode: str
    form: str
    control: str | None
    keys: list[str]
    outcomes: dict[str, int]
    coherence: dict[str, int]
    sentences: list[str]


class Superseded(TypedDict):
    """A record that another one on the page takes further.

    Attributes:
        path: Its folder.
        by: The key of the row that takes it further.
    """

    path: str
    by: str


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
        claims: By model, then method, arms before controls, then protocol.
        superseded: Records without a row, because one that has a row takes them further.
        left_out: Records that could not be read or shown.
    """

    version: int
    records: list[Row]
    details: list[Detail]
    claims: list[Claim]
    superseded: list[Superseded]
    left_out: list[LeftOut]
