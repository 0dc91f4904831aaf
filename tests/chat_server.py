"""A small server on this machine that speaks chat completions with log-probabilities, as a judge's endpoint does.

It runs in a thread, or with `python chat_server.py LATENCY_S` in a process of its own. What it answers is what a test
says: a function of the request.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass
class Reply:
    """What the server sends."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def completion(places: Sequence[tuple[str, Mapping[str, float]]], *, tokens: int | None = 100, **choice: Any) -> Reply:
    """A chat completion that took these tokens, with the probabilities of what it shows beside each."""
    content = [
        {
            "token": taken,
            "logprob": math.log(shown.get(taken, 1e-9)),
            "bytes": list(taken.encode()),
            "top_logprobs": [
                {"token": text, "logprob": math.log(p), "bytes": list(text.encode())} for text, p in shown.items()
            ],
        }
        for taken, shown in places
    ]
    message = {"role": "assistant", "content": "".join(taken for taken, _ in places)}
    found: dict[str, Any] = {
        "id": "one",
        "object": "chat.completion",
        "created": 0,
        "model": "grader",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": content}, **choice}
        ],
    }
    if tokens is not None:
        found["usage"] = {"prompt_tokens": tokens - 2, "completion_tokens": 2, "total_tokens": tokens}
    return Reply(json.dumps(found).encode())


def failure(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI's interface words it."""
    body = {"error": {"message": message, "type": "error", "code": code}}
    return Reply(json.dumps(body).encode(), status, headers)


class Server:
    """The server; what it was asked is in `asked`, oldest first."""

    def __init__(self, answer: Callable[[dict[str, Any]], Reply], *, latency_s: float = 0.0) -> None:
        self.answer, self.latency_s = answer, latency_s
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most, self._now, self.port = 0, 0, 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
                request = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.asked.append({"path": head.split()[1], **request})
                self.keys.append(headers.get("authorization", ""))
                self._now += 1
                self.most = max(self.most, self._now)
                reply = self.answer(request)
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                self._now -= 1
                lines = [
                    f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Failed')}",
                    "content-type: application/json",
                ]
                lines += [f"content-length: {len(reply.body)}"]
                lines += [f"{name.replace('_', '-')}: {value}" for name, value in reply.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + reply.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def listen(self, until: asyncio.Event, ready: Callable[[], object]) -> None:
        """Serve until told otherwise."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await until.wait()
        server.close()
        await server.wait_closed()


@contextmanager
def serving(answer: Callable[[dict[str, Any]], Reply], *, latency_s: float = 0.0) -> Iterator[Server]:
    """A server in a thread."""
    server, ready, held = Server(answer, latency_s=latency_s), threading.Event(), dict[str, Any]()

    async def run() -> None:
        held["loop"], held["until"] = asyncio.get_running_loop(), asyncio.Event()
        await server.listen(held["until"], ready.set)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        held["loop"].call_soon_threadsafe(held["until"].set)
        thread.join(10)


def _main() -> None:
    reply = completion([("75", {"75": 0.6, "50": 0.3, "100": 0.05}), ("", {"": 1.0})], tokens=700)

    async def run() -> None:
        server = Server(lambda _: reply, latency_s=float(sys.argv[1]))
        await server.listen(asyncio.Event(), lambda: print(server.port, flush=True))  # noqa: T201

    asyncio.run(run())


if __name__ == "__main__":
    _main()
