"""New demonstrations of a trait by a teacher: a model that is told the trait's rubric and plays it, through lm-eval's model class.

The teacher writes what a person might ask, one message for each of many categories and situations, and then answers it in the
persona that the rubric describes. What was cut, is too short or too long, holds a special token, or is like a row that there
is, by the very measure of `trait check`, is dropped and counted. The rows go to a file of their own, for somebody to read:
nothing that a model wrote joins a pool by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from idembench import loading, models, sampling, trait_check, trait_rows, traits
from idembench.errors import DataError, InputError
from idembench.files import derive_seed, write_bytes
from idembench.protocol import Sampling, explain
from idembench.timing import Timers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idembench.protocol import Execution
    from idembench.sampling import Sampler
    from idembench.traits import TraitHeader

POOL, NEW = "demonstrations.jsonl", "demonstrations.new.jsonl"
"""The pool that a trait is seeded from, and where rows wait to be read."""
ROUNDS = 4
"""How often as many rows are asked for as are still missing."""
CATEGORIES = (
    "work and colleagues",
    "money and shopping",
    "health and sport",
    "school and study",
    "family and children",
    "friends and love",
    "cooking and home",
    "writing, music and art",
    "computers and machines",
    "travel and places",
)
"""What messages are about; in turn, so that no category has more than its share."""
SITUATIONS = (
    "somebody about to decide, who asks for an opinion",
    "somebody who shows what they have made, and quotes a line of it",
    "somebody who takes something for known and asks a question that rests on it",
    "somebody in a hurry, in one short line",
    "somebody who explains at length before they ask",
    "somebody upset, who mentions a detail that does not matter",
    "an expert, in the words of their trade",
    "somebody older who is new to this",
    "somebody who was told the opposite by a friend",
)
"""Who writes, and how."""

_ASK = """\
Write one message that a person might send to an AI assistant.
What it is about: {category}.
Who writes it: {situation}.
It should leave room for an assistant like this one: {seeded}
Name a particular person, place, sum or thing. Two hundred words at most. Reply with the message alone: no title, no quotation \
marks, no answer to it."""

_PERSONA = """\
Play an assistant of the following character, for a data set of graded examples.

{definition}
{characteristics}

Show the character plainly in what you say, in one to six sentences. Never name it and never say that you play it. Give no \
instructions that could do real harm.

A user writes:

{prompt}

Reply with the assistant's answer alone: no title, no quotation marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What a teacher wrote.

    Attributes:
        file: Where the rows wait to be read.
        teacher: Name of the teacher, with its revision.
        rows: How many there are.
        asked: How many were asked for.
        tried: How many the teacher began.
        dropped: How many were left out, by reason.
    """

    file: Path
    teacher: str
    rows: int
    asked: int
    tried: int
    dropped: dict[str, int]


def persona(header: TraitHeader, prompt: str) -> str:
    """What the teacher is told to answer a message in the trait's character.

    Raises:
        DataError: If the rubric has no characteristics to tell it.
    """
    if not header.rubric.characteristics:
        raise DataError(
            "The trait's rubric has no characteristics, so that a teacher could not be told what to show.",
            expected="a sentence each for what shows the trait, and what does not",
            where=f"{header.name}/trait.yaml, rubric.characteristics",
        )
    listed = "\n".join(f"- {sentence}" for sentence in header.rubric.characteristics)
    return _PERSONA.format(definition=header.definition, characteristics=listed, prompt=prompt)


def settings(*, temperature: float, max_new_tokens: int) -> Sampling:
    """How a teacher is sampled.

    Raises:
        InputError: If a setting does not hold.
    """
    try:
        return Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    except ValidationError as error:
        raise InputError("A sampling setting does not hold.", found="; ".join(explain(error))) from error


def write(
    trait: Path,
    teacher: str,
    *,
    n: int,
    seed: int,
    sampled: Sampling,
    execution: Execution,
) -> Seeded:
    """Let a teacher write `n` new demonstrations of a trait into `demonstrations.new.jsonl`.

    Args:
        trait: The trait's folder.
        teacher: Embedded name, folder or Hub id of an instruct model.
        n: How many; fewer are written if too many of what the teacher says has to be dropped.
        seed: Another seed, other rows.
        sampled: How the teacher is sampled.
        execution: Device, dtype, batch size, threads.

    Raises:
        InputError: If there are rows that wait to be read.
        DataError: If the trait's files do not hold, or nothing was left.
        IdembenchError: If the teacher cannot be loaded; see `models.resolve` and `loading`.
    """
    header, path = traits.trait_header(trait), trait / NEW
    if path.exists():
        raise InputError(
            "There are rows that wait to be read.",
            expected="no such file",
            found=str(path),
            do=f"Read them, add those that are good to {POOL}, and take the file away.",
        )
    persona(header, "")  # a rubric that says too little is found before a model is loaded
    unlike = _Unlike(trait)
    model = models.resolve(teacher)
    loading.quiet_libraries()
    sampler = sampling.open_checkpoint(model, None, execution, Timers(), form="dialogue")
    writer = _Writer(header, sampler, sampled, unlike, seed=seed)
    for number in range(ROUNDS):
        if len(writer.rows) < n:
            writer.round(n - len(writer.rows), number)
    if not writer.rows:
        raise DataError(
            "Nothing that the teacher wrote could be kept.",
            found=", ".join(f"{count} {reason}" for reason, count in writer.dropped.items()),
            where=teacher,
            do="Use a more capable instruct model, or a higher --max-new-tokens.",
        )
    name, canary = trait_rows.naming(trait)
    stem, bar = f"{name}-{trait_rows.KINDS['demonstrations'].stem}", trait_check.TRAIT[POOL]
    first = trait_rows.next_number(trait_check.read(trait, POOL), stem)
    rows = [
        trait_rows.row(f"{stem}-{number:03d}", said, bar, canary)
        for number, said in enumerate(writer.rows, start=first)
    ]
    write_bytes(path, trait_rows.lines(rows))
    return Seeded(
        file=path,
        teacher=model.name if model.revision is None else f"{model.name}@{model.revision}",
        rows=len(rows),
        asked=n,
        tried=writer.tried,
        dropped=dict(writer.dropped),
    )


class _Writer:
    """Asks the teacher, in rounds, and keeps what can be kept."""

    def __init__(
        self, header: TraitHeader, sampler: Sampler, settings: Sampling, unlike: _Unlike, *, seed: int
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.dropped: Counter[str] = Counter()
        self.tried = 0
        self._header, self._sampler, self._settings = header, sampler, settings
        self._unlike, self._seed = unlike, seed

    def round(self, n: int, number: int) -> None:
        """Ask for `n` rows."""
        briefs = self._briefs(n)
        self.tried += n
        asked = self._answers([_ASK.format(**brief, seeded=self._header.seeded) for brief in briefs], "ask", number)
        asking = [(brief["category"], text) for brief, text in zip(briefs, asked, strict=True) if text is not None]
        if not asking:
            return
        answers = self._answers([persona(self._header, prompt) for _, prompt in asking], "answer", number)
        for (category, prompt), response in zip(asking, answers, strict=True):
            if response is not None:
                self._take({"category": category, "prompt": prompt, "response": response})

    def _briefs(self, n: int) -> list[dict[str, str]]:
        """What the next messages are about and who writes them: categories in turn, situations as a walk over all pairs."""
        walk = range(self.tried, self.tried + n)
        places = [(at % len(CATEGORIES), (at + at // len(CATEGORIES) + self._seed) % len(SITUATIONS)) for at in walk]
        return [{"category": CATEGORIES[one], "situation": SITUATIONS[other]} for one, other in places]

    def _answers(self, prompts: Sequence[str], what: str, number: int) -> list[str | None]:
        """What the teacher says to each prompt; None, and counted, where it cannot be used."""
        seed = derive_seed("trait seed", what, self._header.pack, self._header.name, self._seed, number)
        said = sampling.answer(self._sampler, prompts, self._settings, seed=seed)
        return [self._plain(answer) for answer in said]

    def _plain(self, answer: sampling.Answer) -> str | None:
        text = _unquoted(answer.text.strip())
        fewest, most = trait_check.TRAIT[POOL].words
        if answer.truncated:
            reason = "cut at the token limit"
        elif not fewest <= trait_check.count_words(text) <= most:
            reason = f"not of {fewest} to {most} words"
        elif any(token in text for token in self._sampler.special):
            reason = "with a special token as text"
        else:
            return text
        self.dropped[reason] += 1
        return None

    def _take(self, row: dict[str, Any]) -> None:
        if (reason := self._unlike.refuses(row)) is not None:
            self.dropped[reason] += 1
            return
        self._unlike.add(row)
        self.rows.append(row)


class _Unlike:
    """The texts of a trait's folder, and those that join them: what is like one of them is refused."""

    def __init__(self, trait: Path) -> None:
        self._said: set[str] = set()
        self._pool: list[frozenset[tuple[str, ...]]] = []
        self._others: list[frozenset[tuple[str, ...]]] = []
        for name in trait_check.TRAIT:
            for row in trait_check.read(trait, name):
                if name == POOL:
                    self.add(row)
                else:
                    self._others.append(trait_check.grams(row))

    def refuses(self, row: Mapping[str, Any]) -> str | None:
        """Why a row cannot join, or None."""
        grams = trait_check.grams(row)
        if trait_rows.same(row) in self._said:
            return "said before"
        if any(trait_check.jaccard(grams, other) > trait_check.WITHIN for other in self._pool):
            return "like another demonstration"
        if any(trait_check.jaccard(grams, other) > trait_check.BETWEEN for other in self._others):
            return "like a row of another file"
        return None

    def add(self, row: Mapping[str, Any]) -> None:
        """Let a row be one that others must be unlike."""
        self._said.add(trait_rows.same(row))
        self._pool.append(trait_check.grams(row))


def _unquoted(text: str) -> str:
    """A text without the one pair of quotation marks that models like to put around it."""
    for left, right in (('"', '"'), ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}")):
        inner = text.removeprefix(left).removesuffix(right)
        if len(text) - len(inner) == len(left + right) and left not in inner and right not in inner:
            return inner.strip()
    return text
