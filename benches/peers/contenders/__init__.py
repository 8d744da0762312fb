"""Those who are compared, one module each: how its own documentation tells to use it for eight keys
with known limits.

A module has `caller`, which makes what sends requests, and `picks`, which lists what chooses a key.
Each runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Place:
    """Where a contender works."""

    #: The address of the provider, without `/v1`.
    provider: str
    #: A directory of its own, which is the current one.
    scratch: Path
    #: The socket of keypool, or the address of LiteLLM's proxy.
    server: str


class Caller(Protocol):
    """Sends requests to the provider, each with some key."""

    async def call(self, text: str, patience: float) -> None:
        """Sends one and returns when it is served; fails if the contender gives up.

        Nobody waits for it longer than `patience` seconds.
        """


@dataclass(frozen=True)
class Pick:
    """One way to choose a key."""

    label: str
    #: What is timed.
    pick: Callable[[], Any] | Callable[[], Awaitable[Any]]
    is_async: bool = False
    #: What follows each pick untimed, with its result.
    after: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Contender:
    """One row of a table."""

    label: str
    module: str
    #: The package of PyPI, if it is one.
    package: str | None = None
    #: The strategy, for those that have several.
    variant: str = ""


KEYPOOL = Contender("keypool", "keypool_client")
ALONE = Contender("nothing: the provider alone", "straight")
PROXY = Contender("LiteLLM proxy, simple-shuffle", "straight", "litellm")

_LIBRARIES = (
    Contender("llm-keypool", "llm_keypool_rotator", "llm-keypool"),
    Contender("keycycle", "keycycle_client", "keycycle"),
    Contender("apikeyrotator, weighted", "apikeyrotator_client", "apikeyrotator"),
    Contender("gemini-api-rotator", "gemini_rotator_client", "gemini-api-rotator"),
)


def _router(strategy: str, enforced: bool = False) -> Contender:
    label = f"LiteLLM Router, {strategy}" + (", limits enforced" if enforced else "")
    return Contender(label, "litellm_router", "litellm", strategy + ("!" if enforced else ""))


#: Who is asked to choose a key.
PICKS = (
    KEYPOOL,
    _router("simple-shuffle"),
    _router("simple-shuffle", enforced=True),
    _router("least-busy"),
    _router("latency-based-routing"),
    _router("usage-based-routing"),
    _router("usage-based-routing-v2"),
    _router("cost-based-routing"),
    *_LIBRARIES,
)

#: Who sends one whole request.
WHOLE = (ALONE, KEYPOOL, _router("simple-shuffle"), PROXY, *_LIBRARIES)

#: Who is put under load.
QUALITY = (
    KEYPOOL,
    _router("simple-shuffle"),
    _router("simple-shuffle", enforced=True),
    _router("least-busy"),
    _router("latency-based-routing"),
    _router("usage-based-routing-v2"),
    *_LIBRARIES,
)
