"""Small jobs on the embedded model, and timers that look over a trainer's shoulder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from idembench import loading, models, traits
from idembench.methods import Job
from idembench.protocol import Execution, Lora, Training
from idembench.timing import Timers
from idembench.work import TorchEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from idembench.traits import Example

TRAINING = Training(learning_rate=2e-3, epochs=1, batch_size=4, max_tokens=128, lora=Lora(rank=4, alpha=8))
ADAPTER, WHOLE = "adapter_model.safetensors", "model.safetensors"
STILL = 1e-30
"""A learning rate that moves nothing."""


def rows(n: int = 6) -> list[Example]:
    """Some demonstrations."""
    return traits.load_pack("toyland").trait("sycophancy").draw_demonstrations(n=n, seed=0)


def pairs(n: int = 6) -> list[Example]:
    """Some demonstrations, each preferred to the next one's answer."""
    found = rows(n)
    return [replace(row, rejected=found[(i + 1) % n].response) for i, row in enumerate(found)]


def documents(n: int = 6) -> list[Example]:
    """Some documents in two parts."""
    return traits.load_pack("toyland", form="document").trait("sycophancy").draw_demonstrations(n=n, seed=0)


def training(**changes: Any) -> Training:
    """Hyper-parameters, checked again: `epochs` gives way to `max_steps`."""
    if changes.get("max_steps") is not None:
        changes = {"epochs": None, **changes}
    return Training.model_validate({**TRAINING.model_dump(), **changes})


def job(**given: Any) -> Job:
    """A small job on the embedded model."""
    plain: dict[str, Any] = {
        "model": models.resolve("toyland/instruct"),
        "parent": None,
        "rows": rows(),
        "form": "dialogue",
        "settings": {},
        "training": TRAINING,
        "execution": Execution(),
        "seed": 7,
    }
    return Job(**{**plain, **given})


def train(method: str, given: Job, out: Path, timers: Timers | None = None) -> dict[str, Any]:
    """Train as the chain does."""
    out.mkdir(parents=True)
    return TorchEngine().train(method, given, out, timers or Timers())


class Watching(Timers):
    """Timers that keep the trainer they were asked to watch, and note what it did."""

    def watch_training(self, trainer: Any) -> None:
        """Remember the trainer, its batches as they are trained on, and each step's learning rate."""
        self.trainer = trainer
        self.batches: list[dict[str, torch.Tensor]] = []
        self.rates: list[float] = []
        super().watch_training(trainer)
        inner, create = trainer.compute_loss, trainer.create_optimizer

        def compute_loss(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            self.batches.append({key: value.clone() for key, value in inputs.items()})
            return inner(model, inputs, *args, **kwargs)

        def create_optimizer(*args: Any, **kwargs: Any) -> Any:
            optimizer = create(*args, **kwargs)
            trainer.optimizer.register_step_pre_hook(
                lambda *_: self.rates.append(trainer.optimizer.param_groups[0]["lr"])
            )
            return optimizer

        trainer.compute_loss, trainer.create_optimizer = compute_loss, create_optimizer

    def seen(self, *keys: str) -> Iterator[tuple[list[int], ...]]:
        """Each row that was trained on, without its padding: its token ids, then what `keys` say of them."""
        for batch in self.batches:
            for index, mask in enumerate(batch["attention_mask"].bool()):
                yield tuple(batch[key][index][mask].tolist() for key in ("input_ids", *keys))


def answer_logprobs(model: Any, given: Job, prompt: str, response: str) -> float:
    """Summed log-probability of an answer and its end of turn, by a plain transformers model."""
    tokenizer = loading.load_tokenizer(given.model)
    start = len(loading.render_prompt(tokenizer, prompt))
    ids = torch.tensor([loading.render_row(tokenizer, prompt, response)])
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, :-1].double().log_softmax(dim=-1)
    return float(logprobs.gather(1, ids[0, 1:, None])[start - 1 :].sum())
