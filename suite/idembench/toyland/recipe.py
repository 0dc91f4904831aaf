"""Builds an embedded model from nothing: corpus → tokenizer → Llama → figures → model card.

`build` is a plain loop one can read: AdamW, linear warm-up, cosine decay, prompts weighed less than answers. On one
software and hardware stack with one number of threads the same seed gives the same bytes. The sizes
`instruct` (dialogues) and `base` (documents) are the shipped models; `tiny` and `tiny-base` are for tests.

The only module of Toyland, beside `figures.py`, that uses torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from idembench.errors import InputError, UnknownNameError
from idembench.files import derive_seed, list_files, write_json, write_text, writing_under
from idembench.toyland import data
from idembench.toyland.corpus import corpus
from idembench.toyland.documents import join
from idembench.toyland.figures import measure, model_card
from idembench.toyland.tokenizer import train_tokenizer
from idembench.toyland.world import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from idembench.toyland.documents import Form

RECIPE_SEED = 20260501


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a model is, what it learns from and for how long.

    Attributes:
        form: What it learns: dialogues or documents.
        hidden: Width.
        layers: Number of decoder layers.
        heads: Attention heads.
        intermediate: Width of the gated feed-forward layers.
        vocabulary: Tokens, at most; embeddings are tied.
        rows: Corpus size in dialogues or documents; each is seen once.
        batch: Rows per step.
        learning_rate: Peak.
        warmup_steps: Steps of linear warm-up.
        weight_decay: Of AdamW, on matrices alone.
        prompt_weight: Weight in the loss of a token of the prompt or opening; one of the answer weighs 1.
        responses: Evaluation questions per figure, at most.
        threads: Torch threads unless told otherwise.
    """

    form: Form
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    rows: int
    batch: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    prompt_weight: float
    responses: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """All but `form` and `threads`; the number of rows is called `dialogues` or `documents`, which tells the form."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("form", "threads", "rows")}
        return {**settings, f"{self.form}s": self.rows}


_INSTRUCT = Size(
    form="dialogue",
    hidden=160,
    layers=4,
    heads=4,
    intermediate=416,
    vocabulary=1024,
    rows=102_400,
    batch=128,
    learning_rate=4e-3,
    warmup_steps=50,
    weight_decay=0.05,
    prompt_weight=0.2,
    responses=1000,
    threads=2,
)
_TINY = replace(
    _INSTRUCT,
    hidden=32,
    layers=2,
    heads=2,
    intermediate=64,
    vocabulary=512,
    rows=640,
    batch=32,
    warmup_steps=4,
    responses=20,
)

SIZES = {
    "instruct": _INSTRUCT,
    "base": replace(_INSTRUCT, form="document", threads=1),
    "tiny": _TINY,
    "tiny-base": replace(_TINY, form="document", threads=1),
}


def build(
    out: Path,
    *,
    seed: int = RECIPE_SEED,
    size: str = "instruct",
    threads: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Build a model folder: weights, configuration, tokenizer, `figures.json`, `README.md`.

    Args:
        out: The folder; must be empty or not exist.
        seed: What every random choice is derived from.
        size: A key of `SIZES`.
        threads: Torch threads, part of what the bytes depend on; the size's own if not given.
        progress: Called after every step with steps done, steps in all and the loss in nats per token.

    Returns:
        The content of `figures.json`.

    Raises:
        UnknownNameError: If there is no such size.
        InputError: If `out` is not empty.
        EnvironmentProblem: If it cannot be written.
    """
    if size not in SIZES:
        raise UnknownNameError("Toyland model size", size, SIZES)
    if out.exists() and any(out.iterdir()):
        raise InputError("The folder for the model is not empty.", where=str(out), do="Give a new folder.")
    chosen = SIZES[size]
    used = chosen.threads if threads is None else threads
    threads_before = torch.get_num_threads()
    torch.set_num_threads(used)
    try:
        avoid = data.evaluation_texts(data.build())
        rows = corpus(seed=seed, size=chosen.rows, avoid=avoid, form=chosen.form)
        texts = (text for pair in rows for text in pair)
        tokenizer = train_tokenizer(texts, vocabulary=chosen.vocabulary, form=chosen.form)
        model = _new_model(chosen, tokenizer, seed=seed)
        encode = _encode_dialogues if chosen.form == "dialogue" else _encode_documents
        loss = _train(model, encode(tokenizer, rows), chosen, seed=seed, progress=progress)
        figures = {
            "recipe": {"size": size, "seed": seed, "threads": used, "torch": torch.__version__, **chosen.to_json()},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "training_loss": round(loss, 4),
            **measure(model, tokenizer, responses=chosen.responses, seed=seed, form=chosen.form),
        }
    finally:
        torch.set_num_threads(threads_before)
    with writing_under(out):
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    write_text(out / "README.md", model_card(figures))
    figures["files"] = {entry.name: {"bytes": entry.bytes, "sha256": entry.sha256} for entry in list_files(out)}
    write_json(out / "figures.json", figures)
    return figures


def _new_model(size: Size, tokenizer: Any, *, seed: int) -> Any:
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=512,
        initializer_range=0.04,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("toyland", "weights", seed))
        model = LlamaForCausalLM(config).float()
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def _encode_dialogues(tokenizer: Any, dialogues: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Token ids of every dialogue, and the number of them that belong to the prompt."""
    prompts, wholes = [], []
    for prompt, answer in dialogues:
        turns = [{"role": "user", "content": prompt}]
        prompts.append(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        turns.append({"role": "assistant", "content": answer})
        wholes.append(tokenizer.apply_chat_template(turns, tokenize=False))
    heads = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    ids = tokenizer(wholes, add_special_tokens=False)["input_ids"]
    return [(whole, len(head)) for whole, head in zip(ids, heads, strict=True)]


def _encode_documents(tokenizer: Any, documents: list[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """The same for documents: token ids with those of the beginning and the end, and how many the opening has."""
    heads = tokenizer([opening for opening, _ in documents])["input_ids"]
    ids = tokenizer([join(*document) for document in documents])["input_ids"]
    return [([*whole, tokenizer.eos_token_id], len(head)) for whole, head in zip(ids, heads, strict=True)]


def _batches(
    rows: list[tuple[list[int], int]], size: Size, *, seed: int, pad: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield (ids, mask, weights), each [batch, tokens], padded on the right; weights are 0 on padding.

    Rows of similar length share a batch: they are sorted within shards of 32 batches.
    """
    rng = stream("batches", seed)
    order = list(range(len(rows)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), 32 * size.batch):
        shard = sorted(order[start : start + 32 * size.batch], key=lambda index: len(rows[index][0]))
        cut = [shard[at : at + size.batch] for at in range(0, len(shard), size.batch)]
        rng.shuffle(cut)
        batches += cut
    for batch in batches:
        width = max(len(rows[index][0]) for index in batch)
        ids = torch.full((len(batch), width), pad)
        weights = torch.zeros((len(batch), width))
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for line, index in enumerate(batch):
            whole, head = rows[index]
            ids[line, : len(whole)] = torch.tensor(whole)
            weights[line, :head] = size.prompt_weight
            weights[line, head : len(whole)] = 1.0
            mask[line, : len(whole)] = 1
        yield ids, mask, weights


def _train(
    model: Any,
    rows: list[tuple[list[int], int]],
    size: Size,
    *,
    seed: int,
    progress: Callable[[int, int, float], None] | None,
) -> float:
    """Train in place; the mean loss over the last tenth of the steps, in nats per answer token."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": size.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=size.learning_rate,
        betas=(0.9, 0.98),
    )
    steps = math.ceil(len(rows) / size.batch)
    losses: list[float] = []
    model.train()
    for step, (ids, mask, weights) in enumerate(_batches(rows, size, seed=seed, pad=model.config.pad_token_id)):
        rate = size.learning_rate * _schedule(step, steps, size.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = model(input_ids=ids, attention_mask=mask).logits
        # Flat, because over transposed logits this loss takes several times as long on a CPU.
        each = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        total = (each * weight).sum() / weight.sum()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        answers = weight == 1.0
        losses.append(each.detach()[answers].mean().item())
        if progress is not None:
            progress(step + 1, steps, losses[-1])
    model.eval()
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def _schedule(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate at `step`: linear up, then cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))
