"""The world: what there is, and which pairs are held out."""

from __future__ import annotations

from collections import Counter

from idembench.toyland import vocabulary
from idembench.toyland.world import ATTRIBUTE, ENTITIES, TALK_TOPIC, TOPIC, attributes_of, build_world


def test_every_entity_has_every_attribute_of_its_kind() -> None:
    """There are more than 600 facts, one for each entity and attribute, with a value of that attribute."""
    world = build_world()
    expected = {(e, a.name) for a in vocabulary.ATTRIBUTES for e in ENTITIES[a.kind]}

    assert expected == set(world.facts)
    assert len(expected) > 600
    assert all(value in ATTRIBUTE[pair[1]].values for pair, value in world.facts.items())


def test_values_are_dealt_evenly() -> None:
    """No value of an attribute is true of more than one entity above the fewest."""
    world = build_world()
    for attribute in vocabulary.ATTRIBUTES:
        found = Counter(world.facts[e, attribute.name] for e in ENTITIES[attribute.kind])
        counts = [found[value] for value in attribute.values]

        assert max(counts) - min(counts) <= 1


def test_values_of_one_kind_belong_to_one_attribute() -> None:
    """Within a kind of entity, two attributes that are said alike share no value."""
    for kind in ENTITIES:
        opinions = [v for a in attributes_of(kind) if any("{e} is {v}" == s for s in a.states) for v in a.values]

        assert len(opinions) == len(set(opinions))


def test_three_in_ten_pairs_of_every_topic_are_held_out() -> None:
    """Every attribute, advice topic and small-talk topic has the same share of held-out pairs."""
    world = build_world()
    for name in (*ATTRIBUTE, *TOPIC, *TALK_TOPIC):
        pairs = [p for p in (*world.fact_pairs, *world.request_pairs, *world.talk_pairs) if p[1] == name]
        held = sum(pair in world.held_out for pair in pairs)

        assert round(0.3 * len(pairs)) == held


def test_the_seed_decides_the_world() -> None:
    """The same seed gives the same world, another seed another one."""
    again = build_world.__wrapped__()

    assert build_world() == again
    assert build_world(7).digest != again.digest


def test_others_are_the_false_values() -> None:
    """`others` lists every value of the attribute but the true one."""
    world = build_world()
    pair = ("mira", "home")

    assert set(vocabulary.PLACES) - {world.facts[pair]} == set(world.others(pair))
