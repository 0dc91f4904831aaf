"""What there is to run and to read: models, traits, baselines, grids, editions, records. Headers only, no torch.

Headers are read as plain data, so that `idembench ls` answers at once: checking them is the business of what uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from idembench import models, shipped
from idembench.errors import DataError
from idembench.files import RECORD, find_records
from idembench.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path


KINDS = ("models", "traits", "baselines", "grids", "editions", "records")


def catalogue(results: Path, *, kinds: Collection[str] = KINDS) -> dict[str, list[dict[str, Any]]]:
    """Everything installed, and the records below `results`; only what is asked for is read.

    Args:
        results: A results folder; it need not exist.
        kinds: Some of `KINDS`.
    """
    listed: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "models": lambda: [{"name": name} for name in models.embedded()],
        "traits": lambda: [row for pack in shipped.packs() for row in _traits(pack)],
        "baselines": lambda: [
            *({"pack": pack, **row} for pack in shipped.packs() for row in _files(pack)),
            *({"pack": "any", **row, "name": f"{shipped.STUDY}/{row['name']}"} for row in _files(shipped.STUDY)),
        ],
        "grids": lambda: _files("grids"),
        "editions": _editions,
        "records": lambda: [_line(folder) for folder in find_records(results)],
    }
    return {kind: make() for kind, make in listed.items() if kind in kinds}


def _files(folder: str) -> list[dict[str, Any]]:
    return [{"name": name, "why": shipped.purpose(path)} for name, path in shipped.files(folder).items()]


def _editions() -> list[dict[str, Any]]:
    rows = zip(_files("editions"), shipped.files("editions").values(), strict=True)
    return [row | {"unconfirmed": _unconfirmed(path)} for row, path in rows]


def _unconfirmed(path: Path) -> list[str]:
    content = read_yaml(path)
    listed = content.get("unconfirmed", []) if isinstance(content, dict) else []
    return [str(one) for one in listed] if isinstance(listed, list) else []


def _traits(pack: str) -> list[dict[str, Any]]:
    folder = shipped.pack_folder(pack)
    prefix = _said(folder / "pack.yaml", "task_prefix")
    return [
        {"pack": pack, "name": name, "task": f"{prefix}{name}", "definition": _said(path, "definition")}
        for path in sorted(folder.glob("*/trait.yaml"))
        for name in [path.parent.name]
    ]


def _said(path: Path, key: str) -> str:
    """What a header says; a field that `idembench trait new` left open is to be filled in by somebody."""
    header = read_yaml(path)
    if not isinstance(header, dict) or key not in header:
        raise DataError("A header lacks a field.", expected=key, where=str(path))
    return "not filled in yet" if header[key] is None else str(header[key])


def _line(folder: Path) -> dict[str, Any]:
    """One record's headings, read as plain JSON: checking a record is `verify`'s business."""
    try:
        read = from_json((folder / RECORD).read_bytes())
        return {
            "path": str(folder),
            "model": read["model"]["name"],
            "trait": read["trait"],
            "protocol": read["protocol"]["name"],
            "measurement": read["protocol"]["measuring"]["name"],
            "seeds": [line["seed"] for line in read["chains"]],
            "headline": read["analysis"]["headline"],
        }
    except OSError as error:
        return {"path": str(folder), "error": f"A file cannot be read. ({error.strerror})"}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"path": str(folder), "error": "not a record"}
