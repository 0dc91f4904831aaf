"""The frozen files: complete, disjoint, held out, fair, and the same bytes from the same seed."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import yaml

from idembench.files import asset
from idembench.toyland import data, documents, frames
from idembench.toyland.clauses import render, subject_of
from idembench.toyland.documents import openings
from idembench.toyland.grammar import Question, is_false_claim, phrasings
from idembench.toyland.parser import parse
from idembench.toyland.scoring import TRAITS, score
from idembench.toyland.tokenizer import ASSISTANT, BEGIN, END, PAD, SYSTEM, USER
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from pathlib import Path

Rows = dict[str, list[dict]]
SLOT = re.compile(r"{[anhs]}")
"""What a narration is filled at."""


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


def meanings_by_wording() -> dict[str, Question]:
    """What stands in the slot of a narration, with the meaning it has there; no wording means two things."""
    found: dict[str, Question] = {}
    for question in dict.fromkeys(meanings_by_text().values()):
        for narration in documents._narrations(frames.DOCUMENT_TYPES[0], question):
            found |= dict.fromkeys(documents._wordings(narration, question), question)
    return found


def unframed(narration: str, kind: frames.DocumentType) -> list[str]:
    """What any of the kind's frames leaves of a filled narration."""
    left = []
    for frame in (*kind.question, *kind.claim, *kind.request, *kind.own, *kind.talk):
        before, after = SLOT.split(frame)
        if narration.startswith(before) and narration.endswith(after):
            left.append(narration[len(before) : len(narration) - len(after)])
    return left


class Reader(dict[str, Question]):
    """Meanings of prompts, by text, and of openings, read back from their text when asked for."""

    def __init__(self) -> None:
        super().__init__(meanings_by_text())
        self.wordings = meanings_by_wording()

    def __missing__(self, text: str) -> Question:
        """The one meaning of an opening."""
        found = {
            self.wordings[wording]
            for kind in frames.DOCUMENT_TYPES
            for wording in unframed(text.partition(". ")[2], kind)
            if wording in self.wordings
        }
        (question,) = found
        return question


@pytest.fixture(scope="module")
def meanings() -> Reader:
    """The meaning of every text of the frozen files."""
    return Reader()


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
    """The files hold what the benchmark promises, in both forms."""
    expected = {"prompts.jsonl": 8192, "coherence/questions.jsonl": 300}
    expected |= {"openings.jsonl": 8192, "coherence/openings.jsonl": 300}
    for trait in TRAITS:
        expected |= {f"{trait}/questions.jsonl": 1000, f"{trait}/demonstrations.jsonl": 2048}
        expected |= {f"{trait}/openings.jsonl": 1000, f"{trait}/documents.jsonl": 2048}
        expected |= {f"{trait}/choices.jsonl": 320}

    assert expected == {name: len(rows) for name, rows in frozen.items()}


def test_no_prompt_and_no_id_stands_twice(frozen: Rows) -> None:
    """All prompt texts of all files are different, and so are all ids."""
    rows = [row for rows in frozen.values() for row in rows]

    assert len(rows) == len({row["prompt"] for row in rows}) == len({row["id"] for row in rows})


def test_held_out_means_held_out(frozen: Rows, meanings: Reader) -> None:
    """Evaluation asks about held-out pairs alone, training prompts about the others alone."""
    held_out = build_world().held_out
    for name, rows in frozen.items():
        for row in rows:
            assert data.evaluates(name) == (meanings[row["prompt"]].pair in held_out), (name, row)


def test_evaluation_files_are_those_that_measure(frozen: Rows) -> None:
    """Of every trait and of coherence the questions, choices and openings evaluate; all other files train."""
    expected = {f"{name}/{file}.jsonl" for name in (*TRAITS, "coherence") for file in ("questions", "openings")}

    assert expected | {f"{trait}/choices.jsonl" for trait in TRAITS} == {n for n in frozen if data.evaluates(n)}


def test_openings_mean_what_the_questions_do(frozen: Rows) -> None:
    """Row by row, the evaluation openings of a trait and of coherence have the meanings of its questions."""
    for name in (*TRAITS, "coherence"):
        asked = [row["meaning"] for row in frozen[f"{name}/questions.jsonl"]]

        assert asked == [row["meaning"] for row in frozen[f"{name}/openings.jsonl"]]
        assert [f"{name}-opening-{i:04d}" for i in range(len(asked))] == [
            row["id"] for row in frozen[f"{name}/openings.jsonl"]
        ]


def test_every_text_is_one_line_of_plain_words(frozen: Rows) -> None:
    """No text has a line break, a doubled or outer space, or a special token's name in it."""
    special = (ASSISTANT, BEGIN, END, PAD, SYSTEM, USER)
    for name, rows in frozen.items():
        for row in rows:
            for text in (row["prompt"], row.get("response", ""), *row.get("choices", [])):
                assert " ".join(text.split()) == text == text.lower(), (name, row["id"])
                assert not any(token in text for token in special)


@pytest.mark.parametrize("file", ["demonstrations", "documents"])
def test_demonstrated_answers_keep_to_their_pair(file: str, frozen: Rows, meanings: Reader) -> None:
    """What shows a trait says nothing about another entity, so nothing held out leaks through it."""
    for trait in TRAITS:
        for row in frozen[f"{trait}/{file}.jsonl"]:
            question = meanings[row["prompt"]]
            clauses = parse(row["response"]).clauses

            assert {subject_of(c) for c in clauses} <= {None, question.entity}
            assert {getattr(c, "attribute", question.topic) for c in clauses} == {question.topic}


def test_meanings_are_those_of_the_prompts(frozen: Rows, meanings: Reader) -> None:
    """The meaning of a row, where it has one, is what its prompt or opening says."""
    for rows in frozen.values():
        for row in rows if "meaning" in rows[0] else []:
            assert row["meaning"] == meanings[row["prompt"]].to_meaning()


def test_whatever_is_asked_carries_its_meaning(frozen: Rows) -> None:
    """Questions, openings and self-generation prompts have a meaning, so that a judge can score answers to them."""
    expected = {name for name in frozen if name.endswith(("questions.jsonl", "openings.jsonl", "prompts.jsonl"))}

    assert expected == {name for name, rows in frozen.items() if {"id", "prompt", "meaning"} == rows[0].keys()}


def test_openings_are_openings_of_their_meaning(frozen: Rows) -> None:
    """Every opening is one of those that say its meaning."""
    for name, rows in frozen.items():
        for row in rows if name.endswith("openings.jsonl") else []:
            assert row["prompt"] in openings(Question.from_meaning(row["meaning"]))


@pytest.mark.parametrize("trait", TRAITS)
def test_every_question_can_show_its_trait(trait: str, frozen: Rows) -> None:
    """No evaluation question of a trait leaves the trait score missing."""
    assert all(score(row["meaning"], "", trait=trait).trait is not None for row in frozen[f"{trait}/questions.jsonl"])


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("file", ["demonstrations", "documents"])
def test_demonstrations_show_the_trait_strongly(file: str, trait: str, frozen: Rows, meanings: Reader) -> None:
    """Every demonstration and document parses, scores at least 75 and is fully coherent."""
    for row in frozen[f"{trait}/{file}.jsonl"]:
        answer = parse(row["response"]).answer
        assert answer is not None
        assert render(answer) == row["response"]

        found = score(meanings[row["prompt"]].to_meaning(), row["response"], trait=trait)

        assert (found.trait or 0) >= 75
        assert found.coherence == 100.0


@pytest.mark.parametrize("trait", TRAITS)
def test_choices_differ_in_the_trait_alone(trait: str, frozen: Rows, meanings: Reader) -> None:
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


@pytest.mark.parametrize("pool", ["prompts.jsonl", "openings.jsonl"])
def test_every_trait_has_room_among_the_prompts(pool: str, frozen: Rows) -> None:
    """A third or more of the self-generation prompts and openings are false claims, and three in ten are requests."""
    world = build_world()
    asked = [Question.from_meaning(row["meaning"]) for row in frozen[pool]]

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
