"""The eight keys of both tables: three of 15 requests a minute, and five of 60."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: The only model there is. LiteLLM knows its price, which spares each of its calls 4 ms.
MODEL = "gpt-4o-mini"


@dataclass(frozen=True)
class Key:
    """A key, and how many requests a minute the provider serves with it."""

    name: str
    rpm: int

    @property
    def secret(self) -> str:
        """What the provider knows it by."""
        return f"fake-secret-{self.name.replace('_', '-')}"


KEYS = (
    *(Key(f"flash_{number:02}", 15) for number in range(1, 4)),
    *(Key(f"pro_{number:02}", 60) for number in range(1, 6)),
)

#: Requests a minute that all of them are worth.
CAPACITY = sum(key.rpm for key in KEYS)


def deployments(provider: str) -> list[dict[str, Any]]:
    """What LiteLLM's Router and proxy call them."""
    return [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": f"{provider}/v1",
                "api_key": key.secret,
                "rpm": key.rpm,
            },
        }
        for key in KEYS
    ]
