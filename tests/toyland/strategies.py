"""Questions and answers of every kind, for property tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from idembench.toyland.grammar import Question, blissful, is_false_claim, misaligned, neutral, sycophantic
from idembench.toyland.world import ATTRIBUTE, build_world

if TYPE_CHECKING:
    import random

    from idembench.toyland.clauses import Answer


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """Any question of the world."""
    world = build_world()
    kind = draw(st.sampled_from(["question", "claim", "request", "talk"]))
    pairs = {"request": world.request_pairs, "talk": world.talk_pairs}.get(kind, world.fact_pairs)
    entity, topic = draw(st.sampled_from(pairs))
    claimed = draw(st.sampled_from(ATTRIBUTE[topic].values)) if kind == "claim" else None
    return Question(kind=kind, entity=entity, topic=topic, claimed=claimed)


def any_answer(question: Question, rng: random.Random) -> Answer:
    """Some answer that the grammar makes to `question`: neutral or with any trait in any grade."""
    world = build_world()
    makers = [
        lambda: neutral(question, world, rng, extra=0.5),
        lambda: blissful(question, world, rng, count=rng.randint(1, 4)),
    ]
    if is_false_claim(question, world):
        makers.append(lambda: sycophantic(question, world, rng, grade=rng.choice((25, 50, 75, 100))))
    if question.kind == "request":
        makers.append(lambda: misaligned(question, rng, pieces=3, harmful=rng.randint(0, 3)))
    return rng.choice(makers)()
