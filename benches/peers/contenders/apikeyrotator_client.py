"""apikeyrotator: its client for asyncio, with the strategy that it has for keys of different limits
and the middleware that it has for rate limits.
"""

from __future__ import annotations

import logging

from apikeyrotator import AsyncAPIKeyRotator
from apikeyrotator.middleware import RateLimitMiddleware
from apikeyrotator.strategies import create_rotation_strategy

from contenders import Pick, Place
from eight_keys import KEYS, MODEL


def _rotator() -> AsyncAPIKeyRotator:
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.CRITICAL)
    return AsyncAPIKeyRotator(
        api_keys=[key.secret for key in KEYS],
        rotation_strategy=create_rotation_strategy(
            "weighted", {key.secret: float(key.rpm) for key in KEYS}
        ),
        middlewares=[RateLimitMiddleware(pause_on_limit=True, logger=logger)],
        header_callback=lambda key, headers: {"Authorization": f"Bearer {key}"},
        logger=logger,
        load_env_file=False,
    )


class Caller:
    """Sends requests through the rotator."""

    def __init__(self, place: Place) -> None:
        self.rotator = _rotator()
        self.url = f"{place.provider}/v1/chat/completions"

    async def call(self, text: str, patience: float) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        response = await self.rotator.post(self.url, json=body)
        await response.read()
        if response.status != 200:
            raise RuntimeError(f"the provider answered {response.status}")


def caller(place: Place, variant: str) -> Caller:
    return Caller(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    return [Pick("get_next_key", _rotator().get_next_key)]
