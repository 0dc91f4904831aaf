"""What makes two chains comparable, as frozen models: YAML in, canonical JSON and a fingerprint out.

A *protocol* says how a chain learns and is measured; an *execution* says what only changes the bits
(batch size of sampling, dtype, threads, device). Both are part of every step's key; the protocol alone
is what a leaderboard groups by. This module reads text and checks it; it knows nothing about models.

    Protocol.model_validate_json(p.canonical()) == p
    equal fingerprints  if and only if  equal settings (the name and its reasons do not count)
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from idembench.errors import ProtocolError, UnknownNameError
from idembench.files import asset, sha256_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Method = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Mode = Literal["reset", "continual"]


class Frozen(BaseModel):
    """Base of everything that crosses the untrusted boundary: strict, frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Frozen):
    """How much a cycle learns from.

    Attributes:
        n_seed: Demonstrations in cycle 0, drawn per seed from the trait's pool.
        n_sampled: Prompts the previous generation answers for each later cycle, one answer each.
    """

    n_seed: Positive
    n_sampled: Positive


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

    Attributes:
        learning_rate: Peak learning rate.
        epochs: Passes over the cycle's rows.
        batch_size: Rows per optimizer step; the last batch may be smaller, no row is dropped.
        schedule: Learning rate after warm-up.
        warmup_share: Share of the steps spent warming up linearly, rounded up.
        weight_decay: AdamW's decoupled weight decay.
        adam_beta1: AdamW's first moment decay.
        adam_beta2: AdamW's second moment decay.
        adam_epsilon: AdamW's epsilon.
        max_grad_norm: Gradient clipping, by global norm.
        max_tokens: A longer rendered row is an error, never a truncation.
        lora: The adapter.
    """

    learning_rate: Rate
    epochs: Positive
    batch_size: Positive
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_share: Share = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.95
    adam_epsilon: Rate = 1e-8
    max_grad_norm: Rate = 1.0
    max_tokens: Positive
    lora: Lora


class Sampling(Frozen):
    """How a generation is asked to answer.

    Attributes:
        temperature: Softmax temperature; below 1 sharpens toward the majority.
        top_p: Nucleus, 1.0 for none.
        max_new_tokens: Longest answer, in tokens; a longer one is cut and counted as truncated.
    """

    temperature: Rate
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Positive


class Measuring(Sampling):
    """How a checkpoint is measured.

    Attributes:
        name: The measurement's name in the pack, `quick` or `ranked`.
        questions: Questions per trait, the first of the frozen file.
        repeats: Independent answers per question.
        neutral_questions: Questions without a trait, for coherence alone.
    """

    name: str
    questions: Positive
    repeats: Positive
    neutral_questions: Count


class Protocol(Frozen):
    """Everything that makes two chains comparable.

    Attributes:
        name: The baseline's name, with `+` and six digits of the fingerprint once it was overridden.
        pack: The family of traits it is written for.
        method: How a generation learns from data: `sft`, ...
        mode: `reset` trains every cycle from the base model, `continual` from the previous generation.
        cycles: Self-training cycles after cycle 0.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")]
    pack: str
    method: Method
    mode: Mode
    cycles: Annotated[int, Field(ge=1, le=100)]
    data: Data
    training: Training
    sampling: Sampling
    measuring: Measuring

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
    batch_size: Positive = 128
    threads: Positive = 1

    @model_validator(mode="after")
    def _half_needs_a_gpu(self) -> Execution:
        if self.dtype == "float16" and self.device == "cpu":
            raise ValueError("float16 needs a GPU; use float32 or bfloat16 on the CPU")
        return self


# -- from YAML ------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses duplicate keys and reads `1e-3` as the number it is."""


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _no_duplicate_keys(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _no_duplicate_keys)


def read_yaml(path: Path) -> Any:
    """Read YAML strictly.

    Raises:
        ProtocolError: If the file cannot be read, is no YAML, or names a key twice.
    """
    try:
        return _parse_yaml(path.read_bytes(), where=str(path))
    except OSError as error:
        raise ProtocolError("A file cannot be read.", found=str(error.strerror), where=str(path)) from error


def _parse_yaml(text: str | bytes, *, where: str) -> Any:
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return yaml.load(decoded, Loader=_StrictLoader)  # noqa: S506 -- derived from SafeLoader
    # Beside its own errors the parser raises these: dates that do not exist, keys that are lists, endless nesting.
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("This is not valid YAML.", found=" ".join(str(error).split()), where=where) from error


def baselines(pack: str) -> dict[str, Path]:
    """The shipped protocols of a pack, by name."""
    return {path.stem: path for path in sorted((asset("baselines") / pack).glob("*.yaml"))}


def purpose(path: Path) -> str:
    """Why a baseline exists: the first comment line of its file."""
    first = path.read_text(encoding="utf-8").splitlines()[:1]
    return first[0].lstrip("# ") if first and first[0].startswith("#") else ""


def load(
    name: str,
    *,
    pack: str,
    measurements: Mapping[str, Mapping[str, Any]],
    measurement: str,
    overrides: Sequence[str] = (),
) -> Protocol:
    """Resolve a baseline's name (or the path of a YAML file) to a protocol.

    Args:
        name: `sft-reset`, or a path ending in `.yaml`.
        pack: The pack whose baselines are looked through.
        measurements: The pack's measurements, by name.
        measurement: Which of them to use.
        overrides: `key.path=value` strings, applied last; values are YAML.

    Raises:
        UnknownNameError: If there is no such baseline or measurement.
        ProtocolError: If the file or an override does not hold; every problem is listed.
    """
    shipped = baselines(pack)
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped.get(name)
    if path is None:
        raise UnknownNameError("baseline", name, shipped, where=f"baselines/{pack}")
    if measurement not in measurements:
        raise UnknownNameError("measurement", measurement, measurements, where=f"tasks/{pack}/pack.yaml")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ProtocolError("A protocol is a mapping.", found=type(content).__name__, where=str(path))
    content = {**content, "name": path.stem}
    content.setdefault("measuring", {**measurements[measurement], "name": measurement})
    plain = _validated(content, where=str(path))
    for override in overrides:
        _apply(content, override)
    where = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    protocol = _validated(content, where=where)
    if protocol.pack != pack:
        raise ProtocolError("This protocol is for another pack.", expected=pack, found=protocol.pack, where=where)
    if protocol.fingerprint != plain.fingerprint:
        protocol = protocol.model_copy(update={"name": f"{protocol.name}+{protocol.fingerprint[:6]}"})
    return protocol


def _validated(content: Mapping[str, Any], *, where: str) -> Protocol:
    try:
        return Protocol.model_validate(_ints_to_floats(content, Protocol))
    except ValidationError as error:
        raise ProtocolError(
            "A protocol does not hold.", found="; ".join(explain(error)), where=where, do="See baselines/README.md."
        ) from error


def explain(error: ValidationError) -> list[str]:
    """One line per problem pydantic found: where, what, and what was there."""
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "(top)"
        found = "" if isinstance(problem["input"], dict | list) else f" (found {problem['input']!r})"
        lines.append(f"{place}: {problem['msg']}{found}")
    return lines


def _ints_to_floats(content: Any, model: type[BaseModel]) -> Any:
    """Let `temperature: 1` mean 1.0; strictness would refuse it, and canonical JSON must not show two forms."""
    if not isinstance(content, dict):
        return content
    out = dict(content)
    for name, field in model.model_fields.items():
        value = out.get(name)
        if field.annotation is float and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                out[name] = float(value)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out[name] = _ints_to_floats(value, field.annotation)
            if name not in content:
                del out[name]
    return out


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or path == ["name"]:
        raise ProtocolError("An override cannot be read.", expected="key.path=value", found=override, where="--set")
    place = content
    for part in path[:-1]:
        inner = place.get(part)
        if not isinstance(inner, dict):
            raise ProtocolError("An override names a setting that is not there.", found=key, where="--set")
        place[part] = place = dict(inner)
    place[path[-1]] = _parse_yaml(text, where=f"--set {override}")
