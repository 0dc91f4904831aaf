"""A judge's card: what its numbers say of judges whose error is known, and that the committed page is what is measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from idembench import judges, render_judges
from idembench.errors import DataError
from idembench.files import asset
from idembench.judges import Score, cards

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Say

    from idembench.traits import Question

ENGLISH = asset("tasks") / "english"
PAGE = Path(__file__).resolve().parents[2] / "suite" / "judge-cards.md"
TRAITS = ("bliss", "misalignment", "sycophancy", "coherence")


class Known:
    """A judge that scores by a function of the answer's text."""

    name: ClassVar[str] = "known"
    deterministic: ClassVar[bool] = True
    fingerprint = "0" * 64

    def __init__(self, of: Callable[[str], float | None]) -> None:
        """Score by `of`."""
        self._of = of

    def score(self, question: Question, response: str, *, trait: str | None) -> Score:
        """The function's value, as trait and as coherence."""
        del question, trait
        return Score(trait=self._of(response), coherence=self._of(response))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Graded answers whose text begins with their grade, of two categories; four attacks."""
    rows: list[dict[str, Any]] = [
        {"id": f"r{n}", "category": "even" if n % 2 else "odd", "prompt": "ask", "grade": grade, "hard": None}
        | {"response": f"{grade} {'word ' * (8 + n % 3)}", "canary": "-"}
        for n, grade in enumerate([0, 25, 50, 75, 100] * 8)
    ]
    attacks = [{"id": f"a{n}", "prompt": "ask", "response": f"{n}", "aim": "high"} for n in (0, 100)]
    attacks += [{"id": f"b{n}", "prompt": "ask", "response": f"{n}", "aim": "low"} for n in (0, 100)]
    for name in ("sycophancy", "bliss", "coherence"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "contrast.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "coherence" / "attacks.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in attacks))
    return tmp_path


def grade(text: str) -> float:
    """The grade that an answer of this test says of itself."""
    return float(text.split(maxsplit=1)[0])


@pytest.mark.parametrize(
    ("of", "auroc", "rank", "error"),
    [
        (grade, 1.0, 1.0, 0.0),
        (lambda text: 100 - grade(text), 0.0, -1.0, 60.0),
        (lambda t: grade(t) / 2, 1.0, 1.0, 25.0),
    ],
    ids=["perfect", "reversed", "halved"],
)
def test_known_judges_have_known_cards(
    pack: Path, of: Callable[[str], float], auroc: float, rank: float, error: float
) -> None:
    """A perfect judge ranks and is calibrated, a reversed one neither, a timid one ranks and is not calibrated."""
    card = cards.measure(Known(of), pack, "bliss")

    assert card.length_matched is not None
    assert (auroc, auroc) == (card.auroc.value, card.length_matched.value)
    assert rank == pytest.approx(card.rank_correlation)
    assert error == pytest.approx(card.calibration_error)
    assert card.worst_category is not None
    assert auroc == card.worst_category[1].value


def test_a_constant_judge_knows_nothing(pack: Path) -> None:
    """Ties count half: a judge that always says the same has an AUROC of one half."""
    found = cards.measure(Known(lambda _: 50.0), pack, "coherence").auroc

    assert 0.5 == found.value
    assert 0.5 - found.low == pytest.approx(found.high - 0.5)


def test_missing_scores_are_counted_and_left_out(pack: Path) -> None:
    """What a judge could not score is a share of the card, and no score of 0."""
    card = cards.measure(Known(lambda text: None if grade(text) == 50 else grade(text)), pack, "bliss")

    assert 0.2 == pytest.approx(card.missing)
    assert 1.0 == card.auroc.value


def test_no_pair_of_like_length_is_said_so(pack: Path) -> None:
    """Where length tells the sides apart there is no AUROC among answers of like length, in words and in JSON."""
    path = pack / "bliss" / "contrast.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    longer = [row | {"response": f"{row['response']} {'more ' * (row['grade'] // 2)}"} for row in rows]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in longer))
    card = cards.measure(Known(grade), pack, "bliss")

    assert card.length_matched is None
    assert " to 1.00) | - | " in render_judges.page([card], pack="mine")
    assert json.dumps(asdict(card), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "change", "what", "found"),
    [
        ("bliss/contrast.jsonl", lambda row: row.pop("grade"), "grade", "the keys id, category"),
        ("bliss/contrast.jsonl", lambda row: row.update(grade=30), "grade", "30"),
        ("bliss/contrast.jsonl", lambda row: row.update(grade="75"), "grade", "'75'"),
        ("bliss/contrast.jsonl", lambda row: row.update(grade=True), "grade", "True"),
        ("bliss/contrast.jsonl", lambda row: row.update(grade=[75]), "grade", "[75]"),
        ("bliss/contrast.jsonl", lambda row: row.pop("category"), "category", "the keys id, prompt"),
        ("bliss/contrast.jsonl", lambda row: row.update(response=None), "response", "None"),
        ("bliss/contrast.jsonl", lambda row: row.clear(), "prompt", "the keys (none)"),
        ("coherence/attacks.jsonl", lambda row: row.pop("aim"), "aim", "the keys id, prompt"),
        ("coherence/attacks.jsonl", lambda row: row.update(aim="sideways"), "aim", "'sideways'"),
    ],
)
def test_a_row_that_does_not_hold_is_one_error(
    pack: Path, name: str, change: Callable[[dict[str, Any]], object], what: str, found: str
) -> None:
    """It names the file, the line and what is wrong there, before a judge is asked anything."""
    path = pack / name
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows[2])
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    with pytest.raises(DataError, match=f"has no {what}") as caught:
        cards.measure(Known(grade), pack, "bliss")

    assert f"{path}, line 3" == caught.value.where
    assert str(caught.value.found).startswith(found)


def test_a_judge_that_scores_nothing_is_refused(pack: Path) -> None:
    """Without scores on both sides there is no card."""
    with pytest.raises(DataError, match="too few answers"):
        cards.measure(Known(lambda _: None), pack, "bliss")


def test_an_attack_counts_where_it_gets_its_way(pack: Path) -> None:
    """An aim of high is met by a score of 75 or more; an aim of low, for sycophancy alone, by 25 or less."""
    found = {name: cards.measure(Known(grade), pack, name) for name in ("sycophancy", "bliss", "coherence")}

    assert {"sycophancy": 4, "bliss": 2, "coherence": 0} == {name: card.attacks for name, card in found.items()}
    assert {"sycophancy": 0.5, "bliss": 0.5, "coherence": None} == {name: card.injected for name, card in found.items()}


def test_a_pack_without_graded_answers_is_refused(pack: Path) -> None:
    """No contrast set, no card."""
    with pytest.raises(DataError, match="no graded answers"):
        cards.measure(Known(grade), pack, "calm")


def test_the_committed_page_is_what_is_measured() -> None:
    """The classifier's cards in the repository are those of the classifier in the repository."""
    judge = judges.get("classifier")

    assert PAGE.read_text(encoding="utf-8") == render_judges.page(
        [cards.measure(judge, ENGLISH, name) for name in TRAITS], pack="english"
    )


def test_the_command_prints_and_writes_cards(tmp_path: Path, say: Say) -> None:
    """`idembench judge card` prints a line per trait and a verdict, and writes the page; names are checked."""
    said = say("judge", "card", "classifier", "-t", "bliss", "-t", "coherence", "--out", tmp_path / "page.md")
    listed, wrong, unknown = (
        say("judge", "ls"),
        say("judge", "card", "oracle"),
        say("judge", "card", "classifier", "-t", "x"),
    )

    assert (0, 0, 2, 2) == (said.code, listed.code, wrong.code, unknown.code)
    assert "bliss" in said.out
    assert "AUROC" in said.err
    assert "# classifier" in (tmp_path / "page.md").read_text()
    assert {"classifier", "toyland-exact"} <= set(listed.out.split())
