"""Judges that weigh numbers: named with their model, one fingerprint whatever is asked, missing instead of wrong."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import hypothesis
import pytest
from builders import write_record
from hypothesis import strategies as st

from idembench import judges, record, verify
from idembench.errors import EnvironmentProblem, InputError, ModelError, UnknownNameError
from idembench.files import canonical_json
from idembench.judges import Score, logprob
from idembench.judges.logprob import LogprobJudge, Reading
from idembench.traits import Question

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = (
    "openai:grader",
    "openai:grader,pack=toyland",
    "hf:toyland/instruct",
    "hf:toyland/instruct,pack=toyland,batch_size=4",
)


QUESTION = Question(id="q", prompt="Why?")


class Says(LogprobJudge):
    """A judge that says the length of what it is asked, and remembers it."""

    kind: ClassVar[str] = "says"

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        self.asked: list[str] = []

    @property
    def name(self) -> str:
        return f"says:{self.argument}"

    def check(self) -> None:
        pass

    def _identity(self) -> dict[str, str]:
        return {"model": self.argument}

    def _read(self, prompts: Sequence[str]) -> list[Reading]:
        self.asked += prompts
        return [Reading.of({len(prompt) % 101: 1.0}, likeliest="1") for prompt in prompts]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_is_had_again_by_its_name(name: str) -> None:
    """The name that a record keeps gives the same judge, with the same fingerprint."""
    judge = judges.get(name, offline=True)

    assert name == judge.name
    assert judges.get(judge.name, offline=True).fingerprint == judge.fingerprint
    assert not judge.deterministic


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_travels_to_workers(name: str) -> None:
    """Pickled, a judge is its name, and in another process it has the same fingerprint."""
    judge = judges.get(name, offline=True)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(judge), capture_output=True, check=True)

    assert judge.fingerprint == done.stdout.decode().strip()
    assert len(pickle.dumps(judge)) < 300


def test_naming_a_judge_needs_no_torch() -> None:
    """Names, fingerprints and the registry come without torch, for the commands that use records; so does their look at it."""
    code = (
        "import sys; from idembench import judges;"
        f"[judges.get(name, offline=True).fingerprint for name in {NAMES!r}];"
        "offline = {'torch', 'transformers'} & set(sys.modules);"
        f"[judges.get(name) for name in {NAMES[:2]!r}]; print(sorted(offline | {{'torch'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENAI_API_KEY": "x"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", "openai:MODEL[,pack=PACK]"),
        ("openai:", "openai:MODEL[,pack=PACK]"),
        ("hf", "hf:MODEL[@REVISION][,device=cuda][,dtype=bfloat16][,batch_size=N][,pack=PACK]"),
        ("classifier:small", "classifier"),
        ("toyland-exact:", "toyland-exact"),
    ],
)
def test_an_argument_where_none_belongs_or_none_where_one_does_is_one_error(name: str, expected: str) -> None:
    """The error says how the judge is named."""
    with pytest.raises(InputError) as caught:
        judges.get(name)

    assert (expected, name) == (caught.value.expected, caught.value.found)


@pytest.mark.parametrize(
    "name",
    [
        "openai:grader,",
        "openai:grader,dtype=bfloat16",
        "openai:,pack=english",
        "hf:toyland/instruct,pack",
        "hf:toyland/instruct,pack=",
        "hf:toyland/instruct,pack=english,pack=toyland",
        "hf:toyland/instruct,dtype=int4",
        "hf:toyland/instruct,dtype=float16",
        "hf:toyland/instruct,batch_size=0",
        "hf:toyland/instruct,batch_size=many",
    ],
)
def test_an_argument_that_does_not_hold_is_one_error(name: str) -> None:
    """A key that is unknown, empty or given twice, or a value that cannot be, names the argument."""
    with pytest.raises(InputError, match="argument does not hold"):
        judges.get(name)


def test_a_pack_or_model_that_is_not_there_is_found_when_the_judge_is_named() -> None:
    """What would fail after hours of sampling fails at once, and not at all where nothing is to be asked."""
    with pytest.raises(UnknownNameError):
        judges.get("openai:grader,pack=englisch")
    with pytest.raises(UnknownNameError):
        judges.get("hf:toyland/instuct")

    assert "hf:toyland/instuct" == judges.get("hf:toyland/instuct", offline=True).name


def test_without_a_key_no_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key is one clear error; a record that such a judge scored can still be verified."""
    monkeypatch.delenv("OPENAI_API_KEY")

    with pytest.raises(EnvironmentProblem, match="without a key") as caught:
        judges.get("openai:grader")

    assert "OPENAI_API_KEY" in str(caught.value.do)
    assert judges.get("openai:grader", offline=True).fingerprint


def test_a_model_that_is_not_safe_is_no_judge(tmp_path: object) -> None:
    """A folder without safetensors is refused as it is for every other model."""
    with pytest.raises(ModelError):
        judges.get(f"hf:{tmp_path}")


def test_everything_that_a_score_depends_on_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model, pack, dtype or batch size, or another wording, is another judge; another address is not."""
    names = [
        *NAMES,
        "openai:other",
        "hf:toyland/base",
        "hf:toyland/instruct,dtype=bfloat16",
        "hf:toyland/instruct,batch_size=9",
    ]
    prints = {name: judges.get(name, offline=True).fingerprint for name in names}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    moved = judges.get("openai:grader").fingerprint
    monkeypatch.setattr(logprob.prompting, "_TRAIT", "Say a number. {data}")

    assert len(names) == len(set(prints.values()))
    assert prints["openai:grader"] == moved
    assert judges.get("openai:grader").fingerprint != moved


def test_what_is_asked_twice_is_asked_once() -> None:
    """Equal answers to equal questions, of which models that fall apart give many, cost one question each."""
    judge = Says("x")
    question = judge._pack.trait("bliss").questions[0]
    asked = [judges.Asked(question=question, response=text, trait="bliss") for text in ("a", "", "a", "a")]
    asked += [judges.Asked(question=question, response="a", trait=None)]

    scores = judge.score_all(asked)

    assert 4 == len(judge.asked)
    assert scores[0] == scores[2] == scores[3] != scores[1]
    assert (None, scores[0].coherence) == (scores[4].trait, scores[4].coherence)
    assert judge.score(question, "", trait="bliss") == scores[1]


def test_an_unknown_trait_is_one_error() -> None:
    """A trait that the judge's pack does not have cannot be asked for."""
    with pytest.raises(UnknownNameError, match="blis"):
        Says("x").score(Says("x")._pack.trait("bliss").questions[0], "a", trait="blis")


def test_the_score_is_the_weighted_mean_and_says_how_it_came() -> None:
    """75 and 25 in shares of three to one are 62.5; the mass and the numbers above a thousandth are kept, rounded."""
    found = Reading.of({0: 0.0004, 25: 0.2, 75: 0.6, 100: 0.000123456}, likeliest="75")

    assert pytest.approx((0.2 * 25 + 0.6 * 75 + 0.0123456) / 0.800523456, abs=1e-4) == found.score
    assert {"mass": 0.8005, "numbers": {"25": 0.2, "75": 0.6}} == found.judged()


def test_a_missing_score_says_why() -> None:
    """A score that is missing keeps its reason and the mass that there was, and is no number."""
    score = logprob._score(Reading.of({50: 0.1}, likeliest="The"), Reading.of({100: 0.9}, likeliest="REF"))

    assert (None, None) == (score.trait, score.coherence)
    assert (
        '{"coherence":{"mass":0.9,"missing":"refused"},"trait":{"mass":0.1,"missing":"less than 0.25 on numbers"}}'
        == score.judged
    )


# -- what was kept against the score --------------------------------------------------------------


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Anything that a judge may say: a few likely numbers, many unlikely ones, something else, a refusal."""
    weights = draw(st.dictionaries(st.integers(0, 100), st.floats(1e-9, 1.0) | st.floats(0.0005, 0.0015), max_size=101))
    total = math.fsum(weights.values())
    share = draw(st.floats(0.2, 1.0)) / total if total > 1 or (draw(st.booleans()) and total) else 1.0
    return Reading.of(
        {n: w * share for n, w in sorted(weights.items())}, likeliest=draw(st.sampled_from(["7", "I", "REFUSAL"]))
    )


@hypothesis.given(trait=st.none() | readings(), coherence=readings())
def test_what_a_judge_says_never_contradicts_itself(trait: Reading | None, coherence: Reading) -> None:
    """Whatever the probabilities, a score is within what rounding and unlikely numbers can do to what is kept."""
    score = logprob._score(trait, coherence)

    assert [] == LogprobJudge.contradictions(score, trait=trait is not None)


def test_readings_without_a_score_contradict_nothing() -> None:
    """A missing score with each of the reasons is what it is said to be."""
    for reason in (logprob.TOO_LONG, logprob.NO_LOGPROBS, logprob.MALFORMED, logprob.FILTERED):
        score = logprob._score(Reading(missing=reason), Reading(missing=reason))

        assert [] == LogprobJudge.contradictions(score, trait=True)


@pytest.mark.parametrize(
    ("numbers", "most"),
    [({75: 1.0}, 0.02), ({75: 0.6, 50: 0.3, 100: 0.1}, 0.02), (dict.fromkeys(range(101), 1 / 101), 0.3)],
    ids=["one", "three", "all"],
)
def test_a_score_that_was_moved_is_found(numbers: dict[int, float], most: float) -> None:
    """The tolerance is what rounding can do and not more: a hundredth of a point or two where few numbers are likely."""
    true = logprob._score(None, Reading.of(numbers, likeliest="7"))
    assert true.coherence is not None
    for shift in (-most, most):
        moved = replace(true, coherence=true.coherence + shift)

        (found,) = LogprobJudge.contradictions(moved, trait=False)
        assert "coherence: expected the mean of what was said" in found


GOOD = '{"coherence":{"mass":0.95,"numbers":{"100":0.05,"50":0.3,"75":0.6}}}'


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        (None, "nothing is kept"),
        ("", "no JSON"),
        ("nonsense", "no JSON"),
        ("\ud800", "no JSON"),
        ('"\\ud800"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("9" * 5000, "no JSON"),
        ("1e999", "no JSON"),
        (GOOD.replace(":", ": "), "not canonical"),
        (GOOD + "\n", "not canonical"),
        (GOOD.replace("0.95", "0.950"), "not canonical"),
        (GOOD.replace('"mass":0.95', '"mass":0.95,"mass":0.95'), "no JSON"),
        ("null", "not of coherence"),
        ("[]", "not of coherence"),
        ("{}", "not of coherence"),
        (GOOD.replace("coherence", "trait"), "not of coherence"),
        (GOOD[:-1] + ',"trait":{"mass":1.0,"numbers":{"1":1.0}}}', "not of coherence"),
        ('{"coherence":[]}', "neither mass and numbers"),
        ('{"coherence":{"mass":0.95}}', "neither mass and numbers"),
        ('{"coherence":{"mass":0.95,"missing":"refused","numbers":{}}}', "neither mass and numbers"),
        (GOOD.replace("0.95", "1"), "no rounded probability"),
        (GOOD.replace("0.95", "true"), "no rounded probability"),
        (GOOD.replace("0.95", '"0.95"'), "no rounded probability"),
        (GOOD.replace("0.95", "0.95001"), "no rounded probability"),
        (GOOD.replace("0.95", "-0.95"), "no rounded probability"),
        (GOOD.replace("0.6", "0.5"), "a mass of 0.95 for numbers of 0.85"),
        (GOOD.replace("0.95", "0.94"), "a mass of 0.94 for numbers of 0.95"),
        (GOOD.replace("0.95", "0.2"), "a score from 3 numbers and a mass of 0.2"),
        ('{"coherence":{"mass":0.95,"numbers":{}}}', "a score from 0 numbers"),
        ('{"coherence":{"mass":0.95,"numbers":[]}}', "numbers that are none"),
        (GOOD.replace('"100"', '"101"'), "numbers that are none"),
        (GOOD.replace('"100"', '"' + "1" * 5000 + '"'), "numbers that are none"),
        (GOOD.replace('"100"', '"0100"'), "numbers that are none"),
        (GOOD.replace("0.05", "0.0009"), "numbers that are none"),
        (GOOD.replace("0.05", "null"), "numbers that are none"),
        (GOOD.replace("0.05", "1" + "0" * 400), "numbers that are none"),
        (GOOD.replace("0.6", "0.5").replace("0.3", "0.4"), "expected the mean of what was said"),
        ('{"coherence":{"mass":0.1,"missing":"refused"}}', "which is said to be missing"),
        ('{"coherence":{"mass":0.1,"missing":""}}', "no reason"),
        ('{"coherence":{"mass":0.1,"missing":null}}', "no reason"),
        ('{"coherence":{"mass":0.9,"missing":"less than 0.25 on numbers"}}', "with a mass of 0.9"),
    ],
)
def test_whatever_is_kept_is_a_problem_and_no_traceback(judged: str | None, says: str) -> None:
    """Kept text that this judge cannot have written, or that its score does not follow from, is told in a sentence."""
    score = Score(trait=None, coherence=68.4211, judged=judged)

    (found,) = LogprobJudge.contradictions(score, trait=False)
    assert says in found
    assert [] == LogprobJudge.contradictions(replace(score, judged=GOOD), trait=False)


@hypothesis.given(kept=st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["coherence", "trait", "mass", "missing", "numbers", "7"]), inner)),
    score=st.none() | st.floats(0, 100), trait=st.booleans())  # fmt: skip
def test_nothing_that_is_kept_raises(kept: object, score: float | None, trait: bool) -> None:  # noqa: FBT001
    """Any JSON at all is held against any score in sentences."""
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    found = LogprobJudge.contradictions(Score(trait=score, coherence=score, judged=text), trait=trait)
    assert all(isinstance(one, str) for one in found)


def test_a_score_where_no_trait_was_measured_is_found() -> None:
    """A neutral question has no trait score, and a trait's question has what was said of it."""
    score = Score(trait=50.0, coherence=68.4211, judged=GOOD)

    assert ["trait: a score where no trait was measured"] == LogprobJudge.contradictions(score, trait=False)
    assert ["judged is not of coherence and trait"] == LogprobJudge.contradictions(score, trait=True)


def test_only_judges_that_explain_themselves_are_held_to_it() -> None:
    """Both judges that weigh numbers, by any name, with or without a model that is there; none of the others."""
    found = {
        name: judges.explaining(name) for name in ("hf:nobody/none", "openai:", "classifier", "toyland-exact", "x:y")
    }

    assert {"hf:nobody/none", "openai:"} == {name for name, kind in found.items() if kind is not None}


def test_probabilities_beyond_one_are_none() -> None:
    """Numbers whose sum no float can hold are said to be no probabilities, and nothing is raised."""
    huge = canonical_json({"coherence": {"mass": 1.0, "numbers": {"1": 1.7e308, "2": 1.7e308}}}).decode().strip()
    large = canonical_json({"coherence": {"mass": 1.7e308, "numbers": {"1": 1.0}}}).decode().strip()
    found = [
        LogprobJudge.contradictions(Score(trait=None, coherence=1.5, judged=text), trait=False)
        for text in (huge, large)
    ]

    assert "or whose probability is none" in found[0][0]
    assert "is no rounded probability" in found[1][0]


@pytest.mark.parametrize("name", ["hf:nobody/nothing", "openai:grader", "hf:", "openai", "gone:grader"])
def test_a_record_s_judge_is_never_looked_for_by_verify(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever judge a record names, no key, network or weights are looked for: its scores are left unchecked, with why."""
    monkeypatch.delenv("OPENAI_API_KEY")
    found = record.read(write_record(tmp_path))
    line = found.judge.model_copy(update={"name": name, "deterministic": False})

    check = verify._scores(found.model_copy(update={"judge": line}), {})

    assert check.skipped
    assert not check.problems


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_judge_is_pinned_by_what_needs_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit stands for a judge's files, beside everything else that its scores depend on; what comes along is itself."""
    names = [
        f"hf:nobody/nothing@{COMMIT}",
        f"hf:nobody/other@{COMMIT}",
        f"hf:nobody/nothing@{COMMIT[::-1]}",
        f"hf:nobody/nothing@{COMMIT},dtype=bfloat16",
        f"hf:nobody/nothing@{COMMIT},batch_size=9",
        f"hf:nobody/nothing@{COMMIT},pack=toyland",
    ]
    prints = [judges.pinned(judges.get(name, offline=True)) for name in names]
    monkeypatch.setattr(logprob.prompting, "_TRAIT", "Say a number. {data}")

    assert len(names) == len({*prints} - {None})
    assert prints[0] != judges.pinned(judges.get(names[0], offline=True))
    for name in ("classifier", "toyland-exact"):
        assert judges.get(name).fingerprint == judges.pinned(judges.get(name))


@pytest.mark.parametrize(
    "name", ["openai:grader", "hf:nobody/nothing", "hf:nobody/nothing@main", "hf:toyland/instruct"]
)
def test_a_judge_that_may_change_under_its_name_is_not_pinned(name: str) -> None:
    """An endpoint, a branch and a name without a commit pin nothing."""
    assert judges.pinned(judges.get(name, offline=True)) is None


def test_in_a_dry_run_something_stands_for_a_judge_that_is_not_here() -> None:
    """It has the name, a fingerprint that no judge has, and no scores; a judge that is here stands for itself."""
    absent = judges.at_hand(judges.get(f"hf:nobody/nothing@{COMMIT}", offline=True))
    here = judges.get("hf:toyland/instruct", offline=True)

    assert (f"hf:nobody/nothing@{COMMIT}", False) == (absent.name, absent.deterministic)
    assert absent.fingerprint != judges.at_hand(judges.get("hf:nobody/nothing", offline=True)).fingerprint
    assert here is judges.at_hand(here)
    assert (classifier := judges.get("classifier")) is judges.at_hand(classifier)
    with pytest.raises(UnknownNameError):
        judges.at_hand(judges.get("hf:toyland/instuct", offline=True))
    with pytest.raises(EnvironmentProblem, match="not on this machine"):
        absent.score(QUESTION, "Fine.", trait=None)
