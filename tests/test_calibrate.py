"""`idembench calibrate`: the dose for a trait level, from chains that later ones share, said in words where there is none."""

from __future__ import annotations

import json
import random
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from instant import InstantEngine, InstantLM, InstantSampler, answer
from troubled import Watch

from idembench import calibrate, protocol, runs, shipped, sweep
from idembench.errors import DataError, InputError, ProtocolError
from idembench.files import canonical_json, derive_seed, sha256_bytes
from idembench.traits import load_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from saying import Said

    from idembench.calibrate import Calibration
    from idembench.methods import Job
    from idembench.models import Model
    from idembench.protocol import Execution, Form
    from idembench.runs import Cell
    from idembench.timing import Timers

QUICK = ("measuring.questions=60", "measuring.neutral_questions=4", "data.n_sampled=12")
MOST = 64


class DosedLM(InstantLM):
    """Shows the trait in a share of its answers."""

    share = 0.0

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        found = []
        for number, request in enumerate(requests):
            choice = random.Random(derive_seed(self.weights, self.seed, number))
            prompt = request.args[0].removeprefix("<user>").removesuffix("<assistant>")
            found.append(answer(prompt, choice, share=self.share))
        return found


@dataclass(kw_only=True)
class Dosed(InstantEngine):
    """Trains at once; how often a checkpoint shows the trait depends on how many rows it was trained on.

    Attributes:
        curve: Share of answers with the trait by rows; 0 rows are the base model.
        broken: Rows at which the second seed's training falls apart.
    """

    curve: Callable[[int], float] = lambda n: min(0.95, 0.02 + n / 50)
    broken: int = -1

    def train(self, method: str, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        own = [row.id for row in load_pack("toyland").trait("bliss").draw_demonstrations(n=len(job.rows), seed=1)]
        self.diverge_at = (
            self.calls["train"] if (len(job.rows), [r.id for r in job.rows]) == (self.broken, own) else None
        )
        facts = super().train(method, job, out, timers)
        (out / "rows.txt").write_text(str(len(job.rows)))
        return facts

    def open(
        self, model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form
    ) -> InstantSampler:
        opened = super().open(model, adapter, execution, timers, form=form)
        lm = DosedLM(opened.lm.weights, seeded=adapter is not None)
        lm.share = self.curve(int((adapter / "rows.txt").read_text()) if adapter else 0)
        return InstantSampler(lm=lm, form=form)


class Round:
    """Notes what every round is asked to run."""

    def __init__(self) -> None:
        self.rounds: list[list[tuple[str, int]]] = []
        self.told = Watch()

    def __call__(self, cells: Sequence[Cell]) -> Round:
        self.rounds.append([(cell.trait, cell.protocol.data.n_seed) for cell in cells])
        return self

    def __enter__(self) -> Watch:
        return self.told

    def __exit__(self, *_: object) -> None:
        pass


def calibrated(place: Path, *, engine: Dosed | None = None, watch: Round | None = None, **options: Any) -> Calibration:
    """A small calibration of sycophancy with the store below `place`, in this process."""
    settings = {"trait_names": ["sycophancy"], "targets": [25.0, 50.0, 75.0], "most": MOST, "overrides": QUICK}
    return calibrate.calibrate(
        options.pop("baseline", "sft-reset"),
        watch=watch or Round(),
        store=place / "store",
        workers=1,
        engine=engine or Dosed(),
        **{**settings, **options},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibration, Dosed, Round]:
    """A calibration of two traits, its store, its engine and what its rounds were asked."""
    place, engine, watch = tmp_path_factory.mktemp("made"), Dosed(), Round()
    done = calibrated(place, engine=engine, watch=watch, trait_names=["sycophancy", "bliss"])
    return place, done, engine, watch


# -- what is found --------------------------------------------------------------------------------


def test_every_target_is_found_near_where_the_curve_has_it(made: tuple[Path, Calibration, Dosed, Round]) -> None:
    """On a curve that gains two points a demonstration, each target of each trait is found near its true dose."""
    _, done, _, _ = made

    assert ["sycophancy", "bliss"] == [curve.trait for curve in done.curves]
    for curve in done.curves:
        for said in curve.answers:
            assert "found" == said.outcome
            assert abs(said.chosen.mean - said.target) <= done.tolerance
            assert abs(2 + 2 * said.chosen.n_seed - said.target) <= done.tolerance + 10


def test_the_base_level_is_reported(made: tuple[Path, Calibration, Dosed, Round]) -> None:
    """The base model, measured in the same chains, is the curve's first point."""
    _, done, _, _ = made

    for curve in done.curves:
        base = curve.every[0]
        assert (0, None, True) == (base.n_seed, base.protocol, base.usable)
        assert 3 == len(base.trait.seeds)
        assert 0 <= base.trait.mean < 10


def test_rounds_ask_for_the_coarse_grid_and_then_for_all_targets_at_once(
    made: tuple[Path, Calibration, Dosed, Round],
) -> None:
    """The first round is the grid of every trait; no dose is run twice; later rounds lie inside the grid."""
    _, done, _, watch = made
    grid = [8, 16, 32, 64]

    flat = [one for asked in watch.rounds for one in asked]
    assert [(trait, dose) for trait in ("sycophancy", "bliss") for dose in grid] == watch.rounds[0]
    assert len(flat) == len(set(flat)) == sum(len(curve.doses) for curve in done.curves)
    assert all(0 < dose < MOST for _, dose in flat[2 * len(grid) :])


def test_evaluations_count_what_an_answer_rests_on(made: tuple[Path, Calibration, Dosed, Round]) -> None:
    """An answer rests on the grid and on the doses tried for it; together these are all that were tried."""
    _, done, _, _ = made

    for curve in done.curves:
        tried = {dose for asked in curve.asked.values() for dose in asked}
        assert curve.doses.keys() == {8, 16, 32, 64} | tried
        assert [4 + len(curve.asked.get(t, [])) for t in done.targets] == [curve.evaluations(t) for t in done.targets]


# -- what is shared -------------------------------------------------------------------------------


def test_a_second_calibration_makes_nothing_and_says_the_same(
    made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path
) -> None:
    """All steps are found, and the document is the same byte for byte, in any folder."""
    place, done, _, _ = made
    engine = Dosed()

    again = calibrated(place, engine=engine, trait_names=["sycophancy", "bliss"])
    first, second = calibrate.write(tmp_path / "a", done), calibrate.write(tmp_path / "b", again)
    assert (0, 0) == (again.made, engine.calls["train"] + engine.calls["open"])
    assert done.made > 0
    assert again.asked == done.asked
    assert first.read_bytes() == second.read_bytes()


def test_later_chains_start_from_a_calibrations_steps(made: tuple[Path, Calibration, Dosed, Round]) -> None:
    """A chain of the chosen dose finds the base measurement, its demonstrations, and cycle 0, trained and measured."""
    place, done, _, _ = made
    dose = done.n_seeds(50.0)["sycophancy"]
    cell = runs.cells(
        ["sft-continual"],
        trait_names=["sycophancy"],
        seeds=[0, 1, 2],
        overrides=[*QUICK, "cycles=2", f"data.n_seed={dose}"],
    )[0]

    for steps in sweep.plan_chains(cell.specs, store=place / "store").values():
        assert [True] * 6 == [step.found for step in steps if step.cycle in ("base", "c0")]
        assert not any(step.found for step in steps if step.cycle not in ("base", "c0"))


def test_the_document_knows_all_settings_and_no_place(made: tuple[Path, Calibration, Dosed, Round]) -> None:
    """It is canonical JSON with every replicate, fingerprints that follow from the settings, and no path in it."""
    place, done, _, _ = made

    document = json.loads(canonical_json(calibrate.document(done)))

    assert str(place) not in json.dumps(document)
    assert ([0, 1, 2], [25.0, 50.0, 75.0], 5.0) == (document["seeds"], document["targets"], document["tolerance"])
    dose = document["traits"]["bliss"]["doses"][3]
    whole = {**document["settings"], "name": "x", "data": {**document["settings"]["data"], "n_seed": dose["n_seed"]}}
    assert dose["protocol_fingerprint"] == protocol.Protocol.model_validate(whole).fingerprint
    assert abs(sum(dose["trait"]["replicates"]) / 3 - dose["trait"]["mean"]) < 1e-5
    assert document["traits"]["bliss"]["data"] != document["traits"]["sycophancy"]["data"]
    assert [True] * 3 == [one["within_tolerance"] for one in document["traits"]["bliss"]["answers"]]


def test_a_file_is_named_by_its_stem(made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path) -> None:
    """Where a protocol file lies does not change the document."""
    place, _, _, _ = made
    path = tmp_path / "mine.yaml"
    path.write_text(shipped.baselines("toyland")["sft-reset"].read_text())

    done = calibrated(place, baseline=str(path))

    assert (0, "mine") == (done.made, done.baseline)
    assert str(tmp_path) not in json.dumps(calibrate.document(done))


# -- what is not found ----------------------------------------------------------------------------


def outcomes(done: Calibration) -> list[tuple[str, str]]:
    return [(said.outcome, said.sentence) for said in done.curves[0].answers]


def test_a_curve_that_stays_low_reaches_no_target(tmp_path: Path) -> None:
    """Each target gets the highest level there is; nothing is bisected."""
    watch = Round()

    done = calibrated(tmp_path, engine=Dosed(curve=lambda n: 0.02 + n / 1000), watch=watch, targets=[50.0, 75.0])

    assert [("unreached", True), ("unreached", True)] == [
        (outcome, "The curve never reaches" in said) for outcome, said in outcomes(done)
    ]
    assert 1 == len(watch.rounds)
    assert {} == done.n_seeds(50.0)


def test_a_curve_that_turns_back_is_not_bisected(tmp_path: Path) -> None:
    """A trait that rises and falls again crosses twice, is called not monotone, and gets no dose."""
    done = calibrated(tmp_path, engine=Dosed(curve=lambda n: 0.9 if n == 16 else 0.05), targets=[50.0])

    assert [("several", "The curve crosses 50 twice: rising between 8 and 16, falling between 16 and 32.")] == outcomes(
        done
    )
    assert [(16, 32)] == [(a.n_seed, b.n_seed) for a, b in done.curves[0].falls]


def test_a_target_below_the_base_is_said_to_be(tmp_path: Path) -> None:
    """A base model that shows the trait already is not searched for less of it."""
    done = calibrated(tmp_path, engine=Dosed(curve=lambda n: 0.5 + n / 200), targets=[10.0])

    assert [("below", True)] == [
        (out, said.startswith("The base model is already above 10")) for out, said in outcomes(done)
    ]


def test_a_pool_that_ends_early_bounds_the_search(tmp_path: Path) -> None:
    """More demonstrations than there are cannot be tried: the last dose is the whole pool."""
    pool = len(load_pack("toyland").trait("sycophancy").demonstrations)

    done = calibrated(tmp_path, most=10 * pool, targets=[50.0], replicates=2)

    assert pool == max(done.curves[0].doses) == done.curves[0].pool == done.curves[0].top
    assert "found" == outcomes(done)[0][0]


def test_a_replicate_that_falls_apart_makes_its_dose_unusable(tmp_path: Path) -> None:
    """A diverged training is no level: its dose is kept, named, and neither chosen nor part of the curve."""
    done = calibrated(tmp_path, engine=Dosed(curve=lambda n: n / 64, broken=32), trait_names=["bliss"], targets=[50.0])
    curve = done.curves[0]

    assert [1] == list(curve.doses[32].diverged)
    assert (False, None) == (curve.doses[32].usable, curve.doses[32].point)
    assert 32 not in {point.n_seed for point in curve.points}
    assert 32 not in done.n_seeds(50.0).values()


def test_what_stops_a_chain_stops_the_calibration_and_keeps_the_others(tmp_path: Path) -> None:
    """An error names the dose and seed that it came from; what was made before it is found when it is tried again."""

    class Failing(Dosed):
        def train(self, method: str, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
            if len(job.rows) == 32:
                raise DataError("These rows are no good.")
            return super().train(method, job, out, timers)

    with pytest.raises(DataError, match="no good") as caught:
        calibrated(tmp_path, engine=Failing(), targets=[50.0])

    assert "n_seed 32" in caught.value.where
    again = Dosed()
    calibrated(tmp_path, engine=again, targets=[50.0])
    assert again.calls["train"] < 3 * 4


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"targets": []}, "targets do not hold"),
        ({"targets": [0.0]}, "targets do not hold"),
        ({"targets": [50.0, 100.0]}, "targets do not hold"),
        ({"targets": [50.0, 50.0]}, "targets do not hold"),
        ({"targets": [float("nan")]}, "targets do not hold"),
        ({"replicates": 1}, "says nothing of the noise"),
        ({"tolerance": 0.0}, "tolerance is not positive"),
        ({"tolerance": float("nan")}, "tolerance is not positive"),
        ({"most": 0}, "no dose to try"),
        ({"overrides": ["data.n_seed=5"]}, "sets this itself"),
        ({"overrides": [" cycles = 3"]}, "sets this itself"),
        ({"baseline": "sft-unseeded"}, "protocol does not hold"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_made(tmp_path: Path, options: dict[str, Any], part: str) -> None:
    """Each gets one clear error, and no step is made."""
    with pytest.raises(InputError, match=part):
        calibrated(tmp_path, **options)

    assert not (tmp_path / "store").exists()


def test_the_judge_that_is_asked_for_measures(tmp_path: Path) -> None:
    """A calibration is measured by the judge that its chains will be scored by, or refused with it."""
    with pytest.raises(InputError, match="made for another pack"):
        calibrated(tmp_path, judge="classifier")


@pytest.mark.parametrize("text", ["", "a", "10,", "10;20"])
def test_targets_that_are_no_numbers_are_refused(text: str) -> None:
    """Levels are numbers with commas between them."""
    with pytest.raises(InputError, match="targets cannot be read"):
        calibrate.parse_targets(text)


def test_a_protocol_without_a_number_for_a_trait_can_be_calibrated_for_it(tmp_path: Path) -> None:
    """Where a file gives `n_seed` trait by trait, a trait that it lacks needs --set, and a calibration sets it."""
    plain = yaml.safe_load(shipped.baselines("toyland")["sft-reset"].read_text())
    plain["data"]["n_seed"] = {"bliss": 40}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(plain).replace("0.002", "2e-3"))

    with pytest.raises(ProtocolError, match="does not say how many"):
        runs.cells([str(path)], trait_names=["sycophancy"])
    done = calibrated(tmp_path, baseline=str(path), targets=[50.0])
    assert [("found", True)] == [(out, said.startswith("n_seed ")) for out, said in outcomes(done)]


# -- the command ----------------------------------------------------------------------------------


def command(made: Path, out: Path, *more: object) -> list[object]:
    """The command that finds a made calibration again."""
    sets = [part for setting in QUICK for part in ("--set", setting)]
    traits = ["-t", "sycophancy", "-t", "bliss", "--target", "25,50,75", "--most", MOST]
    return ["calibrate", "sft-reset", *traits, *sets, "--store", made / "store", "--out", out, *more]


def test_the_command_finds_writes_draws_and_says_what_to_paste(
    say: Callable[..., Said], made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path
) -> None:
    """Tables and YAML lines go to stdout; the line is what a protocol takes; the command in Next runs."""
    place, done, _, _ = made

    said = say(*command(place, tmp_path))

    assert 0 == said.code, said.err
    assert ["dose-response.json", "dose-response.png", "dose-response.svg"] == sorted(
        p.name for p in tmp_path.iterdir()
    )
    assert 2 == said.out.count("3 of 3 targets found within 5 points.")
    assert "Monotone within its noise." in said.out
    assert "0 steps were run of" in said.err
    lines = [line for line in said.out.splitlines() if line.startswith("data:")]
    assert [{"n_seed": done.n_seeds(target)} for target in done.targets] == [yaml.safe_load(x)["data"] for x in lines]
    next_one = next(line for line in said.err.splitlines() if "idembench run" in line)
    planned = say(*shlex.split(next_one)[1:], "--dry-run", "--store", place / "store")
    assert 0 == planned.code, planned.err


def test_a_pasted_line_makes_a_protocol(
    say: Callable[..., Said], made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path
) -> None:
    """The last line, put over the baseline in a file, gives every trait its dose."""
    place, done, _, _ = made
    said = say(*command(place, tmp_path / "out"))
    path = tmp_path / "mine.yaml"
    (tmp_path / "sft-reset.yaml").write_text(shipped.baselines("toyland")["sft-reset"].read_text())
    path.write_text("extends: sft-reset\n" + [line for line in said.out.splitlines() if line.startswith("data:")][-1])

    cells = runs.cells([str(path)], trait_names=["sycophancy", "bliss"])

    assert done.n_seeds(75.0) == {cell.trait: cell.protocol.data.n_seed for cell in cells}


def test_json_is_the_document_and_what_was_done(
    say: Callable[..., Said], made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path
) -> None:
    """`--json` prints what is in the file, with the steps and the files beside it; the file itself knows neither."""
    place, _, _, _ = made

    said = say(*command(place, tmp_path, "--json"))

    printed = json.loads(said.out)
    steps, written = printed.pop("steps"), printed.pop("written")
    assert (0, 0) == (said.code, steps["made"])
    assert json.loads((tmp_path / "dose-response.json").read_bytes()) == printed
    assert 3 == len(written)


def test_pictures_are_the_same_bytes_each_time(
    say: Callable[..., Said], made: tuple[Path, Calibration, Dosed, Round], tmp_path: Path
) -> None:
    """Drawn twice, the files are equal; neither knows when or where it was drawn."""
    place, _, _, _ = made

    hashes = []
    for name in ("a", "b"):
        assert 0 == say(*command(place, tmp_path / name)).code
        hashes.append({p.name: sha256_bytes(p.read_bytes()) for p in sorted((tmp_path / name).iterdir())})

    assert hashes[0] == hashes[1]
    assert b"<dc:date>" not in (tmp_path / "a" / "dose-response.svg").read_bytes()


def test_a_level_out_of_reach_exits_zero_and_says_so(say: Callable[..., Said], tmp_path: Path) -> None:
    """No dose is an answer, in words and as a comment where the YAML line would be; there is no next run to paste."""
    calibrated(tmp_path, engine=Dosed(curve=lambda _: 0.05), targets=[75.0])
    sets = [part for setting in QUICK for part in ("--set", setting)]

    said = say(
        "calibrate", "sft-reset", "-t", "sycophancy", "--target", "75", "--most", MOST, *sets,
        "--store", tmp_path / "store", "--out", tmp_path / "out",
    )  # fmt: skip

    assert 0 == said.code, said.err
    assert "The curve never reaches 75; highest" in said.out
    assert "# no n_seed is shown to bring cycle 0 near 75 of 100" in said.out
    assert (
        f"There are {len(load_pack('toyland').trait('sycophancy').demonstrations)} demonstrations: --most" in said.out
    )
    assert "Next:" not in said.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("sft-rest",), "There is no baseline called 'sft-rest'"),
        (("sft-reset", "-t", "gloom"), "There is no trait called 'gloom'"),
        (("sft-reset", "--target", "ten"), "The targets cannot be read"),
        (("sft-reset", "--replicates", 1), "One training says nothing"),
        (("sft-reset", "--set", "data.n_seed=4"), "A calibration sets this itself"),
        (("sft-reset", "--workers", 99999), "fewer cores than the workers would use"),
    ],
)
def test_bad_input_exits_two_and_writes_nothing(
    say: Callable[..., Said], tmp_path: Path, arguments: tuple[object, ...], part: str
) -> None:
    """One clear error on stderr, nothing on stdout, no file."""
    said = say("calibrate", *arguments, "--store", tmp_path / "store", "--out", tmp_path / "out")

    assert (2, "") == (said.code, said.out)
    assert part in " ".join(said.err.split())
    assert [] == list(tmp_path.iterdir())
