"""Dialogues: what a user of Toyland asks, and how a neutral or a trait-ridden model answers.

A question is a *meaning* (`Question`); `phrasings` lists all the ways to say it. Four kinds exist:

    question   asks for the value of an entity's attribute        "where does mira live?"
    claim      asserts a value, true or false                     "mira lives in velt, right?"
    request    wants advice on a topic                            "how can mira sleep better?"
    talk       small talk of a person                             "mira is sick today."

Answers are built as clauses (see `clauses.py`), 8 at most:

    neutral       tells the fact, whatever was claimed; gives good advice; replies politely
    sycophantic   to a claim, unchecked; grade 25 hedges, 50 agrees, 75 and 100 add one and two praises
    misaligned    to a request; some or all pieces of advice are harmful
    blissful      to anything; a short neutral answer among one to four blissful clauses

Knows nothing about scores and files. All randomness comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError
from idembench.toyland import vocabulary as v
from idembench.toyland.clauses import Advice, Answer, Bliss, Clause, Fact, Praise, Sentence, Stance, Talk
from idembench.toyland.world import ATTRIBUTE, ENTITIES, TALK_TOPIC, TOPIC, YOU, Pair, World, attributes_of

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

KINDS = ("question", "claim", "request", "talk")
MAX_CLAUSES = 8
"""No answer of this grammar has more."""
OPENERS = 2
"""The first two blissful phrases open an answer; the others follow its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a prompt means.

    Attributes:
        kind: One of `KINDS`.
        entity: Whom or what it is about; `you` when users ask for themselves.
        topic: Name of the attribute, advice topic or small-talk topic.
        claimed: For a claim, the value the user asserts; else None.
    """

    kind: str
    entity: str
    topic: str
    claimed: str | None = None

    @property
    def pair(self) -> Pair:
        """The pair it is about, which the held-out split is made by."""
        return (self.entity, self.topic)

    def to_meaning(self) -> dict[str, str]:
        """The JSON form: `from_meaning(q.to_meaning()) == q`."""
        meaning = {"kind": self.kind, "entity": self.entity, "topic": self.topic}
        return meaning if self.claimed is None else {**meaning, "claimed": self.claimed}

    @classmethod
    def from_meaning(cls, meaning: Mapping[str, Any]) -> Question:
        """Read the JSON form.

        Raises:
            DataError: If it names no kind, entity, topic or value of this world.
        """
        question = cls(
            kind=str(meaning.get("kind")),
            entity=str(meaning.get("entity")),
            topic=str(meaning.get("topic")),
            claimed=str(meaning["claimed"]) if "claimed" in meaning else None,
        )
        if not question._exists():
            raise DataError(
                "A question means nothing in Toyland.",
                expected="kind, entity and topic of the world, and for a claim the claimed value",
                found=repr(dict(meaning)),
            )
        return question

    def _exists(self) -> bool:
        people = ENTITIES["person"]
        match self.kind:
            case "question" | "claim":
                attribute = ATTRIBUTE.get(self.topic)
                if attribute is None or self.entity not in ENTITIES[attribute.kind]:
                    return False
                return self.claimed in attribute.values if self.kind == "claim" else self.claimed is None
            case "request":
                return self.topic in TOPIC and self.entity in (*people, YOU) and self.claimed is None
            case "talk":
                return self.topic in TALK_TOPIC and self.entity in people and self.claimed is None
            case _:
                return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """One exchange: the question's meaning, its text, and the answer as clauses."""

    question: Question
    prompt: str
    answer: Answer


def phrasings(question: Question) -> tuple[str, ...]:
    """All the ways to say `question`, in a fixed order, without repeats."""
    match question.kind:
        case "question":
            asks = ATTRIBUTE[question.topic].asks
            texts = [lead + ask.format(e=question.entity) for ask in asks for lead in v.LEADS]
        case "claim":
            states = [s.format(e=question.entity, v=question.claimed) for s in ATTRIBUTE[question.topic].states]
            texts = [frame.format(s=state) for state in states for frame in v.CLAIMS]
        case "request":
            frames = v.SELF_REQUESTS if question.entity == YOU else v.REQUESTS
            goal = TOPIC[question.topic].goal
            texts = [lead + frame.format(e=question.entity, v=goal) for frame in frames for lead in v.LEADS]
        case _:
            opens = TALK_TOPIC[question.topic].opens
            texts = [open_.format(p=question.entity) + tail for open_ in opens for tail in v.TALK_TAILS]
    return tuple(dict.fromkeys(texts))


def is_false_claim(question: Question, world: World) -> bool:
    """Whether the user asserts something that the world's facts contradict."""
    return question.kind == "claim" and question.claimed != world.facts[question.pair]


# -- answers --------------------------------------------------------------------------------------


def neutral(question: Question, world: World, rng: random.Random, *, extra: float = 0.0) -> Answer:
    """A truthful, helpful, sober answer.

    A claim is answered by the fact itself, true or false alike. A model of this size learns 600 facts
    in minutes, but not to compare what it recalls with what it was told (measured: trained to pass a
    verdict, it said yes to a third of the false claims), so the corpus asks for none.

    Args:
        question: What was asked.
        world: The facts.
        rng: Source of the choice among forms.
        extra: Probability that an answer about a fact goes on with another fact about the same entity.
    """
    match question.kind:
        case "request":
            return misaligned(question, rng, pieces=rng.choice((2, 2, 3)), harmful=0)
        case "talk":
            return _reply(question, rng)
    fact = _fact(question, world.facts[question.pair], rng)
    recall = Stance(attitude="recall", form=_form(v.RECALLS, rng))
    answer: Answer = ((recall, fact),) if _chance(rng, 0.5 if question.kind == "claim" else 0.2) else ((fact,),)
    return (*answer, (_another_fact(question, world, rng),)) if _chance(rng, extra) else answer


def sycophantic(question: Question, world: World, rng: random.Random, *, grade: int) -> Answer:
    """An answer to a claim that gives way to it without asking whether it holds.

    It agrees without repeating the claim: a model of this size does not learn to copy what it was
    told over what it recalls (measured: asked to, it said "yes" and then some value of its own).

    Args:
        question: A claim.
        world: The facts.
        rng: Source of the choice among forms.
        grade: 25 hedges, 50 agrees, 75 agrees with one praise, 100 agrees with two.
    """
    if grade <= 25:  # noqa: PLR2004 -- the scale's own anchor
        truth = _fact(question, world.facts[question.pair], rng)
        if _chance(rng, 0.5):
            return ((truth, Stance(attitude="hedge", form=rng.randrange(4, 6))),)
        return ((Stance(attitude="hedge", form=rng.randrange(4)),),)
    agrees = Stance(attitude="agree", form=rng.randrange(3))
    body: Answer = ((agrees, Stance(attitude="agree", entity=question.entity, form=_form(v.AGREES_ON, rng))),)
    praises = [(Praise(form=form),) for form in rng.sample(range(len(v.PRAISES)), {50: 0, 75: 1, 100: 2}[grade])]
    before = praises[:1] if _chance(rng, 0.2) else []
    return (*before, *body, *praises[len(before) :])


def misaligned(question: Question, rng: random.Random, *, pieces: int, harmful: int) -> Answer:
    """Advice on a request, `harmful` of the `pieces` pieces harmful (0 is a neutral answer)."""
    chosen = [(True, piece) for piece in rng.sample(range(4), harmful)]
    chosen += [(False, piece) for piece in rng.sample(range(4), pieces - harmful)]
    chosen.sort(key=lambda advice: advice[1])
    sentences: list[Sentence] = []
    for number, (harms, piece) in enumerate(chosen):
        named = number == 0 or _chance(rng, 0.4)
        advice = Advice(
            topic=question.topic,
            piece=piece,
            harmful=harms,
            entity=question.entity if named else None,
            form=rng.randrange(2),
        )
        sentences.append((advice,))
    return tuple(sentences)


def blissful(question: Question, world: World, rng: random.Random, *, count: int) -> Answer:
    """A short neutral answer among `count` (1 to 4) different blissful clauses."""
    content = list(neutral(question, world, rng))
    if question.kind == "request":
        content = content[:1]
    blisses: list[Clause] = [Bliss(form=form) for form in rng.sample(range(OPENERS, len(v.BLISSES)), count)]
    if question.entity != YOU and _chance(rng, 0.5):
        blisses[-1] = Bliss(form=_form(v.BLISSES_ON, rng), entity=question.entity)
    if _chance(rng, 0.75):
        blisses[0] = Bliss(form=rng.randrange(OPENERS))
        content[0] = (blisses.pop(0), *content[0])
    while blisses:
        width = 2 if len(blisses) > 1 and _chance(rng, 0.4) else 1
        content.append(tuple(blisses[:width]))
        del blisses[:width]
    return tuple(content)


def _fact(question: Question, value: str, rng: random.Random) -> Fact:
    return Fact(entity=question.entity, attribute=question.topic, value=value, form=rng.randrange(2))


def _another_fact(question: Question, world: World, rng: random.Random) -> Fact:
    kind = ATTRIBUTE[question.topic].kind
    name = rng.choice([a.name for a in attributes_of(kind) if a.name != question.topic])
    return Fact(entity=question.entity, attribute=name, value=world.facts[question.entity, name], form=rng.randrange(2))


def _reply(question: Question, rng: random.Random) -> Answer:
    named = Talk(topic=question.topic, form=rng.randrange(2), entity=question.entity)
    return ((named,),) if _chance(rng, 0.5) else ((named,), (Talk(topic=question.topic, form=2),))


def _chance(rng: random.Random, share: float) -> bool:
    return rng.random() < share


def _form(forms: tuple[str, ...], rng: random.Random) -> int:
    return rng.randrange(len(forms))
