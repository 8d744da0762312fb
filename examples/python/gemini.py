#!/usr/bin/env python3
"""Asks Gemini one question, or the same one many times, with keys of keypool.

    python3 gemini.py --socket run/keypool.sock https://generativelanguage.googleapis.com "Hello"

Prints each answer on a line, and what it took at the end. Exits 1 if any request failed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import keypool

TIMEOUT_SECONDS = 60.0


def generate(base_url: str, model: str, prompt: str, lease: keypool.Lease) -> keypool.Answer:
    """Sends `prompt` to `model` with the key of `lease`."""
    url = urllib.parse.urlsplit(base_url)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "localhost", url.port, timeout=TIMEOUT_SECONDS)
    path = f"{url.path.rstrip('/')}/v1beta/models/{model}:generateContent"
    body = json.dumps({"contents": [{"parts": [{"text": prompt}]}]})
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **lease.header})
        response = connection.getresponse()
        return keypool.Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


def text(answer: keypool.Answer) -> str:
    """The words of a good answer."""
    parts = json.loads(answer.body)["candidates"][0]["content"]["parts"]
    return "".join(part.get("text", "") for part in parts)


def tokens_used(answer: keypool.Answer) -> int | None:
    """The tokens that count towards Gemini's limit: those of the prompt."""
    tokens = json.loads(answer.body).get("usageMetadata", {}).get("promptTokenCount")
    return tokens if isinstance(tokens, int) else None


def main() -> int:
    parser = argparse.ArgumentParser(description="Asks Gemini with keys of keypool.")
    parser.add_argument("base_url", help="such as https://generativelanguage.googleapis.com")
    parser.add_argument("prompt", help="what to ask")
    parser.add_argument("--socket", default=keypool.DEFAULT_SOCKET, help="the socket of keypool")
    parser.add_argument("--model", default="gemini-2.0-flash", help="the model to ask")
    parser.add_argument("--calls", type=int, default=1, help="how many times to ask")
    parser.add_argument("--threads", type=int, default=4, help="how many calls at a time")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds until a call fails")
    parser.add_argument("--wait-ms", type=int, default=5000, help="how long to wait in the daemon")
    arguments = parser.parse_args()

    pool = keypool.Client(arguments.socket)

    def one_call(_: int) -> str | None:
        def call(lease: keypool.Lease) -> keypool.Answer:
            # A lease is for the model it names; select chose it for ours.
            model = lease.model or arguments.model
            return generate(arguments.base_url, model, arguments.prompt, lease)

        try:
            answer = pool.call_with_rotation(
                call,
                tokens_used=tokens_used,
                give_up_after=arguments.patience,
                wait_ms=arguments.wait_ms,
                model=arguments.model,
                provider="gemini",
            )
        except keypool.KeypoolError as error:
            # One write, because threads write at the same time.
            sys.stderr.write(f"failed: {error}\n")
            return None
        return text(answer)

    served = 0
    with ThreadPoolExecutor(arguments.threads) as threads:
        for words in threads.map(one_call, range(arguments.calls)):
            if words is not None:
                print(words, flush=True)
                served += 1
    print(f"{served} of {arguments.calls} served", file=sys.stderr)
    return 0 if served == arguments.calls else 1


if __name__ == "__main__":
    sys.exit(main())
