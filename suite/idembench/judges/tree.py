"""The exact probability that a local model says each number 0..100: every way of writing it in tokens, in two passes.

A number may be one token or several, by the tokenizer. All ways of writing all numbers make a tree of a few hundred tokens;
a node's probability is that of its tokens one after the other, and a number's is summed over its nodes, each times the
probability that no further digit follows. What prompts have in common, most of a rubric's, is read once for all of them,
the rest of each once; the tree is read behind it in one more pass (in pieces, where a vocabulary is large), each token
seeing the prompt and its own ancestors alone. White space before a
number is followed where the model puts at least a hundredth there. Knows torch; nothing about prompts, rubrics, loading.

    P("75") = P("75") P(no digit | "75") + P("7") P("5" | "7") P(no digit | "7", "5")
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch

from idembench.judges.logprob import is_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LEAST_SPACE = 0.01
"""Probability of white space, before a number, from which on it is followed."""
_MOST = 1 << 26  # values of a piece's logits: 256 MiB in float32
_SPACE = ("\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}")
_NEWLINE = ("\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}", "<0x0A>")


@dataclass(frozen=True, slots=True)
class Node:
    """One token of the tree.

    Attributes:
        token: Its id.
        parent: Its parent's place in the tree, -1 for the end of the prompt.
        depth: Tokens before it, in the tree.
        text: The digits up to and with it.
    """

    token: int
    parent: int
    depth: int
    text: str


@dataclass(frozen=True)
class Numbers:
    """How a tokenizer writes the whole numbers 0..100.

    Attributes:
        texts: What each token of the vocabulary writes, special tokens left out.
        nodes: The tree, every node behind its parent and before its parent's next child.
    """

    texts: Mapping[int, str]
    nodes: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        """Grow the tree."""
        nodes: list[Node] = []
        object.__setattr__(self, "nodes", nodes)
        pieces = sorted((token, text) for token, text in self.texts.items() if text.isascii() and text.isdigit())
        spaced = [(token, text[1:]) for token, text in self.texts.items() if text[:1] in (" ", "\n")]
        begins = pieces + sorted((token, text) for token, text in spaced if text.isascii() and text.isdigit())

        def grow(parent: int, depth: int, before: str, children: list[tuple[int, str]]) -> None:
            for token, text in children:
                if is_number(before + text):
                    nodes.append(Node(token, parent, depth, before + text))
                    grow(len(nodes) - 1, depth + 1, before + text, pieces)

        grow(-1, 0, "", begins)

    @cached_property
    def digits(self) -> list[int]:
        """Tokens that begin with a digit."""
        return sorted(token for token, text in self.texts.items() if text[:1].isascii() and text[:1].isdigit())

    @cached_property
    def spaces(self) -> list[int]:
        """Tokens that are white space and nothing else."""
        return sorted(token for token, text in self.texts.items() if text and not text.strip())

    def pieces(self, most: int) -> Iterator[range]:
        """Runs of whole branches, each of at most `most` nodes where no branch alone has more."""
        starts = [place for place, node in enumerate(self.nodes) if node.parent < 0]
        first = 0
        for start, end in zip(starts, [*starts[1:], len(self.nodes)], strict=True):
            if end - first > most and start > first:
                yield range(first, start)
                first = start
        if self.nodes:
            yield range(first, len(self.nodes))


def vocabulary(tokenizer: Any) -> dict[int, str]:
    """What each ordinary token writes, by id; byte-level and sentencepiece spellings of white space are read as such."""
    special = set(tokenizer.added_tokens_decoder)
    found = {}
    for spelt, token in tokenizer.get_vocab().items():
        if token in special:
            continue
        text = spelt
        for mark in _SPACE:
            text = text.replace(mark, " ")
        for mark in _NEWLINE:
            text = text.replace(mark, "\n")
        found[token] = text
    return found


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
