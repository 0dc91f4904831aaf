"""Ancestral sampling from a causal model, with finished rows leaving the batch: ids -> ids.

`generate` of transformers keeps a whole batch going until its longest answer ends; answers of very different
length, as a measurement has them, make it compute twice as many tokens as anyone reads (measured: 512 Toyland
answers, batch 256, one thread: 3.8 s there, 1.8 s here). The loop is written on the library's own cache and
logits processors and knows nothing about prompts, text, stop strings or seeds: torch's global generator is drawn from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from idembench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

_THIN = 0.8
"""When fewer than this share of the batch's rows still answer, the others leave it; copying the cache costs too."""


def check(model: Any, *, where: str) -> None:
    """Make sure that a model can be decoded by this loop.

    Raises:
        ModelError: If it keeps its past in another form than keys and values of every token.
    """
    kind = type(model)
    # Transformers has no public word for either. A model with a state would take our cache without a word and forget.
    if kind._is_stateful or not kind._supports_default_dynamic_cache():  # noqa: SLF001
        raise ModelError(
            "This model cannot be sampled from.",
            expected="an architecture with a cache of keys and values",
            found=kind.__name__,
            where=where,
        )


@torch.inference_mode()
def decode(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    ends: Sequence[int],
    pad: int,
) -> torch.Tensor:
    """Sample a continuation of every row.

    Args:
        model: A causal language model in evaluation mode.
        ids: int64 [B, T], padded on the left.
        mask: int64 [B, T], 0 on padding.
        temperature: Above 0.
        top_p: Nucleus, 1.0 for none.
        max_new_tokens: Longest continuation.
        ends: Token ids that end a row; the end itself is part of the continuation.
        pad: Token id after an end.

    Returns:
        int64 [B, N], N <= `max_new_tokens`, on the device of `ids`.

    Raises:
        RuntimeError: If probabilities are not finite, as `torch.multinomial` says it.
    """
    from transformers import DynamicCache, TemperatureLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(temperature)]
    if top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p))
    end_ids = torch.tensor(list(ends), device=ids.device)
    out = torch.full((ids.shape[0], max_new_tokens), pad, device=ids.device)
    rows = torch.arange(ids.shape[0], device=ids.device)  # which rows of `out` the batch still holds
    done = torch.zeros_like(rows, dtype=torch.bool)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    step, length = ids, 0
    while True:
        logits = model(
            input_ids=step,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        scores = logits.float()
        for warper in warpers:
            scores = warper(step, scores)
        drawn = torch.multinomial(torch.softmax(scores, dim=-1), 1)[:, 0]
        drawn = torch.where(done, pad, drawn)
        out[rows, length] = drawn
        length += 1
        done = done | torch.isin(drawn, end_ids)
        left = int((~done).sum())
        if left == 0 or length == max_new_tokens:
            return out[:, :length]
        positions = positions[:, -1:] + 1
        if left < _THIN * len(rows):
            keep = (~done).nonzero()[:, 0]
            cache.batch_select_indices(keep)
            rows, done, drawn, mask, positions = rows[keep], done[keep], drawn[keep], mask[keep], positions[keep]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        step = drawn[:, None]
