"""How often idembench is wrong: chains with a known truth, judged by the functions that judge real ones.

    Cell (noise, seeds, responses, drift) --simulate--> rates --write--> error-rates.json, error-rates.md

A simulated chain is a level per checkpoint (what another chain would do differently) and binomial answers
around it (what another sample of answers would do differently). `simulate` draws many sets of such chains
and passes their scores to `statistics.estimates` and `statistics.decisions`, the code `analyse` is made of;
nothing is decided here. Each cell has its own seed, derived from its name, so that any cell can be rerun
alone and gives the same numbers; fewer draws are the first of many.

It knows nothing about models, judges or records. The page is put into words in `error_rates_page.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from idembench.error_rates_page import Row, Table, page
from idembench.files import derive_seed, write_json, write_text
from idembench.statistics import RULES, decisions, estimates, study

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from idembench.statistics.estimates import BoolArray, Estimates, FloatArray

SEED_NAME: Final = "idembench error rates 1"
DRAWS: Final = 20_000
CYCLES: Final = 6  # K: checkpoints are cycles 0..6, as in the study's sweeps and the shipped baselines
QUESTIONS: Final = 200
SEEDS: Final = (3, 5, 10)
REPEATS: Final = (1, 5)  # 200 and 1,000 responses a checkpoint
DRIFTS: Final = (0.0, 5.0, 10.0)  # nothing; exactly the strict and exactly the default margin
_CHUNK: Final = 50  # draws at a time; part of what a seed means, since it orders the random numbers
_RESAMPLES: Final = 1000
_STEPS: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How chains trained the same way differ from each other.

    Args:
        name: What the tables call it.
        words: What it is.
        start: Mean level of every checkpoint, in points.
        sd: Standard deviation of a checkpoint's level over chains, in points (of a step, for a walk).
        shape: `normal` and `beta`: every checkpoint on its own; `walk`: each from the one before.
        direction: Sign of the drift, so that it stays on the scale.
        jump_share: Share of chains that jump at one of the cycles 2..K and stay there.
        jump: By how many points.
        question_sd: Standard deviation, in points, of what iterating does to single questions, alike in
            all chains.
    """

    name: str
    words: str
    start: float = 50.0
    sd: float = 2.0
    shape: Literal["normal", "beta", "walk"] = "normal"
    direction: float = 1.0
    jump_share: float = 0.0
    jump: float = 0.0
    question_sd: float = 0.0

    @property
    def mean_jump(self) -> float:
        """What jumps do to the mean over chains at the last cycle, in points."""
        return self.jump_share * self.jump


NOISES: Final = (
    Noise(name="normal, sd 2", words="levels around 50, each checkpoint off by a normal 2 points", sd=2.0),
    Noise(name="normal, sd 3", words="the same with 3 points", sd=3.0),
    Noise(name="normal, sd 4", words="the same with 4 points", sd=4.0),
    Noise(
        name="near 0", words="levels beta-distributed, mean 2, sd 2: skewed against the floor", start=2.0, shape="beta"
    ),
    Noise(
        name="near 100",
        words="the mirror image: mean 98, sd 2",
        start=98.0,
        shape="beta",
        direction=-1.0,
    ),
    Noise(
        name="rare jumps",
        words="normal, sd 2, but 20 % of chains jump up by 30 points at one of the cycles 2 to 6 and stay",
        jump_share=0.2,
        jump=30.0,
    ),
    Noise(
        name="random walk, sd 2", words="each cycle starts from the one before, off by a normal 2 points", shape="walk"
    ),
    Noise(
        name="questions differ",
        words="normal, sd 2, and iterating moves each question by its own normal 15 points, alike in all chains",
        question_sd=15.0,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One line of the table.

    Args:
        noise: How chains differ.
        seeds: S.
        repeats: Responses to each of `QUESTIONS` questions.
        drift: True change of the mean level at the last cycle alone, in points. One cycle at the margin
            and all others at no change is where the equivalence test errs most.
    """

    noise: Noise
    seeds: int
    repeats: int
    drift: float

    @property
    def name(self) -> str:
        """What the cell's seed is derived from."""
        return f"{self.noise.name} | {self.seeds} seeds | {self.repeats * QUESTIONS} responses | drift {self.drift:g}"


CELLS: Final = tuple(
    Cell(noise=noise, seeds=seeds, repeats=repeats, drift=drift)
    for noise in NOISES
    for repeats in REPEATS
    for seeds in SEEDS
    for drift in DRIFTS
)


# -- chains with a known truth ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Simulated scores and what is true of them; B draws.

    Args:
        scores: float64 [B, S, K + 1, Q], cycles 0..K, 0..100.
        frozen: float64 [B], true mean change from cycle 1 to K of another chain, on these questions.
        anew: The same on other questions.
        realised: float64 [B], true change of these very checkpoints, on other questions.
    """

    scores: FloatArray
    frozen: FloatArray
    anew: float
    realised: FloatArray


def draw(cell: Cell, rng: np.random.Generator, *, draws: int) -> Draws:
    """Draw sets of chains of one cell."""
    noise = cell.noise
    levels = _levels(cell, rng, draws=draws)  # [B, S, K + 1], points
    realised = (levels[..., -1] - levels[..., 1]).mean(axis=-1)
    by_question = levels[..., None]  # [B, S, K + 1, 1 or Q]
    frozen = np.full(draws, noise.direction * cell.drift + noise.mean_jump)
    if noise.question_sd:
        moved = rng.normal(0.0, noise.question_sd, (draws, QUESTIONS))
        by_question = np.repeat(by_question, QUESTIONS, axis=-1)
        by_question[:, :, 2:] += moved[:, None, None, :]
        frozen = frozen + moved.mean(axis=-1)
    hits = _hits(by_question / 100.0, cell.repeats, rng)
    return Draws(
        scores=hits.astype(np.float64) * (100.0 / cell.repeats),
        frozen=frozen,
        anew=noise.direction * cell.drift + noise.mean_jump,
        realised=realised,
    )


def _hits(chance: FloatArray, repeats: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Binomial counts [B, S, K + 1, Q], from 16 random bits an answer: chances are rounded to 1 / 65,536.

    Args:
        chance: float64 [B, S, K + 1, 1 or Q], 0..1 (clipped).
        repeats: Answers to each question.
        rng: Source of the bits.
    """
    limits = np.clip(np.rint(chance * _STEPS), 0, _STEPS - 1).astype(np.uint16)
    counts = np.zeros((*chance.shape[:-1], QUESTIONS), dtype=np.uint8)
    for _ in range(repeats):
        bits = rng.integers(0, 2**64, counts.size // 4, dtype=np.uint64).view(np.uint16)
        counts += bits.reshape(counts.shape) < limits
    return counts


def _levels(cell: Cell, rng: np.random.Generator, *, draws: int) -> FloatArray:
    noise = cell.noise
    shape = (draws, cell.seeds, CYCLES + 1)
    means = np.full(CYCLES + 1, noise.start)
    means[-1] += noise.direction * cell.drift
    if noise.shape == "beta":
        share = means / 100.0
        size = share * (1.0 - share) / (noise.sd / 100.0) ** 2 - 1.0
        return 100.0 * rng.beta(share * size, (1.0 - share) * size, shape)
    steps = rng.normal(0.0, noise.sd, shape)
    if noise.shape == "walk":
        steps[..., 1:] = np.cumsum(steps[..., 1:], axis=-1)
    levels: FloatArray = means + steps
    if noise.jump_share:
        jumps = rng.random((draws, cell.seeds)) < noise.jump_share
        at = rng.integers(2, CYCLES + 1, (draws, cell.seeds))
        there = jumps[..., None] & (np.arange(CYCLES + 1) >= at[..., None])
        levels = levels + noise.jump * there
    return levels


# -- what is concluded from them --------------------------------------------------------------------


def simulate(cell: Cell, *, draws: int) -> dict[str, float]:
    """Rates of one cell: how often intervals cover, and how often each statement is made.

    Args:
        cell: What is true.
        draws: Sets of chains; the first of a longer run of the same cell.

    Returns:
        Name to share of draws (of chains, for the study's rules), and the mean half-width of the
        chain-law interval in points. Names are explained on the page.
    """
    rng = np.random.Generator(np.random.SFC64(derive_seed(SEED_NAME, cell.name)))
    totals: dict[str, float] = {}
    done = 0
    while done < draws:
        given = draw(cell, rng, draws=_CHUNK)
        count = min(_CHUNK, draws - done)
        for name, values in _conclude(given, cell).items():
            totals[name] = totals.get(name, 0.0) + float(values[:count].mean(dtype=np.float64)) * count
        done += count
    return {name: round(total / draws, 6) for name, total in totals.items()}


def _conclude(given: Draws, cell: Cell) -> dict[str, BoolArray | FloatArray]:
    """Every conclusion about every draw; arrays [B] or [B, S]."""
    default, strict = RULES["default"], RULES["strict"]
    later = list(range(2, CYCLES + 1))
    moments = estimates.moments(estimates.paired(given.scores, later, [1]), repeats=cell.repeats)
    chain = estimates.chain_law(moments)
    wide = estimates.new_questions(moments)
    artefact = estimates.this_artefact(moments).last()
    drift = chain.last()
    by_margin = {rule.name: decisions.decide_iteration(chain, rule) for rule in (default, strict)}
    found: dict[str, BoolArray | FloatArray] = {
        "coverage chain law": _covers(drift, given.frozen),
        "coverage new questions": _covers(wide.last(), given.anew),
        "coverage this artefact": _covers(artefact, given.realised),
        "half-width chain law": _half_width(drift),
        "idempotent default": by_margin["default"].idempotent,
        "idempotent strict": by_margin["strict"].idempotent,
        "amplified": by_margin["default"].amplified,
        "decayed": by_margin["default"].decayed,
        "idempotent default new questions": decisions.decide_iteration(wide, default).idempotent,
        "drift new questions": _excludes_zero(wide.last()),
    }
    if cell.drift == 0.0:
        found |= _extras(given, cell, chain, artefact, moments.means[:, -1])
    return found


def _extras(
    given: Draws, cell: Cell, chain: Estimates, artefact: Estimates, changes: FloatArray
) -> dict[str, BoolArray | FloatArray]:
    """What only needs a look where nothing drifts: misuse of other intervals, and false alarms.

    Args:
        given: The draws.
        cell: Their cell.
        chain: Chain-law estimates of cycles 2..K against cycle 1, [B, K - 1].
        artefact: Artefact estimate of the last one, [B, 1].
        changes: float64 [B, S], change of each seed from cycle 1 to K.
    """
    rule = RULES["default"]
    inner = list(range(2, CYCLES))
    to_last = estimates.moments(estimates.paired(given.scores, [CYCLES], inner), repeats=cell.repeats)
    means = given.scores.mean(axis=-1)
    beyond = decisions.beyond_margin(means[..., -1] - means[..., 1], rule)
    found: dict[str, BoolArray | FloatArray] = {
        "chain law covered by artefact interval": _covers(artefact, given.frozen),
        "chain law covered by pooled interval": _pooled_covers(given),
        "chain law covered by bootstrap over seeds": _bootstrap_covers(changes, given.frozen),
        "non-monotone": decisions.turned_back(chain.cut(slice(None, -1)), estimates.chain_law(to_last), rule),
        "seed beyond margin": beyond,
        "no seed beyond margin": ~np.any(beyond, axis=-1),
    }
    for definition in study.DEFINITIONS:
        found[f"study {definition.name}"] = estimates.rounded(definition.value(means)) >= definition.threshold
    return found


def _covers(given: Estimates, truth: FloatArray | float) -> BoolArray:
    low, high = estimates.interval(given, alpha=RULES["default"].alpha)
    result: BoolArray = (low[..., 0] <= truth) & (truth <= high[..., 0])
    return result


def _excludes_zero(given: Estimates) -> BoolArray:
    low, high = estimates.interval(given, alpha=RULES["default"].alpha)
    result: BoolArray = (low[..., 0] > 0.0) | (high[..., 0] < 0.0)
    return result


def _half_width(given: Estimates) -> FloatArray:
    low, high = estimates.interval(given, alpha=RULES["default"].alpha)
    result: FloatArray = (high[..., 0] - low[..., 0]) / 2.0
    return result


def _pooled_covers(given: Draws) -> BoolArray:
    """The interval that treats every answer of every seed as independent (not used by idembench)."""
    change = given.scores[:, :, -1] - given.scores[:, :, 1]
    flat = change.reshape(change.shape[0], -1)
    half = 1.96 * flat.std(axis=-1, ddof=1) / np.sqrt(flat.shape[-1])
    result: BoolArray = np.abs(flat.mean(axis=-1) - given.frozen) <= half
    return result


def _bootstrap_covers(changes: FloatArray, truth: FloatArray) -> BoolArray:
    """The percentile bootstrap over seeds (not used by idembench); the same resamples for every draw."""
    seeds = changes.shape[-1]
    rng = np.random.Generator(np.random.PCG64(derive_seed(SEED_NAME, "bootstrap", seeds)))
    picks = rng.integers(0, seeds, (_RESAMPLES, seeds))
    weights = np.stack([(picks == seed).mean(axis=1) for seed in range(seeds)])  # [S, resamples]
    low, high = np.quantile(changes @ weights, (0.025, 0.975), axis=-1)
    result: BoolArray = (low <= truth) & (truth <= high)
    return result


# -- the table ------------------------------------------------------------------------------------


def table(cells: Iterable[Cell] = CELLS, *, draws: int = DRAWS) -> Table:
    """The machine-readable table: settings, noise models, one entry per cell."""
    return {
        "schema": 1,
        "seed": SEED_NAME,
        "draws": draws,
        "cycles": CYCLES,
        "questions": QUESTIONS,
        "margins": {name: rule.margin for name, rule in RULES.items()},
        "noises": [{"name": noise.name, "words": noise.words} for noise in NOISES],
        "cells": [
            Row(
                noise=cell.noise.name,
                seeds=cell.seeds,
                responses=cell.repeats * QUESTIONS,
                drift=cell.drift,
                rates=simulate(cell, draws=draws),
            )
            for cell in cells
        ],
    }


def write(folder: Path, *, draws: int = DRAWS) -> None:
    """Simulate every cell and write `error-rates.json` and `error-rates.md` into `folder`.

    20,000 draws take about seven minutes on one core.
    """
    rates = table(draws=draws)
    write_json(folder / "error-rates.json", rates)
    write_text(folder / "error-rates.md", page(rates))
