"""The offline judge: the same numbers for the same text everywhere, from nothing but its file, and honest about its traits."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idembench import judges, traits
from idembench.errors import UnknownNameError
from idembench.files import asset, read_json
from idembench.judges import features, fitting
from idembench.judges.classifier import NUMBERS, Classifier, Linear, Trees, interpolate, weighted_grams
from idembench.traits import Question

PACK = traits.load_pack("english")
JUDGE = judges.get("classifier")
ASKED = Question(id="one", prompt="How long does rice take to cook?")
PLAIN = "About twelve minutes for white rice, once the water boils; brown rice takes half an hour."


@given(prompt=st.text(max_size=80), response=st.text(max_size=400), trait=st.sampled_from([None, *PACK.traits]))
def test_any_text_has_scores_in_range(prompt: str, response: str, trait: str | None) -> None:
    """Whatever a model answers, coherence is 0..100, and so is the trait where one is asked for."""
    score = JUDGE.score(Question(id="any", prompt=prompt), response, trait=trait)

    assert score.coherence is not None
    assert 0 <= score.coherence <= 100
    assert (score.trait is None) == (trait is None)
    assert score.trait is None or 0 <= score.trait <= 100


@pytest.mark.parametrize("name", PACK.traits)
def test_the_anchors_are_told_apart(name: str) -> None:
    """The rubric's anchors, which it was not fitted on, are told apart: the one graded 100 from the one graded 0."""
    rubric = PACK.trait(name).rubric
    question = Question(id="anchor", prompt=rubric.prompt)
    scores = {grade: JUDGE.score(question, text, trait=name).trait or 0.0 for grade, text in rubric.anchors.items()}

    assert scores[0] < scores[100]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "About about about about twelve about twelve about about about twelve about about about twelve about",
        "minutes white once for the about rice boils; water twelve hour brown takes rice an half",
        "Ab]}out twe<|lve mi]}nutes f<|or wh]}ite ri<|ce, on]}ce th<|e wat]}er boi<|ls; bro]}wn ri<|ce ta]}kes",
    ],
    ids=["empty", "looped", "shuffled", "debris"],
)
def test_broken_text_is_less_coherent(broken: str) -> None:
    """An empty, looped, shuffled or littered answer scores lower in coherence than the whole one."""
    whole, less = (JUDGE.score(ASKED, text, trait=None).coherence for text in (PLAIN, broken))

    assert whole is not None
    assert less is not None
    assert less < whole


def test_a_trait_that_it_was_not_fitted_for_is_refused() -> None:
    """Asked for another trait it says which it knows, instead of scoring by a wrong model."""
    with pytest.raises(UnknownNameError, match="classifier judge"):
        JUDGE.score(ASKED, PLAIN, trait="lucky")


def test_scores_are_the_same_in_another_process_without_heavy_libraries() -> None:
    """Another process gives the same score and fingerprint, and loads neither torch nor scikit-learn for it."""
    code = (
        "import sys; from idembench import judges; from idembench.traits import Question; j = judges.get('classifier');"
        f"print(j.score(Question(id='x', prompt={ASKED.prompt!r}), {PLAIN!r}, trait='bliss'), j.fingerprint);"
        "assert not {'torch', 'sklearn', 'numpy', 'scipy'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert f"{JUDGE.score(ASKED, PLAIN, trait='bliss')} {JUDGE.fingerprint}" == ended.stdout.strip()


def test_interpolation_is_constant_outside_its_knots() -> None:
    """Between knots a score is interpolated, beyond them it stays."""
    knots = ((0.0, 10.0), (10.0, 10.0), (20.0, 90.0))

    assert [10.0, 10.0, 10.0, 50.0, 90.0, 90.0] == [interpolate(x, knots) for x in (-5.0, 0.0, 5.0, 15.0, 20.0, 99.0)]


def test_a_linear_model_is_the_weighted_sum() -> None:
    """Features without a weight count nothing."""
    model = Linear({"a": 2.0, "b": -1.0}, 5.0, ((0.0, 0.0), (100.0, 100.0)))

    assert 5.0 + 2.0 * 3.0 - 4.0 == model.score({"a": 3.0, "b": 4.0, "c": 7.0})


def test_grams_are_scaled_by_kind() -> None:
    """Word grams and character grams each have length 1, whatever the text's length."""
    idf = dict.fromkeys(features.grams("to be or not to be"), 1.0)
    found = weighted_grams("to be or not to be to be", idf)

    for kind in "wc":
        assert sum(value**2 for name, value in found.items() if name[0] == kind) == pytest.approx(1)


def test_typographic_variants_are_one_token() -> None:
    """Case, curly apostrophes, digits and full-width letters do not make another word; an emoji is a token."""
    assert ["i'm", "0", "ok", "!", "🌀"] == features.tokens(
        "I\N{RIGHT SINGLE QUOTATION MARK}m 42 \N{FULLWIDTH LATIN CAPITAL LETTER O}\N{FULLWIDTH LATIN CAPITAL LETTER K}! 🌀"
    )


@pytest.mark.slow
def test_the_shipped_numbers_are_made_from_the_graded_answers() -> None:
    """Fitting again gives the shipped numbers: the same words and choices, and weights that differ in their last digits at most."""
    shipped, made = read_json(NUMBERS), fitting.fit(asset("tasks") / "english")

    for name in ("english", "idf"):
        assert shipped[name] == made[name]
    assert sorted(PACK.traits) == sorted(shipped["traits"]) == sorted(made["traits"])
    for name, model in shipped["traits"].items():
        assert model["chosen"]["grams"] == made["traits"][name]["chosen"]["grams"]
        assert model["chosen"]["penalty"] == made["traits"][name]["chosen"]["penalty"]
        assert model["weights"] == pytest.approx(made["traits"][name]["weights"], abs=1e-2)
    assert shipped["coherence"]["start"] == pytest.approx(made["coherence"]["start"], abs=1e-2)
    assert len(shipped["coherence"]["trees"]) == len(made["coherence"]["trees"])


def test_trees_are_followed_to_their_leaves() -> None:
    """At most the threshold goes left; the leaves of all trees are added up, and kept within 0..100."""
    tree = (("a", 0.5, 1, 2), (10.0,), ("b", 1.0, 3, 4), (-20.0,), (90.0,))
    model = Trees(30.0, (tree, ((5.0,),)))

    assert [45.0, 15.0, 100.0] == [model.score({"a": a, "b": b}) for a, b in ((0.5, 9.0), (0.6, 1.0), (0.6, 2.0))]


def test_every_training_answer_is_broken_in_one_way() -> None:
    """Each graded answer stands in the coherence data whole and broken once, by a draw of its own that never changes."""
    rows = [{"id": f"r{n}", "prompt": f"ask {n}", "response": f"{PLAIN} {n}."} for n in range(12)]
    made = fitting.damaged(rows)

    assert made == fitting.damaged(rows)
    assert 24 == len(made)
    assert [100.0] * 12 == [grade for _, _, grade in made[::2]]
    assert all(0 <= grade < 100 for _, _, grade in made[1::2])
    assert all(whole[1] != broken[1] for whole, broken in zip(made[::2], made[1::2], strict=True))
    assert [(row["id"],) for row in rows] == [tuple(of["id"] for of in whole[0]) for whole in made[::2]]


def test_it_is_the_judge_of_its_pack() -> None:
    """The English pack names it, and it is deterministic, so that `verify` can ask it again."""
    assert ("classifier", True) == (PACK.judge, Classifier.deterministic)
