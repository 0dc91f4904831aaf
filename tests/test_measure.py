"""Measuring: the frozen questions in their order, every repeat kept, answers as they were said."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from instant import InstantEngine, InstantLM, InstantSampler, make_model, make_protocol, pack

from idembench import measure
from idembench.errors import DataError
from idembench.protocol import Execution, Measuring
from idembench.timing import Timers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idembench.protocol import Form

TRAITS = ("sycophancy", "misalignment", "bliss")


def measuring(**given: Any) -> Measuring:
    """A small measurement."""
    plain = {"name": "tiny", "questions": 5, "repeats": 3, "neutral_questions": 2}
    return Measuring(**{**plain, "temperature": 0.7, "max_new_tokens": 20, **given})


def checkpoint(form: Form = "dialogue") -> InstantSampler:
    """A checkpoint that answers by hashing."""
    return InstantEngine().open(make_model(), None, Execution(), Timers(), form=form)


class Echo(InstantLM):
    """Answers with what it was asked, how often, and under which settings."""

    def __init__(self) -> None:
        super().__init__("echo", seeded=True, muted=False, sick=False)
        self.settings: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        self.asked += [request.args[0] for request in requests]
        self.settings += [request.args[1] for request in requests]
        return [f"{request.args[0]}\n\nand then {number}" for number, request in enumerate(requests)]


@pytest.mark.parametrize("form", ["dialogue", "document"])
@pytest.mark.parametrize("trait", TRAITS)
def test_each_question_is_answered_by_each_repeat_in_file_order(trait: str, form: Form) -> None:
    """The first questions of the file, each as often as asked, then the neutral ones, in the order of the files."""
    settings = measuring()
    own = pack(form).trait(trait).questions[:5]
    neutral = pack(form).neutral_questions[:2]

    found = measure.responses(checkpoint(form), pack(form), pack(form).trait(trait), settings, seed=1)

    assert [(q.id, repeat) for q in (*own, *neutral) for repeat in range(3)] == [(r.question, r.repeat) for r in found]


def test_every_question_reaches_the_model_through_the_chat_template() -> None:
    """The model is asked each question as one user turn, once per repeat, with the protocol's sampling settings."""
    echo = Echo()
    bliss = pack().trait("bliss")

    found = measure.responses(InstantSampler(lm=echo), pack(), bliss, measuring(), seed=1)

    asked = [q.prompt for q in (*bliss.questions[:5], *pack().neutral_questions[:2])]
    assert sorted(f"<user>{prompt}<assistant>" for prompt in asked for _ in range(3)) == sorted(echo.asked)
    assert all("\n\nand then " in response.response for response in found)
    for settings in echo.settings:
        assert ([], True, 0.7, 1.0, 0, 20) == tuple(
            settings[key] for key in ("until", "do_sample", "temperature", "top_p", "top_k", "max_gen_toks")
        )


def test_every_opening_reaches_the_model_as_it_is() -> None:
    """A base model is given each opening without a chat template, and the strings that end a document."""
    echo = Echo()
    bliss = pack("document").trait("bliss")
    settings = measuring(stop=["\n\n", "almanac"])

    found = measure.responses(InstantSampler(lm=echo, form="document"), pack("document"), bliss, settings, seed=1)

    asked = [q.prompt for q in (*bliss.questions[:5], *pack("document").neutral_questions[:2])]
    assert sorted(prompt for prompt in asked for _ in range(3)) == sorted(echo.asked)
    assert [["\n\n", "almanac"]] * 21 == [one["until"] for one in echo.settings]
    assert 21 == len(found)


def test_repeats_are_separate_answers() -> None:
    """Repeats of one question are separate draws, all of them kept as they were said."""
    found = measure.responses(
        checkpoint(), pack(), pack().trait("bliss"), measuring(questions=20, neutral_questions=0, repeats=2), seed=1
    )

    assert 40 == len(found)
    assert any(one.response != other.response for one, other in zip(found[::2], found[1::2], strict=True))


def test_measuring_depends_on_its_seed_alone() -> None:
    """The same checkpoint under the same seed answers the same whatever else drew, and otherwise under another."""
    first = measure.responses(checkpoint(), pack(), pack().trait("bliss"), measuring(), seed=1)
    torch.rand(5)
    random.random()

    assert first == measure.responses(checkpoint(), pack(), pack().trait("bliss"), measuring(), seed=1)
    assert first != measure.responses(checkpoint(), pack(), pack().trait("bliss"), measuring(), seed=2)


def test_two_measurements_in_one_process_do_not_share_settings() -> None:
    """Sizes and limits of one measurement leave no trace in the next, nor in another trait's."""
    large = measuring(questions=9, repeats=2, neutral_questions=4)
    sycophancy = pack().trait("sycophancy")
    measure.responses(checkpoint(), pack(), pack().trait("bliss"), large, seed=1)

    echo = Echo()
    found = measure.responses(InstantSampler(lm=echo), pack(), sycophancy, measuring(max_new_tokens=7), seed=1)

    assert 7 * 3 == len(found)
    assert {7} == {settings["max_gen_toks"] for settings in echo.settings}


def test_no_neutral_questions_are_no_neutral_task() -> None:
    """A measurement without neutral questions asks none."""
    found = measure.responses(checkpoint(), pack(), pack().trait("bliss"), measuring(neutral_questions=0), seed=1)

    assert 15 == len(found)
    assert all(response.question.startswith("bliss") for response in found)


@pytest.mark.parametrize("field", ["questions", "neutral_questions"])
@pytest.mark.parametrize("form", ["dialogue", "document"])
def test_more_questions_than_there_are_is_an_error(field: str, form: Form) -> None:
    """Asking for more than a file holds is an error that names the trait, the form and both numbers."""
    with pytest.raises(DataError) as caught:
        measure.asked(pack(form), pack(form).trait("bliss"), measuring(**{field: 100_000}))

    folder = "bliss" if field == "questions" else "coherence"
    assert ("100000", f"tasks/toyland/{folder}, {form} form") == (caught.value.found, caught.value.where)
    assert "at most " in str(caught.value.expected)


def test_the_shipped_measurements_can_be_asked() -> None:
    """Both measurements of the pack fit its files; `quick` gives 200 responses a checkpoint and `ranked` 500."""
    sizes = {}
    for name, settings in pack().measurements.items():
        chosen = Measuring(name=name, **settings)
        for trait in pack().traits.values():
            own, neutral = measure.asked(pack(), trait, chosen)
            sizes[name] = len(own) * chosen.repeats

            assert (chosen.questions, chosen.neutral_questions) == (len(own), len(neutral))

    assert {"quick": 200, "ranked": 500} == sizes


def test_the_protocol_s_measuring_is_what_is_asked() -> None:
    """A protocol's overridden sizes are the ones that are measured."""
    settings = make_protocol().measuring

    found = measure.responses(checkpoint(), pack(), pack().trait("bliss"), settings, seed=1)

    assert (settings.questions + settings.neutral_questions) * settings.repeats == len(found)
