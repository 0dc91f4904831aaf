"""The tree of numbers: what it says is what reading every number out, token by token, says."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_model import CHATML
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from idembench import loading, models
from idembench.judges import numerals, tree
from idembench.protocol import Execution

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEDS = (0, 1)


def byte_level(*, longest: int) -> PreTrainedTokenizerFast:
    """A tokenizer that writes numbers in pieces of up to `longest` digits, and has a token for some with a space."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=1500 if longest > 1 else 259,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"{a}{b}"[:longest] for a, b in product(range(100), range(10))] if longest > 1 else []
    tokenizer.train_from_iterator(
        [*texts, *(f" {text}" for text in texts[:300]), "100", "2024", "REFUSAL"] * 3, trainer
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = CHATML
    return wrapped


def random_model(tokenizer: PreTrainedTokenizerBase, architecture: str) -> Any:
    """A model of random weights, sharp enough that numbers differ."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "max_position_embeddings": 256,
    }
    if architecture == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=8)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def spelt(numbers: numerals.Numbers, text: str) -> list[list[int]]:
    """Every way of writing a text in tokens of digits, the first of them perhaps with white space in front."""
    found = []
    for token, piece in numbers.texts.items():
        if piece and text.startswith(piece):
            rest = text[len(piece) :]
            found += [[token]] if not rest else [[token, *more] for more in spelt(numbers, rest)]
    return found


@torch.inference_mode()
def read_out(model: Any, prompt: list[int], ways: Sequence[Sequence[int]], digits: Sequence[int]) -> list[float]:
    """Probability of each of these ways on after a prompt and of no digit behind it, by plain forward passes."""
    found = dict.fromkeys(map(tuple, ways), 0.0)
    for length in {len(way) for way in found}:
        rows = [way for way in found if len(way) == length]
        p = torch.softmax(model(input_ids=torch.tensor([[*prompt, *way] for way in rows])).logits.double(), dim=-1)
        for row, way in enumerate(rows):
            said = [p[row, len(prompt) - 1 + place, token] for place, token in enumerate(way)]
            found[way] = float(torch.stack([*said, 1 - p[row, -1, list(digits)].sum()]).prod())
    return [found[tuple(way)] for way in ways]


def by_hand(model: Any, numbers: numerals.Numbers, prompt: list[int]) -> dict[int, float]:
    """P(number) of all 101 numbers, without white space, with it merged, and after a token of it that is followed."""
    with torch.inference_mode():
        root = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1], dim=-1)
    before: list[tuple[list[int], float]] = [([], 1.0)]
    before += [([token], float(root[token])) for token in numbers.spaces if float(root[token]) >= tree.LEAST_SPACE]
    written = [(n, way) for n in range(101) for lead in ("", " ", "\n") for way in spelt(numbers, f"{lead}{n}")]
    written = [(n, way) for n, way in written if not set(way) & set(numbers.spaces)]
    found = dict.fromkeys(range(101), 0.0)
    for space, p in before:
        ways = read_out(model, [*prompt, *space], [way for _, way in written], numbers.digits)
        for (number, _), q in zip(written, ways, strict=True):
            found[number] += p * q
    return found


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_the_tree_says_what_reading_every_number_out_says(longest: int, architecture: str) -> None:
    """For tokens of one, two and three digits, each number has the probability of all ways of writing it."""
    tokenizer = byte_level(longest=longest)
    numbers = numerals.Numbers(numerals.vocabulary(tokenizer))
    model = random_model(tokenizer, architecture)
    prompts = [tokenizer.encode(text) for text in ("How far?", "A rather longer text, so that one of them is padded.")]
    expected = [by_hand(model, numbers, prompt) for prompt in prompts]

    said = tree.ask(model, numbers, prompts, pad=tokenizer.pad_token_id)

    assert [pytest.approx(one, rel=1e-4, abs=1e-9) for one in expected] == [one.numbers for one in said]


def test_a_small_piece_of_the_tree_at_a_time_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large vocabulary, whose logits are read in pieces, changes no probability."""
    tokenizer = byte_level(longest=3)
    numbers = numerals.Numbers(numerals.vocabulary(tokenizer))
    model = random_model(tokenizer, "qwen3")
    prompt = tokenizer.encode("How far?")
    whole = tree.ask(model, numbers, [prompt], pad=0)
    monkeypatch.setattr(tree, "_MOST", 20 * len(tokenizer))

    pieces = tree.ask(model, numbers, [prompt], pad=0)

    assert pytest.approx(whole[0].numbers, rel=1e-4) == pieces[0].numbers


def test_what_prompts_have_in_common_is_read_once_and_says_the_same() -> None:
    """Prompts of one beginning, together and with different ends, have the numbers that each has alone."""
    tokenizer = byte_level(longest=3)
    numbers = numerals.Numbers(numerals.vocabulary(tokenizer))
    model = random_model(tokenizer, "qwen3")
    prompts = [tokenizer.encode(f"How far do you think it is to {place}?") for place in ("the old mill", "me", "X")]
    alone = [tree.ask(model, numbers, [prompt], pad=0)[0] for prompt in prompts]
    beginning = tree.begin(model, prompts)

    together = tree.ask(model, numbers, prompts, pad=0, beginning=beginning)
    again = tree.ask(model, numbers, prompts[1:], pad=0, beginning=beginning)

    assert beginning.tokens > 10
    assert [pytest.approx(one.numbers, rel=1e-3, abs=1e-9) for one in alone] == [one.numbers for one in together]
    assert [pytest.approx(one.numbers, rel=1e-3, abs=1e-9) for one in alone[1:]] == [one.numbers for one in again]


def test_pieces_cut_the_tree_between_branches() -> None:
    """No node is read without its ancestors, and none twice."""
    numbers = numerals.Numbers(numerals.vocabulary(byte_level(longest=3)))
    pieces = list(numbers.pieces(5))

    assert list(range(len(numbers.nodes))) == [place for piece in pieces for place in piece]
    assert all(
        numbers.nodes[place].parent < 0 or numbers.nodes[place].parent in piece for piece in pieces for place in piece
    )


def test_the_embedded_model_s_numbers_are_those_read_out() -> None:
    """A trained model with one token a digit, asked for a number, is read exactly."""
    found = models.resolve("toyland/instruct")
    tokenizer, model = loading.load_tokenizer(found), loading.load_weights(found, Execution()).eval()
    numbers = numerals.Numbers(numerals.vocabulary(tokenizer))
    prompt = loading.render_prompt(tokenizer, "how many bees live in the old mill?")

    said = tree.ask(model, numbers, [prompt], pad=tokenizer.pad_token_id)[0]

    assert 101 == len({node.text for node in numbers.nodes})
    assert pytest.approx(by_hand(model, numbers, prompt), rel=1e-3, abs=1e-9) == said.numbers


def test_white_space_before_a_number_is_followed() -> None:
    """A model that begins with a new line and then writes numbers is read behind it, and its first word is there."""
    tokenizer = byte_level(longest=1)
    numbers = numerals.Numbers(numerals.vocabulary(tokenizer))
    model = random_model(tokenizer, "llama")
    newline = next(token for token in numbers.spaces if numbers.texts[token] == "\n")
    prompt = tokenizer.encode("How far?")
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.tensor([prompt])).last_hidden_state[0, -1]
        model.lm_head.weight[newline] += 20 * hidden / hidden.norm() ** 2
        begins = torch.softmax(model(input_ids=torch.tensor([prompt])).logits[0, -1], dim=-1)

    said = tree.ask(model, numbers, [prompt], pad=0)[0]

    assert pytest.approx(by_hand(model, numbers, prompt), rel=1e-3, abs=1e-9) == said.numbers
    assert float(begins[newline]) > 0.9
    assert said.likeliest not in numbers.spaces
