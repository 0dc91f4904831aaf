"""Grid files: what ships holds, settings are crossed in order, and every mistake is one clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from idembench import grids, protocol_files, shipped, sweep
from idembench.catalogue import catalogue
from idembench.errors import IdembenchError, InputError, ProtocolError, UnknownNameError

PLAIN = {"name": "mine", "why": "", "baselines": ["sft-reset"], "seeds": [0]}


def grid(**more: Any) -> grids.Grid:
    """A grid of one baseline and one seed, with more said."""
    return grids.Grid.model_validate({**PLAIN, **more})


def write(folder: Path, text: str) -> str:
    """A grid file; its path."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# -- what ships -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cells", "chains"), [("data-quantity", 6, 30), ("temperature", 8, 40)])
def test_shipped_grids_hold(name: str, cells: int, chains: int) -> None:
    """Each grid that ships says why, has a plot of two settings that it varies, and all its cells resolve."""
    found = grids.load(name)

    expanded = sweep.expand(found)
    assert found.why.endswith((".", "?"))
    assert {found.plot.x, found.plot.lines} == set(found.varied)
    assert (cells, chains) == (len(expanded), sum(len(one.cell.specs) for one in expanded))


def test_the_temperature_grid_crosses_a_minority_and_a_majority() -> None:
    """Four temperatures meet two numbers of demonstrations."""
    found = sweep.expand(grids.load("temperature"))

    settings = [one.cell.protocol for one in found]
    assert {(t, n) for t in (0.6, 0.8, 1.0, 1.2) for n in (34, 64)} == {
        (one.sampling.temperature, one.data.n_seed) for one in settings
    }


def test_grids_are_listed_and_are_no_baselines() -> None:
    """`ls` knows every shipped grid with its purpose, and takes none for a pack's protocol."""
    listed = catalogue(Path("nowhere"), kinds=["grids", "baselines"])

    assert sorted(shipped.files("grids")) == [row["name"] for row in listed["grids"]]
    assert all(row["why"] for row in listed["grids"])
    assert set() == set(shipped.files("grids")) & {row["name"] for row in listed["baselines"]}


# -- what a file means ----------------------------------------------------------------------------


def test_settings_are_crossed_in_the_order_of_the_file() -> None:
    """Baselines, models, `cells` and the values of `set` are crossed, the last one fastest; what is the same in all cells is not varied."""
    found = grid(
        baselines=["a", "b"],
        models=["m", "n"],
        cells=[{"x": 1, "y": 2}, {"x": 3}],
        set={"p.q": [True, None], "r": ["s"]},
    )

    variants = found.variants
    assert 2 * 2 * 2 * 2 * 1 == len(variants)
    assert ["x", "y", "p.q"] == found.varied
    assert [
        ("a", "m", {"x": 1, "y": 2, "p.q": True, "r": "s"}),
        ("a", "m", {"x": 1, "y": 2, "p.q": None, "r": "s"}),
    ] == [(one.baseline, one.model, dict(one.settings)) for one in variants[:2]]
    assert ("b", "n", {"x": 3, "p.q": None, "r": "s"}) == (
        variants[-1].baseline,
        variants[-1].model,
        dict(variants[-1].settings),
    )


def test_a_grid_without_settings_is_its_baselines() -> None:
    """Nothing varied is one variant per baseline, with the pack's default model."""
    (only,) = grid().variants

    assert ("sft-reset", None, {}, []) == (only.baseline, only.model, only.settings, only.overrides)


@pytest.mark.parametrize("value", [1, 0.0002, 1e-300, True, None, "a: b # c", [1, "x"], {"k": [None]}, "1e-3", "ü\n"])
def test_a_value_reaches_the_protocol_as_it_is(value: object) -> None:
    """What a grid sets is read back by `--set`'s parser as the same value."""
    (variant,) = grid(set={"k": [value]}).variants
    (override,) = variant.overrides
    content: dict[str, Any] = {}

    protocol_files._apply(content, override)

    assert json.dumps({"k": value}) == json.dumps(content)


def test_a_file_is_named_by_its_path_and_says_why_in_its_first_line(tmp_path: Path) -> None:
    """A grid's name is its file's, its purpose the first comment, and seeds may be a range."""
    found = grids.load(write(tmp_path, "# Because.\nbaselines: [sft-reset]\nseeds: 0..2,7\nexecution: {threads: 2}\n"))

    assert ("mine", "Because.", [0, 1, 2, 7], 2) == (found.name, found.why, found.seeds, found.execution.threads)


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["A grid is a mapping", "NoneType"]),
        ("- a", ["A grid is a mapping", "list"]),
        ("baselines: [a", ["not valid YAML"]),
        ("baselines: [a]\nbaselines: [b]\nseeds: 0", ["duplicate key 'baselines'"]),
        ("baselines: [a]", ["seeds: Field required"]),
        ("seeds: 0..1", ["baselines: Field required"]),
        ("{baselines: [], seeds: [0]}", ["baselines"]),
        ("{baselines: [a], seeds: [0], colour: red}", ["colour: Extra inputs"]),
        ("{baselines: [a], seeds: 0..x}", ["Seeds cannot be read", "0..x"]),
        ("{baselines: [a], seeds: 0..99999999}", ["Too many seeds"]),
        ("{baselines: [a], seeds: 3}", ["seeds: Input should be a valid list"]),
        ("{baselines: [a], seeds: [0.5]}", ["seeds.0"]),
        ("{baselines: [a, a], seeds: [0]}", ['"a" is listed twice']),
        ("{baselines: [a], seeds: [0], set: {k: [1, 1]}}", ["1 is listed twice"]),
        ("{baselines: [a], seeds: [0], set: {k: []}}", ["set.k"]),
        ("{baselines: [a], seeds: [0], set: {k: 1}}", ["set.k"]),
        ("{baselines: [a], seeds: [0], set: {1: [1]}}", ["set.1"]),
        ("{baselines: [a], seeds: [0], set: {a=b: [1]}}", ["set.a=b"]),
        ("{baselines: [a], seeds: [0], set: {k: [.nan]}}", ["set.k"]),
        ("{baselines: [a], seeds: [0], set: {k: [2026-01-01]}}", ["set.k"]),
        ("{baselines: [a], seeds: [0], cells: []}", ["cells"]),
        ("{baselines: [a], seeds: [0], cells: [{}]}", ["cells.0"]),
        ("{baselines: [a], seeds: [0], cells: [{k: 1}], set: {k: [2]}}", ["k: in both set and cells"]),
        ("{baselines: [a], seeds: [0], plot: {x: k, y: drift}}", ["plot: k is not varied here"]),
        ("{baselines: [a], seeds: [0], plot: {x: trait, y: joy}}", ["plot.y"]),
        ("{baselines: [a], seeds: [0], execution: {device: tpu}}", ["execution.device", "tpu"]),
        ("{baselines: [a], seeds: [0], name: other}", ["its file's", "name"]),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, parts: list[str]) -> None:
    """Whatever is wrong in a grid file is an input error that says what; nothing else is raised."""
    with pytest.raises(InputError) as caught:
        grids.load(write(tmp_path, text))

    flat = " ".join(str(caught.value).split())
    assert [] == [part for part in parts if part not in flat]
    assert str(tmp_path) in flat


def test_a_file_that_is_not_there_or_no_name_is_an_error(tmp_path: Path) -> None:
    """A missing file says so; an unknown name offers the nearest."""
    with pytest.raises(ProtocolError, match="cannot be read"):
        grids.load(str(tmp_path / "no.yaml"))
    with pytest.raises(UnknownNameError) as caught:
        grids.load("temperate")

    assert "Did you mean temperature?" == caught.value.do


def test_a_grid_that_explodes_is_refused_before_it_does() -> None:
    """More variants than anyone could run are an error at once, however many keys are crossed."""
    huge = grid(set={f"k{n}": list(range(100)) for n in range(50)})

    with pytest.raises(IdembenchError, match="too large"):
        _ = huge.variants


@pytest.mark.parametrize(
    ("text", "expected"), [("3", [3]), ("0..2", [0, 1, 2]), ("0,2,5", [0, 2, 5]), ("0..1,7", [0, 1, 7]), ("3..1", [])]
)
def test_seeds_are_read_as_written(text: str, expected: list[int]) -> None:
    """A number, a list, a range and their mixtures."""
    assert expected == grids.parse_seeds(text, where="here")
