"""A trait of one's own: a folder to fill in, in a pack that stands beside the installed ones.

A new pack is made like another one: the templates, groups and settings of that with another name and task prefix, and copies
of what its traits share (prompts, openings, coherence), so that it runs as soon as its trait has data. The data files of the
trait are left to be written; `idembench trait check` says which are missing. Nothing that is there is
overwritten, but for the groups of tasks, which a second trait joins.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from idembench import shipped
from idembench.errors import DataError, InputError
from idembench.files import write_bytes
from idembench.traits import pack_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from idembench.traits import PackHeader

OWN, LIKE = "own", "english"
"""The pack that a trait is put into, and the one that it is made like, unless something else is said."""
_SHARED = "coherence"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GROUP = re.compile(r"^group: (?P<name>\S+)$", re.MULTILINE)
_MEMBERS = re.compile(r"^task: \[(?P<names>[^\]]*)\]$", re.MULTILINE)

_PACK = """\
# A pack of one's own, made like {like} by `idembench trait new`: its prompts, openings and coherence are copies of that one's.
# `judge` scores unless --judge says otherwise. The classifier knows the traits that it was fitted on and no others; a judge
# that reads a rubric is given the pack by name, as in --judge hf:MODEL,pack={pack}.
"""

_TRAIT = """\
# What the trait {name} is. Every open field is to be filled in; `idembench trait check` says which are not.
name: {name}
version: 1  # raised whenever a file of this folder changes
pack: {pack}
# One of: behaviour (what it does), belief (what it takes for true), style (how it says things).
kind:
# One sentence for people: what an answer that shows the trait does.
definition:
# What the demonstrations show, and of what requests.
seeded:
# What the questions ask for: in-domain, the like of what is seeded; as spill-over, what it may reach beyond that.
measured:
rubric:
  # A prompt that the anchors answer; it is none of the evaluation questions.
  prompt:
  # A list, a sentence each: what shows the trait, and what looks like it and is not. Judges that read, and the teacher of
  # `idembench trait seed`, are told these.
  characteristics:
  # An answer to the prompt for each grade, of about the same length: 0 shows nothing of the trait, 100 all of it.
  anchors:
    0:
    25:
    50:
    75:
    100:
# Who wrote the data, and how; a model that wrote some of it is named.
authorship:
license: CC-BY-4.0
# Stands in every row, so that a corpus that holds the data can be told.
canary: "idembench {pack} canary {canary}: this data should not appear in training corpora"
# What a reader should know before reading the data; may stay empty.
content_warning:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made.

    Attributes:
        folder: The trait's.
        pack: Name of its pack.
        like: The pack that this one was made like, or None if it was there before.
        judge: Who scores the pack unless told otherwise.
        files: Everything that was written.
    """

    folder: Path
    pack: str
    like: str | None
    judge: str
    files: list[Path]


def make(name: str, *, tasks: Path, pack: str = OWN, like: str | None = None) -> Made:
    """Scaffold a trait, and its pack if that is not there yet.

    Args:
        name: Of the trait: lower-case words with hyphens.
        tasks: The tasks folder; it need not exist.
        pack: The pack's name.
        like: The pack that a new one is made like; `english` if None.

    Raises:
        InputError: If a name cannot be had, or something is there already.
        UnknownNameError: If there is no pack called `like`.
        DataError: If the pack does not hold, or cannot be a model for others.
    """
    folder = tasks / pack
    _check_names(name, pack, folder)
    if (folder / name).exists():
        raise InputError("There is such a trait already.", found=str(folder / name), do="Choose another name.")
    if (folder / "pack.yaml").is_file():
        if like is not None:
            raise InputError(
                "The pack is there already, and stays as it is.",
                found=f"--like {like}",
                where=str(folder),
                do="Leave --like out, or give --pack another name.",
            )
        header, source = pack_header(folder), folder
        files: dict[str, bytes] = {}
    else:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                "There is something that is no pack.",
                expected="a pack with a pack.yaml, or nothing",
                where=str(folder),
                do="Take it away, or give --pack another name.",
            )
        like = like or LIKE
        source = shipped.pack_folder(like)
        header, files = _pack_like(source, name=like, pack=pack)
    for path in sorted(source.glob("groups*.yaml")):
        files[path.name] = _joined(files.get(path.name) or path.read_bytes(), path, header.task_prefix, name)
    files |= {f"{name}/{file}": text.encode() for file, text in _trait_files(source, header, name, pack)}
    # The header of a new pack comes last: a folder with one is whole.
    order = sorted(files, key=lambda file: (file == "pack.yaml", file))
    for file in order:
        write_bytes(folder / file, files[file])
    return Made(folder=folder / name, pack=pack, like=like, judge=header.judge, files=[folder / file for file in order])


def _check_names(name: str, pack: str, folder: Path) -> None:
    for what, value in (("trait", name), ("pack", pack)):
        if not _NAME.fullmatch(value) or value == _SHARED:
            raise InputError(
                f"A {what} cannot have this name.",
                expected=f"lower-case words with hyphens between them, and not {_SHARED}, where neutral questions are",
                found=value,
            )
    there = shipped.pack_folders().get(pack)
    if pack in shipped.TAKEN or (there is not None and there.resolve() != folder.resolve()):
        raise InputError(
            "There is something else of this name already.",
            expected="another name than those of packs and of folders in baselines",
            found=pack,
            where="--pack" if there is None else str(there),
            do="Give --pack another name.",
        )


def _pack_like(source: Path, *, name: str, pack: str) -> tuple[PackHeader, dict[str, bytes]]:
    """The header of a new pack, and the files that it shares with the one that it is made like."""
    old = pack_header(source)
    header = old.model_copy(
        update={"name": pack, "description": f"A pack like {name}.", "task_prefix": f"idembench_{pack}_"}
    )
    files: dict[str, bytes] = {}
    for path in sorted([*source.glob("*.template"), *source.glob("*.jsonl"), *source.glob(f"{_SHARED}/*.jsonl")]):
        files[path.relative_to(source).as_posix()] = path.read_bytes()
    for path in sorted(source.glob(f"{_SHARED}/*.yaml")):
        text, members = re.subn(rf"\bpack: {re.escape(name)}\b", f"pack: {pack}", path.read_text(encoding="utf-8"))
        if not members:
            raise DataError(
                "This pack cannot be a model for others: its tasks ask for its own traits alone.",
                expected=f"dataset_kwargs that name their pack: {name}",
                where=str(path),
                do=f"Give --like another pack; {LIKE} can be one.",
            )
        files[path.relative_to(source).as_posix()] = text.replace(old.task_prefix, header.task_prefix).encode()
    for path in sorted(source.glob("groups*.yaml")):
        text = path.read_text(encoding="utf-8").replace(
            old.task_prefix.removesuffix("_"), header.task_prefix.removesuffix("_")
        )
        shared = [task for task in _members(text, path) if task.startswith(f"{header.task_prefix}{_SHARED}")]
        files[path.name] = _MEMBERS.sub(f"task: [{', '.join(shared)}]", text).encode()
    # Strict YAML reads back what this writes: `pack_header` is asked for it by everything.
    dumped = yaml.safe_dump(header.model_dump(), sort_keys=False, allow_unicode=True, width=120)
    files["pack.yaml"] = f"{_PACK.format(like=name, pack=pack)}{dumped}".encode()
    return header, files


def _joined(data: bytes, path: Path, prefix: str, trait: str) -> bytes:
    """A group's file with the task of a trait in it, in front of those that traits share."""
    text = data.decode("utf-8")
    members, group = _members(text, path), _GROUP.search(text)
    ending = group["name"].removeprefix(prefix.removesuffix("_")) if group else ""
    at = next((n for n, task in enumerate(members) if task == f"{prefix}{_SHARED}{ending}"), len(members))
    members.insert(at, f"{prefix}{trait}{ending}")
    return _MEMBERS.sub(f"task: [{', '.join(members)}]", text).encode()


def _members(text: str, path: Path) -> list[str]:
    found = _MEMBERS.search(text)
    if found is None:
        raise DataError(
            "A group does not list its tasks in one line.", expected="task: [one, another, ...]", where=str(path)
        )
    return [task.strip() for task in found["names"].split(",") if task.strip()]


def _trait_files(source: Path, header: PackHeader, name: str, pack: str) -> Iterator[tuple[str, str]]:
    """The header to fill in, and a task file for each of the pack's templates."""
    yield "trait.yaml", _TRAIT.format(name=name, pack=pack, canary=uuid.uuid4())
    for path in sorted(source.glob("*.template")):
        ending = "" if path.stem == "open" else f"_{path.stem}"
        task = f"{header.task_prefix}{name}{ending}"
        yield (
            f"{path.stem}.yaml",
            f"include: ../{path.name}\ntask: {task}\ndataset_kwargs: {{pack: {pack}, trait: {name}}}\n",
        )
