"""The bar for trait data: a folder that meets it has no problem, and each way of missing it is named."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from idembench import trait_check, traits
from idembench.errors import DataError
from idembench.files import asset, read_jsonl

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Say

GRADES = trait_check.GRADES
CANARY = traits.trait_header(asset("tasks") / "english" / "bliss").canary.partition(": ")[0]
SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fe",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "ri",
    "so",
    "tu",
    "va",
    "we",
    "xi",
    "yo",
    "zu",
]


def text(words: random.Random, n: int) -> str:
    """A text of `n` words that no other shares a trigram with."""
    return " ".join("".join(words.choices(SYLLABLES, k=3)) for _ in range(n))


def row(words: random.Random, name: str, number: int, bar: trait_check.Bar) -> dict[str, Any]:
    """One row that meets the bar of its file."""
    made: dict[str, Any] = {
        "category": f"about {number % bar.categories}",
        "scope": "spill-over" if number % 3 == 0 else "in-domain",
        "prompt": text(words, 20),
        "response": text(words, 120 if bar.whole else 40),
        "grade": GRADES[number % 5],
        "hard": "warm" if number % 2 else None,
        "choices": [text(words, 9), text(words, 9)],
        "aim": "high" if number % 3 else "low",
        "target": number // 3 % 2,
    }
    return {"id": f"{name}-{number}", **{key: made[key] for key in bar.keys}, "canary": CANARY}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of one trait that meets the bar."""
    words = random.Random(0)
    folder = tmp_path_factory.mktemp("pack")
    files = {**trait_check.PACK, **{f"coherence/{name}": bar for name, bar in trait_check.COHERENCE.items()}}
    files |= {f"calm/{name}": bar for name, bar in trait_check.TRAIT.items()}
    for name, bar in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{json.dumps(row(words, name, n, bar))}\n" for n in range(bar.rows)))
    (folder / "pack.yaml").touch()
    shutil.copy(asset("tasks") / "english" / "bliss" / "trait.yaml", folder / "calm")
    return folder


@pytest.fixture
def trait(good: Path, tmp_path: Path) -> Path:
    """A copy of its trait to spoil."""
    return shutil.copytree(good / "calm", tmp_path / "calm")


def spoil(path: Path, change: Callable[[int, dict[str, Any]], object]) -> None:
    """Change every row of a file."""
    rows = read_jsonl(path)
    for number, one in enumerate(rows):
        change(number, one)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))


def problems(folder: Path) -> dict[str, list[str]]:
    """What is wrong, by file."""
    return {one.name: one.problems for one in trait_check.check(folder) if one.problems}


def test_good_data_meet_the_bar(good: Path) -> None:
    """A pack and a trait of enough unlike, balanced rows have no problem, and every file of theirs has its figures."""
    found = trait_check.check(good)

    assert {} == problems(good)
    assert {} == problems(good / "calm")
    assert len(trait_check.PACK) + len(trait_check.COHERENCE) + len(trait_check.TRAIT) == len(found)
    assert all(one.rows and one.categories and one.words[2] and one.distinct_2[0] > 0.9 for one in found)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("questions.jsonl", lambda _, r: r.pop("scope"), "has the keys id, category, prompt, canary"),
        ("questions.jsonl", lambda _, r: r.update(canary=" "), "canary holds ' '"),
        ("questions.jsonl", lambda _, r: r.update(scope=["in-domain"]), "scope holds ['in-domain']"),
        ("questions.jsonl", lambda _, r: r.update(id="one"), "Rows share an id: one."),
        ("questions.jsonl", lambda _, r: r.update(scope="in-domain"), "0% of its questions ask for spill-over"),
        ("questions.jsonl", lambda _, r: r.update(category="all"), "1 categories; at least 8"),
        (
            "demonstrations.jsonl",
            lambda n, r: r.update(category=f"c{n if n < 20 else 0}"),
            "rows are of the category c0",
        ),
        (
            "demonstrations.jsonl",
            lambda n, r: n < 9 and r.update(prompt=f"so it is then {r['prompt']}"),
            "9 of 160 prompts",
        ),
        (
            "demonstrations.jsonl",
            lambda n, r: n < 9 and r.update(response=f"a b c d {r['response']}"),
            "9 of 160 responses",
        ),
        ("documents.jsonl", lambda n, r: n == 3 and r.update(response="too short"), "Line 4 has 22 words; 120 to 250"),
        ("contrast.jsonl", lambda _, r: r.update(grade=30), "grade holds 30"),
        ("contrast.jsonl", lambda _, r: r.update(grade=100), "Its grades are not balanced"),
        ("contrast.jsonl", lambda _, r: r.update(hard=None), "0% of its rows are hard ones; 30%"),
        (
            "training.jsonl",
            lambda _, r: r["grade"] == 100 and r.update(response="yes " + r["response"] * 2),
            "Length tells",
        ),
        ("choices.jsonl", lambda _, r: r.update(target=0), "The matching one of 2 choices stands where"),
        ("choices.jsonl", lambda _, r: r.update(target=2), "has 2 choices and the target 2"),
        ("choices.jsonl", lambda _, r: r["choices"].__setitem__(r["target"], "no"), "longest 0.0 times as often"),
        ("choices.jsonl", lambda _, r: r["choices"].pop(), "choices holds"),
    ],
)
def test_each_way_of_missing_the_bar_is_named(
    trait: Path, name: str, change: Callable[[int, dict[str, Any]], object], said: str
) -> None:
    """A file that misses the bar in one way has a problem that says which, and no other file has any."""
    spoil(trait / name, change)
    found = problems(trait)

    assert [name] == list(found)
    assert any(said in problem for problem in found[name]), found[name]


def test_texts_that_are_alike_are_found_within_a_file(trait: Path) -> None:
    """Two rows of one file that share more than a fifth of their trigrams are named by their lines."""
    rows = read_jsonl(trait / "questions.jsonl")
    spoil(trait / "questions.jsonl", lambda n, r: n == 7 and r.update(prompt=f"well {rows[2]['prompt']}"))

    assert {"questions.jsonl": ["Lines 8 and 3 are alike (0.95)."]} == problems(trait)


def test_texts_that_are_alike_are_found_between_files(trait: Path) -> None:
    """A question that is also asked in a demonstration is named, at a lower bar than within a file."""
    asked = " ".join(read_jsonl(trait / "demonstrations.jsonl")[4]["prompt"].split()[:14])
    spoil(trait / "questions.jsonl", lambda n, r: n == 0 and r.update(prompt=asked))

    assert {"questions.jsonl": ["Lines 1 and 5 of demonstrations.jsonl are alike (0.21)."]} == problems(trait)


def test_missing_and_empty_files_are_problems(trait: Path) -> None:
    """A file that is not there, or has no rows, or too few, says so."""
    (trait / "choices.jsonl").unlink()
    (trait / "questions.jsonl").write_text("")
    path = trait / "training.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:250]))

    expected = {
        "questions.jsonl": ["The file has no rows."],
        "choices.jsonl": ["The file is missing."],
        "training.jsonl": ["It has 250 rows; at least 300 are expected."],
    }
    assert expected == problems(trait)


def test_a_header_that_is_not_filled_in_is_a_problem(trait: Path) -> None:
    """A field of trait.yaml that was left open is named, and files that hold do not hide it."""
    header = (trait / "trait.yaml").read_text()
    (trait / "trait.yaml").write_text(header.replace("kind: style", "kind:"))
    (found,) = problems(trait)["trait.yaml"]

    assert "A header does not hold: kind:" in found


def test_a_row_with_another_canary_than_the_header_is_a_problem(good: Path, trait: Path) -> None:
    """Rows that were made under another canary are counted, the first with its line, in a trait's folder and in its pack's."""
    assert CANARY in (trait / "trait.yaml").read_text()
    other = CANARY.replace("0", "f")
    spoil(trait / "questions.jsonl", lambda n, r: n == 4 and r.update(canary=other))
    spoil(trait / "choices.jsonl", lambda n, r: n > 50 and r.update(canary=f"{CANARY}: and more"))
    pack = Path(shutil.copytree(good, trait.parent / "whole"))
    spoil(pack / "calm" / "training.jsonl", lambda _, r: r.update(canary=other))

    assert {
        "questions.jsonl": [f"1 of 100 rows have another canary than trait.yaml; line 5 has {other!r}."],
        "choices.jsonl": [f"9 of 60 rows have another canary than trait.yaml; line 52 has '{CANARY}: and more'."],
    } == problems(trait)
    assert {
        "calm/training.jsonl": [f"300 of 300 rows have another canary than trait.yaml; line 1 has {other!r}."]
    } == problems(pack)


def test_rows_may_carry_the_whole_canary(trait: Path) -> None:
    """The header's canary, sentence included, is its canary too; a header without one has its own problem alone."""
    whole = traits.trait_header(trait).canary
    spoil(trait / "questions.jsonl", lambda _, r: r.update(canary=whole))
    assert {} == problems(trait)
    header = (trait / "trait.yaml").read_text()
    (trait / "trait.yaml").write_text("\n".join(line for line in header.splitlines() if not line.startswith("canary:")))

    assert ["trait.yaml"] == list(problems(trait))


def test_another_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is neither a trait's nor a pack's is one clear error."""
    with pytest.raises(DataError, match="no folder of trait data") as caught:
        trait_check.check(tmp_path)

    assert str(tmp_path) == caught.value.where


def test_the_command_says_what_was_found(good: Path, trait: Path, say: Say) -> None:
    """`idembench trait check` ends 0 where all is well and 1 where not, with figures, problems and a verdict."""
    (trait / "choices.jsonl").unlink()
    well, ill = say("trait", "check", good), say("trait", "check", trait)
    listed = say("trait", "check", trait, "--json")

    assert (0, 1, 1) == (well.code, ill.code, listed.code)
    assert "All 14 files meet the bar." in well.err
    assert "choices.jsonl: The file is missing." in ill.out
    assert "1 of 7 files miss the bar" in ill.err
    assert ["choices.jsonl"] == [one["name"] for one in json.loads(listed.out) if one["problems"]]
