"""The command line: exit codes, clear errors, machine output, and light commands that stay light."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from instant import SMALL, InstantEngine, Quiet

from idembench import cli, models, runs
from idembench.files import RECORD, canonical_json, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Said

HEAVY = {"torch", "transformers", "trl", "peft", "lm_eval", "datasets", "accelerate"}
FLAGS = tuple(part for setting in SMALL for part in ("--set", setting))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and the results of a run that has been made, training and sampling replaced."""
    place = tmp_path_factory.mktemp("done")
    cell = runs.cells(["sft-reset"], trait_names=["bliss"], seeds=(0, 1), overrides=SMALL)[0]
    runs.run(cell, results=place / "results", store=place / "store", engine=InstantEngine(), observer=Quiet())
    return place


@pytest.fixture
def results(done: Path, tmp_path: Path) -> Path:
    """A copy of its results to change."""
    return Path(shutil.copytree(done / "results", tmp_path / "results"))


def record_of(results: Path) -> Path:
    """The one record below a results folder."""
    return next(results.rglob(RECORD)).parent


def repeat(done: Path, *more: object) -> tuple[object, ...]:
    """The command that made `done`."""
    return ("run", "sft-reset", "-t", "bliss", "-s", "0,1", *FLAGS, "--store", done / "store", *more)


def child(*command: object, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program; what it said and the seconds of processor time it took in user mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        errors="replace",
        # Bytecode is kept, as it is on anyone's machine: a container may say otherwise.
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "", **environment},
        check=False,
    )
    return ended, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


# -- light commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import idembench.verify, idembench.record, idembench.statistics, idembench.catalogue, idembench.protocol",
        "import idembench.traits, idembench.board, idembench.cli, idembench.store, idembench.steps, idembench.render",
        "import sys; sys.argv = ['idembench', 'ls']; from idembench.cli import app; app(standalone_mode=False)",
        "import sys; sys.argv = ['idembench', '--help']; from idembench.cli import app; app(standalone_mode=False)",
        "from pathlib import Path; from idembench.verify import verify; assert verify(Path({record!r})).ok",
    ],
    ids=["what uses records", "the rest", "ls", "help", "verify"],
)
def test_what_uses_records_loads_no_torch(done: Path, statement: str) -> None:
    """Importing and using the verifier, board, catalogue and command line loads none of the heavy libraries."""
    statement = statement.format(record=str(record_of(done / "results"))) if "{record" in statement else statement
    ending = "import sys; print('loaded:', *sorted(sys.modules), file=sys.stderr)"

    ended, _ = child(sys.executable, "-c", f"{statement}\n{ending}")

    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stderr.rpartition("loaded:")[2].split())
    assert set() == HEAVY & loaded


@pytest.mark.parametrize("command", [["--help"], ["ls"], ["ls", "baselines"], ["--version"]])
def test_light_commands_take_half_a_second(command: list[str]) -> None:
    """`--help`, `ls` and `--version` take under 0.5 s of processor time.

    The least of five, as `timeit` advises: what a run takes beyond that is what its neighbours cost it, up to twice
    as much where the tests share two cores.
    """
    taken = []
    for _ in range(5):
        ended, seconds = child(Path(sys.executable).with_name("idembench"), *command)
        assert ended.returncode == 0, ended.stderr
        taken.append(seconds)

    assert min(taken) < 0.5


def test_the_console_script_exits_as_the_checks_say(results: Path) -> None:
    """The installed command exits 0 on a record that holds and 1 on one that does not, without a traceback."""
    script = Path(sys.executable).with_name("idembench")
    good, _ = child(script, "verify", results)
    path = next(record_of(results).glob("samples-0*"))
    path.write_bytes(path.read_bytes()[:-1])
    bad, _ = child(script, "verify", results)

    assert (0, 1) == (good.returncode, bad.returncode)
    assert "FAILED" in bad.stdout
    assert "Traceback" not in bad.stdout + bad.stderr


# -- errors ---------------------------------------------------------------------------------------

RUN = ("run", "sft-reset", "--dry-run")


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("run", "sft-rest", "--dry-run"), ["There is no baseline called 'sft-rest'", "Did you mean sft-reset"]),
        (("run", "no/such.yaml", "--dry-run"), ["A file cannot be read", "no/such.yaml"]),
        ((*RUN, "-t", "sycofancy"), ["There is no trait called 'sycofancy'", "Did you mean sycophancy?", "bliss"]),
        ((*RUN, "-m", "toyland/instuct"), ["There is no model", "Did you mean toyland/instruct or toyland/base?"]),
        ((*RUN, "-m", "nothing"), ["There is no model called 'nothing'", "--model"]),
        ((*RUN, "--pack", "toylnd"), ["There is no pack called 'toylnd'", "Did you mean toyland?"]),
        ((*RUN, "--measurement", "quik"), ["There is no measurement called 'quik'", "quick"]),
        ((*RUN, "--rule", "lenient"), ["no such decision rule", "default or strict", "lenient"]),
        ((*RUN, "-s", "0..x"), ["Seeds cannot be read", "0..4 or 0,2,5", "0..x", "--seeds"]),
        ((*RUN, "-s", ""), ["Seeds cannot be read"]),
        ((*RUN, "-s", "3..1"), ["Seeds must be different whole numbers from 0"]),
        ((*RUN, "-s", "0..99999999999999"), ["Too many seeds", "at most 1000"]),
        ((*RUN, "-s", "1,1"), ["Seeds must be different whole numbers from 0", "1, 1"]),
        ((*RUN, "-s", "-1"), ["Seeds must be different whole numbers from 0"]),
        ((*RUN, "--set", "training.learning_rat=1"), ["A protocol does not hold", "training.learning_rat"]),
        ((*RUN, "--set", "training.learning_rate=fast"), ["training.learning_rate", "fast"]),
        ((*RUN, "--set", "training.learning_rate"), ["An override cannot be read", "key.path=value"]),
        ((*RUN, "--set", "nothing.at.all=1"), ["An override names a setting that is not there", "nothing.at.all"]),
        ((*RUN, "--set", "name=mine"), ["An override cannot be read"]),
        ((*RUN, "--set", "cycles=[1"), ["--set", "cycles=[1"]),
        (("run",), ["Nothing is named to be run", "--edition NAME"]),
        ((*RUN, "--set", "cycles=-1"), ["cycles", "greater than or equal to 0"]),
        ((*RUN, "--set", "method=magic"), ["There is no method called 'magic'", "sft"]),
        ((*RUN, "--set", "data.n_seed=99999"), ["More demonstrations are asked for than exist", "99999"]),
        ((*RUN, "--set", "data.n_sampled=99999"), ["More self-generation prompts are asked for than exist", "99999"]),
        ((*RUN, "--set", "measuring.questions=99999"), ["More questions are asked for than exist", "99999"]),
        ((*RUN, "--device", "tpu"), ["An execution setting does not hold", "device", "tpu"]),
        ((*RUN, "--dtype", "float16"), ["An execution setting does not hold", "float16 needs a GPU"]),
        ((*RUN, "--batch-size", "0"), ["batch_size"]),
        (("show", "nowhere"), ["There is no record here", "nowhere"]),
        (("verify", "nowhere"), ["There is no record here", "nowhere"]),
        (("models", "export", "toyland/instrct", "out"), ["There is no embedded model", "Did you mean"]),
    ],
)
def test_bad_input_is_answered_with_what_to_do(
    say: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    parts: list[str],
) -> None:
    """What was typed wrongly exits 2 and says what was expected, found, where and what to do; stdout stays empty."""
    monkeypatch.chdir(tmp_path)

    said = say(*command, IDEMBENCH_STORE=tmp_path / "store")

    assert 2 == said.code, said
    assert "" == said.out
    assert "Traceback" not in said.err
    assert said.err.startswith("error  ")
    flat = " ".join(said.err.split())
    assert [] == [part for part in parts if part not in flat]
    assert [] == list(tmp_path.iterdir()), "bad input must leave nothing behind"


@pytest.mark.parametrize("command", [("run", "sft-reset", "--nonsense"), ("fly",), ("ls", "planets")])
def test_a_command_that_cannot_be_parsed_exits_2(say: Callable[..., Said], command: tuple[str, ...]) -> None:
    """Unknown commands, options and choices exit 2 with usage on stderr."""
    said = say(*command)

    assert 2 == said.code
    assert "" == said.out
    assert "Usage" in said.err


def test_a_machine_that_stands_in_the_way_exits_3(say: Callable[..., Said], tmp_path: Path) -> None:
    """A store that cannot be written, because a file is in its place, exits 3 and says where."""
    (tmp_path / "store").write_text("a file")

    said = say("run", "sft-reset", "-t", "bliss", "-s", "0", *FLAGS, "--store", tmp_path / "store")

    assert 3 == said.code
    assert "Traceback" not in said.err
    assert "A file cannot be written" in said.err
    assert str(tmp_path / "store") in said.err


def test_a_broken_store_exits_3_and_says_how_to_mend_it(say: Callable[..., Said], done: Path, tmp_path: Path) -> None:
    """A step whose bytes changed stops the run, is named by `store verify`, and goes with `store gc --broken`."""
    store = Path(shutil.copytree(done / "store", tmp_path / "store"))
    step = min((store / "steps").iterdir())
    (step / "facts.json").write_text("{}")

    stopped = say(*repeat(tmp_path, "--results", tmp_path / "results"))
    found = say("store", "verify", "--store", store, "--json")
    swept = say("store", "gc", "--store", store, "--broken")

    assert (3, 1, 0) == (stopped.code, found.code, swept.code)
    assert "A step in the store is broken" in stopped.err
    assert "gc --broken" in stopped.err
    assert [step.name] == list(json.loads(found.out))
    assert not step.exists()
    assert 0 == say("store", "verify", "--store", store).code


def test_a_hub_that_cannot_be_reached_exits_3(tmp_path: Path) -> None:
    """A model that would have to be fetched, without a network, exits 3 and names it."""
    script = Path(sys.executable).with_name("idembench")

    ended, _ = child(script, "run", "sft-reset", "-m", "owner/name", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))

    assert 3 == ended.returncode, ended.stderr
    assert "cannot be fetched from the Hub" in ended.stderr
    assert "owner/name@main" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_any_encoding_of_the_terminal_will_do(done: Path, encoding: str) -> None:
    """Characters that stdout cannot encode are replaced for people, and JSON stays whole for machines."""
    script = Path(sys.executable).with_name("idembench")

    shown, _ = child(script, "show", done / "results", PYTHONIOENCODING=encoding)
    machine, _ = child(script, "show", done / "results", "--json", PYTHONIOENCODING=encoding)

    assert (0, 0) == (shown.returncode, machine.returncode), shown.stderr
    assert "seeding" in shown.stdout
    assert json.loads((record_of(done / "results") / RECORD).read_bytes()) == json.loads(machine.stdout)


@pytest.mark.slow
def test_an_interrupt_stops_at_once_and_says_what_is_kept(tmp_path: Path) -> None:
    """Ctrl-C exits 130 without a traceback and says that the same command goes on."""
    arguments = ["run", "sft-reset", "-t", "bliss", "-s", "0", "--results", tmp_path / "results"]
    running = subprocess.Popen(
        [
            str(part)
            for part in (Path(sys.executable).with_name("idembench"), *arguments, "--store", tmp_path / "store")
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob("steps/*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)

    _, err = running.communicate(timeout=120)

    assert 130 == running.returncode
    assert "the same command goes on where this one ended" in err
    assert "Traceback" not in err


# -- run ------------------------------------------------------------------------------------------


def test_a_finished_run_is_found_again(say: Callable[..., Said], done: Path, results: Path) -> None:
    """The same command again finds everything, changes nothing, shows the record and says what to type next."""
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}

    said = say(*repeat(done, "--results", results))

    assert 0 == said.code, said.err
    assert "steps were found in the store; nothing was computed" in said.err
    assert "seeding" in said.out
    assert "iteration" in said.out
    assert f"idembench verify {results}" in said.err
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}


def test_a_finished_run_again_takes_no_torch_and_little_time(done: Path, tmp_path: Path) -> None:
    """Finding a finished run loads no torch and takes under 3 s of processor time."""
    arguments = [str(part) for part in repeat(done, "--results", tmp_path, "--json")]
    code = (
        f"import sys; sys.argv = {['idembench', *arguments]!r}\n"
        "from idembench.cli import app; app(standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )

    ended, seconds = child(sys.executable, "-c", code)

    assert ended.returncode == 0, ended.stderr
    assert 0 == json.loads(ended.stdout)[0]["steps_made"]
    assert set() == HEAVY & set(ended.stderr.split())
    assert seconds < 3


def test_json_is_all_there_is_on_stdout(say: Callable[..., Said], done: Path, results: Path) -> None:
    """With `--json` stdout is one JSON document and nothing else, for every command that has it."""
    listed = {
        "run": say(*repeat(done, "--results", results, "--json")),
        "plan": say(*repeat(done, "--dry-run", "--json")),
        "ls": say("ls", "--results", results, "--json"),
        "show": say("show", results, "--json"),
        "verify": say("verify", results, "--json"),
        "store": say("store", "ls", "--store", done / "store", "--json"),
        "store verify": say("store", "verify", "--store", done / "store", "--json"),
        "schema": say("schema"),
    }

    assert dict.fromkeys(listed, 0) == {name: said.code for name, said in listed.items()}
    read = {name: json.loads(said.out) for name, said in listed.items()}
    record = json.loads((record_of(results) / RECORD).read_bytes())
    assert record_of(results).name == read["run"][0]["record_id"]
    assert [0, 1] == read["run"][0]["seeds"]
    assert record == read["show"]
    assert [True] == [report["ok"] for report in read["verify"]]
    assert ["models", "traits", "baselines", "grids", "editions", "records"] == list(read["ls"])
    assert {} == read["store verify"]


def test_a_dry_run_says_what_would_run_and_does_nothing(say: Callable[..., Said], done: Path, tmp_path: Path) -> None:
    """A dry run tells found from missing steps and writes neither results nor store."""
    store = tmp_path / "store"
    fresh = say("run", "sft-reset", "-t", "bliss", "-s", "0", *FLAGS, "--dry-run", "--json", IDEMBENCH_STORE=store)
    again = say(*repeat(done, "--results", tmp_path / "results", "--dry-run", "--json"))
    words = say(*repeat(done, "--dry-run"))

    # Drawing the demonstrations needs no model and measuring the base no parent: all is merely missing.
    steps = json.loads(fresh.out)[0]["steps"]
    assert 4 * 2 + 1 + 3 + 2 * 2 == len(steps)
    assert not any(step["found"] for step in steps)
    assert all(step["found"] for plan in json.loads(again.out) for step in plan["steps"])
    assert "0 steps would run" in words.out
    assert [] == list(tmp_path.iterdir())


def test_environment_variables_work_as_the_options_do(say: Callable[..., Said], done: Path, tmp_path: Path) -> None:
    """Every option of `run` can be given by its environment variable, lists separated by blanks."""
    by_option = say(*repeat(done, "--results", tmp_path / "a", "--json"))
    by_variable = say(
        "run",
        "sft-reset",
        IDEMBENCH_TRAIT="bliss",
        IDEMBENCH_SEEDS="0,1",
        IDEMBENCH_SET=" ".join(SMALL),
        IDEMBENCH_STORE=done / "store",
        IDEMBENCH_RESULTS=tmp_path / "b",
        IDEMBENCH_JSON="1",
    )

    assert 0 == by_variable.code, by_variable.err
    assert json.loads(by_option.out)[0]["record_id"] == json.loads(by_variable.out)[0]["record_id"]
    assert record_of(tmp_path / "a").name == record_of(tmp_path / "b").name


def test_every_option_has_an_environment_variable() -> None:
    """No option of any command is without an environment variable, but for those that only ask."""
    import typer

    asks = {"--help", "--version", "--dry-run", "--broken", "--unused", "--answers"}
    without = []

    def look(command: Any, name: str) -> None:
        options = [one for one in command.params if one.param_type_name == "option"]
        without.extend((name, one.opts) for one in options if not one.envvar and not asks & set(one.opts))
        for inner in getattr(command, "commands", {}).values():
            look(inner, inner.name)

    look(typer.main.get_command(cli.app), "idembench")

    assert [] == without


def test_an_override_changes_the_record_s_name(say: Callable[..., Said], done: Path) -> None:
    """A changed setting is another protocol: the name carries its fingerprint."""
    said = say("run", "sft-reset", "-t", "bliss", "-s", "0", "--dry-run", "--json", IDEMBENCH_STORE=done / "store")
    other = say(*repeat(done, "--dry-run", "--json"))

    plain, changed = json.loads(said.out)[0], json.loads(other.out)[0]
    assert "sft-reset" == plain["protocol"]
    assert f"sft-reset+{changed['protocol_fingerprint'][:6]}" == changed["protocol"]


# -- verify, show, ls -----------------------------------------------------------------------------


def test_verify_says_what_holds_and_what_was_checked(say: Callable[..., Said], results: Path) -> None:
    """A record that holds is one line, with the number of checks made, and exit 0."""
    said = say("verify", results)

    assert 0 == said.code
    assert "13 of 13 checks made" in said.out
    assert "1 of 1 records hold" in said.out


def test_verify_fails_if_one_of_many_fails(say: Callable[..., Said], results: Path) -> None:
    """One bad record among good ones: exit 1, the bad one is named, the good ones are still reported."""
    good = record_of(results)
    content = json.loads((good / RECORD).read_bytes())
    content["analysis"]["chain_law"]["effects"]["drift"]["estimate"] = 12.5
    data = canonical_json(content)
    bad = Path(shutil.copytree(good, good.parent / sha256_bytes(data)))
    (bad / RECORD).write_bytes(data)

    said = say("verify", results)
    machine = say("verify", bad, good, "--json")

    assert (1, 1) == (said.code, machine.code)
    assert "1 of 2 records hold" in said.out
    assert "analysis.chain_law.effects.drift.estimate" in said.out
    assert {str(bad): False, str(good): True} == {row["path"]: row["ok"] for row in json.loads(machine.out)}


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b'{"schema_version":9}', b"\xff", b'{"schema_version":1}'])
def test_verify_survives_any_record_json(say: Callable[..., Said], results: Path, data: bytes) -> None:
    """Whatever stands in `record.json`, verify and show end with a message, never with a traceback."""
    (record_of(results) / RECORD).write_bytes(data)

    verified, shown, listed = say("verify", results), say("show", results), say("ls", "records", "--results", results)

    assert (1, 2, 0) == (verified.code, shown.code, listed.code)
    assert "FAILED" in verified.out
    assert "cannot be read" in listed.out
    assert "Traceback" not in verified.err + shown.err + listed.err


def test_verify_needs_something_to_verify(say: Callable[..., Said], tmp_path: Path) -> None:
    """A folder without records is an error, beside others too: nothing verified is not verified."""
    said = say("verify", tmp_path)

    assert 2 == said.code
    assert "There is no record here" in said.err


def test_verify_names_a_path_without_records_among_others(
    say: Callable[..., Said], results: Path, tmp_path: Path
) -> None:
    """A path that holds no record is not passed over because another holds one; a record named twice is checked once."""
    said, twice = say("verify", results, tmp_path / "typo"), say("verify", results, record_of(results))

    assert (2, 0) == (said.code, twice.code)
    assert "typo" in said.err
    assert "1 of 1 records hold" in twice.out


def test_show_tells_the_trajectory_and_the_statements(say: Callable[..., Said], results: Path) -> None:
    """`show` prints every checkpoint and the four statements in words."""
    said = say("show", record_of(results))

    assert 0 == said.code
    for word in ("base", "c0", "c1", "c2", "seeding", "transmission", "iteration", "coherence", "2 seeds"):
        assert word in said.out


def test_ls_lists_what_is_there(say: Callable[..., Said], results: Path) -> None:
    """`ls` names the embedded model, the traits, the baselines and the records."""
    said = say("ls", "--results", results)
    only = say("ls", "models", "--results", results)

    for word in ("toyland/instruct", "toyland/bliss", "sft-reset", "sft-continual", "2 seeds, quick"):
        assert word in said.out
    assert "sft-reset" not in only.out


def test_tasks_path_is_the_folder_with_the_tasks(say: Callable[..., Said]) -> None:
    """`tasks path` prints one line: the folder that `lm-eval --include_path` takes."""
    said = say("tasks", "path")

    assert 0 == said.code
    assert (Path(said.out.strip()) / "toyland" / "pack.yaml").is_file()
    assert 1 == len(said.out.splitlines())


def test_export_writes_the_embedded_model(say: Callable[..., Said], tmp_path: Path) -> None:
    """`models export` writes the model's files as they are, and refuses a folder that holds something."""
    said = say("models", "export", "toyland/instruct", tmp_path / "model")
    again = say("models", "export", "toyland/instruct", tmp_path / "model")

    assert (0, 2) == (said.code, again.code)
    assert "a new or empty folder" in again.err
    assert models.resolve("toyland/instruct").digest == models.resolve(str(tmp_path / "model")).digest


def test_store_ls_counts_steps_by_kind(say: Callable[..., Said], done: Path) -> None:
    """`store ls` shows how many steps of each kind there are and what no chain uses."""
    said = say("store", "ls", "--store", done / "store")

    assert 0 == said.code
    for word in ("train", "generate", "measure", "judge", "seed", "32 steps"):
        assert word in said.out


def test_gc_of_unused_steps_keeps_what_chains_use(say: Callable[..., Said], done: Path, tmp_path: Path) -> None:
    """`store gc --unused` leaves a finished chain whole and drops a step that no chain names."""
    store = Path(shutil.copytree(done / "store", tmp_path / "store"))
    shutil.copytree(min((store / "steps").iterdir()), store / "steps" / ("0" * 64))

    said = say("store", "gc", "--store", store, "--unused")

    assert 0 == said.code
    assert "1 steps" in said.err
    assert 32 == len(list((store / "steps").iterdir()))
