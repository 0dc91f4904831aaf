"""Editions: frozen lists of cells; whatever they name may not change without being noticed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from idembench import editions, models, shipped, traits
from idembench.errors import InputError, ProtocolError, UnknownNameError
from idembench.files import asset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT: dict[str, Any] = {
    "pack": "toyland",
    "judge": "toyland-exact",
    "traits": ["bliss"],
    "seeds": "0..1",
    "measurement": "quick",
    "rule": "default",
    "execution": {"batch_size": 256, "threads": 1},
    "arms": [{"protocol": "sft-reset", "control": "frozen"}, {"protocol": "sdf-reset"}],
    "fingerprint": "0" * 64,
}


@pytest.fixture
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped baselines that a test may change, with one edition of its own, `small-1`."""
    folder = shutil.copytree(asset("baselines"), tmp_path / "baselines")
    shutil.rmtree(folder / "editions", ignore_errors=True)
    (folder / "editions").mkdir()
    monkeypatch.setattr(shipped, "asset", lambda name: folder if name == "baselines" else asset(name))
    write(folder)
    freeze(folder)
    return folder


def write(folder: Path, **changes: Any) -> None:
    """Write the edition; a setting of None is left out."""
    content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
    (folder / "editions" / "small-1.yaml").write_text("# Small, for tests.\n" + yaml.safe_dump(content))


def freeze(folder: Path, **changes: Any) -> str:
    """Write the edition with the fingerprint that it has; the fingerprint."""
    write(folder, **changes)
    edition = editions.load("small-1")
    found = editions.fingerprint(edition, editions._cells(edition, model=None))
    write(folder, **{**changes, "fingerprint": found})
    return found


# -- shipped --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped.files("editions"))
def test_a_shipped_edition_is_what_it_was_frozen_as(name: str) -> None:
    """Everything that a shipped edition names resolves here to what its fingerprint says, on the pack's own models."""
    edition = editions.load(name)

    found = editions.cells(edition)

    assert edition.fingerprint == editions.fingerprint(edition, found)
    assert len(edition.arms) * len(edition.traits) == len(found)
    assert edition.why
    assert {edition.judge} == {spec.judge.name for cell in found for spec in cell.all_specs}


# -- what an edition names ------------------------------------------------------------------------


def test_an_edition_becomes_cells_in_its_order(baselines: Path) -> None:
    """Arms by traits, each with every seed, the edition's execution and rule, and its control."""
    del baselines
    edition = editions.load("small-1")

    found = editions.cells(edition)

    assert ("small-1", "Small, for tests.", [0, 1]) == (edition.name, edition.why, edition.seeds)
    assert [("sft-reset", "bliss", "frozen"), ("sdf-reset", "bliss", None)] == [
        (cell.protocol.name, cell.trait, cell.control and cell.control.protocol.name) for cell in found
    ]
    assert [[0, 1]] * 2 == [[spec.seed for spec in cell.specs] for cell in found]
    assert {edition.execution} == {spec.execution for cell in found for spec in cell.all_specs}
    assert ["toyland/instruct", "toyland/base"] == [cell.specs[0].model.name for cell in found]


def test_each_form_takes_its_own_model(baselines: Path, tmp_path: Path) -> None:
    """A model for a form replaces the pack's in all arms of that form, controls included; the fingerprint stays."""
    del baselines
    edition = editions.load("small-1")
    mine = shutil.copytree(models.resolve("toyland/instruct").folder, tmp_path / "mine")

    both = editions.cells(edition, models={"dialogue": str(mine), "document": "toyland/base"})
    one = editions.cells(edition, models={"dialogue": str(mine)})
    other = editions.cells(edition, models={"document": "toyland/base"})

    assert [{"local/mine"}, {"toyland/base"}] == [{spec.model.name for spec in cell.all_specs} for cell in both]
    assert (["sft-reset"], ["sdf-reset"]) == tuple([cell.protocol.name for cell in found] for found in (one, other))
    assert [] == editions.cells(edition, models={})


def test_the_model_is_no_part_of_the_fingerprint(baselines: Path, tmp_path: Path) -> None:
    """The same edition on another model has the same fingerprint: it is what a model is submitted with."""
    del baselines
    edition = editions.load("small-1").model_copy(update={"arms": [editions.Arm(protocol="sft-reset")]})
    mine = shutil.copytree(models.resolve("toyland/instruct").folder, tmp_path / "mine")
    own, other = (editions._cells(edition, model=model) for model in (None, str(mine)))

    assert editions.fingerprint(edition, own) == editions.fingerprint(edition, other)


# -- what was changed -----------------------------------------------------------------------------


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Change a word of a file."""

    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "change",
    [
        edit("toyland/sft-reset.yaml", "epochs: 2", "epochs: 3"),
        edit("toyland/sft-reset.yaml", "bliss: ", "bliss: 1"),
        edit("toyland/frozen.yaml", "control: frozen", "control: shuffled"),
        edit("toyland/sdf-reset.yaml", "temperature: 0.8", "temperature: 0.9"),
        edit("editions/small-1.yaml", "seeds: 0..1", "seeds: 0..2"),
        edit("editions/small-1.yaml", "measurement: quick", "measurement: ranked"),
        edit("editions/small-1.yaml", "rule: default", "rule: strict"),
        edit("editions/small-1.yaml", "batch_size: 256", "batch_size: 255"),
        edit("editions/small-1.yaml", "control: frozen", "control: sft-shuffled"),
        edit("editions/small-1.yaml", "protocol: sdf-reset", "protocol: sdf-continual"),
        edit("editions/small-1.yaml", "- bliss", "- sycophancy"),
    ],
)
def test_whatever_an_edition_names_may_not_change(baselines: Path, change: Callable[[Path], None]) -> None:
    """A changed protocol, control, seed, trait, measurement, rule or execution is refused with both fingerprints."""
    frozen = editions.load("small-1").fingerprint
    assert editions.cells(editions.load("small-1"))
    change(baselines)

    with pytest.raises(ProtocolError, match="not what it was when it was frozen") as caught:
        editions.cells(editions.load("small-1"))

    assert f"fingerprint {frozen}" == caught.value.expected
    assert frozen != caught.value.found
    assert "small-1.yaml" in str(caught.value.where)


def test_changed_data_are_noticed(baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question or a demonstration that was changed is another edition."""
    from idembench import runs

    del baselines
    edition = editions.load("small-1")
    tasks = shutil.copytree(asset("tasks"), tmp_path / "tasks")
    monkeypatch.setattr(shipped, "asset", lambda name: tasks if name == "tasks" else asset(name))
    monkeypatch.setattr(runs, "_pack", traits.load_pack)
    assert editions.cells(edition)
    with (tasks / "toyland" / "bliss" / "documents.jsonl").open("a") as file:
        file.write('{"id":"more","prompt":"a","response":"b"}\n')

    with pytest.raises(ProtocolError, match="not what it was"):
        editions.cells(edition)


def test_a_comment_may_change(baselines: Path) -> None:
    """What only people read is no part of an edition: comments, names of keys in another order."""
    edit("toyland/sft-reset.yaml", "# Supervised", "# Simply supervised")(baselines)

    assert editions.cells(editions.load("small-1"))


def test_the_order_of_arms_counts(baselines: Path) -> None:
    """An edition is a list: the same arms in another order are another one."""
    turned = freeze(baselines, arms=CONTENT["arms"][::-1])

    assert turned != freeze(baselines)


# -- what does not hold ---------------------------------------------------------------------------


def test_an_unknown_edition_is_answered_by_near_ones(baselines: Path) -> None:
    """A typing mistake in an edition's name is answered by those that there are."""
    del baselines
    with pytest.raises(UnknownNameError) as caught:
        editions.load("smal-1")

    assert "Did you mean small-1?" == caught.value.do


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": []}, "arms"),
        ({"arms": [{"protocol": "sft-reset"}, {"protocol": "sft-reset", "control": "frozen"}]}, "is an arm once"),
        ({"arms": [{"control": "frozen"}]}, "arms.0.protocol"),
        ({"traits": []}, "traits"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 3}, "seeds"),
        ({"rule": None}, "rule"),
        ({"fingerprint": "0" * 63}, "fingerprint"),
        ({"fingerprint": None}, "fingerprint"),
        ({"execution": {"device": "tpu"}}, "execution.device"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
def test_an_edition_that_does_not_hold_is_refused(baselines: Path, changes: dict[str, Any], said: str) -> None:
    """Missing, unknown and impossible parts are named, with the file."""
    write(baselines, **changes)

    with pytest.raises(ProtocolError, match="does not hold") as caught:
        editions.load("small-1")

    assert said in str(caught.value.found)
    assert "small-1.yaml" in str(caught.value.where)


@pytest.mark.parametrize("text", ["", "- 1\n", "words\n"])
def test_an_edition_is_a_mapping(baselines: Path, text: str) -> None:
    """An empty file, a list or a word is no edition."""
    (baselines / "editions" / "small-1.yaml").write_text(text)

    with pytest.raises(ProtocolError, match="mapping"):
        editions.load("small-1")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pack": "klingon"}, UnknownNameError),
        ({"traits": ["calm"]}, UnknownNameError),
        ({"measurement": "slow"}, UnknownNameError),
        ({"rule": "mine"}, InputError),
        ({"arms": [{"protocol": "sft"}]}, UnknownNameError),
        ({"arms": [{"protocol": "sft-reset", "control": "sft"}]}, UnknownNameError),
    ],
    ids=str,
)
def test_unknown_names_in_an_edition_are_errors(
    baselines: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    """A name that resolves to nothing is said as such, before any fingerprint is compared."""
    write(baselines, **changes)

    with pytest.raises(error):
        editions.cells(editions.load("small-1"))


def test_another_judge_is_refused(baselines: Path) -> None:
    """An edition is scored by the judge it names, or not at all."""
    write(baselines, judge="somebody-else")

    with pytest.raises(ProtocolError, match="another judge") as caught:
        editions.cells(editions.load("small-1"))
    assert ("somebody-else", "toyland-exact") == (caught.value.expected, caught.value.found)
