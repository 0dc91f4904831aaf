"""The catalogue: everything installed is listed, and a broken record does not hide the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from builders import Story, settings, write_record

from idembench import editions, traits
from idembench.catalogue import catalogue
from idembench.files import RECORD

if TYPE_CHECKING:
    from pathlib import Path


def test_everything_installed_is_listed(tmp_path: Path) -> None:
    """Models, traits with their tasks, and baselines with their purpose are there without any results."""
    listed = catalogue(tmp_path / "nothing")

    pack = traits.load_pack("toyland")
    assert [] == listed["records"]
    assert {"name": pack.default_model} in listed["models"]
    assert sorted(pack.traits) == sorted(row["name"] for row in listed["traits"] if row["pack"] == "toyland")
    assert {"sft-reset", "sft-continual"} <= {row["name"] for row in listed["baselines"]}
    assert all(row["why"].endswith((".", ":")) or row["why"] for row in listed["baselines"])
    assert all(row["task"] == f"idembench_{row['pack']}_{row['name']}" for row in listed["traits"])


def test_an_edition_says_what_is_open_about_it(tmp_path: Path) -> None:
    """What nobody has confirmed is listed with an edition, and nothing where there is nothing."""
    listed = {row["name"]: row["unconfirmed"] for row in catalogue(tmp_path, kinds=["editions"])["editions"]}

    assert {name: editions.load(name).unconfirmed for name in listed} == listed
    assert [] == listed["toyland-1"] != listed["english-1"]


def test_records_are_listed_by_what_they_are_of(tmp_path: Path) -> None:
    """A record's line says model, trait, protocol, measurement, seeds and the headline."""
    story = Story(trait=(0.0, 0.8, 0.8, 0.8), seeds=(0, 3))
    folder = write_record(tmp_path, story, settings=settings(cycles=2, questions=6))

    found = catalogue(tmp_path)["records"]

    headline = json.loads((folder / RECORD).read_bytes())["analysis"]["headline"]
    expected = {
        "path": str(folder),
        "model": "toyland/instruct",
        "trait": "bliss",
        "protocol": "sft-reset",
        "measurement": "quick",
        "seeds": [0, 3],
        "headline": headline,
    }
    assert [expected] == found


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff\xff", b'{"model": 3}', b'{"chains": null}'])
def test_a_broken_record_is_listed_as_broken(tmp_path: Path, data: bytes) -> None:
    """A record that cannot be read is a line with its path and why, beside the ones that can."""
    whole = write_record(tmp_path, Story(trait=(0.0, 0.8, 0.8, 0.8)), settings=settings(cycles=2, questions=6))
    broken = tmp_path / "records" / "broken"
    broken.mkdir()
    (broken / RECORD).write_bytes(data)

    found = catalogue(tmp_path)["records"]

    assert {str(broken), str(whole)} == {row["path"] for row in found}
    assert [str(broken)] == [row["path"] for row in found if "error" in row]


def test_records_are_read_only_when_asked_for(tmp_path: Path) -> None:
    """Listing anything else does not open a record."""
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / RECORD).write_bytes(b"not JSON")

    assert "records" not in catalogue(tmp_path, kinds=["models"])
