"""What each step does when it has to be made: one function per kind, each filling one folder.

The two calls that need a GPU or patience, training and opening a checkpoint for sampling, come from an
`Engine`; everything else here is bookkeeping. A step in which training or sampling falls apart is sealed
like any other, with the reason as its fact, so that a diverged chain is found again and never dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from idembench import companions, loading, measure, methods, sampling, steps
from idembench.errors import Diverged
from idembench.files import empty, read_jsonl, sha256_json, write_jsonl
from idembench.record import judge_facts, measure_facts
from idembench.traits import Example

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.judges import Judge
    from idembench.models import Model
    from idembench.protocol import Execution
    from idembench.protocol import Protocol as ProtocolSettings
    from idembench.sampling import Sampler
    from idembench.steps import Step
    from idembench.store import Sealed
    from idembench.timing import Timers
    from idembench.traits import Pack, Trait

ROWS, RESPONSES, SCORES = "rows.jsonl", "responses.jsonl", "scores.jsonl"


class Engine(Protocol):
    """The two calls that do the heavy work."""

    def train(self, method: str, job: methods.Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train a generation into `out`; facts as JSON."""
        ...

    def open(self, model: Model, adapter: Path | None, execution: Execution, timers: Timers) -> Sampler:
        """Load a checkpoint for sampling."""
        ...


class TorchEngine:
    """The real engine: TRL for training, lm-eval's model class for sampling."""

    def train(self, method: str, job: methods.Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train with the installed method of that name."""
        with timers.time("imports"):
            loading.quiet_libraries()
        return methods.get(method).train(job, out, timers)

    def open(self, model: Model, adapter: Path | None, execution: Execution, timers: Timers) -> Sampler:
        """Open a checkpoint through lm-eval."""
        with timers.time("imports"):
            loading.quiet_libraries()
        return sampling.open_checkpoint(model, adapter, execution, timers)


@dataclass(frozen=True, kw_only=True)
class ChainSpec:
    """Everything that decides what a chain computes."""

    model: Model
    pack: Pack
    trait: Trait
    protocol: ProtocolSettings
    execution: Execution
    judge: Judge
    seed: int

    @property
    def id(self) -> str:
        """SHA-256 of everything that decides what it computes."""
        parts = [
            self.model.digest,
            self.pack.name,
            self.trait.name,
            self.protocol.fingerprint,
            self.execution.model_dump(),
            self.judge.fingerprint,
            self.seed,
        ]
        return sha256_json(parts)

    @property
    def subject(self) -> steps.Subject:
        """What stays the same through all cycles."""
        return steps.Subject(
            model=self.model.digest,
            pack=self.pack.name,
            trait=self.trait.name,
            seed=self.seed,
            execution=self.execution,
        )

    @property
    def plan(self) -> steps.Plan:
        """What the walk depends on."""
        return steps.Plan(
            subject=self.subject,
            protocol=self.protocol,
            sources=self.sources,
            judge=self.judge.fingerprint,
            method_version=methods.get(self.protocol.method).version,
        )

    @cached_property
    def sources(self) -> steps.Sources:
        """Hashes of the data files."""
        return self.pack.sources(self.trait)

    def describe(self) -> str:
        """For messages."""
        return f"{self.protocol.name}, {self.trait.name}, {self.model.name}, seed {self.seed}"


class Worker:
    """Makes the steps of one chain."""

    def __init__(self, spec: ChainSpec, engine: Engine, timers: Timers) -> None:
        """Work for `spec` with `engine`, noting times in `timers`."""
        self._spec, self._engine, self._timers = spec, engine, timers
        self._open: tuple[str | None, Sampler] | None = None
        self._fills = {
            "seed": self._seed,
            "generate": self._generate,
            "train": self._train,
            "measure": self._measure,
            "judge": self._judge,
        }

    def fill(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        """Write a step's files into `out`; its facts, with `diverged` among them if it fell apart."""
        try:
            return self._fills[step.kind](step, parents, out)
        except Diverged as error:
            empty(out)
            reason = error.what if error.found is None else f"{error.what} ({error.found})"
            return {"diverged": reason}

    def _seed(self, _step: Step, _parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        rows = self._spec.trait.draw_demonstrations(n=self._spec.protocol.data.n_seed, seed=self._spec.seed)
        _write_rows(out, rows)
        return {"rows": len(rows)}

    def _generate(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        spec = self._spec
        prompts = spec.pack.draw_prompts(cycle=step.inputs["slice"], n=step.inputs["n"], seed=spec.seed)
        sampler = self._sampler(parents["adapter"])
        before = sampler.tokens()
        answers = sampling.answer(
            sampler, [p.prompt for p in prompts], spec.protocol.sampling, seed=step.inputs["seed"]
        )
        said = [(p, a) for p, a in zip(prompts, answers, strict=True) if a.text.strip()]
        if not said:
            raise Diverged("All sampled answers are empty.", found=f"{len(answers)} answers")
        _write_rows(out, [Example(id=p.id, prompt=p.prompt, response=a.text) for p, a in said])
        return {
            "asked": len(prompts),
            "rows": len(said),
            "empty": len(prompts) - len(said),
            "truncated": sum(a.truncated for a in answers),
            "repetition": round(sum(companions.repetition(a.text) for _, a in said) / len(said), 6),
            "tokens": sampler.tokens() - before,
        }

    def _train(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        rows, parent = parents["rows"], parents["parent"]
        assert rows is not None  # noqa: S101 -- for the type checker; the walk passes it
        job = methods.Job(
            model=self._spec.model,
            parent=parent.folder if parent else None,
            rows=[Example(**row) for row in read_jsonl(rows.folder / ROWS)],
            training=self._spec.protocol.training,
            execution=self._spec.execution,
            seed=step.inputs["seed"],
        )
        self._open = None
        return self._engine.train(self._spec.protocol.method, job, out, self._timers)

    def _measure(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        spec = self._spec
        sampler = self._sampler(parents["adapter"])
        before = sampler.tokens()
        with self._timers.time("measure.evaluate"):
            found = measure.responses(sampler, spec.pack, spec.trait, spec.protocol.measuring, seed=step.inputs["seed"])
        if parents["adapter"] is None and not any(response.response.strip() for response in found):
            raise Diverged("All answers of the base model are empty.", found=f"{len(found)} answers")
        rows = [asdict(response) for response in found]
        write_jsonl(out / RESPONSES, rows)
        return {
            **measure_facts(rows),
            "tokens": sampler.tokens() - before,
            "parameters": sampler.parameters,
        }

    def _judge(self, _step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        responses = parents["responses"]
        assert responses is not None  # noqa: S101 -- for the type checker; the walk passes it
        spec = self._spec
        own, neutral = measure.asked(spec.pack, spec.trait, spec.protocol.measuring)
        traits = {q.id: (q, spec.trait.name) for q in own} | {q.id: (q, None) for q in neutral}
        rows = []
        for row in read_jsonl(responses.folder / RESPONSES):
            question, trait = traits[row["question"]]
            score = spec.judge.score(question, row["response"], trait=trait)
            rows.append(
                {
                    "question": row["question"],
                    "repeat": row["repeat"],
                    "trait": score.trait,
                    "coherence": score.coherence,
                }
            )
        write_jsonl(out / SCORES, rows)
        return judge_facts(rows, len(own) * spec.protocol.measuring.repeats)

    def _sampler(self, adapter: Sealed | None) -> Sampler:
        """The checkpoint, opened once for generating from it and measuring it."""
        digest = adapter.digest if adapter else None
        if self._open is None or self._open[0] != digest:
            self._open = None
            opened = self._engine.open(
                self._spec.model, adapter.folder if adapter else None, self._spec.execution, self._timers
            )
            self._open = (digest, opened)
        return self._open[1]


def _write_rows(out: Path, rows: list[Example]) -> None:
    write_jsonl(out / ROWS, [{"id": row.id, "prompt": row.prompt, "response": row.response} for row in rows])
