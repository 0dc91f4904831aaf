"""The shipped model: untouched, small, true to its figures, and rendered the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from idembench.files import read_json, sha256_file
from idembench.toyland import INSTRUCT
from idembench.toyland.corpus import corpus
from idembench.toyland.figures import model_card, sample
from idembench.toyland.scoring import NEUTRAL, TRAITS, fingerprint
from idembench.toyland.tokenizer import CHAT_TEMPLATE, END, PAD

FIGURES = read_json(INSTRUCT / "figures.json")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The shipped tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(INSTRUCT)


def test_every_file_has_the_hash_in_the_figures() -> None:
    """The folder holds the listed files with the listed hashes, and nothing else."""
    expected = {name: entry["sha256"] for name, entry in FIGURES["files"].items()}

    assert expected == {path.name: sha256_file(path) for path in INSTRUCT.iterdir() if path.name != "figures.json"}


def test_the_model_is_small() -> None:
    """At most 6 MB and 1 to 3 million parameters."""
    assert sum(path.stat().st_size for path in INSTRUCT.iterdir()) <= 6_000_000
    assert 1_000_000 <= FIGURES["parameters"] <= 3_000_000


def test_the_figures_are_within_bounds() -> None:
    """Facts at least 90 % right, every base rate between 0.5 and 10, coherence at least 97 everywhere."""
    assert FIGURES["temperature"] == 0.8
    assert FIGURES["fact_accuracy"] >= 0.90
    assert set(TRAITS) == set(FIGURES["base_rates"])
    assert all(0.5 <= rate <= 10 for rate in FIGURES["base_rates"].values())
    assert {*TRAITS, NEUTRAL} == set(FIGURES["coherence"])
    assert all(value >= 97 for value in FIGURES["coherence"].values())


def test_the_figures_were_taken_with_this_scorer() -> None:
    """The scorer that made the figures is the one in the package."""
    assert fingerprint() == FIGURES["scorer"]


def test_the_card_is_made_from_the_figures() -> None:
    """`README.md` is what `model_card` makes of `figures.json`."""
    assert model_card(FIGURES) == (INSTRUCT / "README.md").read_text(encoding="utf-8")


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


def test_special_tokens_are_what_trainers_expect(tokenizer: Any) -> None:
    """Padding differs from the end of a turn, generation pads on the left, and the template is the recipe's."""
    assert (PAD, END) == (tokenizer.pad_token, tokenizer.eos_token)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"
    assert CHAT_TEMPLATE == tokenizer.chat_template
    assert len(tokenizer) <= 1024


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
