"""A simulated provider: HTTP on loopback, and a strict sliding window of 60 s for each key.

A request reaches the counter 20 to 250 ms after it came, as over a network; what is over the limit
is answered with 429 and does not count. It speaks as OpenAI and as Gemini do, with the headers and
bodies by which these say when to come back. The first segment of the path is `limited`; or `open`,
where there are neither limits nor delays: `http://127.0.0.1:PORT/open/v1/chat/completions`.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections import deque

from attainable import WINDOW
from eight_keys import KEYS, MODEL
from traffic import SEED

#: Seconds from the network to the counter, as in the simulation of the README.
DELAY = (0.02, 0.25)

#: The first segment of the path: with limits and delays, and without.
LIMITED, OPEN = "limited", "open"

REQUEST = re.compile(rb"request (\d+)")
LIMITS = {key.secret: key.rpm for key in KEYS}

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
    }
).encode()

GENERATED = json.dumps(
    {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10},
    }
).encode()


def answer(status: int, body: bytes, *headers: str) -> bytes:
    """An HTTP answer."""
    reason = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}[status]
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
        "\r\n",
    ]
    return "\r\n".join(lines).encode() + body


def chat(secret: str, admitted: bool, left: int, free_in: float) -> bytes:
    """What OpenAI answers."""
    limit = LIMITS[secret]
    told = (
        f"x-ratelimit-limit-requests: {limit}",
        f"x-ratelimit-remaining-requests: {left}",
        f"x-ratelimit-reset-requests: {free_in:.3f}s",
    )
    if admitted:
        return answer(200, CHAT, *told)
    message = (
        f"Rate limit reached for {MODEL} on requests per min (RPM): Limit {limit}, Used {limit}, "
        f"Requested 1. Please try again in {free_in:.3f}s."
    )
    error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    body = json.dumps({"error": error}).encode()
    return answer(429, body, *told, f"retry-after: {math.ceil(free_in)}")


def generated(admitted: bool, free_in: float) -> bytes:
    """What Gemini answers."""
    if admitted:
        return answer(200, GENERATED)
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{free_in:.3f}s"}
    error = {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [delay],
    }
    return answer(429, json.dumps({"error": error}).encode())


class Provider:
    """Counts what it sees."""

    def __init__(self) -> None:
        #: When requests were served with each key, in the last window.
        self.served: dict[str, deque[float]] = {secret: deque() for secret in LIMITS}
        #: Each request with limits: when it was counted, its number, and whether it was served.
        self.seen: list[tuple[float, int, bool]] = []
        #: Requests of Google's SDK that it has not counted: each has a thread that waits.
        self.threads = 0
        self.chance = random.Random(SEED)

    async def listen(self) -> str:
        """Serves from now on, at the address that it gives."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        host, port = self.server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {}
                for line in head[1:-2]:
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                writer.write(await self.answer(head[0].split(" ")[1], headers, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # It has gone away.
        finally:
            writer.close()

    async def answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        """Answers one request."""
        world, _, rest = path.split("?")[0].lstrip("/").partition("/")
        gemini = rest.endswith(":generateContent")
        if world not in (OPEN, LIMITED) or not (gemini or rest == "v1/chat/completions"):
            return answer(404, b"{}")
        if world == OPEN:
            return answer(200, GENERATED if gemini else CHAT)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        secret = headers.get("x-goog-api-key", bearer)
        number = REQUEST.search(body)
        if secret not in LIMITS or number is None:
            return answer(401, b'{"error": {"code": 401, "message": "no such key"}}')
        self.threads += gemini
        await asyncio.sleep(self.chance.uniform(*DELAY))
        self.threads -= gemini
        admitted, left, free_in = self.count(secret, int(number[1]))
        if gemini:
            return generated(admitted, free_in)
        return chat(secret, admitted, left, free_in)

    def count(self, secret: str, request: int) -> tuple[bool, int, float]:
        """Whether a request is served, how many more are, and the seconds until one more is."""
        limit = LIMITS[secret]
        window = self.served[secret]
        now = time.monotonic()
        while window and window[0] <= now - WINDOW:
            window.popleft()
        admitted = len(window) < limit
        if admitted:
            window.append(now)
        self.seen.append((now, request, admitted))
        left = limit - len(window)
        return admitted, left, 0.0 if left else window[0] + WINDOW - now


async def main() -> None:
    """Serves, and tells the address."""
    provider = Provider()
    print(json.dumps(await provider.listen()), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
