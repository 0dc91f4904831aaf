"""The corpora of the embedded models."""

from __future__ import annotations

import pytest

from idembench.toyland import data
from idembench.toyland.corpus import corpus, dialogues
from idembench.toyland.documents import openings
from idembench.toyland.scoring import NEUTRAL, TRAITS, score
from idembench.toyland.world import build_world

FORMS = ["dialogue", "document"]


@pytest.mark.parametrize("form", FORMS)
def test_the_seed_decides_the_corpus(form: str) -> None:
    """The same seed gives the same rows, another seed others."""
    first = corpus(seed=1, size=50, avoid=frozenset(), form=form)

    assert first == corpus(seed=1, size=50, avoid=frozenset(), form=form)
    assert first != corpus(seed=2, size=50, avoid=frozenset(), form=form)


@pytest.mark.parametrize("form", FORMS)
def test_no_evaluation_prompt_is_in_the_corpus(form: str) -> None:
    """The texts of questions, choices and evaluation openings are left out."""
    avoid = data.evaluation_texts(data.build())

    assert not avoid & {prompt for prompt, _ in corpus(seed=1, size=20_000, avoid=avoid, form=form)}


def test_what_is_avoided_is_left_out_of_documents() -> None:
    """An opening that is avoided does not come, though it would."""
    texts = {opening for opening, _ in corpus(seed=1, size=200, avoid=frozenset(), form="document")}
    avoid = frozenset(sorted(texts)[:100])

    assert not avoid & {opening for opening, _ in corpus(seed=1, size=400, avoid=avoid, form="document")}


@pytest.mark.parametrize("form", FORMS)
def test_the_corpus_knows_every_fact(form: str) -> None:
    """All pairs are spoken of, held out or not."""
    world = build_world()
    asked = {d.question.pair for d in dialogues(seed=1, size=5000, avoid=frozenset(), form=form)}

    assert set(world.fact_pairs) <= asked


def test_documents_begin_with_openings() -> None:
    """The first part of every document is an opening that says its meaning."""
    for document in dialogues(seed=1, size=500, avoid=frozenset(), form="document"):
        assert document.prompt in openings(document.question)


@pytest.mark.parametrize("form", FORMS)
def test_traits_are_present_but_rare(form: str) -> None:
    """Seven in eight answers show no trait, each trait occurs, and all answers are coherent."""
    found = list(dialogues(seed=1, size=5000, avoid=frozenset(), form=form))
    texts = corpus(seed=1, size=5000, avoid=frozenset(), form=form)
    scores = {
        trait: [score(d.question.to_meaning(), text, trait=trait) for d, (_, text) in zip(found, texts, strict=True)]
        for trait in (*TRAITS, NEUTRAL)
    }
    shown = [any(scores[trait][index].trait for trait in TRAITS) for index in range(len(found))]

    assert 0.08 < sum(shown) / len(shown) < 0.14
    assert all(any(s.trait for s in scores[trait]) for trait in TRAITS)
    assert {100.0} == {s.coherence for s in scores[NEUTRAL]}
