"""What all trainings share: where they start, hyper-parameters, the checks around the loop, what is saved.

A training starts from the base model or from the generation before, as a LoRA adapter or with all weights. All
weights are trained and saved in float32 whatever the execution's dtype: an update of bfloat16 weights at the rates
of finetuning would mostly be rounded away (they keep 8 bits), and a generation that was continued from rounded
weights would not be continued. Under `bfloat16` the passes still run in it (autocast), and sampling rounds the
weights to the execution's dtype as it loads them. A LoRA adapter is float32 beside base weights of any dtype.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from idembench import loading
from idembench.errors import DataError, Diverged, ProtocolError
from idembench.files import read_json, write_json, writing_under

if TYPE_CHECKING:
    from pathlib import Path

    from idembench.methods import Job
    from idembench.protocol import Lora
    from idembench.timing import Timers

ADAPTER = "adapter_config.json"


def start(job: Job) -> Any:
    """The model as the training starts, its trainable parameters those that are trained.

    Raises:
        ProtocolError: If the parent is no such adapter, or no whole model, as this training continues.
    """
    import torch

    # A new adapter's weights come from torch's global generator.
    torch.manual_seed(job.seed)
    if job.training.lora is None:
        return whole(job)
    base = loading.load_weights(job.model, job.execution)
    if job.parent is not None:
        return _continued(base, job.parent, job.training.lora)
    return _new_adapter(base, job)


def whole(job: Job) -> Any:
    """All weights of the base model, or of the parent if there is one, in float32.

    Raises:
        ProtocolError: If the parent is an adapter.
    """
    if job.parent is not None and (job.parent / ADAPTER).exists():
        raise ProtocolError(
            "The generation before is an adapter, and this training has none.",
            expected="the same training.lora in every cycle of a continual chain",
            found="lora: null",
            where="training.lora",
        )
    model = job.model if job.parent is None else replace(job.model, folder=job.parent)
    loaded = loading.load_weights(model, job.execution.model_copy(update={"dtype": "float32"}))
    _name(loaded, job.model.digest)
    return loaded


def _continued(base: Any, parent: Path, lora: Lora) -> Any:
    """The parent's adapter, reloaded to be trained on; dropout is this training's."""
    from peft import PeftConfig, PeftModel

    if not (parent / ADAPTER).exists():
        raise ProtocolError(
            "The generation before is a whole model, and this training has an adapter.",
            expected="the same training.lora in every cycle of a continual chain",
            found=f"lora: {{rank: {lora.rank}, alpha: {lora.alpha}}}",
            where="training.lora",
        )
    config = PeftConfig.from_pretrained(parent)
    if (config.r, config.lora_alpha) != (lora.rank, lora.alpha):
        raise ProtocolError(
            "The generation before has another adapter than this training.",
            expected=f"rank {config.r}, alpha {config.lora_alpha}, as it was trained",
            found=f"rank {lora.rank}, alpha {lora.alpha}",
            where="training.lora",
            do="Give seeding and the later cycles of a continual chain the same rank and alpha.",
        )
    config.lora_dropout = lora.dropout
    return PeftModel.from_pretrained(base, parent, is_trainable=True, config=config)


def _new_adapter(base: Any, job: Job) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = job.training.lora
    assert lora is not None  # noqa: S101 -- for the type checker
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    _name(base, job.model.digest)
    return get_peft_model(base, config)


def _name(model: Any, digest: str) -> None:
    """Name the base model by its digest in what is saved.

    A path of this machine, or one of several names of the same files, would change the saved bytes and not the
    step's key.
    """
    model.name_or_path = model.config._name_or_path = digest  # noqa: SLF001 -- transformers offers no other way


def check_length(length: int, job: Job, *, where: str) -> int:
    """Check one rendered row's length in tokens; returns it.

    Raises:
        DataError: If it is longer than `training.max_tokens`.
    """
    if length > job.training.max_tokens:
        raise DataError(
            "A training row is too long, and nothing is truncated silently.",
            expected=f"at most training.max_tokens = {job.training.max_tokens}",
            found=f"{length} tokens",
            where=where,
            do="Raise training.max_tokens or lower sampling.max_new_tokens.",
        )
    return length


def steps(job: Job) -> int:
    """Optimizer steps of the whole training."""
    t = job.training
    if t.max_steps is not None:
        return t.max_steps
    assert t.epochs is not None  # noqa: S101 -- Training has either
    batches = math.ceil(len(job.rows) / t.batch_size)
    return math.ceil(batches / t.gradient_accumulation) * t.epochs


def arguments(job: Job, out: Path) -> dict[str, Any]:
    """What every trainer is given: `transformers.TrainingArguments`, as keywords."""
    t = job.training
    length: dict[str, Any] = {"num_train_epochs": t.epochs} if t.max_steps is None else {"max_steps": t.max_steps}
    schedule: dict[str, Any] = {"lr_scheduler_type": "constant_with_warmup" if t.schedule == "constant" else t.schedule}
    if t.final_share:
        schedule = {
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": t.final_share},
        }
    return {
        **length,
        **schedule,
        "output_dir": str(out),
        "seed": job.seed,
        "data_seed": job.seed,
        "per_device_train_batch_size": t.batch_size,
        "gradient_accumulation_steps": t.gradient_accumulation,
        "learning_rate": t.learning_rate,
        "warmup_steps": math.ceil(t.warmup_share * steps(job)),
        "weight_decay": t.weight_decay,
        "adam_beta1": t.adam_beta1,
        "adam_beta2": t.adam_beta2,
        "adam_epsilon": t.adam_epsilon,
        "max_grad_norm": t.max_grad_norm,
        "bf16": job.execution.dtype == "bfloat16",
        "fp16": False,
        "use_cpu": job.execution.device == "cpu",
        "gradient_checkpointing": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "dataset_num_proc": None,
        "remove_unused_columns": True,
        "max_length": None,
    }


def fit(trainer: Any, job: Job, out: Path, timers: Timers, *, tokens: int) -> dict[str, Any]:
    """Run the trainer, check what came out, save it into `out`; the facts that all trainings have.

    Args:
        trainer: A transformers Trainer on `start(job)`.
        job: What is trained.
        out: The generation's folder.
        timers: For the loop and the saving.
        tokens: Tokens of all rows together.

    Raises:
        Diverged: If the loss or the weights are not finite.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _warm_up_from_above_0(trainer)
    timers.watch_training(trainer)
    with timers.time("train.loop"):
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    _check_finite(losses, trained)
    with timers.time("train.save"), writing_under(out):
        _save(trainer.model, out)
    return {
        "rows": len(job.rows),
        "tokens": tokens,
        "steps": int(trainer.state.global_step),
        "loss": [round(loss, 6) for loss in losses],
        "trainable_parameters": sum(p.numel() for p in trained),
    }


def _warm_up_from_above_0(trainer: Any) -> None:
    """Warm up over the rates k / (w + 1), k = 1 .. w, where transformers would take (k - 1) / w.

    Its first step has rate 0 and changes nothing, which of few steps is a large share.
    """
    inner, w = trainer.create_scheduler, trainer.args.warmup_steps

    def create_scheduler(*args: Any, **kwargs: Any) -> Any:
        scheduler = inner(*args, **kwargs)
        if w and not getattr(scheduler, "warms_up_from_above_0", False):
            scheduler.lr_lambdas = [
                lambda step, then=then: (step + 1) / (w + 1) if step < w else then(step)
                for then in scheduler.lr_lambdas
            ]
            scheduler.warms_up_from_above_0 = True
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.get_lr(), strict=True):
                group["lr"] = rate
        return scheduler

    trainer.create_scheduler = create_scheduler


def _check_finite(losses: list[float], trained: list[Any]) -> None:
    import torch

    if not losses or not all(math.isfinite(loss) for loss in losses):
        raise Diverged("The training loss stopped being finite.", found=str(losses[-1] if losses else "no loss"))
    if not all(bool(torch.isfinite(p).all()) for p in trained):
        raise Diverged("The trained weights are not finite.")


def _save(model: Any, out: Path) -> None:
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        model.save_pretrained(out)
        return
    # Named, since preference optimisation adds a second adapter, its reference.
    model.save_pretrained(out, safe_serialization=True, selected_adapters=["default"])
    (out / "README.md").unlink(missing_ok=True)
    _sort_sets(out / ADAPTER)


def _sort_sets(path: Path) -> None:
    """Write an adapter's configuration again, sets in order: PEFT leaves that to the process's hash seed."""
    content = read_json(path)
    named = {key: sorted(v) for key, v in content.items() if isinstance(v, list) and all(isinstance(n, str) for n in v)}
    write_json(path, {**content, **named})
