"""Error rates: the committed table is what the code gives, and says what it is claimed to say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from idembench import error_rates
from idembench.error_rates_page import page
from idembench.statistics import RULES, analyse

if TYPE_CHECKING:
    from idembench.error_rates_page import Table

SUITE = Path(__file__).parents[1] / "suite"
FEW = 200


@pytest.fixture(scope="module")
def committed() -> Table:
    return json.loads((SUITE / "error-rates.json").read_bytes())


@pytest.fixture(scope="module")
def rerun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller run of every cell, written as the large one is."""
    folder = tmp_path_factory.mktemp("rates")
    error_rates.write(folder, draws=FEW)
    return folder


def cells_of(table: Table) -> dict[tuple[str, int, int, float], dict[str, float]]:
    return {(row["noise"], row["seeds"], row["responses"], row["drift"]): row["rates"] for row in table["cells"]}


def find_cell(noise: str, *, seeds: int = 5, repeats: int = 5, drift: float = 0.0) -> error_rates.Cell:
    wanted = (noise, seeds, repeats, drift)
    return next(cell for cell in error_rates.CELLS if (cell.noise.name, cell.seeds, cell.repeats, cell.drift) == wanted)


def test_the_committed_table_is_large_and_complete(committed: Table) -> None:
    """At least 20,000 draws in every cell: each noise, 3, 5 and 10 seeds, 200 and 1,000 responses, three drifts."""
    assert committed["draws"] >= 20_000
    assert len(cells_of(committed)) == len(error_rates.CELLS) == 8 * 3 * 2 * 3
    assert {**committed, "cells": []} == error_rates.table([], draws=committed["draws"])


def test_the_committed_page_is_made_from_the_committed_table(committed: Table) -> None:
    """Rendering the committed numbers gives the committed page, byte for byte."""
    assert (SUITE / "error-rates.md").read_text(encoding="utf-8") == page(committed)


def test_the_verdict_errs_as_rarely_as_it_says(committed: Table) -> None:
    """Outside rare jumps: intervals cover at least 94.5 %, false idempotent and false drift stay under 5.5 %."""
    usual = [
        (drift, rates)
        for (noise, _, _, drift), rates in cells_of(committed).items()
        if noise not in {"rare jumps", "questions differ"}
    ]

    assert all(rates["coverage chain law"] > 0.945 for _, rates in usual)
    assert all(rates["idempotent default"] < 0.055 for drift, rates in usual if drift == RULES["default"].margin)
    assert all(rates["idempotent strict"] < 0.055 for drift, rates in usual if drift == RULES["strict"].margin)
    assert all(rates["amplified"] + rates["decayed"] < 0.055 for drift, rates in usual if drift == 0.0)


def test_one_cell_is_reproduced_exactly(committed: Table) -> None:
    """The same cell with the same number of draws gives the committed rates to the last digit."""
    cell = find_cell("normal, sd 2", seeds=3, repeats=1)

    assert error_rates.simulate(cell, draws=committed["draws"]) == cells_of(committed)["normal, sd 2", 3, 200, 0.0]


def test_a_smaller_run_agrees_within_its_monte_carlo_error(committed: Table, rerun: Path) -> None:
    """Every rate of every cell lies within four standard errors (shares smoothed by one success and one failure)."""
    large, small = cells_of(committed), cells_of(json.loads((rerun / "error-rates.json").read_bytes()))
    far = []
    for cell, rates in small.items():
        for name, rate in rates.items():
            known = large[cell][name]
            if name.startswith("half-width"):
                within = 0.15 * known
            else:
                smooth = (known * FEW + 1) / (FEW + 2)
                within = 4 * math.sqrt(smooth * (1 - smooth) * (1 / FEW + 1 / committed["draws"]))
            if abs(rate - known) > within:
                far.append((cell, name, rate, known))

    assert far == []


def test_the_page_of_any_run_names_its_command(rerun: Path) -> None:
    """The document says how to make it, with its own number of draws."""
    assert f"idembench error-rates --draws {FEW} --out suite" in (rerun / "error-rates.md").read_text(encoding="utf-8")


def test_fewer_draws_are_the_first_of_many() -> None:
    """A run of 60 draws counts the first 60 of a run of 100, across the boundary of a chunk."""
    cell = find_cell("normal, sd 3", seeds=3, repeats=1)
    few, many = (error_rates.simulate(cell, draws=draws) for draws in (60, 100))
    more = {name: many[name] * 100 - few[name] * 60 for name in few if not name.startswith("half-width")}

    assert all(-1e-3 <= count <= 40 + 1e-3 for count in more.values())


@pytest.mark.parametrize("noise", [noise.name for noise in error_rates.NOISES])
@pytest.mark.parametrize("drift", [0.0, 10.0])
def test_simulated_chains_have_the_truth_they_claim(noise: str, drift: float) -> None:
    """The mean change from cycle 1 to the last over many draws is the stated one, within four standard errors."""
    given = error_rates.draw(find_cell(noise, drift=drift), np.random.Generator(np.random.SFC64(1)), draws=2000)
    changes = (given.scores[:, :, -1] - given.scores[:, :, 1]).mean(axis=(1, 2))
    error = changes.std() / math.sqrt(len(changes))

    assert abs(changes.mean() - given.frozen.mean()) < 4 * error
    assert abs(changes.mean() - given.realised.mean()) < 4 * error + abs(given.frozen.mean() - given.anew)


@pytest.mark.parametrize("noise", ["normal, sd 3", "near 0", "rare jumps", "questions differ"])
def test_what_is_simulated_is_what_analyse_decides(noise: str) -> None:
    """For single draws, the simulated conclusions are those of `analyse` on the same scores."""
    cell = find_cell(noise, drift=5.0)
    given = error_rates.draw(cell, np.random.Generator(np.random.SFC64(2)), draws=20)
    concluded = error_rates._conclude(given, cell)
    for index, scores in enumerate(given.scores):
        trait = np.concatenate([np.zeros_like(scores[:, :1]), scores], axis=1)
        found = [
            analyse(trait, np.full_like(trait, 98.0), rule=RULES[name], diverged=[None] * 5, repeats=5)
            for name in ("default", "strict")
        ]
        values = found[0].chain_law.iteration.values
        said = [
            "idempotent" in values,
            "idempotent" in found[1].chain_law.iteration.values,
            "amplified" in values,
            "decayed" in values,
            "idempotent" in found[0].new_questions.iteration.values,
        ]
        names = (
            "idempotent default",
            "idempotent strict",
            "amplified",
            "decayed",
            "idempotent default new questions",
        )

        assert said == [bool(concluded[name][index]) for name in names]
