"""`openai:MODEL`: a judge behind any OpenAI-compatible endpoint that shows log-probabilities in chat completions.

The openai client reads OPENAI_BASE_URL and OPENAI_API_KEY, sends what was put off again (with growing, jittered delays,
or as long as Retry-After says, up to two minutes), and times out. What is ours: many calls at once
(IDEMBENCH_JUDGE_CONCURRENCY by each judge, 32 if it is not set), a budget of the run (`budget.py`) that every attempt of
a call is entered in (`metered.py`), one clear error where asking again would not help, and answers that are kept
(`kept.py`). How numbers are read from what an endpoint shows,
exactly or nearly, is in `shown.py`. Where the endpoint is, is nobody's business: it enters no name, no
fingerprint and no record. So two endpoints that call different weights by one name are one judge to us.

A call may cost money. It is answered once: an answer that could be read is kept, in the order in which answers come.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from idembench.errors import EnvironmentProblem, IdembenchError, InputError, ModelError
from idembench.judges import shown
from idembench.judges.budget import Budget, whole
from idembench.judges.kept import Kept
from idembench.judges.logprob import (
    FILTERED,
    MALFORMED,
    NO_LOGPROBS,
    PACK,
    TOO_LONG,
    LogprobJudge,
    Reading,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from openai import APIStatusError, AsyncOpenAI

CONCURRENCY = "IDEMBENCH_JUDGE_CONCURRENCY"
DEFAULT_CONCURRENCY = 32
SHOWN = 20
"""Tokens shown at each place: the most that OpenAI's interface allows."""
ANSWER_TOKENS = 6
"""Longest answer: white space, three digits and what shows that no further digit follows."""
RETRIES = 10
TIMEOUT_S = 120.0
BATCH = 64
"""Answers that are kept together; a kill loses fewer than these."""
_CLIP = 200
_STRANGE = re.compile(r"[^\t\x20-\x7e]")
_HEADERS = {
    "authorization": "OPENAI_API_KEY",
    "openai-organization": "OPENAI_ORG_ID",
    "openai-project": "OPENAI_PROJECT_ID",
}
"""Which environment variable a header is made of."""


class Endpoint(LogprobJudge):
    """Asks an endpoint for a grade and weighs the grades by the probabilities that it shows."""

    kind: ClassVar[str] = "openai"

    def __init__(self, argument: str) -> None:
        """Read the argument.

        Raises:
            InputError: If it does not hold.
        """
        super().__init__(argument)
        self._model, options = parse(argument, ("pack",), judge=self.kind)
        self.pack = options.get("pack", PACK)

    @property
    def name(self) -> str:
        """As it was named."""
        return f"{self.kind}:{self.argument}"

    def check(self) -> None:
        """Make sure that the key and the settings are there; nothing is asked.

        Raises:
            EnvironmentProblem: If there is no key, or it or the address cannot be sent anything with.
            InputError: If a setting does not hold.
        """
        self.fingerprint  # noqa: B018 -- its pack must be there
        Budget.from_environment()  # and its settings hold
        whole(CONCURRENCY)
        _client()

    def _identity(self) -> dict[str, Any]:
        return {"model": self._model, "shown": SHOWN, "answer_tokens": ANSWER_TOKENS, "read": shown.VERSION}

    @cached_property
    def _kept(self) -> Kept:
        return Kept(self.fingerprint, self.name)

    def _read(self, prompts: Sequence[str]) -> list[Reading]:
        asked = {self._kept.key(messages): messages for messages in map(_messages, prompts)}
        readings = {key: known for key in asked if (known := self._kept.get(key)) is not None}
        missing = {key: messages for key, messages in asked.items() if key not in readings}
        if missing:
            readings |= _run(self._ask_all(missing))
        return [readings[key] for key in asked]

    async def _ask_all(self, asked: Mapping[str, list[dict[str, Any]]]) -> dict[str, Reading]:
        """Ask for everything, many at once; what is answered is kept, also when an error ends it."""
        readings: dict[str, Reading] = {}
        unsaved: dict[str, Reading] = {}
        stopped: list[IdembenchError] = []
        waiting = iter(asked.items())

        def save() -> None:
            batch = {
                key: reading for key, reading in unsaved.items() if reading.missing not in (NO_LOGPROBS, MALFORMED)
            }
            unsaved.clear()
            self._kept.add(batch)

        async def work(client: AsyncOpenAI) -> None:
            for key, messages in waiting:
                if stopped:
                    return
                try:
                    readings[key] = unsaved[key] = await self._ask(client, messages)
                except IdembenchError as error:
                    stopped.append(error)  # the others finish the call that they are in: it may have been paid for
                if len(unsaved) >= BATCH:
                    save()

        try:
            async with _client(Budget.from_environment()) as client, asyncio.TaskGroup() as group:
                for _ in range(min(len(asked), whole(CONCURRENCY) or DEFAULT_CONCURRENCY)):
                    group.create_task(work(client))
        finally:
            save()
        if stopped:
            raise stopped[0]
        return readings

    async def _ask(self, client: AsyncOpenAI, messages: list[dict[str, Any]]) -> Reading:
        import httpx2
        import openai

        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": SHOWN,
        }
        try:
            # Not `chat.completions.create`, which spends a millisecond on types that are plain JSON here.
            answer = await client.post("/chat/completions", cast_to=httpx2.Response, body=body)
        except openai.APIStatusError as error:
            return self._refused(error, client)
        except openai.APIConnectionError as error:
            raise EnvironmentProblem(
                "The judge's endpoint cannot be reached, or does not answer in time.",
                found=f"{_clip(error)}, after {RETRIES + 1} attempts",
                where=_where(client),
                do="Check OPENAI_BASE_URL and the network, then run the same command again: answers are kept.",
            ) from error
        return parse_answer(answer.content)

    def _refused(self, error: APIStatusError, client: AsyncOpenAI) -> Reading:
        """What an error that asking again would not help means: a missing score where it is about the text, else an error."""
        found, where = f"{error.status_code}: {_clip(error)}", _where(client)
        code = str(error.body.get("code")) if isinstance(error.body, dict) else ""
        if error.status_code in (400, 413, 422) and ("context_length" in code or "context length" in found.lower()):
            return Reading(missing=TOO_LONG)
        if error.status_code in (400, 403) and "content_filter" in code:
            return Reading(missing=FILTERED)
        raise _refusal(error.status_code, self._model, found, where) from error


def _refusal(status: int, model: str, found: str, where: str) -> IdembenchError:
    if status in (401, 403):
        return EnvironmentProblem(
            "The judge's endpoint does not accept the key.",
            found=found,
            where=where,
            do="Set OPENAI_API_KEY to a key of this endpoint that may use the model.",
        )
    if status == 404:  # noqa: PLR2004 -- as it is known to everyone
        return ModelError(
            "The judge's endpoint has no such model, or is no OpenAI-compatible endpoint.",
            expected=f"{model} at {where}",
            found=found,
            do="Check the name after `openai:`, and that OPENAI_BASE_URL ends as the endpoint's maker says, often in /v1.",
        )
    if status == 429:  # noqa: PLR2004
        return EnvironmentProblem(
            "The judge's endpoint keeps putting calls off.",
            found=f"{found}, after {RETRIES + 1} attempts",
            where=where,
            do=f"Check the account's quota, or lower {CONCURRENCY}, then run the same command again: answers are kept.",
        )
    if status >= 500:  # noqa: PLR2004
        return EnvironmentProblem(
            "The judge's endpoint is failing.",
            found=f"{found}, after {RETRIES + 1} attempts",
            where=where,
            do="Run the same command again later: answers are kept.",
        )
    return InputError(
        "The judge's endpoint does not take what it is asked.",
        expected=f"chat completions of {model} with logprobs, top_logprobs {SHOWN}, max_tokens and temperature 0",
        found=found,
        where=where,
        do="Name a model that shows log-probabilities; models that reason before they answer do not.",
    )


def parse_answer(body: bytes) -> Reading:
    """The reading of a chat completion."""
    try:
        answer = json.loads(body)
        choice = answer["choices"][0]
        content = (choice.get("logprobs") or {}).get("content")
        places = [_place(one) for one in content or ()]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return Reading(missing=MALFORMED)
    if choice.get("finish_reason") == "content_filter":
        return Reading(missing=FILTERED)
    return shown.read(places) if places else Reading(missing=NO_LOGPROBS)


def _place(one: Mapping[str, Any]) -> shown.Place:
    p: dict[str, float] = {}
    for other in one.get("top_logprobs") or ():
        p[str(other["token"])] = p.get(str(other["token"]), 0.0) + _probability(other["logprob"])
    taken = str(one["token"])
    p.setdefault(taken, _probability(one["logprob"]))
    return shown.Place(taken, p)


def _probability(logprob: float) -> float:
    p = math.exp(min(logprob, 0.0))
    if math.isnan(p):
        raise ValueError("a log-probability is not a number")
    return p


def _messages(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


def _client(budget: Budget | None = None) -> AsyncOpenAI:
    """A client of the endpoint, whose every attempt is a call of the budget; without one it is to be looked at only.

    Raises:
        EnvironmentProblem: If there is no key, or no sound address, or one of its headers cannot be sent.
    """
    import httpx2
    from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, OpenAIError

    from idembench.judges.metered import MeteredClient

    try:
        sender = None
        if budget is not None:
            sender = MeteredClient(budget, limits=DEFAULT_CONNECTION_LIMITS, follow_redirects=True)
        client = AsyncOpenAI(max_retries=RETRIES, timeout=TIMEOUT_S, http_client=sender)
    except httpx2.InvalidURL as error:
        raise EnvironmentProblem(
            "The address of the judge's endpoint is none.",
            expected="an address such as http://127.0.0.1:8000/v1",
            found=_clip(error),
            where="OPENAI_BASE_URL",
        ) from error
    except (OpenAIError, ValueError) as error:
        raise EnvironmentProblem(
            "A judge behind an endpoint cannot be asked without a key.",
            expected="OPENAI_API_KEY, and OPENAI_BASE_URL for another endpoint than OpenAI's",
            found=_clip(error),
            do="Set OPENAI_API_KEY; a server of your own that asks for none takes any text.",
        ) from error
    for name, value in {**client.default_headers, **client.auth_headers}.items():
        if isinstance(value, str):
            _check_header(name, value)
    return client


def _check_header(name: str, value: str) -> None:
    """Make sure that a header can be sent; what it holds may be secret, so only what is wrong with it is told."""
    wrong = ""
    if strange := _STRANGE.search(name + value):
        wrong = f"the character {strange[0]!a}"
    elif value != value.strip():
        wrong = "a blank at its end" if value != value.rstrip() else "a blank before it"
    if wrong:
        raise EnvironmentProblem(
            "A judge behind an endpoint cannot be asked: what it would be sent is not allowed in a header.",
            expected="printable ASCII characters, no blank or line break before or after them",
            found=wrong,
            where=_HEADERS.get(name.lower(), "OPENAI_CUSTOM_HEADERS"),
            do="Set it again; what was copied may have brought a line break or a typographic character with it.",
        )


def _where(client: AsyncOpenAI) -> str:
    return str(client.base_url.copy_with(userinfo=b"", query=None))


def _clip(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_CLIP]


def _run(asking: Coroutine[Any, Any, dict[str, Reading]]) -> dict[str, Reading]:
    """Run it to its end, also where an event loop runs already, as it does in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asking)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asking).result()
