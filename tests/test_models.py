"""Models: found by name, named by their bytes, refused where loading them would run anyone's code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tiny_model import SHIPPED, TOKENIZER, edit, write_tiny

from idembench import judges, models
from idembench.errors import EnvironmentProblem, IdembenchError, InputError, ModelError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
from types import SimpleNamespace


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder; not to be changed."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny, tmp_path / "model")


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

    assert caught.value.do == "Did you mean toyland/instruct or toyland/base?"


@pytest.mark.parametrize(
    "name",
    ["", "nonsense", "./missing", "/missing/model", "a/b/c", "~nobody-at-all/model", "~/missing-model", "a" * 5000],
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


def test_an_unknown_revision_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A revision that the Hub does not have is the user's to correct, not the network's fault."""
    import huggingface_hub
    from huggingface_hub.errors import RevisionNotFoundError

    def answer(*args: Any, **kwargs: Any) -> None:
        raise RevisionNotFoundError("Invalid rev id: typo", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)

    with pytest.raises(ModelError) as caught:
        models.resolve("owner/name@typo")

    assert "owner/name@typo" == caught.value.where


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


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_what_must_not_be_fetched_and_is_not_here_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leave to fetch, the error says that this is why, and what can be done."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    with pytest.raises(EnvironmentProblem, match="a dry run fetches nothing") as caught:
        models.resolve("owner/name", fetch=False)

    assert "owner/name@main" == caught.value.where
    assert "hf download" in str(caught.value.do)
    assert "toyland/instruct" == models.resolve("toyland/instruct", fetch=False).name


def index(folder: Path, *shards: str) -> None:
    """Write an index that says that the weights are in these files."""
    weights = {f"weight.{number}": shard for number, shard in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def test_weights_that_an_index_names_have_to_be_there(folder: Path) -> None:
    """One of two shards is no model: the error names the file that is missing; with both it is one."""
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (folder / "model.safetensors").rename(folder / shards[0])
    index(folder, *shards)
    with pytest.raises(ModelError, match="not whole") as caught:
        models.resolve(str(folder))
    shutil.copy(folder / shards[0], folder / shards[1])

    assert (f"no {shards[1]}", str(folder)) == (caught.value.found, caught.value.where)
    assert set(shards) < {entry.name for entry in models.resolve(str(folder)).files}


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_says_nothing_is_one_error(folder: Path, content: str) -> None:
    """An index without a file for every tensor is refused by name."""
    (folder / "model.safetensors.index.json").write_text(content)

    with pytest.raises(ModelError) as caught:
        models.resolve(str(folder))

    assert "model.safetensors.index.json" in str(caught.value.found)


def only_a_config(folder: Path) -> None:
    """A download that was cut off before the weights."""
    (folder / "model.safetensors").unlink()


def only_a_shard(folder: Path) -> None:
    """A download that was cut off between two files of weights."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index(folder, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize("cut", [only_a_config, only_a_shard])
def test_half_a_model_in_the_cache_is_not_at_hand(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: Callable[[Path], None]
) -> None:
    """Where nothing may be fetched, a download that was cut short is not here, and the error says what is missing."""
    cut(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--owner--name"
    shutil.copytree(folder, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)

    with pytest.raises(EnvironmentProblem, match="not whole on this machine") as caught:
        models.resolve("owner/name", fetch=False)

    assert ".safetensors" in str(caught.value.found)
    assert judges.Absent("hf:owner/name") == judges.at_hand(judges.get("hf:owner/name", offline=True))


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        (f"owner/name@{COMMIT}", True),
        ("owner/name", False),
        ("owner/name@main", False),
        (f"owner/name@{COMMIT[1:]}", False),
        (f"owner/name@{COMMIT}0", False),
        (f"owner/name@{COMMIT.upper()}", False),
        (f"name@{COMMIT}", False),
        (f"a/b/c@{COMMIT}", False),
        (f"./name@{COMMIT}\n", False),
        ("toyland/instruct", False),
    ],
)
def test_a_whole_commit_pins_a_model(name: str, holds: bool) -> None:  # noqa: FBT001
    """Only a Hub id with all 40 digits of a commit stands for the same files for good."""
    assert (name if holds else None) == models.pinned(name)


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
