"""Scoring stored responses anew: a record of its own that verifies, names both judges, and is never ranked beside the other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest
from builders import Story, build_record, settings, write_record
from instant import make_cell, run_cell

from idembench import board, judges, record, sample_files, task_answers
from idembench.errors import InputError, RecordError
from idembench.files import find_records
from idembench.rejudge import rejudge
from idembench.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from saying import Say

    from idembench.judges import Score
    from idembench.traits import Question

DIVERGED = Story(diverged={1: "loss is not finite"})


class Grudging:
    """The exact judge, ten points less generous, that says why; it leaves out what it finds incoherent."""

    name: ClassVar[str] = "grudging"
    deterministic: ClassVar[bool] = True
    fingerprint = "9" * 64

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """Ten points less; no trait score for an incoherent answer."""
        score = judges.get("toyland-exact").score(question, response, trait=trait)
        if score.trait is None or score.coherence is None:
            return score
        less = None if score.coherence < 50 else max(0.0, score.trait - 10)
        return replace(score, trait=less, judged=json.dumps({"trait": {"was": score.trait}}))


@pytest.fixture(autouse=True)
def _grudging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the judge above one of the installed ones."""
    get = judges.get
    monkeypatch.setattr(judges, "get", lambda name, **how: Grudging() if name == "grudging" else get(name, **how))


@pytest.mark.parametrize("story", [Story(), DIVERGED], ids=["whole", "diverged"])
def test_a_record_scored_anew_verifies_and_names_both(tmp_path: Path, story: Story) -> None:
    """The new record has the same responses and steps, other scores, verifies with nothing left out, and names what it is from."""
    old, new, folder = rejudge(write_record(tmp_path, story), Grudging(), results=tmp_path)
    report = verify(folder)

    assert [] == [problem for check in report.checks for problem in check.problems]
    assert [] == [check.name for check in report.checks if check.skipped is not None]
    assert new == record.read(folder)
    assert ("grudging", "toyland-exact", old.id) == (new.judge.name, new.rejudged.judge.name, new.rejudged.record)
    for before, after in zip(old.chains, new.chains, strict=True):
        kept = [[step for step in line.lineage if step.kind != "judge"] for line in (before, after)]
        assert kept[0] == kept[1]
        assert len(before.lineage) == len(after.lineage)
        assert before.rows == after.rows


def test_what_was_answered_beside_is_kept_as_it_is(tmp_path: Path) -> None:
    """Answers to lm-eval tasks know no judge: the new record has the very same file, steps and accuracies, and verifies."""
    done = run_cell(make_cell(tasks=("idembench_toyland_bliss_choice:3",)), tmp_path)
    old, new, folder = rejudge(done.folder, Grudging(), results=tmp_path / "results")
    name = task_answers.file_name(0)

    assert (done.folder / name).read_bytes() == (folder / name).read_bytes()
    assert old.tasks == new.tasks
    assert [point.tasks for point in old.chains[0].checkpoints] == [point.tasks for point in new.chains[0].checkpoints]
    assert [] == [problem for check in verify(folder).checks for problem in [*check.problems, check.skipped] if problem]


def test_what_it_says_it_is_from_is_looked_up(tmp_path: Path) -> None:
    """Where the record it names is not here the check says so; where that holds other responses or another judge it is wrong."""
    _, new, alone = rejudge(write_record(tmp_path / "a"), Grudging(), results=tmp_path / "alone")
    other = write_record(tmp_path / "b", Story(trait=[0.02, 0.3, 0.3, 0.3, 0.3, 0.3]))
    false = new.rejudged.model_copy(update={"record": record.read(other).id}) if new.rejudged else None
    packed = {line.seed: (alone / line.samples.name).read_bytes() for line in new.chains}
    forged = record.write(tmp_path / "b", new.model_copy(update={"rejudged": false}), packed, {})

    assert ["rejudged"] == [check.name for check in verify(alone).checks if check.skipped is not None]
    assert ["rejudged"] == [check.name for check in verify(forged).checks if check.problems]


@pytest.mark.parametrize("name", ["hf:~nobody-of-that-name/x", f"hf:{'x' * 5000}", "openai:some-model", "nobody"])
def test_a_record_s_judge_is_never_looked_for(tmp_path: Path, name: str) -> None:
    """Whatever model or endpoint a record names, verifying it asks for none, and says so; at most what was kept is missed."""
    made, packed = build_record(Story(), settings=settings())
    judge = made.judge.model_copy(update={"name": name, "deterministic": False})
    checks = {
        one.name: one
        for one in verify(record.write(tmp_path, made.model_copy(update={"judge": judge}), packed, {})).checks
    }

    assert checks["scores"].skipped
    assert ":" not in name or checks["scores"].problems
    assert [] == [
        one for one in checks["scores"].problems if not one.endswith("nothing is kept of how the judge came to it")
    ]


def test_scores_are_those_of_the_new_judge(tmp_path: Path) -> None:
    """Every sample keeps its response and takes the new judge's scores, and how that came to them."""
    folder = write_record(tmp_path)
    old, _, anew = rejudge(folder, Grudging(), results=tmp_path / "anew")
    name = sample_files.file_name(old.chains[0].seed)
    before, after = (sample_files.unpack((place / name).read_bytes(), where=name) for place in (folder, anew))

    assert [row.response for row in before] == [row.response for row in after]
    for was, now in zip(before, after, strict=True):
        if was.trait is not None and now.trait is not None:
            assert max(0.0, was.trait - 10) == now.trait
            assert {"trait": {"was": was.trait}} == json.loads(now.judged or "")


def test_the_verifier_asks_the_new_judge(tmp_path: Path) -> None:
    """A score that the new judge does not give is found, although the sums all hold."""
    made, packed = build_record(Story(), settings=settings())
    record.write(tmp_path, made, packed, {})
    _, new, folder = rejudge(tmp_path / "records" / made.place, Grudging(), results=tmp_path / "anew")
    false = record.write(tmp_path / "false", new.model_copy(update={"judge": made.judge, "rejudged": None}), {}, {})
    for path in folder.glob("samples-*"):
        (false / path.name).write_bytes(path.read_bytes())
    wrong = {check.name for check in verify(false).checks if check.problems}

    assert {"lineage", "scores"} <= wrong


def test_scoring_anew_twice_still_names_the_first_judge(tmp_path: Path) -> None:
    """Back under the judge that made it, a record has its old scores, and names the record in between."""
    folder = write_record(tmp_path)
    old, between, anew = rejudge(folder, Grudging(), results=tmp_path / "anew")
    _, back, twice = rejudge(anew, judges.get("toyland-exact"), results=tmp_path / "twice")

    assert verify(twice).ok
    assert old.analysis == back.analysis
    assert (between.id, "toyland-exact") == (back.rejudged.record, back.rejudged.judge.name)


def test_it_is_not_ranked_and_supersedes_nothing(tmp_path: Path) -> None:
    """On the page both stand, one of them ranked; neither supersedes the other."""
    old, new, _ = rejudge(write_record(tmp_path), Grudging(), results=tmp_path)
    rows = board.build_index(tmp_path)["records"]
    standing = {
        name: (row["standing"], row["not_ranked"]) for row in rows for name in (old.id, new.id) if row["key"] in name
    }

    assert not record.supersedes(new, old)
    assert not record.supersedes(old, new)
    assert ("ranked", None) == standing[old.id]
    assert ("not ranked", "scored anew by grudging") == standing[new.id]


def test_what_cannot_be_scored_anew_is_refused(tmp_path: Path) -> None:
    """A record that does not hold and its own judge are each one clear error."""
    folder = write_record(tmp_path)
    with pytest.raises(InputError, match="This judge scored this record"):
        rejudge(folder, judges.get("toyland-exact"), results=tmp_path)
    (folder / sample_files.file_name(0)).write_bytes(b"")
    with pytest.raises(RecordError, match="does not hold") as caught:
        rejudge(folder, Grudging(), results=tmp_path)

    assert "samples-0.jsonl.gz" in str(caught.value.found)


def test_the_command_sets_both_side_by_side(tmp_path: Path, say: Say) -> None:
    """`idembench rejudge` prints a line under each judge and where the new record lies; run again it changes nothing."""
    folder = write_record(tmp_path / "old")
    said = say("rejudge", folder, "--judge", "grudging", "--results", tmp_path / "new")
    again = say("rejudge", folder, "--judge", "grudging", "--results", tmp_path / "new", "--json")
    none = say("rejudge", tmp_path / "nowhere", "--judge", "classifier")

    assert (0, 0, 2) == (said.code, again.code, none.code)
    assert "toyland-exact" in said.out
    assert "grudging" in said.out
    assert [str(path) for path in find_records(tmp_path / "new")] == [one["path"] for one in json.loads(again.out)]
    assert "scored these responses in" in say("show", json.loads(again.out)[0]["path"]).out


def test_a_judge_is_looked_up_once_for_a_whole_folder(
    tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records a folder has, what the judge has loaded serves for all; verifying looks up those of the records."""
    for name, story in (("a", Story()), ("b", DIVERGED)):
        write_record(tmp_path / "old" / name, story)
    get, named = judges.get, []
    monkeypatch.setattr(judges, "get", lambda name, **how: (named.append(name), get(name, **how))[1])

    said = say("rejudge", tmp_path / "old", "--judge", "grudging", "--results", tmp_path / "new", "--json")

    assert (0, 2) == (said.code, len(json.loads(said.out)))
    assert 1 == named.count("grudging")
