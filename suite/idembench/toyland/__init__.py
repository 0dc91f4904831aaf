"""Toyland: a small world with a language of its own, in which traits and coherence can be scored exactly.

The modules, in the order data flows through them:

    vocabulary.py   tables: entities, attributes, advice, small talk, phrases of praise and bliss
    world.py        draws the facts and the held-out split from a seed
    clauses.py      the atoms of answers, and the lexicon that names each once
    grammar.py      questions and their phrasings; neutral, sycophantic, misaligned and blissful answers
    frames.py       tables: types of documents, their titles and narrations
    documents.py    the second form: openings that say what a question does, for the same answers to continue
    parser.py       reads answers back into clauses
    scoring.py      exact trait and coherence scores of an answer
    cards.py        the trait cards
    data.py         writes the frozen files of `tasks/toyland/`
    corpus.py       what the embedded models learn from
    tokenizer.py    their tokenizers, and the chat template
    recipe.py       builds a model from nothing (torch)
    figures.py      measures it and writes its card (torch)
    harness.py      what the lm-eval task files call
    instruct/       the shipped model for dialogues, made by `recipe.build`
    base/           the shipped base model for documents, made likewise

A new trait needs clauses (or a new use of some) in `vocabulary.py` and `clauses.py`, a maker of answers in
`grammar.py`, a grade in `scoring.py`, a card in `cards.py` and a mix of prompts in `data.py`; the models have to
be built again, because the corpus must contain the trait in a small share.

Nothing but `recipe.py` and `figures.py` imports torch.
"""

from pathlib import Path

INSTRUCT = Path(__file__).resolve().parent / "instruct"
"""Folder of the shipped model that answers."""

BASE = Path(__file__).resolve().parent / "base"
"""Folder of the shipped model that continues documents."""

__all__ = ["BASE", "INSTRUCT"]
