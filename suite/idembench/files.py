"""Bytes on disk: canonical JSON, hashes, atomic writes, sealed folders, packaged assets.

The only module that writes files (trainers write into temporary folders that are sealed here; lines that several
processes add to one file are `journal.py`'s). It knows nothing about steps, records or models: a *sealed folder* is any
folder whose `manifest.json` lists the name, size and SHA-256 of everything else in it, written last.

    canonical_json(json.loads(canonical_json(v))) == canonical_json(v)
    check_seal(folder) == []  if and only if  no byte of the folder has changed since `seal`
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import math
import os
import shutil
import sys
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idembench.errors import DataError, EnvironmentProblem, StoreError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANIFEST = "manifest.json"
RECORD = "record.json"
_CHUNK_BYTES = 1 << 20
_SHORT = 16
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# -- JSON -----------------------------------------------------------------------------------------


def canonical_json(value: object) -> bytes:
    """Encode `value` in the one form that is hashed: UTF-8, sorted keys, no NaN, newline at the end.

    Raises:
        DataError: If `value` holds NaN, an infinity or something JSON has no word for.
    """
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return (text + "\n").encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            "A value cannot be written as canonical JSON.",
            expected="finite numbers, strings, booleans, null, lists and objects",
            found=str(error),
        ) from error


def parse_json(data: bytes | str, *, where: str) -> Any:
    """Parse JSON, refusing duplicate keys and non-finite numbers.

    Raises:
        DataError: If the text is not such JSON; `where` names it.
    """
    try:
        return json.loads(
            data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite_float
        )
    except (ValueError, RecursionError) as error:
        raise DataError("This is not valid JSON.", found=str(error), where=where) from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"duplicate key {twice[0]!r}")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not allowed")


def _finite_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file strictly (see `parse_json`)."""
    return parse_json(_read(path), where=str(path))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a JSON Lines file strictly; blank lines are refused.

    Raises:
        DataError: If the file is missing or a line is not a JSON object; the line is named.
    """
    rows = []
    # Bytes, not text: text would also be split at U+2028 and its like, which JSON writes as they are.
    for number, line in enumerate(_read(path).splitlines(), start=1):
        row = parse_json(line, where=f"{path}, line {number}")
        if not isinstance(row, dict):
            raise DataError("A line is not a JSON object.", found=repr(line[:80]), where=f"{path}, line {number}")
        rows.append(row)
    return rows


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError("A file cannot be read.", found=str(error.strerror), where=str(path)) from error


# -- hashes and seeds -----------------------------------------------------------------------------


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: object) -> str:
    """Hexadecimal SHA-256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def derive_seed(*parts: object) -> int:
    """A 31-bit seed that depends on every one of `parts`: the first bits of their hash.

    Seeds are never counted up or shared: each is derived from what it is for.
    """
    return int(sha256_json(list(parts))[:8], 16) >> 1


# -- atomic writes --------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary sibling, fsync, rename, fsync of the folder.

    Raises:
        EnvironmentProblem: If the disk is full or the place cannot be written; what was there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _fsync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(error, path) from error


def write_text(path: Path, text: str) -> None:
    """Write text atomically as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write canonical JSON atomically."""
    write_bytes(path, canonical_json(value))


def jsonl_bytes(rows: Iterable[Mapping[str, object]]) -> bytes:
    """JSON Lines of canonical rows."""
    return b"".join(canonical_json(row) for row in rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write JSON Lines of canonical rows atomically."""
    write_bytes(path, jsonl_bytes(rows))


def append_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Add canonical rows to the end of a JSON Lines file, in one write, and fsync.

    What a kill cut short stays a line of its own: a reader that skips what is no JSON loses that line alone.

    Raises:
        EnvironmentProblem: If the disk is full or the place cannot be written.
    """
    data = jsonl_bytes(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                data = data if file.read(1) == b"\n" else b"\n" + data
            file.write(data)
            os.fsync(file.fileno())
    except OSError as error:
        raise _cannot_write(error, path) from error


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(error: OSError, path: Path) -> EnvironmentProblem:
    return EnvironmentProblem(
        "A file cannot be written.",
        found=f"{error.strerror or error}",
        where=str(path),
        do="Free some space or choose another folder, then run the same command again: finished steps are kept.",
    )


@contextmanager
def writing_under(place: Path) -> Iterator[None]:
    """Turn what the system says while something is written at `place` into one clear error.

    For code that writes through libraries (trainers, tokenizers): an `OSError`, or the error the
    safetensors library wraps one in, becomes an `EnvironmentProblem`.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(error, place) from error
    except Exception as error:
        if "No space left" in str(error) or "os error" in str(error).lower():
            raise _cannot_write(OSError(0, str(error)), place) from error
        raise


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of one's own among the system's temporary ones, gone when it is left; a kill leaves it to the system.

    Raises:
        EnvironmentProblem: If it cannot be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="idembench-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _cannot_write(error, Path(tempfile.gettempdir())) from error
    with made as folder:
        yield Path(folder)


# -- gzip -----------------------------------------------------------------------------------------


def gzip_bytes(data: bytes) -> bytes:
    """Compress deterministically: no name, no time, fixed level."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0, compresslevel=9) as file:
        file.write(data)
    return buffer.getvalue()


def gunzip_bytes(data: bytes, *, where: str, limit_bytes: int = 1 << 30) -> bytes:
    """Decompress in chunks and stop at `limit_bytes`, so that a small file cannot fill the memory.

    Raises:
        DataError: If the data is not one complete gzip stream or grows beyond the limit.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        out = inflater.decompress(data, limit_bytes)
    except zlib.error as error:
        raise DataError("This is not a gzip file.", found=str(error), where=where) from error
    if inflater.unconsumed_tail or len(out) >= limit_bytes:
        raise DataError("A compressed file is too large.", expected=f"under {limit_bytes} bytes", where=where)
    if not inflater.eof or inflater.unused_data:
        raise DataError("A gzip file is cut short or carries extra bytes.", where=where)
    return out


# -- sealed folders -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One line of a manifest: a file's name within the folder, its size and its hash."""

    name: str
    bytes: int
    sha256: str


def list_files(folder: Path, *, skip: Iterable[str] = ()) -> list[FileEntry]:
    """The files below `folder` in name order, with size and hash."""
    skipped = set(skip)
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in skipped:
            found.append(FileEntry(name=name, bytes=path.stat().st_size, sha256=sha256_file(path)))
    return found


def digest_of(entries: Iterable[FileEntry]) -> str:
    """The digest of a folder's content: SHA-256 over its sorted manifest lines."""
    lines = [[entry.name, entry.bytes, entry.sha256] for entry in sorted(entries, key=lambda e: e.name)]
    return sha256_json(lines)


@contextmanager
def sealing(target: Path, manifest: Mapping[str, object]) -> Iterator[Path]:
    """Give a temporary folder to fill; on success seal it and rename it to `target`.

    Order: files → fsync each → `manifest.json` (with `manifest` and the file list) → fsync → rename. A
    kill at any point leaves either no `target` or a whole one; the temporary folder's name starts with
    `.tmp-` and is swept by `sweep_temporary`.

    Raises:
        EnvironmentProblem: If the disk is full or the place cannot be written.
    """
    with writing_under(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".tmp-{target.name[:_SHORT]}-"))
    try:
        try:
            yield folder
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise _cannot_write(error, target) from error
        with writing_under(target):
            entries = list_files(folder)
            for entry in entries:
                _fsync_file(folder / entry.name)
            files = [{"name": e.name, "bytes": e.bytes, "sha256": e.sha256} for e in entries]
            content = {**manifest, "files": files, "digest": digest_of(entries)}
            write_json(folder / MANIFEST, {**content, "seal": sha256_json({**content, "seal": None})})
            folder.rename(target)
            _fsync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fsync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def check_seal(folder: Path) -> list[str]:
    """Everything that differs between a sealed folder and its manifest; empty when it is whole."""
    try:
        data = _read(folder / MANIFEST)
        manifest = parse_json(data, where=str(folder / MANIFEST))
        if canonical_json(manifest) != data or sha256_json({**manifest, "seal": None}) != manifest["seal"]:
            return [f"{MANIFEST}: its own hash does not match, so it was changed or is of another version"]
        listed = {e["name"]: FileEntry(name=e["name"], bytes=e["bytes"], sha256=e["sha256"]) for e in manifest["files"]}
        digest = manifest["digest"]
    except (DataError, KeyError, TypeError) as error:
        return [f"{MANIFEST}: unreadable ({error.what if isinstance(error, DataError) else error!r})"]
    present = {entry.name: entry for entry in list_files(folder, skip=[MANIFEST])}
    wrong = [f"{name}: missing" for name in sorted(listed.keys() - present.keys())]
    wrong += [f"{name}: not in the manifest" for name in sorted(present.keys() - listed.keys())]
    for name in sorted(listed.keys() & present.keys()):
        if listed[name] != present[name]:
            wrong.append(f"{name}: expected sha256 {listed[name].sha256}, found {present[name].sha256}")
    if digest_of(listed.values()) != digest:
        wrong.append(f"{MANIFEST}: the digest does not belong to its file list")
    return wrong


def sweep_temporary(folder: Path, *, keep: Iterable[str] = (), only: str | None = None) -> int:
    """Remove the temporary folders and files that killed runs left directly in `folder`; how many.

    Args:
        folder: Where to look.
        keep: Names of targets that are being sealed right now; their temporary folders stay.
        only: Sweep what was left of this target alone.
    """
    swept, busy = 0, tuple(f".tmp-{name[:_SHORT]}-" for name in keep)
    left = folder.glob(f".tmp-{only[:_SHORT]}-*") if only else [*folder.glob(".tmp-*"), *folder.glob(".*.part")]
    for path in left:
        if path.name.startswith(busy):
            continue
        remove(path)
        swept += 1
    return swept


def remove(path: Path) -> None:
    """Remove a file or a whole folder.

    Raises:
        StoreError: If it cannot be removed.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError("Something cannot be removed.", found=str(error), where=str(path)) from error


def empty(folder: Path) -> None:
    """Remove everything inside a folder."""
    for path in folder.iterdir():
        remove(path)


# -- assets ---------------------------------------------------------------------------------------

_ASSETS = ("tasks", "baselines", "leaderboard")


def asset(name: str) -> Path:
    """The folder `tasks`, `baselines` or `leaderboard`: bundled in the wheel, else in the checkout.

    Raises:
        UnknownNameError: If `name` is none of these.
        EnvironmentProblem: If the installation lacks it.
    """
    if name not in _ASSETS:
        raise UnknownNameError("asset", name, _ASSETS)
    here = Path(__file__).resolve().parent
    for candidate in (here / "_bundled" / name, here.parent.parent / name):
        if candidate.is_dir():
            return candidate
    raise EnvironmentProblem(
        "The installation is incomplete.",
        expected=f"the folder {name!r} in the wheel or in the checkout",
        where=str(here),
        do="Install idembench again.",
    )


def find_records(results: Path) -> list[Path]:
    """Folders of all records below `results`, in path order; `results` may be one record itself."""
    if (results / RECORD).is_file():
        return [results]
    return sorted(path.parent for path in results.rglob(RECORD))


def user_folder() -> Path:
    """Where idembench keeps its store when not told: the platform's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("idembench", appauthor=False)


def available_cores() -> int:
    """Cores this process may really use: the scheduler's affinity, capped by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform == "linux":
        try:
            quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
            if quota != "max":
                cores = min(cores, max(1, int(quota) // int(period)))
        except (OSError, ValueError):
            pass
    return cores
