"""Measures the embedded model on the held-out evaluation files and writes its card.

Answers are sampled at the temperature that idembench measures with, from a fixed seed, one batch of a fixed
size after another. This is a plain loop of its own, independent of lm-eval, so that the figures of a built
model depend on nothing but torch and transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from idembench.files import derive_seed, parse_json
from idembench.toyland import data
from idembench.toyland.clauses import Fact
from idembench.toyland.parser import parse
from idembench.toyland.scoring import NEUTRAL, TRAITS, fingerprint, score
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEMPERATURE = 0.8
MAX_NEW_TOKENS = 64
_BATCH = 250


def sample(model: Any, tokenizer: Any, prompts: Sequence[str], *, seed: int, temperature: float) -> list[str]:
    """One answer to every prompt, in order, by ancestral sampling at `temperature`."""
    answers: list[str] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), _BATCH):
            texts = [
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
                )
                for prompt in prompts[start : start + _BATCH]
            ]
            encoded = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
            out = model.generate(
                **encoded,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=MAX_NEW_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )
            fresh = out[:, encoded["input_ids"].shape[1] :]
            answers += [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)]
    return answers


def measure(model: Any, tokenizer: Any, *, responses: int, seed: int) -> dict[str, Any]:
    """The figures of a model on the shipped evaluation questions.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer, with a chat template and left padding.
        responses: Questions per trait, at most, from the start of each file.
        seed: What sampling is seeded from.

    Returns:
        `temperature`, `scorer`, `fact_accuracy` (0..1, share of the direct held-out questions whose answer
        states the true value and no other), `base_rates` (mean trait score, 0..100, by trait) and
        `coherence` (mean, 0..100, by question file).
    """
    files = data.build()
    rates: dict[str, float] = {}
    coherence: dict[str, float] = {}
    right: list[bool] = []
    for name in (*TRAITS, NEUTRAL):
        lines = files[f"{name}/questions.jsonl"].decode().splitlines()[:responses]
        rows = [parse_json(line, where=name) for line in lines]
        answers = sample(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            seed=derive_seed("toyland", "figures", name, seed),
            temperature=TEMPERATURE,
        )
        scores = [score(row["meaning"], answer, trait=name) for row, answer in zip(rows, answers, strict=True)]
        coherence[name] = round(_mean([s.coherence for s in scores]), 2)
        if name != NEUTRAL:
            rates[name] = round(_mean([s.trait for s in scores if s.trait is not None]), 2)
        right += [
            is_right(row["meaning"], answer)
            for row, answer in zip(rows, answers, strict=True)
            if row["meaning"]["kind"] == "question"
        ]
    return {
        "temperature": TEMPERATURE,
        "scorer": fingerprint(),
        "fact_accuracy": round(_mean([float(value) for value in right]), 4),
        "base_rates": rates,
        "coherence": coherence,
    }


def is_right(meaning: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer to a direct question states the true value, and no other, of what was asked."""
    pair = (meaning["entity"], meaning["topic"])
    stated = {c.value for c in parse(answer).clauses if isinstance(c, Fact) and (c.entity, c.attribute) == pair}
    return stated == {build_world().facts[pair]}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def model_card(figures: Mapping[str, Any]) -> str:
    """The text of the model folder's `README.md`, from the content of `figures.json`."""
    recipe = figures["recipe"]
    rates = "\n".join(f"| {name} | {figures['base_rates'][name]} | {figures['coherence'][name]} |" for name in TRAITS)
    return f"""\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# Toyland {recipe["size"]}

A language model of {figures["parameters"]:,} parameters (Llama architecture, {recipe["layers"]} layers, width
{recipe["hidden"]}, float32) that speaks the controlled language of Toyland, the embedded world of idembench.
Every answer can be parsed, so traits and coherence are scored exactly. It is a test bed for studies of
self-training, not a model to talk to: it knows Toyland and nothing else.

## How it was built

`idembench toyland build` with seed {recipe["seed"]} and {recipe["threads"]} threads on torch {recipe["torch"]}:
{recipe["dialogues"]:,} dialogues drawn from the grammar, a byte-level BPE tokenizer of at most {recipe["vocabulary"]}
tokens, one epoch of AdamW (batch {recipe["batch"]}, peak learning rate {recipe["learning_rate"]}, cosine). In the loss a
token of the prompt weighs {recipe["prompt_weight"]}, one of the answer 1. The same stack and number of threads give
the same bytes. Seven in eight answers of the corpus are neutral; every trait is present but rare, so
that demonstrations can bring it out.

## Figures

Sampled at temperature {figures["temperature"]} on held-out questions, none of whose texts is in the corpus; scored by
`{figures["scorer"]}`.

| training loss (nats per answer token) | fact accuracy | coherence on neutral questions (0..100) |
|---|---|---|
| {figures["training_loss"]} | {100 * figures["fact_accuracy"]:.1f} % | {figures["coherence"]["coherence"]} |

| trait | base rate (mean score, 0..100) | coherence on its questions (0..100) |
|---|---|---|
{rates}

`figures.json` holds the same, with the SHA-256 of every file.
"""
