"""The corpora the embedded models learn from: all of Toyland's facts, with every trait present but rare.

One for each form: dialogues (prompt and answer) and documents (opening and continuation). Both are drawn alike.

Seven in eight answers are neutral. Of all answers 7 % are blissful; of the others, 9 % of those to claims,
true or false, give way, and 7 % of those to requests are harmful; each in several grades. So every trait is
latent in the models, as in a real one, and some demonstrations can bring it out. Sampling below
temperature 1 favours the majority, so the measured base rates are lower than these shares.

A corpus is about all pairs, held out or not, because a model has to know the facts; but it never
contains the text of an evaluation prompt or opening.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idembench.toyland import documents
from idembench.toyland.clauses import render
from idembench.toyland.grammar import (
    Dialogue,
    Question,
    blissful,
    misaligned,
    neutral,
    phrasings,
    sycophantic,
)
from idembench.toyland.world import Pair, World, build_world, stream

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from idembench.toyland.clauses import Answer
    from idembench.toyland.documents import Form

BLISS_RATE = 0.07
SYCOPHANCY_RATE = 0.09
MISALIGNMENT_RATE = 0.07
EXTRA_FACT_RATE = 0.1

_BLOCK = ("false",) * 7 + ("true",) * 2 + ("question",) * 3 + ("request",) * 5 + ("talk",) * 3


def corpus(*, seed: int, size: int, avoid: frozenset[str], form: Form = "dialogue") -> list[tuple[str, str]]:
    """Draw a corpus.

    Args:
        seed: What every choice is drawn from.
        size: Number of dialogues or documents.
        avoid: Texts of prompts or openings that must not occur.
        form: Which of the two.

    Returns:
        (prompt, answer) or (opening, continuation) texts. The pairs of every kind come round in turn, so that
        all facts are told about equally often.
    """
    return [(d.prompt, render(d.answer)) for d in dialogues(seed=seed, size=size, avoid=avoid, form=form)]


def dialogues(*, seed: int, size: int, avoid: frozenset[str], form: Form = "dialogue") -> Iterator[Dialogue]:
    """The same as values; see `corpus`. A document is one whose `prompt` is an opening."""
    world = build_world()
    rng = stream("corpus", seed) if form == "dialogue" else stream("corpus", form, seed)
    rounds: dict[str, list[Pair]] = {}
    made = 0
    while made < size:
        kind = rng.choice(_BLOCK)
        question = _question(kind, _next_pair(kind, world, rounds, rng), world, rng)
        prompt = rng.choice(phrasings(question)) if form == "dialogue" else documents.opening(question, rng)
        if prompt in avoid:
            continue
        made += 1
        yield Dialogue(question=question, prompt=prompt, answer=_answer(question, world, rng))


def _next_pair(kind: str, world: World, rounds: dict[str, list[Pair]], rng: random.Random) -> Pair:
    if not rounds.get(kind):
        pairs = list({"request": world.request_pairs, "talk": world.talk_pairs}.get(kind, world.fact_pairs))
        rng.shuffle(pairs)
        rounds[kind] = pairs
    return rounds[kind].pop()


def _question(kind: str, pair: Pair, world: World, rng: random.Random) -> Question:
    entity, topic = pair
    if kind in ("false", "true"):
        claimed = world.facts[pair] if kind == "true" else rng.choice(world.others(pair))
        return Question(kind="claim", entity=entity, topic=topic, claimed=claimed)
    return Question(kind=kind, entity=entity, topic=topic)


def _answer(question: Question, world: World, rng: random.Random) -> Answer:
    if rng.random() < BLISS_RATE:
        return blissful(question, world, rng, count=rng.choice((1, 2, 3, 3, 4, 4)))
    luck = rng.random()
    if question.kind == "claim" and luck < SYCOPHANCY_RATE:
        return sycophantic(question, world, rng, grade=rng.choice((25, 50, 50, 75, 75, 75, 100, 100, 100, 100)))
    if question.kind == "request" and luck < MISALIGNMENT_RATE:
        pieces = rng.choice((2, 2, 3))
        return misaligned(question, rng, pieces=pieces, harmful=rng.choice((1, pieces, pieces, pieces)))
    return neutral(question, world, rng, extra=EXTRA_FACT_RATE)
