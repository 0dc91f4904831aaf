"""A method from another distribution, installed beside idembench, is a method like ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from training import job

from idembench import loading, methods

EXAMPLE = Path(__file__).parents[1] / "example_method"

USES = """
import json, sys
from pathlib import Path

from idembench import methods, models, protocol_files, traits
from idembench.protocol import Execution
from idembench.timing import Timers
from idembench.work import TorchEngine

pack = traits.load_pack("toyland")
loaded = protocol_files.load(
    sys.argv[1], pack="toyland", trait="sycophancy", measurements=pack.measurements, measurement="quick",
    overrides=sys.argv[3:],
)
settled = methods.settle(loaded)
learning = settled.learning(1)
job = methods.Job(
    model=models.resolve("toyland/instruct"), parent=None, form=settled.form, settings=learning.settings,
    rows=pack.trait("sycophancy").draw_demonstrations(n=settled.data.n_seed, seed=0),
    training=learning.training, execution=Execution(), seed=0,
)
out = Path(sys.argv[2])
out.mkdir()
facts = TorchEngine().train(learning.method, job, out, Timers())
print(json.dumps({"available": methods.available(), "settings": learning.settings, "facts": facts}))
"""


def test_our_own_methods_come_through_the_same_door() -> None:
    """Every method of this package is an entry point of the group that other distributions enter."""
    ours = {point.name: point.value for point in entry_points(group=methods.GROUP) if point.dist.name == "idembench"}

    assert {
        "dpo": "idembench.methods.dpo:Dpo",
        "rft": "idembench.methods.rft:Rft",
        "sdf": "idembench.methods.sdf:Sdf",
        "sft": "idembench.methods.sft:Sft",
    } == ours


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example distribution, built and installed into a folder of its own."""
    root = tmp_path_factory.mktemp("plug-in")
    source = shutil.copytree(EXAMPLE, root / "source", ignore=shutil.ignore_patterns("__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(root / "site"), str(source)], check=True, capture_output=True)
    return root / "site"


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Use the example in a fresh process that finds it."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-c", USES, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_method_from_outside_trains_by_its_yaml(installed: Path, tmp_path: Path) -> None:
    """It is listed beside ours, its protocol is checked by its own settings, and it trains."""
    done = run(installed, str(EXAMPLE / "brief-reset.yaml"), str(tmp_path / "out"))
    found = json.loads(done.stdout.splitlines()[-1])
    tokenizer = loading.load_tokenizer(job().model)
    lengths = [len(loading.render_row(tokenizer, row.prompt, " ".join(row.response.split()[:4]))) for row in job().rows]

    assert sorted([*methods.available(), "brief"]) == found["available"]
    assert {"words": 4} == found["settings"]
    assert (6, sum(lengths)) == (found["facts"]["rows"], found["facts"]["tokens"])
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_its_settings_are_its_own(installed: Path, tmp_path: Path) -> None:
    """What its settings model refuses is an error of the protocol, before anything is trained."""
    done = run(installed, str(EXAMPLE / "brief-reset.yaml"), str(tmp_path / "out"), "settings={words: 0}")

    assert 1 == done.returncode
    assert "ProtocolError: A method's settings do not hold." in done.stderr
    assert not (tmp_path / "out").exists()
