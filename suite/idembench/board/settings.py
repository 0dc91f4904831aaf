"""Nested settings as one list of names and values that a person can read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from idembench.board.shape import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 150
_DEEPEST: Final = 6


def flat(values: Mapping[str, object]) -> list[tuple[str, str]]:
    r"""Names with dots and values in words: `training.lora.rank` -> `16`, `sampling.stop` -> `"\n", "User:"`.

    A record may hold any JSON as a method's settings: what is deeper than six levels is shown as JSON, and
    from `MOST` lines on only their number.
    """
    lines = _lines(values, "", _DEEPEST)
    if len(lines) > MOST:
        lines = [*lines[:MOST], ("more", f"{len(lines) - MOST} settings that are not shown")]
    return lines


def _lines(values: Mapping[str, object], prefix: str, deeper: int) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict) and value and deeper:
            lines += _lines(value, f"{prefix}{name}.", deeper - 1)
        else:
            lines.append((_clip(prefix + name), _clip(_said(value))))
    return lines


def _said(value: object) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(json.dumps(item, ensure_ascii=False) for item in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _clip(text: str) -> str:
    return text if len(text) <= NAME else f"{text[: NAME - 1]}…"
