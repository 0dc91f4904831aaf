"""Supervised finetuning on dialogues: TRL's SFTTrainer, loss on the answer alone.

Rows go in as prompt and completion, so that any chat template works and no assistant mask is needed; every
row is checked first, because the trainer would only warn about a template that breaks the prefix and would
cut a long row without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from idembench import loading
from idembench.methods import Method, common

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Job
    from idembench.timing import Timers


class Sft(Method):
    """Supervised finetuning."""

    name: ClassVar[str] = "sft"
    version: ClassVar[int] = 2

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train on the rows; see `Method.train`."""
        with timers.time("imports"):
            from datasets import Dataset
            from trl import SFTConfig, SFTTrainer

        with timers.time("train.load"):
            tokenizer = loading.load_tokenizer(job.model)
            tokens = 0
            for row in job.rows:
                where = f"row {row.id}"
                length = loading.check_prefix(tokenizer, row.prompt, row.response, where=where)
                tokens += common.check_length(length, job, where=where)
            model = common.start(job)
        with timers.time("train.setup"):
            columns = {
                "prompt": [[{"role": "user", "content": row.prompt}] for row in job.rows],
                "completion": [[{"role": "assistant", "content": row.response}] for row in job.rows],
            }
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(**common.arguments(job, out), completion_only_loss=True, packing=False),
                train_dataset=Dataset.from_dict(columns),
                processing_class=tokenizer,
            )
        return common.fit(trainer, job, out, timers, tokens=tokens)
