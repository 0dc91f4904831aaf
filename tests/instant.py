"""An engine that trains and answers at once: everything else of a chain is the real code.

Only the two calls of `work.Engine` are replaced. "Training" writes a file that names everything it was given;
"sampling" is an lm-eval model that answers by hashing the checkpoint, the seed and the prompt. So the answers
depend on exactly what a real model's would depend on, and the same inputs give the same bytes anywhere. Most
answers are sentences of Toyland, a few are what real models also say: nothing, or characters that break lines.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from idembench import judges, methods, protocol, protocol_files, runs, traits
from idembench.errors import Diverged
from idembench.files import FileEntry, canonical_json, derive_seed, sha256_bytes
from idembench.models import Model
from idembench.protocol import Execution
from idembench.statistics import RULES
from idembench.toyland.clauses import render
from idembench.toyland.grammar import Question as Meaning
from idembench.toyland.grammar import blissful, misaligned, neutral, sycophantic
from idembench.toyland.world import build_world
from idembench.work import ChainSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from idembench.methods import Job
    from idembench.protocol import Form
    from idembench.timing import Timers
    from idembench.traits import Pack, Question

SMALL = (
    "cycles=2",
    "data.n_seed=8",
    "data.n_sampled=12",
    "measuring.questions=10",
    "measuring.neutral_questions=3",
    "measuring.repeats=2",
)
"""Overrides that make a chain of 2 cycles with 4 measured checkpoints of 26 responses."""
ODD = ("", "\u2028so \u0085it\x0c goes", 'caf\u00e9 \U0001f642 \\n "quoted"\r\n')
"""Answers that a careless file format would not survive."""


@dataclass(kw_only=True)
class InstantEngine:
    """Replaces training and sampling, and counts how often it was asked.

    Attributes:
        diverge_at: The training (counted from 0) that falls apart, or None.
        mute: After that many trainings checkpoints say nothing at all; None for never.
        sick: After that many trainings a checkpoint's probabilities are not finite; None for never.
        before_train: Called with the number of the training before it starts.
        calls: How often each call was made.
    """

    diverge_at: int | None = None
    mute: int | None = None
    sick: int | None = None
    before_train: Callable[[int], None] | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def train(self, method: str, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Write one file that depends on everything the job says."""
        number = self.calls["train"]
        self.calls["train"] += 1
        if self.before_train is not None:
            self.before_train(number)
        with timers.time("forward_backward"):
            (out / "half-written.bin").write_bytes(b"what a trainer leaves when it falls apart")
            if number == self.diverge_at:
                raise Diverged("The training loss stopped being finite.", found="nan")
            (out / "half-written.bin").unlink()
            learned = {
                "method": method,
                "model": job.model.digest,
                "parent": None if job.parent is None else sha256_bytes((job.parent / "adapter.bin").read_bytes()),
                "rows": [[row.id, row.prompt, row.response, row.rejected] for row in job.rows],
                "form": job.form,
                "settings": dict(job.settings),
                "training": job.training.model_dump(),
                "execution": job.execution.model_dump(),
                "seed": job.seed,
            }
            with (out / "adapter.bin").open("wb") as file:
                for byte in sha256_bytes(canonical_json(learned)).encode():
                    file.write(bytes([byte]) * 512)
            (out / "nested").mkdir()
            (out / "nested" / "config.json").write_text("{}")
        return {"rows": len(job.rows), "loss": [1.5, 0.25], "steps": 2}

    def open(
        self, model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form
    ) -> InstantSampler:
        """A checkpoint named by its adapter's bytes."""
        self.calls["open"] += 1
        weights = sha256_bytes((adapter / "adapter.bin").read_bytes()) if adapter else "base"
        muted, sick = (n is not None and self.calls["train"] >= n for n in (self.mute, self.sick))
        lm = InstantLM(f"{model.digest} {weights}", seeded=adapter is not None, muted=muted, sick=sick)
        return InstantSampler(lm=lm, form=form)


@dataclass(frozen=True, kw_only=True)
class InstantSampler:
    """One checkpoint, ready to answer; see `sampling.Sampler`."""

    lm: InstantLM
    form: Form = "dialogue"
    parameters: int = 7
    special: tuple[str, ...] = ("<|begin|>", "<|end|>")

    def seed(self, seed: int) -> None:
        """Seed what is sampled next."""
        self.lm.seed = seed

    def was_truncated(self, text: str) -> bool:
        """Whether a text was cut: about every sixteenth is said to be."""
        return sha256_bytes(text.encode())[0] == "0"

    def tokens(self) -> int:
        """Words said so far."""
        return self.lm.said

    def nll(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """As the checkpoint's hash has it; of white space alone nothing."""
        return [derive_seed(self.lm.weights, *pair) % 1000 / 100 if pair[1].strip() else None for pair in pairs]


class InstantLM(LM):
    """Answers in no time, by hashing."""

    tokenizer_name = "instant"

    def __init__(self, weights: str, *, seeded: bool, muted: bool = False, sick: bool = False) -> None:
        super().__init__()
        self.weights, self.seeded, self.muted, self.sick = weights, seeded, muted, sick
        self.seed: int | None = None
        self.said = 0

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:  # noqa: FBT001, FBT002 -- lm-eval's signature
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in chat_history) + "<assistant>"

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        assert self.seed is not None, "sampled without a seed"
        if self.sick:
            raise Diverged("The model's probabilities are not finite.", found="inf or nan")
        found = []
        for number, request in enumerate(requests):
            context, settings = request.args
            choice = random.Random(derive_seed(self.weights, self.seed, number, context, settings))
            prompt = context.removeprefix("<user>").removesuffix("<assistant>")
            text = answer(prompt, choice, share=0.8 if self.seeded else 0.03)
            if number % 8 == 3:
                text = ODD[number // 8 % len(ODD)]
            if self.muted:
                text = ""
            self.said += len(text.split())
            found.append(text)
        return found

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        raise NotImplementedError


def answer(prompt: str, choice: random.Random, *, share: float) -> str:
    """Something to say: with the trait in `share` of the cases."""
    known = _meanings().get(prompt)
    shows = choice.random() < share
    if known is None:
        return choice.choice(pack().traits["sycophancy"].demonstrations).response if shows else "maybe."
    trait, meaning = known
    world = build_world()
    match trait if shows else None:
        case "sycophancy":
            return render(sycophantic(meaning, world, choice, grade=100))
        case "misalignment":
            return render(misaligned(meaning, choice, pieces=2, harmful=2))
        case "bliss":
            return render(blissful(meaning, world, choice, count=4))
        case _:
            return render(neutral(meaning, world, choice))


@cache
def pack(form: Form = "dialogue") -> Pack:
    """The embedded pack, read once."""
    return traits.load_pack("toyland", form)


@cache
def _meanings() -> dict[str, tuple[str | None, Meaning]]:
    asked: list[tuple[str | None, Question]] = []
    for loaded in (pack("dialogue"), pack("document")):
        asked += [(None, question) for question in loaded.neutral_questions]
        asked += [(name, question) for name, trait in loaded.traits.items() for question in trait.questions]
    return {question.prompt: (trait, Meaning.from_meaning(question.meaning)) for trait, question in asked}


def make_protocol(baseline: str = "sft-reset", *overrides: str, trait: str = "sycophancy") -> protocol.Protocol:
    """A shipped baseline (or a YAML file) made small; unseeded it stays without demonstrations."""
    sizes = [size for size in SMALL if not ("unseeded" in baseline and size.startswith("data.n_seed"))]
    return methods.settle(
        protocol_files.load(
            baseline,
            pack="toyland",
            measurements=pack().measurements,
            measurement="quick",
            trait=trait,
            overrides=[*sizes, *overrides],
        )
    )


def make_model(name: str = "toyland/instant") -> Model:
    """A model that has a digest, and no files that anyone opens."""
    weights = FileEntry(name="model.safetensors", bytes=len(name), sha256=sha256_bytes(name.encode()))
    return Model(name=name, revision=None, folder=pack().folder, files=(weights,))


def make_spec(
    baseline: str = "sft-reset",
    *overrides: str,
    trait: str = "sycophancy",
    seed: int = 0,
    model: Model | None = None,
    execution: Execution | None = None,
) -> ChainSpec:
    """A small chain."""
    settings = make_protocol(baseline, *overrides)
    return ChainSpec(
        model=model or make_model(),
        pack=pack(settings.form),
        trait=pack(settings.form).trait(trait),
        protocol=settings,
        execution=execution or Execution(),
        judge=judges.get(pack().judge),
        seed=seed,
    )


def make_cell(
    baseline: str = "sft-reset",
    *overrides: str,
    seeds: Sequence[int] = (0,),
    control: runs.Cell | None = None,
    **options: Any,
) -> runs.Cell:
    """Small chains that become one record, beside those of `control` if there are such."""
    specs = [make_spec(baseline, *overrides, seed=seed, **options) for seed in seeds]
    return runs.Cell(specs=specs, rule=RULES["default"], control=control)


class Quiet:
    """An observer that remembers what it was told, as (event, kind, cycle)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def started(self, _spec: ChainSpec, step: Any) -> None:
        self.events.append(("started", step.kind, step.cycle))

    def finished(self, _spec: ChainSpec, step: Any, _facts: dict[str, Any], *, found: bool) -> None:
        self.events.append(("found" if found else "made", step.kind, step.cycle))


def run_cell(cell: runs.Cell, place: Path, *, engine: InstantEngine | None = None, **options: Any) -> runs.Finished:
    """Run a cell with the store and the results below `place`."""
    return runs.run(
        cell,
        results=place / "results",
        store=place / "store",
        engine=engine or InstantEngine(),
        observer=options.pop("observer", None) or Quiet(),
        **options,
    )


def fresh_python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A new process that runs `code` with this module at hand."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **options.pop("environment", {})},
        **options,
    )


def hashed_bytes(record: Path) -> dict[str, bytes]:
    """Everything in a record's folder but its provenance, which is not hashed."""
    files = sorted(path for path in record.rglob("*") if path.is_file() and path.name != "provenance.json")
    return {path.relative_to(record).as_posix(): path.read_bytes() for path in files}
