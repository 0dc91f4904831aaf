"""What there is to run and to read: models, traits, baselines, grids, editions, records. Headers only, no torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from idembench import models, protocol, traits
from idembench.files import RECORD, find_records

if TYPE_CHECKING:
    from pathlib import Path


def catalogue(results: Path, *, records: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Everything installed, and the records below `results`.

    Args:
        results: A results folder; it need not exist.
        records: Whether to read the records, which takes longest.
    """
    packs = [traits.load_pack(name) for name in traits.packs()]
    return {
        "models": [{"name": name} for name in models.embedded()],
        "traits": [
            {"pack": pack.name, "name": trait.name, "task": trait.task, "definition": trait.definition}
            for pack in packs
            for trait in pack.traits.values()
        ],
        "baselines": [
            {"pack": pack.name, "name": name, "why": protocol.purpose(path)}
            for pack in packs
            for name, path in protocol.baselines(pack.name).items()
        ],
        "grids": [
            {"name": name, "why": protocol.purpose(path)} for name, path in protocol.shipped_files("grids").items()
        ],
        "editions": [
            {"name": name, "why": protocol.purpose(path)} for name, path in protocol.shipped_files("editions").items()
        ],
        "records": [_line(folder) for folder in find_records(results)] if records else [],
    }


def _line(folder: Path) -> dict[str, Any]:
    """One record's headings, read as plain JSON: checking a record is `verify`'s business."""
    try:
        read = json.loads((folder / RECORD).read_bytes())
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
