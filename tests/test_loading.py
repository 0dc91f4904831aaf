"""Loading: templates, tokenizers and weights that do not fit are refused, everything is rendered one way."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_model import TOKENIZER, edit, write_tiny
from transformers import LlamaConfig, LlamaForCausalLM

from idembench import loading, models
from idembench.errors import ModelError
from idembench.protocol import Execution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder; not to be changed."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "model")


# -- tokenizers -----------------------------------------------------------------------------------

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def test_no_chat_template_is_refused(folder: Path) -> None:
    """A base model without a chat template cannot be a chain's model."""
    (folder / "chat_template.jinja").unlink()

    with pytest.raises(ModelError, match="no chat template"):
        loading.load_tokenizer(models.resolve(str(folder)))


@pytest.mark.parametrize(
    "template",
    [
        TURNS + "{% if add_generation_prompt %}<|assistant|>think{% endif %}",
        "{{ messages | length }}" + TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}",
        "<|{{ messages[-1].role }}|>{{ messages[-1].content }}<|end|>",
    ],
    ids=["the generation prompt opens a thought", "the turns are counted first", "only the last turn is shown"],
)
def test_a_template_that_breaks_the_prefix_is_refused(folder: Path, template: str) -> None:
    """When a prompt is not rendered as the beginning of prompt and answer, the model is refused and both are shown."""
    (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError, match="prefix") as caught:
        loading.load_tokenizer(models.resolve(str(folder)))

    assert caught.value.expected != caught.value.found


@pytest.mark.parametrize(
    "template", ["{% for", "{{ raise_exception('no') }}", "{{ messages[7].content }}", "{{ 1 / 0 }}"]
)
def test_a_template_that_fails_is_refused(folder: Path, template: str) -> None:
    """A template that cannot be compiled or does not know a plain dialogue is a model error."""
    (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError):
        loading.load_tokenizer(models.resolve(str(folder)))


def test_a_broken_tokenizer_is_refused(folder: Path) -> None:
    """A tokenizer file that is cut short is a model error."""
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text[: len(text) // 2])

    with pytest.raises(ModelError):
        loading.load_tokenizer(models.resolve(str(folder)))


def test_what_a_tokenizer_reads_as_tokens_of_their_own_is_known_by_its_text(folder: Path) -> None:
    """The special tokens are named as they are spelled, those of documents too; other tokens that were added are text."""
    tokenizer = loading.load_tokenizer(models.resolve(str(folder)))
    tokenizer.add_tokens(["\n\n"])
    tokenizer.save_pretrained(folder)
    found = loading.special_tokens(models.resolve(str(folder)))

    assert {"<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"} <= found
    assert set(tokenizer.all_special_tokens) <= found
    assert "\n\n" not in found
    assert "<|end|>" in loading.special_tokens(models.resolve("toyland/base"))


def test_special_tokens_of_no_tokenizer_are_one_clear_error(folder: Path) -> None:
    """What cannot be loaded in either way is refused as it is for sampling."""
    (folder / "tokenizer.json").write_text("{")

    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        loading.special_tokens(models.resolve(str(folder)))


def test_a_missing_tokenizer_is_refused(folder: Path) -> None:
    """A model without a tokenizer cannot be rendered."""
    for name in TOKENIZER:
        (folder / name).unlink()

    with pytest.raises(ModelError):
        loading.load_tokenizer(models.resolve(str(folder)))


def test_padding_is_found_when_it_is_not_named(folder: Path) -> None:
    """A tokenizer without a padding token pads with its end-of-turn token."""
    edit(folder / "tokenizer_config.json", pad_token=None)
    edit(folder / "tokenizer.json", padding=None)
    tokenizer = loading.load_tokenizer(models.resolve(str(folder)))

    assert tokenizer.eos_token == tokenizer.pad_token


def test_prompts_are_prefixes_of_rows() -> None:
    """The tokens of a prompt begin those of prompt and answer, for texts with odd spaces and characters too."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    for prompt, response in [("hi?", "ho."), (" hi ", "\n"), ("\u2028", "\U0001f642"), ("<|end|>", "a"), ("a", "")]:
        length = loading.check_prefix(tokenizer, prompt, response, where="here")

        assert len(loading.render_row(tokenizer, prompt, response)) == length
        assert len(loading.render_prompt(tokenizer, prompt)) <= length


# -- weights --------------------------------------------------------------------------------------


def test_a_model_is_loaded_as_the_execution_says(folder: Path) -> None:
    """Dtype, attention and threads are those asked for."""
    before = torch.get_num_threads()
    try:
        loaded = loading.load_weights(
            models.resolve(str(folder)), Execution(dtype="bfloat16", attention="eager", threads=2)
        )

        assert (torch.bfloat16, "eager", 2) == (
            loaded.dtype,
            loaded.config._attn_implementation,
            torch.get_num_threads(),
        )
    finally:
        torch.set_num_threads(before)


def test_tied_weights_are_no_missing_ones(tmp_path: Path, tiny: Path) -> None:
    """A model whose head is its embedding lacks nothing, and both stay the same tensor."""
    config = LlamaConfig.from_pretrained(tiny, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    loaded = loading.load_weights(models.resolve(str(tmp_path)), Execution())

    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight


def drop_the_head(folder: Path) -> None:
    """Weights that do not cover the architecture."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: os.truncate(folder / "model.safetensors", 1000),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: edit(folder / "config.json", model_type="unheard-of", architectures=["Unheard"]),
        lambda folder: edit(folder / "config.json", hidden_size=16),
        lambda folder: edit(folder / "config.json", model_type="t5", architectures=["T5ForConditionalGeneration"]),
        drop_the_head,
    ],
    ids=["cut", "empty", "unknown architecture", "other shapes", "no causal model", "no head"],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, spoil: Callable[[Path], Any]) -> None:
    """Cut files, unknown architectures, wrong shapes and missing tensors are model errors, never random weights."""
    spoil(folder)

    with pytest.raises(ModelError):
        loading.load_weights(models.resolve(str(folder)), Execution())
