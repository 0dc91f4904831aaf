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
from idembench.judges import numerals
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
_OPTIONS = ("pack", "dtype", "device", "batch_size")


class Local(LogprobJudge):
    """Asks a local model for a grade and weighs the grades by their exact probabilities."""

    kind: ClassVar[str] = "hf"
    argument_is: ClassVar[str] = "MODEL[@REVISION]"

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
        """Find and name its files, and make sure that its tokenizer can render a prompt and write the numbers.

        That takes a second and no torch, where the tokenizer is what its files say and nothing is wrong.

        Raises:
            IdembenchError: If they are not there or not safe; see `models.resolve`.
            ModelError: If it has no chat template, or none that can be used, or cannot write a number.
        """
        self.fingerprint  # noqa: B018 -- finding out is what is wanted
        try:
            self._written_by(loading.plain_tokenizer(self.model))
        except ModelError:
            self._numbers  # noqa: B018 -- the tokenizer that will be used has the last word

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
        if other := set(getattr(loaded.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
            raise ModelError(
                "This model cannot be a judge: the numbers cannot be read behind one another in one pass.",
                expected="layers of full attention",
                found=", ".join(sorted(other)),
                where=self.model.name,
            )
        return loaded

    def _special(self) -> Collection[str]:
        return [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]

    def _longest(self) -> int:
        """Tokens of the longest prompt that the model reads whole, within the window of every layer."""
        config = self._loaded.config.get_text_config()
        sliding = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        window = config.sliding_window if sliding else None
        return int(min(config.max_position_embeddings, window or config.max_position_embeddings)) - _LONGEST_NUMBER

    def _render(self, prompt: str) -> list[int]:
        return list(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                enable_thinking=False,  # a number at once; templates that know of no thinking ignore it
            )
        )

    def _read(self, prompts: Sequence[str]) -> list[Reading]:
        from idembench.judges import tree

        readings = [Reading(missing=TOO_LONG) for _ in prompts]
        ids = [self._render(prompt) for prompt in prompts]
        # Longest first: a batch pads little, and what does not fit the memory fails at once.
        order = sorted((i for i in range(len(ids)) if len(ids[i]) <= self._longest()), key=lambda i: -len(ids[i]))
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
