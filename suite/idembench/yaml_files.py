"""YAML as everything here reads it: strict about keys, lenient about how a number is written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from idembench.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import Path


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads `1e-3` as the number it is."""


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _no_duplicate_keys(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _no_duplicate_keys)


def read_yaml(path: Path) -> Any:
    """Read YAML strictly.

    Raises:
        ProtocolError: If the file cannot be read, is no YAML, or names a key twice.
    """
    try:
        return parse_yaml(path.read_bytes(), where=str(path))
    except OSError as error:
        raise ProtocolError("A file cannot be read.", found=str(error.strerror), where=str(path)) from error


def parse_yaml(text: str | bytes, *, where: str) -> Any:
    """Read YAML strictly from text; `where` is for the error.

    Raises:
        ProtocolError: If it is no YAML, or names a key twice.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return yaml.load(decoded, Loader=_StrictLoader)  # noqa: S506 -- derived from SafeLoader
    # Beside its own errors the parser raises these: dates that do not exist, keys that are lists, endless nesting.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("This is not valid YAML.", found=" ".join(str(error).split()), where=where) from error
