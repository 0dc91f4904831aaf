"""Models: named by their bytes, loaded without running anyone's code, rendered the same everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from idembench import models
from idembench.errors import EnvironmentProblem, IdembenchError, InputError, ModelError, UnknownNameError
from idembench.files import parse_json
from idembench.protocol import Execution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHIPPED = models.embedded()["toyland/instruct"]
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with the embedded model's tokenizer; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = len(models.load_tokenizer(models.resolve("toyland/instruct")))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(SHIPPED / name, folder)
    return folder


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "model")


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    content = {**parse_json(path.read_bytes(), where=str(path)), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


# -- naming ---------------------------------------------------------------------------------------


def test_the_embedded_model_is_resolved_by_name() -> None:
    """The shipped model needs no network and no path, and names exactly the files that loading reads."""
    found = models.resolve("toyland/instruct")
    read = {"config.json", "generation_config.json", "model.safetensors", *TOKENIZER}

    assert ("toyland/instruct", None, SHIPPED) == (found.name, found.revision, found.folder)
    assert read == {entry.name for entry in found.files}


def test_a_folder_is_named_by_itself_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's name is its last part, however it is reached, so that no path of a machine gets into a record."""
    monkeypatch.chdir(folder.parent)
    found = [models.resolve(name) for name in (str(folder), "model", "./model/", "model/../model")]

    assert ["local/model"] * 4 == [one.name for one in found]
    assert 1 == len({one.digest for one in found})


def test_an_exported_model_is_the_same_model(tmp_path: Path) -> None:
    """The folder that export writes has the digest of the embedded model, whatever else it holds."""
    written = models.export("toyland/instruct", tmp_path / "out")

    assert models.resolve("toyland/instruct").digest == models.resolve(str(tmp_path / "out")).digest
    assert "README.md" in written


def test_resolving_needs_no_torch() -> None:
    """Finding and naming a model imports no heavy library."""
    code = (
        "import sys; from idembench import models; models.resolve('toyland/instruct');"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "[]\n" == out


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_what_is_read_changes_the_digest(folder: Path, name: str) -> None:
    """Any other byte in a file that loading reads is another model."""
    before = models.resolve(str(folder)).digest
    with (folder / name).open("ab") as file:
        file.write(b" ")

    assert before != models.resolve(str(folder)).digest


def test_what_is_not_read_changes_nothing(folder: Path) -> None:
    """Notes, pictures, pickles beside safetensors and whole subfolders are no part of the model."""
    before = models.resolve(str(folder)).digest
    for name in ("README.md", ".DS_Store", "pytorch_model.bin", "loss.png", "figures.json"):
        (folder / name).write_text("anything")
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "config.json").write_text("{}")

    assert before == models.resolve(str(folder)).digest


# -- names that lead nowhere ----------------------------------------------------------------------


def test_a_typing_mistake_is_answered_by_the_embedded_model() -> None:
    """A name close to an embedded one is answered by it, and the Hub is not asked for Toyland's."""
    with pytest.raises(UnknownNameError) as caught:
        models.resolve("toyland/instrct")

    assert caught.value.do == "Did you mean toyland/instruct?"


@pytest.mark.parametrize(
    "name", ["", "nonsense", "./missing", "/missing/model", "a/b/c", "~nobody-at-all/model", "~/missing-model"]
)
def test_a_name_that_is_nothing_is_unknown(name: str) -> None:
    """What is neither embedded, nor a folder, nor shaped like a Hub id is an unknown name."""
    with pytest.raises(UnknownNameError):
        models.resolve(name)


@pytest.mark.parametrize("name", ["owner/na me", "a\0/b", "-owner/-name", "owner/name..git", "owner/" + "x" * 200])
def test_an_impossible_hub_id_is_an_input_error(name: str) -> None:
    """What the Hub could never hold is refused without asking it."""
    with pytest.raises(InputError):
        models.resolve(name)


def test_an_unreachable_hub_is_an_environment_problem() -> None:
    """Without a network a Hub id fails fast, with what to do instead."""
    start = time.monotonic()
    with pytest.raises(EnvironmentProblem, match="cannot be fetched") as caught:
        models.resolve("nobody/nothing@v1")

    assert time.monotonic() - start < 10
    assert caught.value.where == "nobody/nothing@v1"
    assert "--model" in str(caught.value.do)


def run_offline(code: str, tmp_path: Path, **environment: str) -> str:
    """Run Python with a Hub cache below `tmp_path`; what it prints."""
    env = {**os.environ, "HF_HOME": str(tmp_path / "hub"), **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True, timeout=90)
    return done.stdout.strip()


RESOLVE = """
import sys
from idembench import errors, models
try:
    found = models.resolve(sys.argv[1] if len(sys.argv) > 1 else {name!r})
    print(found.name, found.revision, sorted(entry.name for entry in found.files))
except errors.IdembenchError as error:
    print(type(error).__name__)
"""


def test_a_refused_connection_is_an_environment_problem(tmp_path: Path) -> None:
    """When the Hub's address answers nobody, the error is the machine's and no traceback."""
    code = RESOLVE.format(name="nobody/nothing")

    assert "EnvironmentProblem" == run_offline(
        code, tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_DOWNLOAD_TIMEOUT="2"
    )


def test_a_cached_hub_model_is_resolved_to_its_commit(tiny: Path, tmp_path: Path) -> None:
    """A model that was fetched before is found offline, under its id and the commit that the revision stands for."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "hub" / "models--owner--name"
    shutil.copytree(tiny, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    (cached / "refs" / "v1").write_text(commit)
    names = sorted(entry.name for entry in models.resolve(str(tiny)).files)

    for name in ("owner/name", "owner/name@v1", f"owner/name@{commit}"):
        assert f"owner/name {commit} {names}" == run_offline(RESOLVE.format(name=name), tmp_path)
    assert "EnvironmentProblem" == run_offline(RESOLVE.format(name="owner/name@v2"), tmp_path)


# -- folders that are refused ---------------------------------------------------------------------


def only_pickles(folder: Path) -> None:
    """Weights as a pickle."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def only_an_adapter(folder: Path) -> None:
    """What `PeftModel.save_pretrained` writes."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")


def an_adapter_with_a_config(folder: Path) -> None:
    """An adapter saved beside its base model's configuration."""
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (only_pickles, "pytorch_model.bin"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").unlink(), "model.safetensors"),
        (only_an_adapter, "adapter_config.json"),
        (an_adapter_with_a_config, "adapter_config.json"),
        (lambda folder: edit(folder / "config.json", auto_map={"AutoModel": "code.M"}), "auto_map in config.json"),
        (
            lambda folder: edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", None]}),
            "auto_map in tokenizer_config.json",
        ),
        (lambda folder: (folder / "config.json").write_text("[1]"), "config.json"),
    ],
)
def test_a_folder_that_is_no_safe_model_is_refused(folder: Path, spoil: Callable[[Path], Any], found: str) -> None:
    """Pickled weights, no weights, an adapter alone and remote code are refused before anything is loaded."""
    spoil(folder)

    with pytest.raises(ModelError) as caught:
        models.resolve(str(folder))

    assert str(folder) == caught.value.where
    assert found in str(caught.value.found)


def test_a_broken_configuration_is_an_input_error(folder: Path) -> None:
    """A config.json that is no JSON is refused by name."""
    (folder / "config.json").write_text("{")

    with pytest.raises(InputError) as caught:
        models.resolve(str(folder))

    assert str(folder / "config.json") == caught.value.where


# -- tokenizers -----------------------------------------------------------------------------------

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"


def test_no_chat_template_is_refused(folder: Path) -> None:
    """A base model without a chat template cannot be a chain's model."""
    (folder / "chat_template.jinja").unlink()

    with pytest.raises(ModelError, match="no chat template"):
        models.load_tokenizer(models.resolve(str(folder)))


@pytest.mark.parametrize(
    "template",
    [
        TURNS + "{% if add_generation_prompt %}<|assistant|>think{% endif %}",
        "{{ messages | length }}" + TURNS + "{% if add_generation_prompt %}<|assistant|>{% endif %}",
        "<|{{ messages[-1].role }}|>{{ messages[-1].content }}<|end|>",
    ],
    ids=["the generation prompt opens a thought", "the turns are counted first", "only the last turn is shown"],
)
def test_a_template_that_breaks_the_prefix_is_refused(folder: Path, template: str) -> None:
    """When a prompt is not rendered as the beginning of prompt and answer, the model is refused and both are shown."""
    (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError, match="prefix") as caught:
        models.load_tokenizer(models.resolve(str(folder)))

    assert caught.value.expected != caught.value.found


@pytest.mark.parametrize(
    "template", ["{% for", "{{ raise_exception('no') }}", "{{ messages[7].content }}", "{{ 1 / 0 }}"]
)
def test_a_template_that_fails_is_refused(folder: Path, template: str) -> None:
    """A template that cannot be compiled or does not know a plain dialogue is a model error."""
    (folder / "chat_template.jinja").write_text(template)

    with pytest.raises(ModelError):
        models.load_tokenizer(models.resolve(str(folder)))


def test_a_broken_tokenizer_is_refused(folder: Path) -> None:
    """A tokenizer file that is cut short is a model error."""
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text[: len(text) // 2])

    with pytest.raises(ModelError):
        models.load_tokenizer(models.resolve(str(folder)))


def test_a_missing_tokenizer_is_refused(folder: Path) -> None:
    """A model without a tokenizer cannot be rendered."""
    for name in TOKENIZER:
        (folder / name).unlink()

    with pytest.raises(ModelError):
        models.load_tokenizer(models.resolve(str(folder)))


def test_padding_is_found_when_it_is_not_named(folder: Path) -> None:
    """A tokenizer without a padding token pads with its end-of-turn token."""
    edit(folder / "tokenizer_config.json", pad_token=None)
    edit(folder / "tokenizer.json", padding=None)
    tokenizer = models.load_tokenizer(models.resolve(str(folder)))

    assert tokenizer.eos_token == tokenizer.pad_token


def test_prompts_are_prefixes_of_rows() -> None:
    """The tokens of a prompt begin those of prompt and answer, for texts with odd spaces and characters too."""
    tokenizer = models.load_tokenizer(models.resolve("toyland/instruct"))
    for prompt, response in [("hi?", "ho."), (" hi ", "\n"), ("\u2028", "\U0001f642"), ("<|end|>", "a"), ("a", "")]:
        length = models.check_prefix(tokenizer, prompt, response, where="here")

        assert len(models.render_row(tokenizer, prompt, response)) == length
        assert len(models.render_prompt(tokenizer, prompt)) <= length


# -- weights --------------------------------------------------------------------------------------


def test_a_model_is_loaded_as_the_execution_says(folder: Path) -> None:
    """Dtype, attention and threads are those asked for."""
    before = torch.get_num_threads()
    try:
        loaded = models.load(models.resolve(str(folder)), Execution(dtype="bfloat16", attention="eager", threads=2))

        assert (torch.bfloat16, "eager", 2) == (
            loaded.dtype,
            loaded.config._attn_implementation,
            torch.get_num_threads(),
        )
    finally:
        torch.set_num_threads(before)


def test_tied_weights_are_no_missing_ones(tmp_path: Path, tiny: Path) -> None:
    """A model whose head is its embedding lacks nothing, and both stay the same tensor."""
    config = LlamaConfig.from_pretrained(tiny, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    loaded = models.load(models.resolve(str(tmp_path)), Execution())

    assert loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight


def drop_the_head(folder: Path) -> None:
    """Weights that do not cover the architecture."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: os.truncate(folder / "model.safetensors", 1000),
        lambda folder: (folder / "model.safetensors").write_bytes(b""),
        lambda folder: edit(folder / "config.json", model_type="unheard-of", architectures=["Unheard"]),
        lambda folder: edit(folder / "config.json", hidden_size=16),
        lambda folder: edit(folder / "config.json", model_type="t5", architectures=["T5ForConditionalGeneration"]),
        drop_the_head,
    ],
    ids=["cut", "empty", "unknown architecture", "other shapes", "no causal model", "no head"],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, spoil: Callable[[Path], Any]) -> None:
    """Cut files, unknown architectures, wrong shapes and missing tensors are model errors, never random weights."""
    spoil(folder)

    with pytest.raises(ModelError):
        models.load(models.resolve(str(folder)), Execution())


# -- export ---------------------------------------------------------------------------------------


def test_export_overwrites_nothing(tmp_path: Path) -> None:
    """A folder that holds anything, and a path that is a file, are refused and stay as they were."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for place in ("full", "file"):
        with pytest.raises(IdembenchError):
            models.export("toyland/instruct", tmp_path / place)

    assert ["file", "full", "full/mine.txt"] == sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")
    )


def test_only_embedded_models_are_exported(tmp_path: Path) -> None:
    """A name that is not embedded is answered by those that are."""
    with pytest.raises(UnknownNameError) as caught:
        models.export("toyland/instrct", tmp_path / "out")

    assert "toyland/instruct" in str(caught.value.do)
