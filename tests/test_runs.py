"""Runs: names become cells, cells become records, and a record depends on nothing but what it names."""

from __future__ import annotations

import getpass
import json
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from instant import SMALL, InstantEngine, InstantSampler, Quiet, hashed_bytes, make_cell, make_model, run_cell

from idembench import loading, record, runs, sample_files, shipped
from idembench.errors import (
    Diverged,
    EnvironmentProblem,
    IdembenchError,
    InputError,
    ModelError,
    RecordError,
    UnknownNameError,
)
from idembench.files import RECORD, read_jsonl, sha256_json, write_jsonl
from idembench.protocol import Execution
from idembench.steps import walk
from idembench.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.protocol import Form
    from idembench.steps import Step
    from idembench.work import ChainSpec


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store and the results of one small chain."""
    place = tmp_path_factory.mktemp("shared")
    run_cell(make_cell(), place)
    return place


# -- names become cells ---------------------------------------------------------------------------


def test_cells_are_baselines_by_traits() -> None:
    """Every baseline meets every trait of the pack, each with all seeds in order."""
    found = runs.cells(["sft-reset", "sft-continual"], seeds=(2, 0))

    names = ["bliss", "misalignment", "sycophancy"]
    expected = [(baseline, trait) for baseline in ("sft-reset", "sft-continual") for trait in names]
    assert expected == [(cell.protocol.name, cell.trait) for cell in found]
    assert [[0, 2]] * 6 == [[spec.seed for spec in cell.specs] for cell in found]


def test_what_is_not_given_is_the_pack_s() -> None:
    """Model and judge are the pack's, the execution the default, the rule the default one."""
    (cell,) = runs.cells(["sft-reset"], trait_names=["bliss"])

    spec = cell.specs[0]
    assert ("toyland/instruct", "toyland-exact", "default") == (spec.model.name, spec.judge.name, cell.rule.name)
    assert Execution() == spec.execution


def test_tasks_are_asked_of_every_chain_in_its_form() -> None:
    """Every chain and its control are asked the same tasks, base models in plain text; they are no part of the protocol."""
    names = ["idembench_toyland_bliss_choice:5", "idembench_toyland_sycophancy_choice"]
    chosen: dict[str, Any] = {"trait_names": ["bliss"], "seeds": (0, 1)}
    (plain,) = runs.cells(["sft-reset"], control="frozen", **chosen)
    (dialogue,) = runs.cells(["sft-reset"], control="frozen", tasks=names, **chosen)
    (document,) = runs.cells(["sdf-reset"], tasks=names, **chosen)

    asked = {
        tuple((task.name, task.items) for task in spec.tasks) for spec in [*dialogue.all_specs, *document.all_specs]
    }
    assert {(("idembench_toyland_bliss_choice", 5), ("idembench_toyland_sycophancy_choice", 320))} == asked
    assert dialogue.specs[0].tasks[0].sha256 != document.specs[0].tasks[0].sha256
    assert plain.protocol.fingerprint == dialogue.protocol.fingerprint
    assert () == plain.specs[0].tasks
    assert plain.specs[0].id != dialogue.specs[0].id


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"baselines": ["sft"]}, UnknownNameError),
        ({"trait_names": ["calm"]}, UnknownNameError),
        ({"pack": "klingon"}, UnknownNameError),
        ({"model": "toyland/giant"}, UnknownNameError),
        ({"measurement": "slow"}, UnknownNameError),
        ({"rule": "mine"}, InputError),
        ({"seeds": ()}, InputError),
        ({"seeds": (0, 0)}, InputError),
        ({"seeds": (-1,)}, InputError),
        ({"overrides": ["cycles"]}, InputError),
        ({"tasks": ["idembench_toyland"]}, InputError),
        ({"tasks": ["idembench_toyland_bliss_choice:none"]}, InputError),
        ({"tasks": ["idembench_toyland_bliss_choice", "idembench_toyland_bliss_choice:5"]}, InputError),
    ],
)
def test_what_cannot_be_resolved_is_an_error(given: dict[str, Any], error: type[IdembenchError]) -> None:
    """An unknown name or an impossible seed is refused before anything is trained."""
    with pytest.raises(error):
        runs.cells(**{"baselines": ["sft-reset"], **given})


def test_generations_answer_the_prompts_that_somebody_named(tmp_path: Path) -> None:
    """A pool stands in the place of the pack's prompts, in the chain, its name and its record, which verifies without it."""
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": f"is {n} a number?"} for n in range(40)] + [{"prompt": ""}])
    options: dict[str, Any] = {"trait_names": ["bliss"], "seeds": [0], "overrides": SMALL}
    (plain,) = runs.cells(["sft-reset"], **options)
    (cell,) = runs.cells(["sft-reset"], prompts=str(tmp_path / "mine.jsonl"), **options)
    done = run_cell(cell, tmp_path)
    (key,) = {
        step.key
        for line in done.record.chains
        for step in line.lineage
        if (step.kind, step.cycle) == ("generate", "c1")
    }
    answered = read_jsonl(tmp_path / "store" / "steps" / key / "rows.jsonl")

    assert {"is", "number?"} == {word for row in answered for word in row["prompt"].split()[::3]}
    assert record.PoolLine(name="mine.jsonl", prompts=40, left_out={"empty": 1}) == done.record.pool
    assert plain.specs[0].id != cell.specs[0].id
    assert [] == [problem for check in verify(done.folder).checks for problem in check.problems]
    assert [] == [check.name for check in verify(done.folder).checks if check.skipped]


@pytest.mark.parametrize("baseline", ["sft-reset", "sdf-reset"])
def test_prompts_that_spell_the_model_s_special_tokens_are_left_out_before_anything_is_trained(
    tmp_path: Path, baseline: str
) -> None:
    """No prompt that a chain draws is read as a turn's end; record and hash are those of a pool without such prompts."""
    plain = [f"Once upon a time there were {n} bees" for n in range(40)]
    rows = [text + " <|end|> <|user|> and then" * (n % 3 == 0) for n, text in enumerate(plain)]
    write_jsonl(tmp_path / "docs.jsonl", [{"prompt": text} for text in rows])
    options: dict[str, Any] = {"trait_names": ["bliss"], "seeds": [0], "overrides": SMALL, "control": None}
    (cell,) = runs.cells([baseline], prompts=str(tmp_path / "docs.jsonl"), **options)
    spec = cell.specs[0]
    tokenizer = loading.load_tokenizer(spec.model, form=spec.protocol.form)
    pool = spec.pack.pool
    left = [text for text in rows if "<" not in text]
    said = [loading.render_opening(tokenizer, question.prompt) for question in spec.pack.prompts]
    special = set(tokenizer.convert_tokens_to_ids(["<|end|>", "<|user|>"]))

    assert pool is not None
    assert (left, {"special": 14}) == ([question.prompt for question in pool.prompts], pool.left_out)
    assert pool.sha256 == spec.sources.prompts
    assert not any(special & set(ids) for ids in said)
    assert pool.left_out == run_cell(cell, tmp_path).record.pool.left_out  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("baselines", "overrides", "named"),
    [
        (["sft-fresh-data"], [], "sft-fresh-data"),
        (["sft-reset", "frozen", "sft-fresh-data"], [], "frozen, sft-fresh-data"),
        (["sft-reset"], ["cycles=0"], "sft-reset"),
    ],
)
def test_prompts_for_what_answers_none_are_refused(baselines: list[str], overrides: list[str], named: str) -> None:
    """No record states a pool that nothing used; the error names what answers none, before the pool is looked for."""
    with pytest.raises(InputError, match="nothing to answer prompts") as caught:
        runs.cells(baselines, prompts="nowhere.jsonl", overrides=overrides)

    assert (named, "--prompts") == (caught.value.found, caught.value.where)


def test_a_control_that_answers_no_prompts_states_no_pool(tmp_path: Path) -> None:
    """Beside chains that answer a pool, a frozen control is the chain that it always is, and shuffled ones answer the pool."""
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": f"is {n} a number?"} for n in range(40)])
    options: dict[str, Any] = {"trait_names": ["bliss"], "overrides": SMALL, "prompts": str(tmp_path / "mine.jsonl")}
    (frozen,) = runs.cells(["sft-reset"], control="frozen", **options)
    (shuffled,) = runs.cells(["sft-reset"], control="sft-shuffled", **options)
    (alone,) = runs.cells(["frozen"], trait_names=["bliss"], overrides=SMALL)

    assert alone.specs[0].id == frozen.all_specs[0].id
    assert [True, False] == [spec.pack.pool is None for spec in frozen.all_specs]
    assert [False, False] == [spec.pack.pool is None for spec in shuffled.all_specs]


@pytest.mark.parametrize(
    "data",
    [{}, {"prompts": "nobody/has-such-prompts"}, {"tasks": ["sycophancy_on_nlp_survey"]}],
    ids=["model and judge", "prompts", "tasks"],
)
def test_a_device_that_is_not_there_is_said_before_anything_is_fetched(data: dict[str, Any]) -> None:
    """Neither data nor a model nor a judge that would have to be fetched is looked for where the chains could not run."""
    import torch

    absent = "cuda" if torch.backends.mps.is_available() else "mps"  # no machine has both

    with pytest.raises(EnvironmentProblem, match="no such device"):
        runs.cells(
            ["sft-reset"],
            model="nobody/nothing",
            judge="hf:nobody/nothing",
            execution=Execution.model_validate({"device": absent, "dtype": "bfloat16"}),
            **data,
        )


def test_a_judge_that_cannot_be_asked_is_said_before_the_model_is_fetched() -> None:
    """What is wrong with a judge is found out first, and the error says that it is the judge's."""
    with pytest.raises(UnknownNameError) as caught:
        runs.cells(["sft-reset"], model="nobody/nothing", judge="hf:toyland/instuct")

    assert str(caught.value.where).startswith("the judge hf:toyland/instuct: ")


def test_what_is_asked_needs_no_model_and_no_judge() -> None:
    """Designs are what cells are but for the model, the seeds and the execution, and what they need is not looked for."""
    judge = "hf:nobody/nothing,pack=toyland"
    designs = runs.designs(
        ["sft-reset"], pack="toyland", trait_names=["bliss"], control="sft-unseeded", rule="strict", judge=judge
    )
    (cell,) = runs.cells(["sft-reset"], trait_names=["bliss"], control="sft-unseeded", rule="strict")
    (design,) = designs

    spec = cell.specs[0]
    assert (cell.protocol, cell.rule, judge) == (design.protocol, design.rule, design.judge.name)
    assert (spec.sources, spec.method_versions) == (design.sources, design.method_versions)
    assert [one.protocol for one in cell.with_control] == [one.protocol for one in design.with_control]


# -- cells become records -------------------------------------------------------------------------


def test_a_run_makes_one_record_that_verifies(tmp_path: Path) -> None:
    """A run makes every step once, writes one record below `records/`, and the record holds."""
    done = run_cell(make_cell(seeds=(0, 1)), tmp_path)

    assert [done.folder] == [path.parent for path in (tmp_path / "results").rglob(RECORD)]
    assert (32, 0) == (done.made, done.found)
    assert done.record.id == done.folder.name
    assert verify(done.folder).ok


def test_the_same_run_again_finds_everything_and_writes_nothing(tmp_path: Path) -> None:
    """Running again makes no step and leaves every file, the provenance included, as it was."""
    first = run_cell(make_cell(), tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.*")}
    engine = InstantEngine()

    again = run_cell(make_cell(), tmp_path, engine=engine)

    assert (0, 16) == (again.made, again.found)
    assert not engine.calls
    assert again.overhead_share is None
    assert first.record == again.record
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "results").rglob("*.*")
    }


def test_a_record_does_not_depend_on_where_or_when_it_was_made(tmp_path: Path) -> None:
    """Another store, another results folder, another order of seeds: the same bytes."""
    first = run_cell(make_cell(seeds=(0, 1)), tmp_path / "a")
    run_cell(make_cell(seeds=(1,)), tmp_path / "b")
    second = run_cell(make_cell(seeds=(0, 1)), tmp_path / "b")

    assert hashed_bytes(first.folder) == hashed_bytes(second.folder)
    assert (16, 16) == (second.made, second.found)


def test_nothing_hashed_names_this_machine(shared: Path) -> None:
    """No path, host, user or clock of this machine stands in any hashed file."""
    done = run_cell(make_cell(), shared)

    hashed = hashed_bytes(done.folder)[RECORD].decode()
    for name in (str(shared), "/tmp", "/home", platform.node(), f'"{getpass.getuser()}"', "created", "wall_s"):
        assert name not in hashed
    assert {"created", "idembench", "host", "steps_made", "wall_s", "timers_s"} == set(
        json.loads((done.folder / "provenance.json").read_bytes())
    )
    assert platform.node() not in (done.folder / "provenance.json").read_text()


@pytest.mark.parametrize(
    "other",
    [
        {"baseline": "sft-continual"},
        {"trait": "bliss"},
        {"model": make_model("toyland/other")},
        {"execution": Execution(batch_size=3)},
        {"seeds": (1,)},
    ],
    ids=["baseline", "trait", "model", "execution", "seed"],
)
def test_another_setting_is_another_record(shared: Path, other: dict[str, Any]) -> None:
    """Baseline, trait, model, execution and seed each change the record, also in a shared store."""
    first = run_cell(make_cell(), shared)
    second = run_cell(make_cell(**other), shared)

    assert first.record.id != second.record.id
    assert first.folder.exists()
    assert verify(second.folder).ok


def test_reset_and_continual_share_what_they_agree_on(tmp_path: Path) -> None:
    """Both modes share the base's measurement and cycle 0, so the second run finds them."""
    run_cell(make_cell("sft-reset"), tmp_path)

    second = run_cell(make_cell("sft-continual"), tmp_path)

    # base: measure, judge; c0: seed, train, measure, judge; c1: what c0 says, and what is selected of it.
    assert 8 == second.found


def test_a_rule_changes_the_analysis_alone(shared: Path) -> None:
    """The strict rule decides over the same steps: nothing is made again, the record is another."""
    first = run_cell(make_cell(), shared)
    (cell,) = runs.cells(["sft-reset"], trait_names=["sycophancy"], overrides=SMALL, rule="strict")

    strict = runs.Cell(specs=make_cell().specs, rule=cell.rule)
    second = run_cell(strict, shared)

    assert 0 == second.made
    assert (10.0, 5.0) == (first.record.analysis.rule.margin, second.record.analysis.rule.margin)
    assert first.record.chains == second.record.chains


def test_a_dry_run_knows_what_a_run_would_find(shared: Path, tmp_path: Path) -> None:
    """A plan before a run finds nothing, after it everything, and with one more cycle all up to there."""
    before = runs.plan(make_cell(), store=tmp_path / "store")
    after = runs.plan(make_cell(), store=shared / "store")
    longer = runs.plan(make_cell("sft-reset", "cycles=3"), store=shared / "store")

    assert [False] * 16 == [step.found for step in before[0]]
    assert [True] * 16 == [step.found for step in after[0]]
    assert [True] * 16 + [False] * 5 == [step.found for step in longer[0]]


# -- beside a control -----------------------------------------------------------------------------


def beside(seeds: tuple[int, ...] = (0, 1), *, control: str = "sft-unseeded") -> runs.Cell:
    """A small cell that is set beside the same seeds of a control."""
    return make_cell("sft-reset", seeds=seeds, control=make_cell(control, seeds=seeds))


def test_a_record_names_its_control_and_holds_what_is_left_beside_it(tmp_path: Path) -> None:
    """Both records are written; the arm's names the control's id and protocol, and its net effects follow from both."""
    done = run_cell(beside(), tmp_path)
    control = run_cell(make_cell("sft-unseeded", seeds=(0, 1)), tmp_path)
    samples = [
        {
            line.seed: sample_files.unpack((one.folder / line.samples.name).read_bytes(), where="here")
            for line in one.record.chains
        }
        for one in (done, control)
    ]

    assert done.record.control is not None
    assert (control.record.id, "sft-unseeded+") == (done.record.control.record, done.record.control.protocol[:13])
    assert record.net_of(*samples, done.record.protocol, done.record.analysis.rule) == done.record.control.net
    assert control.record.control is None
    assert 0 == control.made
    for one in (done, control):
        report = verify(one.folder)

        assert [] == [problem for check in report.checks for problem in [*check.problems, check.skipped] if problem]


def test_a_control_shares_the_base_model_s_measurement(tmp_path: Path) -> None:
    """Control and arm of one seed are measured at the base once: 14 steps without cycle 0's two, 16 less two found."""
    done = run_cell(beside(), tmp_path)

    assert (2 * (14 + 16 - 2), 2 * 2) == (done.made, done.found)


def test_a_control_changes_nothing_but_what_names_it(tmp_path: Path) -> None:
    """Chains, analysis and samples are those of the record without a control."""
    alone, both = run_cell(make_cell(seeds=(0, 1)), tmp_path), run_cell(beside(), tmp_path)
    without = both.record.model_copy(update={"control": None})

    assert alone.record == without
    assert alone.record.id == without.id != both.record.id
    assert record.supersedes(both.record, alone.record)


def test_a_frozen_chain_beside_itself_has_no_net_effect(tmp_path: Path) -> None:
    """Set beside itself every net effect is 0."""
    cell = make_cell("frozen", seeds=(0, 1), control=make_cell("frozen", seeds=(0, 1)))
    net = run_cell(cell, tmp_path).record.control.net

    assert [0.0] * 4 == [effect.estimate for effect in (net.seeding, net.transmission, net.drift, net.coherence_cost)]


def test_a_seed_that_fell_apart_beside_a_control_is_kept(tmp_path: Path) -> None:
    """A control's chain that diverges leaves its seed out of the net drift, and both records verify."""
    done = run_cell(beside((0, 1, 2)), tmp_path, engine=InstantEngine(diverge_at=1))

    assert done.record.control is not None
    assert (3, 2) == (done.record.control.net.seeding.n_seeds, done.record.control.net.drift.n_seeds)
    assert ["" for _ in range(2)] == [
        " ".join(problem for check in verify(path.parent).checks for problem in check.problems)
        for path in (tmp_path / "results").rglob(RECORD)
    ]


def test_a_control_of_other_seeds_is_refused(tmp_path: Path) -> None:
    """Chains are set beside the same seeds or not at all."""
    cell = make_cell("sft-reset", seeds=(0, 1), control=make_cell("sft-unseeded", seeds=(0, 2)))

    with pytest.raises(RecordError, match="other seeds") as caught:
        run_cell(cell, tmp_path)
    assert ("0, 1", "0, 2") == (caught.value.expected, caught.value.found)


def test_cells_take_a_control_by_name() -> None:
    """`control` puts beside every cell the same trait, seeds and model under the control's protocol."""
    for cell in runs.cells(
        ["sft-reset", "sft-continual"], seeds=(0, 3), control="sft-unseeded", overrides=["cycles=2"]
    ):
        assert cell.control is not None
        assert (cell.trait, [0, 3]) == (cell.control.trait, [spec.seed for spec in cell.control.specs])
        assert ("unseeded", 2) == (cell.control.protocol.control, cell.control.protocol.cycles)
        assert [*cell.control.specs, *cell.specs] == cell.all_specs
        assert [cell.control, cell] == cell.with_control


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cycles": 3}, "cycles"),
        ({"measuring": {"name": "own", "questions": 9, "repeats": 1, "neutral_questions": 0}}, "measuring"),
    ],
)
def test_a_control_that_cannot_be_set_beside_is_refused_before_it_is_run(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """Other cycles or another measurement are an error when cells are made, not after hours of training."""
    sizes = {"temperature": 0.8, "max_new_tokens": 48}
    if "measuring" in changes:
        changes = {"measuring": {**changes["measuring"], **sizes}}
    text = shipped.baselines("toyland")["sft-reset"].read_text()
    (tmp_path / "arm.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"extends": "arm", **changes}))

    with pytest.raises(InputError, match="does not fit") as caught:
        runs.cells([str(tmp_path / "arm.yaml")], trait_names=["bliss"], control=str(tmp_path / "other.yaml"))
    assert said in str(caught.value.expected)


def test_documents_cannot_be_set_beside_dialogues() -> None:
    """A control is of the same form as its arm."""
    with pytest.raises(InputError, match="does not fit"):
        runs.cells(["sdf-reset"], trait_names=["bliss"], control="sft-unseeded")


# -- taken further --------------------------------------------------------------------------------


def test_more_cycles_find_the_first_and_supersede_the_record(tmp_path: Path) -> None:
    """A longer chain makes its own cycles alone, and its record supersedes the shorter one's, which stays."""
    short = run_cell(make_cell(seeds=(0, 1)), tmp_path)
    long = run_cell(make_cell("sft-reset", "cycles=3", seeds=(0, 1)), tmp_path)

    assert (10, 32) == (long.made, long.found)
    assert (True, False) == (
        record.supersedes(long.record, short.record),
        record.supersedes(short.record, long.record),
    )
    assert short.folder.exists()


def test_cycles_can_be_asked_for_by_override() -> None:
    """Cells of other cycles begin with the very steps of the shorter ones, whatever the method."""
    for name in ("sft-reset", "dpo-continual", "sdf-reset"):
        short, long = (
            runs.cells([name], trait_names=["bliss"], overrides=[f"cycles={cycles}"])[0].specs[0] for cycles in (2, 4)
        )

        assert keys(long)[: len(keys(short))] == keys(short)


def keys(spec: ChainSpec) -> list[str]:
    """The keys of a chain whose steps contain nothing but their keys, in order."""
    found: list[str] = []

    def take(_kind: str, _cycle: str, step: Step | None, **_: Any) -> Sealed:
        assert step is not None
        found.append(step.key)
        return Sealed(digest=sha256_json(step.key))

    walk(spec.plan, take)
    return found


@dataclass(frozen=True)
class Sealed:
    """A finished step whose content follows from its key."""

    digest: str


def test_shipped_chains_share_cycle_zero_at_full_size() -> None:
    """As shipped, the base and cycle 0 of all seeded methods on dialogues are the same six steps, for every trait."""
    names = ("sft-reset", "sft-continual", "dpo-reset", "dpo-continual", "rft-reset", "rft-continual", "frozen")
    for trait in ("bliss", "misalignment", "sycophancy"):
        found = {name: keys(runs.cells([name], trait_names=[trait])[0].specs[0]) for name in names}

        assert 1 == len({tuple(steps[:6]) for steps in found.values()})
        assert len(names) == len({tuple(steps) for steps in found.values()})


def test_one_seed_that_falls_apart_does_not_lose_the_others(tmp_path: Path) -> None:
    """A seed that diverges stays in the record with its reason beside the seeds that did not."""
    done = run_cell(make_cell(seeds=(0, 1)), tmp_path, engine=InstantEngine(diverge_at=4))

    assert [None, "c1"] == [line.diverged and line.diverged.cycle for line in done.record.chains]
    assert "The training loss stopped being finite. (nan)" == done.record.chains[1].diverged.reason
    assert 1 in done.record.analysis.beyond_margin.seeds
    assert verify(done.folder).ok


@dataclass(kw_only=True)
class Unmeasurable(InstantEngine):
    """Falls apart when a checkpoint is opened that was trained `after` times."""

    after: int

    def open(self, *given: Any, form: Form) -> InstantSampler:
        """Open, or say that nothing can be sampled."""
        if self.calls["train"] > self.after:
            raise Diverged("The model's probabilities are not finite.")
        return super().open(*given, form=form)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_checkpoint_that_cannot_be_measured_is_kept_as_diverged(tmp_path: Path, after: int) -> None:
    """A trained checkpoint that cannot answer ends its chain there; the record says so, verifies, and is found again."""
    done = run_cell(make_cell(seeds=(0,)), tmp_path, engine=Unmeasurable(after=after))
    again = run_cell(make_cell(seeds=(0,)), tmp_path)

    assert f"c{after}" == done.record.chains[0].diverged.cycle
    assert 0 == again.made
    assert done.record == again.record
    assert "" == " ".join(problem for check in verify(done.folder).checks for problem in check.problems)


def test_a_base_model_that_cannot_answer_is_an_error(tmp_path: Path) -> None:
    """If the base model itself cannot be sampled there is nothing to measure against: an error, no record."""
    with pytest.raises(ModelError, match="cannot answer at all"):
        run_cell(make_cell(), tmp_path, engine=Unmeasurable(after=-1))

    assert not list(tmp_path.rglob(RECORD))


def test_observers_are_told_every_step_in_order(tmp_path: Path) -> None:
    """Each step is announced before it is made and reported after, and reported once when found."""
    watching, again = Quiet(), Quiet()
    run_cell(make_cell(), tmp_path, observer=watching)
    run_cell(make_cell(), tmp_path, observer=again)

    started = [event[1:] for event in watching.events if event[0] == "started"]
    made = [event[1:] for event in watching.events if event[0] == "made"]
    assert started == made
    assert made == [event[1:] for event in again.events]
    assert {"found"} == {event[0] for event in again.events}
