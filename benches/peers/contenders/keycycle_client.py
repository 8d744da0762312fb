"""keycycle: its client for asyncio in the place of OpenAI's, with the limits of each key.

It asks for limits by the hour and the day too; these are those by the minute, for as long. It has
no database, as its README shows.
"""

from __future__ import annotations

import logging

from keycycle import MultiProviderWrapper
from keycycle.config.dataclasses import RateLimits

from contenders import Pick, Place
from eight_keys import KEYS, MODEL

logging.disable(logging.WARNING)


def _wrapper() -> MultiProviderWrapper:
    limits = {
        number: RateLimits(key.rpm, key.rpm * 60, key.rpm * 60 * 24)
        for number, key in enumerate(KEYS)
    }
    return MultiProviderWrapper(
        provider="openai",
        api_keys=[key.secret for key in KEYS],
        default_model_id=MODEL,
        key_limits=limits,
        track_usage=False,
    )


class Caller:
    """Sends requests through the client."""

    def __init__(self, place: Place) -> None:
        self.client = _wrapper().get_async_openai_client()
        # The wrapper gives each provider its public address, and nothing sets another.
        self.client.client_kwargs["base_url"] = f"{place.provider}/v1"

    async def call(self, text: str, patience: float) -> None:
        messages = [{"role": "user", "content": text}]
        await self.client.chat.completions.create(model=MODEL, messages=messages)


def caller(place: Place, variant: str) -> Caller:
    return Caller(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    manager = _wrapper().manager
    most = RateLimits(60, 3600, 86400)
    # As after half a minute of all that the keys allow.
    for key, usage in zip(KEYS, manager.keys, strict=True):
        for _ in range(key.rpm // 2):
            usage.reserve(MODEL, 1000)
            manager.record_usage(usage, MODEL, 10)
    return [Pick("get_key", lambda: manager.get_key(MODEL, most))]
