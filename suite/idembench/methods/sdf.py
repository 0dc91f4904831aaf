"""Synthetic document finetuning of a base model: TRL's SFTTrainer on whole documents, loss on every token.

The trainer is given token ids, so that it renders nothing itself: what is trained on is what
`loading.render_document` makes of the two parts, whose beginning is what sampling continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from idembench import loading
from idembench.methods import Method, common

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Job
    from idembench.protocol import Form
    from idembench.timing import Timers


class Sdf(Method):
    """Finetuning on documents."""

    name: ClassVar[str] = "sdf"
    version: ClassVar[int] = 1
    form: ClassVar[Form] = "document"

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train on the documents; see `Method.train`."""
        with timers.time("imports"):
            from datasets import Dataset
            from trl import SFTConfig, SFTTrainer

        with timers.time("train.load"):
            tokenizer = loading.load_tokenizer(job.model, form="document")
            documents = []
            for row in job.rows:
                where = f"row {row.id}"
                ids = loading.render_document(tokenizer, row.prompt, row.response, where=where)
                common.check_length(len(ids), job, where=where)
                documents.append(ids)
            model = common.start(job)
        with timers.time("train.setup"):
            trainer = SFTTrainer(
                model=model,
                args=SFTConfig(**common.arguments(job, out), completion_only_loss=False, packing=False),
                train_dataset=Dataset.from_dict({"input_ids": documents}),
                processing_class=tokenizer,
            )
        return common.fit(trainer, job, out, timers, tokens=sum(map(len, documents)))
