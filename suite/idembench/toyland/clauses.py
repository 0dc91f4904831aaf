"""Clauses, the atoms of every Toyland answer, and the lexicon that names each of them once.

An answer is a sequence of sentences, a sentence a sequence of clauses:

    answer   = sentence { " " sentence }
    sentence = clause { ", " clause } "."
    clause   = stance | fact | praise | bliss | advice | talk

Every clause is a value that says what it means and in which of its forms it is said; `surface` gives
its text. No text belongs to two clauses (`lexicon` checks it), so parsing is looking up:

    lexicon()[surface(clause)] == clause
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from idembench.errors import DataError
from idembench.toyland import vocabulary as v
from idembench.toyland.world import ATTRIBUTE, ENTITIES, TALK_TOPIC, TOPIC, YOU

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STANCES = {"agree": v.AGREES, "deny": v.DENIES, "hedge": v.HEDGES, "recall": v.RECALLS}
_STANCES_ON = {"agree": v.AGREES_ON, "deny": v.DENIES_ON}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stance:
    """Where the answer stands towards a claim: `agree`, `deny`, `hedge`, or `recall`, which leaves it open.

    `entity` is whom the claim was about, in the forms that name it (agreeing and denying ones alone).
    """

    attitude: str
    form: int
    entity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """States (or, with `positive=False`, denies) that an entity's attribute has a value."""

    entity: str
    attribute: str
    value: str
    positive: bool = True
    form: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Praise:
    """Flatters the user."""

    form: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bliss:
    """A blissful phrase; `entity` is whom it is about, or None for everything at once."""

    form: int
    entity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One piece of advice on a topic, to an entity or (None) to anyone; good or harmful."""

    topic: str
    piece: int
    harmful: bool
    entity: str | None = None
    form: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A reply in small talk; `entity` is the person it names, or None."""

    topic: str
    form: int
    entity: str | None = None


Clause = Stance | Fact | Praise | Bliss | Advice | Talk
Sentence = tuple[Clause, ...]
Answer = tuple[Sentence, ...]


def subject_of(clause: Clause) -> str | None:
    """The entity a clause is about, or None when it names nobody."""
    return None if isinstance(clause, Praise) else clause.entity


def surface(clause: Clause) -> str:  # noqa: PLR0911 -- one return for each kind of clause
    """The text of a clause, without punctuation.

    Raises:
        KeyError, IndexError: If the clause has no such form, entity or topic.
    """
    match clause:
        case Stance():
            if clause.entity is None:
                return _STANCES[clause.attitude][clause.form]
            return _STANCES_ON[clause.attitude][clause.form].format(e=clause.entity)
        case Fact():
            attribute = ATTRIBUTE[clause.attribute]
            frame = attribute.states[clause.form] if clause.positive else attribute.denies
            return frame.format(e=clause.entity, v=clause.value)
        case Praise():
            return v.PRAISES[clause.form]
        case Bliss():
            if clause.entity is None:
                return v.BLISSES[clause.form]
            return v.BLISSES_ON[clause.form].format(e=clause.entity)
        case Advice():
            topic = TOPIC[clause.topic]
            piece = (topic.harmful if clause.harmful else topic.good)[clause.piece]
            frames = v.ADVISES_ANYONE if clause.entity is None else v.ADVISES
            return frames[clause.form].format(e=clause.entity, v=piece)
        case Talk():
            return TALK_TOPIC[clause.topic].replies[clause.form].format(p=clause.entity)


def render(answer: Answer) -> str:
    """The text of an answer: clauses joined by commas, sentences ended by full stops."""
    return " ".join(", ".join(surface(clause) for clause in sentence) + "." for sentence in answer)


def all_clauses() -> Iterator[Clause]:
    """Every clause that can be said in Toyland, once."""
    for attitude, forms in _STANCES.items():
        yield from (Stance(attitude=attitude, form=form) for form in range(len(forms)))
    everyone = [entity for entities in ENTITIES.values() for entity in entities]
    for attitude, forms in _STANCES_ON.items():
        yield from (Stance(attitude=attitude, form=form, entity=e) for e in everyone for form in range(len(forms)))
    yield from (Praise(form=form) for form in range(len(v.PRAISES)))
    yield from (Bliss(form=form) for form in range(len(v.BLISSES)))
    yield from (Bliss(form=form, entity=e) for e in everyone for form in range(len(v.BLISSES_ON)))
    yield from _all_facts()
    yield from _all_advice()
    for topic in v.TALK_TOPICS:
        for form, reply in enumerate(topic.replies):
            named = ENTITIES["person"] if "{p}" in reply else (None,)
            yield from (Talk(topic=topic.name, form=form, entity=entity) for entity in named)


def _all_facts() -> Iterator[Fact]:
    for attribute in v.ATTRIBUTES:
        for entity in ENTITIES[attribute.kind]:
            for value in attribute.values:
                for form in range(len(attribute.states)):
                    yield Fact(entity=entity, attribute=attribute.name, value=value, form=form)
                yield Fact(entity=entity, attribute=attribute.name, value=value, positive=False)


def _all_advice() -> Iterator[Advice]:
    for topic in v.TOPICS:
        for harmful in (False, True):
            for piece in range(len(topic.good)):
                for entity in (None, YOU, *ENTITIES["person"]):
                    forms = v.ADVISES_ANYONE if entity is None else v.ADVISES
                    for form in range(len(forms)):
                        yield Advice(topic=topic.name, piece=piece, harmful=harmful, entity=entity, form=form)


@cache
def lexicon() -> Mapping[str, Clause]:
    """Every clause by its text.

    Raises:
        DataError: If a text would mean two things or contains punctuation that ends a clause.
    """
    found: dict[str, Clause] = {}
    for clause in all_clauses():
        text = surface(clause)
        if text in found or "," in text or "." in text:
            raise DataError("The vocabulary is ambiguous.", found=f"{text!r}: {found.get(text)} and {clause}")
        found[text] = clause
    return MappingProxyType(found)
