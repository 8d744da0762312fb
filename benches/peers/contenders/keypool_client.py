"""keypool, by the client that it ships for Python (`examples/python/keypool.py`)."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from contenders import Pick, Place
from eight_keys import MODEL

sys.path.append(str(Path(__file__).parents[3] / "examples" / "python"))
import keypool  # noqa: E402

#: More than ever wait at once.
THREADS = 400


class Client:
    """Calls by threads, because the client is not for asyncio."""

    def __init__(self, place: Place) -> None:
        self.pool = keypool.Client(place.server)
        self.provider = urllib.parse.urlsplit(place.provider)
        self.threads = ThreadPoolExecutor(THREADS)

    async def call(self, text: str, patience: float) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.threads, self.call_and_wait, text, patience)

    def call_and_wait(self, text: str, patience: float) -> None:
        """The same in a thread."""

        def ask(lease: keypool.Lease) -> keypool.Answer:
            connection = http.client.HTTPConnection(self.provider.netloc, timeout=patience)
            body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]})
            headers = {"Content-Type": "application/json", **lease.header}
            try:
                path = f"{self.provider.path}/v1/chat/completions"
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                return keypool.Answer(response.status, dict(response.headers), response.read())
            finally:
                connection.close()

        wait_ms = int(patience * 1000)
        self.pool.call_with_rotation(ask, give_up_after=patience, wait_ms=wait_ms, model=MODEL)


class _Socket(http.client.HTTPConnection):
    """One connection that is kept, as any HTTP client with a pool does."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        """The body of a good answer."""
        headers = {"Content-Type": "application/json"} if body else {}
        self.request(method, path, json.dumps(body) if body else None, headers)
        response = self.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}")
        return answer

    def select(self) -> dict[str, Any]:
        """A lease."""
        return json.loads(self.ask("POST", "/v1/select", {"model": MODEL}))

    def report(self, lease: dict[str, Any]) -> None:
        """Says that the request of a lease was served."""
        body = {"lease_id": lease["lease_id"], "outcome": "success", "tokens_used": 10}
        self.ask("POST", "/v1/report", body)


def caller(place: Place, variant: str) -> Client:
    return Client(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    connection = _Socket(place.server)
    return [
        Pick("nothing but an answer (`GET /livez`)", lambda: connection.ask("GET", "/livez", None)),
        Pick("select", connection.select, after=connection.report),
        Pick("select and report", lambda: connection.report(connection.select())),
    ]
