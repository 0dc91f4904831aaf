"""The frozen files, for the tests that read them."""

from __future__ import annotations

import pytest

from idembench.files import parse_json
from idembench.toyland import data


@pytest.fixture(scope="session")
def frozen() -> dict[str, list[dict]]:
    """The rows of every JSON Lines file, as `data.build` makes them."""
    return {
        name: [parse_json(line, where=name) for line in content.decode().splitlines()]
        for name, content in data.build().items()
        if name.endswith(".jsonl")
    }
