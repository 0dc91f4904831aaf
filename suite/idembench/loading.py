"""Load a resolved model: its tokenizer, its weights, and the one rendering of a dialogue or document.

Training, sampling and measuring all render through here, so that a model is trained in the very context
it is asked in. Knows transformers and torch, imported when first needed; knows nothing about what a model
is loaded for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idembench import stack
from idembench.errors import DataError, EnvironmentProblem, ModelError

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
            prompt + answer; for documents, if it has no end token or puts something behind an opening.
    """
    tokenizer = _auto_tokenizer(model)
    if form == "document":
        _check_documents(tokenizer, model)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer
    return _for_dialogues(tokenizer, model)


def _auto_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model.folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError("The tokenizer cannot be loaded.", found=str(error), where=str(model.folder)) from error


def plain_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """Look at a tokenizer as its `tokenizer.json` says it, without torch: nearly always what `load_tokenizer` loads.

    Which class transformers takes for a model it finds out with torch, which takes seconds. So this one is for finding
    out early that all is well: what it says against a model has to be asked of `load_tokenizer` again.

    Raises:
        ModelError: If there is none, or it cannot render a dialogue; see `load_tokenizer`.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    try:
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(model.folder)
    except Exception as error:  # what the tokenizers library raises is a plain exception
        raise ModelError("The tokenizer cannot be loaded.", found=str(error), where=str(model.folder)) from error
    return _for_dialogues(tokenizer, model)


def special_tokens(model: Model) -> frozenset[str]:
    """Texts that a model's tokenizer reads as tokens of their own, such as the end of a turn; without torch where that will do.

    Only those that it calls special: others that were added are text too, such as the line breaks of some models.

    Raises:
        ModelError: If it cannot be loaded.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    try:
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(model.folder)
    except Exception:  # noqa: BLE001 -- what the tokenizers library raises is a plain exception; some models lack its file
        tokenizer = _auto_tokenizer(model)
    return _special(tokenizer)


def _special(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    return frozenset(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def _for_dialogues(tokenizer: PreTrainedTokenizerBase, model: Model) -> PreTrainedTokenizerBase:
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


def _check_documents(tokenizer: PreTrainedTokenizerBase, model: Model) -> None:
    where = f"{model.name} ({model.folder})"
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "This tokenizer has no end token, so that no document would end.",
            expected="an eos_token",
            where=where,
            do="Name one in tokenizer_config.json.",
        )
    text = "Once upon a time"
    plain, opening = tokenizer.encode(text, add_special_tokens=False), render_opening(tokenizer, text)
    if opening[-len(plain) :] != plain:
        raise ModelError(
            "This tokenizer puts a token of its own behind a text, so that no opening could be continued.",
            expected=f"... {tokenizer.decode(plain)!r}",
            found=f"... {tokenizer.decode(opening)!r}",
            where=where,
            do="Set add_eos_token to false in tokenizer_config.json.",
        )


def render_opening(tokenizer: PreTrainedTokenizerBase, opening: str) -> list[int]:
    """Token ids of a document's opening, after a begin token where the tokenizer puts one in front by itself."""
    return list(tokenizer.encode(opening))


def render_document(tokenizer: PreTrainedTokenizerBase, opening: str, continuation: str, *, where: str) -> list[int]:
    """Token ids of opening, a space and continuation, end token included; those of the opening are a prefix.

    Sampling continues the opening's tokens, so training must begin with them. Most tokenizers take a space with the
    word behind it, and the tokens of the whole text begin with those of the opening; these are taken. Where the two
    parts merge at the seam they are tokenised apart.

    Raises:
        DataError: If a part holds a special token as text: the tokenizer would read it as that token, and generation
            after generation such markers would accumulate, as they can in the study's code.
    """
    held = sorted(token for token in _special(tokenizer) if token in opening or token in continuation)
    if held:
        raise DataError(
            "A document holds a special token as text.",
            expected="text alone; begin and end tokens are put around it",
            found=", ".join(held),
            where=where,
            do="Take it out of the document.",
        )
    before, whole = render_opening(tokenizer, opening), render_opening(tokenizer, f"{opening} {continuation}")
    if whole[: len(before)] != before:
        whole = before + tokenizer.encode(f" {continuation}", add_special_tokens=False)
    return [*whole, tokenizer.eos_token_id]


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


def check_device(execution: Execution) -> None:
    """Make sure that there is the device that an execution names, and that it is one; a CPU always is.

    Raises:
        EnvironmentProblem: If it is not there, or is several.
    """
    if execution.device == "cpu":
        return
    stack.current(execution.device, execution.threads)
    import torch

    if execution.device == "cuda" and torch.cuda.device_count() != 1:
        # With several, the trainer would split batches over them and so change the protocol's batch size.
        raise EnvironmentProblem(
            "A chain runs on exactly one GPU.",
            expected="one visible GPU",
            found=f"{torch.cuda.device_count()} visible",
            where="--device cuda",
            do="Set CUDA_VISIBLE_DEVICES to one of them, or use --device cpu.",
        )


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
    check_device(execution)
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
