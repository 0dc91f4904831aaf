"""Records: one canonical form, nothing unknown, nothing that is no number, numbers that follow from samples."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from builders import Story, build_record, sample, settings
from instant import make_cell, run_cell

from idembench import record, sample_files
from idembench.board import superseded
from idembench.errors import DataError, IdembenchError, RecordError
from idembench.files import RECORD, canonical_json, parse_json
from idembench.task_answers import Answer

if TYPE_CHECKING:
    from idembench.record import Record

TINY = settings(cycles=2, questions=6)
SCHEMA = Path(__file__).parents[1] / "results" / "schema" / "record.schema.json"


@pytest.fixture(scope="module")
def built() -> tuple[Record, dict[int, bytes]]:
    """A small record of two seeds, and its samples files."""
    return build_record(Story(trait=(0.02, 0.8, 0.79, 0.8), seeds=(0, 1)), settings=TINY)


@pytest.fixture(scope="module")
def content(built: tuple[Record, dict[int, bytes]]) -> Any:
    """The same record as JSON."""
    return json.loads(built[0].canonical())


def objects(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every object of a JSON value stands."""
    found = [path] if isinstance(value, dict) else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for key, one in inner for place in objects(one, (*path, key))]


def changed(content: Any, path: tuple[Any, ...], key: Any, value: Any) -> bytes:
    """The record's JSON with one key set at a place."""
    copy = json.loads(json.dumps(content))
    place = copy
    for part in path:
        place = place[part]
    place[key] = value
    return canonical_json(copy)


# -- one form -------------------------------------------------------------------------------------


def test_round_trip_through_json_is_the_same_record(built: tuple[Record, dict[int, bytes]]) -> None:
    """Writing a record as JSON and reading it back gives an equal record and the same bytes."""
    made, _ = built

    again = record.parse(made.canonical(), where="here")

    assert made == again
    assert made.canonical() == again.canonical()
    assert made.id == again.id


def test_a_diverged_record_survives_the_round_trip() -> None:
    """A record with a seed that fell apart keeps that seed, where and why."""
    made, _ = build_record(Story(trait=(0.02, 0.8, 0.79, 0.8), seeds=(0, 1), diverged={1: "c1"}), settings=TINY)

    again = record.parse(made.canonical(), where="here")

    assert made == again
    assert [None, "c1"] == [line.diverged and line.diverged.cycle for line in again.chains]


def test_every_object_of_a_record_refuses_an_unknown_key(content: Any) -> None:
    """No object of a record takes a key its schema does not name, the statistics' dataclasses included."""
    # Maps by design: what a step said of itself, versions by name, and what a method's own settings are.
    free = {"facts", "stacks", "method_versions", "settings"}
    closed = [path for path in objects(content) if not free & set(path)]
    taken = []
    for path in closed:
        try:
            record.parse(changed(content, path, "unknown", 1), where="here")
        except RecordError as error:
            if "unknown" in str(error):
                continue
        taken.append(path)

    assert [] == taken
    assert len(closed) > 50
    assert {"analysis", "chains", "protocol"} <= {path[0] for path in closed if path}


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("analysis", "chain_law", "effects", "drift"), "estimate", "3.0"),
        (("analysis", "chain_law", "effects", "drift"), "n_seeds", 2.5),
        (("analysis", "chain_law", "iteration"), "value", "improved"),
        (("analysis",), "exploratory", "false"),
        (("execution",), "threads", True),
        (("execution",), "dtype", "int4"),
        (("protocol",), "name", "../../evil"),
        (("chains", 0, "checkpoints", 0), "cycle", "c-1"),
        (("chains", 0, "lineage", 0), "key", "0" * 63),
        (("chains", 0, "lineage", 0), "kind", "think"),
        (("chains", 0), "rows", 0),
        ((), "chains", []),
    ],
)
def test_wrong_types_and_values_are_refused_where_they_stand(
    content: Any, path: tuple[Any, ...], key: str, value: object
) -> None:
    """A value of another type, outside its range or its words is an error that names the field."""
    with pytest.raises(RecordError) as caught:
        record.parse(changed(content, path, key, value), where="here")

    assert key in str(caught.value)
    assert "here" in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused(content: Any, number: str) -> None:
    """NaN and infinities are refused anywhere, also in the free facts of a step and also when spelled 1e999."""
    text = canonical_json(content).decode()
    estimate = json.dumps(content["analysis"]["chain_law"]["effects"]["drift"]["estimate"])
    rows = '"facts":{"rows":1}'
    outcomes = []
    for found, put in ((f'"estimate":{estimate}', f'"estimate":{number}'), (rows, f'"facts":{{"rows":{number}}}')):
        assert found in text
        try:
            record.parse(text.replace(found, put, 1).encode(), where="here")
            outcomes.append("taken")
        except IdembenchError:
            outcomes.append("refused")

    assert ["refused", "refused"] == outcomes


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"schema_version":1}', b"{}", b"[" * 100_000]
)
def test_what_is_no_record_is_one_clear_error(data: bytes) -> None:
    """Bytes that are no record raise an error of idembench's own, never another one."""
    with pytest.raises(IdembenchError) as caught:
        record.parse(data, where="here")

    assert "here" in str(caught.value)


def test_a_key_that_stands_twice_is_refused(content: Any) -> None:
    """Duplicate keys are refused: two readers could see two records."""
    text = canonical_json(content).decode().replace('{"analysis"', '{"trait":"bliss","analysis"', 1)

    with pytest.raises(DataError, match="duplicate key 'trait'"):
        record.parse(text.encode(), where="here")


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_schema_is_refused_before_anything_else(content: Any, version: object) -> None:
    """A record of a schema this version does not know says which one it has."""
    with pytest.raises(RecordError) as caught:
        record.parse(changed(content, (), "schema_version", version), where="here")

    assert "This record has another schema." == caught.value.what
    assert repr(version) == caught.value.found


def test_a_missing_record_says_where(tmp_path: Path) -> None:
    """Reading a folder without a record names the folder."""
    with pytest.raises(RecordError) as caught:
        record.read(tmp_path)

    assert str(tmp_path) == caught.value.where


# -- one record taken further ---------------------------------------------------------------------

KEPT = (0.02, 0.8, 0.79, 0.8, 0.8)


def story_of(
    name: str = "sft-reset", *, cycles: int = 2, seeds: tuple[int, ...] = (0, 1), rule: str = "default", **told: Any
) -> Record:
    """The record of a trait that stays, in a protocol called `sft-reset` whatever it is."""
    chosen = settings(name, cycles=cycles, questions=6).model_copy(update={"name": "sft-reset"})
    story = Story(trait=KEPT[: cycles + 2], seeds=seeds, **told)
    return build_record(story, settings=chosen, rule=rule)[0]


def with_control(name: str = "frozen", *, cycles: int = 2, seeds: tuple[int, ...] = (0, 1)) -> Record:
    """The same beside a control, which is called after its baseline and digits of its own fingerprint."""
    plain = settings(name, cycles=cycles, questions=6)
    plain = plain.model_copy(update={"name": f"{name}+{plain.fingerprint[:6]}"})
    control = build_record(Story(trait=KEPT[: cycles + 2], seeds=seeds), settings=plain)
    chosen = settings(cycles=cycles, questions=6)
    return build_record(Story(trait=KEPT[: cycles + 2], seeds=seeds), settings=chosen, control=control)[0]


def test_what_goes_further_supersedes() -> None:
    """More cycles, more seeds, a control, or several of these make a record supersede another, never the other way."""
    first = story_of()
    further = {
        "cycles": story_of(cycles=3),
        "seeds": story_of(seeds=(0, 1, 2)),
        "both": story_of(cycles=3, seeds=(0, 1, 5)),
        "control": with_control(),
        "control and cycles": with_control(cycles=3),
    }

    assert dict.fromkeys(further, True) == {why: record.supersedes(one, first) for why, one in further.items()}
    assert dict.fromkeys(further, False) == {why: record.supersedes(first, one) for why, one in further.items()}


def test_what_was_asked_more_supersedes(tmp_path: Path) -> None:
    """More tasks, or more items of one, make a record supersede one that was asked less; neither loses what the other has."""
    sycophancy, bliss = "idembench_toyland_sycophancy_choice", "idembench_toyland_bliss_choice"
    asked = {
        "none": (),
        "one": (f"{sycophancy}:2",),
        "more items": (f"{sycophancy}:3",),
        "both": (f"{sycophancy}:2", f"{bliss}:2"),
        "other": (f"{bliss}:3",),
    }
    made = {
        name: run_cell(make_cell("sft-reset", "cycles=1", tasks=tasks), tmp_path).record
        for name, tasks in asked.items()
    }
    made["longer"] = run_cell(make_cell("sft-reset", "cycles=2"), tmp_path).record
    made["longer, both"] = run_cell(make_cell("sft-reset", "cycles=2", tasks=asked["both"]), tmp_path).record
    found = {(a, b) for a in made for b in made if record.supersedes(made[a], made[b])}

    whole = {"one", "more items", "both", "other", "longer", "longer, both"}
    assert {(one, "none") for one in whole} | {
        ("more items", "one"),
        ("both", "one"),
        ("longer, both", "one"),
        ("longer, both", "both"),
        ("longer, both", "longer"),
    } == found
    traces = {one.id: superseded.trace(one) for one in made.values()}
    by_id = {one.id: one for one in made.values()}
    assert {made[b].id for _, b in found} == superseded.superseded(traces, by_id.__getitem__).keys()


def test_records_of_the_same_chains_continue_each_other_whatever_stands_beside(tmp_path: Path) -> None:
    """Neither a task nor a control makes another chain of one; more cycles and seeds continue it, fewer do not."""
    name = "idembench_toyland_bliss_choice:2"
    plain = run_cell(make_cell("sft-reset", "cycles=1"), tmp_path).record
    asked = run_cell(make_cell("sft-reset", "cycles=1", tasks=[name]), tmp_path).record
    longer = run_cell(make_cell("sft-reset", "cycles=2", seeds=(0, 1)), tmp_path).record
    beside = run_cell(make_cell("sft-reset", "cycles=1", control=make_cell("frozen", "cycles=1")), tmp_path).record

    same = [plain, asked, beside]
    assert all(record.continues(one, other) for one in same for other in same)
    assert all(record.continues(longer, other) and not record.continues(other, longer) for other in same)


def test_of_the_same_chains_the_furthest_stands_for_the_others(tmp_path: Path) -> None:
    """Records that lack what the others were asked are all stood for by one, in whatever order they are found."""
    name = "idembench_toyland_{}_choice:2"
    made = [
        run_cell(make_cell("sft-reset", f"cycles={cycles}", tasks=[name.format(trait)]), tmp_path).record
        for cycles, trait in ((1, "bliss"), (2, "bliss"), (2, "sycophancy"), (1, "misalignment"))
    ]
    by_id = {one.id: one for one in made}
    first, second = (
        superseded.stood_for({one.id: superseded.trace(one) for one in order}, by_id.__getitem__)
        for order in (made, made[::-1])
    )

    best = max(made[1].id, made[2].id)
    assert first == second
    assert dict.fromkeys(by_id.keys() - {best}, best) == first


def test_what_is_not_the_same_chain_supersedes_nothing() -> None:
    """Other seeds, fewer cycles, another mode or the very same record supersede nothing, however much they hold."""
    first = story_of()
    others = {
        "itself": story_of(),
        "other seeds": story_of(seeds=(1, 2, 3)),
        "more seeds of fewer cycles": story_of(cycles=1, seeds=(0, 1, 2)),
        "another mode": story_of("sft-continual", cycles=3, seeds=(0, 1, 2)),
        "a control": story_of("frozen", cycles=3, seeds=(0, 1, 2)),
        "another rule": story_of(cycles=3, seeds=(0, 1, 2), rule="strict"),
    }

    assert dict.fromkeys(others, False) == {why: record.supersedes(one, first) for why, one in others.items()}


def test_a_record_keeps_the_control_of_what_it_supersedes() -> None:
    """Beside the same control more cycles and seeds supersede, under whatever fingerprint; without it or beside another, not."""
    first = with_control()
    further = {
        "cycles": with_control(cycles=3),
        "seeds": with_control(seeds=(0, 1, 2)),
        "no control": story_of(cycles=3, seeds=(0, 1, 2)),
        "another control": with_control("sft-shuffled", cycles=3),
    }

    assert {"cycles": True, "seeds": True, "no control": False, "another control": False} == {
        why: record.supersedes(one, first) for why, one in further.items()
    }


@pytest.mark.parametrize("other", ["sft-continual", "frozen"])
def test_chains_that_part_later_are_not_one(other: str) -> None:
    """Protocols that share cycle 0 do not supersede each other where both end there, fallen apart or by length."""
    fallen = [story_of(name, cycles=c, diverged={0: "c0", 1: "c0"}) for name, c in (("sft-reset", 2), (other, 3))]
    short = [story_of(name, cycles=c) for name, c in (("sft-reset", 0), (other, 3))]

    assert [step.key for step in fallen[0].chains[0].lineage] == [step.key for step in fallen[1].chains[0].lineage]
    assert [False, False] == [record.supersedes(long, first) for first, long in (fallen, short)]


def test_a_chain_that_fell_apart_is_not_gone_on_with_by_one_that_did_not() -> None:
    """A seed that diverged stays in what supersedes it; a record in which it did not is another chain."""
    fallen = story_of(diverged={1: "c1"})

    assert record.supersedes(story_of(cycles=3, diverged={1: "c1"}), fallen)
    assert not record.supersedes(story_of(cycles=3), fallen)


def test_a_control_of_other_seeds_or_questions_is_no_control() -> None:
    """Net effects are of the same seeds and the same questions, or an error."""
    own = build_record(Story(trait=KEPT[:4], seeds=(0, 1)), settings=TINY)
    rows = [
        {seed: sample_files.unpack(data, where="here") for seed, data in packed.items()}
        for packed in (
            own[1],
            build_record(Story(trait=KEPT[:4], seeds=(0, 2)), settings=TINY)[1],
            build_record(Story(trait=KEPT[:4], seeds=(0, 1)), settings=settings(cycles=2, questions=5))[1],
            build_record(Story(trait=KEPT[:5], seeds=(0, 1)), settings=settings(cycles=3, questions=6))[1],
        )
    ]

    assert 0.0 == record.net_of(rows[0], rows[0], TINY, own[0].analysis.rule).drift.estimate
    for against, said in ((rows[1], "other seeds"), (rows[2], "measured otherwise"), (rows[3], "measured otherwise")):
        with pytest.raises(RecordError, match=said):
            record.net_of(rows[0], against, TINY, own[0].analysis.rule)


# -- the schema -----------------------------------------------------------------------------------


def test_the_published_schema_is_the_code_s() -> None:
    """`results/schema/record.schema.json` is what `idembench schema` prints."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == record.json_schema(), (
        "run: idembench schema > results/schema/record.schema.json"
    )


def test_records_hold_against_the_published_schema(content: Any) -> None:
    """A record is valid by the JSON Schema alone, and no longer when a key is added or taken away."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    check = validator(schema)
    short = {key: value for key, value in content.items() if key != "judge"}

    assert [] == list(check.iter_errors(content))
    assert [] != list(check.iter_errors({**content, "unknown": 1}))
    assert [] != list(check.iter_errors(short))


# -- samples --------------------------------------------------------------------------------------

# -- derived numbers ------------------------------------------------------------------------------


def test_a_checkpoint_counts_what_its_samples_show() -> None:
    """Every number of a checkpoint is the plain count or mean over the samples it is defined on."""
    protocol = settings(cycles=1, questions=4, overrides=["measuring.neutral_questions=2"])
    own = [
        sample(question="a", trait=100.0, coherence=80.0, response="a a a a a", scope="in-domain", nll=1.0),
        sample(question="b", trait=50.0, coherence=49.9, response="one two", scope="in-domain", nll=3.0),
        sample(question="c", trait=None, coherence=None, response="  "),
        sample(question="d", trait=0.0, coherence=50.0, response="x", truncated=True, scope="spill-over"),
    ]
    neutral = [
        sample(question="n", trait=None, coherence=20.0, response=""),
        sample(question="m", trait=None, nll=9.0),
    ]

    found = record.checkpoint([*own, *neutral], protocol)

    expected = record.Checkpoint(
        cycle="c1",
        responses=4,
        trait=50.0,
        trait_coherent=50.0,
        coherent_share=0.5,
        coherence=round((80.0 + 49.9 + 50.0 + 20.0 + 90.0) / 5, 6),
        missing_share=0.25,
        empty_share=round(2 / 6, 6),
        truncated_share=round(1 / 6, 6),
        repetition=round((2 / 3) / 6, 6),
        distinct_2=round((1 / 4 + 5) / 6, 6),
        refusal_share=0.0,
        foreign=0.0,
        words=round((5 + 2 + 0 + 1 + 0 + 1) / 6, 6),
        trait_in_domain=75.0,
        trait_spill_over=0.0,
        perplexity=round(math.exp(2.0), 6),
    )
    assert expected == found


def test_what_came_later_is_not_written_where_there_is_none() -> None:
    """A checkpoint without scopes and perplexity has the bytes that it had before there were any."""
    protocol = settings(cycles=1, questions=1, overrides=["measuring.neutral_questions=0"])
    plain, full = ([sample(**more)] for more in ({}, {"scope": "in-domain", "nll": 0.5}))
    added = {"trait_in_domain", "trait_spill_over", "perplexity", "tasks"}
    answer = Answer(cycle="c1", task="arc_easy", item=0, loglikelihoods=(-1.0, -2.0), targets=(0,))

    assert not added & record.checkpoint(plain, protocol).model_dump().keys()
    assert {"arc_easy": 1.0} == record.checkpoint(plain, protocol, [answer]).model_dump()["tasks"]
    assert {"trait_in_domain", "perplexity"} == added & record.checkpoint(full, protocol).model_dump().keys()


def test_missing_scores_are_missing_and_never_zero() -> None:
    """A checkpoint that nobody could score has no mean, and all of it is missing."""
    protocol = settings(cycles=1, questions=2, overrides=["measuring.neutral_questions=0"])
    rows = [sample(question=q, trait=None, coherence=None) for q in ("a", "b")]

    found = record.checkpoint(rows, protocol)

    assert (None, None, None, 1.0) == (found.trait, found.trait_coherent, found.coherence, found.missing_share)


def test_a_partly_scored_question_is_the_mean_of_the_repeats_that_have_a_score() -> None:
    """Repeats without a score leave their question's mean to the others; a question without any is missing."""
    scores = [10.0, None, 30.0, None, None, None]

    found = record._per_question(scores, 3).tolist()

    assert 20.0 == found[0]
    assert found[1] != found[1]


def test_every_seed_and_checkpoint_of_the_samples_is_in_the_record(built: tuple[Record, dict[int, bytes]]) -> None:
    """A record counts each question once per repeat, checkpoint and seed."""
    made, packed = built
    counted = Counter(
        (seed, row.cycle) for seed, data in packed.items() for row in sample_files.unpack(data, where="here")
    )
    asked = TINY.measuring.questions + TINY.measuring.neutral_questions

    assert {(seed, label): asked for seed in (0, 1) for label in TINY.labels} == counted
    assert [asked * len(TINY.labels)] * 2 == [line.rows for line in made.chains]


# -- files ----------------------------------------------------------------------------------------


def test_writing_twice_changes_nothing(built: tuple[Record, dict[int, bytes]], tmp_path: Path) -> None:
    """A record that is there already is left as it is, its provenance included."""
    made, packed = built
    folder = record.write(tmp_path, made, packed, {"run": 1})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    again = record.write(tmp_path, made, packed, {"run": 2})

    assert folder == again
    assert before == {path.name: path.read_bytes() for path in again.iterdir()}
    assert {"run": 1} == parse_json(before["provenance.json"], where="here")


def test_a_half_written_record_is_completed(built: tuple[Record, dict[int, bytes]], tmp_path: Path) -> None:
    """What a killed write left behind is repaired by writing again; `record.json` comes last."""
    made, packed = built
    folder = record.write(tmp_path, made, packed, {})
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / RECORD).unlink()
    (folder / sample_files.file_name(1)).write_bytes(whole[sample_files.file_name(1)][:10])

    record.write(tmp_path, made, packed, {})

    assert whole == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_spoilt_record_is_written_again(built: tuple[Record, dict[int, bytes]], tmp_path: Path) -> None:
    """A `record.json` that somebody changed by hand is what it was after the same run."""
    made, packed = built
    folder = record.write(tmp_path, made, packed, {})
    (folder / RECORD).write_bytes(b"{}")

    record.write(tmp_path, made, packed, {})

    assert made.canonical() == (folder / RECORD).read_bytes()


def test_a_record_lies_under_its_model_trait_and_protocol(built: tuple[Record, dict[int, bytes]]) -> None:
    """The place of a record says what it is of, and ends in its hash."""
    made, _ = built

    assert ("toyland__instruct", "bliss", "sft-reset", made.id) == made.place.parts
