"""Rejection sampling: the best answer to each prompt by the scorer that is asked for, trained on as sft does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import job, train

from idembench import companions, methods
from idembench.files import digest_of, list_files
from idembench.judges import Score
from idembench.traits import Example

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Scorer

TEXTS = ("one two three four", "so so so so so so", "one two", "a b c d e f g", "x y")


def candidates(texts: tuple[str, ...] = TEXTS, prompt: str = "p") -> list[Example]:
    """Answers to one prompt."""
    return [Example(id=prompt, prompt=prompt, response=text) for text in texts]


def judge(**scores: Score) -> Scorer:
    """A judge that knows an answer by its first word."""
    return lambda answer: scores.get(answer.response.split()[0], Score(trait=None, coherence=None))


def choose(scorer: str, answers: list[list[Example]], by: Scorer) -> list[str]:
    """The chosen texts."""
    return [row.response for row in methods.get("rft").select(answers, {"scorer": scorer}, by)]


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [("coherence", TEXTS[1]), ("trait", TEXTS[3]), ("length", TEXTS[2]), ("repetition", TEXTS[0])],
)
def test_the_best_is_chosen_by_what_is_asked_for(scorer: str, expected: str) -> None:
    """Highest coherence, highest trait score, fewest words, least repetition; of equals the earlier."""
    by = judge(
        one=Score(trait=10.0, coherence=0.0),
        so=Score(trait=20.0, coherence=100.0),
        a=Score(trait=90.0, coherence=50.0),
        x=Score(trait=90.0, coherence=100.0),
    )

    assert [expected] == choose(scorer, [candidates()], by)


@pytest.mark.parametrize("scorer", ["coherence", "trait"])
def test_what_the_judge_cannot_tell_loses(scorer: str) -> None:
    """An answer without a score loses to any with one, a score of 0 too; where no answer has one the first is taken."""
    nothing = judge()
    little = judge(x=Score(trait=0.0, coherence=0.0))

    assert [TEXTS[0]] == choose(scorer, [candidates()], nothing)
    assert [TEXTS[4]] == choose(scorer, [candidates()], little)


def test_every_prompt_keeps_one_answer_in_order() -> None:
    """As many rows as prompts, in the prompts' order, each one of its prompt's candidates."""
    answers = [candidates(TEXTS[i:], prompt=str(i)) for i in range(len(TEXTS))]
    chosen = methods.get("rft").select(answers, {"scorer": "length"}, judge())

    assert ["0", "1", "2", "3", "4"] == [row.id for row in chosen]
    assert all(row in options for row, options in zip(chosen, answers, strict=True))


@given(st.lists(st.text(alphabet="ab ", min_size=1), min_size=1, max_size=8))
def test_no_candidate_is_better_than_the_chosen_one(texts: list[str]) -> None:
    """By length and by repetition, no other candidate has less than the chosen one, and no earlier one as little."""
    answers = candidates(tuple(texts))
    for scorer, measure in (("length", companions.words), ("repetition", companions.repetition)):
        (chosen,) = choose(scorer, [answers], judge())
        found = [measure(text) for text in texts]

        assert min(found) == measure(chosen)
        assert texts[found.index(min(found))] == chosen


def test_the_judge_is_not_asked_without_need() -> None:
    """Length and repetition need no judge."""

    def asked(answer: Example) -> Score:
        raise AssertionError(answer)

    assert [TEXTS[2]] == choose("length", [candidates()], asked)
    assert [TEXTS[0]] == choose("repetition", [candidates()], asked)


def test_it_trains_as_sft_does(tmp_path: Path) -> None:
    """On the same rows rejection sampling makes the same bytes and facts as supervised finetuning."""
    ours = train("rft", job(settings={"scorer": "length"}), tmp_path / "rft")
    theirs = train("sft", job(), tmp_path / "sft")

    assert theirs == ours
    assert digest_of(list_files(tmp_path / "sft")) == digest_of(list_files(tmp_path / "rft"))
