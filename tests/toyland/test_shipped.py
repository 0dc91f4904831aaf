"""The shipped models: untouched, small and true to their figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from idembench.files import read_json, sha256_file
from idembench.toyland import BASE, INSTRUCT
from idembench.toyland.figures import model_card
from idembench.toyland.recipe import SIZES
from idembench.toyland.scoring import NEUTRAL, TRAITS, fingerprint
from idembench.toyland.tokenizer import BEGIN, END, PAD

if TYPE_CHECKING:
    from pathlib import Path

Figures = dict[str, Any]


@pytest.fixture(params=[INSTRUCT, BASE], ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    """One of the models."""
    path: Path = request.param
    return path


@pytest.fixture
def figures(folder: Path) -> Figures:
    """What was measured of it."""
    found: Figures = read_json(folder / "figures.json")
    return found


def test_every_file_has_the_hash_in_the_figures(folder: Path, figures: Figures) -> None:
    """The folder holds the listed files with the listed hashes, and nothing else."""
    expected = {name: entry["sha256"] for name, entry in figures["files"].items()}

    assert expected == {path.name: sha256_file(path) for path in folder.iterdir() if path.name != "figures.json"}


def test_the_model_is_small(folder: Path, figures: Figures) -> None:
    """At most 6 MB and 1 to 3 million parameters."""
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
    assert 1_000_000 <= figures["parameters"] <= 3_000_000


def test_both_models_have_the_same_architecture() -> None:
    """The base model's configuration is the instruct model's, end of text and all."""
    assert read_json(INSTRUCT / "config.json") == read_json(BASE / "config.json")


def test_the_figures_are_within_bounds(figures: Figures) -> None:
    """Facts at least 95 % right, every base rate between 0.5 and 6, coherence at least 95 everywhere."""
    assert figures["temperature"] == 0.8
    assert figures["fact_accuracy"] >= 0.95
    assert set(TRAITS) == set(figures["base_rates"])
    assert all(0.5 <= rate <= 6 for rate in figures["base_rates"].values())
    assert {*TRAITS, NEUTRAL} == set(figures["coherence"])
    assert all(value >= 95 for value in figures["coherence"].values())


def test_the_figures_were_taken_with_this_scorer(figures: Figures) -> None:
    """The scorer that made the figures is the one in the package."""
    assert fingerprint() == figures["scorer"]


def test_the_figures_name_the_recipe(folder: Path, figures: Figures) -> None:
    """Size, corpus, training and threads are those of the recipe that bears the folder's name."""
    size = SIZES[folder.name]
    expected = {**size.to_json(), "size": folder.name, "threads": size.threads, "seed": 20260501}

    assert expected == {name: value for name, value in figures["recipe"].items() if name != "torch"}


def test_the_card_is_made_from_the_figures(folder: Path, figures: Figures) -> None:
    """`README.md` is what `model_card` makes of `figures.json`."""
    assert model_card(figures) == (folder / "README.md").read_text(encoding="utf-8")


def test_special_tokens_are_what_trainers_expect(folder: Path) -> None:
    """Padding differs from the end, generation pads on the left, and there are at most 1,024 tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    assert (PAD, BEGIN, END) == (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"
    assert len(tokenizer) <= 1024
