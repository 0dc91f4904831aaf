"""The fixture with which a test runs a command and looks at what it said."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from idembench import cli

if TYPE_CHECKING:
    from collections.abc import Callable


class Said(NamedTuple):
    """What one command said."""

    code: int
    out: str
    err: str


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run one command in this process, as the console script does."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, **environment: object) -> Said:
        with monkeypatch.context() as context:
            context.setattr(sys, "argv", ["idembench", *map(str, arguments)])
            for name, value in environment.items():
                context.setenv(name, str(value))
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run
