"""The second table: what becomes of the quota and of the users under load."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attainable import grants
from children import Failed, Worker, configure
from contenders import KEYPOOL, QUALITY, Contender
from eight_keys import CAPACITY
from table import number, percentile, table
from traffic import arrivals

#: Percent of what the keys allow.
LOADS = (95, 150)

#: What keypool must reach of the attainable at each load, in percent.
LEAST = {95: 95.0, 150: 98.0}


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
    #: What callers were told most in place of an answer, and how often.
    errors: list[tuple[str, int]]


def attainable(load: int, span: Span) -> float:
    """What the best policy makes of the same requests, in percent of what the keys allow."""
    return span.share(sum(map(span.has, grants(arrivals(load, span.end)))))


def measure(
    daemon: Path, scratch: Path, span: Span, absent: set[str]
) -> tuple[list[Quality], list[str]]:
    """All contenders with all loads, a few at a time; and who could not be measured."""
    cells = [
        (contender, load)
        for contender in QUALITY
        if contender.package not in absent
        for load in LOADS
    ]

    def cell(place: int) -> Quality | str:
        contender, load = cells[place]
        try:
            quality = run(contender, load, span, daemon, scratch / f"load-{place}")
        except Failed as failed:
            return f"{contender.label}, {load} %: {failed}"
        # All of it takes a while: who watches sees each as it comes.
        seen = f"{quality.refused} 429s, {quality.used:.1f} % used, {quality.served:.1f} % served"
        print(f"{contender.label} at {load} %: {seen}", file=sys.stderr, flush=True)
        return quality

    # More than processors, because who waits for silence uses none.
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as threads:
        results = list(threads.map(cell, range(len(cells))))
    qualities = [result for result in results if isinstance(result, Quality)]
    return qualities, [result for result in results if isinstance(result, str)]


def run(contender: Contender, load: int, span: Span, daemon: Path, directory: Path) -> Quality:
    """One contender with one load, in its own time."""
    task: dict[str, Any] = {"kind": "load", "load": load, "span": span.end, "daemon": ""}
    if contender == KEYPOOL:
        beside = directory.with_name(f"{directory.name}-keypool")
        configure(beside)
        task |= {"daemon": str(daemon), "beside": str(beside)}
    worker = Worker(contender, directory, **task)
    try:
        return judge(contender, load, span, worker.answer())
    finally:
        worker.stop()


def judge(contender: Contender, load: int, span: Span, told: dict[str, Any]) -> Quality:
    """Makes figures of what the provider and the users saw."""
    seen = told["seen"]
    tries = Counter(request for _, request, _ in seen)
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
        waits.append(served_at - arrived)
        first_try += calls == 1 and tries[request] == 1
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
        errors=[(what, count) for what, count in told["errors"]],
    )


def of_load(
    qualities: Sequence[Quality], load: int, span: Span, named: dict[Contender, str]
) -> str:
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


def told(qualities: Sequence[Quality], named: dict[Contender, str]) -> list[str]:
    """What callers were told in place of an answer."""
    return [
        f"{named[one.contender]} at {one.load} %: {count} times {what}"
        for one in qualities
        for what, count in one.errors
    ]


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
