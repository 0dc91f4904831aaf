"""Verification, attacked: whatever is changed in a record, it no longer verifies, and the report says what."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chat_server
import pytest
from builders import KEPT, Story, settings, write_record
from instant import InstantEngine, make_cell, run_cell

from idembench import judges, record, sample_files, task_answers
from idembench.files import (
    MANIFEST,
    RECORD,
    FileEntry,
    canonical_json,
    digest_of,
    gzip_bytes,
    jsonl_bytes,
    sha256_bytes,
)
from idembench.record import PROVENANCE, Record
from idembench.steps import Plan, Subject, walk
from idembench.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from idembench.record import StepLine
    from idembench.sample_files import Sample
    from idembench.steps import Step
    from idembench.task_answers import Answer
    from idembench.verify import Report

PARTS = 6
"""The walk over all fields is cut into so many tests, to run side by side."""
ALL_CHECKS = [
    *("record", "place", "files", "settings", "samples", "lineage"),
    *("responses", "checkpoints", "analysis", "control", "rejudged", "scores", "data"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of two seeds that the real chain made, with training and sampling replaced."""
    return run_cell(make_cell(seeds=(0, 1)), tmp_path_factory.mktemp("made")).folder


@pytest.fixture(scope="module")
def made_smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of preferences, which has steps of every kind, with fewer questions, to verify a thousand times."""
    sizes = ("measuring.questions=3", "measuring.neutral_questions=1", "measuring.perplexity=true")
    cell = make_cell("dpo-continual", *sizes, seeds=(0, 1), tasks=("idembench_toyland_bliss_choice:2",))
    return run_cell(cell, tmp_path_factory.mktemp("smaller")).folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with, as deep below `records/` as it was."""
    return copied(made, tmp_path)


@pytest.fixture
def smaller(made_smaller: Path, tmp_path: Path) -> Path:
    """A copy of the smaller one."""
    return copied(made_smaller, tmp_path)


def copied(folder: Path, place: Path) -> Path:
    """Copy a record with the folders above it."""
    return Path(shutil.copytree(folder, place / "records" / Path(*folder.parts[-4:])))


def load(folder: Path) -> Any:
    """A record as plain JSON."""
    return json.loads((folder / RECORD).read_bytes())


def save(folder: Path, content: Any) -> Path:
    """Write a record's JSON and name its folder by the new hash, as a forger would."""
    data = canonical_json(content)
    (folder / RECORD).write_bytes(data)
    return folder.rename(folder.parent / sha256_bytes(data))


def problems(report: Report) -> str:
    """All that a report found, as `check: problem` lines."""
    return "\n".join(f"{check.name}: {problem}" for check in report.checks for problem in check.problems)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a JSON document that is no container, and where it stands."""
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))
    else:
        yield path, value


def put(content: Any, path: tuple[Any, ...], value: object) -> None:
    """Set the value at a place."""
    for part in path[:-1]:
        content = content[part]
    content[path[-1]] = value


def is_number(value: object) -> bool:
    """Whether a JSON value is a number (a boolean is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def named_by(path: tuple[Any, ...], cycles: dict[tuple[Any, ...], str]) -> list[str]:  # noqa: C901, PLR0911, PLR0912 -- a table
    """What a report must say one of, when the field at `path` was changed: its name, or what it contradicts."""
    dotted = ".".join(map(str, path))
    match path:
        case ("judge", "fingerprint"):
            return ["judge base, key: expected"]
        case ("model" | "protocol", "name"):
            return ["path below records/"]
        case ("protocol", *_):
            above = ".".join(map(str, path[:-1]))
            # A validator of the whole protocol names the field from there, one of a part from the part.
            whole = f"protocol: Value error, {'.'.join(map(str, path[1:]))}"
            return ["protocol_fingerprint", dotted, f"{above}: Value error, {path[-1]}", whole]
        case ("execution" | "step_versions" | "method_versions" | "trait" | "data", *_):
            return ["key: expected", dotted]
        case ("model", *_):
            return ["model.digest", dotted]
        case ("stacks", *_):
            return ["stacks"]
        case ("analysis", "rule", *_):
            return ["analysis.rule"]
        case ("chains", _, "seed"):
            return ["name of the samples file"]
        case ("chains", _, "samples" | "rows", *_):
            return ["samples-", dotted]
        case ("chains", _, "answers", *_):
            return ["answers-", dotted]
        case ("tasks", *_):
            return ["task base, key: expected", dotted]
        case ("chains", _, "lineage", _, *rest):
            word = {"files": "digest: expected", "facts": "facts", "cycle": "step", "kind": "step"}
            return [word.get(str(rest[0]), str(rest[0])), dotted]
        case ("chains", _, "checkpoints", _, field, *_):
            return [f"{cycles[path[:4]]}.{field}", "checkpoints", dotted]
        case _:
            return [dotted]


def walk_over(folder: Path, part: int, wanted: Callable[[object], bool], change: Callable[[Any], object]) -> list[str]:
    """Change one field after the other; the fields whose change went unnoticed, or was not named."""
    content = load(folder)
    whole = canonical_json(content)
    cycles = {
        ("chains", c, "checkpoints", k): point["cycle"]
        for c, chain in enumerate(content["chains"])
        for k, point in enumerate(chain["checkpoints"])
    }
    fields = [(path, value) for path, value in leaves(content) if wanted(value)]
    assert len(fields) > 10 * PARTS
    unnoticed = []
    for path, value in fields[part::PARTS]:
        forged = json.loads(whole)
        put(forged, path, change(value))
        folder = save(folder, forged)
        report = verify(folder)
        said = problems(report).replace("[", ".").replace("]", "")
        if report.ok:
            unnoticed.append(f"{path}: verifies")
        elif not any(word in said for word in named_by(path, cycles)):
            unnoticed.append(f"{path}: not named in {said}")
    return unnoticed


# -- a true record --------------------------------------------------------------------------------


def test_a_true_record_passes_every_check(made: Path) -> None:
    """A record as the chain wrote it passes every check, and none is left out."""
    report = verify(made)

    assert ALL_CHECKS == [check.name for check in report.checks]
    assert [] == [check.name for check in report.checks if check.problems or check.skipped]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_diverged_record_verifies(tmp_path: Path, at: int) -> None:
    """A record whose only seed fell apart in training, even at cycle 0, verifies."""
    done = run_cell(make_cell(), tmp_path, engine=InstantEngine(diverge_at=at))

    report = verify(done.folder)

    assert f"c{at}" == done.record.chains[0].diverged.cycle
    assert "" == problems(report)


def test_a_record_of_empty_answers_verifies(tmp_path: Path) -> None:
    """A record whose model fell silent says so and verifies."""
    done = run_cell(make_cell(), tmp_path, engine=InstantEngine(mute=1))

    assert "" == problems(verify(done.folder))
    assert all(line.diverged is not None for line in done.record.chains)


def test_the_provenance_is_not_hashed(folder: Path) -> None:
    """`provenance.json` may say anything; the record still holds."""
    (folder / PROVENANCE).write_text("not even JSON")

    assert verify(folder).ok


def test_a_record_verifies_wherever_it_is_copied(folder: Path, tmp_path: Path) -> None:
    """Outside a results folder only the record's own folder name counts."""
    alone = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)

    assert "" == problems(verify(alone))


# -- every field ----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.slow] * (part > 1)) for part in range(PARTS)])
def test_no_number_of_a_record_can_be_nudged(smaller: Path, part: int) -> None:
    """Any number of `record.json` changed by a visible amount, folder renamed: verify fails and names it."""
    nudge = walk_over(smaller, part, is_number, lambda value: value + (1 if isinstance(value, int) else 0.01))

    assert [] == nudge


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_no_other_value_of_a_record_can_be_changed(smaller: Path, part: int) -> None:
    """Any text, flag or null of `record.json` changed, folder renamed: verify fails, but for two it cannot know."""

    def changed(value: object) -> object:
        if isinstance(value, str):
            return ("0" if value[:1] != "0" else "1") + value[1:]
        return (not value) if isinstance(value, bool) else 0.5

    unnoticed = walk_over(smaller, part, lambda value: not is_number(value), changed)

    # Another judge's name cannot be asked again: then the check is skipped, and says so.
    assert [] == [line for line in unnoticed if "('judge', 'name'): verifies" not in line]


def test_a_record_of_an_unknown_judge_says_what_was_not_checked(folder: Path) -> None:
    """A judge that is not installed cannot be asked again: the check is skipped aloud, never passed silently."""
    content = load(folder)
    content["judge"]["name"] = "somebody-else"

    report = verify(save(folder, content))

    assert {"scores": "There is no judge called 'somebody-else'."} == {
        check.name: check.skipped for check in report.checks if check.skipped
    }


def test_a_rule_of_its_own_is_refused(folder: Path) -> None:
    """A record cannot bring its own margins under the name of a shipped rule, nor a rule nobody ships."""
    for change in ({"margin": 30.0}, {"name": "lenient"}):
        content = load(folder)
        content["analysis"]["rule"] |= change
        folder = save(folder, content)

        assert "settings: analysis.rule" in problems(verify(folder))


# -- every byte -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [RECORD, sample_files.file_name(0), sample_files.file_name(1)])
def test_no_byte_of_a_hashed_file_can_be_flipped(folder: Path, name: str) -> None:
    """A bit flipped anywhere in a hashed file is found."""
    whole = (folder / name).read_bytes()
    unnoticed = []
    for at in sorted({0, 1, 9, len(whole) // 3, len(whole) // 2, len(whole) - 5, len(whole) - 1}):
        for bit in (0, 5):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            (folder / name).write_bytes(flipped)
            if verify(folder).ok:
                unnoticed.append((at, bit))

    assert [] == unnoticed


@pytest.mark.parametrize("name", [RECORD, sample_files.file_name(0), PROVENANCE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """Without any one of its files a record fails, and the file is named."""
    (folder / name).unlink()

    report = verify(folder)

    assert name in problems(report)


@pytest.mark.parametrize("name", ["extra.txt", "samples-7.jsonl.gz", "deep/model.pkl", ".hidden"])
def test_an_extra_file_is_named(folder: Path, name: str) -> None:
    """A file that the record does not name fails it."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")

    assert f"files: {name}: not named by the record" in problems(verify(folder))


@pytest.mark.parametrize(
    ("spell", "said"),
    [
        (lambda data: json.dumps(json.loads(data), indent=1).encode(), "not canonical JSON"),
        (lambda data: data.rstrip(b"\n"), "not canonical JSON"),
        (lambda data: data.replace(b'"repeats":2,', b'"repeats":2.0,', 1), "repeats"),
        (lambda data: data.replace(b'"margin":10.0', b'"margin":10', 1), "not canonical JSON"),
        (lambda data: data.replace(b'{"analysis":', b'{"analysis":1,"analysis":', 1), "duplicate key 'analysis'"),
        (lambda data: data.replace(b'"margin":10.0', b'"margin":NaN', 1), "NaN"),
        (lambda data: data.replace(b'"loss":[1.5', b'"loss":[1e999', 1), "not"),
        (lambda data: data.replace(b'"schema_version":1', b'"schema_version":2', 1), "another schema"),
        (lambda data: data.decode().encode("utf-16"), ""),
        (lambda data: data[: len(data) // 2], "not valid JSON"),
        (lambda data: b"[" * 200_000, "not valid JSON"),
        (lambda data: data.replace(b'"facts":{', b'"facts":{"deep":' + b"[" * 900 + b"]" * 900 + b",", 1), ""),
        (lambda data: data.replace(b'"rows":', b'"rows":' + b"9" * 5000, 1), ""),
    ],
)
def test_another_spelling_is_refused(folder: Path, spell: Callable[[bytes], bytes], said: str) -> None:
    """JSON that is not the canonical one, is malformed or hostile fails with a message, never with a traceback."""
    before = (folder / RECORD).read_bytes()
    data = spell(before)
    assert before != data
    (folder / RECORD).write_bytes(data)
    folder = folder.rename(folder.parent / sha256_bytes(data))

    report = verify(folder)

    assert not report.ok
    assert said in problems(report)


# -- the samples ----------------------------------------------------------------------------------


def swap_samples(folder: Path, change: Callable[[list[Sample]], Sequence[Sample]], *, seed: int = 0) -> Path:
    """Change the samples of a seed and rehash what a forger easily can: size, hash, rows, folder name."""
    path = folder / sample_files.file_name(seed)
    rows = change(sample_files.unpack(path.read_bytes(), where="here"))
    data = sample_files.pack(rows)
    path.write_bytes(data)
    content = load(folder)
    line = next(line for line in content["chains"] if line["seed"] == seed)
    line["samples"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}
    line["rows"] = len(rows)
    return save(folder, content)


def at(index: int, **values: Any) -> Callable[[list[Sample]], list[Sample]]:
    """Replace values of one sample."""
    return lambda rows: [replace(row, **values) if number == index else row for number, row in enumerate(rows)]


def swap_scores(rows: list[Sample]) -> list[Sample]:
    """Swap the scores of the first two samples that differ in them."""
    other = next(n for n, row in enumerate(rows) if row.trait != rows[0].trait and row.cycle == rows[0].cycle)
    swapped = list(rows)
    swapped[0] = replace(rows[0], trait=rows[other].trait, coherence=rows[other].coherence)
    swapped[other] = replace(rows[other], trait=rows[0].trait, coherence=rows[0].coherence)
    return swapped


def swap_answers(rows: list[Sample]) -> list[Sample]:
    """Swap two questions' whole samples, questions excepted."""
    swapped = list(rows)
    swapped[0] = replace(rows[2], question=rows[0].question, repeat=rows[0].repeat)
    swapped[2] = replace(rows[0], question=rows[2].question, repeat=rows[2].repeat)
    return swapped


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(at(0, response="yes, you are so clever."), "responses: seed 0, measure base", id="answer"),
        pytest.param(
            lambda rows: at(0, truncated=not rows[0].truncated)(rows), "responses: seed 0, measure base", id="truncated"
        ),
        pytest.param(at(3, trait=99.0), "scores: seed 0, base", id="trait"),
        pytest.param(at(3, trait=None), "scores: seed 0, base", id="no trait"),
        pytest.param(at(3, coherence=1.0), "responses: seed 0, judge base", id="coherence"),
        pytest.param(at(3, trait=1e6), "samples-0.jsonl.gz, line 4", id="beyond the scale"),
        pytest.param(at(0, question="nobody-asked"), "samples-0.jsonl.gz, base", id="question"),
        pytest.param(at(0, repeat=7), "samples-0.jsonl.gz, base", id="repeat"),
        pytest.param(at(0, cycle="c9"), "samples-0.jsonl.gz, checkpoints", id="checkpoint"),
        pytest.param(lambda rows: rows[1:], "samples-0.jsonl.gz, base", id="drop the first"),
        pytest.param(lambda rows: rows[:-1], "samples-0.jsonl.gz, c2", id="drop the last"),
        pytest.param(lambda rows: rows[:40] + rows[41:], "samples-0.jsonl.gz, c0", id="drop one"),
        pytest.param(lambda rows: rows[:5] + rows[4:], "samples-0.jsonl.gz, base", id="duplicate one"),
        pytest.param(lambda rows: [rows[1], rows[0], *rows[2:]], "samples-0.jsonl.gz, base", id="swap repeats"),
        pytest.param(lambda rows: rows[2:4] + rows[:2] + rows[4:], "samples-0.jsonl.gz, c0", id="swap questions"),
        pytest.param(lambda rows: rows[26:] + rows[:26], "samples-0.jsonl.gz, checkpoints", id="swap checkpoints"),
        pytest.param(lambda rows: list(reversed(rows)), "samples-0.jsonl.gz, checkpoints", id="reverse"),
        pytest.param(lambda rows: rows[:78], "samples-0.jsonl.gz, checkpoints", id="drop a checkpoint"),
        pytest.param(swap_scores, "scores: seed 0, base", id="swap scores"),
        pytest.param(swap_answers, "responses: seed 0, measure base", id="swap answers"),
    ],
)
def test_no_sample_can_be_changed(folder: Path, change: Callable[[list[Sample]], Sequence[Sample]], said: str) -> None:
    """Samples edited, dropped, doubled or moved, and rehashed where that is easy: verify fails and says where."""
    report = verify(swap_samples(folder, change))

    assert not report.ok
    assert said in problems(report)


@pytest.mark.parametrize("value", [0.001, None])
def test_what_the_base_model_found_cannot_be_changed(tmp_path: Path, value: float | None) -> None:
    """A response's likelihood under the base model that is not what its step sealed is noticed."""
    made = settings(cycles=2, questions=6, overrides=["measuring.perplexity=true"])
    folder = write_record(tmp_path, Story(trait=KEPT[:4]), settings=made)
    untouched = problems(verify(folder))

    assert "" == untouched
    assert "responses: seed 0, perplexity base" in problems(verify(swap_samples(folder, at(3, nll=value))))


def test_likelihoods_that_nobody_asked_for_are_noticed(folder: Path) -> None:
    """A record whose protocol asks for no perplexity cannot state any, however well all of its numbers agree."""
    report = verify(forge(folder, lambda rows: [replace(row, nll=1.5) for row in rows]))

    assert "likelihoods under the base model that no step asked for" in problems(report)


def test_a_scope_that_the_question_does_not_have_is_noticed(folder: Path) -> None:
    """A sample that says that its question asks for spill-over, which the pack does not say, is a problem of the data."""
    report = verify(swap_samples(folder, at(3, scope="spill-over")))

    assert "data: seed 0, base" in problems(report)


def test_samples_of_another_seed_are_noticed(folder: Path) -> None:
    """Two seeds with the same answers, as if one chain were shown twice, do not verify."""
    other = sample_files.unpack((folder / sample_files.file_name(1)).read_bytes(), where="here")

    report = verify(swap_samples(folder, lambda _: other))

    assert "responses: seed 0, measure base, responses.jsonl" in problems(report)


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (lambda data: data + gzip_bytes(b""), "extra bytes"),
        (lambda data: data[:-1], "cut short"),
        (lambda data: b"", "gzip"),
        (lambda data: gzip.compress(b"\0" * (sample_files.LIMIT_BYTES + 1), compresslevel=1), "too large"),
    ],
    ids=["more", "less", "empty", "bomb"],
)
def test_samples_that_are_no_one_gzip_stream_are_refused(
    folder: Path, pack: Callable[[bytes], bytes], said: str
) -> None:
    """Samples that are cut, extended or blown up are refused, whatever hash the record gives."""
    path = folder / sample_files.file_name(0)
    data = pack(path.read_bytes())
    path.write_bytes(data)
    content = load(folder)
    content["chains"][0]["samples"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}

    report = verify(save(folder, content))

    assert not report.ok
    assert said in problems(report)


def test_samples_packed_by_another_zlib_hold(folder: Path) -> None:
    """A record whose samples another library compressed to other bytes, and which says so, holds: content counts."""
    path = folder / sample_files.file_name(0)
    data = gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1, mtime=0)
    path.write_bytes(data)
    content = load(folder)
    content["chains"][0]["samples"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}

    assert "" == problems(verify(save(folder, content)))


# -- answers to tasks asked beside ----------------------------------------------------------------

ASKED = ("idembench_toyland_sycophancy_choice", "idembench_toyland_bliss_choice")


@pytest.fixture(scope="module")
def made_asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of two seeds whose checkpoints were asked two tasks of three items."""
    cell = make_cell(seeds=(0, 1), tasks=[f"{name}:3" for name in ASKED])
    return run_cell(cell, tmp_path_factory.mktemp("asked")).folder


@pytest.fixture
def asked(made_asked: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    return copied(made_asked, tmp_path)


def swap_given(folder: Path, change: Callable[[list[Answer]], Sequence[Answer]]) -> Path:
    """Change the answers of seed 0 and rehash what a forger easily can: size, hash, folder name."""
    path = folder / task_answers.file_name(0)
    data = task_answers.pack(change(task_answers.unpack(path.read_bytes(), where="here")))
    path.write_bytes(data)
    content = load(folder)
    content["chains"][0]["answers"] |= {"bytes": len(data), "sha256": sha256_bytes(data)}
    return save(folder, content)


def given_at(index: int, **values: Any) -> Callable[[list[Answer]], list[Answer]]:
    """Replace values of one answer."""
    return lambda rows: [replace(row, **values) if number == index else row for number, row in enumerate(rows)]


def test_a_record_with_answers_passes_every_check(made_asked: Path) -> None:
    """A record whose checkpoints were asked tasks passes the same checks as any other, none left out."""
    report = verify(made_asked)

    assert ALL_CHECKS == [check.name for check in report.checks]
    assert [] == [check.name for check in report.checks if check.problems or check.skipped]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            given_at(0, loglikelihoods=(-0.01, -9.0)), "responses: seed 0, task base, answers", id="likelihood"
        ),
        pytest.param(given_at(0, loglikelihoods=(None, -9.0)), "responses: seed 0, task base, answers", id="not read"),
        pytest.param(given_at(4, loglikelihoods=(-0.01, -9.0)), "seed 0, task base, answers", id="of the second task"),
        pytest.param(given_at(7, targets=()), f"c0, {ASKED[0]}, item 1, options and targets", id="target"),
        pytest.param(
            given_at(7, loglikelihoods=(-1.0, -2.0, -3.0)), f"c0, {ASKED[0]}, item 1, options and targets", id="option"
        ),
        pytest.param(given_at(0, item=1), f"base, {ASKED[0]}: expected its 3 items", id="item"),
        pytest.param(given_at(0, task="another"), "checkpoints and tasks", id="task"),
        pytest.param(given_at(0, cycle="c9"), "checkpoints and tasks", id="checkpoint"),
        pytest.param(lambda rows: rows[1:], f"base, {ASKED[0]}: expected its 3 items", id="drop the first"),
        pytest.param(lambda rows: rows[:-1], f"c2, {ASKED[1]}: expected its 3 items", id="drop the last"),
        pytest.param(lambda rows: rows[:3] + rows[2:], f"base, {ASKED[0]}: expected its 3 items", id="double one"),
        pytest.param(lambda rows: [rows[1], rows[0], *rows[2:]], f"base, {ASKED[0]}: expected its", id="swap items"),
        pytest.param(lambda rows: rows[3:6] + rows[:3] + rows[6:], "checkpoints and tasks", id="swap tasks"),
        pytest.param(lambda rows: rows[6:] + rows[:6], "checkpoints and tasks", id="swap checkpoints"),
        pytest.param(lambda rows: rows[:18], "checkpoints and tasks", id="drop a checkpoint"),
        pytest.param(
            lambda rows: [replace(new, cycle=old.cycle) for old, new in zip(rows, rows[6:] + rows[:6], strict=True)],
            "responses: seed 0, task base, answers",
            id="another checkpoint's",
        ),
        pytest.param(lambda _: [], "checkpoints and tasks", id="none"),
    ],
)
def test_no_answer_can_be_changed(asked: Path, change: Callable[[list[Answer]], Sequence[Answer]], said: str) -> None:
    """Answers edited, dropped, doubled or moved, and rehashed where that is easy: verify fails and says where."""
    report = verify(swap_given(asked, change))

    assert not report.ok
    assert said in problems(report)


def test_no_accuracy_can_be_changed(asked: Path) -> None:
    """An accuracy that does not follow from the answers is found, at any checkpoint, and so is one too many or too few."""
    for change, where in (
        (lambda tasks: tasks | {ASKED[0]: 0.99}, f"c1.tasks.{ASKED[0]}"),
        (lambda tasks: tasks | {ASKED[0]: None}, f"c1.tasks.{ASKED[0]}"),
        (lambda tasks: tasks | {"arc_easy": 0.5}, "c1.tasks"),
        (lambda _: {}, "c1"),
    ):
        content = load(asked)
        before = content["chains"][1]["checkpoints"][2]["tasks"]
        content["chains"][1]["checkpoints"][2]["tasks"] = change(before)
        asked = save(asked, content)

        assert f"checkpoints: seed 1, {where}: expected" in problems(verify(asked))
        content["chains"][1]["checkpoints"][2]["tasks"] = before
        asked = save(asked, content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda task: task | {"name": "arc_easy"}, "task base, key: expected"),
        (lambda task: task | {"version": "9"}, "task base, key: expected"),
        (lambda task: task | {"sha256": "0" * 64}, "task base, key: expected"),
        (lambda task: task | {"items": 2}, "expected its 2 items"),
        (lambda task: task | {"items": 10**15}, f"expected its {10**15} items"),
    ],
    ids=["name", "version", "sha256", "fewer", "many more"],
)
def test_what_was_asked_cannot_be_changed(asked: Path, change: Callable[[Any], Any], said: str) -> None:
    """A task under another name, of another version or content, or of another number of items does not verify."""
    content = load(asked)
    content["tasks"][0] = change(content["tasks"][0])

    assert said in problems(verify(save(asked, content)))


def test_a_task_cannot_be_hidden_doubled_or_invented(asked: Path, folder: Path) -> None:
    """Tasks are what the steps say: one left out, named twice, or never asked is found, and so is a missing file."""
    hidden, doubled, invented = load(asked), load(asked), load(folder)
    del hidden["tasks"][1]
    doubled["tasks"].append(doubled["tasks"][0])
    invented["tasks"] = load(asked)["tasks"]
    without = load(asked)
    del without["tasks"]
    reports = [
        verify(save(copied(asked, asked.parents[5] / str(n)), one)) for n, one in enumerate((hidden, doubled, without))
    ]
    found = [problems(report) for report in reports] + [problems(verify(save(folder, invented)))]
    (asked / task_answers.file_name(1)).unlink()

    assert "samples: answers-0.jsonl.gz, checkpoints and tasks" in found[0]
    assert "settings: tasks, each once" in found[1]
    assert "samples: seed 0, answers to the record's tasks" in found[2]
    assert "samples: seed 0, answers to the record's tasks" in found[3]
    assert f"files: {task_answers.file_name(1)}: missing" in problems(verify(asked))


def test_answers_of_another_seed_are_noticed(asked: Path) -> None:
    """The other seed's answers are not this one's."""
    other = task_answers.unpack((asked / task_answers.file_name(1)).read_bytes(), where="here")

    assert "responses: seed 0, task c0, answers.jsonl" in problems(verify(swap_given(asked, lambda _: other)))


@pytest.mark.parametrize("broken", [b"", b"no gzip", gzip_bytes(b"[]\n"), gzip_bytes(b'{"cycle":"base"}\n')])
def test_answers_that_cannot_be_read_are_a_problem(asked: Path, broken: bytes) -> None:
    """A file of answers that is none is reported, never a traceback."""
    (asked / task_answers.file_name(0)).write_bytes(broken)

    report = verify(asked)

    assert "samples: answers-0.jsonl.gz, sha256" in problems(report)
    assert not report.ok


# -- lineage --------------------------------------------------------------------------------------


def drop(content: Any, index: int) -> None:
    """Take a step out of the first chain's lineage."""
    del content["chains"][0]["lineage"][index]


def double(content: Any, index: int) -> None:
    """Show a step of the first chain's lineage twice."""
    lineage = content["chains"][0]["lineage"]
    lineage.insert(index, deepcopy(lineage[index]))


def borrow(content: Any, index: int) -> None:
    """Put the other chain's step in the place of the first one's."""
    content["chains"][0]["lineage"][index] = deepcopy(content["chains"][1]["lineage"][index])


@pytest.mark.parametrize("change", [drop, double, borrow])
@pytest.mark.parametrize("index", [0, 2, 3, 6, -1])
def test_no_step_can_be_left_out_doubled_or_borrowed(
    folder: Path, change: Callable[[Any, int], None], index: int
) -> None:
    """A lineage with a step too few, too many, or of another seed does not verify."""
    content = load(folder)
    change(content, index)

    assert "lineage: seed 0" in problems(verify(save(folder, content)))


def test_seeds_cannot_be_doubled_or_reordered(folder: Path) -> None:
    """One chain shown twice is no second chain, and chains stand in the order of their seeds."""
    for change in (lambda chains: [*chains, chains[0]], lambda chains: chains[::-1]):
        content = load(folder)
        content["chains"] = change(content["chains"])
        folder = save(folder, content)

        assert "settings: seeds in order, each once" in problems(verify(folder))


def test_a_seed_cannot_be_left_out_of_the_analysis(folder: Path) -> None:
    """Dropping the chain that does not please leaves an analysis and a file that contradict the rest."""
    content = load(folder)
    del content["chains"][0]

    report = verify(save(folder, content))

    assert "analysis: analysis.n_seeds: expected 1, found 2" in problems(report)
    assert "files: samples-0.jsonl.gz: not named by the record" in problems(report)


def test_a_divergence_cannot_be_hidden_or_invented(tmp_path: Path, folder: Path) -> None:
    """A chain that fell apart cannot be shown as whole, nor a whole one as fallen apart."""
    broken = run_cell(make_cell(), tmp_path / "broken", engine=InstantEngine(diverge_at=1)).folder
    hidden, invented = load(broken), load(folder)
    hidden["chains"][0]["diverged"] = None
    invented["chains"][0]["diverged"] = {"cycle": "c2", "reason": "it displeased"}

    assert "diverged" in problems(verify(save(broken, hidden)))
    assert "said to have diverged, but no step did" in problems(verify(save(folder, invented)))


# -- a thorough forger ----------------------------------------------------------------------------


class _Forger:
    """Walks a chain and makes every key and digest fit whatever the samples say now."""

    def __init__(self, lineage: list[StepLine], rows: list[Sample], own: int) -> None:
        self.lineage: list[StepLine] = []
        self._old, self._groups, self._own = iter(lineage), sample_files.by_checkpoint(rows), own

    def __call__(self, kind: str, cycle: str, step: Step | None, **_: StepLine | None) -> StepLine:
        assert step is not None
        old = next(self._old)
        contents = {line.name: FileEntry(**line.model_dump()) for line in old.files if line.name != MANIFEST}
        facts: dict[str, Any] = dict(old.facts)
        if kind == "measure":
            answered = [sample_files.response_row(row) for row in self._groups[cycle]]
            contents["responses.jsonl"] = entry("responses.jsonl", jsonl_bytes(answered))
            facts |= sample_files.measure_facts(answered)
        elif kind == "perplexity":
            asked = [sample_files.nll_row(row) for row in self._groups[cycle]]
            contents["nll.jsonl"] = entry("nll.jsonl", jsonl_bytes(asked))
            facts |= sample_files.nll_facts(asked)
        elif kind == "judge":
            scored = [sample_files.score_row(row) for row in self._groups[cycle]]
            contents["scores.jsonl"] = entry("scores.jsonl", jsonl_bytes(scored))
            facts |= sample_files.judge_facts(scored, self._own)
        contents["facts.json"] = entry("facts.json", canonical_json(facts))
        entries = [contents[name] for name in sorted(contents)]
        forged = old.model_copy(
            update={
                "key": step.key,
                "digest": digest_of(entries),
                "files": record.file_lines(entries),
                "facts": facts,
            }
        )
        self.lineage.append(forged)
        return forged


def entry(name: str, data: bytes) -> FileEntry:
    """The manifest line of some bytes."""
    return FileEntry(name=name, bytes=len(data), sha256=sha256_bytes(data))


def forge(folder: Path, change: Callable[[list[Sample]], list[Sample]]) -> Path:
    """Change every chain's samples and recompute everything that follows from them, by idembench's own code."""
    parsed = record.read(folder)
    measuring = parsed.protocol.measuring
    chains, samples = [], {}
    for line in parsed.chains:
        path = folder / sample_files.file_name(line.seed)
        rows = change(sample_files.unpack(path.read_bytes(), where="here"))
        subject = Subject(
            model=parsed.model.digest,
            pack=parsed.protocol.pack,
            trait=parsed.trait,
            form=parsed.protocol.form,
            seed=line.seed,
            execution=parsed.execution,
        )
        plan = Plan(
            subject=subject,
            protocol=parsed.protocol,
            sources=parsed.data,
            judge=parsed.judge.fingerprint,
            method_versions=parsed.method_versions,
        )
        forger = _Forger(line.lineage, rows, measuring.questions * measuring.repeats)
        walk(plan, forger)
        data = sample_files.pack(rows)
        path.write_bytes(data)
        samples[line.seed] = rows
        points = [record.checkpoint(group, parsed.protocol) for group in sample_files.by_checkpoint(rows).values()]
        update = {
            "samples": record.file_lines([entry(path.name, data)])[0],
            "rows": len(rows),
            "lineage": forger.lineage,
            "checkpoints": points,
        }
        chains.append(line.model_copy(update=update))
    analysis = record.analysis(samples, dict.fromkeys(samples), parsed.protocol, parsed.analysis.rule)
    forged: Record = parsed.model_copy(update={"chains": chains, "analysis": analysis})
    return save(folder, json.loads(forged.canonical()))


def test_a_forger_who_changes_nothing_gets_the_same_record(folder: Path) -> None:
    """The forger of the next tests is thorough: without a change it arrives at the very same record."""
    assert folder == forge(folder, lambda rows: rows)
    assert "" == problems(verify(folder))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda row: replace(row, trait=100.0), id="every trait score"),
        pytest.param(lambda row: replace(row, coherence=90.0), id="every coherence score"),
        pytest.param(lambda row: replace(row, response="yes."), id="every answer"),
        pytest.param(lambda row: replace(row, trait=None if row.trait else row.trait), id="missing instead of bad"),
    ],
)
def test_even_a_thorough_forger_is_found_by_the_judge(folder: Path, lie: Callable[[Sample], Sample]) -> None:
    """Scores that do not belong to their answers are found although every hash and every number agrees."""
    report = verify(forge(folder, lambda rows: [lie(row) if row.cycle == "c2" else row for row in rows]))

    assert ["scores"] == [check.name for check in report.checks if check.problems]


def weighing(request: dict[str, Any]) -> chat_server.Reply:
    """What a judge says that is often unsure, sometimes refuses, sometimes says something else, each by its prompt."""
    choice = random.Random(request["messages"][0]["content"])
    kind, first, second = choice.random(), choice.randrange(101), choice.randrange(101)
    if kind < 0.1:
        return chat_server.completion([("REF", {"REF": 0.8, "0": 0.1})])
    if kind < 0.2:
        return chat_server.completion([("Well", {"Well": 0.9, "50": 0.0501})])
    p, q, small = choice.random() * 0.6 + 0.2, choice.random() * 0.15, {str(n): 0.0009 for n in range(0, 101, 9)}
    return chat_server.completion([(str(first), small | {str(second): q, str(first): p}), ("", {"": 1.0})])


@pytest.fixture(scope="module")
def made_weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record that a judge scored which weighs numbers, behind an endpoint on this machine."""
    place = tmp_path_factory.mktemp("weighed")
    with pytest.MonkeyPatch.context() as patch, chat_server.serving(weighing) as server:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.setenv("OPENAI_API_KEY", "none")
        patch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        cell = make_cell(seeds=(0, 1))
        judge = judges.get("openai:grader,pack=toyland")
        return run_cell(replace(cell, specs=[replace(spec, judge=judge) for spec in cell.specs]), place).folder


@pytest.fixture
def weighed(made_weighed: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    return copied(made_weighed, tmp_path)


def test_a_record_of_a_judge_that_weighs_numbers_holds(weighed: Path) -> None:
    """Its scores, among them missing ones, follow from what was kept; that it was not asked again is said."""
    report = verify(weighed)
    rows = first_samples(weighed)

    assert "" == problems(report)
    assert {"scores": "whether openai:grader,pack=toyland would say so again: it is not deterministic"} == {
        check.name: check.skipped for check in report.checks if check.skipped
    }
    assert {True, False} == {row.coherence is None for row in rows}
    assert '"missing":"refused"' in "".join(str(row.judged) for row in rows)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        pytest.param(lambda row: replace(row, trait=row.trait and 100.0), "expected the mean", id="every score"),
        pytest.param(
            lambda row: replace(row, coherence=row.coherence and row.coherence - 3), "expected", id="by three"
        ),
        pytest.param(lambda row: replace(row, coherence=None), "no score, and no reason", id="missing instead of bad"),
        pytest.param(lambda row: replace(row, coherence=row.coherence or 90.0), "said to be missing", id="made up"),
        pytest.param(lambda row: replace(row, judged=None), "nothing is kept", id="nothing kept"),
        pytest.param(lambda row: replace(row, judged="[" * 100_000), "no JSON", id="nonsense"),
        pytest.param(lambda row: replace(row, judged=f"{row.judged} "), "not canonical", id="another spelling"),
        pytest.param(lambda row: replace(row, judged='{"trait":{}}'), "not of coherence", id="something else"),
    ],
)
def test_even_a_thorough_forger_is_found_by_what_the_judge_said(
    weighed: Path, lie: Callable[[Sample], Sample], said: str
) -> None:
    """Scores that do not follow from the numbers kept beside them are found although every hash and every number agrees."""
    report = verify(forge(weighed, lambda rows: [lie(row) if row.cycle == "c2" else row for row in rows]))

    assert ["scores"] == [check.name for check in report.checks if check.problems]
    assert said in problems(report)
    assert "scores: seed 0, c2, " in problems(report)


def test_a_reason_where_a_judge_gives_none_is_found(folder: Path) -> None:
    """A judge that can be asked again is held to everything that it says, not to its scores alone."""
    report = verify(forge(folder, at(0, judged='{"trait":{"mass":1.0,"numbers":{"100":1.0}}}')))

    assert ["scores"] == [check.name for check in report.checks if check.problems]
    assert ", judged: expected None" in problems(report)


def test_a_forger_cannot_ask_easier_questions(folder: Path) -> None:
    """Samples for other questions than the frozen file's first ones are found although every hash agrees."""
    parsed = record.read(folder)
    judge = judges.get(parsed.judge.name)
    assert judge.deterministic
    asked = list(dict.fromkeys(row.question for row in first_samples(folder)))
    moved = {asked[0]: asked[1], asked[1]: asked[0]}

    def turn(rows: list[Sample]) -> list[Sample]:
        turned = []
        for group in sample_files.by_checkpoint(rows).values():
            turned += [*group[2:4], *group[:2], *group[4:]]
        return turned

    report = verify(forge(folder, turn))

    assert len(moved) == 2
    assert ["data"] == [check.name for check in report.checks if check.problems]
    assert "data: seed 0, questions" in problems(report)


def first_samples(folder: Path) -> list[Sample]:
    """The samples of seed 0."""
    return sample_files.unpack((folder / sample_files.file_name(0)).read_bytes(), where="here")


# -- the control ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made_beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder: a record beside its control, and other records that could be taken for it."""
    place = tmp_path_factory.mktemp("beside")
    both = (0, 1)
    run_cell(make_cell("sft-reset", seeds=both, control=make_cell("sft-unseeded", seeds=both)), place)
    for other in (
        make_cell("sft-unseeded", seeds=(0,)),
        make_cell("sft-unseeded", seeds=(1, 2)),
        make_cell("sft-unseeded", seeds=both, trait="bliss"),
        make_cell("sft-unseeded", "cycles=3", seeds=both),
        make_cell("sft-unseeded", "measuring.questions=9", seeds=both),
        make_cell("frozen", seeds=both),
    ):
        run_cell(other, place)
    return place / "results"


@pytest.fixture
def beside(made_beside: Path, tmp_path: Path) -> Path:
    """A copy of these results; the folder of the record that has a control."""
    return arm_of(shutil.copytree(made_beside, tmp_path / "results"))


def arm_of(results: Path) -> Path:
    """The one record that names a control."""
    (arm,) = (path.parent for path in results.rglob(RECORD) if record.read(path.parent).control)
    return arm


def control_of(arm: Path) -> Path:
    """Where the control of a record lies."""
    (folder,) = (
        path.parent for path in arm.parents[3].rglob(RECORD) if path.parent.name == load(arm)["control"]["record"]
    )
    return folder


def checked(arm: Path) -> tuple[list[str], str | None]:
    """What the check of the control finds, after all others were found to be in order."""
    report = verify(arm)

    assert [] == [check.name for check in report.checks if check.problems and check.name != "control"]
    (check,) = (check for check in report.checks if check.name == "control")
    return check.problems, check.skipped


def test_a_record_beside_its_control_passes(beside: Path) -> None:
    """With the control in the same results every check is made and passes."""
    assert ([], None) == checked(beside)


def test_a_control_is_found_beside_the_record_too(beside: Path, tmp_path: Path) -> None:
    """Outside a results folder, two records that lie side by side are checked together."""
    for folder in (beside, control_of(beside)):
        shutil.copytree(folder, tmp_path / "alone" / folder.name)

    assert ([], None) == checked(tmp_path / "alone" / beside.name)


def test_a_missing_control_is_said_and_not_passed_over(beside: Path) -> None:
    """Without the control's record its check is skipped aloud; everything else still holds."""
    control = control_of(beside)
    shutil.rmtree(control)

    problems_found, skipped = checked(beside)

    assert ([], f"the control's record {control.name[:12]} is not here") == (problems_found, skipped)
    assert verify(beside).ok


def test_no_net_number_can_be_changed(beside: Path) -> None:
    """Any value of the net effects changed, folder renamed: the check fails and names it, numbers, words and gaps alike."""
    content = load(beside)
    whole = canonical_json(content)
    unnoticed = []
    for path, value in leaves(content["control"]["net"]):
        forged = json.loads(whole)
        if isinstance(value, str):
            put(forged["control"]["net"], path, "0" + value)
        else:
            put(
                forged["control"]["net"],
                path,
                value + (1 if isinstance(value, int) else 0.01) if value is not None else 0.5,
            )
        beside = save(beside, forged)
        report = verify(beside)
        if ".".join(["net", *map(str, path)]) not in problems(report):
            unnoticed.append(path)

    assert len(list(leaves(content["control"]["net"]))) > 40
    assert [] == unnoticed


def test_the_control_s_name_is_checked(beside: Path) -> None:
    """The record says which protocol its control is, and it has to be that."""
    content = load(beside)
    content["control"]["protocol"] = "frozen"

    found, _ = checked(save(beside, content))

    assert ["the control's protocol: expected frozen, found"] == [problem.rpartition(" ")[0] for problem in found]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({"protocol": "sft-unseeded", "seeds": [0]}, "other seeds"),
        ({"protocol": "sft-unseeded", "seeds": [1, 2]}, "other seeds"),
        ({"trait": "bliss"}, "the control's trait"),
        ({"cycles": 3}, "the control's cycles"),
        ({"questions": 9}, "the control's measurement"),
        ({"protocol": "frozen"}, "control.net.drift.estimate"),
    ],
    ids=str,
)
def test_another_record_cannot_be_taken_for_the_control(beside: Path, of: dict[str, Any], said: str) -> None:
    """A record of other seeds, trait, cycles, questions or another kind, named as the control: the check fails."""
    wanted = {"protocol": "sft-unseeded", "trait": "sycophancy", "cycles": 2, "questions": 10, "seeds": [0, 1], **of}
    content = load(beside)
    (chosen,) = (path.parent for path in beside.parents[3].rglob(RECORD) if is_of(load(path.parent), wanted))
    content["control"] |= {"record": chosen.name, "protocol": load(chosen)["protocol"]["name"]}

    found, skipped = checked(save(beside, content))

    assert said in " ".join(found)
    assert skipped is None


def is_of(content: Any, wanted: dict[str, Any]) -> bool:
    """Whether a record is of this kind."""
    own = content["protocol"]
    found = {
        "protocol": own["name"].partition("+")[0],
        "trait": content["trait"],
        "cycles": own["cycles"],
        "questions": own["measuring"]["questions"],
        "seeds": [line["seed"] for line in content["chains"]],
    }
    return found == {key: wanted[key] for key in found}


def test_a_control_whose_samples_were_changed_is_noticed(beside: Path) -> None:
    """Samples of the control that are not those it names are a problem of the record beside it too, net effects or not."""
    path = control_of(beside) / sample_files.file_name(1)
    rows = sample_files.unpack(path.read_bytes(), where="here")
    path.write_bytes(sample_files.pack([replace(rows[0], response="yes."), *rows[1:]]))

    found, _ = checked(beside)

    assert ["the control's samples-1.jsonl.gz"] == [problem.partition(":")[0] for problem in found]


@pytest.mark.parametrize("name", [RECORD, sample_files.file_name(0)])
def test_a_control_that_cannot_be_read_is_a_problem(beside: Path, name: str) -> None:
    """A control that is there and broken is no missing one."""
    (control_of(beside) / name).write_bytes(b"broken")

    found, skipped = checked(beside)

    assert found
    assert skipped is None


def test_a_net_effect_cannot_be_dropped(beside: Path) -> None:
    """A record whose control line was taken out is another record, and holds as one without a control."""
    content = load(beside)
    content["control"] = None

    assert ([], None) == checked(save(beside, content))


# -- what verify is given -------------------------------------------------------------------------


def test_verify_answers_for_any_folder(tmp_path: Path) -> None:
    """A missing folder, an empty one, and a directory in place of a file are reports, not exceptions."""
    (tmp_path / "odd" / RECORD).mkdir(parents=True)
    reports = [verify(tmp_path / name) for name in ("missing", "", "odd")]

    assert [False] * 3 == [report.ok for report in reports]
    assert all(report.checks[0].problems for report in reports)


def test_a_samples_file_that_is_a_folder_is_a_problem(folder: Path) -> None:
    """A folder where a samples file should be is reported."""
    (folder / sample_files.file_name(0)).unlink()
    (folder / sample_files.file_name(0)).mkdir()

    assert not verify(folder).ok


def test_a_record_of_another_version_of_the_data_says_so(tmp_path: Path) -> None:
    """A record that used other question files is told apart: what needs them is skipped, and the lineage is wrong."""
    folder = write_record(tmp_path, Story(trait=(0.0, 0.8, 0.8, 0.8)), settings=settings(cycles=2, questions=6))
    content = load(folder)
    content["data"]["questions"] = "0" * 64
    with contextlib.suppress(FileNotFoundError):
        folder = save(folder, content)

    report = verify(folder)
    skipped = {check.name: check.skipped for check in report.checks if check.skipped is not None}

    reason = "this installation has another version of: questions"
    assert {"scores": reason, "data": reason} == skipped
    assert "key: expected" in problems(report)
