"""The exact probability that a local model says each number 0..100: every way of writing it in tokens, in two passes.

A number may be one token or several, by the tokenizer. All ways of writing all numbers make a tree of a few hundred tokens
(`numerals.py`); a node's probability is that of its tokens one after the other, and a number's is summed over its nodes, each times the
probability that no further digit follows. What prompts have in common, most of a rubric's, is read once for all of them,
the rest of each once; the tree is read behind it in one more pass (in pieces, where a vocabulary is large), each token
seeing the prompt and its own ancestors alone. White space before a
number is followed where the model puts at least a hundredth there. Knows torch; nothing about prompts, rubrics, loading.

    P("75") = P("75") P(no digit | "75") + P("7") P("5" | "7") P(no digit | "7", "5")
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.judges.numerals import Node, Numbers

LEAST_SPACE = 0.01
"""Probability of white space, before a number, from which on it is followed."""
_MOST = 1 << 26  # values of a piece's logits: 256 MiB in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model would say next.

    Attributes:
        numbers: Probability of each number that has any.
        likeliest: Id of the likeliest first token that is not white space.
    """

    numbers: dict[int, float]
    likeliest: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """What prompts begin with, read.

    Attributes:
        tokens: How many tokens it has.
        cache: Keys and values of them, of one row.
    """

    tokens: int
    cache: Any


@torch.inference_mode()
def begin(model: Any, prompts: Sequence[Sequence[int]]) -> Beginning:
    """Read what all of these prompts begin with; of each at least one token is left."""
    from transformers import DynamicCache

    # What the first and the last in order have in common, all have.
    ends = [list(prompt)[:-1] for prompt in (min(prompts, key=list), max(prompts, key=list))]
    same = (
        [a for a, b in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))] if len(prompts) > 1 else []
    )
    cache = DynamicCache()
    if same:
        model(
            input_ids=torch.tensor([same], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    return Beginning(len(same), cache)


def ask(
    model: Any, numbers: Numbers, prompts: Sequence[Sequence[int]], *, pad: int, beginning: Beginning | None = None
) -> list[Said]:
    """Ask a model for a number, a batch of prompts at once.

    Args:
        model: A causal language model in evaluation mode that takes a mask of four dimensions.
        numbers: How its tokenizer writes numbers.
        prompts: Token ids, as many prompts as fit the memory.
        pad: Token id to pad with, before what a prompt does not share.
        beginning: What they all begin with, if it was read already.
    """
    begun = beginning or begin(model, prompts)
    said, spaces = _ask(model, numbers, prompts, pad, begun)
    behind = [(row, token, p) for row, found in enumerate(spaces) for token, p in found.items() if p >= LEAST_SPACE]
    if behind:
        more, _ = _ask(model, numbers, [[*prompts[row], token] for row, token, _ in behind], pad, begun)
        for (row, _, p), one in zip(behind, more, strict=True):
            for number, q in one.numbers.items():
                said[row].numbers[number] = said[row].numbers.get(number, 0.0) + p * q
            if p > 0.5:  # noqa: PLR2004 -- more likely than not, it begins with this white space
                said[row] = Said(numbers=said[row].numbers, likeliest=one.likeliest)
    return said


@torch.inference_mode()
def _ask(
    model: Any, numbers: Numbers, prompts: Sequence[Sequence[int]], pad: int, begun: Beginning
) -> tuple[list[Said], list[dict[int, float]]]:
    device, rows, same = model.device, len(prompts), begun.tokens
    longest = max(map(len, prompts)) - same
    ids = torch.tensor(
        [[pad] * (longest - len(prompt) + same) + list(prompt)[same:] for prompt in prompts], device=device
    )  # [B, T - S]
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    places = torch.arange(same + longest, device=device)
    mask = ((places < same) | (places >= same + longest - (lengths[:, None] - same))).long()  # [B, T]
    cache = copy.deepcopy(begun.cache)
    cache.batch_repeat_interleave(rows)
    first = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1)[:, same:].clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    root = torch.softmax(first.float(), dim=-1)  # [B, V]
    digits = torch.tensor(numbers.digits, device=device)
    sums: list[dict[int, float]] = [defaultdict(float) for _ in prompts]
    for piece in numbers.pieces(max(1, _MOST // (rows * root.shape[1]))):
        nodes = [numbers.nodes[place] for place in piece]
        tokens = torch.tensor([node.token for node in nodes], device=device)
        depths = torch.tensor([node.depth for node in nodes], device=device)
        logits = model(
            input_ids=tokens.expand(rows, -1),
            attention_mask=_behind(mask, nodes, piece.start, model.dtype),
            position_ids=lengths[:, None] + depths,
            past_key_values=cache,
            use_cache=True,
        ).logits
        cache.crop(-len(nodes))
        after = torch.softmax(logits.float(), dim=-1)  # [B, M, V]
        ends = 1 - after[:, :, digits].sum(-1)  # [B, M]
        reached: list[torch.Tensor] = []  # of each node, [B]
        for place, node in enumerate(nodes):
            if node.parent < 0:
                reached.append(root[:, node.token])
            else:
                parent = node.parent - piece.start
                reached.append(reached[parent] * after[:, parent, node.token])
            for row, p in enumerate((reached[-1] * ends[:, place]).tolist()):
                sums[row][int(node.text)] += max(p, 0.0)
    spaces = [dict(zip(numbers.spaces, row, strict=True)) for row in root[:, numbers.spaces].tolist()]
    root[:, numbers.spaces] = -1
    likeliest = root.argmax(dim=-1).tolist()
    said = [Said(numbers=dict(sorted(s.items())), likeliest=token) for s, token in zip(sums, likeliest, strict=True)]
    return said, spaces


def _behind(mask: torch.Tensor, nodes: Sequence[Node], start: int, dtype: torch.dtype) -> torch.Tensor:
    """What each node sees, as the model adds it to its scores: [B, 1, M, T + M], 0 or the lowest number."""
    own = torch.eye(len(nodes), dtype=torch.bool, device=mask.device)  # [M, M]
    for place, node in enumerate(nodes):
        if node.parent >= 0:
            own[place] |= own[node.parent - start]
    before = mask.bool()[:, None, :].expand(-1, len(nodes), -1)  # [B, M, T]
    seen = torch.cat([before, own.expand(len(mask), -1, -1)], dim=-1)[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=mask.device).masked_fill(~seen, torch.finfo(dtype).min)
