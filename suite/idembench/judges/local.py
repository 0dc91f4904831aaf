"""`hf:MODEL`: a judge that is a local model, found and loaded as any other model is, so from safe files only.

    hf:Qwen/Qwen3-4B-Instruct-2507@<commit>,dtype=bfloat16,device=cuda

Its weights are named by the digest of their files. How it is computed (dtype, device, batch size, attention) changes bits
and so belongs to its fingerprint. Whether its tokenizer can render a prompt and write the numbers is looked at when it is
named, before anything is trained or sampled; its weights are loaded when it is asked. Knows nothing about what is asked;
`numerals.py` and `tree.py` know how a number is.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from idembench import loading, models
from idembench.errors import EnvironmentProblem, InputError, ModelError
from idembench.files import read_json
from idembench.judges import numerals, prompting
from idembench.judges.logprob import PACK, TOO_LONG, LogprobJudge, Reading, parse
from idembench.protocol import Execution, explain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from idembench.judges.numerals import Numbers
    from idembench.models import Model

BATCH_SIZE = 8
"""Prompts that are read at once, unless told otherwise; a prompt is a thousand tokens or two."""
_ALIKE = 200  # characters by which prompts of one rubric are told from others
_LONGEST_NUMBER = 4  # tokens: white space and three digits
_SHORTEST = prompting.for_coherence(prompting.data("", ""))
"""The shortest prompt that a judge is asked: of an empty answer to an empty question."""
_LAYERS = frozenset({"full_attention", "sliding_attention"})
_OPTIONS = ("pack", "dtype", "device", "batch_size")


class Local(LogprobJudge):
    """Asks a local model for a grade and weighs the grades by their exact probabilities."""

    kind: ClassVar[str] = "hf"
    argument_is: ClassVar[str] = "MODEL[@REVISION][,device=cuda][,dtype=bfloat16][,batch_size=N][,pack=PACK]"

    def __init__(self, argument: str) -> None:
        """Read the argument.

        Raises:
            InputError: If it does not hold.
        """
        super().__init__(argument)
        self._asked, self._options = parse(argument, _OPTIONS, judge=self.kind)
        self.pack = self._options.get("pack", PACK)
        size = self._options.get("batch_size", str(BATCH_SIZE))
        try:
            self._execution = Execution.model_validate(
                {key: value for key, value in self._options.items() if key in ("dtype", "device")}
                | {"batch_size": int(size) if size.isdecimal() else size}
            )
        except ValidationError as error:
            raise InputError(
                "A judge's argument does not hold.", found="; ".join(explain(error)), where=f"{self.kind}:{argument}"
            ) from error

    @property
    def name(self) -> str:
        """As it was named; a folder by its own name, because where it lies is nobody's business."""
        folder = Path(self._asked).expanduser()
        asked = f"local/{folder.resolve().name}" if folder.is_dir() else self._asked
        return ",".join([f"{self.kind}:{asked}", *(f"{key}={value}" for key, value in self._options.items())])

    @cached_property
    def model(self) -> Model:
        """The judge's model, its files found and checked."""
        return models.resolve(self._asked)

    @property
    def pinned(self) -> str | None:
        """Its fingerprint with the model's name in the place of the files' digest; None if no whole commit is named."""
        named = models.pinned(self._asked)
        return None if named is None else self._print(self._identity(named))

    def at_hand(self) -> bool:
        """Whether the model's files are on this machine; if so they are taken as they are."""
        if "model" not in vars(self):
            try:
                self.model = models.resolve(self._asked, fetch=False)
            except EnvironmentProblem:
                return False
        return True

    @property
    def weights(self) -> str:
        """Digest of the model's files, by which a record tells a model that judges itself."""
        return self.model.digest

    def check(self) -> None:
        """Find and name its files, and make sure of all that can be known without its weights.

        There is its device, its tokenizer can render a prompt and write the numbers, and by its configuration it is a
        causal language model that the numbers can be read from, with room for a prompt. That takes a second and, on a
        CPU, no torch, where the tokenizer and the configuration are what their files say and nothing is wrong.

        Raises:
            IdembenchError: If they are not there or not safe; see `models.resolve`.
            ModelError: If it has no chat template, or none that can be used, or cannot write a number; if it is no
                causal language model, has layers of another kind, or no room for the shortest prompt.
            EnvironmentProblem: If its device is not there, or is several.
        """
        self.fingerprint  # noqa: B018 -- finding out is what is wanted
        loading.check_device(self._execution)
        try:
            tokenizer = loading.plain_tokenizer(self.model)
            self._written_by(tokenizer)
        except ModelError:
            self._numbers  # noqa: B018 -- the tokenizer that will be used has the last word
            tokenizer = self._tokenizer
        if not _plainly_fits(read_json(self.model.folder / "config.json"), len(_rendered(tokenizer, _SHORTEST))):
            self._check_room(self._config)  # so has the configuration that will be used

    def _check_room(self, config: Any) -> None:
        """Make sure that the shortest prompt fits a model that can be a judge.

        Raises:
            ModelError: If it does not, or the model cannot be one.
        """
        _check_kind(config, where=self.model.name)
        shortest, longest = len(self._render(_SHORTEST)), _longest(config)
        if shortest > longest:
            raise ModelError(
                "This model cannot be a judge: no prompt fits what it reads at once.",
                expected=f"room for the shortest prompt, {shortest + _LONGEST_NUMBER} tokens with the answer",
                found=f"{longest + _LONGEST_NUMBER} tokens",
                where=self.model.name,
                do="Name a model of a longer context.",
            )

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.model.folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                "The model's configuration cannot be loaded.", found=str(error), where=str(self.model.folder)
            ) from error

    def _identity(self, named: str | None = None) -> dict[str, Any]:
        run = self._execution
        return {
            "model": named or self.weights,
            "dtype": run.dtype,
            "device": run.device,
            "attention": run.attention,
            "batch_size": run.batch_size,
        }

    @cached_property
    def _tokenizer(self) -> Any:
        return loading.load_tokenizer(self.model)

    @cached_property
    def _numbers(self) -> Numbers:
        return self._written_by(self._tokenizer)

    def _written_by(self, tokenizer: Any) -> Numbers:
        found = numerals.Numbers(numerals.vocabulary(tokenizer))
        if len({node.text for node in found.nodes}) <= 100:  # noqa: PLR2004 -- of the 101 numbers
            raise ModelError(
                "This model cannot be a judge: its tokenizer cannot write every number from 0 to 100.",
                expected="tokens for the digits",
                found=", ".join(sorted({node.text for node in found.nodes})[:8]) or "none",
                where=self.model.name,
            )
        return found

    @cached_property
    def _loaded(self) -> Any:
        import torch

        from idembench import decoding

        loading.quiet_libraries()
        # Threads stay as they are: the model under test may run in this process, and other threads mean other bits.
        loaded = loading.load_weights(
            self.model, self._execution.model_copy(update={"threads": torch.get_num_threads()})
        ).eval()
        decoding.check(loaded, where=self.model.name)
        _check_kind(loaded.config, where=self.model.name)
        return loaded

    def _special(self) -> Collection[str]:
        return [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]

    def _render(self, prompt: str) -> list[int]:
        return _rendered(self._tokenizer, prompt)

    def _read(self, prompts: Sequence[str]) -> list[Reading]:
        from idembench.judges import tree

        readings = [Reading(missing=TOO_LONG) for _ in prompts]
        ids = [self._render(prompt) for prompt in prompts]
        longest = _longest(self._loaded.config)
        # Longest first: a batch pads little, and what does not fit the memory fails at once.
        order = sorted((i for i in range(len(ids)) if len(ids[i]) <= longest), key=lambda i: -len(ids[i]))
        alike: dict[str, list[int]] = defaultdict(list)
        for i in order:
            alike[prompts[i][:_ALIKE]].append(i)
        for members in alike.values():
            beginning = tree.begin(self._loaded, [ids[i] for i in members])
            for start in range(0, len(members), self._execution.batch_size):
                batch = members[start : start + self._execution.batch_size]
                said = tree.ask(
                    self._loaded,
                    self._numbers,
                    [ids[i] for i in batch],
                    pad=self._tokenizer.pad_token_id,
                    beginning=beginning,
                )
                for i, one in zip(batch, said, strict=True):
                    readings[i] = Reading.of(one.numbers, likeliest=self._tokenizer.decode([one.likeliest]))
        return readings


def _rendered(tokenizer: Any, prompt: str) -> list[int]:
    return list(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            enable_thinking=False,  # a number at once; templates that know of no thinking ignore it
        )
    )


def _plainly_fits(stated: dict[str, Any], tokens: int) -> bool:
    """Whether what a config.json states, looked at without torch, is all that is asked for; where in doubt, not."""
    inner = stated.get("text_config")
    text = inner if isinstance(inner, dict) else stated
    named, layers = stated.get("architectures"), text.get("layer_types") or []
    rooms = [text.get("max_position_embeddings")]
    if "sliding_attention" in layers:
        rooms.append(text.get("sliding_window"))
    return (
        isinstance(named, list)
        and any(str(name).endswith("ForCausalLM") for name in named)
        and all(layer in _LAYERS for layer in layers)
        and all(isinstance(room, int) and tokens <= room - _LONGEST_NUMBER for room in rooms)
    )


def _check_kind(config: Any, *, where: str) -> None:
    """Make sure that a configuration is of a model that can be a judge.

    Raises:
        ModelError: If it is no causal language model, or the numbers cannot be read from it.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and type(config.get_text_config()) not in (
        MODEL_FOR_CAUSAL_LM_MAPPING
    ):
        raise ModelError(
            "This model cannot be a judge: it is no causal language model.",
            expected="an architecture that continues a text",
            found=str(config.model_type),
            where=where,
            do="Name an instruct model that does, such as a Llama or a Qwen.",
        )
    if other := set(getattr(config.get_text_config(), "layer_types", None) or ()) - _LAYERS:
        raise ModelError(
            "This model cannot be a judge: the numbers cannot be read behind one another in one pass.",
            expected="layers of full attention",
            found=", ".join(sorted(other)),
            where=where,
        )


def _longest(config: Any) -> int:
    """Tokens of the longest prompt that a model reads whole, within the window of every layer."""
    text = config.get_text_config()
    sliding = "sliding_attention" in (getattr(text, "layer_types", None) or ())
    window = text.sliding_window if sliding else None
    return int(min(text.max_position_embeddings, window or text.max_position_embeddings)) - _LONGEST_NUMBER
