"""What comes with idembench, by name and path: packs, baselines, grids, editions.

Apart from what checks such files, so that `idembench ls` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from idembench.files import asset

if TYPE_CHECKING:
    from pathlib import Path

STUDY = "study"
"""Folder of the source study's own settings, which name no pack."""


def packs() -> list[str]:
    """Names of the packs that are installed."""
    return sorted(path.parent.name for path in asset("tasks").glob("*/pack.yaml"))


def baselines(pack: str) -> dict[str, Path]:
    """The shipped protocols that can be run on a pack, by name: the pack's own, and `study/...`, which go with any."""
    return files(pack) | {f"{STUDY}/{name}": path for name, path in files(STUDY).items()}


def files(folder: str) -> dict[str, Path]:
    """The YAML files of a folder below `baselines/`, by name."""
    return {path.stem: path for path in sorted((asset("baselines") / folder).glob("*.yaml"))}


def purpose(path: Path) -> str:
    """Why such a file exists: the first comment line."""
    first = path.read_text(encoding="utf-8").splitlines()[:1]
    return first[0].lstrip("# ") if first and first[0].startswith("#") else ""
