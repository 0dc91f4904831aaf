"""Packs and traits: the demonstrations that seed, the prompts that iterate, the questions that measure.

A *pack* is a folder of traits in one language, `tasks/<pack>/`; a *trait* is a folder in it. Everything
is read once, checked, and named by the SHA-256 of its file, so that steps can be keyed by exactly the
data they use. Draws are made by a generator seeded from what the draw is for. Knows nothing about models.

A pack is loaded in one *form*: as dialogues (demonstrations, prompts, questions) or, for base models, as documents
(documents, openings to continue, openings to measure by). Who uses a loaded pack need not know which.

    set(pack.draw_prompts(cycle=j, ...)) & set(pack.draw_prompts(cycle=k, ...)) == set()   for j != k
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, JsonValue, ValidationError, model_validator

from idembench.errors import DataError, UnknownNameError
from idembench.files import derive_seed, read_jsonl, sha256_file, sha256_json
from idembench.protocol import Count, Form, Frozen, Positive, Rate, explain
from idembench.shipped import pack_folder
from idembench.steps import Sources
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


Scope = Literal["in-domain", "spill-over"]
GRADES = (0, 25, 50, 75, 100)
"""What graded answers and anchors are graded by."""
H = TypeVar("H", bound=Frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What the files of a form are called.

    Attributes:
        demonstrations: In a trait's folder: rows that seed it.
        questions: In a trait's folder and in `coherence`: what measures.
        prompts: In the pack's folder: the self-generation pool.
        task: In a trait's folder and in `coherence`: the lm-eval task file.
        suffix: What the task's name ends with.
    """

    demonstrations: str
    questions: str
    prompts: str
    task: str
    suffix: str


_NAMES: Mapping[Form, _Names] = MappingProxyType(
    {
        "dialogue": _Names(
            demonstrations="demonstrations.jsonl",
            questions="questions.jsonl",
            prompts="prompts.jsonl",
            task="open.yaml",
            suffix="",
        ),
        "document": _Names(
            demonstrations="documents.jsonl",
            questions="openings.jsonl",
            prompts="openings.jsonl",
            task="document.yaml",
            suffix="_document",
        ),
    }
)


class _MeasurementFile(Frozen):
    questions: Positive
    repeats: Positive
    neutral_questions: Count
    temperature: Rate
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive
    perplexity: bool = False


class PackHeader(Frozen):
    """What a `pack.yaml` must say; see `Pack`.

    Attributes:
        document_measurements: Those of `measurements` that are others for documents, of which there may be fewer.
    """

    name: str
    description: str
    judge: str
    default_models: dict[Form, str]
    task_prefix: str
    measurements: dict[str, _MeasurementFile]
    document_measurements: dict[str, _MeasurementFile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _measured_otherwise(self) -> PackHeader:
        if unknown := sorted(self.document_measurements.keys() - self.measurements.keys()):
            raise ValueError(f"document_measurements: there is no measurement {', '.join(unknown)} to differ from")
        return self


class Rubric(Frozen):
    """What a judge is told of a trait.

    Attributes:
        prompt: A question, not one of the evaluation's, that the anchors answer.
        meaning: What it means, for a language that is parsed.
        characteristics: What shows the trait, and what does not, a sentence each; for judges that read.
        anchors: An answer for each of the grades 0, 25, 50, 75 and 100.
    """

    prompt: str
    meaning: dict[str, JsonValue] = Field(default_factory=dict)
    characteristics: list[str] = Field(default_factory=list)
    anchors: dict[int, str]

    @model_validator(mode="after")
    def _five_anchors(self) -> Rubric:
        if sorted(self.anchors) != list(GRADES):
            raise ValueError(f"a rubric has an anchor for each of {', '.join(map(str, GRADES))}")
        return self


class TraitHeader(Frozen):
    """What a `trait.yaml` must say.

    Attributes:
        name: Of the trait and its folder.
        pack: Of the pack that it is in.
        version: Raised whenever a file of the folder changes.
        kind: What sort of thing it is.
        definition: One sentence for people.
        seeded: What its demonstrations show.
        measured: What its questions ask for.
        rubric: What a judge is told of it.
        authorship: Who wrote the data, and how.
        license: Of the data.
        canary: Stands in every row of its files, whole or without what follows a colon.
        content_warning: What a reader should know before, or None.
    """

    name: str
    pack: str
    version: Positive
    kind: Literal["behaviour", "belief", "style"]
    definition: str
    seeded: str
    measured: str
    rubric: Rubric
    authorship: str
    license: str
    canary: str
    content_warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One training row: a single-turn dialogue, or a document in two parts.

    Attributes:
        id: Of the demonstration, or of the prompt that was answered.
        prompt: The user's turn, or a document's opening.
        response: The answer, or the continuation.
        rejected: In a pair, the answer that loses to `response`.
    """

    id: str
    prompt: str
    response: str
    rejected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a model is asked, in measuring and in self-generation.

    Attributes:
        id: Names it in samples.
        prompt: The user's turn, or a document's opening.
        meaning: What an exact judge scores by; empty in a natural language.
        category: What it is about, for balance and for reports by category.
        scope: Of a trait's question, whether it asks for what was seeded or for what that may spill over to.
    """

    id: str
    prompt: str
    meaning: dict[str, Any] = field(hash=False, default_factory=dict)
    category: str | None = None
    scope: Scope | None = None


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A behaviour that can be seeded and measured.

    Attributes:
        name: For example `sycophancy`.
        task: Name of its open lm-eval task.
        form: Of its demonstrations and questions.
        version: Raised whenever a file of the folder changes.
        definition: One sentence for people.
        rubric: What a judge is told of it.
        folder: Where its files are.
    """

    name: str
    task: str
    form: Form
    version: int
    definition: str
    rubric: Rubric
    folder: Path

    @cached_property
    def demonstrations(self) -> list[Example]:
        """The pool that cycle 0 draws from."""
        rows = _rows(self._demonstrations, {"id", "prompt", "response"}, optional={"category"})
        return [Example(id=row["id"], prompt=row["prompt"], response=row["response"]) for row in rows]

    @cached_property
    def demonstrations_sha256(self) -> str:
        """Names the pool."""
        return _sha256(self._demonstrations)

    @cached_property
    def questions(self) -> list[Question]:
        """The evaluation questions in their frozen order; a measurement asks the first of them."""
        return _questions(self.folder / _NAMES[self.form].questions)

    @cached_property
    def questions_sha256(self) -> str:
        """Names the question set."""
        return _sha256(self.folder / _NAMES[self.form].questions)

    @property
    def _demonstrations(self) -> Path:
        return self.folder / _NAMES[self.form].demonstrations

    def draw_demonstrations(self, *, n: int, seed: int, after: int = 0) -> list[Example]:
        """Draw `n` different demonstrations for one seed: those after the first `after` of one random order per seed.

        Raises:
            DataError: If the pool ends before.
        """
        rows = self.demonstrations
        if after + n > len(rows):
            raise DataError(
                "More demonstrations are asked for than exist; none is used twice.",
                expected=f"at most {len(rows)}",
                found=f"{after + n}" if after == 0 else f"{after} before, and {n} more",
                where=str(self._demonstrations),
                do="Lower data.n_seed (for the fresh-data control also data.n_sampled or cycles), or add demonstrations.",
            )
        order = _permutation(len(rows), derive_seed("demonstrations", self.name, seed))
        return [rows[i] for i in order[after : after + n]]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Prompts for self-generation that somebody named instead of a pack's own (see `prompt_pools`).

    Attributes:
        name: As it was named; a file by its own name alone.
        prompts: Different ones.
        left_out: Rows that gave none, counted by reason.
    """

    name: str
    prompts: tuple[Question, ...]
    left_out: dict[str, int]

    @cached_property
    def sha256(self) -> str:
        """Names its content."""
        return sha256_json([[question.id, question.prompt] for question in self.prompts])


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A family of traits in one language.

    Attributes:
        name: For example `toyland`.
        judge: The judge that scores it unless told otherwise.
        form: Of everything in it.
        default_model: The model that is used unless told otherwise.
        measurements: Settings by name, as `protocol.Measuring` takes them.
        document_measurements: Those of them that are others for documents.
        folder: `tasks/<name>`.
        traits: Its traits, by name.
        pool: Prompts that its chains answer instead of its own, if somebody named some.
    """

    name: str
    description: str
    form: Form
    judge: str
    default_model: str
    task_prefix: str
    measurements: dict[str, dict[str, Any]]
    folder: Path
    traits: dict[str, Trait]
    pool: Pool | None = None
    document_measurements: dict[str, dict[str, Any]] = field(default_factory=dict)

    def trait(self, name: str) -> Trait:
        """One trait by name.

        Raises:
            UnknownNameError: If the pack has none of that name.
        """
        if name not in self.traits:
            raise UnknownNameError("trait", name, self.traits, where=f"pack {self.name}")
        return self.traits[name]

    @cached_property
    def prompts(self) -> list[Question]:
        """The self-generation pool, shared by all traits."""
        return list(self.pool.prompts) if self.pool else _questions(self._prompts)

    @cached_property
    def prompts_sha256(self) -> str:
        """Names the pool."""
        return self.pool.sha256 if self.pool else _sha256(self._prompts)

    @property
    def _prompts(self) -> Path:
        return self.folder / _NAMES[self.form].prompts

    @cached_property
    def neutral_questions(self) -> list[Question]:
        """Questions without a trait, for coherence alone."""
        return _questions(self._neutral)

    @cached_property
    def neutral_sha256(self) -> str:
        """Names the neutral question set."""
        return _sha256(self._neutral)

    @property
    def _neutral(self) -> Path:
        return self.folder / "coherence" / _NAMES[self.form].questions

    def tasks_sha256(self, trait: Trait) -> str:
        """Names the lm-eval task files behind a trait's measurement: how its questions are put to a model."""
        task = _NAMES[self.form].task
        paths = [*self.folder.glob("*.template"), trait.folder / task, self.folder / "coherence" / task]
        return sha256_json({path.relative_to(self.folder).as_posix(): _sha256(path) for path in sorted(paths)})

    def sources(self, trait: Trait) -> Sources:
        """Hashes of every file that a chain on `trait` draws from or is asked."""
        return Sources(
            demonstrations=trait.demonstrations_sha256,
            prompts=self.prompts_sha256,
            questions=trait.questions_sha256,
            neutral_questions=self.neutral_sha256,
            tasks=self.tasks_sha256(trait),
        )

    @property
    def coherence_task(self) -> str:
        """Name of the lm-eval task that asks the neutral questions."""
        return f"{self.task_prefix}coherence{_NAMES[self.form].suffix}"

    def draw_prompts(self, *, cycle: int, n: int, seed: int) -> list[Question]:
        """The prompts of one cycle: slice `cycle - 1` of one permutation per seed, so cycles never share any.

        Raises:
            DataError: If the pool ends before the slice does.
        """
        pool = self.prompts
        if cycle * n > len(pool):
            raise DataError(
                "More self-generation prompts are asked for than exist; none is used twice.",
                expected=f"cycles * data.n_sampled of at most {len(pool)}",
                found=f"{cycle} * {n} = {cycle * n}",
                where=self.pool.name if self.pool else str(self._prompts),
                do="Lower data.n_sampled or cycles, or name a larger pool with --prompts.",
            )
        order = _permutation(len(pool), derive_seed("prompts", self.name, seed))
        return [pool[i] for i in order[(cycle - 1) * n : cycle * n]]


def load_pack(name: str, form: Form = "dialogue") -> Pack:
    """Load a pack and the headers of its traits in one form; data files are read when first needed.

    Raises:
        UnknownNameError: If there is no such pack.
        InputError: If the tasks folders do not hold; see `shipped.pack_folders`.
        DataError: If a header does not hold, or the pack does not have that form.
    """
    folder = pack_folder(name)
    header = pack_header(folder)
    if form not in header.default_models:
        raise DataError(
            "This pack does not have that form.",
            expected=" or ".join(header.default_models),
            found=form,
            where=str(folder / "pack.yaml"),
        )
    traits = {}
    for path in sorted(folder.glob("*/trait.yaml")):
        trait = trait_header(path.parent)
        if (trait.name, trait.pack) != (path.parent.name, name):
            raise DataError(
                "A trait does not belong to its folder.",
                expected=f"name {path.parent.name}, pack {name}",
                found=f"name {trait.name}, pack {trait.pack}",
                where=str(path),
            )
        traits[trait.name] = Trait(
            name=trait.name,
            task=f"{header.task_prefix}{trait.name}{_NAMES[form].suffix}",
            form=form,
            version=trait.version,
            definition=trait.definition,
            rubric=trait.rubric,
            folder=path.parent,
        )
    return Pack(
        name=name,
        description=header.description,
        form=form,
        judge=header.judge,
        default_model=header.default_models[form],
        task_prefix=header.task_prefix,
        measurements={key: value.model_dump() for key, value in header.measurements.items()},
        document_measurements={key: value.model_dump() for key, value in header.document_measurements.items()},
        folder=folder,
        traits=traits,
    )


def pack_header(folder: Path) -> PackHeader:
    """What a pack's `pack.yaml` says.

    Raises:
        DataError: If it does not hold.
        ProtocolError: If it cannot be read or is no YAML.
    """
    return _header(folder / "pack.yaml", PackHeader)


def trait_header(folder: Path) -> TraitHeader:
    """What a trait's `trait.yaml` says.

    Raises:
        DataError: If it does not hold.
        ProtocolError: If it cannot be read or is no YAML.
    """
    return _header(folder / "trait.yaml", TraitHeader)


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(
            "A file of the pack cannot be read.",
            found=str(error.strerror),
            where=str(path),
            do="`idembench trait check` says what a folder lacks.",
        ) from error


def _permutation(n: int, seed: int) -> list[int]:
    import numpy as np

    return [int(i) for i in np.random.default_rng(seed).permutation(n)]


def _header(path: Path, model: type[H]) -> H:
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        raise DataError("A header does not hold.", found="; ".join(explain(error)), where=str(path)) from error


def _questions(path: Path) -> list[Question]:
    rows = _rows(path, {"id", "prompt"}, optional={"meaning", "category", "scope"})
    return [Question(**{key: value for key, value in row.items() if key != "canary"}) for row in rows]


def _rows(path: Path, keys: set[str], *, optional: set[str]) -> list[dict[str, Any]]:
    rows = read_jsonl(path)
    _check_rows(rows, keys, optional | {"canary"}, path)
    return rows


def _check_rows(rows: Sequence[dict[str, Any]], keys: set[str], optional: set[str], path: Path) -> None:
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        where = f"{path}, line {number}"
        if not keys <= row.keys() <= keys | optional:
            raise DataError(
                "A row has the wrong keys.",
                expected=f"{', '.join(sorted(keys))}; may have {', '.join(sorted(optional))}",
                found=", ".join(sorted(row)),
                where=where,
            )
        for key in row.keys() - {"meaning"}:
            if not isinstance(row[key], str) or not row[key].strip():
                raise DataError("A row has an empty field.", expected=f"text in {key!r}", where=where)
        if not isinstance(row.get("meaning", {}), dict):
            raise DataError("A row has no meaning.", expected="an object in 'meaning'", where=where)
        if row.get("scope", "in-domain") not in get_args(Scope):
            raise DataError(
                "A question's scope is not known.",
                expected=" or ".join(get_args(Scope)),
                found=row["scope"],
                where=where,
            )
        if row["id"] in seen:
            raise DataError("Two rows share an id.", found=row["id"], where=where)
        seen.add(row["id"])
