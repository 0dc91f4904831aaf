"""The error tree: codes, exit codes, messages that say what to do."""

from __future__ import annotations

import pickle

import pytest

from idembench import errors
from idembench.errors import EnvironmentProblem, IdembenchError, InputError, UnknownNameError


def every_error() -> list[type[IdembenchError]]:
    """All error classes, the base included."""
    found, queue = [], [IdembenchError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__name__)


def test_codes_are_unique() -> None:
    """No two kinds of error share a code, so that a script can tell them apart."""
    codes = [kind.__dict__.get("code") for kind in every_error()]

    assert sorted(set(map(str, codes))) == sorted(map(str, codes))


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [(errors.InputError, 2), (errors.EnvironmentProblem, 3), (errors.Diverged, 4)],
)
def test_families_share_an_exit_code(kind: type[IdembenchError], exit_code: int) -> None:
    """Bad input exits 2, a machine in the way exits 3, and every subclass does as its family does."""
    assert {exit_code} == {one.exit_code for one in every_error() if issubclass(one, kind)}


def test_the_tree_is_the_documented_one() -> None:
    """The module's docstring names every error class there is."""
    missing = [kind.__name__ for kind in every_error() if kind.__name__ not in (errors.__doc__ or "")]

    assert missing == []


def test_parts_leave_out_what_is_unknown() -> None:
    """Only the parts that are known are listed, in reading order."""
    error = InputError("It broke.", do="Mend it.", expected="whole")

    assert [("expected", "whole"), ("do", "Mend it.")] == error.parts()


def test_text_holds_code_and_every_part() -> None:
    """An uncaught error prints what happened, its code, and each part on a line of its own."""
    error = EnvironmentProblem("It broke.", expected="whole", found="half", where="here", do="Mend it.")
    expected = ["It broke. [environment]", "  expected: whole", "  found: half", "  where: here", "  do: Mend it."]

    assert expected == str(error).splitlines()


def test_unknown_name_offers_near_matches() -> None:
    """A typing mistake is answered by the names it may have meant."""
    error = UnknownNameError("trait", "sycophany", ["bliss", "sycophancy"])

    assert error.do == "Did you mean sycophancy?"
    assert error.expected == "one of: bliss, sycophancy"


def test_unknown_name_without_a_near_match_points_to_the_listing() -> None:
    """A name like no other is answered by where names are listed."""
    error = UnknownNameError("trait", "zzz", ["bliss"])

    assert error.do == "See `idembench ls`."


def test_unknown_name_says_when_nothing_is_installed() -> None:
    """With nothing to choose from, the message says so instead of listing nothing."""
    error = UnknownNameError("method", "dpo", [])

    assert error.expected == "a method (none is installed)"


@pytest.mark.parametrize("kind", [kind for kind in every_error() if kind is not UnknownNameError])
def test_errors_are_caught_as_their_families(kind: type[IdembenchError]) -> None:
    """Every error raised on purpose is an `IdembenchError` and an `Exception` with its parts intact."""
    with pytest.raises(IdembenchError, match="It broke") as caught:
        raise kind("It broke.", found="half")

    assert caught.value.found == "half"


def test_an_error_travels_between_processes() -> None:
    """An error that is pickled comes back with its kind and all its parts."""
    error = UnknownNameError("trait", "blis", ["bliss"], where="pack toyland")

    assert (type(error), str(error)) == (type(back := pickle.loads(pickle.dumps(error))), str(back))
