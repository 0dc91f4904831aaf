"""What each step does when it has to be made: one function per kind, each filling one folder.

The two calls that need a GPU or patience, training and opening a checkpoint for sampling, come from an
`Engine`; everything else here is bookkeeping. A step in which training or sampling falls apart is sealed
like any other, with the reason as its fact, so that a diverged chain is found again and never dropped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from idembench import (
    choice_tasks,
    companions,
    judges,
    loading,
    measure,
    methods,
    sampling,
    selection,
    steps,
    task_answers,
)
from idembench.errors import DataError, Diverged
from idembench.files import empty, read_jsonl, sha256_json, write_jsonl
from idembench.sample_files import judge_facts, measure_facts, nll_facts, scores_row
from idembench.traits import Example

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.judges import Judge
    from idembench.models import Model
    from idembench.protocol import Execution, Form
    from idembench.protocol import Protocol as ProtocolSettings
    from idembench.sampling import Sampler
    from idembench.steps import Step
    from idembench.store import Sealed
    from idembench.timing import Timers
    from idembench.traits import Pack, Question, Trait

ROWS, RESPONSES, NLL, SCORES = "rows.jsonl", "responses.jsonl", "nll.jsonl", "scores.jsonl"
ANSWERS = "answers.jsonl"


class Engine(Protocol):
    """The two calls that do the heavy work."""

    def train(self, method: str, job: methods.Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train a generation into `out`; facts as JSON."""
        ...

    def open(self, model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form) -> Sampler:
        """Load a checkpoint for sampling."""
        ...


class TorchEngine:
    """The real engine: TRL for training, lm-eval's model class for sampling."""

    def train(self, method: str, job: methods.Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train with the installed method of that name."""
        with timers.time("imports"):
            loading.quiet_libraries()
        return methods.get(method).train(job, out, timers)

    def open(self, model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form) -> Sampler:
        """Open a checkpoint through lm-eval."""
        with timers.time("imports"):
            loading.quiet_libraries()
        return sampling.open_checkpoint(model, adapter, execution, timers, form=form)


@dataclass(frozen=True, kw_only=True)
class ChainSpec:
    """Everything that decides what a chain computes; `tasks` are asked beside, and change nothing else."""

    model: Model
    pack: Pack
    trait: Trait
    protocol: ProtocolSettings
    execution: Execution
    judge: Judge
    seed: int
    tasks: tuple[steps.AskedTask, ...] = ()

    @property
    def id(self) -> str:
        """SHA-256 of everything that decides what it computes."""
        parts: list[Any] = [
            self.model.digest,
            self.pack.name,
            self.trait.name,
            self.protocol.fingerprint,
            self.execution.model_dump(),
            self.judge.fingerprint,
            self.seed,
        ]
        if self.tasks:
            parts.append([task.model_dump() for task in self.tasks])
        if self.pack.pool is not None:
            parts.append(self.pack.pool.sha256)
        return sha256_json(parts)

    @property
    def subject(self) -> steps.Subject:
        """What stays the same through all cycles."""
        return steps.Subject(
            model=self.model.digest,
            pack=self.pack.name,
            trait=self.trait.name,
            form=self.protocol.form,
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
            method_versions=self.method_versions,
            tasks=self.tasks,
        )

    @property
    def method_versions(self) -> dict[str, int]:
        """Version of every method that the protocol uses, by name."""
        return {name: methods.get(name).version for name in self.protocol.methods}

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
            "reject": self._reject,
            "select": self._select,
            "train": self._train,
            "measure": self._measure,
            "task": self._task,
            "perplexity": self._perplexity,
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

    def _seed(self, step: Step, _parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        rows = self._spec.trait.draw_demonstrations(
            n=step.inputs["n"], after=step.inputs["after"], seed=self._spec.seed
        )
        _write_rows(out, rows)
        return {"rows": len(rows)}

    def _generate(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        asked = [(q.id, q.prompt) for q in self._slice(step) for _ in range(step.inputs["candidates"])]
        return self._answer(step, parents["adapter"], asked, out)

    def _reject(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        drawn = parents["rows"]
        asked = (
            [(r.id, r.prompt) for r in _read_rows(drawn)] if drawn else [(q.id, q.prompt) for q in self._slice(step)]
        )
        return self._answer(step, parents["adapter"], asked, out)

    def _slice(self, step: Step) -> list[Question]:
        return self._spec.pack.draw_prompts(cycle=step.inputs["slice"], n=step.inputs["n"], seed=self._spec.seed)

    def _answer(self, step: Step, adapter: Sealed | None, asked: list[tuple[str, str]], out: Path) -> dict[str, Any]:
        """Answer (id, prompt) pairs; empty answers are counted and left out, and so are unreadable documents.

        A document that spells a special token would be read as holding that token: the study's documents gathered
        such markers over the cycles (protocol.md, section 1.2). They are a fact only where there are any.
        """
        sampler = self._sampler(adapter)
        before = sampler.tokens()
        answers = sampling.answer(
            sampler, [prompt for _, prompt in asked], self._spec.protocol.sampling, seed=step.inputs["seed"]
        )
        said = [
            Example(id=name, prompt=prompt, response=answer.text.strip() if sampler.form == "document" else answer.text)
            for (name, prompt), answer in zip(asked, answers, strict=True)
            if answer.text.strip()
        ]
        if not said:
            raise Diverged("All sampled answers are empty.", found=f"{len(answers)} answers")
        document = sampler.form == "document"
        rows = [row for row in said if not (document and any(mark in row.response for mark in sampler.special))]
        if not rows:
            raise Diverged("All sampled documents spell special tokens.", found=f"{len(said)} documents")
        _write_rows(out, rows)
        return {
            "asked": len(asked),
            "rows": len(rows),
            "empty": len(asked) - len(said),
            **({"unreadable": len(said) - len(rows)} if len(rows) < len(said) else {}),
            "truncated": sum(answer.truncated for answer in answers),
            "repetition": round(sum(companions.repetition(row.response) for row in rows) / len(rows), 6),
            "tokens": sampler.tokens() - before,
        }

    def _select(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        spec, inputs = self._spec, step.inputs
        selector = selection.Selector(
            method=methods.get(inputs["method"]),
            settings=inputs["settings"],
            judge=spec.judge,
            trait=spec.trait.name,
            questions={q.id: q for q in spec.pack.prompts},
            protocol=spec.protocol,
            seed=inputs["seed"],
        )
        rows, facts = selector.select(
            own=_read_rows(parents["own"]),
            drawn=step.cycle == "c0" or spec.protocol.control == "fresh-data",
            rejected=_read_rows(parents["rejected"]) if parents["rejected"] else None,
            demonstrations=_read_rows(parents["demonstrations"]) if parents["demonstrations"] else [],
        )
        if not rows:
            raise Diverged("Nothing is left to train on.", found=f"{facts}")
        _write_rows(out, rows)
        return facts

    def _train(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        parent = parents["parent"]
        learning = self._spec.protocol.learning(int(step.cycle[1:]))
        job = methods.Job(
            model=self._spec.model,
            parent=parent.folder if parent else None,
            rows=_read_rows(parents["rows"]),
            form=self._spec.protocol.form,
            settings=learning.settings,
            training=learning.training,
            execution=self._spec.execution,
            seed=step.inputs["seed"],
        )
        self._open = None
        return self._engine.train(learning.method, job, out, self._timers)

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

    def _task(self, step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        task = steps.AskedTask.model_validate(step.inputs["task"])
        sampler = self._sampler(parents["adapter"])
        with self._timers.time("task.evaluate"):
            rows = choice_tasks.answers(sampler, task)
        facts = task_answers.facts(task.name, rows)
        if parents["adapter"] is None and not facts["read"]:
            raise DataError(
                "The model reads no item of this task whole.",
                expected="items of fewer tokens than its context has",
                found=f"{len(rows)} items, each with an option that is too long, or whose likelihood is not finite",
                where=f"--task {task.name}, {self._spec.model.name}",
                do="Leave the task out, or use a model with a longer context.",
            )
        write_jsonl(out / ANSWERS, rows)
        return facts

    def _perplexity(self, _step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        answered, asked = self._answered(parents["responses"])
        sampler = self._sampler(None)
        with self._timers.time("perplexity"):
            found = sampling.nll(
                sampler, [question.prompt for question, _ in asked], [row["response"] for row in answered]
            )
        rows = [
            {"question": row["question"], "repeat": row["repeat"], "nll": nll}
            for row, nll in zip(answered, found, strict=True)
        ]
        write_jsonl(out / NLL, rows)
        return nll_facts(rows)

    def _judge(self, _step: Step, parents: dict[str, Sealed | None], out: Path) -> dict[str, Any]:
        spec = self._spec
        answered, about = self._answered(parents["responses"])
        asked = [
            judges.Asked(question=question, response=row["response"], trait=trait)
            for row, (question, trait) in zip(answered, about, strict=True)
        ]
        rows = [
            scores_row(row["question"], row["repeat"], score.trait, score.coherence, score.judged)
            for row, score in zip(answered, judges.score_all(spec.judge, asked), strict=True)
        ]
        write_jsonl(out / SCORES, rows)
        return judge_facts(rows, spec.protocol.measuring.questions * spec.protocol.measuring.repeats)

    def _answered(self, responses: Sealed | None) -> tuple[list[dict[str, Any]], list[tuple[Question, str | None]]]:
        """A checkpoint's responses, and what each answers: a question, with the trait that it asks about."""
        assert responses is not None  # noqa: S101 -- for the type checker; the walk passes it
        own, neutral = measure.asked(self._spec.pack, self._spec.trait, self._spec.protocol.measuring)
        known = {q.id: (q, self._spec.trait.name) for q in own} | {q.id: (q, None) for q in neutral}
        rows = read_jsonl(responses.folder / RESPONSES)
        return rows, [known[row["question"]] for row in rows]

    def _sampler(self, adapter: Sealed | None) -> Sampler:
        """The checkpoint, opened once for generating from it and measuring it."""
        digest = adapter.digest if adapter else None
        if self._open is None or self._open[0] != digest:
            self._open = None
            opened = self._engine.open(
                self._spec.model,
                adapter.folder if adapter else None,
                self._spec.execution,
                self._timers,
                form=self._spec.protocol.form,
            )
            self._open = (digest, opened)
        return self._open[1]


def _write_rows(out: Path, rows: list[Example]) -> None:
    lines = [{"id": row.id, "prompt": row.prompt, "response": row.response} for row in rows]
    for line, row in zip(lines, rows, strict=True):
        if row.rejected is not None:
            line["rejected"] = row.rejected
    write_jsonl(out / ROWS, lines)


def _read_rows(sealed: Sealed | None) -> list[Example]:
    assert sealed is not None  # noqa: S101 -- for the type checker; the walk passes it
    return [Example(**row) for row in read_jsonl(sealed.folder / ROWS)]
