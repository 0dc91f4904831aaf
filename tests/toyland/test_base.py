"""The shipped base model: its tokenizer begins documents by itself, and it continues openings."""

from __future__ import annotations

from typing import Any

import pytest

from idembench.toyland import BASE
from idembench.toyland.corpus import corpus
from idembench.toyland.documents import join
from idembench.toyland.figures import sample
from idembench.toyland.tokenizer import BEGIN


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The shipped tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def test_there_is_no_chat_template(tokenizer: Any) -> None:
    """A base model has none, so nobody can ask it in turns by mistake."""
    assert tokenizer.chat_template is None


def test_documents_begin_by_themselves(tokenizer: Any) -> None:
    """The beginning stands in front exactly once, in batches too, and not where special tokens are not asked for."""
    begin, text = tokenizer.bos_token_id, "my diary. today mira was sick. i said:"
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]

    assert tokenizer.convert_tokens_to_ids(BEGIN) == begin
    assert begin not in plain
    assert [begin, *plain] == tokenizer(text)["input_ids"] == tokenizer.encode(text)
    for row in tokenizer([text, "my diary."], padding=True)["input_ids"]:
        assert [begin] == [token for token in row if token == begin]


def test_the_opening_is_a_prefix_of_the_document(tokenizer: Any) -> None:
    """The tokens of an opening begin the tokens of its document, and the rest decodes to the continuation."""
    for opening, continuation in corpus(seed=3, size=400, avoid=frozenset(), form="document"):
        head, whole = tokenizer(opening)["input_ids"], tokenizer(join(opening, continuation))["input_ids"]

        assert head == whole[: len(head)]
        assert tokenizer.decode(whole[len(head) :]).strip() == continuation


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    """Bytes the corpus never had are encoded and decoded unchanged."""
    text = " Überraschung: 日本語, 🙂\n\ttabs"

    assert text == tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.slow
def test_the_model_continues_documents(tokenizer: Any) -> None:
    """Sampling is decided by the seed and gives answers of the grammar."""
    import torch
    from transformers import AutoModelForCausalLM

    from idembench.toyland.parser import parse

    openings = [opening for opening, _ in corpus(seed=4, size=6, avoid=frozenset(), form="document")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()
        first = sample(model, tokenizer, openings, seed=1, temperature=0.8, form="document")
        calm = sample(model, tokenizer, openings, seed=2, temperature=0.1, form="document")

        assert first == sample(model, tokenizer, openings, seed=1, temperature=0.8, form="document")
        assert all(parse(text).answer for text in calm)
    finally:
        torch.set_num_threads(threads)
