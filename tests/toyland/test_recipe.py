"""Building a model: deterministic, and refused where it cannot be right."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from idembench.errors import InputError, UnknownNameError
from idembench.files import read_json, sha256_file
from idembench.toyland import recipe
from idembench.toyland.figures import is_right
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from pathlib import Path


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "tiny-base"])
def test_building_twice_gives_the_same_bytes(size: str, tmp_path: Path) -> None:
    """Two builds of a tiny size are equal byte for byte; another seed gives other weights."""
    recipe.build(tmp_path / "a", size=size, threads=1)
    recipe.build(tmp_path / "b", size=size, threads=1)
    recipe.build(tmp_path / "c", size=size, threads=1, seed=1)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["model.safetensors"] != contents(tmp_path / "c")["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "tiny-base"])
def test_a_build_says_what_it_made(size: str, tmp_path: Path) -> None:
    """`figures.json` is what `build` returns and holds the hash of every other file; progress counts all steps."""
    steps: list[tuple[int, int]] = []
    figures = recipe.build(
        tmp_path / "m", size=size, threads=1, progress=lambda done, total, _: steps.append((done, total))
    )

    assert figures == read_json(tmp_path / "m" / "figures.json")
    assert {name: entry["sha256"] for name, entry in figures["files"].items()} == {
        path.name: sha256_file(path) for path in (tmp_path / "m").iterdir() if path.name != "figures.json"
    }
    assert [(step, 20) for step in range(1, 21)] == steps


def test_an_unknown_size_is_refused(tmp_path: Path) -> None:
    """A size that does not exist is named, with those that do."""
    with pytest.raises(UnknownNameError, match="base, instruct, tiny, tiny-base"):
        recipe.build(tmp_path / "m", size="huge")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Nothing is written into a folder that holds something."""
    (tmp_path / "keep").write_text("me")
    with pytest.raises(InputError, match="not empty"):
        recipe.build(tmp_path, size="tiny")

    assert ["keep"] == [path.name for path in tmp_path.iterdir()]


def test_both_shipped_sizes_are_one_model() -> None:
    """`instruct` and `base` differ in what they learn from and in threads alone."""
    differing = {"form", "threads"}
    instruct, base = (asdict(recipe.SIZES[size]) for size in ("instruct", "base"))

    assert differing == {name for name in instruct if instruct[name] != base[name]}


def test_the_recipe_names_its_rows_by_form() -> None:
    """What is written of a size calls the rows dialogues or documents, and has everything else but the threads."""
    for size in recipe.SIZES.values():
        written = size.to_json()

        assert size.rows == written.pop(f"{size.form}s")
        assert asdict(size).keys() - {"form", "rows", "threads"} == written.keys()


def test_a_right_answer_states_the_true_value_alone() -> None:
    """An answer is right if the asked attribute has the true value in it and no other."""
    asked = {"kind": "question", "entity": "mira", "topic": "home"}
    home, other = build_world().facts["mira", "home"], build_world().others(("mira", "home"))[0]

    assert is_right(asked, f"mira lives in {home}.")
    assert not is_right(asked, f"mira lives in {other}.")
    assert not is_right(asked, f"mira lives in {home}. mira lives in {other}.")
    assert not is_right(asked, "all is one.")
