"""Direct preference optimisation on pairs: TRL's DPOTrainer, sigmoid loss on summed log-probabilities.

The reference policy is the model as this training starts: the base model in reset mode, the generation before in
continual mode. For an adapter that is a frozen copy of it, which the trainer makes before the first step (a new
adapter adds exactly nothing, so its copy is the base model). For all weights it is a second, frozen load of the
same folder; left to itself, the trainer would load the path that the weights once came from.

Log-probabilities of the reference are computed beside each step, on the very batch: at the first step both
policies give the same numbers and the loss is log 2. Computing them ahead would save a pass only from the second
epoch on, and hash the whole model for its cache.

Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from idembench import loading
from idembench.errors import DataError, ProtocolError
from idembench.methods import Method, common
from idembench.protocol import Frozen, Rate

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from idembench.methods import Job
    from idembench.protocol import Training
    from idembench.timing import Timers
    from idembench.traits import Example


class DpoSettings(Frozen):
    """What preference optimisation has of its own.

    Attributes:
        beta: How much the policy is held to its reference; the study's default.
    """

    beta: Rate = 0.1


class Dpo(Method):
    """Direct preference optimisation."""

    name: ClassVar[str] = "dpo"
    version: ClassVar[int] = 1
    pairs: ClassVar[bool] = True
    Settings: ClassVar[type[Frozen]] = DpoSettings

    def check(self, training: Training) -> None:
        """Refuse dropout; see `Method.check`."""
        if training.lora is not None and training.lora.dropout:
            raise ProtocolError(
                "Preference optimisation compares a policy with its reference, both without dropout.",
                expected="dropout: 0",
                found=f"dropout: {training.lora.dropout}",
                where="training.lora.dropout",
            )

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train on the pairs; see `Method.train`.

        Beside the facts of every training: `ties`, pairs of twice the same answer, which push nowhere; per step,
        `reward_margin` (beta times the log-ratio of the winning answer less that of the losing one) and
        `reward_accuracy` (share of pairs whose margin is above 0), means over the step's pairs before it is taken.
        `tokens` counts both sides.
        """
        with timers.time("imports"):
            from datasets import Dataset
            from trl import DPOConfig, DPOTrainer

        self.check(job.training)
        with timers.time("train.load"):
            tokenizer = loading.load_tokenizer(job.model)
            sides = [_checked(tokenizer, row, job) for row in job.rows]
            model = common.start(job)
            reference = _frozen(common.whole(job)) if job.training.lora is None else None
        with timers.time("train.setup"):
            columns = {
                "prompt": [[{"role": "user", "content": row.prompt}] for row in job.rows],
                "chosen": [[{"role": "assistant", "content": row.response}] for row in job.rows],
                "rejected": [[{"role": "assistant", "content": row.rejected}] for row in job.rows],
            }
            trainer = DPOTrainer(
                model=model,
                ref_model=reference,
                args=DPOConfig(
                    **common.arguments(job, out),
                    beta=job.settings["beta"],
                    loss_type=["sigmoid"],
                    disable_dropout=True,
                    precompute_ref_log_probs=False,
                ),
                train_dataset=Dataset.from_dict(columns),
                processing_class=tokenizer,
            )
        facts = common.fit(trainer, job, out, timers, tokens=sum(sides))
        logged = [entry for entry in trainer.state.log_history if "loss" in entry]
        return {
            **facts,
            "ties": sum(row.response == row.rejected for row in job.rows),
            "reward_margin": [round(entry["rewards/margins"], 6) for entry in logged],
            "reward_accuracy": [round(entry["rewards/accuracies"], 6) for entry in logged],
        }


def _checked(tokenizer: PreTrainedTokenizerBase, row: Example, job: Job) -> int:
    """Check rendering and length of both sides of a pair; the number of tokens of both together."""
    if row.rejected is None:
        raise DataError("A pair has one side only.", expected="a rejected answer", where=f"row {row.id}")
    total = 0
    for side, answer in (("chosen", row.response), ("rejected", row.rejected)):
        where = f"row {row.id}, {side}"
        length = loading.check_prefix(tokenizer, row.prompt, answer, where=where)
        total += common.check_length(length, job, where=where)
    return total


def _frozen(model: Any) -> Any:
    model.requires_grad_(False)
    return model.eval()
