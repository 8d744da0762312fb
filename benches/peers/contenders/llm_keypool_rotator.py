"""llm-keypool: its rotator, and what calls the provider with it in its proxy and its LangChain model.

Its providers are those that it knows; the simulated one stands in the place of Groq, of which it
reads the most: the headers that say how many requests are left, and when to come back.
"""

from __future__ import annotations

from llm_keypool.key_store import KeyStore
from llm_keypool.providers.dispatch import complete
from llm_keypool.rotator import Rotator

from contenders import Pick, Place
from eight_keys import KEYS, MODEL

PROVIDER = "groq"
CAPABILITIES = ["general_purpose"]


def _rotator(place: Place) -> Rotator:
    store = KeyStore(place.scratch / "keys.db")
    for key in KEYS:
        store.register_key(PROVIDER, key.secret, CAPABILITIES, model=MODEL)
    provider = {
        "base_url": f"{place.provider}/v1",
        "openai_compatible": True,
        "cooldown_fallback": {"strategy": "rolling_60"},
        "default_model": MODEL,
        "models": [MODEL],
        "capabilities": CAPABILITIES,
    }
    return Rotator(store, {PROVIDER: provider})


class Caller:
    """Sends requests with the keys of the rotator."""

    def __init__(self, place: Place) -> None:
        self.rotator = _rotator(place)

    async def call(self, text: str, patience: float) -> None:
        messages = [{"role": "user", "content": text}]
        result, _ = await complete(self.rotator, CAPABILITIES, messages)
        if result.error:
            raise RuntimeError(result.error)


def caller(place: Place, variant: str) -> Caller:
    return Caller(place)


async def picks(place: Place, variant: str) -> list[Pick]:
    rotator = _rotator(place)
    return [Pick("get_best_key", lambda: rotator.get_best_key(CAPABILITIES))]
