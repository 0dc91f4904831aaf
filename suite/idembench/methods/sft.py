"""Supervised finetuning on dialogues: TRL's SFTTrainer on a LoRA adapter, loss on the answer alone.

Rows go in as prompt and completion, so that any chat template works and no assistant mask is needed; every
row is checked first, because the trainer would only warn about a template that breaks the prefix and would
cut a long row without a word.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from idembench import loading
from idembench.errors import DataError, Diverged
from idembench.files import read_json, write_json, writing_under

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from idembench.methods import Job
    from idembench.timing import Timers


class Sft:
    """Supervised finetuning of a LoRA adapter."""

    name: ClassVar[str] = "sft"
    version: ClassVar[int] = 1

    def train(self, job: Job, out: Path, timers: Timers) -> dict[str, Any]:
        """Train on the rows; see `Method.train`."""
        with timers.time("imports"):
            import torch
            from datasets import Dataset
            from transformers import PrinterCallback
            from trl import SFTTrainer

        with timers.time("train.load"):
            tokenizer = loading.load_tokenizer(job.model)
            tokens = _check_rows(tokenizer, job)
            # The adapter's initial weights come from torch's global generator.
            torch.manual_seed(job.seed)
            model = _with_adapter(job)
        with timers.time("train.setup"):
            columns = {
                "prompt": [[{"role": "user", "content": row.prompt}] for row in job.rows],
                "completion": [[{"role": "assistant", "content": row.response}] for row in job.rows],
            }
            trainer = SFTTrainer(
                model=model,
                args=_config(job, out),
                train_dataset=Dataset.from_dict(columns),
                processing_class=tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            timers.watch_training(trainer)
        with timers.time("train.loop"):
            trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        _check_finite(losses, model)
        with timers.time("train.save"), writing_under(out):
            model.save_pretrained(out, safe_serialization=True)
            (out / "README.md").unlink(missing_ok=True)
            _sort_sets(out / "adapter_config.json")
        return {
            "rows": len(job.rows),
            "tokens": tokens,
            "steps": int(trainer.state.global_step),
            "loss": [round(loss, 6) for loss in losses],
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        }


def _sort_sets(path: Path) -> None:
    """Write an adapter's configuration again, sets in order: PEFT leaves that to the process's hash seed."""
    content = read_json(path)
    named = {key: sorted(v) for key, v in content.items() if isinstance(v, list) and all(isinstance(n, str) for n in v)}
    write_json(path, {**content, **named})


def _check_rows(tokenizer: PreTrainedTokenizerBase, job: Job) -> int:
    """Check rendering and length of every row; the number of tokens of all together."""
    total = 0
    for row in job.rows:
        length = loading.check_prefix(tokenizer, row.prompt, row.response, where=f"row {row.id}")
        if length > job.training.max_tokens:
            raise DataError(
                "A training row is too long, and nothing is truncated silently.",
                expected=f"at most training.max_tokens = {job.training.max_tokens}",
                found=f"{length} tokens",
                where=f"row {row.id}",
                do="Raise training.max_tokens or lower sampling.max_new_tokens.",
            )
        total += length
    return total


def _with_adapter(job: Job) -> Any:
    """The base model with a new adapter, or with the parent's adapter to be continued."""
    from peft import LoraConfig, PeftModel, get_peft_model

    base = loading.load_weights(job.model, job.execution)
    if job.parent is not None:
        return PeftModel.from_pretrained(base, job.parent, is_trainable=True)
    lora = job.training.lora
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    # The adapter's configuration names the base model: by its digest, since a path of this machine, or one of several
    # names of the same files, would change the adapter's bytes and not the step's key.
    base.name_or_path = base.config._name_or_path = job.model.digest  # noqa: SLF001 -- transformers offers no other way
    return get_peft_model(base, config)


def _config(job: Job, out: Path) -> Any:
    from trl import SFTConfig

    t = job.training
    steps = math.ceil(len(job.rows) / t.batch_size) * t.epochs
    return SFTConfig(
        output_dir=str(out),
        seed=job.seed,
        data_seed=job.seed,
        num_train_epochs=t.epochs,
        per_device_train_batch_size=t.batch_size,
        learning_rate=t.learning_rate,
        lr_scheduler_type="constant_with_warmup" if t.schedule == "constant" else t.schedule,
        warmup_steps=math.ceil(t.warmup_share * steps),
        weight_decay=t.weight_decay,
        adam_beta1=t.adam_beta1,
        adam_beta2=t.adam_beta2,
        adam_epsilon=t.adam_epsilon,
        max_grad_norm=t.max_grad_norm,
        max_length=None,
        completion_only_loss=True,
        packing=False,
        bf16=job.execution.dtype == "bfloat16",
        fp16=False,
        use_cpu=job.execution.device == "cpu",
        gradient_checkpointing=False,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        dataset_num_proc=None,
        remove_unused_columns=True,
    )


def _check_finite(losses: list[float], model: Any) -> None:
    import torch

    if not losses or not all(math.isfinite(loss) for loss in losses):
        raise Diverged("The training loss stopped being finite.", found=str(losses[-1] if losses else "no loss"))
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters() if p.requires_grad):
        raise Diverged("The trained weights are not finite.")
