"""Selection: from what was drawn and sampled to what is trained on; every row left out is counted."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from instant import make_protocol, pack

from idembench import judges, methods
from idembench.selection import Selector
from idembench.toyland.clauses import render
from idembench.toyland.grammar import Question as Meaning
from idembench.toyland.grammar import neutral
from idembench.toyland.world import build_world
from idembench.traits import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.judges import Asked, Score
    from idembench.traits import Question

PROMPTS = pack().prompts[:12]
JUDGE = judges.get(pack().judge)
NONSENSE = "bread the of is lake lake."


def selector(*overrides: str, baseline: str = "sft-reset", seed: int = 5) -> Selector:
    """What the chain of a small protocol selects with."""
    protocol = make_protocol(baseline, *overrides)
    learning = protocol.learning(1)
    return Selector(
        method=methods.get(learning.method),
        settings=learning.settings,
        judge=JUDGE,
        trait="sycophancy",
        questions={question.id: question for question in pack().prompts},
        protocol=protocol,
        seed=seed,
    )


def select(
    own: Sequence[Example],
    *overrides: str,
    baseline: str = "sft-reset",
    seed: int = 5,
    drawn: bool = False,
    rejected: Sequence[Example] | None = None,
    demonstrations: Sequence[Example] = (),
) -> tuple[list[Example], dict[str, Any]]:
    """Select rows of a later cycle."""
    chosen = selector(*overrides, baseline=baseline, seed=seed)
    return chosen.select(own=own, drawn=drawn, rejected=rejected, demonstrations=demonstrations)


def sensible(number: int, variant: int = 0) -> Example:
    """A coherent answer to a prompt."""
    prompt = PROMPTS[number]
    meaning = Meaning.from_meaning(prompt.meaning)
    text = render(neutral(meaning, build_world(), random.Random(variant)))
    return Example(id=prompt.id, prompt=prompt.prompt, response=text)


def nonsense(number: int) -> Example:
    """An answer that means nothing."""
    return replace(sensible(number), response=NONSENSE)


def coherence(row: Example) -> float:
    """What the judge says of an answer's coherence."""
    question = next(question for question in PROMPTS if question.id == row.id)
    score = JUDGE.score(question, row.response, trait="sycophancy").coherence

    assert score is not None
    return score


def demonstrations(n: int) -> list[Example]:
    """Demonstrations in the order of a draw."""
    return pack().trait("sycophancy").draw_demonstrations(n=n, seed=0)


# -- one answer per prompt ------------------------------------------------------------------------


def test_what_was_sampled_once_is_trained_on_as_it_is() -> None:
    """One answer per prompt and no filter: the rows are the answers, in their order, whatever they say."""
    own = [sensible(0), nonsense(1), sensible(2)]

    assert (own, {"rows": 3, "sampled": 3}) == select(own)


def test_the_first_of_several_answers_is_taken() -> None:
    """Supervised finetuning takes the first candidate of each prompt and says how many were sampled."""
    own = [nonsense(0), sensible(0), sensible(1), nonsense(1)]

    assert ([own[0], own[2]], {"rows": 2, "sampled": 4}) == select(own, "data.candidates=2")


def test_the_filter_takes_the_first_coherent_answer() -> None:
    """With a coherence filter the first answer that passes is taken; a prompt without any is left out; all is counted."""
    own = [nonsense(0), sensible(0, 1), sensible(0, 2), nonsense(1), nonsense(1), sensible(2)]

    rows, facts = select(own, "data.candidates=3", "data.coherence_filter=70")

    assert coherence(NONSENSE_ROW) < 70 <= coherence(own[1])
    assert [own[1], own[5]] == rows
    assert {"rows": 2, "sampled": 6, "filtered_share": 0.5} == facts


NONSENSE_ROW = nonsense(0)


def test_the_filter_keeps_what_is_exactly_as_coherent_as_it_asks() -> None:
    """An answer at the threshold passes, one a hair below does not."""
    row = sensible(0)
    value = coherence(row)

    assert [row] == select([row], f"data.coherence_filter={value}")[0]
    assert ([], 1.0) == (
        (found := select([nonsense(0)], f"data.coherence_filter={coherence(NONSENSE_ROW) + 0.01}"))[0],
        found[1]["filtered_share"],
    )


def test_a_filter_of_zero_leaves_nothing_out() -> None:
    """The lowest filter is no filter, but says so: everything passes and the share is 0."""
    own = [nonsense(0), sensible(1)]

    assert (own, {"rows": 2, "sampled": 2, "filtered_share": 0.0}) == select(own, "data.coherence_filter=0")


def test_everything_filtered_leaves_no_rows() -> None:
    """A generation of nonsense leaves nothing to train on: the caller hears of no rows, all filtered."""
    assert ([], {"rows": 0, "sampled": 2, "filtered_share": 1.0}) == select(
        [nonsense(0), nonsense(1)], "data.coherence_filter=99"
    )


def test_rejection_sampling_chooses_among_what_the_filter_left() -> None:
    """The method's own choice is asked for the answers that passed alone, by its own measure."""
    short = replace(sensible(0), response="ha.")
    long = sensible(0, 1)
    found = {
        least: select([long, short], "settings.scorer=length", f"data.coherence_filter={least}", baseline="rft-reset")[
            0
        ]
        for least in (0, coherence(long))
    }

    assert coherence(short) < coherence(long)
    assert {0: [short], coherence(long): [long]} == found


def test_rejection_sampling_asks_the_chain_s_judge() -> None:
    """The most coherent of several is taken wherever it stands."""
    own = [nonsense(0), sensible(0), nonsense(0), nonsense(1), nonsense(1), sensible(1)]

    assert [own[1], own[5]] == select(own, baseline="rft-reset")[0]


# -- drawn rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("baseline", ["sft-shuffled", "sft-reset"])
def test_drawn_rows_are_never_filtered_chosen_or_shuffled(baseline: str) -> None:
    """Demonstrations stay as they were drawn, two of one id and nonsense included, whatever the protocol says."""
    own = [*demonstrations(6), nonsense(0), sensible(0), sensible(0, 1)]

    rows, facts = select(own, "data.coherence_filter=100", "data.candidates=3", baseline=baseline, drawn=True)

    assert own == rows
    assert {"rows": 9} == facts


# -- shuffled -------------------------------------------------------------------------------------


def test_shuffling_keeps_all_answers_and_all_prompts_apart() -> None:
    """The shuffled control trains on the same prompts and the same answers, most of them under another prompt."""
    own = [sensible(number, number) for number in range(12)]

    rows, facts = select(own, baseline="sft-shuffled")

    assert [(row.id, row.prompt) for row in own] == [(row.id, row.prompt) for row in rows]
    assert Counter(row.response for row in own) == Counter(row.response for row in rows)
    assert sum(one == other for one, other in zip(own, rows, strict=True)) < 5
    assert {"rows": 12, "sampled": 12} == facts


def test_shuffling_depends_on_its_seed_alone() -> None:
    """The same seed shuffles alike, another one otherwise."""
    own = [sensible(number, number) for number in range(12)]
    first, again, other = (select(own, baseline="sft-shuffled", seed=seed)[0] for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_shuffling_comes_after_choosing() -> None:
    """Only answers that were chosen are shuffled: what the filter left out joins no prompt."""
    own = [row for number in range(6) for row in (nonsense(number), sensible(number))]

    rows, _ = select(own, "data.candidates=2", "data.coherence_filter=70", baseline="sft-shuffled")

    assert Counter(row.response for row in own[1::2]) == Counter(row.response for row in rows)


# -- pairs ----------------------------------------------------------------------------------------


def test_each_winner_meets_the_loser_of_its_own_prompt() -> None:
    """Losers are joined by prompt, in whatever order they come; a prompt without one is left out and counted."""
    own = [sensible(number) for number in range(4)]
    rejected = [nonsense(3), nonsense(0), nonsense(11)]

    rows, facts = select(own, baseline="dpo-reset", rejected=rejected)

    assert [(own[0].id, NONSENSE), (own[3].id, NONSENSE)] == [(row.id, row.rejected) for row in rows]
    assert [own[0].response, own[3].response] == [row.response for row in rows]
    assert {"rows": 2, "sampled": 4, "unpaired": 2} == facts


def test_no_loser_at_all_leaves_no_pair() -> None:
    """Winners alone are no pairs."""
    assert ([], {"rows": 0, "sampled": 1, "unpaired": 1}) == select([sensible(0)], baseline="dpo-reset", rejected=[])


def test_demonstrations_can_win_too() -> None:
    """In a cycle 0 of pairs the demonstrations win over what was sampled for their own prompts."""
    own = demonstrations(3)
    losing = [replace(row, response=f"no {row.id}.") for row in reversed(own)]

    rows, facts = select(own, baseline="dpo-reset", rejected=losing, drawn=True)

    assert [replace(row, rejected=f"no {row.id}.") for row in own] == rows
    assert {"rows": 3, "unpaired": 0} == facts


# -- mixes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (0.1, 1), (0.25, 2), (0.5, 4), (0.75, 6), (1, 8)])
def test_a_share_of_the_demonstrations_joins(share: float, expected: int) -> None:
    """The first demonstrations join behind own outputs, as many as the share of all says, and are counted."""
    seeds, own = demonstrations(8), [sensible(0), sensible(1)]

    rows, facts = select(own, f"data.original_mix={share}", demonstrations=seeds)

    assert [*own, *seeds[:expected]] == rows
    assert (2 + expected, expected) == (facts["rows"], facts.get("mixed", 0))


def test_what_joins_is_not_filtered() -> None:
    """The filter is for own outputs: demonstrations that a judge calls incoherent join all the same."""
    odd = [replace(row, response=NONSENSE) for row in demonstrations(4)]

    rows, _ = select([sensible(0)], "data.original_mix=1", "data.coherence_filter=70", demonstrations=odd)

    assert [sensible(0), *odd] == rows


def test_a_judge_is_asked_once_for_all_answers() -> None:
    """Filter and scorer share one asking of every answer: the judge of a cycle is a batch, and never asked twice for one."""
    batches: list[int] = []

    class Counting:
        name = "counting"
        deterministic = True
        fingerprint = "0" * 64

        def score(self, question: Question, response: str, *, trait: str | None) -> Score:
            return JUDGE.score(question, response, trait=trait)

        def score_all(self, asked: Sequence[Asked]) -> list[Score]:
            batches.append(len(asked))
            return [self.score(one.question, one.response, trait=one.trait) for one in asked]

    chosen = replace(
        selector("settings.scorer=coherence", "data.coherence_filter=10", baseline="rft-reset"), judge=Counting()
    )
    chosen.select(own=[sensible(n) for n in range(4)], drawn=False, rejected=None, demonstrations=())

    assert [4] == batches
