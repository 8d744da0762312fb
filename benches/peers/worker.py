"""One contender in a process of its own: told what to do by lines of JSON on standard input, and
answering with lines of JSON. What libraries print goes to standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from contenders import Caller, Pick, Place
from hand_clock import HandClock, Loop
from provider import LIMITED, Provider
from traffic import PATIENCE, arrivals

#: Picks before the first that counts.
WARM_UP = 50

#: The longest that a round is, so that its answer stays small.
MOST = 50_000

#: Seconds until a request is tried again that a contender has given up: those of OpenAI's client.
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 8.0

Answer = Callable[[Any], None]


async def ask() -> dict[str, Any]:
    """The next line that the parent sends."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        sys.exit(0)
    return json.loads(line)


async def timed(pick: Pick, seconds: float) -> list[int]:
    """The nanoseconds that each of the picks takes which are made in `seconds`."""
    taken = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    after = pick.after
    if pick.is_async:
        while len(taken) < MOST:
            start = time.perf_counter_ns()
            await pick.pick()
            now = time.perf_counter_ns()
            taken.append(now - start)
            if now > end:
                break
        return taken
    while len(taken) < MOST:
        start = time.perf_counter_ns()
        picked = pick.pick()
        now = time.perf_counter_ns()
        taken.append(now - start)
        if after is not None:
            after(picked)
        if now > end:
            break
    return taken


async def whole(module: Any, place: Place, variant: str) -> list[Pick]:
    """A whole request, measured as a pick is."""
    caller = module.caller(place, variant)
    return [Pick("", lambda: caller.call("request 1", PATIENCE), is_async=True)]


async def measure(make: Callable[[], Awaitable[list[Pick]]], answer: Answer) -> None:
    """Measures the picks that it is told, one round at a time."""
    picks = await make()
    answer([pick.label for pick in picks])
    warm = set()
    while True:
        told = await ask()
        pick = picks[told["pick"]]
        try:
            if pick.label not in warm:
                warm.add(pick.label)
                for _ in range(WARM_UP):
                    await timed(pick, 0.0)
            answer({"nanoseconds": await timed(pick, told["seconds"])})
        except Exception as error:
            answer({"failed": f"{type(error).__name__}: {error}"})


async def attend(caller: Caller, number: int, errors: Counter[str]) -> list[Any]:
    """One user: when the request was served, if it was, and how often the contender was called."""
    deadline = time.monotonic() + PATIENCE
    chance = random.Random(number)
    backoff = FIRST_BACKOFF
    calls = 0
    while (left := deadline - time.monotonic()) > 0.0:
        calls += 1
        try:
            async with asyncio.timeout(left):
                await caller.call(f"request {number}", left)
            return [time.monotonic(), calls]
        except Exception as error:
            errors[f"{type(error).__name__}: {str(error)[:200]}"] += 1
            await asyncio.sleep(backoff * chance.uniform(0.75, 1.0))
            backoff = min(2 * backoff, LONGEST_BACKOFF)
    return [None, calls]


async def bear(module: Any, task: dict[str, Any], clock: HandClock, answer: Answer) -> None:
    """Bears a load."""
    provider = Provider()
    address = await provider.listen()
    loop = asyncio.get_running_loop()
    loop.waiting = lambda: provider.threads  # type: ignore[attr-defined]
    server = ""
    if task["daemon"]:
        directory = Path(task["beside"])
        clock.take_along(task["daemon"], directory)
        server = f"../{directory.name}/keypool.sock"
    place = Place(f"http://{address}/{LIMITED}", Path.cwd(), server)
    caller = module.caller(place, task["variant"])
    users = []
    errors: Counter[str] = Counter()
    start = time.monotonic()
    for number, offset in enumerate(arrivals(task["load"], task["span"])):
        await asyncio.sleep(start + offset - time.monotonic())
        users.append(asyncio.create_task(attend(caller, number, errors)))
    outcomes = await asyncio.gather(*users)
    answer(
        {
            "outcomes": [[served and served - start, calls] for served, calls in outcomes],
            "seen": [[at - start, *rest] for at, *rest in provider.seen],
            "errors": errors.most_common(1),
        }
    )


def main() -> None:
    """Does what the argument says."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")

    task = json.loads(sys.argv[1])
    name = f"contenders.{task['module']}"
    if task["kind"] == "load":
        clock = HandClock()
        module = importlib.import_module(name)
        with asyncio.Runner(loop_factory=lambda: Loop(clock)) as runner:
            runner.run(bear(module, task, clock, answer))
        return
    module = importlib.import_module(name)
    place = Place(task["provider"], Path.cwd(), task["server"])
    if task["kind"] == "picks":
        asyncio.run(measure(lambda: module.picks(place, task["variant"]), answer))
    else:
        asyncio.run(measure(lambda: whole(module, place, task["variant"]), answer))


if __name__ == "__main__":
    main()
