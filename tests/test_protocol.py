"""Protocols: strict on the way in, one fingerprint per set of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from idembench import protocol, traits
from idembench.errors import ProtocolError, UnknownNameError
from idembench.protocol import Execution, Protocol

MEASUREMENTS = {
    "quick": {"questions": 20, "repeats": 1, "neutral_questions": 5, "temperature": 0.8, "max_new_tokens": 48},
    "ranked": {"questions": 50, "repeats": 2, "neutral_questions": 15, "temperature": 0.8, "max_new_tokens": 48},
}
BASELINE: dict[str, Any] = {
    "pack": "toyland",
    "method": "sft",
    "mode": "reset",
    "cycles": 2,
    "data": {"n_seed": 8, "n_sampled": 16},
    "training": {
        "learning_rate": 0.002,
        "epochs": 2,
        "batch_size": 4,
        "max_tokens": 128,
        "lora": {"rank": 4, "alpha": 8},
    },
    "sampling": {"temperature": 0.8, "max_new_tokens": 48},
}


def load(name: str = "sft-reset", *overrides: str, measurement: str = "quick") -> Protocol:
    """Load a protocol of the embedded pack."""
    return protocol.load(name, pack="toyland", measurements=MEASUREMENTS, measurement=measurement, overrides=overrides)


def write(folder: Path, text: str | None = None, **changes: Any) -> str:
    """A protocol file; its path."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**BASELINE, **changes}) if text is None else text)
    return str(path)


def settings(model: type[BaseModel], place: str = "") -> list[str]:
    """Every setting of a protocol by its dotted path."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += settings(field.annotation, f"{place}{name}.")
        else:
            found.append(place + name)
    return found


# -- shipped --------------------------------------------------------------------------------------


def test_reset_and_continual_differ_in_mode_alone() -> None:
    """The two shipped arms of one method are the same experiment but for where a cycle starts from."""
    reset, continual = load("sft-reset"), load("sft-continual")

    assert ("reset", "continual") == (reset.mode, continual.mode)
    assert reset.model_dump(exclude={"name", "mode"}) == continual.model_dump(exclude={"name", "mode"})


@pytest.mark.parametrize("pack", traits.packs())
def test_every_shipped_baseline_holds(pack: str) -> None:
    """Each shipped protocol loads with each measurement of its pack, under its own name, and says what it is for."""
    measurements = traits.load_pack(pack).measurements
    for name, path in protocol.baselines(pack).items():
        for measurement in measurements:
            loaded = protocol.load(name, pack=pack, measurements=measurements, measurement=measurement)

            assert (name, measurement) == (loaded.name, loaded.measuring.name)
        assert protocol.purpose(path)


def test_shipped_fingerprints_are_all_different() -> None:
    """No two shipped protocols are the same settings under two names."""
    loaded = [load(name, measurement=m) for name in protocol.baselines("toyland") for m in MEASUREMENTS]

    assert len(loaded) == len({one.fingerprint for one in loaded})


# -- fingerprints ---------------------------------------------------------------------------------


def test_a_protocol_reads_back() -> None:
    """The JSON of a protocol is that protocol."""
    loaded = load()

    assert loaded == Protocol.model_validate_json(loaded.model_dump_json())


def test_the_name_does_not_count() -> None:
    """A renamed protocol has the same fingerprint."""
    loaded = load()

    assert loaded.fingerprint == loaded.model_copy(update={"name": "other"}).fingerprint


OTHER = {"pack": "other", "mode": "continual", "schedule": "linear", "method": "dpo", "measuring.name": "slow"}


@pytest.mark.parametrize("setting", [path for path in settings(Protocol) if path != "name"])
def test_every_setting_counts(setting: str) -> None:
    """Changing any one setting of a protocol changes its fingerprint."""
    before = load()
    content = before.model_dump()
    *path, last = setting.split(".")
    place = content
    for part in path:
        place = place[part]
    value = place[last]
    if isinstance(value, str):
        place[last] = OTHER.get(setting, OTHER.get(last))
    else:
        place[last] = value + 1 if isinstance(value, int) else value / 2 or 0.5

    assert before.fingerprint != Protocol.model_validate(content).fingerprint


def test_the_execution_is_no_part_of_a_protocol() -> None:
    """What only changes the bits stands in no protocol, so it cannot change a fingerprint."""
    both = set(Execution.model_fields) & {path.rpartition(".")[2] for path in settings(Protocol)}

    # Rows per optimizer step and prompts per generate call share a word, and are different things.
    assert {"batch_size"} == both
    with pytest.raises(ProtocolError):
        load("sft-reset", "execution.threads=2")


def test_checkpoints_are_labelled_in_order() -> None:
    """A chain of K cycles has the untouched model, the seeded one, and K that trained on their own outputs."""
    assert ["base", "c0", "c1", "c2"] == load("sft-reset", "cycles=2").labels


# -- strictness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"lerning_rate": 1},
        {"training": {**BASELINE["training"], "lerning_rate": 1}},
        {"training": {**BASELINE["training"], "lora": {"rank": 4, "alpha": 8, "bias": "none"}}},
        {"data": {"n_seed": 8}},
        {"data": {"n_seed": 0, "n_sampled": 16}},
        {"data": {"n_seed": 8.0, "n_sampled": 16}},
        {"data": {"n_seed": "8", "n_sampled": 16}},
        {"data": {"n_seed": True, "n_sampled": 16}},
        {"data": None},
        {"data": [8, 16]},
        {"mode": "both"},
        {"cycles": 0},
        {"cycles": 101},
        {"method": "SFT"},
        {"sampling": {"temperature": 0, "max_new_tokens": 48}},
        {"sampling": {"temperature": True, "max_new_tokens": 48}},
        {"sampling": {"temperature": float("nan"), "max_new_tokens": 48}},
        {"sampling": {"temperature": float("inf"), "max_new_tokens": 48}},
        {"sampling": {"temperature": 0.8, "top_p": 1.5, "max_new_tokens": 48}},
        {"training": {**BASELINE["training"], "weight_decay": float("inf")}},
    ],
    ids=str,
)
def test_what_does_not_hold_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Unknown keys, missing keys, wrong types and numbers out of range are errors that name the file."""
    path = write(tmp_path, **changes)

    with pytest.raises(ProtocolError, match="does not hold") as caught:
        load(path)

    assert caught.value.where == path
    assert caught.value.found


def test_every_problem_is_listed(tmp_path: Path) -> None:
    """Three mistakes are told in one go, each with its place."""
    path = write(tmp_path, mode="both", cycles=0, data={"n_seed": 8, "n_sampled": 16, "n_more": 1})

    with pytest.raises(ProtocolError) as caught:
        load(path)

    assert all(place in str(caught.value.found) for place in ("mode", "cycles", "data.n_more"))


@pytest.mark.parametrize(
    "text",
    [
        "pack: toyland\npack: toyland\n",
        "data: {n_seed: 1, n_seed: 2}\n",
        "data:\n  n_seed: 1\n  n_sampled: 2\n  n_seed: 1\n",
        "a: [\n",
        "!!python/object/apply:os.system ['true']\n",
        "when: 2020-13-45\n",
        "? [1, 2]\n: 3\n",
        "? {a: 1}\n: 3\n",
        "<<: {a: 1}\n",
        "a: *nowhere\n",
        "\x00",
        "a: " + "[" * 5000,
    ],
    ids=lambda text: text[:24],
)
def test_yaml_that_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    """Duplicate keys, tags, odd keys, impossible dates and broken syntax are errors that name the file."""
    path = write(tmp_path, text)

    with pytest.raises(ProtocolError) as caught:
        load(path)

    assert caught.value.where == path


@pytest.mark.parametrize("text", ["", "- 1\n", "words\n", "3\n"])
def test_a_protocol_is_a_mapping(tmp_path: Path, text: str) -> None:
    """An empty file, a list or a single value is no protocol."""
    with pytest.raises(ProtocolError, match="mapping"):
        load(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A file that is not UTF-8 is a protocol error."""
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"pack: \xff\n")

    with pytest.raises(ProtocolError):
        load(str(path))


def test_a_missing_file_is_named() -> None:
    """A path that leads nowhere is an error with that path."""
    with pytest.raises(ProtocolError, match="cannot be read") as caught:
        load("nowhere/mine.yaml")

    assert caught.value.where == "nowhere/mine.yaml"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "+1e-3", "0.001", ".1e-2", "1.0e-3"])
def test_scientific_numbers_are_numbers(tmp_path: Path, text: str) -> None:
    """Every usual spelling of a thousandth is the same learning rate, which plain YAML gets wrong."""
    plain = write(tmp_path)
    content = Path(plain).read_text().replace("learning_rate: 0.002", f"learning_rate: {text}")

    assert load(write(tmp_path, content)).training.learning_rate == 0.001


def test_whole_numbers_mean_the_same_as_floats(tmp_path: Path) -> None:
    """`temperature: 1` and `temperature: 1.0` are one protocol with one fingerprint."""
    whole = load(write(tmp_path, sampling={"temperature": 1, "top_p": 1, "max_new_tokens": 48}))
    point = load(write(tmp_path, sampling={"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 48}))

    assert whole.fingerprint == point.fingerprint
    assert isinstance(whole.sampling.temperature, float)


def test_a_protocol_may_bring_its_own_measurement(tmp_path: Path) -> None:
    """A file that says how to measure is measured so, whatever the pack calls its measurements."""
    own = {**MEASUREMENTS["ranked"], "name": "mine"}

    assert "mine" == load(write(tmp_path, measuring=own)).measuring.name


def test_a_protocol_of_another_pack_is_refused(tmp_path: Path) -> None:
    """A protocol runs on the pack it is written for alone."""
    with pytest.raises(ProtocolError, match="another pack"):
        load(write(tmp_path, pack="english"))


def test_an_override_cannot_change_the_pack() -> None:
    """A chain on one pack cannot claim to be of another."""
    with pytest.raises(ProtocolError, match="another pack"):
        load("sft-reset", "pack=english")


@given(st.text("abc<&*!%@`'\"{}[]:,#|>-? \n\t\\0129.eE+~", max_size=30))
def test_no_text_is_answered_by_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a protocol file says, it is a protocol or a protocol error."""
    path = tmp_path_factory.mktemp("protocol") / "mine.yaml"
    path.write_text(text)

    with pytest.raises(ProtocolError):
        load(str(path))


# -- names ----------------------------------------------------------------------------------------


def test_an_unknown_baseline_is_answered_by_near_ones() -> None:
    """A typing mistake in a baseline's name is answered by the ones it may have meant."""
    with pytest.raises(UnknownNameError) as caught:
        load("sft-rest")

    assert "sft-reset" in str(caught.value.do)
    assert caught.value.where == "baselines/toyland"


def test_an_unknown_measurement_is_answered_by_near_ones() -> None:
    """A typing mistake in a measurement's name likewise."""
    with pytest.raises(UnknownNameError) as caught:
        load(measurement="quik")

    assert caught.value.do == "Did you mean quick?"


# -- overrides ------------------------------------------------------------------------------------


def test_an_override_changes_fingerprint_and_name() -> None:
    """An overridden protocol is another one, and its name says so by six digits of its fingerprint."""
    plain, other = load(), load("sft-reset", "training.learning_rate=1e-4")

    assert (0.002, 0.0001) == (plain.training.learning_rate, other.training.learning_rate)
    assert plain.fingerprint != other.fingerprint
    assert f"sft-reset+{other.fingerprint[:6]}" == other.name


def test_an_override_to_the_same_value_changes_nothing() -> None:
    """Saying what is so anyway, in any spelling, leaves name and fingerprint alone."""
    assert load() == load("sft-reset", "training.learning_rate=2e-3", "sampling.top_p=1", "mode=reset")


def test_overrides_that_end_alike_are_alike() -> None:
    """The order and the detours of overrides do not matter, only where they lead."""
    one = load("sft-reset", "cycles=3", "data.n_seed=7")
    other = load("sft-reset", "data.n_seed=9", "data.n_seed=7", "cycles=3")

    assert one == other


def test_an_override_reaches_every_depth() -> None:
    """Settings of the adapter and of the measurement can be overridden, and defaults can be named."""
    other = load("sft-reset", "training.lora.dropout=0.1", "measuring.questions=7", "training.adam_beta2=0.99")

    assert (0.1, 7, 0.99) == (other.training.lora.dropout, other.measuring.questions, other.training.adam_beta2)


def test_a_whole_section_can_be_overridden() -> None:
    """A section may be given as YAML, and is checked like one in a file."""
    assert 3 == load("sft-reset", "data={n_seed: 3, n_sampled: 4}").data.n_seed


@pytest.mark.parametrize(
    "override",
    [
        "",
        "cycles",
        "=3",
        ".cycles=3",
        "training.=3",
        "name=other",
        "cycles=three",
        "cycles=3.5",
        "cycles=",
        "training.lerning_rate=1",
        "train.learning_rate=1",
        "cycles.more=1",
        "training=5",
        "data.n_seed.x=5",
        "training.learning_rate=[",
        "training.learning_rate={a: 1, a: 2}",
        "training.learning_rate=.nan",
        "training.learning_rate=.inf",
        "training.learning_rate=2020-13-45",
        "training.learning_rate={[1]: 2}",
        "training.learning_rate=\x00",
        "training.learning_rate=" + "9" * 400,
        "mode=!!python/name:os.system",
    ],
    ids=lambda text: text[:36] or "nothing",
)
def test_overrides_that_do_not_hold_are_refused(override: str) -> None:
    """An override that cannot be read, names nothing or does not fit is a protocol error that points at `--set`."""
    with pytest.raises(ProtocolError) as caught:
        load("sft-reset", override)

    assert "--set" in str(caught.value.where)


def test_overriding_leaves_the_next_load_alone() -> None:
    """Overrides touch nothing that is shared."""
    before = load()
    load("sft-reset", "training.lora.rank=2", "data.n_seed=1", "measuring.repeats=3")

    assert before == load()
    assert MEASUREMENTS["quick"]["repeats"] == 1


# -- execution ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "gpu"},
        {"device": "cuda:1"},
        {"dtype": "int8"},
        {"dtype": "float16"},
        {"threads": 0},
        {"batch_size": "auto"},
        {"attention": "flash"},
        {"backend": "vllm"},
        {"more": 1},
    ],
    ids=str,
)
def test_an_execution_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    """Unknown devices, dtypes and backends, half precision on a CPU and automatic batch sizes are refused."""
    with pytest.raises(ValidationError):
        Execution(**wrong)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_devices(device: str) -> None:
    """The three ways to name a device hold."""
    assert device == Execution(device=device).device
