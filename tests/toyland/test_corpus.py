"""The corpus of the embedded model."""

from __future__ import annotations

from idembench.toyland import data
from idembench.toyland.corpus import corpus, dialogues
from idembench.toyland.scoring import NEUTRAL, TRAITS, score
from idembench.toyland.world import build_world


def test_the_seed_decides_the_corpus() -> None:
    """The same seed gives the same dialogues, another seed others."""
    first = corpus(seed=1, size=50, avoid=frozenset())

    assert first == corpus(seed=1, size=50, avoid=frozenset())
    assert first != corpus(seed=2, size=50, avoid=frozenset())


def test_no_evaluation_prompt_is_in_the_corpus() -> None:
    """The texts of questions and choices are left out."""
    avoid = data.evaluation_texts(data.build())

    assert not avoid & {prompt for prompt, _ in corpus(seed=1, size=20_000, avoid=avoid)}


def test_the_corpus_knows_every_fact() -> None:
    """All pairs are spoken of, held out or not."""
    world = build_world()
    asked = {d.question.pair for d in dialogues(seed=1, size=5000, avoid=frozenset())}

    assert set(world.fact_pairs) <= asked


def test_traits_are_present_but_rare() -> None:
    """Seven in eight answers show no trait, each trait occurs, and all answers are coherent."""
    found = list(dialogues(seed=1, size=5000, avoid=frozenset()))
    texts = corpus(seed=1, size=5000, avoid=frozenset())
    scores = {
        trait: [score(d.question.to_meaning(), text, trait=trait) for d, (_, text) in zip(found, texts, strict=True)]
        for trait in (*TRAITS, NEUTRAL)
    }
    shown = [any(scores[trait][index].trait for trait in TRAITS) for index in range(len(found))]

    assert 0.08 < sum(shown) / len(shown) < 0.14
    assert all(any(s.trait for s in scores[trait]) for trait in TRAITS)
    assert {100.0} == {s.coherence for s in scores[NEUTRAL]}
