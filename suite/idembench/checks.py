"""Named checks: what was looked at, and everything in it that is wrong.

What is noted says where it is, what was expected there and what was found; a check goes on after its first problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from idembench.files import MANIFEST, jsonl_bytes, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idembench.record import StepLine

# Derived numbers are rounded to six decimals once; another machine may round the last one the other way.
TOLERANCE = 2e-6


@dataclass(slots=True, kw_only=True)
class Check:
    """One named check.

    Attributes:
        name: What was checked.
        problems: Everything that is wrong; empty if the check passed.
        skipped: Why it could not be made, or None.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    skipped: str | None = None

    def expect(self, what: str, expected: object, found: object) -> None:
        """Note a problem unless both are equal."""
        if expected != found:
            self.problems.append(f"{what}: expected {_short(expected)}, found {_short(found)}")

    def expect_step(
        self, seed: int, step: StepLine, name: str, rows: Sequence[Mapping[str, object]], facts: Mapping[str, object]
    ) -> None:
        """Note a problem unless a step sealed just these rows, in a file of this name, and says these facts of them."""
        where, data = f"seed {seed}, {step.kind} {step.cycle}", jsonl_bytes(rows)
        listed = [(line.bytes, line.sha256) for line in step.files if line.name == name]
        self.expect(f"{where}, {name}", listed, [(len(data), sha256_bytes(data))])
        extra = [line.name for line in step.files if line.name not in (name, "facts.json", MANIFEST)]
        self.expect(f"{where}, other files", [], extra)
        for fact, value in facts.items():
            self.expect(f"{where}, facts.{fact}", value, step.facts.get(fact))

    def compare(self, where: str, expected: Any, found: Any) -> None:
        """Walk two values side by side and note every difference, numbers within the rounding tolerance."""
        if is_dataclass(expected) and type(expected) is type(found):
            for entry in fields(expected):
                self.compare(f"{where}.{entry.name}", getattr(expected, entry.name), getattr(found, entry.name))
        elif isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
            for key in expected:
                self.compare(f"{where}.{key}", expected[key], found[key])
        elif isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
            for index, (one, other) in enumerate(zip(expected, found, strict=True)):
                self.compare(f"{where}[{index}]", one, other)
        elif type(expected) is float and type(found) is float:
            if not math.isclose(expected, found, rel_tol=0, abs_tol=TOLERANCE):
                self.expect(where, expected, found)
        else:
            self.expect(where, expected, found)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:120]} ... ({len(text)} characters)"  # noqa: PLR2004
