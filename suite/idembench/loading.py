"""Load a resolved model: its tokenizer, its weights, and the one rendering of a dialogue.

Training, sampling and measuring all render through here, so that a model is trained in the very context
it is asked in. Knows transformers and torch, imported when first needed; knows nothing about what a model
is loaded for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idembench.errors import EnvironmentProblem, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from idembench.models import Model
    from idembench.protocol import Execution, Form


def quiet_libraries() -> None:
    """Keep the libraries' progress bars, hints and notices off the terminal; errors still get through."""
    import logging
    import os
    import warnings

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("lm_eval", "lm-eval", "trl", "peft", "datasets", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(trl|peft|transformers|lm_eval|torch)\b")


def load_tokenizer(model: Model, *, form: Form = "dialogue") -> PreTrainedTokenizerBase:
    """Load the tokenizer and make sure it can render and pad; documents need no chat template.

    Raises:
        ModelError: If it has no chat template, or its template does not render a prompt as the prefix of
            prompt + answer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError("The tokenizer cannot be loaded.", found=str(error), where=str(model.folder)) from error
    if form == "document":
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer
    if not tokenizer.chat_template:
        raise ModelError(
            "This model has no chat template.",
            expected="an instruct model whose tokenizer has a chat_template",
            where=f"{model.name} ({model.folder})",
            do="Use the instruct version of the model.",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        check_prefix(tokenizer, "are you there?", "yes, i am.", where=model.name)
    except ModelError:
        raise
    except Exception as error:  # a template is a program, and may fail in any way
        raise ModelError(
            "The chat template does not render a plain dialogue.",
            expected="one turn of a user and one of an assistant",
            found=str(error),
            where=f"{model.name} ({model.folder})",
            do="Use the instruct version of the model.",
        ) from error
    return tokenizer


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of one user turn, up to where the answer begins: the one rendering used everywhere."""
    messages = [{"role": "user", "content": prompt}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(rendered)


def render_row(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> list[int]:
    """Token ids of a whole dialogue, end of turn included."""
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))


def check_prefix(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, *, where: str) -> int:
    """Check that the rendered prompt is a prefix of the rendered row; how many tokens the row has.

    Raises:
        ModelError: If it is not: the model would be trained in another context than it is sampled in.
    """
    before, whole = render_prompt(tokenizer, prompt), render_row(tokenizer, prompt, response)
    if whole[: len(before)] != before:
        raise ModelError(
            "The chat template does not render the prompt as a prefix of prompt and answer.",
            expected=f"... {tokenizer.decode(before[-12:])!r}",
            found=f"... {tokenizer.decode(whole[max(0, len(before) - 12) : len(before)])!r}",
            where=where,
            do="Training would see another context than sampling; use a model with a prefix-preserving template.",
        )
    return len(whole)


def load_weights(model: Model, execution: Execution) -> PreTrainedModel:
    """Load the base model's weights, in the dtype and place the execution names.

    Raises:
        ModelError: If transformers cannot build it.
        EnvironmentProblem: If the device is not there, or is several.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(execution.threads)
    if execution.device == "cuda" and torch.cuda.device_count() != 1:
        # With several, the trainer would split batches over them and so change the protocol's batch size.
        raise EnvironmentProblem(
            "A chain runs on exactly one GPU.",
            expected="one visible GPU",
            found=f"{torch.cuda.device_count()} visible",
            where="--device cuda",
            do="Set CUDA_VISIBLE_DEVICES to one of them, or use --device cpu.",
        )
    try:
        loaded: Any
        loaded, report = AutoModelForCausalLM.from_pretrained(
            model.folder,
            dtype=getattr(torch, execution.dtype),
            attn_implementation=execution.attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            "The model cannot be loaded.", found=str(error).splitlines()[0], where=str(model.folder)
        ) from error
    if report["missing_keys"]:
        # transformers would go on with random weights in their place.
        raise ModelError(
            "The weights do not cover the model.",
            expected="every tensor of the architecture",
            found=f"missing: {', '.join(sorted(report['missing_keys'])[:4])}",
            where=str(model.folder),
            do="Save the whole causal language model, its head included.",
        )
    placed: PreTrainedModel = loaded.to(execution.device)
    return placed
