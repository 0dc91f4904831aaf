"""What the tests of several methods start from."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from idembench import models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the embedded model to change."""
    return shutil.copytree(models.resolve("toyland/instruct").folder, tmp_path / "instruct")
