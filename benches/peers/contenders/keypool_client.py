"""keypool, asked over its socket as `examples/README.md` tells every client."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import aiohttp

from contenders import Pick, Place
from eight_keys import MODEL

#: Headers that say when a provider will serve again.
TELLING = ("retry-after", "x-ratelimit-")

#: Of the user's patience this many seconds are for the request itself, and not for the wait.
RESERVED = 0.5


class Caller:
    """Selects, sends, and reports or rotates."""

    def __init__(self, place: Place) -> None:
        daemon = aiohttp.UnixConnector(place.server, limit=0)
        self.daemon = aiohttp.ClientSession("http://localhost", connector=daemon)
        self.provider = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.url = f"{place.provider}/v1/chat/completions"

    async def call(self, text: str, patience: float) -> None:
        wait = {"wait_ms": max(0, int((patience - RESERVED) * 1000))}
        lease = await self.ask("select", {"model": MODEL, **wait})
        while True:
            report = {"lease_id": lease["lease_id"], **await self.send(text, lease["header"])}
            if report["status"] == 200:
                await self.ask("report", report)
                return
            lease = await self.ask("rotate", report | wait)

    async def send(self, text: str, header: dict[str, str]) -> dict[str, Any]:
        """Sends a request to the provider, and makes a report of its answer."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        headers = {header["name"]: header["value"]}
        async with self.provider.post(self.url, json=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status == 200:
                return {"status": 200, "tokens_used": json.loads(text)["usage"]["prompt_tokens"]}
            told = {
                name: value
                for name, value in answer.headers.items()
                if name.lower().startswith(TELLING)
            }
            return {"status": answer.status, "headers": told, "body": text}

    async def ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the daemon answers."""
        async with self.daemon.post(f"/v1/{what}", json=body) as answer:
            told = await answer.json(content_type=None)
            if answer.status != 200:
                raise RuntimeError(told["detail"])
            return told


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


def caller(place: Place, variant: str) -> Caller:
    return Caller(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    connection = _Socket(place.server)
    return [
        Pick("nothing but an answer (`GET /livez`)", lambda: connection.ask("GET", "/livez", None)),
        Pick("select", connection.select, after=connection.report),
        Pick("select and report", lambda: connection.report(connection.select())),
    ]
