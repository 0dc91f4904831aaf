"""The world of Toyland: which facts hold, and which of them are held out of all training on a trait.

48 people, 24 places and 30 things have six attributes each: 612 facts. Every entity-attribute
pair has one true value, drawn from a seed; the values of an attribute are dealt out evenly. Opinions
are facts too: the world fixes what its inhabitants think of a person, a place or a thing. Beside the
facts there are requests (who wants advice on what) and small talk (who speaks of what).

A *pair* is what an exchange is about: entity and attribute, entity and advice topic, or person and
small-talk topic. `World.held_out` holds three in ten pairs of every attribute and topic: evaluation
uses these alone, demonstrations and self-generation prompts the others alone.

Knows nothing about sentences, traits or models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from idembench.files import derive_seed, sha256_json
from idembench.toyland import vocabulary as v

if TYPE_CHECKING:
    from collections.abc import Mapping

WORLD_SEED = 20260501
HELD_OUT_SHARE = 0.3
YOU = "you"

Pair = tuple[str, str]
"""(entity, attribute or topic name)"""

ENTITIES: Mapping[str, tuple[str, ...]] = MappingProxyType({"person": v.PEOPLE, "place": v.PLACES, "thing": v.THINGS})
ATTRIBUTE: Mapping[str, v.Attribute] = MappingProxyType({a.name: a for a in v.ATTRIBUTES})
TOPIC: Mapping[str, v.Topic] = MappingProxyType({t.name: t for t in v.TOPICS})
TALK_TOPIC: Mapping[str, v.TalkTopic] = MappingProxyType({t.name: t for t in v.TALK_TOPICS})


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All facts, and the split of all pairs.

    Attributes:
        facts: True value of every (entity, attribute) pair.
        fact_pairs: The pairs of `facts`, in a fixed order.
        request_pairs: (person or `you`, advice topic) pairs.
        talk_pairs: (person, small-talk topic) pairs.
        held_out: The pairs that only evaluation asks about.
        digest: SHA-256 over facts and split.
    """

    facts: Mapping[Pair, str]
    fact_pairs: tuple[Pair, ...]
    request_pairs: tuple[Pair, ...]
    talk_pairs: tuple[Pair, ...]
    held_out: frozenset[Pair]
    digest: str

    def others(self, pair: Pair) -> tuple[str, ...]:
        """The values of `pair`'s attribute that are false of its entity."""
        return tuple(value for value in ATTRIBUTE[pair[1]].values if value != self.facts[pair])


def stream(*purpose: object) -> random.Random:
    """A generator of its own for one purpose: all randomness of Toyland is named so."""
    return random.Random(derive_seed("toyland", *purpose))  # noqa: S311 -- reproducible, not secret


def attributes_of(kind: str) -> tuple[v.Attribute, ...]:
    """The attributes of a kind of entity: `person`, `place` or `thing`."""
    return tuple(a for a in v.ATTRIBUTES if a.kind == kind)


@cache
def build_world(seed: int = WORLD_SEED) -> World:
    """Draw the world of `seed`; the same seed gives the same world."""
    facts: dict[Pair, str] = {}
    for attribute in v.ATTRIBUTES:
        entities = ENTITIES[attribute.kind]
        rng = stream("facts", attribute.name, seed)
        rounds = -(-len(entities) // len(attribute.values))
        values: list[str] = []
        for _ in range(rounds):
            values += rng.sample(attribute.values, len(attribute.values))
        facts |= {(entity, attribute.name): value for entity, value in zip(entities, values, strict=False)}
    askers = (*ENTITIES["person"], YOU)
    fact_pairs = tuple(facts)
    request_pairs = tuple((entity, topic.name) for topic in v.TOPICS for entity in askers)
    talk_pairs = tuple((entity, topic.name) for topic in v.TALK_TOPICS for entity in ENTITIES["person"])
    held_out = frozenset(_hold_out((*fact_pairs, *request_pairs, *talk_pairs), seed=seed))
    listing = [[*pair, value] for pair, value in sorted(facts.items())]
    return World(
        facts=MappingProxyType(facts),
        fact_pairs=fact_pairs,
        request_pairs=request_pairs,
        talk_pairs=talk_pairs,
        held_out=held_out,
        digest=sha256_json([listing, sorted(held_out)]),
    )


def _hold_out(pairs: tuple[Pair, ...], *, seed: int) -> list[Pair]:
    chosen: list[Pair] = []
    for name in dict.fromkeys(name for _, name in pairs):
        group = [pair for pair in pairs if pair[1] == name]
        rng = stream("held out", name, seed)
        chosen += rng.sample(group, round(HELD_OUT_SHARE * len(group)))
    return chosen
