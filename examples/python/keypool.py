"""A client of keypool, the sidecar that hands out API keys over a Unix socket.

Needs Python 3.11 and nothing else. Copy this file into your application:

    import keypool

    pool = keypool.Client("/run/keypool/keypool.sock")
    answer = pool.call_with_rotation(ask_the_provider, model="gemini-2.0-flash", wait_ms=5000)

`ask_the_provider` takes a `Lease`, sends one request with its header, and returns an `Answer`;
keypool judges the answer, and another key is tried where that can help.

Leases and their headers hold secrets: neither shows them in its repr(), and nor should your logs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Answer",
    "Client",
    "KeypoolError",
    "Lease",
    "ProviderFailed",
    "Refused",
    "Unreachable",
]

DEFAULT_SOCKET = "/run/keypool/keypool.sock"

#: The daemon answers in microseconds; only a select with `wait_ms` takes longer, and says how long.
PATIENCE_SECONDS = 10.0

#: Errors are small; keypool takes 256 KiB a request, and JSON may write one byte as six.
LONGEST_BODY = 32 * 1024

#: Headers that say when a provider will serve again; no others are passed on.
TELLING_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")
TELLING_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")


class KeypoolError(Exception):
    """Anything that goes wrong with keypool."""


class Unreachable(KeypoolError):
    """No daemon answers at the socket."""


class Refused(KeypoolError):
    """The daemon refused, and says why.

    `code` is stable ("exhausted", "no_such_model", "no_usable_key", ...). `retry_after_ms` is the
    time after which the same request can be served, where there is one.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        delay = problem.get("retry_after_ms")
        self.retry_after_ms = delay if isinstance(delay, int) else None
        words = ": ".join(word for word in (self.title, self.detail) if word)
        super().__init__(words or f"the daemon answered {status}")


class ProviderFailed(KeypoolError):
    """The provider did not serve the request, with any key.

    `answer` is its last answer; `None` if there was none, and then `__cause__` says why.
    """

    def __init__(self, answer: Answer | None, error: Exception | None) -> None:
        self.answer = answer
        told = f"gave no answer: {error}" if answer is None else f"answered {answer.status}"
        super().__init__(f"the provider {told}")


@dataclass(frozen=True)
class Lease:
    """The right to use one key for one request."""

    lease_id: str
    key_id: str
    provider: str
    model: str | None
    #: The number of the attempt, and how many more keys can be tried.
    attempt: int
    attempts_left: int
    #: The request should be sent within this time, or the provider may count it elsewhere.
    use_within_ms: int
    header_name: str
    header_value: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def header(self) -> dict[str, str]:
        """The header that carries the key."""
        return {self.header_name: self.header_value}

    @classmethod
    def _of(cls, body: Mapping[str, Any]) -> Lease:
        return cls(
            lease_id=body["lease_id"],
            key_id=body["key_id"],
            provider=body["provider"],
            model=body.get("model"),
            attempt=body["attempt"],
            attempts_left=body["attempts_left"],
            use_within_ms=body["use_within_ms"],
            header_name=body["header"]["name"],
            header_value=body["header"]["value"],
            secret=body["secret"],
        )


@dataclass(frozen=True)
class Answer:
    """What the provider answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the request was served."""
        return 200 <= self.status < 300

    def _report(self) -> dict[str, Any]:
        """The answer as keypool wants it: the status, and what tells limits from other errors.

        The whole body of a good answer would go over the socket for nothing: of that, only the
        tokens are of interest, which `tokens_used` gives.
        """
        if self.ok:
            return {"status": self.status}
        telling = {
            name.lower(): value
            for name, value in self.headers.items()
            if name.lower() in TELLING_HEADERS or name.lower().startswith(TELLING_PREFIXES)
        }
        body = self.body[:LONGEST_BODY].decode("utf-8", errors="replace")
        return {"status": self.status, "headers": telling, "body": body}


class Client:
    """A client of the daemon at one socket.

    It keeps no connection open, so that threads may share it and a restart of the daemon goes
    unnoticed; to connect to a Unix socket costs some 20 microseconds.
    """

    def __init__(self, socket_path: str = DEFAULT_SOCKET) -> None:
        self.socket_path = socket_path

    def select(
        self,
        *,
        model: str | Sequence[str] | None = None,
        provider: str | None = None,
        workload: str | None = None,
        tags: Mapping[str, str] | None = None,
        user: str | None = None,
        tokens: int | None = None,
        wait_ms: int | None = None,
        exclude: Sequence[str] | None = None,
    ) -> Lease:
        """Leases a key; waits for one for up to `wait_ms`.

        Raises `Refused`: "exhausted" says in `retry_after_ms` when to come again.
        """
        request = {
            "model": model,
            "provider": provider,
            "workload": workload,
            "tags": tags,
            "user": user,
            "tokens": tokens,
            "wait_ms": wait_ms,
            "exclude": exclude,
        }
        given = {name: value for name, value in request.items() if value is not None}
        return Lease._of(self._post("/v1/select", given, wait_ms or 0))

    def report(
        self,
        lease: Lease,
        *,
        answer: Answer | None = None,
        outcome: str | None = None,
        tokens_used: int | None = None,
    ) -> dict[str, Any]:
        """Tells what came of a lease: the provider's answer, or an outcome of your own judgement.

        Outcomes are "success", "rate_limited", "auth_failed", "server_error", "timeout",
        "client_error" and "cancelled". Give `tokens_used` if the key has a limit of tokens.
        """
        return self._post("/v1/report", _report(lease, answer, outcome, tokens_used), 0)

    def rotate(
        self,
        lease: Lease,
        *,
        answer: Answer | None = None,
        outcome: str | None = None,
        wait_ms: int | None = None,
    ) -> Lease:
        """Reports a failure and leases the next key for the same request.

        Raises `Refused`: "not_retryable" if another key cannot help, "exhausted" if none is left.
        """
        request = _report(lease, answer, outcome, None)
        if wait_ms is not None:
            request["wait_ms"] = wait_ms
        return Lease._of(self._post("/v1/rotate", request, wait_ms or 0))

    def call_with_rotation(
        self,
        call: Callable[[Lease], Answer],
        *,
        tokens_used: Callable[[Answer], int | None] = lambda answer: None,
        give_up_after: float = 60.0,
        wait_ms: int = 5000,
        **request: Any,
    ) -> Answer:
        """Calls the provider with one key after another until it serves the request.

        `call` sends one request and raises `OSError` (of which `TimeoutError` is one) or
        `http.client.HTTPException` if there was no answer. `request` is what `select` takes;
        `tokens_used` reads from a good answer how many tokens it cost.

        Waits in the daemon for up to `wait_ms` at a time, and comes back when an exhausted pool
        said to, for `give_up_after` seconds in all. Raises `ProviderFailed` if the provider
        fails for so long, or refuses for a reason that no key changes, and `Refused` if there is
        no key to ask it with.
        """
        deadline = time.monotonic() + give_up_after

        def wait_left() -> int:
            left_ms = int((deadline - time.monotonic()) * 1000)
            return max(0, min(wait_ms, left_ms))

        lease: Lease | None = None
        tried = False
        answer: Answer | None = None
        error: Exception | None = None
        backoff = 0.0
        while True:
            rotating = False
            try:
                if lease is None:
                    lease = self.select(wait_ms=wait_left(), **request)
                tried = True
                answer, error = self._attempt(call, lease)
                if answer is not None and answer.ok:
                    self._report_success(lease, answer, tokens_used(answer))
                    return answer
                failed, lease, rotating = lease, None, True
                lease = self.rotate(
                    failed, answer=answer, outcome=_outcome(error), wait_ms=wait_left()
                )
            except Refused as refused:
                if rotating:
                    # Every key has failed: the provider is in trouble, so do not go round at once.
                    backoff = min(max(2 * backoff, 0.5), 8.0)
                least = backoff if rotating else 0.0
                if refused.code != "not_retryable" and _pause(refused, least, deadline):
                    continue
                if tried:
                    raise ProviderFailed(answer, error) from (error or refused)
                raise

    def _attempt(
        self, call: Callable[[Lease], Answer], lease: Lease
    ) -> tuple[Answer | None, Exception | None]:
        """The provider's answer, or why there was none."""
        try:
            return call(lease), None
        except (OSError, http.client.HTTPException) as error:
            return None, error
        except BaseException:
            # An interrupt or a bug of the caller: nobody is blamed, and the key is free again.
            with contextlib.suppress(KeypoolError):
                self.report(lease, outcome="cancelled")
            raise

    def _report_success(self, lease: Lease, answer: Answer, tokens: int | None) -> None:
        # The answer is worth more than the report; an unreported lease expires by itself.
        with contextlib.suppress(KeypoolError):
            self.report(lease, answer=answer, tokens_used=tokens)

    def _post(self, path: str, body: Mapping[str, Any], wait_ms: int) -> dict[str, Any]:
        connection = _UnixConnection(self.socket_path, PATIENCE_SECONDS + wait_ms / 1000)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"no answer of keypool from {self.socket_path}: {error}"
            raise Unreachable(message) from error
        finally:
            connection.close()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.socket_path} is not the socket of keypool")
        if status != 200:
            raise Refused(status, answer)
        return answer


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, socket_path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._socket_path)


def _report(
    lease: Lease, answer: Answer | None, outcome: str | None, tokens_used: int | None
) -> dict[str, Any]:
    if (answer is None) == (outcome is None):
        raise ValueError("give either the answer or the outcome")
    request: dict[str, Any] = {"lease_id": lease.lease_id}
    request |= {"outcome": outcome} if answer is None else answer._report()
    if tokens_used is not None:
        request["tokens_used"] = tokens_used
    return request


def _outcome(error: Exception | None) -> str | None:
    if error is None:
        return None
    return "timeout" if isinstance(error, TimeoutError) else "server_error"


def _pause(refused: Refused, least: float, deadline: float) -> bool:
    """Sleeps until the pool can serve again; false at once if that is too late or never.

    All who were refused at once were told the same time: half a second of chance parts them.
    """
    if refused.retry_after_ms is None:
        return False
    delay = max(refused.retry_after_ms / 1000, least)
    if time.monotonic() + delay > deadline:
        return False
    time.sleep(delay + random.uniform(0.0, 0.5))
    return True
