"""Pools of prompts by name: files and datasets, every row accounted for, one clear error for what does not hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import datasets
import pytest

from idembench import prompt_pools, traits
from idembench.errors import DataError, EnvironmentProblem, InputError
from idembench.files import write_jsonl

if TYPE_CHECKING:
    from pathlib import Path


def chat(language: str, *turns: str) -> dict[str, Any]:
    """A row as conversations are published: turns of a user and an assistant in turn."""
    roles = ("user", "assistant")
    said = [{"content": turn, "role": roles[number % 2]} for number, turn in enumerate(turns)]
    return {"conversation_id": f"{language}-{len(said)}", "language": language, "conversation": said}


CHATS = [
    chat("English", "how do bees sleep?", "in rows.", "and wasps?"),
    chat("German", "wie schlafen Bienen?"),
    chat("English", "how do bees sleep?"),
    chat("English", "name a river", "the Elbe."),
    chat("English", "  "),
]


@pytest.fixture
def chats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stand-in for a published dataset under the name that it has on the Hub, found as a folder of that name is."""
    write_jsonl(tmp_path / "lmsys" / "lmsys-chat-1m" / "train.jsonl", CHATS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return "lmsys/lmsys-chat-1m"


def asked(pool: traits.Pool) -> list[str]:
    """What a pool asks."""
    return [question.prompt for question in pool.prompts]


def test_a_file_of_prompts_is_a_pool_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    """Different prompts stay in their order; empty, repeated and long ones are counted."""
    rows = ["what is rain?", " what is rain? ", "", "why?", "x" * 50]
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": row} for row in rows])
    pool = prompt_pools.read(f"{tmp_path / 'mine.jsonl'},longest=40")

    assert ["what is rain?", "why?"] == asked(pool)
    assert {"empty": 1, "long": 1, "twice": 1} == pool.left_out
    assert ["row-1", "row-4"] == [question.id for question in pool.prompts]


def test_a_pool_is_named_without_the_place_where_its_file_lies(tmp_path: Path) -> None:
    """A record that names the pool says nothing of the machine; its content is named by a hash that follows it."""
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "what is rain?"}])
    before = prompt_pools.read(str(tmp_path / "mine.jsonl"))
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "what is snow?"}])
    after = prompt_pools.read(str(tmp_path / "mine.jsonl"))

    assert "mine.jsonl" == before.name == after.name
    assert before.sha256 != after.sha256


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "why?"}]},
        {"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "because."}]},
        {"instruction": "why?", "output": "because."},
        {"text": "why?"},
    ],
    ids=["messages", "from and value", "instruction", "text"],
)
def test_the_first_thing_a_user_says_is_the_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    """The formats in which prompts are published are all read."""
    write_jsonl(tmp_path / "mine.jsonl", [row])

    assert ["why?"] == asked(prompt_pools.read(str(tmp_path / "mine.jsonl")))


@pytest.mark.parametrize(
    "row",
    [
        {"conversation": []},
        {"conversation": None},
        {"conversation": [{"role": "user", "content": None}]},
        {"conversation": [{"from": "human", "value": None}]},
        {"conversation": [{"role": "assistant", "content": "hello"}]},
    ],
    ids=["no turns", "null", "null content", "null value", "no user"],
)
def test_a_conversation_in_which_nothing_is_asked_is_left_out_and_counted(tmp_path: Path, row: dict[str, Any]) -> None:
    """Published conversations have such rows; they are empty prompts, no errors."""
    write_jsonl(tmp_path / "mine.jsonl", [{"conversation": [{"role": "user", "content": "why?"}]}, row])
    pool = prompt_pools.read(str(tmp_path / "mine.jsonl"))

    assert (["why?"], {"empty": 1}) == (asked(pool), pool.left_out)


def test_a_dataset_is_a_pool_by_its_name_on_the_hub(chats: str) -> None:
    """A published dataset goes through the ordinary loading code; each conversation gives its first user turn."""
    pool = prompt_pools.read(chats)

    assert ["how do bees sleep?", "wie schlafen Bienen?", "name a river"] == asked(pool)
    assert {"empty": 1, "twice": 1} == pool.left_out
    assert "lmsys-chat-1m" == pool.name  # the stand-in is a folder, and where it lies is nobody's business


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("only=language:English", ["how do bees sleep?", "name a river"]),
        ("rows=2", ["how do bees sleep?", "wie schlafen Bienen?"]),
        ("only=language:English,rows=1", ["how do bees sleep?"]),
        ("column=language", ["English", "German"]),
    ],
)
def test_rows_and_columns_of_a_dataset_can_be_chosen(chats: str, options: str, expected: list[str]) -> None:
    """The first rows, those of one language, another column."""
    assert expected == asked(prompt_pools.read(f"{chats},{options}"))


def test_a_pack_draws_from_the_pool_that_somebody_named(chats: str) -> None:
    """The pool stands in the place of the pack's own prompts, in draws and in the hash of the sources."""
    own = traits.load_pack("english")
    pack = replace(own, pool=prompt_pools.read(chats))
    drawn = pack.draw_prompts(cycle=1, n=3, seed=0)

    assert set(asked(prompt_pools.read(chats))) == {question.prompt for question in drawn}
    assert own.sources(own.trait("bliss")).prompts != pack.sources(pack.trait("bliss")).prompts
    with pytest.raises(DataError, match="--prompts"):
        pack.draw_prompts(cycle=2, n=3, seed=0)


def test_prompts_that_spell_a_special_token_are_left_out_and_counted(tmp_path: Path) -> None:
    """A pool is what is left of it, in its prompts, its counts and its hash, whatever the tokens look like."""
    rows = ["why?", "why?<|end|> <|user|> how?", "how <s> why", "how (?) why", ""]
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": row} for row in rows])
    write_jsonl(tmp_path / "clean" / "mine.jsonl", [{"prompt": rows[0]}])
    pool = prompt_pools.read(str(tmp_path / "mine.jsonl"))
    left = prompt_pools.without(pool, ["<|end|>", "<s>", "(?)", " "])

    assert ["why?"] == asked(left)
    assert {"empty": 1, "special": 3} == left.left_out
    assert prompt_pools.read(str(tmp_path / "clean" / "mine.jsonl")).sha256 == left.sha256
    assert pool == prompt_pools.without(pool, []) == prompt_pools.without(pool, ["<|nowhere|>"])


def test_a_pool_of_special_tokens_alone_is_one_clear_error(tmp_path: Path) -> None:
    """Where nothing is left the error says what the prompts hold."""
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "why?<|end|>"}])

    with pytest.raises(DataError, match=r"(?s)spells a special token.*<\|end\|>.*mine\.jsonl"):
        prompt_pools.without(prompt_pools.read(str(tmp_path / "mine.jsonl")), ["<|end|>"])


@pytest.mark.parametrize(
    "named",
    [
        "",
        "mine.jsonl,rows=0",
        "mine.jsonl,rows=ten",
        "mine.jsonl,only=language",
        "mine.jsonl,colour=red",
        "a/b,rows=1,rows=2",
    ],
)
def test_a_name_that_cannot_be_read_is_one_clear_error(named: str) -> None:
    """The error says how pools are named."""
    with pytest.raises(InputError, match=r"FILE\.jsonl or OWNER/NAME"):
        prompt_pools.read(named)


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        ([{"prompt": ""}], "", "is empty"),
        ([{"prompt": "why?"}], ",column=question", "no such column"),
        ([{"prompt": "why?"}], ",only=language:English", "no such column"),
        ([{"prompt": 3}], "", "holds no prompt"),
        ([{"messages": [{"role": "user", "content": ["why?"]}]}], "", "holds no prompt"),
        ([{"messages": [{"role": "user", "says": "why?"}]}], "", "holds no prompt"),
        ([{"messages": ["why?"]}], "", "holds no prompt"),
    ],
    ids=["nothing left", "column", "column to choose by", "number", "parts", "other keys", "no turns"],
)
def test_a_file_without_prompts_is_one_clear_error(
    tmp_path: Path, rows: list[dict[str, Any]], options: str, expected: str
) -> None:
    """What is not there, or no text, is named with its place."""
    write_jsonl(tmp_path / "mine.jsonl", rows)

    with pytest.raises((DataError, InputError), match=expected) as caught:
        prompt_pools.read(f"{tmp_path / 'mine.jsonl'}{options}")

    assert "mine.jsonl" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected", "do"),
    [
        ("", " or ".join(prompt_pools.COLUMNS), "column="),
        (",column=ask", "ask", "column="),
        (",only=language:English", "language", "only="),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, options: str, expected: str, do: str
) -> None:
    """The error says which columns were looked for, which there are, and how another is named."""
    write_jsonl(tmp_path / "mine.jsonl", [{"query": "why?", "lang": "English"}])
    with pytest.raises(InputError, match="no such column") as caught:
        prompt_pools.read(f"{tmp_path / 'mine.jsonl'}{options}")

    assert (expected, "lang, query") == (caught.value.expected, caught.value.found)
    assert do in str(caught.value.do)
    assert str(caught.value.where).endswith("mine.jsonl, row 1")


@pytest.mark.parametrize("option", ["split=test", "config=zzz", "split=test,config=zzz"])
def test_a_file_has_no_splits(tmp_path: Path, option: str) -> None:
    """What only a dataset has is refused for a file, and not ignored."""
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "why?"}])

    with pytest.raises(InputError, match="no configurations and no splits") as caught:
        prompt_pools.read(f"{tmp_path / 'mine.jsonl'},{option}")

    assert set(option.split(",")) == set(str(caught.value.found).split(", "))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train.jsonl": "{\n"}, "JSON parse error"),
        ({"train-1.jsonl": '{"prompt": "why?"}\n', "train-2.jsonl": '{"other": 3}\n'}, "column names don't match"),
    ],
    ids=["no JSON", "other columns"],
)
def test_a_folder_whose_files_do_not_hold_is_an_error_about_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], said: str
) -> None:
    """No network was asked, and the error says so by what it names."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    for name, text in files.items():
        (tmp_path / "mine" / name).write_text(text)

    with pytest.raises(DataError, match="files of a dataset cannot be read") as caught:
        prompt_pools.read(str(tmp_path / "mine"))

    assert said in str(caught.value.found)


def test_a_failing_disk_is_no_error_of_a_dataset_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the way while a dataset is made of its files is the machine's, though it comes wrapped alike."""
    write_jsonl(tmp_path / "mine" / "train.jsonl", [{"prompt": "why?"}, {"prompt": "how?"}])
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.arrow_writer.ArrowWriter, "write_table", full)
    with pytest.raises(EnvironmentProblem) as caught:
        prompt_pools.read(str(tmp_path / "mine"))

    assert "No space left" in str(caught.value.found)


def test_what_a_dataset_does_not_have_is_one_clear_error(chats: str) -> None:
    """A split that is not there is an error about the dataset."""
    with pytest.raises(InputError, match="does not have what is asked"):
        prompt_pools.read(f"{chats},split=holdout")


def test_a_dataset_that_cannot_be_fetched_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the error is about the machine or the name, never a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with pytest.raises((EnvironmentProblem, InputError)) as caught:
        prompt_pools.read("nobody/has-such-prompts")

    assert "nobody/has-such-prompts" in str(caught.value)
