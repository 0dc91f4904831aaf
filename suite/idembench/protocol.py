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
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from idembench.errors import ProtocolError, UnknownNameError
from idembench.files import asset, sha256_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=0, le=100)]
Method = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Mode = Literal["reset", "continual"]
Form = Literal["dialogue", "document"]
Control = Literal["unseeded", "fresh-data", "shuffled", "frozen"]
STUDY = "study"
"""Folder of the source study's own settings, which name no pack."""
DEFAULT_MEASUREMENT = "quick"


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
    """The shipped protocols that can be run on a pack, by name: the pack's own, and `study/...`, which go with any."""
    return shipped_files(pack) | {f"{STUDY}/{name}": path for name, path in shipped_files(STUDY).items()}


def shipped_files(folder: str) -> dict[str, Path]:
    """The YAML files of a folder below `baselines/`, by name."""
    return {path.stem: path for path in sorted((asset("baselines") / folder).glob("*.yaml"))}


def purpose(path: Path) -> str:
    """Why a baseline exists: the first comment line of its file."""
    first = path.read_text(encoding="utf-8").splitlines()[:1]
    return first[0].lstrip("# ") if first and first[0].startswith("#") else ""


def load(
    name: str,
    *,
    pack: str,
    measurements: Mapping[str, Mapping[str, Any]],
    measurement: str | None,
    trait: str,
    overrides: Sequence[str] = (),
) -> Protocol:
    """Resolve a baseline's name (or the path of a YAML file) to a protocol.

    Args:
        name: `sft-reset`, `study/sft-reset`, or a path ending in `.yaml`.
        pack: The pack whose baselines are looked through; a file that names none is for it.
        measurements: The pack's measurements, by name.
        measurement: Which of them to use; None for the file's own, or `quick` if it has none.
        trait: Whose `data.n_seed` is taken where the file gives one for each trait, as `idembench calibrate`
            finds them: the response to demonstrations is steep, and differs from trait to trait.
        overrides: `key.path=value` strings, applied last; values are YAML.

    Raises:
        UnknownNameError: If there is no such baseline or measurement.
        ProtocolError: If the file or an override does not hold; every problem is listed.
    """
    path = _find(name, pack)
    content = {
        "pack": pack,
        **_read_protocol(path),
        "name": name.replace("/", "-") if name in baselines(pack) else path.stem,
    }
    if measurement is not None or "measuring" not in content:
        measurement = measurement or DEFAULT_MEASUREMENT
        if measurement not in measurements:
            raise UnknownNameError("measurement", measurement, measurements, where=f"tasks/{pack}/pack.yaml")
        content["measuring"] = {**measurements[measurement], "name": measurement}
    given = any(override.partition("=")[0].strip() == "data.n_seed" for override in overrides)
    chosen = _choose_n_seed(content, trait, where=str(path), given=given)
    plain = _validated(_stopping(content), where=str(path)) if chosen else None
    for override in overrides:
        _apply(content, override)
    where = f"{path} with --set {' '.join(overrides)}" if overrides else str(path)
    protocol = _validated(_stopping(content), where=where)
    if protocol.pack != pack:
        raise ProtocolError("This protocol is for another pack.", expected=pack, found=protocol.pack, where=where)
    if plain is None or protocol.fingerprint != plain.fingerprint:
        protocol = protocol.model_copy(update={"name": f"{protocol.name}+{protocol.fingerprint[:6]}"})
    return protocol


def _stopping(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with a measurement that stops where sampling does, unless it says where it stops itself."""
    sampling, measuring = content.get("sampling"), content.get("measuring")
    stop = sampling.get("stop", []) if isinstance(sampling, dict) else []
    return {**content, "measuring": {"stop": stop, **measuring} if isinstance(measuring, dict) else measuring}


def _read_protocol(path: Path, *, inner: bool = False) -> dict[str, Any]:
    """A protocol file's content, with the neighbours that it names filled in.

    A file that says `extends: sft-reset` is that file with its own settings put over it, key by key at every
    level. One level only: what a file says can be read in two places at most. `seeding: sft-reset` means that
    cycle 0 learns as it does there, so that both share it.
    """
    read = read_yaml(path)
    if not isinstance(read, dict):
        raise ProtocolError("A protocol is a mapping.", found=type(read).__name__, where=str(path))
    content: dict[str, Any] = read
    if (name := content.pop("extends", None)) is not None:
        if inner:
            raise ProtocolError(
                "A protocol names one that extends another.",
                expected="one level, so that a protocol can be read in two files at most",
                found=f"extends: {name}",
                where=str(path),
                do="Name the last of them, or write the settings out.",
            )
        content = _over(_read_protocol(_neighbour(path, name), inner=True), content)
    if isinstance(seeding := content.get("seeding"), str):
        other = _read_protocol(_neighbour(path, seeding), inner=True)
        if other.get("seeding") is not None:
            raise ProtocolError(
                "A protocol seeds as one does that has a seeding of its own.",
                expected="a protocol whose cycle 0 learns as its later cycles do",
                found=f"seeding: {seeding}",
                where=str(path),
                do="Name the protocol that that one seeds as.",
            )
        content["seeding"] = {key: other[key] for key in Learning.model_fields if key in other}
    return content


def own_settings(name: str, *, pack: str) -> set[str]:
    """The dotted keys that a protocol's file puts over what it extends; none if it extends nothing.

    Raises:
        UnknownNameError: If there is no such baseline.
        ProtocolError: If the file does not hold.
    """
    path = _find(name, pack)
    content = read_yaml(path)
    return _dotted(content) if isinstance(content, dict) and "extends" in content else set()


def _dotted(content: Mapping[str, Any], prefix: str = "") -> set[str]:
    return {
        key
        for name, value in content.items()
        for key in (_dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"})
    }


def _find(name: str, pack: str) -> Path:
    shipped = baselines(pack)
    path = Path(name) if name.endswith((".yaml", ".yml")) else shipped.get(name)
    if path is None:
        raise UnknownNameError("baseline", name, shipped, where=f"baselines/{pack}")
    return path


def _neighbour(path: Path, name: object) -> Path:
    # Looked up, not joined: a name with a slash would lead out of the folder.
    others = {other.stem: other for other in path.parent.glob("*.yaml") if other.name != path.name}
    if not isinstance(name, str) or name not in others:
        raise UnknownNameError("protocol", str(name), others, where=f"{path}, extends or seeding")
    return others[name]


def _choose_n_seed(content: dict[str, Any], trait: str, *, where: str, given: bool) -> bool:
    """Put one trait's number in the place of a mapping from traits to numbers; false if an override has to give it."""
    data = content.get("data")
    by_trait = data.get("n_seed") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(by_trait, dict):
        return True
    if trait not in by_trait and given:
        return False
    if trait not in by_trait:
        raise ProtocolError(
            "A protocol does not say how many demonstrations a trait takes.",
            expected=f"data.n_seed for {trait}",
            found=", ".join(map(str, by_trait)),
            where=where,
            do="Add it to the file, or give --set data.n_seed=...; `idembench calibrate` finds one.",
        )
    content["data"] = {**data, "n_seed": by_trait[trait]}
    return True


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` put over `below`, key by key at every level."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


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
        if name not in content:
            continue
        value = out[name]
        kinds = _kinds(field.annotation)
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):
                out[name] = float(value)
        for kind in kinds:
            if issubclass(kind, BaseModel):
                out[name] = _ints_to_floats(value, kind)
    return out


def _kinds(annotation: Any) -> list[type]:
    """The classes that an annotation admits: `X | None` and `Annotated[X, ...]` are opened."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for inner in get_args(annotation) for kind in _kinds(inner)]
    return [annotation] if isinstance(annotation, type) else []


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
