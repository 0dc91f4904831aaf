"""Kill -9 at any instant, the same command again: the same record, byte for byte.

The fast test replaces only training and sampling. One process imports everything, then forks a child for every
attempt; a child is killed after a random time, at a random change of the file system, or at chosen ones (while a
manifest is written, before a sealed folder is renamed, between two files of a record). Run as a script, this
file is that process.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from instant import hashed_bytes, make_cell, run_cell

from idembench import files
from idembench.store import Store
from idembench.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 16
CHOSEN = [
    r"open .*/locks/chain-",
    r"open .*/steps/\.tmp-[^/]*/responses",
    r"open .*/steps/\.tmp-[^/]*/\.?facts",
    r"open .*/steps/\.tmp-[^/]*/\.?manifest",
    r"os.rename .*/\.manifest.* .*/manifest.json$",
    r"os.rename .*/steps/\.tmp-[^/]* .*/steps/[0-9a-f]{64}$",
    r"open .*/chains/",
    r"os.rename .*/chains/",
    r"open .*/steps/\.tmp-[^/]*/adapter.bin$",
    r"os.remove .*/half-written.bin$",
    r"os.mkdir .*/nested$",
    r"os.mkdir .*/records/.*",
    r"open .*/\.?samples-0",
    r"os.rename .*/samples-0.jsonl.gz$",
    r"open .*/\.?provenance",
    r"open .*/\.?record.json",
    r"os.rename .*/record.json$",
]
"""Instants that matter, in the order in which a run comes to them."""
WANTED = {"chosen": len(CHOSEN), "events": 60, "times": 40}
"""Kills at chosen instants, at random changes of the file system, and after random times."""


# -- the process that forks -----------------------------------------------------------------------


class Killer:
    """An audit hook that kills its own process just before one change of the file system below `place`."""

    def __init__(self, place: Path, *, number: int | None = None, pattern: str | None = None) -> None:
        self.place, self.number, self.pattern, self.seen = str(place), number, pattern, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod")
        named = arguments[: 2 if event == "os.rename" else 1]
        paths = [os.fsdecode(part) for part in named if isinstance(part, str | bytes | os.PathLike)]
        if not changes or not paths or not paths[0].startswith(self.place):
            return
        self.seen += 1
        matches = self.pattern is not None and re.search(self.pattern, " ".join([event, *paths]))
        if matches or self.seen == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


def attempt(place: Path, *, after_s: float | None = None, hook: Killer | None = None) -> bool:
    """Run the chain in a child that may be killed; whether it finished."""
    child = os.fork()
    if child == 0:
        try:
            if hook is not None:
                sys.addaudithook(hook)
            run_cell(make_cell(), place)
        except BaseException:  # noqa: BLE001 -- whatever it is, the parent must hear of it
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + (3600 if after_s is None else after_s)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline += 3600
        time.sleep(0.001)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise SystemExit("an attempt failed otherwise than by being killed")
    return True


def ways(kind: str, rng: random.Random, place: Path, whole_s: float) -> Iterator[dict[str, Any]]:
    """How the attempts of one round are killed."""
    if kind == "chosen":
        yield from ({"hook": Killer(place, pattern=pattern)} for pattern in CHOSEN)
    elif kind == "events":
        yield from ({"hook": Killer(place, number=rng.randint(1, 40))} for _ in count())
    else:
        # Ever later: on a machine that got slower since `whole_s` was taken, no step would end within a third of it.
        yield from ({"after_s": rng.uniform(0, whole_s / 3 * 1.05**n)} for n in count())
    yield {}


def serve(root: Path) -> dict[str, Any]:
    """Kill as many attempts as are wanted, round after round, each from an empty store to a finished record."""
    # The first run imports what the children then need not; the second is what an undisturbed one takes.
    run_cell(make_cell(), root / "undisturbed")
    start = time.monotonic()
    attempt(root / "child")
    whole_s = time.monotonic() - start
    rng = random.Random(20260101)
    kills, places, sealed = dict.fromkeys(WANTED, 0), [], []
    for kind, wanted in WANTED.items():
        while kills[kind] < wanted:
            place = root / f"round-{len(places)}"
            for way in ways(kind, rng, place, whole_s):
                if attempt(place, **way):
                    break
                kills[kind] += 1
                steps = place / "store" / "steps"
                sealed.append(len([*steps.glob("[0-9a-f]*")]) if steps.is_dir() else 0)
            places.append(place.name)
    return {"kills": kills, "places": places, "sealed": sealed}


# -- the tests ------------------------------------------------------------------------------------


def the_record(results: Path) -> Path:
    """The one record below a results folder."""
    (folder,) = files.find_records(results)
    return folder


def test_a_hundred_kills_change_nothing(tmp_path: Path) -> None:
    """However often and wherever a run is killed, running it again ends in the undisturbed record, and all is in order."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        text=True,
    )
    told = json.loads(done.stdout)
    expected = hashed_bytes(the_record(tmp_path / "undisturbed" / "results"))

    assert {"record.json", "samples-0.jsonl.gz"} == set(expected)
    for name in told["places"]:
        assert expected == hashed_bytes(the_record(tmp_path / name / "results"))
        store = Store(tmp_path / name / "store")
        assert {} == store.verify()
        assert STEPS == len(store.entries())
        assert [] == store.collect(unused=True, broken=True)
        assert [] == [path for path in store.root.rglob(".*") if path.name.startswith((".tmp-", ".x"))]
    assert verify(the_record(tmp_path / told["places"][0] / "results")).ok
    # The kills were many, of every kind, and all along the way.
    assert sum(told["kills"].values()) >= 100
    assert all(told["kills"][kind] >= wanted for kind, wanted in WANTED.items())
    assert set(range(STEPS + 1)) == set(told["sealed"])


# -- the real chain -------------------------------------------------------------------------------

COMMAND = [
    *("run", "sft-reset", "--trait", "sycophancy", "--seeds", "0", "--threads", "1"),
    *("--set", "cycles=1", "--set", "data.n_seed=16", "--set", "data.n_sampled=32"),
    *("--set", "measuring.questions=20", "--set", "measuring.neutral_questions=5"),
]
MOMENTS = {0: "base is measured", 3: "cycle 0 is trained", 6: "cycle 0 is asked", 8: "cycle 1 is trained"}
"""When to kill: with that many steps sealed and the next one begun."""


def start(place: Path) -> subprocess.Popen[bytes]:
    """`idembench run` as a process of its own."""
    command = [sys.executable, "-c", "from idembench.cli import main; main()", *COMMAND]
    where = ["--store", str(place / "store"), "--results", str(place / "results")]
    return subprocess.Popen([*command, *where], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(place: Path) -> dict[str, bytes]:
    """Run to the end; the hashed bytes of the record."""
    process = start(place)
    _, said = process.communicate(timeout=300)

    assert process.returncode == 0, said.decode()
    return hashed_bytes(the_record(place / "results"))


def begun(steps: Path) -> set[str]:
    """Temporary folders: the steps that are being made, or that a killed run left."""
    return {path.name for path in steps.glob(".tmp-*")}


@pytest.mark.slow
def test_kills_of_the_real_chain_change_nothing(tmp_path: Path) -> None:
    """Real training and sampling, killed while measuring, training and answering, ends in the undisturbed record."""
    rng = random.Random(1)
    steps = tmp_path / "killed" / "store" / "steps"
    for sealed, moment in MOMENTS.items():
        before = begun(steps)
        process = start(tmp_path / "killed")
        while begun(steps) == before or len([*steps.glob("[0-9a-f]*")]) < sealed:
            assert process.poll() is None, f"the run ended before {moment}"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.communicate()

        assert process.returncode == -signal.SIGKILL
    expected = finish(tmp_path / "undisturbed")

    assert expected == finish(tmp_path / "killed")
    assert verify(the_record(tmp_path / "killed" / "results")).ok


if __name__ == "__main__":
    json.dump(serve(Path(sys.argv[1])), sys.stdout)
