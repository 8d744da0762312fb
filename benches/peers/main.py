"""Measures keypool beside what people use today for a pool of keys, and prints two tables.

Fails if keypool misses what it must reach. `README.md` of the directory above tells how to read it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import picks
import quality
from contenders import ALONE, KEYPOOL, PICKS, QUALITY, WHOLE, Contender
from eight_keys import CAPACITY, KEYS


def not_installed(venv: Path) -> dict[str, str]:
    """The packages that did not install, and why."""
    lines = (venv / "failed.txt").read_text().splitlines()
    return {line.split("\t")[0].split("[")[0]: line.split("\t")[1] for line in lines}


def names(absent: dict[str, str]) -> dict[Contender, str]:
    """What the tables call them: with their versions."""
    named = {KEYPOOL: "**keypool**", ALONE: ALONE.label}
    for contender in (*PICKS, *WHOLE, *QUALITY):
        if contender.package and contender.package not in absent:
            version = importlib.metadata.version(contender.package)
            first, comma, rest = contender.label.partition(",")
            named[contender] = f"{first} {version}{comma}{rest}"
    return named


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--release", type=Path, required=True, help="the directory of the binaries")
    parser.add_argument("--only", choices=["picks", "quality"], help="one of the two tables")
    parser.add_argument("--no-bounds", action="store_true", help="only print")
    parser.add_argument("--pick-seconds", type=float, default=2.0, help="for each kind of pick")
    parser.add_argument("--warm-up", type=float, default=90.0, help="seconds before it counts")
    parser.add_argument("--measured", type=float, default=180.0, help="seconds that count")
    arguments = parser.parse_args()

    venv = Path(sys.prefix)
    absent = not_installed(venv)
    named = names(absent)
    release = arguments.release.resolve()
    # Kept for whoever wants to see the logs.
    scratch = venv / "run"
    shutil.rmtree(scratch, ignore_errors=True)

    print(
        f"{len(KEYS)} keys, {CAPACITY} requests a minute; Python {platform.python_version()}, "
        f"{os.cpu_count()} processors"
    )
    unable = [f"{package} does not install: {reason}" for package, reason in absent.items()]
    bounds = []
    if arguments.only != "quality":
        costs = picks.measure(release / "keypool", scratch, arguments.pick_seconds, set(absent))
        unable += costs.failed
        print(f"\n{picks.of_picks(costs.picks, named)}\n\n{picks.of_whole(costs.whole, named)}")
    if arguments.only != "picks":
        span = quality.Span(arguments.warm_up, arguments.measured)
        daemon = release / "examples" / "hand_clock_daemon"
        qualities, failed = quality.measure(daemon, scratch, span, set(absent))
        unable += failed
        for load in quality.LOADS:
            print(f"\n{quality.of_load(qualities, load, span, named)}")
        if told := quality.told(qualities, named):
            print("\nWhat callers were told in place of an answer:\n")
            print("\n".join(f"- {line}" for line in told))
        bounds = quality.missed(qualities, span)
    if unable:
        print("\nNot measured, or not well:\n")
        print("\n".join(f"- {line}" for line in unable))
    if bounds:
        print("\nMissed:\n")
        print("\n".join(f"- {line}" for line in bounds))
    return 1 if bounds and not arguments.no_bounds else 0


if __name__ == "__main__":
    sys.exit(main())
