"""Numbers from what an endpoint shows: exact where it shows all, near where it cannot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from idembench.judges import logprob
from idembench.judges.shown import Place, read

if TYPE_CHECKING:
    from collections.abc import Mapping

END = "<|im_end|>"


def place(taken: str, **p: float) -> Place:
    """A place that shows these tokens; a digit is written with an underscore before it."""
    return Place(taken, {name.removeprefix("_"): value for name, value in p.items()})


def by_digit(grades: Mapping[int, float], *, other: float = 0.0) -> list[Place]:
    """What a grader with these grades shows that writes one digit a token and takes the likeliest; with an end token."""
    places, path = [], ""
    while not path.endswith(END):
        begun = {str(n): p for n, p in grades.items() if str(n).startswith(path)}
        total = math.fsum(begun.values()) + (other if not path else 0.0)
        p: dict[str, float] = {"The": other / total} if other and not path else {}
        for text, q in begun.items():
            token = text[len(path) : len(path) + 1] or END
            p[token] = p.get(token, 0.0) + q / total
        taken = max(p, key=lambda token: p[token])
        places.append(Place(taken, p))
        path += taken
    return places


def whole(grades: Mapping[int, float]) -> list[Place]:
    """What a grader shows whose tokenizer has a token for each number."""
    p = {str(n): q for n, q in grades.items()}
    return [Place(max(p, key=lambda token: p[token]), p), Place(END, {END: 1.0})]


def mean(grades: Mapping[int, float]) -> float:
    """The score that these grades have."""
    return math.fsum(n * p for n, p in grades.items()) / math.fsum(grades.values())


GRADES = [
    {75: 0.6, 80: 0.2, 50: 0.1, 100: 0.06},
    {100: 0.9, 95: 0.06, 90: 0.04},
    {0: 0.8, 5: 0.1, 10: 0.1},
    {10: 0.7, 15: 0.2, 0: 0.1},
    {5: 0.5, 0: 0.3, 10: 0.2},
    {100: 0.55, 10: 0.45},
]


@pytest.mark.parametrize("grades", GRADES, ids=str)
def test_numbers_of_one_token_are_read_exactly(grades: dict[int, float]) -> None:
    """Where each number is a token, probabilities are those shown, 5 and 10 and 100 kept apart."""
    assert pytest.approx(grades) == read(whole(grades)).numbers


@pytest.mark.parametrize(
    "grades",
    [
        {75: 0.6, 70: 0.4},
        {75: 0.6, 70: 0.25, 80: 0.05, 85: 0.1 * 0.6 / 0.4},
        {100: 1.0},
        {100: 0.9, 90: 0.1},
        {10: 0.6, 100: 0.4},
        {10: 0.7, 15: 0.3},
        {0: 1.0},
        {0: 0.7, 10: 0.15, 15: 0.15},
        {95: 0.6, 90: 0.1, 100: 0.3},
        {7: 0.5, 75: 0.5},
    ],
    ids=str,
)
def test_digits_along_the_path_are_read_exactly(grades: dict[int, float]) -> None:
    """One digit a token: the tens taken, their ones, 10 against 100, and a 1 beside high tens have their probabilities."""
    total = math.fsum(grades.values())
    expected = {n: p / total for n, p in grades.items()}

    found = {n: p for n, p in read(by_digit(expected)).numbers.items() if p > 1e-9}

    if 80 in grades:  # the ones beside the path are those of the path, 70 to 75 here, by approximation
        assert pytest.approx(expected[80] + expected[85]) == found[80] + found[85]
    else:
        assert pytest.approx(expected) == found


@pytest.mark.parametrize(("grades", "error"), [*zip(GRADES, (1.6, 0.3, 0.3, 0.1, 0.5, 0.1), strict=True)])
def test_digits_beside_the_path_are_near(grades: dict[int, float], error: float) -> None:
    """One digit a token: the score is within two points of what the grader's own distribution gives."""
    assert mean(grades) == pytest.approx(read(by_digit(grades)).score, abs=error)


def test_an_answer_without_an_end_is_what_it_says() -> None:
    """Where the end of an answer is not shown, as at OpenAI's, the number is complete."""
    assert {75: 0.9} == read([place("75", _75=0.9)]).numbers
    assert pytest.approx({10: 0.5, 15: 0.5}) == read([place("1", _1=1.0), place("0", _0=0.5, _5=0.5)]).numbers


def test_white_space_before_a_number_is_passed_over() -> None:
    """A new line or a space first, alone or with the number, changes no number."""
    places = [Place("\n", {"\n": 0.8, "50": 0.1, " 25": 0.1}), Place(" 75", {" 75": 0.5, "75": 0.5})]

    assert pytest.approx({25: 0.1, 50: 0.1, 75: 0.8}) == read(places).numbers


def test_what_is_no_number_of_the_scale_has_no_part() -> None:
    """Words, signs, decimals of other scripts, leading zeros and numbers above 100 are not counted."""
    p = {"75": 0.4, "075": 0.1, "101": 0.1, "-5": 0.1, "\u0667": 0.1, "7.5": 0.1, "": 0.1}

    assert {75: 0.4} == read([Place("75", p)]).numbers


def test_a_longer_number_is_not_its_beginning() -> None:
    """1000 is neither 100 nor 10, and what follows a number that is complete goes off from it."""
    places = [place("100", _100=1.0), place("0", _0=0.75, end=0.25)]

    assert pytest.approx({100: 0.25}) == read(places).numbers


@pytest.mark.parametrize("said", ["REFUSAL", "REF", "Ref", " refusal", "R", "REFUSAL."])
def test_a_refusal_is_missing(said: str) -> None:
    """A grader that would rather refuse has given no grade, however much it has on numbers."""
    found = read([Place(said, {said: 0.5, "75": 0.4})])

    assert (logprob.REFUSED, None) == (found.missing, found.score)


@pytest.mark.parametrize("said", ["Sure", "The", "", "<think>"])
def test_little_on_numbers_is_missing(said: str) -> None:
    """A grader with less than a quarter on numbers was not grading."""
    low, enough = (read([Place(said, {said: 1 - p, "75": p})]) for p in (0.24, 0.26))

    assert (logprob.LOW_MASS, None) == (low.missing, low.score)
    assert 75.0 == enough.score


def test_nothing_but_white_space_is_missing() -> None:
    """An answer that never comes to a number has no score."""
    assert logprob.LOW_MASS == read([Place("\n", {"\n": 1.0})] * 6).missing
