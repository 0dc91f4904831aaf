"""The page: what its index holds, in which order, and that no record breaks it or speaks to the browser."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from builders import KEPT, Story, build_record, settings, write_record
from hypothesis import given
from hypothesis import strategies as st

from idembench import beside_scores, board, record
from idembench.board import index as indexing
from idembench.board import markup, shape, story, superseded
from idembench.board import settings as flattened
from idembench.errors import DataError, EnvironmentProblem
from idembench.files import asset, canonical_json
from idembench.steps import AskedTask
from idembench.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

LOST = (0.02, 0.60, 0.03, 0.02, 0.03, 0.02)
GROWN = (0.02, 0.40, 0.45, 0.60, 0.75, 0.90)
NASTY = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>"


def rows_of(results: Path) -> list[shape.Row]:
    return board.build_index(results)["records"]


def change(folder: Path, **changes: Any) -> Path:
    """Overwrite parts of a record without keeping it true."""
    made = record.read(folder).model_copy(update=changes)
    (folder / "record.json").write_bytes(made.canonical())
    return folder


def data_of(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record that is idempotent, one that amplifies, one whose trait was lost and one of a single seed."""
    folder = tmp_path_factory.mktemp("board") / "results"
    write_record(folder, Story(trait=LOST), trait="bliss")
    write_record(folder, Story(trait=KEPT, seeds=[4]), trait="misalignment")
    write_record(folder, Story(trait=GROWN, spread=0.01), trait="sycophancy")
    write_record(folder, Story(trait=KEPT), trait="misalignment")
    return folder


# -- the index ------------------------------------------------------------------------------------


def test_the_builders_records_verify(results: Path) -> None:
    """What these tests show is true: every record of the builder verifies."""
    reports = [verify(folder) for folder in sorted(path.parent for path in results.rglob("record.json"))]

    assert [True] * 4 == [report.ok for report in reports]


def test_eligible_records_come_first_by_proven_bound(results: Path) -> None:
    """Ranked records lead, the smaller proven bound first; one seed follows; what is not ranked is last."""
    rows = rows_of(results)

    assert ["ranked", "ranked", "exploratory", "not ranked"] == [row["standing"] for row in rows]
    assert ["misalignment", "sycophancy", "misalignment", "bliss"] == [row["trait"] for row in rows]


@given(st.lists(st.tuples(st.sampled_from(["ranked", "exploratory", "not ranked"]), st.none() | st.floats(0, 100))))
def test_a_missing_bound_never_outranks_a_number(given_rows: list[tuple[str, float | None]]) -> None:
    """Within a standing, rows without a proven bound come after all rows with one."""
    rows: list[Any] = [
        {"standing": standing, "bound": bound, "model": "m", "trait": "t", "protocol": "p", "key": str(number)}
        for number, (standing, bound) in enumerate(given_rows)
    ]

    order = [(row["standing"], row["bound"]) for row in sorted(rows, key=indexing.rank_key)]

    for (standing, before), (next_standing, after) in itertools.pairwise(order):
        assert standing != next_standing or before is not None or after is None
        assert standing != next_standing or before is None or after is None or before <= after


def test_a_row_holds_what_the_record_says(results: Path) -> None:
    """Statements and numbers of a row are those of the record's chain-law verdict, rounded."""
    row = rows_of(results)[1]
    folder = next(p.parent for p in results.rglob("record.json") if "sycophancy" in p.parts)
    verdict = record.read(folder).analysis.chain_law
    drift = verdict.effects.drift

    assert ("taken", ["amplified"]) == (row["seeding"], row["iteration"])
    assert ("chain law", None, False) == (row["estimand"], row["not_ranked"], row["qualified"])
    assert drift.estimate is not None
    assert round(drift.estimate, 2) == row["drift"][0]
    assert verdict.iteration.margin == row["margin"]


def test_one_seed_is_exploratory_and_speaks_of_its_checkpoints(results: Path) -> None:
    """A single seed shows the artefact's intervals, says so, and is not ranked."""
    index = board.build_index(results)
    row, detail = index["records"][2], index["details"][2]

    assert ("exploratory", "this artefact", [4]) == (row["standing"], row["estimand"], row["seeds"])
    assert all(end is not None for end in (*row["drift"], row["bound"], *detail["trait"]["low"]))
    assert detail["caveats"][0].startswith("Exploratory: one seed.")


def test_a_lost_trait_is_not_ranked_and_its_idempotence_is_qualified(results: Path) -> None:
    """A trait that vanished at once stays constant for ever: the row says why that does not count."""
    row = rows_of(results)[3]

    assert ("lost", True) == (row["transmission"], row["qualified"])
    assert row["not_ranked"] == "the first self-trained model lost the trait"


def test_seeds_that_moved_are_counted_beside_the_mean(results: Path) -> None:
    """Every record carries the count of seeds beyond the margin with its Clopper-Pearson bound."""
    details = board.build_index(results)["details"]

    assert "0 of 3 seeds moved beyond the margin: up to 63 % of chains could." in details[0]["caveats"]


def test_a_diverged_seed_is_shown(tmp_path: Path) -> None:
    """A chain that fell apart keeps its seed; its later scores are missing, and the row says what that cost."""
    write_record(tmp_path, Story(trait=KEPT, seeds=[0, 1], diverged={1: "c3"}))

    index = board.build_index(tmp_path)
    row, detail = index["records"][0], index["details"][0]

    assert [{"seed": 1, "cycle": "c3", "reason": "The training loss is not a number."}] == detail["diverged"]
    assert [None, None] == detail["trait"]["seeds"][1][4:]
    assert "collapsed" in row["coherence"]
    assert (None, None) == row["drift"][1:]
    assert row["why"]["drift"]


def test_numbers_are_rounded_and_curves_fit_the_protocol(results: Path) -> None:
    """Scores have one decimal, effects two, and every curve has a value or None at each checkpoint."""
    index = board.build_index(results)

    for row, detail in zip(index["records"], index["details"], strict=True):
        for curve in (detail["trait"], detail["coherence"]):
            values = [*curve["mean"], *curve["low"], *curve["high"], *(v for seed in curve["seeds"] for v in seed)]
            assert all(value is None or round(value, 1) == value for value in values)
            assert {row["cycles"] + 2} == {len(curve[name]) for name in ("mean", "low", "high")}
            assert len(row["seeds"]) == len(curve["seeds"])


def test_keys_tell_records_apart() -> None:
    """Keys are the shortest prefixes of at least eight digits that no two records share."""
    assert ["aaaaaaaa", "bbbbbbbb"] == indexing._keys(["a" * 64, "b" * 64])
    assert ["aaaaaaaaab", "aaaaaaaaac"] == indexing._keys(["a" * 9 + "b" * 55, "a" * 9 + "c" * 55])


def test_the_index_is_the_same_whatever_the_order_on_disk(results: Path, tmp_path: Path) -> None:
    """Two builds of the same records are the same bytes."""
    one, other = board.build(results, tmp_path / "a").page, board.build(results, tmp_path / "b").page

    assert one.read_bytes() == other.read_bytes()


def test_what_the_table_needs_stays_small(results: Path) -> None:
    """Rows of 10,000 different records compress to under one megabyte; details can be split off by their list."""
    rows = rows_of(results)
    many = []
    for number in range(10_000):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        noise = [int(digest[i : i + 4], 16) / 655.36 for i in range(0, 40, 4)]
        numbers: dict[str, Any] = {
            "key": digest[:8],
            "seeding_effect": [round(v, 2) for v in noise[:3]],
            "drift": [round(v, 2) for v in noise[3:6]],
            "coherence_change": [round(v, 2) for v in noise[6:9]],
            "bound": round(noise[9], 2),
        }
        many.append({**rows[number % len(rows)], **numbers})

    assert len(gzip.compress(canonical_json(many))) < 1_000_000


# -- superseded records -----------------------------------------------------------------------------


def test_a_record_taken_further_replaces_the_shorter_one(tmp_path: Path) -> None:
    """More cycles or more seeds make a record superseded; it has no row and is listed with the one that has."""
    shorter = write_record(tmp_path, Story(trait=KEPT[:5], seeds=[0, 1]), settings=settings(cycles=3))
    fewer = write_record(tmp_path, Story(seeds=[0, 1]))
    write_record(tmp_path, Story(), trait="misalignment")
    whole = write_record(tmp_path, Story())

    index = board.build_index(tmp_path)
    row = next(row for row in index["records"] if row["trait"] == "bliss")

    assert {whole.name[:8], *(r["key"] for r in index["records"] if r["trait"] != "bliss")} == {
        r["key"] for r in index["records"]
    }
    assert {shorter.name: row["key"], fewer.name: row["key"]} == {
        one["path"].rsplit("/", 1)[1]: one["by"] for one in index["superseded"]
    }


def test_naming_a_control_supersedes_the_same_record_without_one(tmp_path: Path) -> None:
    """The chains are the same; the one that stands beside a control says more."""
    control = build_record(Story(trait=FLAT), settings=settings("sft-fresh-data"))
    plain, beside = Story(), build_record(Story(), settings=settings(), control=control)
    write_record(tmp_path, plain)
    record.write(tmp_path, *beside, {})

    index = board.build_index(tmp_path)

    assert [beside[0].id] == [detail["id"] for detail in index["details"]]
    assert 1 == len(index["superseded"])


def test_looking_up_the_last_step_finds_what_comparing_all_pairs_finds() -> None:
    """The fast way and `record.supersedes` over every pair agree, whatever the order."""
    stories = [([0], 1), ([0, 1], 1), ([0, 1], 2), ([1], 2), ([0, 1, 2], 3), ([3], 3)]
    made = [
        build_record(Story(trait=KEPT[: cycles + 2], seeds=seeds), settings=settings(cycles=cycles, questions=10))[0]
        for seeds, cycles in stories
    ]
    by_id = {one.id: one for one in made}
    expected = {b.id for b in made if any(record.supersedes(a, b) for a in made)}

    found = superseded.superseded({one.id: superseded.trace(one) for one in made}, by_id.__getitem__)

    assert expected == set(found)
    assert {made[4].id} == set(found.values())


def test_records_that_share_nothing_are_not_read_twice() -> None:
    """Of many records only those whose last step lies in another one's chain are compared."""
    made = build_record(Story(seeds=[0]), settings=settings(questions=10))[0]
    trace = superseded.trace(made)
    traces = {
        str(number): dataclasses.replace(trace, last=number, steps=trace.steps[:0], extent=(1, number, False, 0))
        for number in range(10_000)
    }

    def read(name: str) -> Any:
        pytest.fail(f"{name} was read")

    assert {} == superseded.superseded(traces, read)


def test_another_models_record_supersedes_nothing(tmp_path: Path) -> None:
    """A record that copies another one's lineage under another trait does not make it disappear."""
    write_record(tmp_path, Story(seeds=[0, 1]))
    change(write_record(tmp_path, Story()), trait="copied")

    assert ([], 2) == (board.build_index(tmp_path)["superseded"], len(rows_of(tmp_path)))


# -- controls and the story -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One arm that amplifies two traits beside its control, and one that keeps them, once with a single seed too."""
    folder = tmp_path_factory.mktemp("told") / "results"
    for trait in ("bliss", "misalignment"):
        control = build_record(Story(trait=FLAT), trait=trait, settings=settings("dpo-unseeded"))
        arm = Story(trait=GROWN, spread=0.01, coherence=(1, 1, 1, 0.95, 0.9, 0.85))
        record.write(folder, *control, {})
        record.write(folder, *build_record(arm, trait=trait, settings=settings("dpo-continual"), control=control), {})
        write_record(folder, Story(), trait=trait)
    write_record(folder, Story(trait=GROWN, seeds=[7]), trait="bliss")
    return folder


FLAT = (0.02, 0.02, 0.02, 0.03, 0.02, 0.02)


def test_controls_are_marked_and_never_ranked(told: Path) -> None:
    """A control comes after everything else and says what it leaves out."""
    rows = rows_of(told)

    assert [True] * 2 == [row["control"] == "unseeded" and row["standing"] == "control" for row in rows[-2:]]
    assert all(row["control"] is None for row in rows[:-2])
    assert "a control: no trait is seeded" == rows[-1]["not_ranked"]
    assert {"dialogue"} == {row["form"] for row in rows}


def test_net_effects_stand_beside_the_raw_ones(told: Path) -> None:
    """The detail repeats the record's net effects and raw ones, names the control's row and holds its curve."""
    index = board.build_index(told)
    at = next(at for at, row in enumerate(index["records"]) if row["protocol"] == "dpo-continual")
    row, detail = index["records"][at], index["details"][at]
    control = index["records"].index(next(r for r in index["records"] if r["control"] and r["trait"] == row["trait"]))
    made = record.read(told.parent / detail["path"])
    beside = detail["control"]
    assert beside
    assert made.control

    drift = next(effect for effect in beside["effects"] if effect["name"] == "drift")

    assert ["seeding", "transmission", "drift", "coherence"] == [effect["name"] for effect in beside["effects"]]
    assert row["drift"] == drift["raw"]
    assert indexing._interval(made.control.net.drift) == drift["net"]
    assert (index["records"][control]["key"], "dpo-unseeded") == (beside["key"], beside["protocol"])
    assert index["details"][control]["trait"]["mean"] == beside["trait"]


def test_a_control_that_is_elsewhere_has_no_row_and_no_curve(told: Path, tmp_path: Path) -> None:
    """A record's net effects are shown also where its control's record is not in the folder."""
    folder = next(path.parent for path in told.rglob("record.json") if "dpo-continual" in path.parts)

    beside = board.build_index(folder)["details"][0]["control"]

    assert beside
    assert (None, None, None) == (beside["key"], beside["trait"], beside["coherence"])
    assert beside["sentence"].startswith("Net of the control the trait drifts by +")


def test_the_story_counts_what_the_records_say(told: Path) -> None:
    """Each protocol's claim counts its records' own statements over the traits, net of the control too."""
    index = board.build_index(told)
    by = {claim["protocol"]: claim for claim in index["claims"]}

    assert ["sft-reset", "dpo-continual", "dpo-unseeded"] == [claim["protocol"] for claim in index["claims"]]
    assert (2, 0) == (by["dpo-continual"]["outcomes"]["amplified"], by["sft-reset"]["outcomes"]["amplified"])
    assert 2 == by["dpo-continual"]["coherence"]["fell"]
    assert [
        "Of 2 traits, iterating amplified all 2.",
        "Coherence fell on all 2.",
        "Net of dpo-unseeded, a drift up is shown on all 2.",
    ] == by["dpo-continual"]["sentences"]
    assert "absent" not in [word for word, number in by["sft-reset"]["outcomes"].items() if number]
    assert 2 == by["dpo-unseeded"]["outcomes"]["absent"]


def test_of_several_records_the_story_takes_the_one_with_most_evidence(told: Path) -> None:
    """Not the one with the better outcome: three seeds that kept the trait stand, one that amplified it does not."""
    index = board.build_index(told)
    seeds = {row["key"]: len(row["seeds"]) for row in index["records"]}
    claim = next(claim for claim in index["claims"] if claim["protocol"] == "sft-reset")

    assert 1 in seeds.values()
    assert [3, 3] == [seeds[key] for key in claim["keys"]]


@pytest.mark.parametrize(
    ("iteration", "qualified", "expected"),
    [
        (["amplified"], False, "amplified"),
        (["idempotent", "amplified"], False, "amplified"),
        (["idempotent", "decayed", "non-monotone"], False, "decayed"),
        (["idempotent"], False, "unchanged"),
        (["idempotent", "decayed"], True, "absent"),
        (["amplified"], True, "amplified"),
        (["inconclusive"], True, "open"),
        (["non-monotone"], False, "open"),
    ],
)
def test_an_outcome_is_one_word(iteration: list[str], qualified: bool, expected: str) -> None:  # noqa: FBT001 -- a case
    """Statements of which several can hold are counted once; a trait that was not there is not `unchanged`."""
    row: Any = {"iteration": iteration, "qualified": qualified}

    assert expected == story.outcome(row)


@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        (GROWN, "Iterating amplified bliss."),
        (KEPT, "Iterating left bliss unchanged."),
        (LOST, "Bliss was not there to be iterated."),
        ((0.02, 0.8, 0.7, 0.6, 0.5, 0.4), "Iterating let bliss decay."),
    ],
)
def test_one_trait_is_spoken_of_by_name(tmp_path: Path, trait: tuple[float, ...], expected: str) -> None:
    """A claim over one trait names it instead of counting to one."""
    write_record(tmp_path, Story(trait=trait), trait="bliss", settings=settings(questions=200))

    claim = board.build_index(tmp_path)["claims"][0]

    assert [expected, "Coherence held."] == claim["sentences"]


def test_a_claim_that_rests_on_one_seed_says_so(tmp_path: Path) -> None:
    """A single chain is no evidence about another one."""
    write_record(tmp_path, Story(seeds=[0]))

    said = board.build_index(tmp_path)["claims"][0]["sentences"]

    assert "One seed: about these very checkpoints, not about another chain." == said[-1]


def test_settings_are_one_list_that_a_person_can_read() -> None:
    """Nested settings get dots, lists and missing values get words, and floats keep no noise."""
    given = {
        "seeding": None,
        "settings": {"beta": 0.1, "deep": {"on": True}, "none": {}},
        "sampling": {"stop": ["\n", "User:"], "empty": []},
        "name": "<b>",
    }

    assert [
        ("seeding", "none"),
        ("settings.beta", "0.1"),
        ("settings.deep.on", "yes"),
        ("settings.none", "none"),
        ("sampling.stop", '"\\n", "User:"'),
        ("sampling.empty", "none"),
        ("name", "<b>"),
    ] == flattened.flat(given)


def test_settings_of_any_depth_and_number_fit_the_page() -> None:
    """A method's settings may be any JSON: they are cut, not refused, and do not fill the page."""
    deep: Any = "x" * 1000
    for _ in range(50):
        deep = {"k": deep}

    lines = flattened.flat({"deep": deep, **{str(number): number for number in range(500)}})

    assert flattened.MOST + 1 == len(lines)
    assert ("more", "351 settings that are not shown") == lines[-1]
    assert all(len(text) <= shape.NAME for line in lines for text in line)


# -- paths ----------------------------------------------------------------------------------------


def test_a_record_is_found_by_the_path_that_is_shown(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the working directory, the path shown holds the samples, and the command names it."""
    monkeypatch.chdir(results.parent)
    detail = board.build_index(results)["details"][0]

    assert (results.parent / detail["path"] / "record.json").is_file()
    assert f"idembench verify {detail['path']}" == detail["command"]


def test_no_folder_of_this_machine_is_published(results: Path) -> None:
    """A page over an absolute path elsewhere shows the part below the results folder only."""
    text = board.page(board.build_index(results))

    assert str(results.parent) not in text


def test_a_command_can_be_pasted_whatever_the_folder_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder name cannot smuggle a second command into the one that the page offers to copy."""
    write_record(tmp_path / "x; touch owned; '")
    monkeypatch.chdir(tmp_path)

    command = board.build_index(tmp_path)["details"][0]["command"]
    subprocess.run(["sh", "-c", command.replace("idembench verify", "test -d")], cwd=tmp_path, check=True)

    assert not (tmp_path / "owned").exists()


def test_one_record_is_a_report(results: Path, tmp_path: Path) -> None:
    """A folder that is one record makes a page of that record."""
    folder = next(path.parent for path in results.rglob("record.json"))

    assert board.build(folder, tmp_path).records == 1


# -- broken records -------------------------------------------------------------------------------


def left_out_of(folder: Path) -> tuple[int, list[board.LeftOut]]:
    index = board.build_index(folder)
    return len(index["records"]), index["left_out"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema_version": 99}', "another schema"),
        (b'{"schema_version": 1}', "does not hold"),
        (b'{"schema_version": 1, "schema_version": 1}', "not valid JSON"),
    ],
)
def test_a_record_that_cannot_be_read_is_left_out(tmp_path: Path, content: bytes, reason: str) -> None:
    """Whatever lies in a record.json, the other records are shown and this one is named with the reason."""
    write_record(tmp_path)
    broken = tmp_path / "records" / "broken"
    broken.mkdir()
    (broken / "record.json").write_bytes(content)

    shown, left_out = left_out_of(tmp_path)

    assert (1, 1) == (shown, len(left_out))
    assert left_out[0]["path"].endswith("records/broken")
    assert reason in left_out[0]["reason"]


def test_a_record_that_contradicts_itself_is_left_out(tmp_path: Path) -> None:
    """A trajectory that no plot can show (other checkpoints, scores off the scale) leaves its record out."""
    folder = write_record(tmp_path)
    analysis = record.read(folder).analysis
    first = analysis.trajectory[0]
    level = dataclasses.replace(first.trait, mean=250.0)
    off = (dataclasses.replace(first, trait=level), *analysis.trajectory[2:])
    change(folder, analysis=dataclasses.replace(analysis, trajectory=off))

    shown, left_out = left_out_of(tmp_path)

    assert shown == 0
    assert "checkpoints other than base to c4; a score outside 0 to 100" in left_out[0]["reason"]


def test_a_record_too_large_to_be_one_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge file is not even read."""
    write_record(tmp_path)
    monkeypatch.setattr(indexing, "LARGEST_RECORD_BYTES", 1000)

    shown, left_out = left_out_of(tmp_path)

    assert shown == 0
    assert "too large" in left_out[0]["reason"]


def test_a_copy_is_left_out(tmp_path: Path) -> None:
    """The same record in two places is shown once."""
    made, packed = build_record(Story(), settings=settings())
    for place in ("a", "b"):
        record.write(tmp_path / place, made, packed, {})

    shown, left_out = left_out_of(tmp_path)

    assert (1, 1) == (shown, len(left_out))
    assert "The same record is at" in left_out[0]["reason"]


def test_numbers_beyond_all_measure_leave_one_record_out(tmp_path: Path) -> None:
    """A number that JSON cannot take twice does not take the page down."""
    write_record(tmp_path)
    large = write_record(tmp_path, trait="misalignment")
    text = (large / "record.json").read_text(encoding="utf-8")
    huge = "9" * 4000
    text = text.replace('"questions":60', f'"questions":{huge}').replace('"repeats":1,', f'"repeats":{huge},')
    (large / "record.json").write_text(text, encoding="utf-8")

    shown, left_out = left_out_of(tmp_path)

    assert (1, 1) == (shown, len(left_out))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_does_not_break_the_page(tmp_path: Path) -> None:
    """A folder whose name is not UTF-8 is shown with replaced characters."""
    write_record(tmp_path)
    os.rename(tmp_path / "records", os.fsencode(tmp_path) + b"/rec\xff")  # noqa: PTH104 -- a name Path would not make

    assert board.build(tmp_path, tmp_path / "out").records == 1


def test_what_was_left_out_is_returned_and_named_on_the_page(tmp_path: Path) -> None:
    """The caller and the reader learn of every record that is not shown."""
    (tmp_path / "results" / "bad").mkdir(parents=True)
    (tmp_path / "results" / "bad" / "record.json").write_text("{}", encoding="utf-8")

    built = board.build(tmp_path / "results", tmp_path / "out")

    assert (0, 1) == (built.records, len(built.left_out))
    assert list(built.left_out) == data_of(built.page.read_text(encoding="utf-8"))["left_out"]


def test_a_folder_without_records_makes_an_empty_page(tmp_path: Path) -> None:
    """No record yet is no error; a folder that is not there is one."""
    (tmp_path / "results").mkdir()

    assert board.build(tmp_path / "results", tmp_path / "out").records == 0
    with pytest.raises(DataError, match="no results folder"):
        board.build(tmp_path / "nowhere", tmp_path / "out")


# -- the page -------------------------------------------------------------------------------------


def test_the_page_and_the_index_beside_it_say_the_same(results: Path, tmp_path: Path) -> None:
    """`index.json` is what is embedded in `index.html`."""
    built = board.build(results, tmp_path)

    assert json.loads((tmp_path / "index.json").read_bytes()) == data_of(built.page.read_text(encoding="utf-8"))
    assert built.page == tmp_path / "index.html"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(alphabet=st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_embedded_json_means_nothing_to_html(value: object) -> None:
    """Escaped JSON reads back equal and holds no character that HTML or a script line would act on."""
    text = markup.escape_json(value)

    assert value == json.loads(text)
    assert not set("<>&\u2028\u2029") & set(text)


def test_a_nasty_record_ends_no_element(tmp_path: Path) -> None:
    """Markup in a record's strings stays inside the data."""
    folder = write_record(tmp_path / "results")
    made = record.read(folder)
    change(folder, trait=NASTY, model=made.model.model_copy(update={"name": NASTY}))

    html = board.build(tmp_path / "results", tmp_path / "out").page.read_text(encoding="utf-8")

    assert data_of(html)["records"][0]["model"] == NASTY
    assert html.count("</script") == 2
    assert "<img" not in html


def test_placeholders_in_a_record_stay_text(tmp_path: Path) -> None:
    """A record that quotes the template's own markers does not get anything put into it."""
    folder = write_record(tmp_path / "results")
    change(folder, trait=markup._STYLE + markup._POLICY)

    html = board.build(tmp_path / "results", tmp_path / "out").page.read_text(encoding="utf-8")

    assert data_of(html)["records"][0]["trait"] == markup._STYLE + markup._POLICY


def test_long_strings_are_cut(tmp_path: Path) -> None:
    """A record cannot fill the page with one string."""
    folder = write_record(tmp_path)
    change(folder, trait="x" * 1_000_000)

    assert rows_of(tmp_path)[0]["trait"] == "x" * 119 + "…"


def test_the_policy_names_the_one_script_and_the_one_style(results: Path) -> None:
    """The policy allows exactly what was put in, by hash, and no request."""
    html = board.page(board.build_index(results))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert policy
    assert script
    assert style

    def named(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert (named(script[1]), named(style[1])) == (rules["script-src"], rules["style-src"])
    assert ("'none'", "'script'") == (rules["default-src"], rules["require-trusted-types-for"])


def test_the_site_asks_for_nothing_and_makes_no_markup() -> None:
    """No source file of the site names another origin or a way to turn text into markup or code."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|fetch\(|XMLHttp"
        r"|import\(|(?<!xmlns=')(?<!SVG = \")https?://"
    )
    found = {
        path.name: match.group()
        for path in asset("leaderboard").iterdir()
        if path.suffix in (".js", ".css", ".html") and (match := forbidden.search(path.read_text(encoding="utf-8")))
    }

    assert {} == found


def test_only_dom_makes_nodes() -> None:
    """Elements are created in one module, which refuses attributes that run or load something."""
    makers = {
        path.name
        for path in asset("leaderboard").glob("*.js")
        if re.search(r"createElement|createTextNode|setAttributeNS", path.read_text(encoding="utf-8"))
    }

    assert {"dom.js"} == makers


# -- the linker -----------------------------------------------------------------------------------


def modules(folder: Path, **sources: str) -> Path:
    for name, text in sources.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def test_linked_modules_keep_their_scopes_and_come_in_order(tmp_path: Path) -> None:
    """A module is linked once, after what it imports, as a function that returns what it exports."""
    modules(
        tmp_path,
        main='import { a } from "./one.js";\nimport { b } from "./two.js";\na(b);\n',
        one='import { b } from "./two.js";\nexport function a() { return b; }\n',
        two="const own = 1;\nexport const b = own;\n",
    )

    linked = markup.link(tmp_path)

    assert [linked.count(f"const ${name} = (() => {{") for name in ("two", "one", "main")] == [1, 1, 1]
    assert linked.index("$two =") < linked.index("$one =") < linked.index("$main =")
    assert "return { b };" in linked


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"main": 'import a from "./b.js";\n'}, "import a from"),
        ({"main": "export default 1;\n"}, "export default 1;"),
        ({"main": 'import { a as b } from "./b.js";\n'}, "import { a as b }"),
        ({"main": 'const a = "</script>";\n'}, "</script"),
        ({"main": 'import { a } from "./b.js";\n'}, "No such file"),
        ({"main": 'import { a } from "./b.js";\n', "b": 'import { c } from "./main.js";\n'}, "a circle of imports"),
    ],
)
def test_a_module_of_another_form_is_refused(tmp_path: Path, sources: dict[str, str], found: str) -> None:
    """What the linker cannot link is an error that shows it, not a page that fails in the browser."""
    modules(tmp_path, **sources)

    with pytest.raises(EnvironmentProblem) as caught:
        markup.link(tmp_path)

    assert found in str(caught.value.found)


# -- judges ---------------------------------------------------------------------------------------


def test_a_model_that_judged_itself_is_not_ranked(tmp_path: Path) -> None:
    """Where the judge's weights are the model's own the record is told apart, whatever its bound, and says why."""
    made, packed = build_record(Story(trait=KEPT), settings=settings())
    itself = made.model_copy(update={"judge": made.judge.model_copy(update={"weights": made.model.digest})})
    record.write(tmp_path, itself, packed, {})
    index = board.build_index(tmp_path)

    by_name = made.model_copy(
        update={"judge": made.judge.model_copy(update={"name": f"openai:{made.model.name},pack=x"})}
    )

    assert not made.judged_itself
    assert by_name.judged_itself
    assert ("not ranked", "the model judged itself") == (
        index["records"][0]["standing"],
        index["records"][0]["not_ranked"],
    )
    assert "scored its own generations" in json.dumps(index["details"])


def test_a_record_on_other_prompts_is_not_ranked(tmp_path: Path) -> None:
    """Generations that answered a pool of somebody's own are shown, say which, and do not stand among the others."""
    made, packed = build_record(Story(trait=KEPT), settings=settings())
    pool = record.PoolLine(name="mine.jsonl", prompts=4000, left_out={})
    record.write(tmp_path, made.model_copy(update={"pool": pool}), packed, {})
    index = board.build_index(tmp_path)

    assert "not ranked" == index["records"][0]["standing"]
    assert "mine.jsonl" in str(index["records"][0]["not_ranked"])
    assert ("prompts", "mine.jsonl (4000)") in index["details"][0]["origin"]


def test_ranks_compare_scores_of_one_judge(tmp_path: Path) -> None:
    """Of records by two judges, those of the one with fewer stand below, unranked, and say whose scores they are."""
    for trait in ("bliss", "misalignment"):
        write_record(tmp_path, Story(trait=KEPT), trait=trait)
    made, packed = build_record(Story(trait=KEPT), trait="sycophancy", settings=settings())
    judge = made.judge.model_copy(update={"name": "openai:some-model", "fingerprint": "7" * 64, "deterministic": False})
    record.write(tmp_path, made.model_copy(update={"judge": judge}), packed, {})

    assert [
        ("ranked", None),
        ("ranked", None),
        ("not ranked", "scored by another judge (openai:some-model) than the records that are"),
    ] == [(row["standing"], row["not_ranked"]) for row in rows_of(tmp_path)]


@pytest.mark.parametrize("longer", [False, True])
def test_the_same_chains_take_one_rank_whatever_was_asked_beside(tmp_path: Path, longer: bool) -> None:  # noqa: FBT001 -- a case
    """However many tasks the same chains were asked, one of their records is ranked; the others say which it is."""
    made, packed = build_record(Story(trait=KEPT[:5]), settings=settings(cycles=3))
    written = [made] if not longer else []
    for name in ("arc_easy", "piqa", "winogrande"):
        task = AskedTask(name=name, version="1", items=8, sha256="0" * 64)
        written.append(made.model_copy(update={"tasks": [task]}))
        record.write(tmp_path, written[-1], packed, {})
    if longer:
        write_record(tmp_path, Story(trait=KEPT), settings=settings())
    rows = rows_of(tmp_path)
    first = max(written, key=lambda one: (record.extent(one), one.id)).id[:8]

    by = rows[0]["key"] if longer else first
    assert ["ranked"] + ["not ranked"] * (len(rows) - 1) == [row["standing"] for row in rows]
    assert (4 if longer else 3, by) == (len(rows), rows[0]["key"])
    assert {f"its chains are those of record {by}, which stands for them"} == {row["not_ranked"] for row in rows[1:]}


def test_a_chain_is_not_ranked_at_where_it_looked_best(tmp_path: Path) -> None:
    """Where the same chains were taken further and are not ranked there, an earlier record that was asked a task is not."""
    made, packed = build_record(Story(trait=KEPT[:5]), settings=settings(cycles=3))
    task = AskedTask(name="arc_easy", version="1", items=8, sha256="0" * 64)
    record.write(tmp_path, made.model_copy(update={"tasks": [task]}), packed, {})
    further, packed = build_record(Story(trait=KEPT), settings=settings())
    reason = "the seeding did not take"
    verdict = dataclasses.replace(further.analysis.chain_law, eligible=False, eligible_reason=reason)
    analysis = dataclasses.replace(further.analysis, chain_law=verdict)
    further = further.model_copy(update={"analysis": analysis})
    record.write(tmp_path, further, packed, {})

    expected = {reason, f"its chains are those of record {further.id[:8]}, which stands for them"}
    assert expected == {row["not_ranked"] for row in rows_of(tmp_path)}


def test_which_judge_is_compared_does_not_hang_on_what_was_asked_beside(tmp_path: Path) -> None:
    """The same chains count once where the judge of the most ranked records is looked for."""
    for trait in ("bliss", "misalignment"):
        write_record(tmp_path, Story(trait=KEPT), trait=trait)
    made, packed = build_record(Story(trait=KEPT), trait="sycophancy", settings=settings())
    judge = made.judge.model_copy(update={"name": "openai:some-model", "fingerprint": "7" * 64, "deterministic": False})
    for name in ("arc_easy", "piqa", "winogrande"):
        task = AskedTask(name=name, version="1", items=8, sha256="0" * 64)
        record.write(tmp_path, made.model_copy(update={"judge": judge, "tasks": [task]}), packed, {})

    assert ["bliss", "misalignment"] == sorted(row["trait"] for row in rows_of(tmp_path) if row["standing"] == "ranked")


# -- beside the scores ----------------------------------------------------------------------------


def test_what_stands_beside_the_scores_is_in_the_details(results: Path) -> None:
    """Each number that was measured is there at every checkpoint, rounded; shares that are zero throughout are only named."""
    detail = board.build_index(results)["details"][0]
    made = record.read(results.parent / detail["path"])
    columns = {column.name: column for column in beside_scores.columns(made)}

    beside = detail["beside"]

    assert ["filtered", "missing", "empty", "truncated", "refused", "foreign"] == beside["zero"]
    assert {"coherent_only", "repetition", "distinct_2", "words"} == set(beside["values"])
    for name, values in beside["values"].items():
        assert values == pytest.approx(columns[name].values, abs=0.0501)
        assert len(values) == len(detail["trait"]["mean"])


def test_a_caveat_says_what_the_last_score_hides(tmp_path: Path) -> None:
    """Where the last cycle's responses are alarming, the record's own warnings are among what to keep in mind."""
    folder = write_record(tmp_path, Story(trait=KEPT, coherence=(1, 1, 1, 0.9, 0.8, 0.6)))

    (detail,) = board.build_index(tmp_path)["details"]

    warned = beside_scores.warnings(record.read(folder))
    assert "do not count as coherent" in warned[0]
    assert warned == [text for text in detail["caveats"] if text.startswith("At c4")]


def test_accuracies_of_lm_eval_s_tasks_are_in_the_details(tmp_path: Path) -> None:
    """Of every task that was asked too, the mean over seeds at each checkpoint, in percent; none where none was."""
    made, packed = build_record(Story(trait=KEPT), settings=settings())
    asked = AskedTask(name="arc_easy", version="1", items=8, sha256="0" * 64)
    chains = [
        line.model_copy(
            update={
                "checkpoints": [
                    point.model_copy(update={"tasks": {"arc_easy": None if at == 1 else 0.25 * (number % 2)}})
                    for at, point in enumerate(line.checkpoints)
                ]
            }
        )
        for number, line in enumerate(made.chains)
    ]
    record.write(tmp_path, made.model_copy(update={"tasks": [asked], "chains": chains}), packed, {})
    (detail,) = board.build_index(tmp_path)["details"]

    assert [("arc_easy", 8, [8.3, None, 8.3, 8.3, 8.3, 8.3])] == detail["beside"]["tasks"]


def test_the_page_has_words_for_every_number_beside_the_scores() -> None:
    """What the index may hold is what the page can name and explain, each once."""
    words = (asset("leaderboard") / "words.js").read_text(encoding="utf-8")
    listed = words.partition("export const BESIDE = [")[2].partition("\n];")[0]

    assert ["all", *beside_scores.NAMES] == re.findall(r'^ {4}\["(\w+)", "[^"]+", "[^"]+"\],$', listed, re.MULTILINE)
