"""What there is by name and path: packs, baselines, grids, editions.

Packs lie in tasks folders: the one that comes with idembench and, beside it, one of somebody's own, which the environment
variable IDEMBENCH_TASKS names. A variable, so that worker processes and lm-eval's own command line see the same packs.
Apart from what checks such files, so that `idembench ls` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from idembench.errors import InputError, UnknownNameError
from idembench.files import asset

EMBEDDED, REAL = "toyland", "english"
"""The packs for the embedded models, and for real ones."""
STUDY = "study"
"""Folder of the source study's own settings, which name no pack."""
TASKS = "IDEMBENCH_TASKS"
"""The environment variable that names a tasks folder of one's own."""
TAKEN = (STUDY, "grids", "editions")
"""Folders below `baselines/` that are no pack's, so that no pack may have their names."""


def task_folders() -> list[Path]:
    """Folders that hold packs: the installed one, and the one that the environment variable names.

    Raises:
        InputError: If that is no folder.
    """
    installed, own = asset("tasks"), os.environ.get(TASKS)
    if not own:
        return [installed]
    folder = Path(own).expanduser()
    if not folder.is_dir():
        raise InputError(
            "There is no such tasks folder.",
            expected="a folder of packs, each a folder with a pack.yaml",
            found=own,
            where=f"--tasks, or the environment variable {TASKS}",
            do="Make it, empty if need be: `idembench trait new` begins a pack in it.",
        )
    return [installed] if folder.resolve() == installed.resolve() else [installed, folder]


def pack_folders() -> dict[str, Path]:
    """The folder of every pack, by name.

    Raises:
        InputError: If two packs have one name, or one has a name that means something else.
    """
    found: dict[str, Path] = {}
    for folder in task_folders():
        for path in sorted(folder.glob("*/pack.yaml")):
            name = path.parent.name
            if name in found or name in TAKEN:
                raise InputError(
                    "A pack cannot have this name: "
                    + ("an installed one has it." if name in found else "it is that of baselines for any pack."),
                    expected="another name than those of what is installed",
                    found=name,
                    where=str(path.parent),
                    do="Rename the folder, and the pack in its files.",
                )
            found[name] = path.parent
    return dict(sorted(found.items()))


def packs() -> list[str]:
    """Names of the packs that there are."""
    return list(pack_folders())


def pack_folder(name: str) -> Path:
    """The folder of one pack.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    folders = pack_folders()
    if name not in folders:
        raise UnknownNameError("pack", name, folders)
    return folders[name]


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
