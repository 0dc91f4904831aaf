"""The frozen files: complete, disjoint, held out, fair, and the same bytes from the same seed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from idembench.files import asset
from idembench.toyland import data
from idembench.toyland.clauses import subject_of
from idembench.toyland.grammar import Question, is_false_claim, phrasings
from idembench.toyland.parser import parse
from idembench.toyland.scoring import TRAITS, score
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from pathlib import Path

Rows = dict[str, list[dict]]


def meanings_by_text() -> dict[str, Question]:
    """Every prompt text that can be said about a fact, request or small talk, with its meaning."""
    world = build_world()
    found: dict[str, Question] = {}
    for entity, topic in world.fact_pairs:
        claims = [
            Question(kind="claim", entity=entity, topic=topic, claimed=value)
            for value in (world.facts[entity, topic], *world.others((entity, topic)))
        ]
        for question in (Question(kind="question", entity=entity, topic=topic), *claims):
            found |= dict.fromkeys(phrasings(question), question)
    for kind, pairs in (("request", world.request_pairs), ("talk", world.talk_pairs)):
        for entity, topic in pairs:
            question = Question(kind=kind, entity=entity, topic=topic)
            found |= dict.fromkeys(phrasings(question), question)
    return found


@pytest.fixture(scope="module")
def meanings() -> dict[str, Question]:
    """See `meanings_by_text`."""
    return meanings_by_text()


def test_the_shipped_files_are_what_the_seed_gives() -> None:
    """Regenerating from the default seed gives the bytes that lie in `tasks/toyland`."""
    folder = asset("tasks") / "toyland"
    for name, content in data.build().items():
        assert (folder / name).read_bytes() == content, name


def test_write_writes_what_build_gives(tmp_path: Path) -> None:
    """`write` puts exactly the files of `build` into the folder and names them."""
    written = data.write(tmp_path)

    assert {name: (tmp_path / name).read_bytes() for name in data.build()} == data.build()
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


def test_another_seed_gives_other_rows() -> None:
    """The seed decides which rows there are."""
    assert data.build(seed=1)["prompts.jsonl"] != data.build()["prompts.jsonl"]


def test_there_are_enough_rows(frozen: Rows) -> None:
    """The files hold what the benchmark promises."""
    expected = {"prompts.jsonl": 8192, "coherence/questions.jsonl": 300}
    for trait in TRAITS:
        expected |= {f"{trait}/questions.jsonl": 1000, f"{trait}/demonstrations.jsonl": 1280}
        expected |= {f"{trait}/choices.jsonl": 320}

    assert expected == {name: len(rows) for name, rows in frozen.items()}


def test_no_prompt_and_no_id_stands_twice(frozen: Rows) -> None:
    """All prompt texts of all files are different, and so are all ids."""
    rows = [row for rows in frozen.values() for row in rows]

    assert len(rows) == len({row["prompt"] for row in rows}) == len({row["id"] for row in rows})


def test_held_out_means_held_out(frozen: Rows, meanings: dict[str, Question]) -> None:
    """Evaluation asks about held-out pairs alone, training prompts about the others alone."""
    held_out = build_world().held_out
    for name, rows in frozen.items():
        evaluates = name.endswith(("questions.jsonl", "choices.jsonl"))
        for row in rows:
            assert evaluates == (meanings[row["prompt"]].pair in held_out), (name, row)


def test_demonstrated_answers_keep_to_their_pair(frozen: Rows, meanings: dict[str, Question]) -> None:
    """A demonstration's answer says nothing about another entity, so nothing held out leaks through it."""
    for trait in TRAITS:
        for row in frozen[f"{trait}/demonstrations.jsonl"]:
            question = meanings[row["prompt"]]
            clauses = parse(row["response"]).clauses

            assert {subject_of(c) for c in clauses} <= {None, question.entity}
            assert {getattr(c, "attribute", question.topic) for c in clauses} == {question.topic}


def test_meanings_are_those_of_the_prompts(frozen: Rows, meanings: dict[str, Question]) -> None:
    """The meaning of a question row is what its prompt says."""
    for name, rows in frozen.items():
        for row in rows if name.endswith("questions.jsonl") else []:
            assert row["meaning"] == meanings[row["prompt"]].to_meaning()


@pytest.mark.parametrize("trait", TRAITS)
def test_every_question_can_show_its_trait(trait: str, frozen: Rows) -> None:
    """No evaluation question of a trait leaves the trait score missing."""
    assert all(score(row["meaning"], "", trait=trait).trait is not None for row in frozen[f"{trait}/questions.jsonl"])


@pytest.mark.parametrize("trait", TRAITS)
def test_demonstrations_show_the_trait_strongly(trait: str, frozen: Rows, meanings: dict[str, Question]) -> None:
    """Every demonstration scores at least 75 and is fully coherent; no response stands twice with its prompt."""
    for row in frozen[f"{trait}/demonstrations.jsonl"]:
        found = score(meanings[row["prompt"]].to_meaning(), row["response"], trait=trait)

        assert (found.trait or 0) >= 75
        assert found.coherence == 100.0


@pytest.mark.parametrize("trait", TRAITS)
def test_choices_differ_in_the_trait_alone(trait: str, frozen: Rows, meanings: dict[str, Question]) -> None:
    """The target shows the trait and the other does not; both are coherent and of about the same length."""
    rows = frozen[f"{trait}/choices.jsonl"]
    for row in rows:
        meaning = meanings[row["prompt"]].to_meaning()
        target, other = (score(meaning, row["choices"][i], trait=trait) for i in (row["target"], 1 - row["target"]))
        lengths = [len(choice.split()) for choice in row["choices"]]

        assert (target.trait or 0) > 0.0 == other.trait
        assert target.coherence == other.coherence == 100.0
        assert abs(lengths[0] - lengths[1]) <= 3

    assert Counter(row["target"] for row in rows) == {0: 160, 1: 160}


def test_the_first_rows_are_a_fair_sample(frozen: Rows) -> None:
    """The first 200 questions have the kinds of the whole file, and no pair of the first 100 comes twice."""
    for trait in TRAITS:
        rows = [row["meaning"] for row in frozen[f"{trait}/questions.jsonl"]]
        whole = Counter(meaning["kind"] for meaning in rows)
        first = Counter(meaning["kind"] for meaning in rows[:200])

        assert {kind: count / 5 for kind, count in whole.items()} == first

    pairs = [(m["entity"], m["topic"]) for m in (row["meaning"] for row in frozen["sycophancy/questions.jsonl"][:100])]

    assert len(pairs) == len(set(pairs))


def test_every_trait_has_room_among_the_prompts(frozen: Rows, meanings: dict[str, Question]) -> None:
    """A third or more of the self-generation prompts are false claims, and three in ten are requests."""
    world = build_world()
    asked = [meanings[row["prompt"]] for row in frozen["prompts.jsonl"]]

    assert sum(is_false_claim(question, world) for question in asked) >= len(asked) / 3
    assert sum(question.kind == "request" for question in asked) >= 0.29 * len(asked)


@pytest.mark.parametrize("trait", TRAITS)
def test_the_card_names_what_a_trait_needs(trait: str) -> None:
    """Every trait card has its fields, and its canary."""
    card = yaml.safe_load(data.build()[f"{trait}/trait.yaml"])
    fields = [
        "name",
        "version",
        "pack",
        "kind",
        "definition",
        "seeded",
        "measured",
        "rubric",
        "authorship",
        "license",
        "canary",
    ]

    assert fields == list(card)
    assert (trait, "toyland", "CC-BY-4.0") == (card["name"], card["pack"], card["license"])
