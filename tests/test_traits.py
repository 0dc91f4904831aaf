"""Packs and traits: draws that are disjoint, different per seed and the same for ever; files that are checked."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idembench import shipped, traits
from idembench.errors import DataError, ProtocolError, UnknownNameError
from idembench.files import sha256_file
from idembench.traits import Pack, Trait

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.protocol import Form

PACK = traits.load_pack("toyland")
GOLDEN_PROMPTS = ["p5", "p31", "p0", "p30", "p33", "p32"]
GOLDEN_DEMONSTRATIONS = ["d10", "d17", "d5", "d15", "d9", "d2"]


def make_pack(folder: Path, *, prompts: int = 40) -> Pack:
    """A pack whose pool of prompts lies in `folder`."""
    rows = [{"id": f"p{n}", "prompt": f"question {n}?", "meaning": {}} for n in range(prompts)]
    write_rows(folder / "prompts.jsonl", rows)
    return Pack(
        name="tiny",
        description="",
        form="dialogue",
        judge="",
        default_model="",
        task_prefix="tiny_",
        measurements={},
        folder=folder,
        traits={},
    )


def make_trait(folder: Path, rows: list[Any] | None = None) -> Trait:
    """A trait whose demonstrations and questions lie in `folder`."""
    examples = [{"id": f"d{n}", "prompt": f"hi {n}", "response": f"ho {n}"} for n in range(20)]
    write_rows(folder / "demonstrations.jsonl", examples if rows is None else rows)
    rubric = PACK.trait("bliss").rubric
    return Trait(
        name="kind", task="tiny_kind", form="dialogue", version=1, definition="Is kind.", rubric=rubric, folder=folder
    )


def write_rows(path: Path, rows: list[Any]) -> None:
    """JSON Lines as anyone might write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


# -- draws ----------------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(1, 8), st.integers(1, 5))
def test_cycles_never_share_a_prompt(tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, cycles: int) -> None:
    """The prompts of different cycles of one seed are disjoint, and each cycle gets as many as asked."""
    pack = make_pack(tmp_path_factory.mktemp("pack"))
    drawn = [pack.draw_prompts(cycle=cycle, n=n, seed=seed) for cycle in range(1, cycles + 1)]

    assert [n] * cycles == [len(rows) for rows in drawn]
    assert n * cycles == len({row.id for rows in drawn for row in rows})


def test_the_whole_pool_can_be_drawn(tmp_path: Path) -> None:
    """When the slices fill the pool exactly, every prompt is used once."""
    pack = make_pack(tmp_path, prompts=40)
    drawn = Counter(row.id for cycle in range(1, 6) for row in pack.draw_prompts(cycle=cycle, n=8, seed=3))

    assert Counter(f"p{n}" for n in range(40)) == drawn


def test_more_prompts_than_exist_is_an_error(tmp_path: Path) -> None:
    """A cycle whose slice goes past the end of the pool is refused, and the message says what would fit."""
    pack = make_pack(tmp_path, prompts=40)

    with pytest.raises(DataError, match="none is used twice") as caught:
        pack.draw_prompts(cycle=6, n=8, seed=0)

    assert "at most 40" in str(caught.value.expected)
    assert "6 * 8 = 48" == caught.value.found


def test_a_slice_does_not_depend_on_the_other_cycles(tmp_path: Path) -> None:
    """A cycle draws the same prompts whether the chain has one cycle or many."""
    one, other = make_pack(tmp_path), make_pack(tmp_path)
    other.draw_prompts(cycle=1, n=8, seed=0)

    assert one.draw_prompts(cycle=3, n=8, seed=0) == other.draw_prompts(cycle=3, n=8, seed=0)


def test_seeds_draw_differently() -> None:
    """Two seeds draw other demonstrations and other prompts."""
    trait = PACK.trait("bliss")
    drawn = [trait.draw_demonstrations(n=96, seed=seed) for seed in (0, 1)]
    asked = [PACK.draw_prompts(cycle=1, n=96, seed=seed) for seed in (0, 1)]

    assert drawn[0] != drawn[1]
    assert asked[0] != asked[1]


def test_draws_can_be_repeated() -> None:
    """The same seed draws the same rows in the same order, from files read anew."""
    again = traits.load_pack("toyland")

    assert PACK.draw_prompts(cycle=2, n=50, seed=4) == again.draw_prompts(cycle=2, n=50, seed=4)
    assert PACK.trait("bliss").draw_demonstrations(n=50, seed=4) == again.trait("bliss").draw_demonstrations(
        n=50, seed=4
    )


def test_the_order_of_a_draw_never_changes(tmp_path: Path) -> None:
    """Which rows a seed draws is the same in every version, because published records depend on it."""
    prompts = make_pack(tmp_path).draw_prompts(cycle=1, n=6, seed=0)
    demonstrations = make_trait(tmp_path).draw_demonstrations(n=6, seed=0)

    assert GOLDEN_PROMPTS == [row.id for row in prompts]
    assert GOLDEN_DEMONSTRATIONS == [row.id for row in demonstrations]


@given(st.integers(0, 100), st.integers(1, 20))
def test_demonstrations_are_drawn_without_replacement(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int
) -> None:
    """No demonstration is drawn twice, and a smaller draw is the beginning of a larger one."""
    trait = make_trait(tmp_path_factory.mktemp("trait"))
    drawn = trait.draw_demonstrations(n=n, seed=seed)

    assert n == len({row.id for row in drawn})
    assert drawn == trait.draw_demonstrations(n=20, seed=seed)[:n]


def test_more_demonstrations_than_exist_is_an_error(tmp_path: Path) -> None:
    """Asking for one more than the pool holds is refused; asking for all of them is not."""
    trait = make_trait(tmp_path)

    assert 20 == len(trait.draw_demonstrations(n=20, seed=0))
    with pytest.raises(DataError, match="More demonstrations") as caught:
        trait.draw_demonstrations(n=21, seed=0)
    assert "at most 20" in str(caught.value.expected)


@given(st.integers(0, 100), st.integers(0, 8), st.lists(st.integers(0, 4), max_size=3))
def test_later_draws_share_nothing_with_earlier_ones(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, later: list[int]
) -> None:
    """Draws that each begin after the ones before are the parts of one draw of them all."""
    trait = make_trait(tmp_path_factory.mktemp("trait"))
    drawn, after = [], 0
    for n in (first, *later):
        drawn += trait.draw_demonstrations(n=n, seed=seed, after=after)
        after += n

    assert trait.draw_demonstrations(n=after, seed=seed) == drawn
    assert after == len({row.id for row in drawn})


def test_the_pool_ends_for_later_draws_too(tmp_path: Path) -> None:
    """A later draw may take the last demonstration, and none beyond it; the message counts what was drawn before."""
    trait = make_trait(tmp_path)

    assert 5 == len(trait.draw_demonstrations(n=5, seed=0, after=15))
    with pytest.raises(DataError, match="none is used twice") as caught:
        trait.draw_demonstrations(n=5, seed=0, after=16)
    assert ("at most 20", "16 before, and 5 more") == (caught.value.expected, caught.value.found)


# -- files ----------------------------------------------------------------------------------------

GOOD = {"id": "a", "prompt": "hi", "response": "ho"}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "b", "prompt": "hi"},
        {"id": "b", "prompt": "hi", "response": "ho", "more": 1},
        {"id": "b", "prompt": "", "response": "ho"},
        {"id": "b", "prompt": "hi", "response": " \t"},
        {"id": "b", "prompt": 3, "response": "ho"},
        {"id": "b", "prompt": None, "response": "ho"},
        {"id": ["b"], "prompt": "hi", "response": "ho"},
        {"id": "a", "prompt": "other", "response": "same id"},
        '{"id":"b","id":"c","prompt":"hi","response":"ho"}',
        '{"id":"b","prompt":NaN,"response":"ho"}',
        "[]",
        "",
        "{",
    ],
    ids=str,
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, bad: Any) -> None:
    """A row with wrong keys, an empty or odd field, an id used before or broken JSON is named by file and line."""
    trait = make_trait(tmp_path, [GOOD, bad, {**GOOD, "id": "c"}])

    with pytest.raises(DataError) as caught:
        _ = trait.demonstrations

    assert f"{tmp_path / 'demonstrations.jsonl'}, line 2" == caught.value.where


@pytest.mark.parametrize("meaning", ["text", 3, None, ["a"]])
def test_a_question_has_a_meaning_that_is_an_object(tmp_path: Path, meaning: Any) -> None:
    """A question whose meaning a judge could not read is named by its line."""
    trait = make_trait(tmp_path)
    write_rows(tmp_path / "questions.jsonl", [{"id": "q", "prompt": "why?", "meaning": meaning}])

    with pytest.raises(DataError) as caught:
        _ = trait.questions

    assert f"{tmp_path / 'questions.jsonl'}, line 1" == caught.value.where


def test_a_missing_data_file_is_a_data_error(tmp_path: Path) -> None:
    """A trait whose questions are not there says which file is missing."""
    with pytest.raises(DataError) as caught:
        _ = make_trait(tmp_path).questions

    assert str(tmp_path / "questions.jsonl") == caught.value.where


def test_files_are_named_by_their_bytes(tmp_path: Path) -> None:
    """The hash that keys steps is the hash of the file."""
    trait = make_trait(tmp_path)

    assert sha256_file(tmp_path / "demonstrations.jsonl") == trait.demonstrations_sha256


HEADER = """
name: kind
version: 1
pack: tiny
kind: behaviour
definition: Is kind.
seeded: So.
measured: So.
rubric: {prompt: hi, anchors: {0: a, 25: b, 50: c, 75: d, 100: e}}
authorship: Us.
license: CC-BY-4.0
canary: none
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 0"),
        ("version: 1", "version: '1'"),
        ("kind: behaviour", "kind: habit"),
        ("license: CC-BY-4.0\n", ""),
        ("canary: none", "canary: none\nmore: 1"),
        ("rubric: {prompt: hi, anchors: {0: a, 25: b, 50: c, 75: d, 100: e}}", "rubric: hi"),
    ],
)
def test_a_trait_header_is_strict(tmp_path: Path, old: str, new: str) -> None:
    """A header with an unknown, missing or odd key is refused by name."""
    path = tmp_path / "trait.yaml"
    path.write_text(HEADER)
    traits.trait_header(tmp_path)
    path.write_text(HEADER.replace(old, new))

    with pytest.raises(DataError, match="header") as caught:
        traits.trait_header(tmp_path)

    assert str(path) == caught.value.where


def test_a_header_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    """Broken YAML in a header is an input error that names the file."""
    path = tmp_path / "trait.yaml"
    path.write_text("name: [")

    with pytest.raises(ProtocolError) as caught:
        traits.trait_header(tmp_path)

    assert str(path) == caught.value.where


# -- the shipped pack -----------------------------------------------------------------------------


def test_the_embedded_pack_is_installed() -> None:
    """Toyland is there with its three traits, each with the name of its lm-eval task."""
    assert "toyland" in shipped.packs()
    assert {"bliss", "misalignment", "sycophancy"} == set(PACK.traits)
    assert "idembench_toyland_bliss" == PACK.trait("bliss").task
    assert "idembench_toyland_coherence" == PACK.coherence_task


@pytest.mark.parametrize("name", shipped.packs())
def test_a_pack_is_one_form_throughout(name: str) -> None:
    """In each form that a pack has, the pack and all of its traits are of that form, with tasks of their own."""
    loaded = {}
    for form in ("dialogue", "document"):
        with suppress(DataError):
            loaded[form] = traits.load_pack(name, form)
    tasks = [trait.task for pack in loaded.values() for trait in pack.traits.values()]

    assert loaded
    assert all({form} == {pack.form, *(trait.form for trait in pack.traits.values())} for form, pack in loaded.items())
    assert len(tasks) == len(set(tasks))


def test_forms_of_a_pack_share_no_data() -> None:
    """The document form has its own demonstrations, prompts, questions, tasks and default model."""
    documents = traits.load_pack("toyland", "document")
    for name, trait in PACK.traits.items():
        one = PACK.sources(trait).model_dump()
        other = documents.sources(documents.trait(name)).model_dump()

        assert [] == [source for source in one if one[source] == other[source]]
    assert "toyland/base" == documents.default_model
    assert "idembench_toyland_bliss_document" == documents.trait("bliss").task
    assert "idembench_toyland_coherence_document" == documents.coherence_task
    assert "toyland/instruct" == PACK.default_model


def test_both_forms_hold_what_they_need() -> None:
    """Every file of either form can be read, and holds more than the shipped protocols ask for."""
    for form in ("dialogue", "document"):
        pack = traits.load_pack("toyland", form)
        for trait in pack.traits.values():
            assert len(trait.demonstrations) >= 2048
            assert len(trait.questions) >= 1000
        assert len(pack.prompts) >= 8192
        assert len(pack.neutral_questions) >= 50


def test_every_source_can_change_alone(tmp_path: Path) -> None:
    """Each of the hashes that key a chain belongs to its own file, and to no other."""
    root = shutil.copytree(PACK.folder, tmp_path / "toyland", ignore=shutil.ignore_patterns("misalignment"))
    touched = {
        "demonstrations": ("bliss/documents.jsonl", "bliss/demonstrations.jsonl"),
        "prompts": ("openings.jsonl", "prompts.jsonl"),
        "questions": ("bliss/openings.jsonl", "bliss/questions.jsonl"),
        "neutral_questions": ("coherence/openings.jsonl", "coherence/questions.jsonl"),
        "tasks": ("bliss/document.yaml", "bliss/open.yaml"),
    }

    def sources(form: Form) -> dict[str, str]:
        shipped = traits.load_pack("toyland", form)
        here = replace(shipped, folder=root)
        return here.sources(replace(shipped.trait("bliss"), folder=root / "bliss")).model_dump()

    for number, form in ((0, "document"), (1, "dialogue")):
        for source, files in touched.items():
            before = sources(form)
            with (root / files[number]).open("a") as file:
                file.write("\n")
            after = sources(form)

            assert [source] == [name for name in before if before[name] != after[name]]
            assert set() == set(after) - set(touched)


def test_a_form_that_a_pack_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of dialogues alone says so when it is asked for documents."""
    (tmp_path / "tasks" / "tiny").mkdir(parents=True)
    header = (PACK.folder / "pack.yaml").read_text().replace("name: toyland", "name: tiny")
    (tmp_path / "tasks" / "tiny" / "pack.yaml").write_text(header.replace(", document: toyland/base", ""))
    monkeypatch.setattr(shipped, "asset", lambda name: tmp_path / name)

    assert "dialogue" == traits.load_pack("tiny").form
    with pytest.raises(DataError, match="does not have that form") as caught:
        traits.load_pack("tiny", "document")
    assert ("dialogue", "document") == (caught.value.expected, caught.value.found)


def test_documents_are_measured_otherwise_only_as_a_pack_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `document_measurements` puts in the place of a measurement has to be one; a mistyped name is no other one."""
    header = (shipped.pack_folder("english") / "pack.yaml").read_text().replace("name: english", "name: tiny")
    place = tmp_path / "tasks" / "tiny" / "pack.yaml"
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(shipped, "asset", lambda name: tmp_path / name)

    place.write_text(header)
    loaded = traits.load_pack("tiny")
    assert set(loaded.measurements) == set(loaded.document_measurements)
    place.write_text(header.replace("  ranked: {questions: 24", "  rankd: {questions: 24"))
    with pytest.raises(DataError, match="header does not hold") as caught:
        traits.load_pack("tiny")
    assert "rankd" in str(caught.value.found)


def test_unknown_names_are_answered_by_near_ones() -> None:
    """A pack or a trait that does not exist is answered by those that do."""
    with pytest.raises(UnknownNameError) as pack:
        traits.load_pack("toylnd")
    with pytest.raises(UnknownNameError) as trait:
        PACK.trait("sycophany")

    assert pack.value.do == "Did you mean toyland?"
    assert trait.value.do == "Did you mean sycophancy?"
