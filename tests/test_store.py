"""The step store: whole steps or none, broken ones named, shared by processes that do not trip each other."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from idembench import files
from idembench.errors import BusyError, DataError, EnvironmentProblem, StackError, StoreError
from idembench.stack import Stack
from idembench.steps import Step
from idembench.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = Stack(parts={"torch": "2.0", "device": "cpu here"})
THERE = Stack(parts={"torch": "2.1", "device": "cpu there"})


def make_step(number: int = 0, kind: str = "train") -> Step:
    """One of many steps."""
    return Step(kind=kind, cycle="c0", inputs={"number": number})


def fill(folder: Path) -> dict[str, Any]:
    """What a step writes."""
    (folder / "adapter.bin").write_bytes(b"weights")
    return {"rows": 3, "loss": [0.5]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


# -- finding and making ---------------------------------------------------------------------------


def test_an_empty_store_holds_nothing_and_writes_nothing(store: Store) -> None:
    """Looking for a step, listing and verifying leave no trace on the disk."""
    assert store.find(make_step()) is None
    assert [] == store.entries()
    assert {} == store.verify()
    assert [] == store.collect(broken=True, unused=True)
    assert not store.root.exists()


def test_what_was_made_is_found(store: Store) -> None:
    """A made step is found with the same digest, files, facts and stack, and lies under its key."""
    step = make_step()
    made = store.make(step, fill, stack=HERE)

    assert made == store.find(step, stack=HERE)
    assert step.key == made.key == made.folder.name
    assert {"rows": 3, "loss": [0.5]} == made.facts
    assert ["adapter.bin", "facts.json"] == [entry.name for entry in made.files]
    assert HERE == made.stack


def test_another_store_on_the_same_folder_finds_it(store: Store) -> None:
    """Nothing is kept in memory: a second object, as in another process, sees the same steps."""
    made = store.make(make_step(), fill)

    assert made == Store(store.root).find(make_step())


def test_steps_do_not_mix(store: Store) -> None:
    """A step is found under its own inputs alone."""
    store.make(make_step(1), fill)

    assert store.find(make_step(2)) is None
    assert store.find(make_step(1, kind="measure")) is None


def test_the_digest_is_of_the_content(store: Store) -> None:
    """Two steps that wrote the same bytes have the same digest under different keys."""
    one, other = store.make(make_step(1), fill, stack=HERE), store.make(make_step(2), fill, stack=THERE)

    assert one.digest == other.digest
    assert one.key != other.key


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_a_step_that_fails_leaves_nothing(store: Store, failure: type[BaseException]) -> None:
    """An error while a step is made leaves no step and no temporary folder, and the step can be made again."""

    def failing(folder: Path) -> dict[str, Any]:
        fill(folder)
        raise failure

    with pytest.raises(failure):
        store.make(make_step(), failing)

    assert store.find(make_step()) is None
    assert [] == list((store.root / "steps").iterdir())
    store.make(make_step(), fill)


def test_facts_are_strict_json(store: Store) -> None:
    """A fact that is not a number is an error when the step is made, and nothing is kept."""
    with pytest.raises(DataError):
        store.make(make_step(), lambda folder: {**fill(folder), "loss": math.nan})

    assert store.find(make_step()) is None


def test_a_store_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    """A store below a file is an environment problem that names the place."""
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store")

    with pytest.raises(EnvironmentProblem):
        store.make(make_step(), fill)
    with pytest.raises(EnvironmentProblem), store.chain_lock("a", what="a"):
        pass


def test_a_lock_that_cannot_be_written_is_the_machines_fault(store: Store) -> None:
    """A lock file that cannot be opened, as on a full or read-only disk, is one clear error."""
    (store.root / "locks" / "chain-a.lock").mkdir(parents=True)
    (store.root / "locks" / f"{make_step().key}.lock").mkdir()

    with pytest.raises(EnvironmentProblem), store.chain_lock("a", what="a"):
        pass
    with pytest.raises(EnvironmentProblem), store.step_lock(make_step()):
        pass


# -- broken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["adapter.bin", "facts.json", files.MANIFEST],
)
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_broken_step_is_never_used(store: Store, name: str, how: str) -> None:
    """Whatever is damaged, the step is not found but reported, with the file and the way out."""
    path = store.make(make_step(), fill).folder / name
    data = path.read_bytes()
    if how == "remove":
        path.unlink()
    else:
        path.write_bytes(data[:-2] if how == "cut" else bytes([data[0] ^ 1]) + data[1:])

    with pytest.raises(StoreError, match="broken") as caught:
        store.find(make_step())

    assert name in str(caught.value.found)
    assert "idembench store gc --broken" in str(caught.value.do)
    assert {make_step().key} == set(store.verify())


def test_a_step_under_anothers_key_is_broken(store: Store) -> None:
    """A folder that was copied to another key is whole in itself, and still not what the key names."""
    made = store.make(make_step(1), fill)
    made.folder.rename(made.folder.with_name(make_step(2).key))

    with pytest.raises(StoreError):
        store.find(make_step(2))


def test_an_empty_folder_is_broken(store: Store) -> None:
    """A folder without a manifest is no step."""
    (store.root / "steps" / make_step().key).mkdir(parents=True)

    with pytest.raises(StoreError):
        store.find(make_step())
    assert ["broken"] == [entry.kind for entry in store.entries()]


def test_a_broken_step_is_dropped_and_made_again(store: Store) -> None:
    """Collecting what is broken removes exactly that, and the next run makes the same step again."""
    whole, broken = store.make(make_step(1), fill), store.make(make_step(2), fill)
    (broken.folder / "adapter.bin").write_bytes(b"weightz")

    assert [broken.folder] == store.collect(broken=True)
    assert whole == store.find(make_step(1))
    assert broken == store.make(make_step(2), fill)
    assert {} == store.verify()


# -- another stack --------------------------------------------------------------------------------


def test_another_stack_is_refused_by_name(store: Store) -> None:
    """A step that another stack made is not used; the error names both stacks."""
    store.make(make_step(), fill, stack=THERE)

    with pytest.raises(StackError) as caught:
        store.find(make_step(), stack=HERE)

    assert HERE.describe() == caught.value.expected
    assert THERE.describe() == caught.value.found
    assert "--mixed-stack" in str(caught.value.do)


def test_another_stack_is_used_when_asked(store: Store) -> None:
    """With mixing allowed the step is found and still says who made it."""
    store.make(make_step(), fill, stack=THERE)
    found = store.find(make_step(), stack=HERE, mixed=True)

    assert found is not None
    assert THERE == found.stack


def test_steps_that_no_stack_can_change_are_found_by_all(store: Store) -> None:
    """A step that depends on no stack is found on every one; asking by stack for one without is refused."""
    store.make(make_step(), fill)

    assert store.find(make_step()) is not None
    with pytest.raises(StackError, match="another stack") as caught:
        store.find(make_step(), stack=HERE)
    assert caught.value.found == "no stack noted"


# -- locks between processes ----------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from idembench.steps import Step
from idembench.store import Store
store, what = Store(Path(sys.argv[1])), sys.argv[2]
step = Step(kind="train", cycle="c0", inputs={"number": 0})
with store.chain_lock("abc", what="theirs") if what == "chain" else store.step_lock(step):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(store: Store, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock (`chain` or `step`) until it is told to stop or dies."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.root), request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize("holder", ["chain"], indirect=True)
def test_a_chain_is_run_by_one_process(store: Store, holder: subprocess.Popen[str]) -> None:
    """A second run of a chain fails at once and says so; other chains run; when the first dies, its chain is free."""
    start = time.monotonic()
    with pytest.raises(BusyError) as caught, store.chain_lock("abc", what="sft-reset, seed 0"):
        pass

    assert time.monotonic() - start < 2
    assert caught.value.found == "sft-reset, seed 0"
    with store.chain_lock("other", what="other"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with store.chain_lock("abc", what="mine"):
        pass


@pytest.mark.parametrize("holder", ["step"], indirect=True)
def test_a_step_is_waited_for(store: Store, holder: subprocess.Popen[str]) -> None:
    """A step that another process is making is waited for, until it is done or dead."""
    waiter = multiprocessing.get_context("spawn").Process(target=take_lock, args=(store,))
    waiter.start()
    waiter.join(timeout=1.5)

    assert waiter.is_alive()
    os.kill(holder.pid, signal.SIGKILL)
    waiter.join(timeout=20)
    assert waiter.exitcode == 0


def take_lock(store: Store) -> None:
    """Take the lock of step 0 and give it back."""
    with store.step_lock(make_step()):
        pass


@pytest.mark.parametrize("holder", ["step"], indirect=True)
def test_collecting_leaves_the_work_of_others_alone(store: Store, holder: subprocess.Popen[str]) -> None:
    """The temporary folder of a step that another process is making stays; once that process is dead it goes."""
    temporary = store.root / "steps" / f".tmp-{make_step().key[:16]}-x"
    temporary.mkdir(parents=True)
    (temporary / "half.bin").write_bytes(b"half")
    store.collect(broken=True, unused=True)

    assert (temporary / "half.bin").exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    store.collect()
    assert not temporary.exists()


def test_locks_can_be_taken_again(store: Store) -> None:
    """A lock that was given back, also by an error, can be taken again by the same process."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), store.chain_lock("abc", what="mine"), store.step_lock(make_step()):
            raise ZeroDivisionError


# -- looking after it -----------------------------------------------------------------------------


def test_entries_are_listed_by_size_and_use(store: Store) -> None:
    """Each step is listed once with its bytes and the number of chains that use it, the largest first."""
    small = store.make(make_step(1, kind="judge"), fill)
    large = store.make(make_step(2), lambda at: {"bytes": (at / "big.bin").write_bytes(b"x" * 5000)})
    store.note_chain("a", what="a", keys=[small.key, large.key, small.key])
    store.note_chain("b", what="b", keys=[small.key])

    assert [(large.key, "train", 1), (small.key, "judge", 2)] == [
        (entry.key, entry.kind, entry.used_by) for entry in store.entries()
    ]
    assert store.entries()[0].bytes > 5000


def test_collecting_removes_what_no_chain_uses(store: Store) -> None:
    """Only steps that no chain noted go, and only when asked."""
    used, unused = store.make(make_step(1), fill), store.make(make_step(2), fill)
    store.note_chain("a", what="a", keys=[used.key])

    assert [] == store.collect()
    assert [unused.folder] == store.collect(unused=True)
    assert store.find(make_step(1)) is not None
    assert store.find(make_step(2)) is None


def test_a_chain_is_noted_by_its_last_word(store: Store) -> None:
    """Noting a chain again replaces what was noted."""
    store.note_chain("a", what="a", keys=["one", "two"])
    store.note_chain("a", what="a", keys=["two"])

    assert {"two": 1} == store._used()


def test_collecting_sweeps_what_killed_runs_left(store: Store) -> None:
    """Temporary folders and half-written files go; steps, notes and locks stay."""
    made = store.make(make_step(), fill)
    store.note_chain("a", what="a", keys=[made.key])
    with store.chain_lock("a", what="a"):
        pass
    for left in ("steps/.tmp-0123456789abcdef-x/half.bin", "chains/.a.json.x.part", "steps/.x.part"):
        files.write_bytes(store.root / left, b"half")
    before = store.find(make_step())
    store.collect()

    assert [] == [path for path in store.root.rglob(".*") if path.name != "."]
    assert before == store.find(make_step())
    assert {made.key: 1} == store._used()


def test_making_a_step_sweeps_what_a_killed_try_left_of_it_alone(store: Store) -> None:
    """The next try of a step removes the temporary folder of the killed one and no other step's."""
    own, other = (store.root / "steps" / f".tmp-{make_step(n).key[:16]}-killed" for n in (1, 2))
    for folder in (own, other):
        folder.mkdir(parents=True)
    store.make(make_step(1), fill)

    assert (False, True) == (own.exists(), other.exists())
