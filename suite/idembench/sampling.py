"""Text from a model, through lm-eval's own model class: the same for self-generation and for measuring.

A `Sampler` is one checkpoint ready to answer. It renders a prompt exactly as training does (a user's turn by the
chat template, or a document's opening as it is), seeds torch from what the call is for, and tells a finished answer from one that was cut. Only this
module, `measure.py` and `choice_tasks.py` know lm-eval.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from idembench import loading
from idembench.errors import DataError, Diverged
from idembench.sample_files import HIGHEST_NLL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lm_eval.api.model import LM

    from idembench.models import Model
    from idembench.protocol import Execution, Form, Sampling
    from idembench.timing import Timers


READ_AT_ONCE = 8
"""Rows whose likelihood is asked at once: unlike in sampling, every token's logits over the vocabulary are there together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sampled answer; `truncated` if it was cut at the token limit."""

    text: str
    truncated: bool


class Sampler(Protocol):
    """One checkpoint, ready to answer."""

    @property
    def lm(self) -> LM:
        """The lm-eval model, for the evaluator."""
        ...

    @property
    def parameters(self) -> int:
        """Parameters of the model, the adapter's left out."""
        ...

    @property
    def form(self) -> Form:
        """What it is given: turns of a dialogue, or documents to continue."""
        ...

    @property
    def special(self) -> tuple[str, ...]:
        """Strings that its tokenizer reads as something else than text."""
        ...

    def seed(self, seed: int) -> None:
        """Seed what is sampled next."""
        ...

    def was_truncated(self, text: str) -> bool:
        """Whether a text sampled by this object was cut at the token limit."""
        ...

    def tokens(self) -> int:
        """Tokens generated so far."""
        ...

    def nll(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Mean negative log-likelihood of each text behind its context, in nats per token; None where it has no tokens."""
        ...


def generation_kwargs(sampling: Sampling) -> dict[str, Any]:
    """The protocol's sampling settings in lm-eval's words; without `stop` only the model's own end token stops."""
    return {
        "until": list(sampling.stop),
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "max_gen_toks": sampling.max_new_tokens,
    }


def answer(sampler: Sampler, prompts: Sequence[str], sampling: Sampling, *, seed: int) -> list[Answer]:
    """Answer each prompt (or continue each opening) once, in order.

    Args:
        sampler: The checkpoint.
        prompts: User turns, or openings of documents.
        sampling: Temperature, nucleus, token limit.
        seed: Derived from what this call is for.
    """
    from lm_eval.api.instance import Instance

    sampler.seed(seed)
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(text, generation_kwargs(sampling)), idx=index)
        for index, text in enumerate(_rendered(sampler, prompts))
    ]
    texts = sampler.lm.generate_until(requests)
    return [Answer(text=text, truncated=sampler.was_truncated(text)) for text in texts]


def nll(sampler: Sampler, prompts: Sequence[str], texts: Sequence[str]) -> list[float | None]:
    """How unlikely a checkpoint finds texts behind prompts: mean negative log-likelihood in nats per token, in order.

    At temperature 1, over the text's own tokens: neither the prompt's nor the end of the turn, so that answers that were cut
    are read as the others are. None for an empty text. Its exponential is the text's perplexity.

    Args:
        sampler: The checkpoint.
        prompts: User turns, or openings of documents.
        texts: What followed each.
    """
    said = [index for index, text in enumerate(texts) if text]
    rendered = _rendered(sampler, prompts)
    found: list[float | None] = [None] * len(texts)
    for index, value in zip(said, sampler.nll([(rendered[i], texts[i]) for i in said]), strict=True):
        found[index] = None if value is None else round(min(value, HIGHEST_NLL), 6)
    return found


def _rendered(sampler: Sampler, prompts: Sequence[str]) -> list[str]:
    """Prompts as the model reads them: users' turns by its chat template, openings of documents as they are."""
    if sampler.form == "document":
        return list(prompts)
    return [sampler.lm.apply_chat_template([{"role": "user", "content": prompt}]) for prompt in prompts]


def open_checkpoint(model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form) -> Sampler:
    """Load a checkpoint for sampling: the base model, with an adapter merged into it if there is one, or whole weights.

    The merge lives in memory only and is done in float32; in a narrower dtype the adapter stays beside the
    weights, since rounding the sum would change the model.
    """
    with timers.time("imports"):
        import lm_eval.models.huggingface  # noqa: F401 -- what `_open` needs, timed apart from its work
    with timers.time("sample.load"):
        return _open(model, adapter, execution, timers, form=form)


def _open(model: Model, adapter: Path | None, execution: Execution, timers: Timers, *, form: Form) -> Sampler:
    import torch
    from lm_eval.models.huggingface import HFLM

    from idembench import decoding

    tokenizer = loading.load_tokenizer(model, form=form)
    loaded, parameters = _weights(model, adapter, execution)
    loaded.eval()
    # Greedy leftovers in a model's own generation config (top_k, repetition penalty) would silently join ours.
    loaded.generation_config = type(loaded.generation_config)(
        eos_token_id=loaded.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    ends = loaded.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    end_ids = torch.tensor(ends)

    class Hflm(HFLM):  # type: ignore[misc]
        """lm-eval's Hugging Face model, noting time, tokens and which answers were cut."""

        cut: set[str]
        generated = 0

        def generate_until(self, requests: Any, disable_tqdm: bool = True) -> list[str]:  # noqa: FBT001, FBT002
            # The evaluator would draw a progress bar of its own across ours.
            del disable_tqdm
            texts: list[str] = super().generate_until(requests, disable_tqdm=True)
            return texts

        def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:  # noqa: FBT001, FBT002
            del disable_tqdm
            found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
            return found

        def _loglikelihood_tokens(self, requests: Any, *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
            inner = super()._loglikelihood_tokens
            return _read_whole(self, requests, lambda some: inner(some, *args, **kwargs))

        def tok_batch_encode(
            self, strings: list[str], *args: Any, left_truncate_len: int | None = None, **kwargs: Any
        ) -> Any:
            # The harness would cut a long prompt from the left and only log it.
            ids, mask = super().tok_batch_encode(strings, *args, **kwargs)
            if left_truncate_len is not None and ids.shape[1] > left_truncate_len:
                raise DataError(
                    "A prompt is too long for this model, and nothing is truncated silently.",
                    expected=f"at most {left_truncate_len} tokens, {self.max_length} less the answer's",
                    found=f"{ids.shape[1]} tokens",
                    where=f"{model.name}: {strings[0][:80]!r} ...",
                    do="Lower max_new_tokens or use a model with a longer context.",
                )
            return ids, mask

        def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> Any:
            # Strings that stop an answer are cut from the text by the harness; the loop knows tokens alone.
            del stop
            with timers.time("generate"), _numbers():
                made = decoding.decode(
                    self.model,
                    context,
                    kwargs["attention_mask"],
                    temperature=kwargs["temperature"],
                    top_p=kwargs["top_p"],
                    max_new_tokens=max_length - context.shape[1],
                    ends=ends,
                    pad=tokenizer.pad_token_id,
                )
            out = torch.cat([context, made], dim=1)
            fresh = made.cpu()
            ended = torch.isin(fresh, end_ids)
            # Padding after an end is not generated text.
            self.generated += int((ended.cumsum(dim=1) == 0).sum())
            if fresh.shape[1] >= max_length - context.shape[1]:
                for row in fresh[~ended.any(dim=1)]:
                    self.cut.add(self.tok_decode(row.tolist()))
            return out

        def _model_call(self, *args: Any, **kwargs: Any) -> Any:
            with timers.time("loglikelihood"):
                return super()._model_call(*args, **kwargs)

    lm = Hflm(
        pretrained=loaded,
        tokenizer=tokenizer,
        batch_size=execution.batch_size,
        device=execution.device,
        # The chat template writes its own special tokens; a document gets those the tokenizer adds by itself.
        add_bos_token=False if form == "dialogue" else None,
        truncation=False,
    )
    lm.cut = set()
    return _HfSampler(lm=lm, parameters=parameters, form=form)


def _weights(model: Model, adapter: Path | None, execution: Execution) -> tuple[Any, int]:
    """A checkpoint's weights, and how many parameters the model has."""
    from idembench import decoding

    whole = adapter is not None and not (adapter / "adapter_config.json").exists()
    loaded: Any = loading.load_weights(replace(model, folder=adapter) if adapter and whole else model, execution)
    decoding.check(loaded, where=model.name)
    parameters = int(loaded.num_parameters())
    if adapter is not None and not whole:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
        if execution.dtype == "float32":
            loaded = loaded.merge_and_unload()
    return loaded, parameters


def _tokens(lm: Any, context: str, text: str) -> tuple[list[int], list[int]]:
    """Tokens of a context, and those of a text behind it alone: where the two would merge, the text's as it was sampled."""
    before = lm.tok_encode(context)
    whole = lm.tok_encode(context + text)
    behind = whole[len(before) :] if whole[: len(before)] == before else lm.tok_encode(text, add_special_tokens=False)
    return list(before), list(behind)


def _read_whole(
    lm: Any, requests: Sequence[Any], likelihoods: Callable[[list[Any]], list[tuple[float, bool]]]
) -> list[tuple[float, bool]]:
    """Likelihoods of what a model reads whole, a few rows at once, in the order of the requests; NaN for the others.

    Args:
        lm: The lm-eval model.
        requests: Each a pair of strings, the tokens of its context and those that are to be likely.
        likelihoods: lm-eval's own, which cuts what does not fit from the left and only logs it.
    """
    # A text that its context swallows has no token of its own.
    read = [i for i, (_, context, text) in enumerate(requests) if text and len(context + text) <= lm.max_length]
    found = [(math.nan, False)] * len(requests)
    rows, lm.batch_size_per_gpu = lm.batch_size_per_gpu, min(lm.batch_size_per_gpu, READ_AT_ONCE)
    try:
        for i, likelihood in zip(read, likelihoods([requests[i] for i in read]), strict=True):
            found[i] = likelihood
    finally:
        lm.batch_size_per_gpu = rows
    return found


@contextmanager
def _numbers() -> Iterator[None]:
    """Turn torch's complaint about NaN probabilities into the outcome it is."""
    try:
        yield
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise Diverged("The model's probabilities are not finite.", found=str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _HfSampler:
    lm: Any
    parameters: int
    form: Form

    @property
    def special(self) -> tuple[str, ...]:
        return tuple(self.lm.tokenizer.all_special_tokens)

    def seed(self, seed: int) -> None:
        import torch

        torch.manual_seed(seed)
        # What an earlier call cut says nothing about the next: a resumed chain would not know it.
        self.lm.cut.clear()

    def was_truncated(self, text: str) -> bool:
        return text in self.lm.cut

    def tokens(self) -> int:
        return int(self.lm.generated)

    def nll(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        encoded = [(pair, *_tokens(self.lm, *pair)) for pair in pairs]
        # Its public `loglikelihood` does not say of how many tokens, and gives a context's last white space to the text.
        totals = self.lm._loglikelihood_tokens(encoded, disable_tqdm=True)  # noqa: SLF001
        return [
            max(0.0, -total / len(text)) if math.isfinite(total) else None
            for (total, _), (_, _, text) in zip(totals, encoded, strict=True)
        ]
