"""Time that moves by hand.

The clocks of a process, and of the daemon beside it, stand still while anything is computed or on
its way through a socket, and then jump to the next moment for which something is planned. So minutes
of load take as long as the computing in them, and neither how fast the machine is nor what else it
does changes a figure.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import time_machine

#: The wall clock at the start: some seconds into a minute, and far from any midnight.
WALL = 1_767_268_807_000_000_000

#: Real seconds of silence after which nothing is on its way any more.
SILENCE = 0.001


class HandClock:
    """The clocks of this process. To be made before anything is imported that keeps the real ones."""

    def __init__(self) -> None:
        self.now = time.monotonic_ns()
        self.ahead = WALL - self.now
        self.daemon: subprocess.Popen[str] | None = None
        self.wall = time_machine.travel(WALL / 1e9, tick=False).start()
        self.sleep = time.sleep
        time.monotonic = lambda: self.now / 1e9  # type: ignore[assignment]
        time.monotonic_ns = lambda: self.now  # type: ignore[assignment]

    def take_along(self, binary: str, directory: Path) -> None:
        """Starts a daemon whose clock moves with these."""
        self.daemon = subprocess.Popen(
            [binary, "keypool.toml"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            text=True,
        )
        while not (directory / "keypool.sock").exists():
            if self.daemon.poll() is not None:
                raise RuntimeError("keypool does not start")
            self.sleep(0.01)

    def move(self, seconds: float) -> None:
        """Moves all of them on."""
        nanos = math.ceil(seconds * 1e9)
        self.now += nanos
        self.wall.move_to((self.now + self.ahead) / 1e9)
        if self.daemon is not None:
            assert self.daemon.stdin is not None and self.daemon.stdout is not None
            self.daemon.stdin.write(f"{nanos}\n")
            self.daemon.stdin.flush()
            self.daemon.stdout.readline()


class _Selector(selectors.DefaultSelector):
    """Jumps where others wait."""

    def __init__(self, clock: HandClock, is_working: Callable[[], bool]) -> None:
        super().__init__()
        self.clock = clock
        self.is_working = is_working

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        while not (ready := super().select(SILENCE)) and (timeout is None or self.is_working()):
            pass
        if not ready and timeout is not None:
            self.clock.move(timeout)
        return ready


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of a hand clock."""

    def __init__(self, clock: HandClock) -> None:
        #: Jobs that threads have, and how many of them wait for something in this loop.
        self.jobs = 0
        self.waiting: Callable[[], int] = lambda: 0
        super().__init__(_Selector(clock, lambda: self.jobs > self.waiting()))

    def run_in_executor(self, executor, func, *args):  # type: ignore[no-untyped-def,override]
        job = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        job.add_done_callback(self._is_done)
        return job

    def _is_done(self, _: asyncio.Future[object]) -> None:
        self.jobs -= 1
