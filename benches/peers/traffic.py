"""When requests come, and for how long their users wait."""

from __future__ import annotations

import random

from eight_keys import CAPACITY

#: A user goes away after this many seconds.
PATIENCE = 30.0

#: Decides the arrivals: the same for all who are compared.
SEED = 8


def arrivals(load: int, span: float) -> list[float]:
    """The seconds, from 0 to `span`, at which requests come: a Poisson process of `load` percent.

    The gaps are stretched so that exactly so many come; otherwise a few minutes would be off by
    several percent.
    """
    count = round(CAPACITY * load / 100 * span / 60)
    chance = random.Random(f"{SEED} {load}")
    times = []
    time = 0.0
    for _ in range(count):
        time += chance.expovariate(1.0)
        times.append(time)
    end = time + chance.expovariate(1.0)
    return [time * span / end for time in times]
