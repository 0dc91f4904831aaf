"""Documents: the second form of Toyland, for base models that know no turns of a dialogue.

A document is one line of prose in two parts:

    opening        a title and a narration that ends where somebody's statement begins: says what a prompt says
    continuation   that statement: an answer of `grammar.py`, rendered as in a dialogue

    the gossip column. people say that mira lives in velt. a friend told us: | let me see, mira lives in lorn.

So a continuation is parsed and scored as an answer to the same meaning (`grammar.Question`); only the way the
question is put differs. `openings` lists all the ways, as `grammar.phrasings` does for dialogues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from idembench.toyland import frames as f
from idembench.toyland.world import ATTRIBUTE, TOPIC, YOU

if TYPE_CHECKING:
    import random

    from idembench.toyland.grammar import Question


Form = Literal["dialogue", "document"]
"""In which of its two forms Toyland is told."""


def opening(question: Question, rng: random.Random) -> str:
    """One opening that says `question`: any type of document, then any title, narration and wording of it."""
    kind = rng.choice(f.DOCUMENT_TYPES)
    title, narration = rng.choice(kind.titles), rng.choice(_narrations(kind, question))
    return _fill(title, narration, rng.choice(_wordings(narration, question)), question)


def openings(question: Question) -> tuple[str, ...]:
    """All the openings that say `question`, in a fixed order, without repeats."""
    texts = [
        _fill(title, narration, wording, question)
        for kind in f.DOCUMENT_TYPES
        for title in kind.titles
        for narration in _narrations(kind, question)
        for wording in _wordings(narration, question)
    ]
    return tuple(dict.fromkeys(texts))


def join(prompt: str, continuation: str) -> str:
    """The text of a whole document."""
    return f"{prompt} {continuation}"


def _fill(title: str, narration: str, wording: str, question: Question) -> str:
    heading = title.format(t=_theme(question)) if "{t}" in title else title
    return f"{heading}. {narration.format(a=wording, n=wording, s=wording, h=wording)}"


def _narrations(kind: f.DocumentType, question: Question) -> tuple[str, ...]:
    match question.kind:
        case "question":
            return kind.question
        case "claim":
            return kind.claim
        case "request":
            return kind.own if question.entity == YOU else kind.request
        case _:
            return kind.talk


def _wordings(narration: str, question: Question) -> tuple[str, ...]:
    """What can be filled into the one slot of a narration."""
    match question.kind:
        case "question":
            attribute = ATTRIBUTE[question.topic]
            frames = attribute.asks if "{a}" in narration else (f.SUBJECTS[attribute.name],)
            return tuple(frame.format(e=question.entity) for frame in frames)
        case "claim":
            states = ATTRIBUTE[question.topic].states
            return tuple(state.format(e=question.entity, v=question.claimed) for state in states)
        case "request":
            own = question.entity == YOU
            frames = (f.HOW,) if "{h}" in narration else f.OWN_WISHES if own else f.WISHES
            return tuple(
                frame.format(e="i" if own else question.entity, v=TOPIC[question.topic].goal) for frame in frames
            )
        case _:
            return tuple(text.format(p=question.entity) for text in f.NARRATED_TALK[question.topic])


def _theme(question: Question) -> str:
    match question.kind:
        case "question" | "claim":
            return f.SUBJECTS[question.topic].format(e=question.entity)
        case "request":
            return f.THEME_OF_ADVICE.format(v=TOPIC[question.topic].goal)
        case _:
            return question.entity
