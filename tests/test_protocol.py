"""Protocols: strict on the way in, one fingerprint per set of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from idembench import measure, methods, protocol_files, shipped, traits
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


def load(
    name: str = "sft-reset", *overrides: str, measurement: str | None = "quick", trait: str = "sycophancy"
) -> Protocol:
    """Load a protocol of the embedded pack."""
    return protocol_files.load(
        name,
        pack="toyland",
        measurements=MEASUREMENTS,
        measurement=measurement,
        trait=trait,
        overrides=overrides,
    )


def write(folder: Path, text: str | None = None, **changes: Any) -> str:
    """A protocol file; its path."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**BASELINE, **changes}) if text is None else text)
    return str(path)


def settings(model: type[BaseModel], place: str = "") -> list[str]:
    """Every setting of a protocol by its dotted path; of an optional part, its settings and not its absence."""
    found = []
    for name, field in model.model_fields.items():
        inner = [kind for kind in protocol_files._kinds(field.annotation) if issubclass(kind, BaseModel)]
        for kind in inner:
            found += settings(kind, f"{place}{name}.")
        if not inner:
            found.append(place + name)
    return found


def all_traits(name: str, pack: str = "toyland") -> list[Protocol]:
    """A shipped protocol as it is on a pack for each trait it has demonstrations for, checked by its method."""
    loaded = traits.load_pack(pack)
    given = protocol_files._read_protocol(shipped.baselines(pack)[name])["data"]["n_seed"]
    return [
        methods.settle(
            protocol_files.load(
                name,
                pack=pack,
                measurements=loaded.measurements,
                measurement=None,
                trait=trait,
                document_measurements=loaded.document_measurements,
            )
        )
        for trait in loaded.traits
        if isinstance(given, int) or trait in given
    ]


# -- shipped --------------------------------------------------------------------------------------


ALL = [(pack, name) for pack in shipped.packs() for name in sorted(shipped.baselines(pack))]
RESET = [(pack, name) for pack, name in ALL if (pack, name.replace("-reset", "-continual")) in ALL and "reset" in name]
CONTROLS = [(pack, name) for pack, name in ALL if all_traits(name, pack)[0].control is not None]
SEEDED = [(pack, name) for pack, name in ALL if name.startswith(("dpo-", "rft-")) and (pack, name) not in CONTROLS]


@pytest.mark.parametrize(("pack", "name"), RESET)
def test_reset_and_continual_differ_in_mode_alone(pack: str, name: str) -> None:
    """The two shipped arms of one method are the same experiment but for where a cycle starts from."""
    pairs = zip(all_traits(name, pack), all_traits(name.replace("-reset", "-continual"), pack), strict=True)
    for reset, continual in pairs:
        assert ("reset", "continual") == (reset.mode, continual.mode)
        assert reset.model_dump(exclude={"name", "mode"}) == continual.model_dump(exclude={"name", "mode"})


def test_every_method_of_the_english_pack_has_both_modes_and_a_control() -> None:
    """Three regimes, each reset, continual and unseeded, all of six cycles; a control is like the arm that starts anew."""
    names = {name for pack, name in ALL if pack == "english" and "/" not in name}
    kinds = ("reset", "continual", "unseeded")

    assert {f"{method}-{kind}" for method in ("sft", "sdf", "dpo") for kind in kinds} == names
    assert {6} == {one.cycles for name in names for one in all_traits(name, "english")}
    assert {"reset"} == {
        one.mode for name in names for one in all_traits(name, "english") if name.endswith("-unseeded")
    }
    assert {3} == {len(all_traits(name, "english")) for name in names}


@pytest.mark.parametrize(("pack", "name"), CONTROLS)
def test_a_control_differs_from_its_arm_in_what_it_leaves_out_alone(pack: str, name: str) -> None:
    """Every shipped control is a shipped arm of the same mode but for `control`, and no demonstrations if unseeded."""
    arms = [other for at, other in ALL if at == pack and (at, other) not in CONTROLS and "/" not in other]
    for number, control in enumerate(all_traits(name, pack)):
        left_out: dict[str, Any] = {"name": True, "control": True}
        if control.control == "unseeded":
            left_out["data"] = {"n_seed"}
        same = [
            arm
            for arm in arms
            if all_traits(arm, pack)[number].model_dump(exclude=left_out) == control.model_dump(exclude=left_out)
        ]

        assert 1 == len(same)


@pytest.mark.parametrize(("pack", "name"), SEEDED)
def test_other_methods_are_seeded_as_supervised_chains_are(pack: str, name: str) -> None:
    """What cycle 0 does in a preference or rejection chain is what it does in sft-reset, with as many demonstrations."""
    for other, plain in zip(all_traits(name, pack), all_traits("sft-reset", pack), strict=True):
        assert plain.learning(0) == other.learning(0)
        assert plain.data.n_seed == other.data.n_seed
        assert (plain.sampling, plain.measuring) == (other.sampling, other.measuring)
        assert plain.learning(1) != other.learning(1)


def test_documents_are_measured_by_the_openings_that_there_are() -> None:
    """A pack may measure documents otherwise: about as many responses of fewer openings; each measurement fits the data."""
    for name, (dialogue, document) in {"quick": (140, 136), "ranked": (1600, 1596)}.items():
        for form, expected in (("dialogue", dialogue), ("document", document)):
            baseline = "sdf-reset" if form == "document" else "sft-reset"
            loaded = traits.load_pack("english", form)
            protocol = protocol_files.load(
                baseline,
                pack="english",
                measurements=loaded.measurements,
                measurement=name,
                trait="bliss",
                document_measurements=loaded.document_measurements,
            )
            own, neutral = measure.asked(loaded, loaded.trait("bliss"), protocol.measuring)

            assert expected == (len(own) + len(neutral)) * protocol.measuring.repeats
            assert (name, 400) == (protocol.measuring.name, protocol.measuring.max_new_tokens)
            assert protocol.sampling.max_new_tokens == protocol.measuring.max_new_tokens
            assert protocol.sampling.stop == protocol.measuring.stop


@pytest.mark.parametrize("pack", shipped.packs())
def test_every_shipped_baseline_holds(pack: str) -> None:
    """Each shipped protocol loads with each measurement of its pack for each trait, settles, and says what it is for."""
    loaded_pack = traits.load_pack(pack)
    for name, path in shipped.baselines(pack).items():
        for measurement in loaded_pack.measurements:
            for trait in loaded_pack.traits:
                given = protocol_files._read_protocol(path)["data"]["n_seed"]
                if isinstance(given, dict) and trait not in given:
                    continue
                loaded = methods.settle(
                    protocol_files.load(
                        name,
                        pack=pack,
                        measurements=loaded_pack.measurements,
                        measurement=measurement,
                        trait=trait,
                        document_measurements=loaded_pack.document_measurements,
                    )
                )

                assert (name.replace("/", "-"), measurement) == (loaded.name, loaded.measuring.name)
                assert loaded == methods.settle(loaded)
        assert shipped.purpose(path)


def test_shipped_fingerprints_are_all_different() -> None:
    """No two shipped protocols are the same settings under two names."""
    loaded = [load(name, measurement=m, trait="bliss") for name in shipped.baselines("toyland") for m in MEASUREMENTS]

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


OTHER = {
    "pack": "other",
    "form": "document",
    "mode": "continual",
    "schedule": "linear",
    "method": "dpo",
    "measuring.name": "slow",
    "rejected": "previous",
    "control": "shuffled",
    "settings": {"beta": 0.3},
    "stop": ["end"],
    "epochs": 7,
    "coherence_filter": 70.0,
    "max_steps": 9,
    "perplexity": True,
}


@pytest.mark.parametrize("setting", [path for path in settings(Protocol) if path != "name"])
def test_every_setting_counts(tmp_path: Path, setting: str) -> None:
    """Changing any one setting of a protocol changes its fingerprint."""
    training = {**BASELINE["training"], "schedule": "cosine", "final_share": 0.1}
    if setting.endswith("max_steps"):
        training = {**training, "epochs": None, "max_steps": 3}
    stop = {**BASELINE["sampling"], "stop": ["."]}
    path = write(
        tmp_path,
        training=training,
        sampling=stop,
        measuring={**MEASUREMENTS["quick"], "stop": ["."], "name": "mine"},
        seeding={"method": "sft", "training": training},
    )
    before = load(path, measurement=None)
    content = before.model_dump()
    *path, last = setting.split(".")
    place = content
    for part in path:
        place = place[part]
    value = place.get(last, False)  # perplexity is left out where it is not asked for
    if last == "schedule":
        place["final_share"] = 0.0
        before = Protocol.model_validate(content)
    if setting in OTHER or last in OTHER:
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
        {"data": {"n_seed": -1, "n_sampled": 16}},
        {"data": {"n_seed": 8, "n_sampled": 0}},
        {"data": {"n_seed": 8, "n_sampled": 16, "candidates": 0}},
        {"data": {"n_seed": 8, "n_sampled": 16, "original_mix": 1.1}},
        {"data": {"n_seed": 8, "n_sampled": 16, "coherence_filter": 101}},
        {"data": {"n_seed": 8.0, "n_sampled": 16}},
        {"data": {"n_seed": "8", "n_sampled": 16}},
        {"data": {"n_seed": True, "n_sampled": 16}},
        {"data": None},
        {"data": [8, 16]},
        {"mode": "both"},
        {"cycles": -1},
        {"cycles": 101},
        {"form": "poem"},
        {"control": "placebo"},
        {"rejected": "both"},
        {"seeding": {"method": "sft"}},
        {"seeding": {**BASELINE["training"]}},
        {"sampling": {"temperature": 0.8, "max_new_tokens": 48, "stop": [""]}},
        {"sampling": {"temperature": 0.8, "max_new_tokens": 48, "stop": "."}},
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
    path = write(tmp_path, mode="both", cycles=-1, data={"n_seed": 8, "n_sampled": 16, "n_more": 1})

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

    assert "mine" == load(write(tmp_path, measuring=own), measurement=None).measuring.name


def test_a_measurement_that_is_asked_for_goes_before_the_file_s_own(tmp_path: Path) -> None:
    """Whoever names a measurement gets that one; without a name and a file's own it is the quick one."""
    path = write(tmp_path, measuring={**MEASUREMENTS["ranked"], "name": "mine"})

    assert load(write(tmp_path)) == load(write(tmp_path), measurement=None)
    assert ("ranked", 50) == (
        (chosen := load(path, measurement="ranked").measuring).name,
        chosen.questions,
    )


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


# -- one file over another ------------------------------------------------------------------------


def place(folder: Path, **files: dict[str, Any]) -> str:
    """Write protocol files beside `mine.yaml`, which is BASELINE; the path of the last one."""
    write(folder)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(folder / f"{name}.yaml")


def test_what_extends_another_is_that_one_with_its_own_settings_over_it(tmp_path: Path) -> None:
    """Settings are put over one another key by key at every depth: what is not named stays what it was."""
    above = {
        "extends": "mine",
        "mode": "continual",
        "training": {"epochs": 5, "lora": {"rank": 2}},
        "sampling": {"temperature": 1},
    }
    below, found = load(write(tmp_path)).model_dump(), load(place(tmp_path, other=above)).model_dump()

    assert found == {
        **below,
        "name": "other",
        "mode": "continual",
        "training": {**below["training"], "epochs": 5, "lora": {**below["training"]["lora"], "rank": 2}},
        "sampling": {**below["sampling"], "temperature": 1.0},
    }


def test_null_takes_a_part_away(tmp_path: Path) -> None:
    """A part that the lower file gives can be taken away by null, and a whole one put in its place."""
    seeding = {"method": "sft", "training": BASELINE["training"]}
    lower = place(tmp_path, lower={**BASELINE, "seeding": seeding})
    upper = place(tmp_path, upper={"extends": "lower", "seeding": None, "training": {"lora": None}})

    assert load(lower).seeding is not None
    assert (None, None) == (load(upper).seeding, load(upper).training.lora)


def test_overrides_come_last(tmp_path: Path) -> None:
    """What an override says goes before both files, and leads to another name."""
    path = place(tmp_path, other={"extends": "mine", "cycles": 3})

    assert (3, 4) == (load(path).cycles, load(path, "cycles=4").cycles)
    assert "other+" == load(path, "cycles=4").name[:6]


@pytest.mark.parametrize(
    "name", ["nobody", "other", "../mine", "sub/mine", "mine.yaml", "", "m" * 999, "\0", 3, ["mine"]]
)
@pytest.mark.parametrize("key", ["extends", "seeding"])
def test_a_neighbour_that_is_not_there_is_named(tmp_path: Path, key: str, name: object) -> None:
    """A file that is missing, itself, outside the folder or no name at all is an error with the names that there are."""
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub")
    content = {"extends": name} if key == "extends" else {**BASELINE, "seeding": name}
    if key == "seeding" and not isinstance(name, str):
        with pytest.raises(ProtocolError, match="seeding"):
            load(place(tmp_path, other=content))
        return

    with pytest.raises(UnknownNameError) as caught:
        load(place(tmp_path, other=content))

    assert str(tmp_path / "other.yaml") in str(caught.value.where)


@pytest.mark.parametrize("content", [{"extends": "middle"}, {**BASELINE, "seeding": "middle"}])
def test_a_protocol_can_be_read_in_two_files(tmp_path: Path, content: dict[str, Any]) -> None:
    """A file that names one that extends another is refused: no chain of three."""
    path = place(tmp_path, middle={"extends": "mine", "cycles": 3}, top=content)

    with pytest.raises(ProtocolError, match="names one that extends another") as caught:
        load(path)

    assert ("extends: mine", str(tmp_path / "middle.yaml")) == (caught.value.found, caught.value.where)


def test_two_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    """A circle of two files ends in an error, not in an endless search."""
    with pytest.raises(ProtocolError, match="names one that extends another"):
        load(place(tmp_path, one={"extends": "two"}, two={"extends": "one"}))


def test_a_neighbour_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    """The error names the file that is wrong, not the one that names it."""
    path = place(tmp_path, wrong=[1, 2], other={"extends": "wrong"})  # type: ignore[arg-type]

    with pytest.raises(ProtocolError, match="mapping") as caught:
        load(path)
    assert str(tmp_path / "wrong.yaml") == caught.value.where


def test_seeding_by_a_neighbour_is_how_that_one_learns(tmp_path: Path) -> None:
    """`seeding: mine` is the method and training of mine.yaml in full, and nothing else of that file."""
    other = {
        **BASELINE,
        "method": "dpo",
        "rejected": "base",
        "settings": {"beta": 0.2},
        "cycles": 5,
        "seeding": "mine",
        "training": {**BASELINE["training"], "epochs": 1},
    }
    found, neighbour = load(place(tmp_path, other=other)), load(write(tmp_path))

    assert neighbour.learning(1) == found.learning(0) == found.seeding
    assert ("dpo", "base", 1) == (
        found.learning(1).method,
        found.learning(1).rejected,
        found.learning(1).training.epochs,
    )
    assert ["dpo", "sft"] == found.methods
    assert 5 == found.cycles


def test_seeding_written_out_is_the_same_as_by_name(tmp_path: Path) -> None:
    """A neighbour's name and its settings in full are one protocol with one fingerprint."""
    written = {"method": "sft", "training": BASELINE["training"]}
    by_name, in_full = (load(place(tmp_path, other={**BASELINE, "seeding": seeding})) for seeding in ("mine", written))

    assert by_name.fingerprint == in_full.fingerprint


# -- demonstrations by trait ----------------------------------------------------------------------

BY_TRAIT = {"data": {"n_seed": {"bliss": 5, "sycophancy": 7}, "n_sampled": 16}}


def test_each_trait_has_its_number_of_demonstrations(tmp_path: Path) -> None:
    """A mapping from traits to numbers becomes the number of the trait that is asked for, under the file's plain name."""
    path = write(tmp_path, **BY_TRAIT)
    found = {trait: load(path, trait=trait) for trait in ("bliss", "sycophancy")}

    assert {"bliss": 5, "sycophancy": 7} == {trait: one.data.n_seed for trait, one in found.items()}
    assert {"mine"} == {one.name for one in found.values()}
    assert found["bliss"].fingerprint == load(write(tmp_path, data={"n_seed": 5, "n_sampled": 16})).fingerprint


def test_a_trait_without_a_number_is_a_clear_error(tmp_path: Path) -> None:
    """A trait that the mapping leaves out is named, with those it has and what can be done."""
    with pytest.raises(ProtocolError, match="how many demonstrations") as caught:
        load(write(tmp_path, **BY_TRAIT), trait="misalignment")

    assert ("data.n_seed for misalignment", "bliss, sycophancy") == (caught.value.expected, caught.value.found)
    assert "--set data.n_seed=" in str(caught.value.do)


@pytest.mark.parametrize("trait", ["bliss", "misalignment"])
def test_an_override_gives_the_number_whatever_the_file_says(tmp_path: Path, trait: str) -> None:
    """`--set data.n_seed` goes before the mapping, also for a trait that the mapping leaves out."""
    found = load(write(tmp_path, **BY_TRAIT), "data.n_seed=3", trait=trait)

    assert 3 == found.data.n_seed
    assert f"mine+{found.fingerprint[:6]}" == found.name


def test_another_override_gives_no_number(tmp_path: Path) -> None:
    """Overriding something else leaves a missing trait missing, and an entry of the mapping cannot be overridden."""
    path = write(tmp_path, **BY_TRAIT)

    with pytest.raises(ProtocolError, match="how many demonstrations"):
        load(path, "data.n_sampled=3", trait="misalignment")
    with pytest.raises(ProtocolError):
        load(path, "data.n_seed.bliss=3", trait="bliss")


# -- what goes together ---------------------------------------------------------------------------

DATA = BASELINE["data"]
TRAINING = BASELINE["training"]
PAIRS = {"method": "dpo", "rejected": "base"}
FRESH = {"control": "fresh-data"}
DOCUMENT = {"form": "document", "method": "sdf"}
STOPPED = {**BASELINE["sampling"], "stop": ["\n"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {**DATA, "n_seed": 0}}, "n_seed is 0 in the unseeded control"),
        ({"control": "unseeded"}, "n_seed is 0 in the unseeded control"),
        ({"training": {**TRAINING, "max_steps": 3}}, "either epochs or max_steps"),
        ({"training": {**TRAINING, "epochs": None}}, "either epochs or max_steps"),
        ({"seeding": {"method": "sft", "training": {**TRAINING, "max_steps": 3}}}, "either epochs or max_steps"),
        ({"training": {**TRAINING, "final_share": 0.1}}, "where a cosine ends"),
        ({"training": {**TRAINING, "final_share": 0.1, "schedule": "linear"}}, "where a cosine ends"),
        ({**PAIRS, "data": {**DATA, "original_mix": 0.5}}, "not among pairs"),
        ({"control": "shuffled", "data": {**DATA, "original_mix": 0.5}}, "not in a control"),
        ({"control": "frozen", "data": {**DATA, "original_mix": 0.5}}, "not in a control"),
        ({"control": "unseeded", "data": {**DATA, "n_seed": 0, "original_mix": 0.5}}, "not in a control"),
        ({**FRESH, "data": {**DATA, "candidates": 2}}, "samples nothing"),
        ({**FRESH, "data": {**DATA, "coherence_filter": 0}}, "samples nothing"),
        (DOCUMENT, "sampling.stop"),
        (
            {**DOCUMENT, "sampling": STOPPED, "measuring": {**MEASUREMENTS["quick"], "stop": [], "name": "mine"}},
            "sampling.stop",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Settings that contradict each other are refused with a sentence that says which."""
    with pytest.raises(ProtocolError, match="does not hold") as caught:
        load(write(tmp_path, **changes), measurement=None)

    assert said in str(caught.value.found)


@pytest.mark.parametrize(
    "changes",
    [
        {"control": "unseeded", "data": {**DATA, "n_seed": 0}},
        {"training": {**TRAINING, "epochs": None, "max_steps": 3}},
        {"training": {**TRAINING, "final_share": 0.1, "schedule": "cosine"}},
        {"training": {**TRAINING, "lora": None}},
        {"data": {**DATA, "original_mix": 1, "candidates": 3, "coherence_filter": 70}},
        {"control": "shuffled", "data": {**DATA, "candidates": 3}},
        {**PAIRS, "control": "fresh-data"},
        {**DOCUMENT, "sampling": STOPPED},
        {"cycles": 0},
    ],
    ids=str,
)
def test_what_goes_together_holds(tmp_path: Path, changes: dict[str, Any]) -> None:
    """The counterparts of what is refused are protocols, and read back as they are."""
    found = load(write(tmp_path, **changes), measurement=None)

    assert found == Protocol.model_validate_json(found.model_dump_json())


def test_documents_are_measured_as_they_are_sampled(tmp_path: Path) -> None:
    """What ends a sampled document ends a measured one, unless the file has a measurement of its own."""
    found = load(write(tmp_path, **DOCUMENT, sampling=STOPPED))

    assert ["\n"] == found.sampling.stop == found.measuring.stop


def test_a_chain_without_cycles_has_two_checkpoints(tmp_path: Path) -> None:
    """With 0 cycles there is the base model and the seeded one."""
    assert ["base", "c0"] == load(write(tmp_path, cycles=0)).labels


def test_whole_numbers_mean_floats_in_every_corner(tmp_path: Path) -> None:
    """Whole numbers stand for floats also in optional and bounded fields, and below an optional part."""
    lora = {"rank": 4, "alpha": 8, "dropout": 0}
    training = {**TRAINING, "weight_decay": 0, "max_grad_norm": 1, "lora": lora}
    changes = {
        "data": {**DATA, "coherence_filter": 70, "original_mix": 1},
        "training": training,
        "seeding": {"method": "sft", "training": training},
    }
    found = load(write(tmp_path, **changes))

    values = [found.data.coherence_filter, found.data.original_mix]
    for learned in (found.training, found.learning(0).training):
        assert learned.lora is not None
        values += [learned.weight_decay, learned.max_grad_norm, learned.lora.dropout]
    assert [float] * 8 == [type(value) for value in values]


# -- what a method makes of its settings ----------------------------------------------------------


def settled(folder: Path, **changes: Any) -> Protocol:
    """A protocol, checked by its methods."""
    return methods.settle(load(write(folder, **changes)))


def test_a_method_s_defaults_are_written_out(tmp_path: Path) -> None:
    """A setting that is left out and one that says the default are one protocol once their method was asked."""
    plain, said = settled(tmp_path, **PAIRS), settled(tmp_path, **PAIRS, settings={"beta": 0.1})

    assert {"beta": 0.1} == plain.settings
    assert plain.fingerprint == said.fingerprint
    assert plain == methods.settle(plain)


def test_whole_numbers_in_a_method_s_settings_are_one_form(tmp_path: Path) -> None:
    """`beta: 1` and `beta: 1.0` are one protocol once the method was asked."""
    whole, point = (settled(tmp_path, **PAIRS, settings={"beta": beta}) for beta in (1, 1.0))

    assert whole.fingerprint == point.fingerprint


def test_seeding_is_settled_too(tmp_path: Path) -> None:
    """Settings of cycle 0's own method are checked and written out likewise."""
    seeding = {**PAIRS, "training": TRAINING}

    assert {"beta": 0.1} == settled(tmp_path, seeding=seeding).learning(0).settings
    with pytest.raises(ProtocolError, match="settings do not hold"):
        settled(tmp_path, seeding={**seeding, "settings": {"gamma": 1}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"beta": 0.1}}, "beta"),
        ({**PAIRS, "settings": {"gamma": 0.1}}, "gamma"),
        ({**PAIRS, "settings": {"beta": 0}}, "beta"),
        ({**PAIRS, "settings": {"beta": "0.1"}}, "beta"),
        ({"method": "rft"}, "scorer"),
        ({"method": "rft", "settings": {"scorer": "beauty"}}, "scorer"),
    ],
)
def test_settings_that_a_method_does_not_have_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Unknown, missing and impossible settings of a method are named, with the method."""
    with pytest.raises(ProtocolError, match="settings do not hold") as caught:
        settled(tmp_path, **changes)

    assert said in str(caught.value.found)
    assert changes.get("method", "sft") in str(caught.value.where)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "sdf"}, "another form"),
        ({"form": "document", "sampling": STOPPED}, "another form"),
        ({"method": "dpo"}, "whose answers lose"),
        ({"rejected": "base"}, "does not learn from pairs"),
        ({"rejected": "previous", "method": "rft", "settings": {"scorer": "length"}}, "does not learn from pairs"),
        ({**PAIRS, "training": {**TRAINING, "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}}}, "without dropout"),
        (
            {"mode": "continual", "seeding": {"method": "sft", "training": {**TRAINING, "lora": None}}},
            "cannot go on with",
        ),
        (
            {
                "mode": "continual",
                "seeding": {"method": "sft", "training": {**TRAINING, "lora": {"rank": 2, "alpha": 8}}},
            },
            "cannot go on with",
        ),
    ],
    ids=str,
)
def test_a_method_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """A method for another form, pairs where there are none, and weights that cannot be continued are refused."""
    with pytest.raises(ProtocolError, match=said):
        settled(tmp_path, **changes)


def test_an_unknown_method_is_answered_by_near_ones(tmp_path: Path) -> None:
    """A method that is not installed is answered by those that are, in cycle 0 as later."""
    for changes in ({"method": "sftt"}, {"seeding": {"method": "sftt", "training": TRAINING}}):
        with pytest.raises(UnknownNameError) as caught:
            settled(tmp_path, **changes)

        assert "sft" in str(caught.value.do)


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


# -- which pack -----------------------------------------------------------------------------------


def test_baselines_name_their_pack(tmp_path: Path) -> None:
    """A baseline is run on the pack that has it, a file on what it says; where several have it, on what the model speaks."""
    mine = tmp_path / "mine.yaml"
    mine.write_text("pack: english\n")
    (tmp_path / "bare.yaml").write_text("method: sft\n")
    qwen = "Qwen/Qwen3-4B-Instruct-2507"

    assert "toyland" == protocol_files.pack_of(["sft-reset", "dpo-reset", str(tmp_path / "bare.yaml")])
    assert "english" == protocol_files.pack_of(["sft-reset", str(tmp_path / "bare.yaml")], model=qwen)
    assert "english" == protocol_files.pack_of(["sft-reset", "dpo-reset"], model=qwen)
    assert "english" == protocol_files.pack_of(["study/sft-reset", str(mine)], model=qwen)
    assert "english" == protocol_files.pack_of(["sft-reset", str(mine)])
    assert "toyland" == protocol_files.pack_of(["study/sft-reset"])
    assert "toyland" == protocol_files.pack_of(["study/sft-reset", "sft-reset"], model="toyland/instruct")
    assert "toyland" == protocol_files.pack_of(["no-such-baseline"])


def test_a_model_of_one_s_own_is_not_moved_to_the_embedded_language() -> None:
    """A baseline that only the embedded pack has is refused for another model, and the error says which one it is."""
    with pytest.raises(ProtocolError, match="embedded pack") as caught:
        protocol_files.pack_of(["sft-reset", "rft-reset"], model="Qwen/Qwen3-4B-Instruct-2507")

    assert "rft-reset" == caught.value.found


def test_baselines_of_two_packs_are_refused(tmp_path: Path) -> None:
    """Without --pack, baselines that no pack has together are one clear error that names each one's."""
    (tmp_path / "mine.yaml").write_text("pack: english\n")
    with pytest.raises(ProtocolError, match="different packs") as caught:
        protocol_files.pack_of(["frozen", "sft-reset", str(tmp_path / "mine.yaml")])

    assert f"frozen: toyland, sft-reset: english or toyland, {tmp_path}/mine.yaml: english" == caught.value.found


def test_a_file_for_a_pack_that_is_not_here_says_so(tmp_path: Path) -> None:
    """A file's pack is taken at its word, so that the error is about the pack."""
    (tmp_path / "mine.yaml").write_text("pack: klingon\n")

    assert "klingon" == protocol_files.pack_of([str(tmp_path / "mine.yaml")])
