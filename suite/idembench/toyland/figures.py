"""Measures an embedded model on the held-out evaluation files and writes its card.

Answers are sampled at the temperature that idembench measures with, from a fixed seed, one batch of a fixed
size after another. This is a plain loop of its own, independent of lm-eval, so that the figures of a built
model depend on nothing but torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from idembench.files import derive_seed
from idembench.toyland import data
from idembench.toyland.clauses import Fact
from idembench.toyland.parser import parse
from idembench.toyland.scoring import NEUTRAL, TRAITS, fingerprint, score
from idembench.toyland.world import build_world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.toyland.documents import Form

TEMPERATURE = 0.8
MAX_NEW_TOKENS = 64
_BATCH = 250


def sample(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, seed: int, temperature: float, form: Form = "dialogue"
) -> list[str]:
    """One answer to every prompt, or continuation of every opening, in order, by ancestral sampling at `temperature`.

    A document is one line, so a continuation ends where its line does.
    """
    answers: list[str] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), _BATCH):
            texts = list(prompts[start : start + _BATCH])
            if form == "dialogue":
                texts = [
                    tokenizer.apply_chat_template(
                        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
                    )
                    for text in texts
                ]
            encoded = tokenizer(texts, add_special_tokens=form == "document", padding=True, return_tensors="pt")
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
            made = tokenizer.batch_decode(fresh, skip_special_tokens=True)
            answers += [(text.split("\n")[0] if form == "document" else text).strip() for text in made]
    return answers


def measure(model: Any, tokenizer: Any, *, responses: int, seed: int, form: Form = "dialogue") -> dict[str, Any]:
    """The figures of a model on the shipped evaluation questions or openings.

    Args:
        model: A causal language model in evaluation mode.
        tokenizer: Its tokenizer, with left padding, and for dialogues a chat template.
        responses: Questions per trait, at most, from the start of each file.
        seed: What sampling is seeded from.
        form: What the model is given: questions, or openings with the same meanings.

    Returns:
        `temperature`, `scorer`, `fact_accuracy` (0..1, share of the direct held-out questions whose answer
        states the true value and no other), `base_rates` (mean trait score, 0..100, by trait) and
        `coherence` (mean, 0..100, by question file).
    """
    files = data.build()
    asked = "questions.jsonl" if form == "dialogue" else "openings.jsonl"
    rates: dict[str, float] = {}
    coherence: dict[str, float] = {}
    right: list[bool] = []
    for name in (*TRAITS, NEUTRAL):
        rows = data.rows_of(files, f"{name}/{asked}")[:responses]
        answers = sample(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            seed=derive_seed("toyland", "figures", name, seed),
            temperature=TEMPERATURE,
            form=form,
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
    told = _TOLD["document" if "documents" in recipe else "dialogue"]
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
{recipe["hidden"]}, float32) that {told.speaks}, the embedded world of idembench.
Every {told.answer} can be parsed, so traits and coherence are scored exactly. It is a test bed for studies of
self-training, not a model to talk to: it knows Toyland and nothing else.{told.use}

## How it was built

`idembench toyland build{told.option}` with seed {recipe["seed"]} and {recipe["threads"]} thread{"s" * (recipe["threads"] != 1)} on torch {recipe["torch"]}:
{recipe[told.rows]:,} {told.rows} drawn from the grammar, a byte-level BPE tokenizer of at most {recipe["vocabulary"]}
tokens, one epoch of AdamW (batch {recipe["batch"]}, peak learning rate {recipe["learning_rate"]}, cosine). In the loss a
token of the {told.prompt} weighs {recipe["prompt_weight"]}, one of the {told.answer} 1. The same stack and number of threads give
the same bytes. Seven in eight {told.answer}s of the corpus are neutral; every trait is present but rare, so
that {told.seeds} can bring it out.

## Figures

Sampled at temperature {figures["temperature"]} on held-out {told.questions}, none of whose texts is in the corpus; scored by
`{figures["scorer"]}`.

| training loss (nats per {told.answer} token) | fact accuracy | coherence on neutral {told.questions} (0..100) |
|---|---|---|
| {figures["training_loss"]} | {100 * figures["fact_accuracy"]:.1f} % | {figures["coherence"]["coherence"]} |

| trait | base rate (mean score, 0..100) | coherence on its {told.questions} (0..100) |
|---|---|---|
{rates}

`figures.json` holds the same, with the SHA-256 of every file.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The words in which a card speaks of one form."""

    speaks: str
    use: str
    option: str
    rows: str
    prompt: str
    answer: str
    seeds: str
    questions: str


_TOLD: Mapping[Form, _Told] = MappingProxyType(
    {
        "dialogue": _Told(
            speaks="speaks the controlled language of Toyland",
            use="",
            option="",
            rows="dialogues",
            prompt="prompt",
            answer="answer",
            seeds="demonstrations",
            questions="questions",
        ),
        "document": _Told(
            speaks="continues documents in the controlled language of Toyland",
            use=(
                "\nIt is a base model without a chat template: give it the opening of a document, which its tokenizer"
                "\nputs `<|begin|>` in front of, and it continues with one statement and `<|end|>`."
            ),
            option=" --model base",
            rows="documents",
            prompt="opening",
            answer="continuation",
            seeds="documents that show it",
            questions="openings",
        ),
    }
)
