"""The step store: sealed folders under the hash of what they were made from.

    <root>/steps/<key>/      a sealed folder; `facts.json` in it is what a record may quote
    <root>/chains/<id>.json  the keys a chain has used, so that `gc` knows what is still needed
    <root>/locks/            one lock per chain and per step, released by the kernel when a process dies

A step exists if and only if its manifest does and every hash matches. The store never repairs silently:
a broken entry is an error that says how to drop it. Knows nothing about what steps mean.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from idembench import files
from idembench.errors import BusyError, DataError, StackError, StoreError
from idembench.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from idembench.steps import Step

FACTS = "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A finished step.

    Attributes:
        kind: What kind of step it is.
        key: SHA-256 of what it was made from; also its folder's name.
        digest: SHA-256 of what it contains.
        folder: Where it lies.
        files: Its manifest lines.
        facts: The content of its `facts.json`.
        stack: The software and hardware that made it; None where that cannot matter.
    """

    kind: str
    key: str
    digest: str
    folder: Path
    files: tuple[files.FileEntry, ...]
    facts: dict[str, Any]
    stack: Stack | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of `idembench store ls`."""

    key: str
    kind: str
    bytes: int
    used_by: int


class Store:
    """A folder of sealed steps that several processes may share."""

    def __init__(self, root: Path) -> None:
        """Use `root`; nothing is written before the first step."""
        self.root = root

    def find(self, step: Step, *, stack: Stack | None = None, mixed: bool = False) -> Sealed | None:
        """The finished step, or None.

        Args:
            step: What to look for.
            stack: The stack in use; None where it cannot change what the step makes.
            mixed: Accept a step that another stack made.

        Raises:
            StoreError: If the entry is broken.
            StackError: If another stack made it and `mixed` is false.
        """
        folder = self._folder(step.key)
        if not folder.exists():
            return None
        wrong = _wrong(folder)
        if wrong:
            raise StoreError(
                "A step in the store is broken.",
                expected="every file as its manifest lists it",
                found="; ".join(wrong),
                where=str(folder),
                do="`idembench store gc --broken` drops it; the next run makes it again.",
            )
        sealed = _read_sealed(folder)
        if stack is not None and sealed.stack != stack and not mixed:
            raise StackError(
                f"Step {step.kind} {step.cycle} of this chain was made on another stack.",
                expected=stack.describe(),
                found=sealed.stack.describe() if sealed.stack else "no stack noted",
                where=str(folder),
                do="Use another --store for a chain of one stack, or --mixed-stack to go on; the record will say so.",
            )
        return sealed

    def make(self, step: Step, fill: Callable[[Path], dict[str, Any]], *, stack: Stack | None = None) -> Sealed:
        """Make a step: `fill` writes its files into the folder it is given and returns its facts.

        Nothing is left behind if `fill` fails. If the process dies, its temporary folder is swept by whoever
        makes the step next; call this under the step's lock.
        """
        files.sweep_temporary(self.root / "steps", only=step.key)
        manifest = {
            "kind": step.kind,
            "key": step.key,
            "inputs": dict(step.inputs),
            "stack": stack.parts if stack else None,
        }
        with files.sealing(self._folder(step.key), manifest) as folder:
            facts = fill(folder)
            files.write_json(folder / FACTS, facts)
        return _read_sealed(self._folder(step.key))

    @contextmanager
    def step_lock(self, step: Step) -> Iterator[None]:
        """Wait until no other process is making this step."""
        lock = FileLock(self._lock_file(step.key))
        with files.writing_under(self.root / "locks"):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def chain_lock(self, chain: str, *, what: str) -> Iterator[None]:
        """Hold a chain, or fail at once when another process does.

        Raises:
            BusyError: If another process runs the same chain; `what` says which.
            EnvironmentProblem: If the lock cannot be written.
        """
        lock = FileLock(self._lock_file(f"chain-{chain}"), timeout=0)
        with files.writing_under(self.root / "locks"):
            try:
                lock.acquire()
            except Timeout as error:
                raise BusyError(
                    "Another process is running this chain.",
                    found=what,
                    where=str(self.root),
                    do="Wait for it, or use another --store; running it again later finds all that was finished.",
                ) from error
        try:
            yield
        finally:
            lock.release()

    def note_chain(self, chain: str, *, what: str, keys: list[str]) -> None:
        """Remember which steps a chain uses, so that `gc` keeps them; written only if it says something new."""
        path, data = self.root / "chains" / f"{chain}.json", files.canonical_json({"what": what, "steps": keys})
        if not path.exists() or path.read_bytes() != data:
            files.write_bytes(path, data)

    def holds(self, chain: str) -> int:
        """How many of the steps that a chain has noted are there; whether they are whole is not looked at."""
        path = self.root / "chains" / f"{chain}.json"
        if not path.exists():
            return 0
        return sum(self._folder(key).is_dir() for key in files.read_json(path)["steps"])

    def entries(self) -> list[Entry]:
        """Every step with its size and how many chains use it, largest first."""
        used = self._used()
        found = []
        for folder in self._folders():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            try:
                kind = str(files.read_json(folder / files.MANIFEST)["kind"])
            except (DataError, KeyError, TypeError):
                kind = "broken"
            found.append(Entry(key=folder.name, kind=kind, bytes=size, used_by=used.get(folder.name, 0)))
        return sorted(found, key=lambda entry: (-entry.bytes, entry.key))

    def verify(self) -> dict[str, list[str]]:
        """What is wrong, by step key; empty when every step is whole."""
        checked = {folder.name: _wrong(folder) for folder in self._folders()}
        return {key: wrong for key, wrong in checked.items() if wrong}

    def collect(self, *, broken: bool = False, unused: bool = False) -> list[Path]:
        """Remove what killed runs left behind, and on request broken steps and steps no chain uses.

        Returns:
            The folders of the steps that were removed.
        """
        for folder in (self.root, self.root / "chains", self.root / "steps"):
            if folder.is_dir():
                files.sweep_temporary(folder, keep=self._being_made())
        used = self._used()
        removed = []
        for folder in self._folders():
            if (unused and folder.name not in used) or (broken and _wrong(folder)):
                files.remove(folder)
                removed.append(folder)
        return removed

    def _being_made(self) -> list[str]:
        """Keys of the steps that some process is making right now: their locks are taken."""
        taken = []
        for path in sorted((self.root / "locks").glob("*.lock")):
            try:
                with FileLock(path, timeout=0):
                    pass
            except Timeout:
                taken.append(path.stem)
        return taken

    def _folder(self, key: str) -> Path:
        return self.root / "steps" / key

    def _folders(self) -> list[Path]:
        steps = self.root / "steps"
        return sorted(path for path in steps.glob("*") if not path.name.startswith(".")) if steps.is_dir() else []

    def _used(self) -> dict[str, int]:
        used: dict[str, int] = {}
        for path in sorted((self.root / "chains").glob("*.json")):
            for key in set(files.read_json(path)["steps"]):
                used[key] = used.get(key, 0) + 1
        return used

    def _lock_file(self, name: str) -> str:
        folder = self.root / "locks"
        with files.writing_under(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return str(folder / f"{name}.lock")


def _wrong(folder: Path) -> list[str]:
    """What is wrong with a step: with its seal, or that it lies under another step's key."""
    wrong = files.check_seal(folder)
    if not wrong and files.read_json(folder / files.MANIFEST).get("key") != folder.name:
        wrong.append(f"{files.MANIFEST}: this is the step of another key")
    return wrong


def _read_sealed(folder: Path) -> Sealed:
    manifest = files.read_json(folder / files.MANIFEST)
    return Sealed(
        kind=manifest["kind"],
        key=manifest["key"],
        digest=manifest["digest"],
        folder=folder,
        files=tuple(files.FileEntry(**entry) for entry in manifest["files"]),
        facts=files.read_json(folder / FACTS),
        stack=Stack(parts=manifest["stack"]) if manifest["stack"] else None,
    )
