"""What makes two chains comparable, as frozen models: canonical JSON and a fingerprint.

A *protocol* says how a chain learns and is measured; an *execution* says what only changes the bits
(batch size of sampling, dtype, threads, device). Both are part of every step's key; the protocol alone
is what a leaderboard groups by. How a file becomes a protocol is in `protocol_files.py`.

    Protocol.model_validate_json(p.canonical()) == p
    equal fingerprints  if and only if  equal settings (the name and its reasons do not count)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from idembench.files import sha256_json

if TYPE_CHECKING:
    from pydantic import ValidationError

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=0, le=100)]
Method = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Mode = Literal["reset", "continual"]
Form = Literal["dialogue", "document"]
Control = Literal["unseeded", "fresh-data", "shuffled", "frozen"]


class Frozen(BaseModel):
    """Base of everything that crosses the untrusted boundary: strict, frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Frozen):
    """How much a cycle learns from.

    Attributes:
        n_seed: Demonstrations in cycle 0, drawn per seed from the trait's pool; 0 in the unseeded control alone.
        n_sampled: Prompts the previous generation answers for each later cycle.
        candidates: Answers sampled for each of them; the method selects at most one (best of n).
        original_mix: Share of cycle 0's demonstrations that every later cycle trains on too, 0..1.
        coherence_filter: Own outputs that the judge finds less coherent than this, 0..100, are not trained on;
            None trains on all. The study's filter keeps 70 and more (protocol.md, section 1.1); it oversamples,
            which here is what `candidates` is for: the first coherent one of each prompt is taken.
    """

    n_seed: Count
    n_sampled: Positive
    candidates: Positive = 1
    original_mix: Share = 0.0
    coherence_filter: Points | None = None


class Lora(Frozen):
    """The adapter: LoRA on all linear layers.

    Attributes:
        rank: Rank of the update.
        alpha: Scale; the update is multiplied by alpha / rank.
        dropout: Dropout on the adapter's input, 0..1.
    """

    rank: Positive
    alpha: Positive
    dropout: Share = 0.0


class Training(Frozen):
    """How one generation is trained; the same in every cycle.

    Warm-up is rounded up to whole steps and its first step has a rate above 0. The study rounds down, so
    that 5 % of fewer than 20 steps is no warm-up at all, and from 20 on its very first step has rate 0
    (protocol.md, section 1.1): with 15 to 35 steps a cycle that is up to a fifteenth of the training.

    Attributes:
        learning_rate: Peak learning rate.
        epochs: Passes over the cycle's rows; None where `max_steps` is set.
        max_steps: Optimizer steps whatever the number of rows, so that quantity of data and of training can be
            told apart; None where `epochs` is set.
        batch_size: Rows (for pairs: pairs) per forward pass; the last batch may be smaller, no row is dropped.
        gradient_accumulation: Forward passes per optimizer step.
        schedule: Learning rate after warm-up.
        final_share: Share of the peak rate that a cosine ends at (the study's library default is 0.1).
        warmup_share: Share of the steps spent warming up linearly, rounded up.
        weight_decay: AdamW's decoupled weight decay.
        adam_beta1: AdamW's first moment decay.
        adam_beta2: AdamW's second moment decay.
        adam_epsilon: AdamW's epsilon.
        max_grad_norm: Gradient clipping, by global norm.
        max_tokens: A longer rendered row is an error, never a truncation.
        lora: The adapter, or None to finetune all weights.
    """

    learning_rate: Rate
    epochs: Positive | None = None
    max_steps: Positive | None = None
    batch_size: Positive
    gradient_accumulation: Positive = 1
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    final_share: Share = 0.0
    warmup_share: Share = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.95
    adam_epsilon: Rate = 1e-8
    max_grad_norm: Rate = 1.0
    max_tokens: Positive
    lora: Lora | None

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("a training has either epochs or max_steps, and the other is null")
        if self.final_share and self.schedule != "cosine":
            raise ValueError("final_share is where a cosine ends; other schedules have none")
        return self


class Learning(Frozen):
    """How a generation learns from its rows.

    Attributes:
        method: The finetuning method.
        settings: Settings of its own (`beta` of DPO), checked by the method.
        rejected: Whose samples lose in each pair, for methods that learn from pairs: the base model's, or those of
            the generation before the one that wins (of M[n-2] in cycle n); None for methods that learn from rows.
        training: Hyper-parameters.
    """

    method: Method
    settings: dict[str, JsonValue] = {}
    rejected: Literal["base", "previous"] | None = None
    training: Training


class Sampling(Frozen):
    """How a generation is asked to answer.

    Attributes:
        temperature: Softmax temperature; below 1 sharpens toward the majority.
        top_p: Nucleus, 1.0 for none.
        max_new_tokens: Longest answer, in tokens; a longer one is cut and counted as truncated.
        stop: Strings that end an answer beside the model's own end token; a base model needs one.
    """

    temperature: Rate
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive
    stop: list[Annotated[str, Field(min_length=1)]] = []


class Measuring(Sampling):
    """How a checkpoint is measured.

    Attributes:
        name: The measurement's name in the pack, `quick` or `ranked`.
        questions: Questions per trait, the first of the frozen file.
        repeats: Independent answers per question.
        neutral_questions: Questions without a trait, for coherence alone.
        perplexity: Whether the base model is asked how likely it finds every response. Left out of a protocol where it is
            false, so that the protocols of before it was there keep their fingerprints.
    """

    name: str
    questions: Positive
    repeats: Positive
    neutral_questions: Count
    perplexity: Annotated[bool, Field(exclude_if=lambda asked: not asked)] = False


class Protocol(Frozen):
    """Everything that makes two chains comparable.

    Attributes:
        name: The baseline's name, with `+` and six digits of the fingerprint once it was overridden.
        pack: The family of traits it is written for.
        form: What the model is given: turns of a dialogue, or documents to continue (a base model).
        method: How a generation learns from data: `sft`, ...
        settings: See `Learning`.
        rejected: See `Learning`.
        mode: `reset` trains every cycle from the base model, `continual` from the previous generation.
        control: What this arm leaves out, if it is a control: `unseeded` has no demonstrations (cycle 0 is the base
            model, measured once more), `fresh-data` trains every cycle on new demonstrations instead of own
            outputs, `shuffled` on own outputs under other prompts, `frozen` not at all after cycle 0.
        cycles: Self-training cycles after cycle 0; 0 seeds and measures only.
        seeding: How cycle 0 learns, where it learns otherwise than the later ones.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
    pack: str
    form: Form = "dialogue"
    method: Method
    settings: dict[str, JsonValue] = {}
    rejected: Literal["base", "previous"] | None = None
    mode: Mode
    control: Control | None = None
    cycles: Annotated[int, Field(ge=0, le=100)]
    seeding: Learning | None = None
    data: Data
    training: Training
    sampling: Sampling
    measuring: Measuring

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if (self.data.n_seed == 0) != (self.control == "unseeded"):
            raise ValueError("data.n_seed is 0 in the unseeded control, and only there")
        if self.data.original_mix and (self.rejected is not None or self.control is not None):
            raise ValueError(
                "data.original_mix keeps demonstrations among own outputs: not among pairs, not in a control"
            )
        if self.control == "fresh-data" and (self.data.candidates > 1 or self.data.coherence_filter is not None):
            raise ValueError("the fresh-data control samples nothing: it has no candidates and no coherence_filter")
        if self.form == "document" and not (self.sampling.stop and self.measuring.stop):
            raise ValueError("documents end at a string of sampling.stop: a base model may never end one by itself")
        return self

    def learning(self, cycle: int) -> Learning:
        """How cycle `cycle` learns."""
        if cycle == 0 and self.seeding is not None:
            return self.seeding
        return Learning(method=self.method, settings=self.settings, rejected=self.rejected, training=self.training)

    @property
    def methods(self) -> list[str]:
        """Names of the methods that it uses, each once."""
        return sorted({self.learning(0).method, self.method})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all settings; the name is left out."""
        return sha256_json(self.model_dump(exclude={"name"}))

    @property
    def labels(self) -> list[str]:
        """The checkpoints of a chain, in order: `base`, `c0` (seeding), `c1` .. `cK`."""
        return ["base", *(f"c{cycle}" for cycle in range(self.cycles + 1))]


class Execution(Frozen):
    """What only changes the bits: part of every step's key, not of the protocol.

    Attributes:
        device: Where tensors live; of several GPUs, the one that CUDA_VISIBLE_DEVICES shows.
        dtype: Dtype of the base model's weights.
        attention: Attention implementation of transformers.
        backend: lm-eval model class that samples.
        batch_size: Prompts per generate call.
        threads: Torch threads on the CPU; torch computes other bits, and far slower, with others.
    """

    device: Literal["cpu", "cuda", "mps"] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attention: Literal["eager", "sdpa"] = "sdpa"
    backend: Literal["hf"] = "hf"
    batch_size: Positive = 256
    threads: Positive = 1

    @model_validator(mode="after")
    def _half_needs_a_gpu(self) -> Execution:
        if self.dtype == "float16" and self.device == "cpu":
            raise ValueError("float16 needs a GPU; use float32 or bfloat16 on the CPU")
        return self


def explain(error: ValidationError) -> list[str]:
    """One line per problem pydantic found: where, what, and what was there."""
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "(top)"
        found = "" if isinstance(problem["input"], dict | list) else f" (found {problem['input']!r})"
        lines.append(f"{place}: {problem['msg']}{found}")
    return lines
