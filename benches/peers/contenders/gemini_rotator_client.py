"""gemini-api-rotator: `execute`, with Google's own SDK underneath.

It has one limit for all keys: here the smallest, which is its default, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor

from gemini_rotator import GeminiAPIRotator, RotatorConfig

from contenders import Pick, Place
from eight_keys import KEYS

logging.disable(logging.WARNING)

#: `execute` takes the threads of the event loop, of which there are six on two processors.
THREADS = 64


def _rotator() -> GeminiAPIRotator:
    config = RotatorConfig(rpm_per_key=min(key.rpm for key in KEYS))
    return GeminiAPIRotator([key.secret for key in KEYS], config=config)


class Caller:
    """Sends requests through the rotator."""

    def __init__(self, place: Place) -> None:
        os.environ["GOOGLE_GEMINI_BASE_URL"] = place.provider
        self.rotator = _rotator()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))

    async def call(self, text: str, patience: float) -> None:
        await self.rotator.execute(text)


def caller(place: Place, variant: str) -> Caller:
    return Caller(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    rotator = _rotator()
    # As after half a minute of all that the keys allow.
    for key in KEYS:
        for _ in range(key.rpm // 2):
            rotator.record_success(key.secret)
    return [Pick("get_next_working_key", rotator.get_next_working_key)]
