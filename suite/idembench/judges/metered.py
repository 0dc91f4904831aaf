"""An HTTP client that enters every request it sends into the budget of the run, also those that are one call sent again.

A library that sends a call again when it was put off, timed out or failed does so through its client, so here is where
attempts can be told apart. What one may have cost is known only by what became of it:

    it never had a connection                  nothing, and it is no call
    put off: 409, 429                          nothing, and it is no call
    refused: any other 4xx but 408             no tokens
    answered, and the answer says what it cost     that
    anything else: it timed out, the connection broke, 408, 5xx, an answer without its cost     the most that it may cost

In the last case the endpoint, or what stands behind it, may have done the work and charge for it. Knows nothing of
what is asked but how long it is, nor when or how often a call is sent again. httpx2 is what the openai client sends with.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from idembench.judges.budget import Budget

_TEMPLATE_TOKENS = 64  # what a chat template may add to a prompt, at most
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_PUT_OFF = (409, 429)
_TIMED_OUT = 408


class MeteredClient(httpx2.AsyncClient):
    """Sends chat completions, each attempt as one call of a budget.

    Args:
        budget: Of the event loop that it sends from.
        settings: Of the client that it is otherwise.
    """

    def __init__(self, budget: Budget, **settings: Any) -> None:
        """Take the budget; nothing is sent."""
        super().__init__(**settings)
        self._budget = budget

    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        """Send one attempt when the budget lets it through, and enter what it cost.

        Raises:
            EnvironmentProblem: If it does not fit into the budget; it is not sent.
            httpx2.RequestError: If it is not answered.
        """
        if not self._budget.limited:
            return await super().send(request, **how)
        async with self._budget.call(_most(request.content)) as cost:
            try:
                response = await super().send(request, **how)
            except _UNSENT:
                cost.tokens, cost.made = 0, False
                raise
            if response.is_client_error and response.status_code != _TIMED_OUT:
                cost.tokens, cost.made = 0, response.status_code not in _PUT_OFF
            elif response.is_success and (tokens := _said(response.content)) is not None:
                cost.tokens = tokens
            return response


def _most(body: bytes) -> int:
    """Tokens that a request costs at most: its prompts have no more than bytes."""
    asked = json.loads(body)
    prompts = sum(len(message["content"].encode()) for message in asked["messages"])
    return int(prompts + _TEMPLATE_TOKENS + asked["max_tokens"])


def _said(body: bytes) -> int | None:
    """Tokens that an answer says it cost; None if it does not."""
    try:
        tokens = json.loads(body)["usage"]["total_tokens"]
    except (ValueError, LookupError, TypeError):
        return None
    return tokens if type(tokens) is int and tokens >= 0 else None
