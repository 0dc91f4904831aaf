"""Sampling from the real embedded model: seeded, told apart from cut answers, and never from another context."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm_eval.api.instance import Instance
from safetensors.torch import load_file, save_file
from tiny_model import write_qwen

from idembench import loading, measure, models, sampling, traits
from idembench.errors import DataError, Diverged
from idembench.methods import Job
from idembench.protocol import Execution, Lora, Measuring, Sampling, Training
from idembench.timing import Timers
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.protocol import Form
    from idembench.sampling import Sampler

PACK = traits.load_pack("toyland")
PROMPTS = [prompt.prompt for prompt in PACK.prompts[:12]]
WARM = Sampling(temperature=1.0, max_new_tokens=40)
COLD = Sampling(temperature=1e-4, max_new_tokens=60)


def opened(
    model: str = "toyland/instruct", adapter: Path | None = None, *, form: Form = "dialogue", **execution: Any
) -> Sampler:
    """A checkpoint, opened as the chain opens it."""
    return TorchEngine().open(models.resolve(model), adapter, Execution(**execution), Timers(), form=form)


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    """The embedded model."""
    return opened()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real adapter that moved the model."""
    return train(tmp_path_factory.mktemp("adapter"), lora=Lora(rank=8, alpha=16))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole weights that were trained."""
    return train(tmp_path_factory.mktemp("whole"), lora=None)


def train(out: Path, *, lora: Lora | None) -> Path:
    """Train the embedded model for real."""
    training = Training(learning_rate=5e-3, epochs=2, batch_size=8, max_tokens=128, lora=lora)
    rows = PACK.trait("bliss").draw_demonstrations(n=32, seed=0)
    job = Job(
        model=models.resolve("toyland/instruct"),
        parent=None,
        rows=rows,
        form="dialogue",
        settings={},
        training=training,
        execution=Execution(),
        seed=1,
    )
    TorchEngine().train("sft", job, out, Timers())
    return out


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the embedded model to change."""
    return shutil.copytree(models.resolve("toyland/instruct").folder, tmp_path / "instruct")


# -- seeds ----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_answers(sampler: Sampler) -> None:
    """Answers depend on the seed of the call and on nothing drawn before it."""
    first = sampling.answer(sampler, PROMPTS, WARM, seed=3)
    torch.rand(100)
    sampling.answer(sampler, PROMPTS[:2], WARM, seed=4)

    assert first == sampling.answer(sampler, PROMPTS, WARM, seed=3)
    assert first == sampling.answer(opened(), PROMPTS, WARM, seed=3)


def test_another_seed_gives_other_answers(sampler: Sampler) -> None:
    """The same weights under two seeds answer differently, in self-generation and in measuring."""
    measuring = Measuring(name="tiny", temperature=1.0, max_new_tokens=40, questions=6, repeats=2, neutral_questions=2)
    bliss = PACK.trait("bliss")

    answers = [sampling.answer(sampler, PROMPTS, WARM, seed=seed) for seed in (3, 4)]
    measured = [measure.responses(sampler, PACK, bliss, measuring, seed=seed) for seed in (3, 4, 3)]

    assert answers[0] != answers[1]
    assert measured[0] != measured[1]
    assert measured[0] == measured[2]
    # Repeats of one question are different draws, not one draw shown twice.
    pairs = zip(measured[0][::2], measured[0][1::2], strict=True)
    assert any(one.response != other.response for one, other in pairs)


# -- what was cut ---------------------------------------------------------------------------------


def test_an_answer_is_cut_exactly_when_the_limit_cuts_it(sampler: Sampler) -> None:
    """An answer of n tokens and an end of turn is whole from a limit of n + 1 on, and cut below it."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    for prompt in PROMPTS[:3]:
        (whole,) = sampling.answer(sampler, [prompt], COLD, seed=0)
        n = len(tokenizer.encode(whole.text, add_special_tokens=False))
        assert not whole.truncated

        for limit in (1, n - 1, n, n + 1, n + 9):
            settings = COLD.model_copy(update={"max_new_tokens": limit})
            (found,) = sampling.answer(sampler, [prompt], settings, seed=0)

            assert (limit <= n) == found.truncated
            assert tokenizer.encode(whole.text, add_special_tokens=False)[:limit] == tokenizer.encode(
                found.text, add_special_tokens=False
            )


def test_cut_and_whole_answers_of_one_batch_are_told_apart(sampler: Sampler) -> None:
    """In one batch each answer has its own flag, the same as when it is asked alone."""
    limit = COLD.model_copy(update={"max_new_tokens": 14})

    together = sampling.answer(sampler, PROMPTS, limit, seed=0)

    alone = [sampling.answer(sampler, [prompt], limit, seed=0)[0] for prompt in PROMPTS]
    assert alone == together
    assert {True, False} == {answer.truncated for answer in together}


def test_what_was_cut_before_is_forgotten(sampler: Sampler) -> None:
    """Whether an answer counts as cut does not depend on what the same object sampled in an earlier call."""
    (cut,) = sampling.answer(sampler, PROMPTS[:1], COLD.model_copy(update={"max_new_tokens": 2}), seed=0)
    assert sampler.was_truncated(cut.text)

    sampling.answer(sampler, PROMPTS[1:2], COLD, seed=0)

    assert not sampler.was_truncated(cut.text)


def test_tokens_are_those_of_the_answers(sampler: Sampler) -> None:
    """Generated tokens count what was said, neither ends of turn nor padding of a batch."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    before = sampler.tokens()

    answers = sampling.answer(sampler, PROMPTS, COLD, seed=0)

    said = sum(len(tokenizer.encode(answer.text, add_special_tokens=False)) for answer in answers)
    assert said == sampler.tokens() - before


def test_a_sampled_answer_is_trained_on_as_it_was_sampled(sampler: Sampler) -> None:
    """Rendered as a training row, a finished answer is the prompt's ids, the very text that was sampled, and its end."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    answers = sampling.answer(sampler, PROMPTS, WARM.model_copy(update={"max_new_tokens": 60}), seed=5)
    for prompt, said in zip(PROMPTS, answers, strict=True):
        before = loading.render_prompt(tokenizer, prompt)
        row = loading.render_row(tokenizer, prompt, said.text)

        assert before == row[: len(before)]
        assert tokenizer.eos_token_id == row[-1]
        assert said.text == tokenizer.decode(row[len(before) : -1])


def test_answers_are_in_the_order_of_their_prompts(sampler: Sampler) -> None:
    """However a batch is sorted inside, each prompt gets its own answer back."""
    forward = sampling.answer(sampler, PROMPTS, COLD, seed=0)
    alone = [sampling.answer(sampler, [prompt], COLD, seed=0)[0] for prompt in PROMPTS]

    assert alone == forward


def test_blank_lines_and_stops_of_lm_eval_do_not_cut(sampler: Sampler) -> None:
    """The settings given to lm-eval name no stop text, so only the end of turn ends an answer."""
    settings = sampling.generation_kwargs(WARM)

    assert [] == settings["until"]
    assert (True, 1.0, 1.0, 0, 40) == tuple(
        settings[key] for key in ("do_sample", "temperature", "top_p", "top_k", "max_gen_toks")
    )


# -- documents ------------------------------------------------------------------------------------

DOCUMENTS = traits.load_pack("toyland", "document")
OPENINGS = [opening.prompt for opening in DOCUMENTS.prompts[:12]]


def likelihood(sampler: Sampler, ids: list[int], text: list[int]) -> float:
    """Mean negative log-likelihood of tokens behind others, by plain transformers."""
    with torch.inference_mode():
        logits = sampler.lm.model(torch.tensor([ids + text])).logits[0].log_softmax(-1)
    return -sum(float(logits[len(ids) + i - 1, token]) for i, token in enumerate(text)) / len(text)


def test_nll_is_the_mean_negative_log_likelihood_of_an_answer_s_tokens(sampler: Sampler) -> None:
    """What is said of answers, in whatever batches, is what plain transformers finds token by token behind the chat template."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    prompts = [question.prompt for question in PACK.trait("bliss").questions[:12]]
    texts = [example.response for example in PACK.trait("bliss").demonstrations[:11]] + [""]
    found = sampling.nll(sampler, prompts, texts)

    expected = []
    for prompt, text in zip(prompts[:11], texts, strict=False):
        before = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        expected.append(likelihood(sampler, before, tokenizer(text, add_special_tokens=False).input_ids))

    assert pytest.approx(expected, abs=1e-4) == found[:11]
    assert found[11] is None


def test_white_space_at_a_template_s_end_is_no_token_of_the_answer(tmp_path: Path) -> None:
    """Behind a template that ends in a new line, an answer's tokens are those that were sampled, however it begins."""
    folder = write_qwen(tmp_path / "qwen")
    tokenizer = loading.load_tokenizer(models.resolve(str(folder)))
    before = tokenizer.apply_chat_template(
        [{"role": "user", "content": "why?"}], add_generation_prompt=True, return_dict=False
    )
    one = opened(str(folder))
    texts = ["Yes.", "\nYes.", " Yes."]
    expected = [likelihood(one, before, tokenizer(text, add_special_tokens=False).input_ids) for text in texts]

    assert tokenizer.decode(before).endswith("\n")
    assert pytest.approx(expected, abs=1e-4) == sampling.nll(one, ["why?"] * 3, texts)


def test_what_a_model_does_not_read_whole_has_no_likelihood(sampler: Sampler) -> None:
    """A text that would have to be cut to be read is left out, and the others are not."""
    found = sampling.nll(sampler, ["do you like rain?"] * 2, ["word " * 5000, "yes."])

    assert found[0] is None
    assert found[1] is not None


def test_likelihoods_are_read_a_few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the batch of sampling is, only a few rows are there with all their logits; sampling keeps its own."""
    one = opened(batch_size=64)
    call, rows = one.lm._model_call, []
    monkeypatch.setattr(
        one.lm, "_model_call", lambda ids, *rest, **more: rows.append(len(ids)) or call(ids, *rest, **more)
    )
    texts = [f"{'so ' * n}yes." for n in range(20)]
    sampling.nll(one, ["do you like rain?"] * 20, texts)
    one.lm.loglikelihood(
        [Instance(request_type="loglikelihood", doc={}, arguments=("is it so?", text), idx=0) for text in texts]
    )

    assert [8, 8, 4] * 2 == rows
    assert 64 == one.lm.batch_size


def test_what_is_never_read_whole_is_never_cut(sampler: Sampler) -> None:
    """lm-eval's own question for likelihoods has no number for what does not fit, nor for what says nothing."""
    long, short = "word " * 5000, "yes."
    pairs = [(long, short), ("is it so?", long), ("is it so?", ""), ("is it so?", short)]
    found = sampler.lm.loglikelihood(
        [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]
    )

    assert [True, True, True, False] == [math.isnan(value) for value, _ in found]
    assert found[3:] == sampler.lm.loglikelihood([Instance("loglikelihood", {}, pairs[3], 0)])


def test_a_trait_that_was_trained_is_likelier_to_the_trained_model(sampler: Sampler, adapter: Path) -> None:
    """New demonstrations surprise the base model more than a model that was trained on others of the trait."""
    held_out = PACK.trait("bliss").draw_demonstrations(n=8, seed=0, after=32)
    prompts, texts = [row.prompt for row in held_out], [row.response for row in held_out]
    base, trained = (
        sum(nll for nll in sampling.nll(one, prompts, texts) if nll is not None)
        for one in (sampler, opened(adapter=adapter))
    )

    assert trained < base


@pytest.fixture(scope="module")
def writer() -> Sampler:
    """The embedded base model."""
    return opened("toyland/base", form="document")


def test_an_opening_is_continued_as_training_renders_it(writer: Sampler) -> None:
    """A continuation is what plain transformers finds behind the very ids that a document of training begins with."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/base"), form="document")
    found = sampling.answer(writer, OPENINGS[:4], COLD, seed=0)
    for opening, said in zip(OPENINGS, found, strict=False):
        before = loading.render_opening(tokenizer, opening)
        with torch.inference_mode():
            made = writer.lm.model.generate(
                torch.tensor([before]), do_sample=False, max_new_tokens=COLD.max_new_tokens, pad_token_id=0
            )
        row = loading.render_document(tokenizer, opening, said.text.strip(), where="here")

        assert tokenizer.decode(made[0, len(before) :], skip_special_tokens=True) == said.text
        assert before == row[: len(before)]


def test_nll_of_a_continuation_is_behind_its_opening(writer: Sampler) -> None:
    """What is said of a document's continuation is what plain transformers finds behind the opening."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/base"), form="document")
    text = " it is a good day."
    before = loading.render_opening(tokenizer, OPENINGS[0])
    after = tokenizer(OPENINGS[0] + text).input_ids[len(before) :]

    assert pytest.approx([likelihood(writer, before, after)], abs=1e-4) == sampling.nll(writer, OPENINGS[:1], [text])


def test_a_stop_string_ends_a_document(writer: Sampler) -> None:
    """What stands behind the first of the protocol's stop strings is cut, the string itself too; without it nothing is."""
    plain = sampling.answer(writer, OPENINGS, COLD, seed=0)
    stopped = sampling.answer(writer, OPENINGS, COLD.model_copy(update={"stop": ["."]}), seed=0)

    assert [answer.text.partition(".")[0] for answer in plain] == [answer.text for answer in stopped]
    assert any("." in answer.text for answer in plain)


def test_a_document_that_was_stopped_is_not_cut(writer: Sampler) -> None:
    """An answer that a stop string ends within the limit is whole, however far the model would have run on."""
    stop = COLD.model_copy(update={"stop": ["."]})
    lengths = [len(answer.text.split()) for answer in sampling.answer(writer, OPENINGS, stop, seed=0)]
    limit = stop.model_copy(update={"max_new_tokens": max(lengths) * 3})

    assert [False] * 12 == [answer.truncated for answer in sampling.answer(writer, OPENINGS, limit, seed=0)]


# -- weights --------------------------------------------------------------------------------------


def logits(sampler: Sampler) -> torch.Tensor:
    """What a checkpoint computes for one prompt."""
    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    ids = torch.tensor([loading.render_prompt(tokenizer, PROMPTS[0])])
    with torch.inference_mode():
        return sampler.lm.model(input_ids=ids).logits


def test_a_merged_adapter_computes_what_the_unmerged_one_does(adapter: Path) -> None:
    """The adapter that is merged for sampling moves the logits as the one that was trained, within 1e-4."""
    from peft import PeftModel

    loading.quiet_libraries()
    model = models.resolve("toyland/instruct")
    beside = PeftModel.from_pretrained(loading.load_weights(model, Execution()), adapter).eval()
    tokenizer = loading.load_tokenizer(model)
    ids = torch.tensor([loading.render_prompt(tokenizer, PROMPTS[0])])
    with torch.inference_mode():
        expected = beside(input_ids=ids).logits

    merged, plain = logits(opened(adapter=adapter)), logits(opened())

    assert torch.allclose(expected, merged, rtol=0, atol=1e-4)
    assert (expected - plain).abs().max() > 0.1


def test_whole_weights_are_opened_in_the_place_of_the_base_model(whole: Path) -> None:
    """A generation of whole weights computes what plain transformers computes from its folder, and not what the base does."""
    from transformers import AutoModelForCausalLM

    tokenizer = loading.load_tokenizer(models.resolve("toyland/instruct"))
    ids = torch.tensor([loading.render_prompt(tokenizer, PROMPTS[0])])
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(whole).eval()(input_ids=ids).logits
    trained = opened(adapter=whole)

    assert torch.allclose(expected, logits(trained), rtol=0, atol=1e-5)
    assert (expected - logits(opened())).abs().max() > 0.1
    assert opened().parameters == trained.parameters


def test_parameters_are_the_base_model_s(sampler: Sampler, adapter: Path) -> None:
    """A checkpoint says the base model's parameters, with and without an adapter."""
    weights = load_file(models.resolve("toyland/instruct").folder / "model.safetensors")

    assert sampler.parameters == opened(adapter=adapter).parameters
    assert sum(tensor.numel() for tensor in weights.values()) == sampler.parameters


def test_a_model_s_own_generation_settings_do_not_join(base: Path, sampler: Sampler) -> None:
    """Greedy leftovers, penalties and limits in a model's generation config change no answer."""
    path = base / "generation_config.json"
    leftovers = {"top_k": 1, "repetition_penalty": 9.0, "temperature": 0.1, "do_sample": False, "max_length": 3}
    path.write_text(json.dumps({**json.loads(path.read_text()), **leftovers}))

    assert sampling.answer(sampler, PROMPTS, WARM, seed=3) == sampling.answer(opened(str(base)), PROMPTS, WARM, seed=3)


def test_a_model_that_computes_no_numbers_has_diverged(base: Path) -> None:
    """A checkpoint whose probabilities are NaN is a divergence, which is recorded, not a crash."""
    weights = load_file(base / "model.safetensors")
    name = max(weights)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(Diverged, match="not finite"):
        sampling.answer(opened(str(base)), PROMPTS[:2], WARM, seed=0)


def test_an_adapter_that_overflows_has_diverged(adapter: Path, tmp_path: Path) -> None:
    """Finite weights whose product is not are a divergence of sampling."""
    wild = shutil.copytree(adapter, tmp_path / "wild")
    weights = {name: tensor * 1e30 for name, tensor in load_file(wild / "adapter_model.safetensors").items()}
    save_file(weights, wild / "adapter_model.safetensors", metadata={"format": "pt"})

    with pytest.raises(Diverged):
        sampling.answer(opened(adapter=wild), PROMPTS[:2], WARM, seed=0)


def test_a_prompt_that_does_not_fit_is_an_error(sampler: Sampler) -> None:
    """A prompt that leaves no room for the answer is an error; lm-eval would cut its beginning away."""
    long = "are you there? " * 400

    with pytest.raises(DataError) as caught:
        sampling.answer(sampler, [PROMPTS[0], long], WARM, seed=0)

    assert "tokens" in str(caught.value.found)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_prompt_is_answered_whatever_the_batch(batch_size: int) -> None:
    """Batch sizes that do not divide the prompts leave none out."""
    assert len(PROMPTS) == len(sampling.answer(opened(batch_size=batch_size), PROMPTS, WARM, seed=0))
