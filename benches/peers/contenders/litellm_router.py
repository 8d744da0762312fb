"""LiteLLM's Router: a deployment for each key, with its rpm.

Its documentation recommends `simple-shuffle` and says that rpm weighs the keys there. It turns on
`enable_pre_call_checks` where it tests whether limits are kept, and offers
`enforce_model_rate_limits` where they must be. All else, retries and cooldowns too, is as it comes.
"""

from __future__ import annotations

import logging
from typing import Any

import litellm

from contenders import Pick, Place
from eight_keys import MODEL, deployments

#: Requests before it is asked to choose.
WARM_UP = 24

#: What it logs of each refusal takes longer than to choose a key.
litellm.suppress_debug_info = True
logging.getLogger("LiteLLM Router").setLevel(logging.CRITICAL)
logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)


def _router(place: Place, variant: str) -> litellm.Router:
    enforced = variant.endswith("!")
    return litellm.Router(
        model_list=deployments(place.provider),
        routing_strategy=variant.removesuffix("!"),
        enable_pre_call_checks=enforced,
        optional_pre_call_checks=["enforce_model_rate_limits"] if enforced else None,
    )


class Caller:
    """Sends requests through the Router."""

    def __init__(self, router: litellm.Router) -> None:
        self.router = router

    async def call(self, text: str, patience: float) -> None:
        await self.router.acompletion(model=MODEL, messages=[{"role": "user", "content": text}])


def caller(place: Place, variant: str) -> Caller:
    return Caller(_router(place, variant))


async def picks(place: Place, variant: str) -> list[Pick]:
    router = _router(place, variant)
    messages = [{"role": "user", "content": "request 1"}]
    # So that there is something to choose by.
    for _ in range(WARM_UP):
        await router.acompletion(model=MODEL, messages=messages)

    def pick() -> Any:
        return router.get_available_deployment(MODEL, messages=messages, request_kwargs={})

    async def pick_async() -> Any:
        return await router.async_get_available_deployment(MODEL, {}, messages=messages)

    return [Pick("sync", pick), Pick("async", pick_async, is_async=True)]
