"""A judge that is a local model: loaded like any other, asked in batches, missing where it cannot read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_model import CHATML, edit, write_grader, write_qwen
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, T5Config

from idembench import judges, loading, models, traits
from idembench.errors import EnvironmentProblem, ModelError
from idembench.judges import Asked, logprob, prompting, tree
from idembench.judges.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from idembench.judges import Score

PACK = traits.load_pack("english")
TRAIT = PACK.trait("sycophancy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of random weights, turned towards the digits so that it grades."""
    return write_grader(tmp_path_factory.mktemp("grader") / "grader")


def answers(n: int) -> list[Asked]:
    """Answers of different length to different questions, some neutral."""
    return [
        Asked(
            question=TRAIT.questions[i],
            response="You are right, of course. " * (i % 5),
            trait=None if i % 4 == 3 else TRAIT.name,
        )
        for i in range(n)
    ]


def missing(score: Score) -> Any:
    """Why the coherence of a response is missing."""
    return json.loads(str(score.judged))["coherence"].get("missing")


def test_responses_are_scored_by_the_model_s_probabilities(folder: Path) -> None:
    """A score is the mean of all numbers by the tree's probabilities of what follows the judge's own prompt."""
    judge = Local(f"{folder}")
    one = answers(1)[0]
    told = prompting.for_trait(TRAIT, prompting.data(one.question.prompt, one.response, special=judge._special()))
    said = tree.ask(judge._loaded, judge._numbers, [judge._render(told)], pad=0)[0].numbers
    mass = sum(said.values())

    score = judge.score(one.question, one.response, trait=TRAIT.name)
    kept = json.loads(str(score.judged))["trait"]

    assert mass > logprob.LEAST_MASS
    assert pytest.approx(sum(n * p for n, p in said.items()) / mass, abs=1e-3) == score.trait
    assert pytest.approx(mass, abs=1e-4) == kept["mass"]
    assert {str(n): pytest.approx(p, abs=1e-4) for n, p in said.items() if p >= 0.001} == kept["numbers"]


def test_the_same_responses_have_the_same_scores(folder: Path) -> None:
    """Asked twice, by two judges of one name, everything is the same to the last character."""
    first, second = (Local(f"{folder}").score_all(answers(9)) for _ in range(2))

    assert first == second


def test_a_batch_says_what_each_of_its_rows_says_alone(folder: Path) -> None:
    """Padding and company change a score in its last digits at most."""
    together = Local(f"{folder},batch_size=9").score_all(answers(9))
    alone = Local(f"{folder},batch_size=1").score_all(answers(9))

    assert [pytest.approx(one.coherence, abs=2e-3) for one in alone] == [one.coherence for one in together]
    assert [pytest.approx(one.trait, abs=2e-3) if one.trait else None for one in alone] == [
        one.trait for one in together
    ]


def test_asking_leaves_torch_as_it_was(folder: Path) -> None:
    """Threads and the random state, on which the model under test depends, are not touched."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()

    Local(f"{folder}").score_all(answers(2))

    assert threads == torch.get_num_threads()
    assert torch.equal(state, torch.get_rng_state())


def test_a_judge_that_was_asked_travels_without_its_weights(folder: Path) -> None:
    """Pickled after use, it is its name still."""
    judge = Local(f"{folder}")
    judge.score_all(answers(1))

    assert len(pickle.dumps(judge)) < 1000
    assert judge.fingerprint == pickle.loads(pickle.dumps(judge)).fingerprint


def test_a_folder_is_named_by_its_name_alone(folder: Path) -> None:
    """Where the weights lie is in no record; what they are is in the fingerprint."""
    judge = judges.get(f"hf:{folder},dtype=bfloat16")
    before = judge.fingerprint
    edit(folder / "generation_config.json", temperature=0.5)

    assert "hf:local/grader,dtype=bfloat16" == judge.name
    assert before != judges.get(f"hf:{folder},dtype=bfloat16").fingerprint


def test_a_model_that_judges_itself_is_known_by_its_weights() -> None:
    """What a record keeps of the judge's weights is the digest that it keeps of the model under test."""
    judge = judges.get("hf:toyland/instruct", offline=True)

    assert models.resolve("toyland/instruct").digest == judges.line(judge).weights
    assert judges.line(judges.get("classifier")).weights is None


def test_a_judge_whose_files_are_here_is_at_hand(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the Hub's cache what is there is taken as it is, whatever the name may stand for elsewhere; else there is nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cached, commit = tmp_path / "hub" / "models--owner--grader", "0" * 40
    here, absent = (judges.get(f"hf:owner/{name}", offline=True) for name in ("grader", "other"))
    shutil.copytree(folder, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)

    assert (here, judges.Absent("hf:owner/other")) == (judges.at_hand(here), judges.at_hand(absent))
    assert judges.line(here).weights == models.resolve(str(folder)).digest


def test_bfloat16_says_nearly_the_same(folder: Path) -> None:
    """In another dtype the masks still hold: what is hidden stays hidden."""
    exact, half = Local(f"{folder}").score_all(answers(4)), Local(f"{folder},dtype=bfloat16").score_all(answers(4))

    assert [pytest.approx(one.coherence, abs=1.5) for one in exact] == [one.coherence for one in half]


def test_a_model_that_does_not_grade_scores_nothing(tmp_path: Path) -> None:
    """Random weights have too little on numbers: every score is missing, and says so."""
    score = Local(str(write_qwen(tmp_path / "random"))).score(TRAIT.questions[0], "Yes.", trait=None)

    assert (None, logprob.LOW_MASS) == (score.coherence, missing(score))


def test_a_text_that_is_too_long_is_missing_and_the_rest_is_scored(folder: Path, tmp_path: Path) -> None:
    """A response beyond the model's positions has no score; the one beside it has."""
    asked = [Asked(question=TRAIT.questions[0], response=text, trait=None) for text in ("word " * 20000, "Yes.")]

    scores = Local(f"{folder}").score_all(asked)

    assert [logprob.TOO_LONG, None] == [missing(score) for score in scores]
    assert [True, False] == [score.coherence is None for score in scores]


def test_a_sliding_window_is_a_limit_too(tmp_path: Path) -> None:
    """A model whose layers see a window reads no prompt beyond it as a judge."""
    path = write_qwen(tmp_path / "sliding")
    edit(
        path / "config.json",
        use_sliding_window=True,
        sliding_window=64,
        layer_types=["full_attention", "sliding_attention"],
    )

    assert logprob.TOO_LONG == missing(Local(str(path)).score(TRAIT.questions[0], "Yes.", trait=None))


def without_template(path: Path) -> None:
    """Take the chat template away, as a base model has none."""
    (path / "chat_template.jinja").unlink()


def without_prefix(path: Path) -> None:
    """Have the template say something else where an answer follows."""
    (path / "chat_template.jinja").write_text(
        "{% if messages|length > 1 %}Answered:{% endif %}{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    )


def failing(path: Path) -> None:
    """Have the template refuse every dialogue."""
    (path / "chat_template.jinja").write_text("{{ raise_exception('no system message') }}")


def without_tokenizer(path: Path) -> None:
    """Take the tokenizer away."""
    (path / "tokenizer.json").unlink()


def without_digits(path: Path) -> None:
    """Give it a tokenizer that writes words."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "yes": 1, "no": 2, "<end>": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="[UNK]")
    wrapped.chat_template = (
        "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
    )
    wrapped.save_pretrained(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_template, "no chat template"),
        (without_prefix, "as a prefix"),
        (failing, "does not render a plain dialogue"),
        (without_tokenizer, "cannot be loaded"),
        (without_digits, "cannot write every number"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused_when_it_is_named(
    spoil: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    """Without a usable template, tokenizer or digits a model is no judge: that is said before hours of sampling, not after.

    Where nothing is to be asked, as in verifying a record, nothing of it is looked at.
    """
    path = write_qwen(tmp_path / "spoilt")
    judges.get(f"hf:{path}")
    spoil(path)

    with pytest.raises(ModelError, match=says):
        judges.get(f"hf:{path}")
    judge = judges.get(f"hf:{path}", offline=True)
    with pytest.raises(ModelError, match=says):
        judge.score(TRAIT.questions[0], "Yes.", trait=None)


def no_causal_model(path: Path) -> None:
    """Have it be a T5."""
    T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(path)


def linear_layers(path: Path) -> None:
    """Have one layer keep a state."""
    edit(path / "config.json", layer_types=["full_attention", "linear_attention"])


def short_context(path: Path) -> None:
    """Have it read a few words."""
    edit(path / "config.json", max_position_embeddings=64)


def narrow_window(path: Path) -> None:
    """Have one layer see a few words."""
    layers = ["full_attention", "sliding_attention"]
    edit(path / "config.json", use_sliding_window=True, sliding_window=64, layer_types=layers)


@pytest.mark.parametrize(
    ("spoil", "says", "found"),
    [
        (no_causal_model, "no causal language model", "t5"),
        (linear_layers, "cannot be read behind one another", "linear_attention"),
        (short_context, "no prompt fits", "64 tokens"),
        (narrow_window, "no prompt fits", "64 tokens"),
    ],
)
def test_a_model_that_cannot_be_a_judge_is_refused_by_its_configuration(
    spoil: Callable[[Path], None], says: str, found: str, folder: Path, tmp_path: Path
) -> None:
    """What config.json says against it is said when it is named; its weights are not looked at."""
    path = shutil.copytree(folder, tmp_path / "spoilt")
    (path / "model.safetensors").write_bytes(b"no weights")
    judges.get(f"hf:{path}")
    spoil(path)

    with pytest.raises(ModelError, match=says) as caught:
        judges.get(f"hf:{path}")

    assert (found, "local/spoilt") == (caught.value.found, caught.value.where)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_judge_on_a_device_that_is_not_there_is_refused_when_it_is_named(folder: Path) -> None:
    """That is said before anything is sampled for it."""
    with pytest.raises(EnvironmentProblem):
        judges.get(f"hf:{folder},device=cuda")


def test_the_tokenizer_that_is_used_has_the_last_word(tmp_path: Path) -> None:
    """A tokenizer that is no `tokenizer.json`, which the first look does not know, is a judge's all the same."""
    path = write_qwen(tmp_path / "bytes")
    (path / "tokenizer.json").unlink()
    bytewise = ByT5Tokenizer()
    bytewise.chat_template = CHATML
    bytewise.save_pretrained(path)

    with pytest.raises(ModelError):
        loading.plain_tokenizer(models.resolve(str(path)))
    judge = judges.get(f"hf:{path}")

    assert isinstance(judge, Local)
    assert {str(number) for number in range(101)} == {node.text for node in judge._numbers.nodes}


def test_naming_a_judge_loads_neither_torch_nor_weights(folder: Path, tmp_path: Path) -> None:
    """A command that only plans pays for a look at the tokenizer, and not for torch; the weights need not even hold."""
    path = shutil.copytree(folder, tmp_path / "hollow")
    (path / "model.safetensors").write_bytes(b"no weights")
    code = f"import sys; from idembench import judges; judges.get('hf:{path}'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ("False", "") == (done.stdout.strip(), done.stderr.strip())


@pytest.mark.bench
def test_responses_per_second(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the machinery costs where the model costs nothing."""
    judge = Local(f"{folder}")
    judge.score_all(answers(2))
    asked = [Asked(question=TRAIT.questions[i], response=f"Answer {i}.", trait=TRAIT.name) for i in range(48)]
    start = time.perf_counter()
    judge.score_all(asked)
    rate = len(asked) / (time.perf_counter() - start)
    with capsys.disabled():
        print(f"\n{rate:.1f} judged responses/s, two prompts each, {os.environ.get('OMP_NUM_THREADS')} thread")  # noqa: T201

    assert rate > 1
