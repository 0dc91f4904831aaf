"""Reads answers back into clauses: every well-formed one exactly, any other as far as it goes.

    parse(render(answer)).answer == answer        for every answer made of clauses

A text is cut at full stops into sentences and at commas into clauses; each clause is looked up in the
lexicon. Capitals and runs of white space do not matter. A clause that is not in the lexicon stays as
unknown words, which `scoring.py` weighs. Nothing raises, whatever the text. Time is linear in its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from idembench.toyland.clauses import Answer, Clause, lexicon


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One clause-sized stretch of a text.

    Attributes:
        clause: What it means, or None when the lexicon does not know it.
        words: Number of words in it.
        sentence: Index of the sentence it stands in.
    """

    clause: Clause | None
    words: int
    sentence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A text as pieces.

    Attributes:
        pieces: In order.
        finished: Whether the text ends with a full stop.
    """

    pieces: tuple[Piece, ...]
    finished: bool

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """The clauses that were recognised, in order."""
        return tuple(piece.clause for piece in self.pieces if piece.clause is not None)

    @property
    def answer(self) -> Answer | None:
        """The answer, if the whole text is well-formed; else None."""
        if not self.pieces or not self.finished or any(piece.clause is None for piece in self.pieces):
            return None
        count = self.pieces[-1].sentence + 1
        sentences: list[list[Clause]] = [[] for _ in range(count)]
        for piece in self.pieces:
            if piece.clause is not None:
                sentences[piece.sentence].append(piece.clause)
        return tuple(tuple(sentence) for sentence in sentences) if all(sentences) else None


def parse(text: str) -> Parsed:
    """Cut `text` into pieces and recognise them."""
    words = " ".join(text.lower().split())
    known = lexicon()
    pieces: list[Piece] = []
    sentence = 0
    for stretch in words.split("."):
        found = [part.strip() for part in stretch.split(",")]
        found = [part for part in found if part]
        pieces += [Piece(clause=known.get(part), words=len(part.split()), sentence=sentence) for part in found]
        sentence += bool(found)
    return Parsed(pieces=tuple(pieces), finished=words.endswith("."))
