"""Which model: an embedded name, a folder, or a Hub id with a revision, resolved to named, safe files.

Resolving needs no torch: it finds the files, refuses pickled weights and remote code, and names the model
by the SHA-256 of its files. Loading happens later, in `loading.py`. Knows nothing about chains or traits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idembench.errors import EnvironmentProblem, ModelError, UnknownNameError
from idembench.files import FileEntry, digest_of, list_files, read_json, write_bytes

if TYPE_CHECKING:
    from collections.abc import Collection

# Everything transformers may read when it loads a model safely; nothing else counts or is downloaded.
_READ = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A base model whose files are all at hand.

    Attributes:
        name: As people write it: `toyland/instruct`, `owner/name`, or the folder's name under `local/`.
        revision: The Hub commit, or None for embedded models and folders.
        folder: Where the files are.
        files: The files that are read, with their hashes.
    """

    name: str
    revision: str | None
    folder: Path
    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the files; names the model in every step's key."""
        return digest_of(self.files)


def embedded() -> dict[str, Path]:
    """The models that come with the package, by name."""
    root = Path(__file__).resolve().parent / "toyland"
    return {f"toyland/{path.parent.name}": path.parent for path in sorted(root.glob("*/config.json"))}


def resolve(name: str, *, fetch: bool = True) -> Model:
    """Find a model's files and check that loading them runs nobody's code.

    Args:
        name: An embedded name, a path to a folder, or `owner/name[@revision]` on the Hub.
        fetch: Whether the Hub may be asked; else it has to be on this machine.

    Raises:
        UnknownNameError: If it is none of these.
        ModelError: If the Hub does not have it, or the folder lacks something, has pickled weights only, or asks
            for remote code.
        DataError: If a configuration file or an index is no JSON.
        EnvironmentProblem: If the Hub cannot be reached, or must not be asked and not all files are here.
    """
    shipped = embedded()
    if name in shipped:
        return _from_folder(shipped[name], name=name, revision=None)
    path = _folder(name)
    if path is not None:
        return _from_folder(path, name=f"local/{path.resolve().name}", revision=None)
    owner, slash, _ = name.partition("/")
    if name.startswith((".", "/", "~")) or not slash or owner == "toyland" or name.count("/") != 1:
        raise UnknownNameError("model", name, shipped, where="--model (a folder, a Hub id owner/name, or embedded)")
    repository, _, revision = name.partition("@")
    folder = _snapshot(repository, revision or "main", fetch=fetch)
    if not fetch and (missing := _missing(folder)):
        raise EnvironmentProblem(
            "The model is not whole on this machine, and a dry run fetches nothing.",
            expected="all its files in the Hub's cache",
            found=f"no {', '.join(missing[:8])}",
            where=name,
            do="Fetch the rest with `hf download`, pass a folder to --model, or run without --dry-run.",
        )
    return _from_folder(folder, name=repository, revision=folder.name)


def pinned(name: str) -> str | None:
    """The name, if it stands for the same files for good: `owner/name@` and a whole commit of the Hub.

    A name that is a folder's here does not, whatever it looks like.
    """
    repository, _, commit = name.partition("@")
    whole = re.fullmatch(r"[^/]+/[^/]+", repository) and re.fullmatch(r"[0-9a-f]{40}", commit)
    return name if whole and _folder(name) is None else None


def _folder(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if name and path.is_dir() else None
    except (RuntimeError, OSError):  # a `~user` that this machine does not know, a name that no folder can have
        return None


def export(name: str, folder: Path) -> list[str]:
    """Write an embedded model as a plain Hugging Face folder; the names of its files.

    Raises:
        UnknownNameError: If no embedded model has that name.
        ModelError: If the folder holds something already.
    """
    shipped = embedded()
    if name not in shipped:
        raise UnknownNameError("embedded model", name, shipped)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(
            "There is something already.", expected="a new or empty folder", where=str(folder), do="Name a new folder."
        )
    files = sorted(path for path in shipped[name].iterdir() if path.is_file())
    for path in files:
        write_bytes(folder / path.name, path.read_bytes())
    return [path.name for path in files]


def _snapshot(repository: str, revision: str, *, fetch: bool) -> Path:
    """The folder of a Hub model's files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{repository}@{revision}"
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(_READ), local_files_only=not fetch)
        )
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ModelError(
            "There is no such model or revision on the Hub, or it is private.",
            found=str(error).splitlines()[0],
            where=where,
            do="Check the id and revision; for a private or gated model run `hf auth login` first.",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if not fetch:
            raise EnvironmentProblem(
                "The model is not on this machine, and a dry run fetches nothing.",
                where=where,
                do="Fetch it with `hf download`, pass a folder to --model, or run without --dry-run.",
            ) from error
        raise EnvironmentProblem(
            "The model cannot be fetched from the Hub.",
            found=str(error).splitlines()[0],
            where=where,
            do="Check the network, or download it elsewhere and pass the folder to --model, or copy the Hub's cache here.",
        ) from error


def _missing(folder: Path) -> list[str]:
    """What a download that was cut short has left out: the configuration, all weights, or some that an index names."""
    names = {path.name for path in folder.iterdir()}
    weights = any(part.endswith(".safetensors") for part in names) or any(
        Path(part).match(pattern) for part in names for pattern in _PICKLES
    )
    return [
        *(() if "config.json" in names else ("config.json",)),
        *(() if weights else ("*.safetensors",)),
        *_missing_shards(folder, names),
    ]


def _missing_shards(folder: Path, names: Collection[str]) -> list[str]:
    """Files of weights that an index names and that are not there, in order.

    Raises:
        DataError: If an index is no JSON.
        ModelError: If it does not say which file holds which weights.
    """
    missing = set()
    for index in sorted(name for name in names if name.endswith(".safetensors.index.json")):
        content = read_json(folder / index)
        weights = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(weights, dict) or not all(isinstance(shard, str) for shard in weights.values()):
            raise ModelError(
                "The index of a model's weights does not hold.",
                expected="a weight_map: the file of every tensor",
                found=f"{type(weights).__name__} in {index}",
                where=str(folder),
            )
        missing |= set(weights.values()) - set(names)
    return sorted(missing)


def _from_folder(folder: Path, *, name: str, revision: str | None) -> Model:
    names = {path.name for path in folder.iterdir()}
    if "adapter_config.json" in names:
        # transformers would follow it to the base model that it names, wherever that is.
        raise ModelError(
            "This folder holds an adapter.",
            expected="the folder of a whole model",
            found="adapter_config.json",
            where=str(folder),
            do="Merge the adapter into its base model and save that.",
        )
    if "config.json" not in names:
        raise ModelError(
            "This folder holds no model.",
            expected="a config.json",
            found=", ".join(sorted(names)[:8]),
            where=str(folder),
        )
    if not any(part.endswith(".safetensors") for part in names):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        raise ModelError(
            "This model has no safetensors weights.",
            expected="*.safetensors",
            found=", ".join(pickles) or "no weights",
            where=str(folder),
            do="Pickled weights run code when they are loaded; save the model again with safetensors."
            if pickles
            else "Pass the folder of a whole model.",
        )
    if missing := _missing_shards(folder, names):
        raise ModelError(
            "This model is not whole.",
            expected="every file that the index of its weights names",
            found=f"no {', '.join(missing[:8])}",
            where=str(folder),
            do="Download or copy it again.",
        )
    for header in ("config.json", "tokenizer_config.json"):
        content = read_json(folder / header) if header in names else {}
        if not isinstance(content, dict):
            raise ModelError(
                "A model's configuration does not hold.",
                expected="a JSON object",
                found=f"{type(content).__name__} in {header}",
                where=str(folder),
            )
        if content.get("auto_map"):
            raise ModelError(
                "This model asks for remote code.",
                expected="an architecture that transformers has",
                found=f"auto_map in {header}",
                where=str(folder),
                do="idembench never runs code that comes with weights.",
            )
    read = [entry for entry in list_files(folder) if "/" not in entry.name and _is_read(entry.name)]
    return Model(name=name, revision=revision, folder=folder, files=tuple(read))


def _is_read(name: str) -> bool:
    # figures.json is a report about the embedded model, never read when it is loaded.
    return any(Path(name).match(pattern) for pattern in _READ) and name != "figures.json"
