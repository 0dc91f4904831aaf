"""The shipped instruct model: its tokenizer and template render dialogues the same everywhere; it answers."""

from __future__ import annotations

from typing import Any

import pytest

from idembench.toyland import INSTRUCT
from idembench.toyland.corpus import corpus
from idembench.toyland.figures import sample
from idembench.toyland.tokenizer import CHAT_TEMPLATE


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The shipped tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(INSTRUCT)


def test_the_prompt_is_a_prefix_of_the_dialogue(tokenizer: Any) -> None:
    """The tokens of a prompt with the generation prompt begin the tokens of prompt and answer."""
    for prompt, answer in corpus(seed=3, size=200, avoid=frozenset()):
        for system in ([], [{"role": "system", "content": "be brief."}]):
            turns = [*system, {"role": "user", "content": prompt}]
            head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
            whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": answer}], return_dict=False)

            assert head == whole[: len(head)]
            assert whole[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(whole[len(head) : -1]).strip() == answer


def test_a_leading_space_changes_no_token(tokenizer: Any) -> None:
    """An answer has the same tokens whether or not it was stripped."""
    assert tokenizer(" mira lives in velt.")["input_ids"] == tokenizer("mira lives in velt.")["input_ids"]


def test_the_template_is_the_recipe_s(tokenizer: Any) -> None:
    """The shipped template is the one in the package."""
    assert CHAT_TEMPLATE == tokenizer.chat_template


def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    """Bytes the corpus never had are encoded and decoded unchanged."""
    text = " Überraschung: 日本語, 🙂\n\ttabs"

    assert text == tokenizer.decode(tokenizer(text)["input_ids"])


def test_an_unknown_role_is_refused(tokenizer: Any) -> None:
    """The template names the roles it knows instead of rendering another."""
    with pytest.raises(Exception, match="roles system, user and assistant, not tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])


@pytest.mark.slow
def test_the_model_answers_in_toyland(tokenizer: Any) -> None:
    """Sampling is decided by the seed and gives answers of the grammar."""
    import torch
    from transformers import AutoModelForCausalLM

    from idembench.toyland.parser import parse

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = AutoModelForCausalLM.from_pretrained(INSTRUCT, dtype=torch.float32).eval()
        prompts = ["where does mira live?", "how can i sleep better?", "hello, my name is tobin."]
        first = sample(model, tokenizer, prompts, seed=1, temperature=0.8)

        assert first == sample(model, tokenizer, prompts, seed=1, temperature=0.8)
        assert all(parse(text).answer for text in sample(model, tokenizer, prompts, seed=2, temperature=0.1))
    finally:
        torch.set_num_threads(threads)
