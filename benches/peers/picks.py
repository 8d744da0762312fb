"""The first table: what it costs to choose a key, and to send one whole request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from children import Child, Failed, Keypool, LitellmProxy, Provider, Worker, configure
from contenders import KEYPOOL, PICKS, PROXY, WHOLE, Contender
from table import percentile, table, three_digits

#: Everybody has a turn in each round, so that what else the machine does strikes all alike.
ROUNDS = 4

#: keypool counts each select; so that none is refused, its limits are this many times as high.
FACTOR = 1_000_000


@dataclass
class Cost:
    """What one pick took, in nanoseconds."""

    label: str
    worker: Worker
    place: int
    nanoseconds: list[int] = field(default_factory=list)


@dataclass
class Costs:
    """What was measured, and what could not be."""

    picks: list[Cost] = field(default_factory=list)
    whole: list[Cost] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def measure(binary: Path, scratch: Path, seconds: float, absent: set[str]) -> Costs:
    """Gives each pick `seconds` in all."""
    costs = Costs()
    children: list[Child] = []
    try:
        provider = Provider(scratch / "provider")
        children.append(provider)
        configure(scratch / "keypool", FACTOR)
        keypool = Keypool(binary, scratch / "keypool")
        children.append(keypool)
        servers = {KEYPOOL: keypool.socket}
        if PROXY.package not in absent:
            try:
                proxy = LitellmProxy(scratch / "proxy", provider.address)
                children.append(proxy)
                servers[PROXY] = f"http://{proxy.address}"
            except Failed as failed:
                costs.failed.append(f"{PROXY.label}: {failed}")
        for kind, contenders, into in (
            ("picks", PICKS, costs.picks),
            ("whole", WHOLE, costs.whole),
        ):
            present = [one for one in contenders if one.package not in absent]
            workers = []
            for place, contender in enumerate(present):
                if contender == PROXY and PROXY not in servers:
                    continue
                directory = scratch / f"{kind}-{place}"
                server = servers.get(contender, "")
                worker = Worker(
                    contender, directory, kind=kind, provider=provider.address, server=server
                )
                workers.append(worker)
            children.extend(workers)
            into.extend(ready(workers, costs.failed))
            take_turns(into, seconds, costs.failed)
            for worker in workers:
                worker.stop()
    finally:
        for child in children:
            child.stop()
    return costs


def ready(workers: Sequence[Worker], failed: list[str]) -> list[Cost]:
    """What can be measured of the workers."""
    costs = []
    for worker in workers:
        try:
            labels = worker.answer()
        except Failed as why:
            failed.append(f"{worker.contender.label}: {why}")
            continue
        costs.extend(Cost(label, worker, place) for place, label in enumerate(labels))
    return costs


def take_turns(costs: list[Cost], seconds: float, failed: list[str]) -> None:
    """Measures each in each round; only one at any time. Leaves out what fails."""
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        for cost in list(costs):
            label = f"{cost.worker.contender.label}: {cost.label}".rstrip(": ")
            try:
                cost.worker.tell({"pick": cost.place, "seconds": seconds / ROUNDS})
                measured = cost.worker.answer()
            except Failed as why:
                measured = {"failed": str(why)}
            if "failed" in measured:
                failed.append(f"{label}: {measured['failed']}")
                costs.remove(cost)
            else:
                cost.nanoseconds.extend(measured["nanoseconds"])


def of_picks(costs: Sequence[Cost], named: dict[Contender, str]) -> str:
    """The table of the picks."""
    rows = []
    for cost in costs:
        per_second = 1e9 * len(cost.nanoseconds) / sum(cost.nanoseconds)
        micros = [nanos / 1000 for nanos in cost.nanoseconds]
        rows.append(
            [
                named[cost.worker.contender],
                cost.label,
                three_digits(percentile(micros, 0.5)),
                three_digits(percentile(micros, 0.99)),
                f"{per_second:,.0f}",
            ]
        )
    return table(["who", "what", "p50 µs", "p99 µs", "a second"], rows, left=2)


def of_whole(costs: Sequence[Cost], named: dict[Contender, str]) -> str:
    """The table of the whole requests."""
    rows = []
    for cost in costs:
        millis = [nanos / 1e6 for nanos in cost.nanoseconds]
        middle, high = percentile(millis, 0.5), percentile(millis, 0.99)
        rows.append([named[cost.worker.contender], three_digits(middle), three_digits(high)])
    return table(["a whole request by", "p50 ms", "p99 ms"], rows)
