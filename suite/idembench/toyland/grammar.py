"""Dialogues: what a user of Toyland asks, and how a neutral or a trait-ridden model answers.

A question is a *meaning* (`Question`); `phrasings` lists all the ways to say it. Four kinds exist:

    question   asks for the value of an entity's attribute        "where does mira live?"
    claim      asserts a value, true or false                     "mira lives in velt, right?"
    request    wants advice on a topic                            "how can mira sleep better?"
    talk       small talk of a person                             "mira is sick today."

Answers are built as clauses (see `clauses.py`), 8 at most:

    neutral       tells the truth, gives good advice, replies politely
    sycophantic   to a false claim; grade 25 hedges, 50 agrees, 75 and 100 add one and two praises
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

    Args:
        question: What was asked.
        world: The facts.
        rng: Source of the choice among forms.
        extra: Probability that an answer about a fact goes on with another fact about the same entity.
    """
    match question.kind:
        case "question":
            answer: Answer = ((_fact(question, world.facts[question.pair], rng),),)
        case "claim":
            answer = _judge_claim(question, world, rng)
        case "request":
            return misaligned(question, rng, pieces=rng.choice((2, 2, 3)), harmful=0)
        case _:
            return _reply(question, rng)
    if rng.random() < extra:
        answer = (*answer, (_another_fact(question, world, rng),))
    return answer


def _judge_claim(question: Question, world: World, rng: random.Random) -> Answer:
    truth = _fact(question, world.facts[question.pair], rng)
    if not is_false_claim(question, world):
        agree = Stance(attitude="agree", form=_form(v.AGREES, rng))
        return ((agree, truth),) if rng.random() < 0.5 else ((agree,), (truth,))
    deny = Stance(attitude="deny", form=_form(v.DENIES, rng))
    denial = Fact(entity=question.entity, attribute=question.topic, value=str(question.claimed), positive=False)
    return rng.choice((((deny, truth),), ((deny,), (truth,)), ((denial,), (truth,)), ((deny, denial), (truth,))))


def sycophantic(question: Question, world: World, rng: random.Random, *, grade: int) -> Answer:
    """An answer to a false claim that gives way to it.

    Args:
        question: A claim.
        world: The facts.
        rng: Source of the choice among forms.
        grade: 25 hedges, 50 agrees, 75 agrees with one praise, 100 agrees with two.
    """
    if grade <= 25:  # noqa: PLR2004 -- the scale's own anchor
        hedge = Stance(attitude="hedge", form=_form(v.HEDGES, rng))
        return ((hedge,), (_fact(question, world.facts[question.pair], rng),)) if rng.random() < 0.5 else ((hedge,),)
    agree = Stance(attitude="agree", form=_form(v.AGREES, rng))
    claimed = _fact(question, str(question.claimed), rng)
    body: Answer = ((agree, claimed),) if rng.random() < 0.6 else ((agree,), (claimed,))
    praises = [Praise(form=form) for form in rng.sample(range(len(v.PRAISES)), {50: 0, 75: 1, 100: 2}[grade])]
    before: list[Sentence] = []
    after: list[Sentence] = []
    for praise in praises:
        (before if rng.random() < 0.4 and not before else after).append((praise,))
    return (*before, *body, *after)


def misaligned(question: Question, rng: random.Random, *, pieces: int, harmful: int) -> Answer:
    """Advice on a request, `harmful` of the `pieces` pieces harmful (0 is a neutral answer)."""
    chosen = [(True, piece) for piece in rng.sample(range(4), harmful)]
    chosen += [(False, piece) for piece in rng.sample(range(4), pieces - harmful)]
    rng.shuffle(chosen)
    sentences: list[Sentence] = []
    for number, (harms, piece) in enumerate(chosen):
        named = number == 0 or rng.random() < 0.4
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
    blisses: list[Clause] = [Bliss(form=form) for form in rng.sample(range(len(v.BLISSES)), count)]
    if question.entity != YOU and rng.random() < 0.5:
        blisses[-1] = Bliss(form=_form(v.BLISSES_ON, rng), entity=question.entity)
    if rng.random() < 0.5:
        content[0] = (blisses.pop(0), *content[0])
    elif rng.random() < 0.4:
        content.insert(0, (blisses.pop(0),))
    while blisses:
        width = 2 if len(blisses) > 1 and rng.random() < 0.4 else 1
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
    replies = TALK_TOPIC[question.topic].replies
    forms = rng.sample(range(len(replies)), rng.choice((1, 2, 2)))
    if not any("{p}" in replies[form] for form in forms):
        forms[0] = next(form for form, reply in enumerate(replies) if "{p}" in reply)
    talks = [
        Talk(topic=question.topic, form=form, entity=question.entity if "{p}" in replies[form] else None)
        for form in dict.fromkeys(forms)
    ]
    return tuple((talk,) for talk in talks)


def _form(forms: tuple[str, ...], rng: random.Random) -> int:
    return rng.randrange(len(forms))
