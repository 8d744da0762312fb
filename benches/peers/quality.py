"""The second table: what becomes of the quota and of the users under load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attainable import grants
from children import Child, Failed, Keypool, Provider, Worker
from contenders import KEYPOOL, QUALITY, Contender
from eight_keys import CAPACITY
from table import number, percentile, table
from traffic import PATIENCE, arrivals

#: Percent of what the keys allow.
LOADS = (95, 150)

#: What keypool must reach of the attainable at each load, in percent.
LEAST = {95: 95.0, 150: 98.0}

#: A request may come to its contender this many seconds late; else the machine had too much to do.
LATEST = 0.1


@dataclass(frozen=True)
class Span:
    """Seconds: from the start until it counts, and for how long it does."""

    warm_up: float
    measured: float

    @property
    def end(self) -> float:
        """When the last request comes."""
        return self.warm_up + self.measured

    def has(self, time: float) -> bool:
        """Whether what happens then counts."""
        return self.warm_up <= time < self.end

    def share(self, count: int) -> float:
        """So many requests, in percent of what the keys allow."""
        return 100 * count / (CAPACITY * self.measured / 60)


@dataclass(frozen=True)
class Quality:
    """What one contender made of one load."""

    contender: Contender
    load: int
    offered: int
    #: Requests that the provider refused: in the time that counts, and ever.
    refused: int
    refused_ever: int
    #: The share of what the keys allow, in percent.
    used: float
    #: The share of the requests that were served, and that were at the first try, in percent.
    served: float
    first_try: float
    #: The seconds that served users waited.
    waits: list[float]
    #: How late requests came to the contender, in seconds: 99 % were not so late.
    late: float
    #: What the contender complained of most.
    errors: list[tuple[str, int]]


def attainable(load: int, span: Span) -> float:
    """What the best policy makes of the same requests, in percent of what the keys allow."""
    return span.share(sum(map(span.has, grants(arrivals(load, span.end)))))


def measure(
    binary: Path, scratch: Path, span: Span, absent: set[str], loads: Sequence[int] = LOADS
) -> tuple[list[Quality], list[str]]:
    """All contenders with all loads at the same time, each with a world of its own."""
    failed: list[str] = []
    children: list[Child] = []
    try:
        provider = Provider(scratch / "load-provider")
        children.append(provider)
        present = [one for one in QUALITY if one.package not in absent]
        workers: dict[str, tuple[Worker, int]] = {}
        for load in loads:
            for place, contender in enumerate(present):
                server = ""
                if contender == KEYPOOL:
                    keypool = Keypool(binary, scratch / f"keypool-{load}")
                    children.append(keypool)
                    server = keypool.socket
                world = f"load-{load}-{place}"
                at = provider.world(world)
                worker = Worker("load", contender, scratch / world, at, server)
                children.append(worker)
                workers[world] = worker, load
        bearing = {}
        for world, (worker, load) in workers.items():
            try:
                worker.answer()
                bearing[world] = worker, load
            except Failed as why:
                failed.append(f"{worker.contender.label}: {why}")
        start = time.monotonic() + 1.0
        for worker, load in bearing.values():
            worker.tell({"start": start, "load": load, "span": span.end})
        qualities = []
        for world, (worker, load) in bearing.items():
            try:
                told = worker.answer()
            except Failed as why:
                failed.append(f"{worker.contender.label}, {load} %: {why}")
                continue
            seen = [(at - start, request, ok) for at, request, ok in provider.tally(world)]
            qualities.append(judge(worker.contender, load, span, start, seen, told))
    finally:
        for child in children:
            child.stop()
    return qualities, failed


def judge(contender, load, span, start, seen, told) -> Quality:
    """Makes figures of what the provider and the users saw."""
    tries: dict[int, int] = {}
    for _, request, _ in seen:
        tries[request] = tries.get(request, 0) + 1
    offered = served = first_try = 0
    waits = []
    outcomes = zip(arrivals(load, span.end), told["outcomes"], strict=True)
    for request, (arrived, (served_at, calls)) in enumerate(outcomes):
        if not span.has(arrived):
            continue
        offered += 1
        if served_at is None:
            continue
        served += 1
        waits.append(served_at - start - arrived)
        first_try += calls == 1 and tries.get(request) == 1
    refused = [at for at, _, admitted in seen if not admitted]
    admitted = sum(ok and span.has(at) for at, _, ok in seen)
    return Quality(
        contender=contender,
        load=load,
        offered=offered,
        refused=sum(map(span.has, refused)),
        refused_ever=len(refused),
        used=span.share(admitted),
        served=100 * served / offered,
        first_try=100 * first_try / offered,
        waits=waits,
        late=percentile(told["late"], 0.99),
        errors=[tuple(error) for error in told["errors"]],
    )


def of_load(qualities: Sequence[Quality], load: int, span: Span, named: dict[Contender, str]) -> str:
    """The table of one load."""
    best = attainable(load, span)
    rows = [["*the best there is*", "0", number(best, 1), "", "", "", ""]]
    for one in qualities:
        if one.load != load:
            continue
        rows.append(
            [
                named[one.contender],
                number(1000 * one.refused / one.offered, 0),
                number(one.used, 1),
                number(one.served, 1),
                number(one.first_try, 1),
                number(percentile(one.waits, 0.5), 1),
                number(percentile(one.waits, 0.99), 1),
            ]
        )
    head = [
        f"load {load} %",
        "429s in 1,000",
        "quota used %",
        "served %",
        "at first try %",
        "wait p50 s",
        "p99 s",
    ]
    return table(head, rows)


def missed(qualities: Sequence[Quality], span: Span) -> list[str]:
    """What keypool has not reached."""
    bounds = []
    for one in qualities:
        if one.contender != KEYPOOL:
            continue
        if one.refused_ever:
            bounds.append(f"keypool at {one.load} %: {one.refused_ever} 429s, none is allowed")
        share = 100 * one.used / attainable(one.load, span)
        if share < LEAST[one.load]:
            bounds.append(
                f"keypool at {one.load} %: {share:.1f} % of the attainable, "
                f"at least {LEAST[one.load]:.0f} % is demanded"
            )
    if sum(one.contender == KEYPOOL for one in qualities) < len(LOADS):
        bounds.append("keypool was not measured")
    return bounds
