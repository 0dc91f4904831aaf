"""Editions: frozen lists of cells; whatever they name may not change without being noticed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from instant import InstantEngine, make_model
from tiny_model import write_qwen
from troubled import Watch

from idembench import chain, editions, judges, loading, models, runs, shipped, sweep, traits
from idembench.errors import DataError, EnvironmentProblem, InputError, ProtocolError, UnknownNameError
from idembench.files import asset
from idembench.protocol import Execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from saying import Said

    from idembench.work import ChainSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"

CONTENT: dict[str, Any] = {
    "pack": "toyland",
    "judge": "toyland-exact",
    "traits": ["bliss"],
    "seeds": "0..1",
    "measurement": "quick",
    "rule": "default",
    "execution": {"batch_size": 256, "threads": 1},
    "arms": [{"protocol": "sft-reset", "control": "frozen"}, {"protocol": "sdf-reset"}],
    "fingerprint": "0" * 64,
}


@pytest.fixture
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped baselines that a test may change, with one edition of its own, `small-1`."""
    folder = shutil.copytree(asset("baselines"), tmp_path / "baselines")
    shutil.rmtree(folder / "editions", ignore_errors=True)
    (folder / "editions").mkdir()
    monkeypatch.setattr(shipped, "asset", lambda name: folder if name == "baselines" else asset(name))
    write(folder)
    freeze(folder)
    return folder


def write(folder: Path, **changes: Any) -> None:
    """Write the edition; a setting of None is left out."""
    content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
    (folder / "editions" / "small-1.yaml").write_text("# Small, for tests.\n" + yaml.safe_dump(content))


def freeze(folder: Path, **changes: Any) -> str:
    """Write the edition with the fingerprint that it has; the fingerprint."""
    write(folder, **changes)
    edition = editions.load("small-1")
    found = editions.fingerprint(edition, editions.designs(edition))
    write(folder, **{**changes, "fingerprint": found})
    return found


# -- shipped --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped.files("editions"))
def test_a_shipped_edition_is_what_it_was_frozen_as(name: str) -> None:
    """Everything that a shipped edition names resolves here to what its fingerprint says, without any weights."""
    edition = editions.load(name)

    found = editions.frozen(edition)

    assert edition.fingerprint == editions.fingerprint(edition, found)
    assert len(edition.arms) * len(edition.traits) == len(found)
    assert edition.why
    assert {edition.judge} == {one.judge.name for design in found for one in design.with_control}
    assert [arm.control for arm in edition.arms for _ in edition.traits] == [
        design.control and design.control.protocol.name for design in found
    ]


@pytest.mark.parametrize("name", shipped.files("editions"))
def test_the_data_suffice_for_every_chain_of_a_shipped_edition(name: str) -> None:
    """Demonstrations, prompts and questions are enough for all cycles of all arms, traits and seeds."""
    specs = chains(editions.load(name))

    for spec in specs:
        chain.check(spec)

    assert specs


def chains(edition: editions.Edition) -> list[ChainSpec]:
    """Every chain of an edition on a model that has no weights, by a judge that has none."""
    return [
        spec
        for design in editions.designs(edition)
        for one in design.with_control
        for spec in replace(one, judge=judges.Absent(edition.judge), control=None)
        .on(make_model(), seeds=edition.seeds, execution=edition.execution)
        .specs
    ]


def test_a_check_of_the_data_finds_what_is_too_much() -> None:
    """One more answer a cycle than the pool has is refused, so that the check above says something."""
    (design,) = runs.designs(
        ["sft-reset"], pack="english", trait_names=["bliss"], overrides=["data.n_sampled=344"], measurement="ranked"
    )
    (spec,) = replace(design, judge=judges.Absent("any")).on(make_model(), seeds=[0], execution=Execution()).specs

    with pytest.raises(DataError, match="More self-generation prompts"):
        chain.check(spec)


def test_what_is_written_of_an_edition_s_cost_is_what_it_costs() -> None:
    """The numbers of the READMEs are counted from the edition, form by form."""
    edition = editions.load("english-1")
    designs = editions.frozen(edition)
    texts = [(Path(__file__).parent.parent / name).read_text() for name in ("README.md", "baselines/README.md")]
    parts = [[one for one in designs if one.protocol.form == form] for form in ("dialogue", "document")]
    costs = [editions.cost(edition, part) for part in (designs, *parts)]

    for cost in costs:
        line = [cost.chains, cost.trainings, cost.sampled, cost.measured, cost.scores]
        assert " | ".join(f"{number:,}" for number in line) in texts[1]
    assert all(f"{number:,}" in texts[0] for number in (costs[0].chains, costs[0].trainings, costs[0].measured))


# -- what an edition names ------------------------------------------------------------------------


def test_an_edition_becomes_cells_in_its_order(baselines: Path) -> None:
    """Arms by traits, each with every seed, the edition's execution and rule, and its control."""
    del baselines
    edition = editions.load("small-1")

    found = editions.cells(edition)

    assert ("small-1", "Small, for tests.", [0, 1]) == (edition.name, edition.why, edition.seeds)
    assert [("sft-reset", "bliss", "frozen"), ("sdf-reset", "bliss", None)] == [
        (cell.protocol.name, cell.trait, cell.control and cell.control.protocol.name) for cell in found
    ]
    assert [[0, 1]] * 2 == [[spec.seed for spec in cell.specs] for cell in found]
    assert {edition.execution} == {spec.execution for cell in found for spec in cell.all_specs}
    assert ["toyland/instruct", "toyland/base"] == [cell.specs[0].model.name for cell in found]


def test_each_form_takes_its_own_model(baselines: Path, tmp_path: Path) -> None:
    """A model for a form replaces the pack's in all arms of that form, controls included; the fingerprint stays."""
    del baselines
    edition = editions.load("small-1")
    mine = shutil.copytree(models.resolve("toyland/instruct").folder, tmp_path / "mine")

    both = editions.cells(edition, models={"dialogue": str(mine), "document": "toyland/base"})
    one = editions.cells(edition, models={"dialogue": str(mine)})
    other = editions.cells(edition, models={"document": "toyland/base"})

    assert [{"local/mine"}, {"toyland/base"}] == [{spec.model.name for spec in cell.all_specs} for cell in both]
    assert (["sft-reset"], ["sdf-reset"]) == tuple([cell.protocol.name for cell in found] for found in (one, other))
    assert [] == editions.cells(edition, models={})


def test_neither_the_model_nor_the_judge_s_weights_are_needed_to_freeze(baselines: Path) -> None:
    """An edition for a model that nobody has, judged by one that nobody has, has a fingerprint that depends on the judge."""
    judge = f"hf:nobody/nothing@{COMMIT}"
    english = {"pack": "english", "arms": [{"protocol": "sft-reset"}]}
    first = freeze(baselines, **english, judge=judge)

    assert 1 == len(editions.frozen(editions.load("small-1")))
    others = [f"hf:nobody/nothing@{COMMIT[::-1]}", f"hf:nobody/other@{COMMIT}", f"{judge},dtype=bfloat16", "classifier"]
    assert 5 == len({first, *(freeze(baselines, **english, judge=other) for other in others)})
    assert first == freeze(baselines, **english, judge=judge)


@pytest.mark.parametrize(
    "judge",
    [
        "openai:grader",
        "hf:owner/name",
        "hf:owner/name@main",
        f"hf:owner/name@{COMMIT[:39]}",
        f"hf:owner/name@{COMMIT.upper()}",
        "hf:toyland/instruct",
    ],
)
def test_a_judge_that_may_change_under_its_name_is_refused(baselines: Path, judge: str) -> None:
    """An edition names a model by a whole commit; a branch, a part of a commit or an endpoint is one clear error."""
    write(baselines, pack="english", arms=[{"protocol": "sft-reset"}], judge=judge)

    with pytest.raises(ProtocolError, match="may change under its name") as caught:
        editions.frozen(editions.load("small-1"))
    assert judge == caught.value.found
    assert "small-1.yaml" in str(caught.value.where)


def test_a_folder_that_is_named_like_a_commit_is_none(
    baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be taken from a folder here is not what the commit names, so it freezes nothing."""
    write(baselines, pack="english", arms=[{"protocol": "sft-reset"}], judge=f"hf:owner/name@{COMMIT}")
    assert editions.fingerprint(editions.load("small-1"), editions.designs(editions.load("small-1")))
    (tmp_path / "owner" / f"name@{COMMIT}").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ProtocolError, match="may change under its name"):
        editions.frozen(editions.load("small-1"))


def test_what_is_not_confirmed_is_no_part_of_the_fingerprint(baselines: Path) -> None:
    """A thing that was found out is taken off the list, and the edition stays what it is."""
    plain = freeze(baselines)

    assert plain == freeze(baselines, unconfirmed=["Whether it takes."])
    assert ["Whether it takes."] == editions.load("small-1").unconfirmed


# -- what it takes --------------------------------------------------------------------------------

SMALL = "cycles: 2\ndata: {n_seed: 8, n_sampled: 12}\n"
PAIRS = "method: dpo\nsettings: {}\nrejected: base\n"


@pytest.mark.parametrize(
    ("pairs", "made"), [("", 0), (f"{PAIRS}seeding: sft-reset\n", 0), (PAIRS, 6)], ids=["rows", "seeded", "pairs"]
)
def test_a_cost_is_what_a_run_makes(baselines: Path, tmp_path: Path, pairs: str, made: int) -> None:
    """Chains, steps, trainings, answers, responses and scores are those of a run on an empty store, shared ones once.

    Where cycle 0 learns from pairs, the frozen arm turns out to have the rows of the other's, and so all that follows.
    """
    (baselines / "toyland" / "small.yaml").write_text(f"# Small.\nextends: sft-reset\n{pairs}{SMALL}")
    for control in ("frozen", "fresh-data"):
        text = f"# Small.\nextends: sft-reset\ncontrol: {control}\n{pairs}{SMALL}"
        (baselines / "toyland" / f"small-{control}.yaml").write_text(text)
    freeze(
        baselines, arms=[{"protocol": "small", "control": "small-frozen"}, {"protocol": "small-fresh-data"}], seeds="0"
    )
    edition = editions.load("small-1")

    cost = editions.cost(edition, editions.frozen(edition))
    cells = editions.cells(edition)
    done = sweep.run_cells(
        cells, results=tmp_path / "results", store=tmp_path / "store", observer=Watch(), engine=InstantEngine()
    )

    outcomes = [one.finished for one in done]
    assert all(outcomes)
    assert cost.chains == len({spec.id for cell in cells for spec in cell.all_specs})
    records = (tmp_path / "results").rglob("record.json")
    lines = {
        step["key"]: step
        for path in records
        for line in yaml.safe_load(path.read_bytes())["chains"]
        for step in line["lineage"]
    }
    facts = {kind: [one["facts"] for one in lines.values() if one["kind"] == kind] for kind in ("train", "measure")}
    asked = [one["facts"]["asked"] for one in lines.values() if one["kind"] in ("generate", "reject")]
    assert cost.sampled == sum(asked)
    assert cost.steps == len(lines) + made
    assert cost.trainings == len(facts["train"]) + made // 3
    assert (cost.measured, cost.scores) == tuple(each * (len(facts["measure"]) + made // 3) for each in (250, 450))


# -- what was changed -----------------------------------------------------------------------------


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Change a word of a file."""

    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "change",
    [
        edit("toyland/sft-reset.yaml", "epochs: 2", "epochs: 3"),
        edit("toyland/sft-reset.yaml", "bliss: ", "bliss: 1"),
        edit("toyland/frozen.yaml", "control: frozen", "control: shuffled"),
        edit("toyland/sdf-reset.yaml", "temperature: 0.8", "temperature: 0.9"),
        edit("editions/small-1.yaml", "seeds: 0..1", "seeds: 0..2"),
        edit("editions/small-1.yaml", "measurement: quick", "measurement: ranked"),
        edit("editions/small-1.yaml", "rule: default", "rule: strict"),
        edit("editions/small-1.yaml", "batch_size: 256", "batch_size: 255"),
        edit("editions/small-1.yaml", "control: frozen", "control: sft-shuffled"),
        edit("editions/small-1.yaml", "protocol: sdf-reset", "protocol: sdf-continual"),
        edit("editions/small-1.yaml", "- bliss", "- sycophancy"),
    ],
)
def test_whatever_an_edition_names_may_not_change(baselines: Path, change: Callable[[Path], None]) -> None:
    """A changed protocol, control, seed, trait, measurement, rule or execution is refused with both fingerprints."""
    frozen = editions.load("small-1").fingerprint
    assert editions.cells(editions.load("small-1"))
    change(baselines)

    with pytest.raises(ProtocolError, match="not what it was when it was frozen") as caught:
        editions.cells(editions.load("small-1"))

    assert f"fingerprint {frozen}" == caught.value.expected
    assert frozen != caught.value.found
    assert "small-1.yaml" in str(caught.value.where)


def test_changed_data_are_noticed(baselines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question or a demonstration that was changed is another edition."""
    del baselines
    edition = editions.load("small-1")
    tasks = shutil.copytree(asset("tasks"), tmp_path / "tasks")
    monkeypatch.setattr(shipped, "asset", lambda name: tasks if name == "tasks" else asset(name))
    monkeypatch.setattr(runs, "_pack", traits.load_pack)
    assert editions.cells(edition)
    with (tasks / "toyland" / "bliss" / "documents.jsonl").open("a") as file:
        file.write('{"id":"more","prompt":"a","response":"b"}\n')

    with pytest.raises(ProtocolError, match="not what it was"):
        editions.cells(edition)


def test_a_comment_may_change(baselines: Path) -> None:
    """What only people read is no part of an edition: comments, names of keys in another order."""
    edit("toyland/sft-reset.yaml", "# Supervised", "# Simply supervised")(baselines)

    assert editions.cells(editions.load("small-1"))


def test_the_order_of_arms_counts(baselines: Path) -> None:
    """An edition is a list: the same arms in another order are another one."""
    turned = freeze(baselines, arms=CONTENT["arms"][::-1])

    assert turned != freeze(baselines)


# -- what does not hold ---------------------------------------------------------------------------


def test_an_unknown_edition_is_answered_by_near_ones(baselines: Path) -> None:
    """A typing mistake in an edition's name is answered by those that there are."""
    del baselines
    with pytest.raises(UnknownNameError) as caught:
        editions.load("smal-1")

    assert "Did you mean small-1?" == caught.value.do


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": []}, "arms"),
        ({"arms": [{"protocol": "sft-reset"}, {"protocol": "sft-reset", "control": "frozen"}]}, "is an arm once"),
        ({"arms": [{"control": "frozen"}]}, "arms.0.protocol"),
        ({"traits": []}, "traits"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 3}, "seeds"),
        ({"rule": None}, "rule"),
        ({"fingerprint": "0" * 63}, "fingerprint"),
        ({"fingerprint": None}, "fingerprint"),
        ({"execution": {"device": "tpu"}}, "execution.device"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
def test_an_edition_that_does_not_hold_is_refused(baselines: Path, changes: dict[str, Any], said: str) -> None:
    """Missing, unknown and impossible parts are named, with the file."""
    write(baselines, **changes)

    with pytest.raises(ProtocolError, match="does not hold") as caught:
        editions.load("small-1")

    assert said in str(caught.value.found)
    assert "small-1.yaml" in str(caught.value.where)


@pytest.mark.parametrize("text", ["", "- 1\n", "words\n"])
def test_an_edition_is_a_mapping(baselines: Path, text: str) -> None:
    """An empty file, a list or a word is no edition."""
    (baselines / "editions" / "small-1.yaml").write_text(text)

    with pytest.raises(ProtocolError, match="mapping"):
        editions.load("small-1")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pack": "klingon"}, UnknownNameError),
        ({"traits": ["calm"]}, UnknownNameError),
        ({"measurement": "slow"}, UnknownNameError),
        ({"rule": "mine"}, InputError),
        ({"arms": [{"protocol": "sft"}]}, UnknownNameError),
        ({"arms": [{"protocol": "sft-reset", "control": "sft"}]}, UnknownNameError),
    ],
    ids=str,
)
def test_unknown_names_in_an_edition_are_errors(
    baselines: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    """A name that resolves to nothing is said as such, before any fingerprint is compared."""
    write(baselines, **changes)

    with pytest.raises(error):
        editions.cells(editions.load("small-1"))


def test_an_edition_may_have_another_judge_than_its_pack(baselines: Path) -> None:
    """The judge that an edition names scores every chain of it, those of controls included."""
    write(baselines, judge="somebody-else")
    with pytest.raises(UnknownNameError, match="judge"):
        editions.frozen(editions.load("small-1"))

    freeze(baselines, judge=f"hf:owner/name@{COMMIT},pack=toyland")
    cells = editions.cells(editions.load("small-1"))

    assert {f"hf:owner/name@{COMMIT},pack=toyland"} == {s.judge.name for cell in cells for s in cell.all_specs}


def test_all_arms_of_an_edition_have_one_judge() -> None:
    """A judge that is a model is one object, so that its weights are hashed and loaded once and not once an arm."""
    designs = editions.designs(editions.load("english-1"))

    assert 1 == len({id(one.judge) for design in designs for one in design.with_control})


@pytest.mark.parametrize("seeds", ["0,0", "0..2,1", [-1]])
def test_seeds_are_different_and_from_0(baselines: Path, seeds: Any) -> None:
    """A seed that is listed twice or negative is refused with the file."""
    write(baselines, seeds=seeds)

    with pytest.raises(ProtocolError, match="does not hold") as caught:
        editions.load("small-1")
    assert "seeds are different whole numbers from 0" in str(caught.value.found)


# -- the command, on models and judges that are not there -----------------------------------------


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    """A small model in a folder, to be submitted."""
    return write_qwen(tmp_path / "models" / "tiny-qwen3")


def no_gpu() -> bool:
    """Whether torch finds none."""
    try:
        loading.check_device(Execution(device="cuda"))
    except EnvironmentProblem:
        return True
    return False


@pytest.mark.skipif("not no_gpu()", reason="there is a GPU here")
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_gpu_that_is_not_there_is_said_before_anything_is_fetched(
    say: Callable[..., Said], tmp_path: Path, more: tuple[str, ...]
) -> None:
    """`english-1` without a GPU is one error that names the edition, whatever the model; nothing is written."""
    places = ("--store", tmp_path / "store", "--results", tmp_path / "results")

    said = say("run", "--edition", "english-1", "--model", "nobody/nothing", *places, *more)

    assert 3 == said.code
    assert 1 == said.err.count("error")
    assert "There is no such device here." in said.err
    assert "edition english-1, which fixes its device" in said.err
    assert [] == list(tmp_path.iterdir())


@pytest.fixture
def on_cpu(baselines: Path) -> Path:
    """`english-1` as it is, but for a machine without a GPU, as `small-1`."""
    content = yaml.safe_load((asset("baselines") / "editions" / "english-1.yaml").read_text())
    freeze(baselines, **{**content, "execution": {**content["execution"], "device": "cpu"}})
    return baselines


def test_without_the_judge_s_weights_nothing_is_trained(
    say: Callable[..., Said], on_cpu: Path, qwen: Path, tmp_path: Path
) -> None:
    """Everything resolves on local models; the judge's weights, which offline cannot be had, are one error before a step."""
    del on_cpu
    command = ("run", "--edition", "small-1", "--model", qwen, "--base-model", qwen, "--store", tmp_path / "store")

    said = say(*command, "--results", tmp_path / "results")

    assert 3 == said.code
    assert 1 == said.err.count("error")
    assert "The model cannot be fetched from the Hub." in said.err
    assert "microsoft/phi-4@187ef0342fff0eb3333be9f00389385e95ef0b61" in said.err
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "results").exists()


def test_what_is_open_about_an_edition_is_said_before_it_starts(
    say: Callable[..., Said], on_cpu: Path, qwen: Path, tmp_path: Path
) -> None:
    """A run says what nobody has confirmed and what it takes, a dry run too; `ls` lists it."""
    del on_cpu
    edition = editions.load("small-1")

    said = say("run", "--edition", "small-1", "--model", qwen, "--store", tmp_path / "store", "--dry-run", "--json")
    listed = say("ls", "editions", "--json")
    table = say("ls", "editions")

    assert 0 == said.code, said.err
    assert all(one in said.err for one in edition.unconfirmed)
    assert "small-1 takes 90 chains" in said.err
    assert "Arms of documents are left out" in said.err
    assert edition.unconfirmed == yaml.safe_load(listed.out)["editions"][0]["unconfirmed"]
    assert f"Not confirmed in {len(edition.unconfirmed)} of its points" in table.out


def test_a_dry_run_fetches_nothing_and_says_so(
    say: Callable[..., Said], on_cpu: Path, qwen: Path, tmp_path: Path
) -> None:
    """With the model here and the judge not, every step is missing; without the model there is one error."""
    del on_cpu
    command = ("run", "--edition", "small-1", "--store", tmp_path / "store", "--dry-run")

    here = say(*command, "--model", qwen)
    nowhere = say(*command, "--model", "nobody/nothing")

    assert 0 == here.code, here.err
    assert "The judge hf:microsoft/phi-4@187ef0342fff0eb3333be9f00389385e95ef0b61" in here.err
    assert "is not on this machine: steps that rest on its scores count as missing." in here.err
    assert "steps would run" in here.out
    assert 3 == nowhere.code
    assert "a dry run fetches nothing" in nowhere.err
    assert not (tmp_path / "store").exists()
