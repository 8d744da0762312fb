"""What could be made of the requests at best: by someone who knows when each key is free again, and
to whom the provider is so near that nothing gets lost on the way.
"""

from __future__ import annotations

import heapq

from eight_keys import KEYS
from traffic import PATIENCE

#: The window of the provider, in seconds.
WINDOW = 60.0


def grants(arrivals: list[float]) -> list[float]:
    """When the best line in front of the eight keys serves requests that come at `arrivals`."""
    free = [0.0] * sum(key.rpm for key in KEYS)
    served = []
    for arrived in arrivals:
        start = max(free[0], arrived)
        if start - arrived > PATIENCE:
            continue
        # A strict sliding window of `rpm` is `rpm` places, each free a window after its use.
        heapq.heapreplace(free, start + WINDOW)
        served.append(start)
    return served
