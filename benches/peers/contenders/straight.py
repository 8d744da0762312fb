"""A client that keeps its connection: straight to the provider, or to LiteLLM's proxy before it."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.parse

from contenders import Place
from eight_keys import KEYS, MODEL


class Client:
    """Sends requests with the first key, which the proxy does not look at."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.path = f"{parts.path}/v1/chat/completions"
        self.connection = http.client.HTTPConnection(parts.netloc)

    async def call(self, text: str, patience: float) -> None:
        await asyncio.to_thread(self.call_and_wait, text)

    def call_and_wait(self, text: str) -> None:
        """The same in a thread."""
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]})
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {KEYS[0].secret}",
        }
        try:
            self.connection.request("POST", self.path, body, headers)
            response = self.connection.getresponse()
        except ConnectionError:
            # It was idle for so long that the other side has closed it.
            self.connection.close()
            self.connection.request("POST", self.path, body, headers)
            response = self.connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{self.path} answered {response.status}")


def caller(place: Place, variant: str) -> Client:
    return Client(place.server or place.provider)
