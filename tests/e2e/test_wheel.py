"""The wheel, not the source tree: complete, small, and at work outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from idembench import models

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ("tasks", "baselines", "leaderboard")
LIMIT_BYTES = 15_000_000


def run(command: list[object], *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its good end."""
    ended = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:] + ended.stdout[-2000:]
    return ended


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout builds."""
    out = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT], cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone, installed into a folder that goes before everything else on the path."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run([*pip, "--target", target, wheel], cwd=target)
    return target


def idembench(installed: Path, *arguments: object, cwd: Path) -> str:
    """Run the installed package's command outside the checkout; its stdout."""
    command = [sys.executable, "-c", "from idembench.cli import main; main()", *arguments]
    return run(command, cwd=cwd, PYTHONPATH=str(installed), IDEMBENCH_STORE=str(cwd / "store")).stdout


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder that people wrote."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_is_small(wheel: Path) -> None:
    """The wheel stays under 15 MB."""
    assert wheel.stat().st_size < LIMIT_BYTES


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """No test, result, script or cache travels; licence, type marker and the embedded model do."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert {"idembench"} == {top for top in tops if not top.endswith(".dist-info")}
    assert [] == [name for name in names if name.endswith(".pyc") or "/tests/" in name]
    assert "idembench/py.typed" in names
    assert {f"idembench/toyland/{name}/model.safetensors" for name in ("instruct", "base")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_folders_are_the_checkout_s(installed: Path, name: str) -> None:
    """Tasks, baselines and leaderboard in the wheel are the checkout's, byte for byte."""
    assert tree(ROOT / name) == tree(installed / "idembench" / "_bundled" / name)
    assert tree(ROOT / name)


def test_the_package_is_the_checkout_s(installed: Path) -> None:
    """Every file of the package is in the wheel as it is in the checkout, the embedded model included."""
    inside = {name: data for name, data in tree(installed / "idembench").items() if not name.startswith("_bundled/")}

    assert tree(ROOT / "suite" / "idembench") == inside


def test_the_installed_package_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    """`tasks path`, `ls`, `models export`, `run --dry-run` and `schema` work from the wheel's own files."""
    tasks = Path(idembench(installed, "tasks", "path", cwd=tmp_path).strip())
    listed: dict[str, Any] = json.loads(idembench(installed, "ls", "--json", cwd=tmp_path))
    idembench(installed, "models", "export", "toyland/instruct", tmp_path / "model", cwd=tmp_path)
    planned = json.loads(
        idembench(installed, "run", "sft-reset", "-t", "bliss", "-s", "0", "--dry-run", "--json", cwd=tmp_path)
    )
    schema = json.loads(idembench(installed, "schema", cwd=tmp_path))

    assert installed / "idembench" / "_bundled" / "tasks" == tasks
    assert ["toyland/base", "toyland/instruct"] == [row["name"] for row in listed["models"]]
    assert {"sft-reset", "sft-continual"} <= {row["name"] for row in listed["baselines"]}
    assert models.resolve("toyland/instruct").digest == models.resolve(str(tmp_path / "model")).digest
    assert 36 == len(planned[0]["steps"])
    assert "idembench record" == schema["title"]


def test_a_page_is_built_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`board build` finds its template in the wheel."""
    (tmp_path / "results").mkdir()
    idembench(installed, "board", "build", tmp_path / "results", "--out", tmp_path / "board", cwd=tmp_path)

    assert (tmp_path / "board" / "index.html").is_file()
