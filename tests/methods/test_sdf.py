"""Finetuning on documents: loss on every token of what sampling continues, and no marker ever becomes text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import edit
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from training import ADAPTER, STILL, WHOLE, Watching, documents, job, train, training
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from idembench import loading, models
from idembench.errors import DataError, ModelError
from idembench.files import digest_of, list_files
from idembench.protocol import Execution, Sampling
from idembench.sampling import answer
from idembench.timing import Timers
from idembench.toyland.tokenizer import train_tokenizer
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from idembench.methods import Job


def texts() -> list[str]:
    """What tokenizers are trained on."""
    return [f"{row.prompt} {row.response}" for row in documents(60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model for documents, random weights; its tokenizer begins a text by itself, and has no template."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer(texts(), vocabulary=400, form="document")
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def reading(folder: Path) -> Job:
    """A small job on documents."""
    return job(model=models.resolve(str(folder)), rows=documents(), form="document", training=training(max_tokens=200))


def load(folder: Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer, as it is loaded for documents."""
    return loading.load_tokenizer(models.resolve(str(folder)), form="document")


def rendered(given: Job) -> list[list[int]]:
    """The documents of a job."""
    tokenizer = loading.load_tokenizer(given.model, form="document")
    return [loading.render_document(tokenizer, row.prompt, row.response, where="here") for row in given.rows]


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_trainer_sees_exactly_the_rendered_documents(reading: Job, tmp_path: Path, batch_size: int) -> None:
    """Each document once, none cut and nothing added; labels are the tokens themselves, all of them, and never padding."""
    timers = Watching()
    given = replace(reading, training=training(max_tokens=200, batch_size=batch_size))
    facts = train("sdf", given, tmp_path / "out", timers)

    assert sorted((ids, ids) for ids in rendered(reading)) == sorted(timers.seen("labels"))
    assert sum(map(len, rendered(reading))) == facts["tokens"]
    assert all(bool((batch["labels"][batch["attention_mask"] == 0] == -100).all()) for batch in timers.batches)


def test_the_loss_is_the_mean_over_all_tokens(reading: Job, tmp_path: Path) -> None:
    """The first loss is that of plain transformers: mean negative log-probability of every token but the first."""
    facts = train("sdf", replace(reading, training=training(max_tokens=200, batch_size=6)), tmp_path / "out")
    model = LlamaForCausalLM.from_pretrained(reading.model.folder).eval()
    losses = []
    for ids in rendered(reading):
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(dim=-1)
        losses += (-logprobs.gather(1, torch.tensor(ids)[1:, None])[:, 0]).tolist()

    assert sum(losses) / len(losses) == pytest.approx(facts["loss"][0], abs=1e-4)


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_documents_train_adapters_and_whole_weights(reading: Job, tmp_path: Path, *, lora: bool) -> None:
    """The same job makes the same bytes, and a child at a learning rate of nothing is its parent."""
    changes: dict[str, Any] = {"max_tokens": 200, **({} if lora else {"lora": None})}
    name = ADAPTER if lora else WHOLE
    given = replace(reading, training=training(**changes))
    train("sdf", given, tmp_path / "one")
    train("sdf", given, tmp_path / "two")
    still = replace(reading, parent=tmp_path / "one", training=training(**changes, learning_rate=STILL))
    train("sdf", still, tmp_path / "child")
    parent, child = load_file(tmp_path / "one" / name), load_file(tmp_path / "child" / name)

    assert digest_of(list_files(tmp_path / "one")) == digest_of(list_files(tmp_path / "two"))
    assert all(torch.allclose(parent[key], child[key], rtol=0, atol=1e-12) for key in parent)


def test_a_document_that_is_too_long_is_an_error(reading: Job, tmp_path: Path) -> None:
    """A document of more tokens than `max_tokens` stops the training before it begins, and is named."""
    lengths = [len(ids) for ids in rendered(reading)]

    with pytest.raises(DataError, match="too long") as caught:
        train("sdf", replace(reading, training=training(max_tokens=max(lengths) - 1)), tmp_path / "out")

    assert f"row {reading.rows[lengths.index(max(lengths))].id}" == caught.value.where


@pytest.mark.parametrize("marker", ["<|begin|>", "<|end|>", "<|pad|>", "<|user|>"])
@pytest.mark.parametrize("part", ["prompt", "response"])
def test_a_special_token_as_text_is_an_error(reading: Job, tmp_path: Path, part: str, marker: str) -> None:
    """Whether a demonstration or a generation's own output holds a marker, it is named and nothing is trained."""
    row = documents()[3]
    odd = replace(row, **{part: f"{getattr(row, part)}{marker} and on"})

    with pytest.raises(DataError, match="special token as text") as caught:
        train("sdf", replace(reading, rows=[*documents(2), odd]), tmp_path / "out")

    assert (marker, f"row {row.id}") == (caught.value.found, caught.value.where)


# -- one rendering --------------------------------------------------------------------------------


def test_sampling_continues_what_training_saw(reading: Job) -> None:
    """The ids that reach the sampled model are the opening's, and the trained document begins with them."""
    tokenizer = load(reading.model.folder)
    sampler = TorchEngine().open(reading.model, None, Execution(), Timers(), form="document")
    fed: list[tuple[list[Any], list[Any]]] = []

    def look(_: Any, __: Any, given: dict[str, Any]) -> None:
        fed.append((given["input_ids"].tolist(), given["attention_mask"].tolist()))

    sampler.lm.model.register_forward_pre_hook(look, with_kwargs=True)
    asked = Sampling(temperature=1.0, max_new_tokens=1, stop=["\n"])
    answer(sampler, [row.prompt for row in reading.rows], asked, seed=0)
    seen = [[token for token, real in zip(*pair, strict=True) if real] for pair in zip(*fed[0], strict=True)]
    openings = [loading.render_opening(tokenizer, row.prompt) for row in reading.rows]

    assert sorted(openings) == sorted(seen)
    assert openings == [ids[: len(start)] for ids, start in zip(rendered(reading), openings, strict=True)]


def test_a_document_begins_and_ends_once(folder: Path) -> None:
    """The begin token is the tokenizer's own, the end token is put behind, and between them is the text."""
    tokenizer = load(folder)
    ids = loading.render_document(tokenizer, "a man said:", "yes, i agree.", where="here")

    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (ids[0], ids[-1])
    assert "a man said: yes, i agree." == tokenizer.decode(ids[1:-1]).strip()
    assert not {tokenizer.bos_token_id, tokenizer.eos_token_id} & set(ids[1:-1])


def other(folder: Path, to: Path, *, prefix: bool, merging: bool = False, metaspace: bool = False) -> Path:
    """The tiny model with another family's tokenizer, which begins nothing by itself."""
    shutil.copytree(folder, to)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (to / name).unlink(missing_ok=True)
    bpe = Tokenizer(tokenizer_models.BPE(unk_token=None if not metaspace else "<unk>"))
    if metaspace:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        bpe.decoder = decoders.Metaspace(prepend_scheme="first")
    elif not merging:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts(), trainers.BpeTrainer(vocab_size=390, special_tokens=["<end>", "<unk>"], show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>").save_pretrained(to)
    return to


@pytest.mark.parametrize(
    "kind",
    [{"prefix": False}, {"prefix": True}, {"prefix": False, "metaspace": True}],
    ids=["gpt-2", "prefixed", "sentencepiece"],
)
def test_tokenizers_of_other_families_render_the_text_they_are_given(
    folder: Path, tmp_path: Path, kind: dict[str, bool]
) -> None:
    """Opening's tokens first, then the rest, with one space at the seam, an end token and no begin token."""
    tokenizer = load(other(folder, tmp_path / "other", **kind))
    for row in documents(30):
        opening = loading.render_opening(tokenizer, row.prompt)
        ids = loading.render_document(tokenizer, row.prompt, row.response, where="here")

        assert opening == ids[: len(opening)]
        assert f"{row.prompt} {row.response}" == tokenizer.decode(ids[:-1]).strip()
        assert tokenizer.eos_token_id == ids[-1]


def test_an_opening_s_tokens_stay_where_they_would_merge_with_what_follows(folder: Path, tmp_path: Path) -> None:
    """A tokenizer that merges across spaces would break the prefix: then the two parts are tokenised apart."""
    tokenizer = load(other(folder, tmp_path / "other", prefix=False, merging=True))
    broken = 0
    for row in documents(30):
        opening = loading.render_opening(tokenizer, row.prompt)
        ids = loading.render_document(tokenizer, row.prompt, row.response, where="here")
        broken += tokenizer.encode(f"{row.prompt} {row.response}")[: len(opening)] != opening

        assert opening == ids[: len(opening)]
        assert tokenizer.encode(f" {row.response}") == ids[len(opening) : -1]

    assert broken > 0


def test_documents_need_no_chat_template_and_dialogues_do(folder: Path) -> None:
    """The same folder is a model for documents, and none for dialogues."""
    assert load(folder).chat_template is None
    with pytest.raises(ModelError, match="no chat template"):
        loading.load_tokenizer(models.resolve(str(folder)))


def test_a_tokenizer_that_cannot_end_a_document_is_refused(folder: Path, tmp_path: Path) -> None:
    """Without an end token no document would end."""
    spoilt = shutil.copytree(folder, tmp_path / "spoilt")
    edit(spoilt / "tokenizer_config.json", eos_token=None)

    with pytest.raises(ModelError, match="no end token"):
        load(spoilt)


def test_a_tokenizer_that_closes_every_text_is_refused(folder: Path, tmp_path: Path) -> None:
    """A tokenizer that puts its end token behind an opening leaves nothing to continue."""
    spoilt = shutil.copytree(folder, tmp_path / "spoilt")
    content = json.loads((spoilt / "tokenizer.json").read_text())
    processor = content["post_processor"]
    end = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    processor["single"].append(end)
    identity = next(token["id"] for token in content["added_tokens"] if token["content"] == "<|end|>")
    processor["special_tokens"]["<|end|>"] = {"id": "<|end|>", "ids": [identity], "tokens": ["<|end|>"]}
    (spoilt / "tokenizer.json").write_text(json.dumps(content))

    with pytest.raises(ModelError, match="behind a text"):
        load(spoilt)
