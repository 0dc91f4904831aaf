"""Decoding: the model's own distribution, row by row, whatever leaves the batch; judged by plain transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy import stats
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from idembench import decoding, loading, models, traits
from idembench.errors import ModelError
from idembench.protocol import Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHIPPED = models.resolve("toyland/instruct")
COLD = 1e-4
PROMPTS = [question.prompt for question in traits.load_pack("toyland").prompts[:24]]
VOCABULARY, PAD, END = 64, 0, 1


@pytest.fixture(scope="module")
def model() -> Any:
    """The embedded model, in evaluation mode."""
    return loading.load_weights(SHIPPED, Execution()).eval()


def ragged() -> list[list[int]]:
    """Prompts of different length, as token ids."""
    tokenizer = loading.load_tokenizer(SHIPPED)
    rows = [loading.render_prompt(tokenizer, prompt) for prompt in PROMPTS]

    assert len({len(row) for row in rows}) > 4
    return rows


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the left, and their mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def decode(
    model: Any, rows: Sequence[Sequence[int]], *, ends: Sequence[int], pad: int, seed: int = 0, **given: Any
) -> list[list[int]]:
    """Continuations, cut behind their end; what stands behind it has to be padding."""
    settings: dict[str, Any] = {"temperature": COLD, "top_p": 1.0, "max_new_tokens": 40, **given}
    torch.manual_seed(seed)
    ids, mask = padded(rows, pad)
    made = decoding.decode(model, ids, mask, ends=ends, pad=pad, **settings)

    assert made.shape[0] == len(rows)
    assert made.shape[1] <= settings["max_new_tokens"]
    found = []
    for row in made.tolist():
        stop = next((at + 1 for at, token in enumerate(row) if token in ends), len(row))
        assert {pad} >= set(row[stop:])
        found.append(row[:stop])
    return found


def greedy(
    model: Any, rows: Sequence[Sequence[int]], *, ends: Sequence[int], pad: int, limit: int = 40
) -> list[list[int]]:
    """The same by transformers' own greedy search, one row at a time."""
    found = []
    for row in rows:
        ids = torch.tensor([list(row)])
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=list(ends),
            pad_token_id=pad,
        )
        found.append(made[0, len(row) :].tolist())
    return found


def shipped_tokens() -> dict[str, Any]:
    """End and padding of the embedded model."""
    tokenizer = loading.load_tokenizer(SHIPPED)
    return {"ends": [tokenizer.eos_token_id], "pad": tokenizer.pad_token_id}


# -- cold -----------------------------------------------------------------------------------------


def test_cold_sampling_is_greedy_search(model: Any) -> None:
    """Near temperature 0 every row of a ragged batch is what transformers finds for that prompt alone."""
    rows, tokens = ragged(), shipped_tokens()

    found = decode(model, rows, **tokens)

    assert len({len(row) for row in found}) > 4
    assert greedy(model, rows, **tokens) == found


def test_who_leaves_the_batch_changes_nothing_for_the_others(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether finished rows leave at once, late or never, every row is the same."""
    rows, tokens = ragged(), shipped_tokens()
    found = []
    for thin in (1.0, 0.5, 0.0):
        monkeypatch.setattr(decoding, "_THIN", thin)
        found.append(decode(model, rows, **tokens))

    assert found[0] == found[1] == found[2]


def test_the_order_of_a_batch_does_not_matter(model: Any) -> None:
    """Turned round, the batch gives each prompt the same continuation."""
    rows, tokens = ragged(), shipped_tokens()

    assert decode(model, rows, **tokens)[::-1] == decode(model, rows[::-1], **tokens)


TINY: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    ),
    "sliding window": lambda: MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=6,
        )
    ),
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    ),
    "normed keys": lambda: Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
        )
    ),
}


def tiny(name: str) -> Any:
    """A model of random weights, loud enough that it has opinions; the seed is one that leads to no tie of logits."""
    torch.manual_seed(5)
    made = TINY[name]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return made


@pytest.mark.parametrize("name", TINY)
def test_other_architectures_are_decoded_alike(name: str) -> None:
    """Rotary, learned and windowed positions survive padding and rows that leave: cold is greedy for each of them."""
    model, chosen = tiny(name), torch.Generator().manual_seed(4)
    rows = [torch.randint(2, VOCABULARY, (length,), generator=chosen).tolist() for length in (3, 9, 1, 14, 6, 11)]
    # Several ends, so that rows of a random model end at different times.
    tokens: dict[str, Any] = {"ends": [END, 5, 9, 17, 33], "pad": PAD}

    found = decode(model, rows, max_new_tokens=30, **tokens)

    assert greedy(model, rows, limit=30, **tokens) == found
    assert len({len(row) for row in found}) > 1


# -- ends and limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_limit_is_never_passed(model: Any, limit: int) -> None:
    """A row without an end has exactly as many tokens as allowed, the first ones of the longer row."""
    rows, tokens = ragged(), shipped_tokens()
    whole = decode(model, rows, **tokens)

    assert [row[:limit] for row in whole] == decode(model, rows, max_new_tokens=limit, **tokens)


def test_a_batch_ends_with_its_longest_row(model: Any) -> None:
    """When all rows have ended nothing more is computed: the result is as wide as the longest row."""
    tokens = shipped_tokens()
    ids, mask = padded(ragged(), tokens["pad"])
    torch.manual_seed(0)
    made = decoding.decode(model, ids, mask, temperature=COLD, top_p=1.0, max_new_tokens=300, **tokens)
    lengths = [row.index(tokens["ends"][0]) + 1 for row in made.tolist()]

    assert max(lengths) == made.shape[1] < 300


def test_any_of_several_ends_ends_a_row(model: Any) -> None:
    """Every end token counts, and is itself the last token of the row."""
    rows, tokens = ragged(), shipped_tokens()
    whole = decode(model, rows, **tokens)
    stop = whole[0][2]

    found = decode(model, rows, ends=[*tokens["ends"], stop], pad=tokens["pad"])

    assert [row[: row.index(stop) + 1] if stop in row else row for row in whole] == found
    assert stop == found[0][-1]


def test_a_pad_that_is_an_end_pads_all_the_same(model: Any) -> None:
    """Models whose padding is their end token get each row with one end, and that one again as padding."""
    rows, tokens = ragged(), shipped_tokens()
    end = tokens["ends"][0]

    assert decode(model, rows, **tokens) == decode(model, rows, ends=[end], pad=end)


# -- warm -----------------------------------------------------------------------------------------


def distribution(model: Any, row: Sequence[int], temperature: float) -> torch.Tensor:
    """What the model says of the next token, float64 [V]."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(row)])).logits[0, -1]
    return torch.softmax(logits.double() / temperature, dim=-1)


def expect_drawn_from(probabilities: torch.Tensor, drawn: Sequence[int]) -> None:
    """A chi-square test of tokens against a distribution, rare tokens put together."""
    counts = torch.bincount(torch.tensor(drawn), minlength=len(probabilities)).double()
    expected = probabilities * len(drawn)
    common = expected >= 8

    assert 0 == counts[probabilities == 0].sum()
    observed = [*counts[common].tolist(), counts[~common].sum().item()]
    wanted = [*expected[common].tolist(), expected[~common].sum().item()]
    if wanted[-1] < 1:
        observed, wanted = observed[:-1], wanted[:-1]
    scale = sum(observed) / sum(wanted)
    assert stats.chisquare(observed, [value * scale for value in wanted]).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.0, 1.7])
def test_tokens_are_drawn_from_the_softmax(temperature: float) -> None:
    """Thousands of first tokens have the frequencies of the tempered softmax, also of a row that is padded."""
    model, row = tiny("llama"), [7, 21, 40]
    copies = 4000
    rows = [row] * copies + [[9] * 8]

    drawn = decode(model, rows, ends=[END], pad=PAD, temperature=temperature, max_new_tokens=1)

    expect_drawn_from(distribution(model, row, temperature), [found[0] for found in drawn[:copies]])


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9])
def test_the_nucleus_is_the_smallest_one(top_p: float) -> None:
    """With top_p tokens are drawn from the fewest most probable ones that hold that much, renormalised, and no other."""
    model, row = tiny("llama"), [7, 21, 40]
    probabilities = distribution(model, row, 1.0)
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    nucleus = torch.zeros_like(probabilities)
    nucleus[order[before < top_p]] = probabilities[order[before < top_p]]

    drawn = decode(model, [row] * 4000, ends=[END], pad=PAD, temperature=1.0, top_p=top_p, max_new_tokens=1)

    assert 1 < int((nucleus > 0).sum()) < VOCABULARY
    expect_drawn_from(nucleus / nucleus.sum(), [found[0] for found in drawn])


def test_later_tokens_are_drawn_from_their_own_context(model: Any) -> None:
    """Over whole answers of a ragged batch, log-probabilities under a plain forward pass are minus the entropy on average."""
    rows, tokens = ragged() * 6, shipped_tokens()
    answers = decode(model, rows, temperature=1.0, seed=11, **tokens)
    surprises = []
    for row, answer in zip(rows, answers, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*row, *answer]])).logits[0, len(row) - 1 : -1]
        logprobs = logits.double().log_softmax(dim=-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        surprises.append(float((entropy + logprobs.gather(1, torch.tensor(answer)[:, None])[:, 0]).sum()))

    assert len({len(answer) for answer in answers}) > 8
    assert abs(stats.ttest_1samp(surprises, 0.0).statistic) < 3.5


def test_the_seed_of_torch_decides(model: Any) -> None:
    """The same seed draws the same answers, another one others."""
    rows, tokens = ragged(), shipped_tokens()
    first, again, other = (decode(model, rows, temperature=1.0, seed=seed, **tokens) for seed in (1, 1, 2))

    assert first == again
    assert first != other


# -- what cannot be decoded -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_raise(value: float) -> None:
    """A model that computes no probabilities is an error of torch, which the sampler makes a divergence of."""
    model = tiny("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = value

    with pytest.raises(RuntimeError, match="probability tensor"):
        decode(model, [[7, 21]], ends=[END], pad=PAD, temperature=1.0)


def test_a_model_with_another_kind_of_past_is_refused() -> None:
    """A model that keeps a state instead of keys and values is refused before it is asked; the others are not."""
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=1)
    for name in TINY:
        decoding.check(tiny(name), where=name)

    with pytest.raises(ModelError, match="cannot be sampled from") as caught:
        decoding.check(MambaForCausalLM(config), where="local/mamba")
    assert ("MambaForCausalLM", "local/mamba") == (caught.value.found, caught.value.where)
