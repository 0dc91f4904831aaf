"""How a tokenizer writes the whole numbers 0..100: a tree of all its ways, in tokens of one or several digits.

Needs no torch and no model, so that a judge whose tokenizer cannot write them is found out before it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from idembench.judges.logprob import is_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
