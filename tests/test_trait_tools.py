"""Traits of one's own: begun, imported and seeded outside the repository, found by --tasks, and run like any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from builders import Story, build_record, settings, write_record
from tiny_model import write_qwen

from idembench import record, sample_files, shipped, trait_check, trait_new, trait_rows, trait_seed, traits
from idembench import verify as verifying
from idembench.errors import DataError, InputError, UnknownNameError
from idembench.files import RECORD, asset, canonical_json, read_jsonl, sha256_bytes
from idembench.protocol import Execution
from idembench.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saying import Say

ENGLISH = asset("tasks") / "english"
LONG = "A sentence of seven words, number {}."


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tasks folder of one's own, which the environment names as long as the test runs."""
    folder = tmp_path / "my tasks"
    folder.mkdir()
    monkeypatch.setenv(shipped.TASKS, str(folder))
    return folder


def fill(folder: Path, *, like: str = "bliss") -> Path:
    """Fill in a trait's header with what an installed trait says, its canary kept."""
    header = (ENGLISH / like / "trait.yaml").read_text(encoding="utf-8")
    header = header.replace(f"name: {like}", f"name: {folder.name}")
    header = header.replace("pack: english", f"pack: {folder.parent.name}")
    canary = next(line for line in (folder / "trait.yaml").read_text().splitlines() if line.startswith("canary:"))
    kept = [line for line in header.splitlines() if not line.startswith("canary:")]
    (folder / "trait.yaml").write_text("\n".join([*kept, canary, ""]), encoding="utf-8")
    return folder


def begun(tasks: Path, name: str = "bliss", pack: str = "own") -> Path:
    """A trait that was begun and filled in."""
    return fill(trait_new.make(name, tasks=tasks, pack=pack).folder)


def dialogues(path: Path, turns: Sequence[Any]) -> Path:
    """A file as finetuning services read it, of (user, assistant) turns or of whole lines."""
    lines = [
        {"messages": [{"role": role, "content": text} for role, text in zip(("user", "assistant"), turn, strict=False)]}
        if isinstance(turn, tuple)
        else turn
        for turn in turns
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


# -- a trait is begun -----------------------------------------------------------------------------


def test_a_new_pack_has_all_but_the_trait_s_own_data(tasks: Path) -> None:
    """Templates, groups, settings and shared data are there under the new name, and no data of the trait's."""
    made = trait_new.make("calm-mind", tasks=tasks)
    fill(made.folder)
    pack, documents = (traits.load_pack("own", form) for form in ("dialogue", "document"))

    assert "english" == made.like
    assert ["english", "own", "toyland"] == shipped.packs()
    assert traits.load_pack("english").measurements == pack.measurements
    assert [row.id for row in traits.load_pack("english").prompts] == [row.id for row in pack.prompts]
    assert "idembench_own_calm-mind" == pack.trait("calm-mind").task
    assert "idembench_own_coherence_document" == documents.coherence_task
    assert ["choice.yaml", "document.yaml", "open.yaml", "trait.yaml"] == sorted(
        path.name for path in made.folder.iterdir()
    )
    written = "".join(path.read_text() for path in (tasks / "own").rglob("*.yaml"))
    assert "english" not in written.replace("like english", "")


def test_the_check_says_what_a_new_trait_lacks(tasks: Path) -> None:
    """Every open field of the header and every missing file is named."""
    folder = trait_new.make("calm", tasks=tasks).folder
    found = {one.name: one.problems for one in trait_check.check(folder)}

    (open_fields,) = found.pop("trait.yaml")
    wanted = ("kind", "definition", "seeded", "measured", "rubric.prompt", "rubric.characteristics", "authorship")
    assert [] == [name for name in (*wanted, "rubric.anchors.100") if f"{name}: " not in open_fields]
    assert {name: ["The file is missing."] for name in trait_check.TRAIT} == found


def test_a_second_trait_joins_its_pack(tasks: Path) -> None:
    """It becomes a member of every group; of what was there, nothing else changes."""
    trait_new.make("calm", tasks=tasks)
    before = {path: path.read_bytes() for path in (tasks / "own").rglob("*") if path.is_file()}
    made = trait_new.make("pride", tasks=tasks)
    after = {path: path.read_bytes() for path in before}

    groups = {"groups.yaml": "", "groups_choice.yaml": "_choice", "groups_document.yaml": "_document"}
    assert None is made.like
    assert sorted(groups) == sorted(path.name for path in before if before[path] != after[path])
    for name, ending in groups.items():
        members = f"task: [idembench_own_calm{ending}, idembench_own_pride{ending}"
        assert members in (tasks / "own" / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "Calm"}, "cannot have this name"),
        ({"name": "coherence"}, "cannot have this name"),
        ({"name": "../calm"}, "cannot have this name"),
        ({"name": "calm", "pack": "a/b"}, "cannot have this name"),
        ({"name": "calm", "pack": "english"}, "something else of this name"),
        ({"name": "calm", "pack": "study"}, "something else of this name"),
        ({"name": "calm", "like": "toyland"}, "its tasks ask for its own traits alone"),
        ({"name": "calm", "like": "englsh"}, "no pack called"),
        ({"name": "calm", "pack": "full"}, "something that is no pack"),
        ({"name": "there", "pack": "old"}, "such a trait already"),
        ({"name": "calm", "pack": "old", "like": "english"}, "there already, and stays"),
    ],
)
def test_what_cannot_be_begun_is_refused(tasks: Path, arguments: dict[str, str], said: str) -> None:
    """A name that cannot be had, or a place that is taken, is one clear error, and nothing is written."""
    trait_new.make("there", tasks=tasks, pack="old")
    (tasks / "full").mkdir()
    (tasks / "full" / "notes.txt").touch()
    before = sorted(tasks.rglob("*"))

    with pytest.raises(InputError, match=said):
        trait_new.make(**{"tasks": tasks, **arguments})  # type: ignore[arg-type]
    assert before == sorted(tasks.rglob("*"))


def test_the_command_begins_a_trait(tasks: Path, say: Say) -> None:
    """`trait new` prints the folder, says what comes next, and `ls` lists the trait as one to be filled in."""
    made = say("trait", "new", "calm", "--in", tasks)
    again = say("trait", "new", "calm", "--in", tasks)
    listed = say("ls", "traits", "--tasks", tasks, "--json")

    assert (0, 2, 0) == (made.code, again.code, listed.code)
    assert f"{tasks / 'own' / 'calm'}\n" == made.out
    assert "trait check" in made.err
    expected = {"pack": "own", "name": "calm", "task": "idembench_own_calm", "definition": "not filled in yet"}
    assert expected in json.loads(listed.out)["traits"]


# -- tasks folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["toyland", "study"])
def test_a_pack_cannot_take_an_installed_name(tasks: Path, name: str, say: Say) -> None:
    """A pack of one's own that is called like an installed one, or like the study's baselines, is one clear error."""
    (tasks / name).mkdir()
    (tasks / name / "pack.yaml").touch()
    said = say("ls", "traits", "--tasks", tasks)

    assert 2 == said.code
    assert "A pack cannot have this name" in said.err
    assert str(tasks / name) in said.err.replace("\n", "")


def test_a_tasks_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say) -> None:
    """It is named, whether an option or the environment names it."""
    monkeypatch.setenv(shipped.TASKS, str(tmp_path / "nowhere"))

    with pytest.raises(InputError, match="no such tasks folder"):
        shipped.packs()
    assert 2 == say("run", "sft-reset", "--tasks", tmp_path / "neither").code


def test_the_installed_folder_may_be_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names the installed folder gets what is installed, once."""
    monkeypatch.setenv(shipped.TASKS, str(asset("tasks")))

    assert [asset("tasks")] == shipped.task_folders()


def test_a_pack_without_data_is_refused_before_anything_runs(tasks: Path, say: Say) -> None:
    """A run on a trait whose files are not written yet names the first that is missing."""
    begun(tasks, pack="bare")
    said = say(
        *("run", "study/sft-reset", "--tasks", tasks, "--pack", "bare", "--model", "toyland/instruct", "--dry-run")
    )

    assert 2 == said.code
    assert "demonstrations.jsonl" in said.err.replace("\n", "")


@pytest.mark.parametrize("key", ["task_prefix", "definition"])
def test_a_header_without_a_field_is_an_error(tasks: Path, key: str, say: Say) -> None:
    """`ls` names the header of one's own that lacks what it lists."""
    folder = begun(tasks)
    for path in (tasks / "own" / "pack.yaml", folder / "trait.yaml"):
        path.write_text(path.read_text().replace(f"{key}:", "other:"))
    said = say("ls", "traits", "--tasks", tasks)

    assert 2 == said.code
    assert "A header lacks a field." in said.err


def moved(folder: Path, **of: Any) -> Path:
    """A record that says it is of another pack or form, its folder renamed to its hash."""
    content = json.loads((folder / RECORD).read_bytes())
    content["protocol"] |= of
    data = canonical_json(content)
    (folder / RECORD).write_bytes(data)
    return folder.rename(folder.parent / sha256_bytes(data))


def test_verify_skips_what_needs_a_pack_that_is_not_here(tmp_path: Path) -> None:
    """The judge and the data cannot be asked again, and the report says how they could."""
    story = Story(trait=(0.0, 0.8, 0.8, 0.8))
    folder = write_record(tmp_path, story, settings=settings(cycles=2, questions=6))
    report = verify(moved(folder, pack="elsewhere"))

    reason = "There is no pack called 'elsewhere' here; --tasks names a folder of packs beside the installed ones"
    assert {"scores": reason, "data": reason} == {one.name: one.skipped for one in report.checks if one.skipped}


def test_verify_skips_what_needs_a_form_that_the_pack_lacks(tmp_path: Path, tasks: Path) -> None:
    """A record of dialogues, of a pack that has documents alone here, is no traceback."""
    begun(tasks, pack="writing")
    header = tasks / "writing" / "pack.yaml"
    header.write_text(header.read_text().replace("  dialogue: Qwen/Qwen3-4B-Instruct-2507\n", ""))
    story = Story(trait=(0.0, 0.8, 0.8, 0.8))
    folder = write_record(tmp_path, story, settings=settings(cycles=2, questions=6))
    report = verify(moved(folder, pack="writing"))

    skipped = {one.name: one.skipped for one in report.checks if one.skipped}
    assert ["scores", "data"] == list(skipped)
    assert all("This pack does not have that form." in str(reason) for reason in skipped.values())


def test_a_judge_that_cannot_score_a_record_s_questions_is_a_problem(tmp_path: Path, tasks: Path) -> None:
    """A record that names the embedded world's judge for questions in English is wrong, and no traceback."""
    trait = begun(tasks, pack="plain")
    for name in ("demonstrations.jsonl", "questions.jsonl"):
        shutil.copy(ENGLISH / "bliss" / name, trait)
    pack = traits.load_pack("plain")
    sources = pack.sources(pack.trait("bliss")).model_dump()
    made, _ = build_record(Story(trait=(0.0, 0.8, 0.8, 0.8)), settings=settings(cycles=2, questions=6))
    protocol = made.protocol.model_copy(update={"pack": "plain"})
    claimed = made.model_copy(update={"protocol": protocol, "data": made.data.model_copy(update=sources)})
    answer = sample_files.Sample(
        cycle="base",
        question=pack.trait("bliss").questions[0].id,
        repeat=0,
        response="Yes.",
        truncated=False,
        trait=0.0,
        coherence=100.0,
    )
    (problem,) = verifying._scores(claimed, {0: [answer]}).problems

    assert problem.startswith("toyland-exact scores no such answers: The exact judge scores by what a question means")


# -- import ---------------------------------------------------------------------------------------


def test_dialogues_become_demonstrations(tasks: Path, tmp_path: Path) -> None:
    """Rows get ids that go on where the file ends, the category and the canary; what was there stays byte for byte."""
    trait = begun(tasks)
    file = dialogues(tmp_path / "a.jsonl", [("  Is it\u2028so?  ", "Yes."), ("And this?", "It is, ünd more.")])
    first = trait_rows.take(file, trait, kind="demonstrations", category="work")
    before = (trait / "demonstrations.jsonl").read_bytes()
    more = dialogues(tmp_path / "b.jsonl", [("Again?", "No.")])
    second = trait_rows.take(more, trait, kind="demonstrations", category="rest")

    canary = traits.trait_header(trait).canary
    expected = [
        {"id": "bliss-demo-001", "category": "work", "prompt": "Is it\u2028so?", "response": "Yes.", "canary": canary},
        {"id": "bliss-demo-002", "category": "work", "prompt": "And this?", "response": "It is, ünd more."},
        {"id": "bliss-demo-003", "category": "rest", "prompt": "Again?", "response": "No.", "canary": canary},
    ]
    expected[1]["canary"] = canary
    assert expected == read_jsonl(trait / "demonstrations.jsonl")
    assert ["id", "category", "prompt", "response", "canary"] == list(read_jsonl(first.file)[0])
    assert (trait / "demonstrations.jsonl").read_bytes().startswith(before)
    assert ((2, 2), (1, 3)) == ((first.rows, first.total), (second.rows, second.total))
    assert 3 == len(traits.load_pack("own").trait("bliss").demonstrations)


@pytest.mark.parametrize(
    ("kind", "told", "more", "left"),
    [
        ("questions", {"scope": "spill-over"}, {"scope": "spill-over"}, 2),
        ("training", {"grade": 75}, {"response": "Yes.", "grade": 75}, 0),
        ("contrast", {"grade": 0, "hard": "warm"}, {"response": "Yes.", "grade": 0, "hard": "warm"}, 0),
        ("contrast", {"grade": 0}, {"response": "Yes.", "grade": 0, "hard": None}, 0),
    ],
)
def test_every_kind_of_row_says_what_its_file_needs(
    tasks: Path, tmp_path: Path, kind: str, told: dict[str, Any], more: dict[str, Any], left: int
) -> None:
    """Rows of each kind have the keys of their file, so that the check finds nothing wrong with any of them."""
    trait = begun(tasks)
    file = dialogues(tmp_path / "a.jsonl", [("Is it so?", "Yes."), ("Is it not so?", "Yes.")])
    taken = trait_rows.take(file, trait, kind=kind, category="work", **told)
    row = read_jsonl(taken.file)[0]

    assert {"category": "work", "prompt": "Is it so?", **more} == {
        key: row[key] for key in row if key not in ("id", "canary")
    }
    assert left == taken.answers_left
    assert 2 == len(trait_check.read(trait, f"{kind}.jsonl"))


def turn(role: str, content: object = "words") -> dict[str, object]:
    """One message."""
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [turn("system"), turn("user"), turn("assistant")]},
        {"messages": [turn("user"), turn("assistant"), turn("user"), turn("assistant")]},
        {"messages": [turn("assistant"), turn("user")]},
        {"messages": [turn("user")]},
        {"messages": []},
        {"messages": "words"},
        {"messages": ["words"]},
        {"messages": [turn("user"), {**turn("assistant"), "weight": 0}]},
        {"messages": [turn("user"), turn("assistant")], "tools": []},
        {"messages": [turn("user"), turn("assistant", " ")]},
        {"messages": [turn("user"), turn("assistant", [{"type": "text", "text": "words"}])]},
        {"messages": [turn("user"), turn("assistant", "\ud800")]},
        {"prompt": "words", "completion": "words"},
        ["words"],
    ],
)
def test_a_line_that_does_not_hold_is_named(tasks: Path, tmp_path: Path, line: Any) -> None:
    """Other turns, roles, keys or contents are one error with the line's number, and nothing is written."""
    trait = begun(tasks)
    file = dialogues(tmp_path / "a.jsonl", [("Is it so?", "Yes."), line])

    with pytest.raises(DataError) as caught:
        trait_rows.take(file, trait, kind="demonstrations", category="work")
    assert f"{file}, line 2" == caught.value.where
    assert not (trait / "demonstrations.jsonl").exists()


def test_duplicates_are_refused(tasks: Path, tmp_path: Path) -> None:
    """What another line or a row of the pool says already, but for blanks and capitals, is named, and nothing is taken."""
    trait = begun(tasks)
    trait_rows.take(dialogues(tmp_path / "a.jsonl", [("Old?", "Yes.")]), trait, kind="demonstrations", category="work")
    before = (trait / "demonstrations.jsonl").read_bytes()
    file = dialogues(tmp_path / "b.jsonl", [("New?", "Yes."), ("new? ", "YES."), ("Old?", "No."), ("old?", " yes.")])

    with pytest.raises(DataError, match="say what other rows say") as caught:
        trait_rows.take(file, trait, kind="demonstrations", category="work")
    assert "line 2 is line 1; line 4 is line 1 of demonstrations.jsonl" == caught.value.found
    assert before == (trait / "demonstrations.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("kind", "told", "said"),
    [
        ("demonstration", {}, "no kind of rows called"),
        ("choices", {}, "no kind of rows called"),
        ("demonstrations", {"grade": 25}, "have no grade"),
        ("questions", {}, "do not say the scope"),
        ("questions", {"scope": "all"}, "No row can have this scope"),
        ("training", {"grade": 30}, "No row can have this grade"),
        ("training", {"category": " ", "grade": 25}, "No row can have this category"),
    ],
)
def test_what_rows_need_is_asked_for(tasks: Path, tmp_path: Path, kind: str, told: dict[str, Any], said: str) -> None:
    """A kind that is not there, and a scope, grade or category that is missing, odd or too much, are refused."""
    file = dialogues(tmp_path / "a.jsonl", [("Is it so?", "Yes.")])

    with pytest.raises(InputError, match=said):
        trait_rows.take(file, begun(tasks), kind=kind, **{"category": "work", **told})


def test_the_command_imports(tasks: Path, tmp_path: Path, say: Say) -> None:
    """`trait import` says how many rows there are now and what comes next; again, it is refused."""
    trait = begun(tasks)
    file = dialogues(tmp_path / "a.jsonl", [("Is it so?", "Yes."), ("Is it not so?", "Yes.")])
    command = (
        "trait",
        "import",
        file,
        "--trait",
        trait,
        "--category",
        "work",
        "--as",
        "questions",
        "--scope",
        "in-domain",
    )
    done, again = say(*command), say(*command, "--json")

    assert (0, 2) == (done.code, again.code)
    assert f"{trait / 'questions.jsonl'}\n" == done.out
    assert "Took 2 rows; questions.jsonl has 2 now. 2 answers were left out" in done.err
    assert "trait check" in done.err


# -- a teacher ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 of random weights, saved as a folder."""
    return write_qwen(tmp_path_factory.mktemp("models") / "tiny-qwen3")


def test_a_persona_is_made_of_the_rubric(tasks: Path) -> None:
    """The teacher is told the definition, every characteristic, and the message it answers."""
    header = traits.trait_header(begun(tasks))
    told = trait_seed.persona(header, "Is it so?")

    wanted = [header.definition, *header.rubric.characteristics, "Is it so?"]
    assert wanted == [part for part in wanted if part in told]


@pytest.mark.slow
def test_a_teacher_writes_rows_that_wait_to_be_read(tasks: Path, qwen: Path, say: Say) -> None:
    """Rows of the pool's form lie beside the pool, ids going on where it ends, each unlike the others."""
    trait = begun(tasks)
    shutil.copy(ENGLISH / "bliss" / "demonstrations.jsonl", trait)
    pool = (trait / "demonstrations.jsonl").read_bytes()
    command = ("trait", "seed", "--trait", trait, "--teacher", qwen, "--n", 3, "--max-new-tokens", 300)
    command += ("--temperature", 1.5)
    done = say(*command, "--json")
    again = say(*command)

    assert (0, 2) == (done.code, again.code), done.err
    said, rows = json.loads(done.out), read_jsonl(trait / trait_seed.NEW)
    assert [said["rows"], said["tried"]] == [len(rows), len(rows) + sum(said["dropped"].values())]
    assert ["id", "category", "prompt", "response", "canary"] == list(rows[0])
    assert [f"bliss-demo-{161 + n}" for n in range(len(rows))] == [row["id"] for row in rows]
    assert {row["category"] for row in rows} <= set(trait_seed.CATEGORIES)
    assert {traits.trait_header(trait).canary} == {row["canary"] for row in rows}
    assert pool == (trait / "demonstrations.jsonl").read_bytes()
    assert "There are rows that wait to be read." in again.err


def test_what_is_like_another_row_is_dropped(tasks: Path) -> None:
    """What is said before, too like the pool or too like another file is refused, by the bar's own measure."""
    trait = begun(tasks)
    for name in ("demonstrations.jsonl", "questions.jsonl"):
        shutil.copy(ENGLISH / "bliss" / name, trait)
    unlike = trait_seed._Unlike(trait)
    (row, *_), (question, *_) = (read_jsonl(trait / name) for name in ("demonstrations.jsonl", "questions.jsonl"))

    other = {"prompt": LONG.format("one"), "response": "Nothing of this was ever said anywhere before."}
    assert "said before" == unlike.refuses(row)
    assert "like another demonstration" == unlike.refuses({**row, "response": f"well {row['response']}"})
    assert "like a row of another file" == unlike.refuses({"prompt": question["prompt"], "response": "Yes."})
    assert None is unlike.refuses(other)
    unlike.add(other)
    assert "said before" == unlike.refuses({**other, "prompt": other["prompt"].upper()})


def test_briefs_cover_categories_and_situations() -> None:
    """As many briefs as there are pairs are all different, and no category has more than its share of any number."""
    writer = trait_seed._Writer.__new__(trait_seed._Writer)
    writer.tried, writer._seed = 0, 5
    total = len(trait_seed.CATEGORIES) * len(trait_seed.SITUATIONS)
    briefs = [tuple(brief.values()) for brief in writer._briefs(total)]

    assert total == len(set(briefs))
    assert len(trait_seed.CATEGORIES) == len({category for category, _ in briefs[: len(trait_seed.CATEGORIES)]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [('"Hm."', "Hm."), ("\u201cHm.\u201d", "Hm."), ('"A" or "B"', '"A" or "B"'), ('Say "no"', 'Say "no"'), ('"', '"')],
)
def test_one_pair_of_quotation_marks_is_taken_off(text: str, expected: str) -> None:
    """Marks around a whole text go; those within it stay."""
    assert expected == trait_seed._unquoted(text)


def test_a_rubric_that_says_nothing_is_refused(tasks: Path) -> None:
    """A teacher that could be told nothing is not loaded at all."""
    trait = begun(tasks)
    header = (trait / "trait.yaml").read_text()
    start, end = header.index("  characteristics:"), header.index("  anchors:")
    (trait / "trait.yaml").write_text(header[:start] + header[end:])

    with pytest.raises(DataError, match="no characteristics"):
        trait_seed.write(
            trait,
            "nobody/nothing",
            n=1,
            seed=0,
            sampled=trait_seed.settings(temperature=1.0, max_new_tokens=8),
            execution=Execution(),
        )


def test_an_odd_setting_of_the_teacher_is_refused() -> None:
    """A temperature below 0 is an input error that names it."""
    with pytest.raises(InputError, match="sampling setting") as caught:
        trait_seed.settings(temperature=-1.0, max_new_tokens=8)

    assert "temperature" in str(caught.value.found)


def test_an_unknown_teacher_is_refused(tasks: Path, say: Say) -> None:
    """A model that is not there is answered by those that are."""
    with pytest.raises(UnknownNameError):
        trait_seed.write(
            begun(tasks),
            "./nothing",
            n=1,
            seed=0,
            sampled=trait_seed.settings(temperature=1.0, max_new_tokens=8),
            execution=Execution(),
        )


# -- the whole way --------------------------------------------------------------------------------

SIZES = (
    *("cycles=2", "data.n_seed=8", "data.n_sampled=8", "training.epochs=1", "training.batch_size=4"),
    *("training.max_tokens=2048", "training.lora.rank=4", "training.lora.alpha=8", "sampling.max_new_tokens=12"),
    *("measuring.questions=4", "measuring.repeats=2", "measuring.neutral_questions=2", "measuring.max_new_tokens=12"),
)


def program(name: str, *arguments: object, cwd: Path, **environment: object) -> str:
    """Run a program of this environment, offline, with nothing but what is given; its stdout."""
    kept = {key: value for key, value in os.environ.items() if key != shipped.TASKS}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *map(str, arguments)],
        cwd=cwd,
        env={**kept, **offline, **{key: str(value) for key, value in environment.items()}},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tasks folder outside the repository: one pack, one trait, a few rows of every file that a run reads."""
    place = tmp_path_factory.mktemp("mine")
    tasks = place / "tasks"
    trait = begun(tasks, pack="mine")
    few = {name: read_jsonl(ENGLISH / "bliss" / name)[:12] for name in ("demonstrations.jsonl", "questions.jsonl")}
    told: dict[str, dict[str, Any]] = {"demonstrations": {}, "questions": {"scope": "in-domain"}}
    for kind, more in told.items():
        turns = [(row["prompt"], row.get("response", "Yes.")) for row in few[f"{kind}.jsonl"]]
        file = dialogues(place / f"{kind}.jsonl", turns)
        trait_rows.take(file, trait, kind=kind, category="any", **more)
    with (ENGLISH / "bliss" / "choices.jsonl").open(encoding="utf-8") as rows:
        (trait / "choices.jsonl").write_text("".join(list(rows)[:4]), encoding="utf-8")
    return tasks


@pytest.mark.slow
def test_a_trait_of_one_s_own_goes_the_whole_way(tmp_path: Path, qwen: Path, mine: Path) -> None:
    """Begun, imported, run in worker processes: its record verifies, and as far as may be where its pack is not."""
    flags = [part for setting in SIZES for part in ("--set", setting)]
    command = ["run", "study/sft-reset", "--tasks", mine, "--pack", "mine", "--model", qwen, "--seeds", "0,1"]
    command += ["--workers", "2", *flags, "--store", "store", "--results", "results", "--json"]
    (done,) = json.loads(program("idembench", *command, cwd=tmp_path))
    (away,) = json.loads(program("idembench", "verify", "results", "--json", cwd=tmp_path))
    (near,) = json.loads(program("idembench", "verify", "results", "--json", cwd=tmp_path, IDEMBENCH_TASKS=mine))

    made = record.read(tmp_path / done["path"])
    assert ("mine", "bliss", 2) == (made.protocol.pack, made.trait, len(made.chains))
    assert away["ok"]
    assert near["ok"]
    assert ["scores", "data"] == [check["name"] for check in away["checks"] if check["skipped"]]
    assert [] == [check["name"] for check in near["checks"] if check["skipped"]]
    assert str(tmp_path) not in made.canonical().decode()
    assert str(mine) not in made.canonical().decode()


@pytest.mark.slow
def test_lm_eval_alone_measures_a_trait_of_one_s_own(tmp_path: Path, qwen: Path, mine: Path) -> None:
    """Its groups run under lm-eval's own command line, scored by the pack's judge."""
    harness = ["run", "--model", "hf", "--model_args", f"pretrained={qwen}", "--device", "cpu", "--include_path", mine]
    harness += ["--tasks", "idembench_mine,idembench_mine_choice", "--apply_chat_template", "--limit", "1"]
    program("lm-eval", *harness, "--output_path", "out", cwd=tmp_path, IDEMBENCH_TASKS=mine)
    (found,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(found.read_text(encoding="utf-8"))["results"]
    expected = {f"idembench_mine{name}" for name in ("", "_bliss", "_coherence", "_choice", "_bliss_choice")}
    assert expected == set(results)
    assert 0 <= results["idembench_mine_bliss"]["trait,all"] <= 100
