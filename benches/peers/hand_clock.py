"""Time that moves by hand, for a process and for a daemon beside it.

The clocks of Python, and of a daemon with `clock.c` preloaded, stand still while anything is being
computed or is on its way through a socket, and then jump to the next moment for which something is
planned. So minutes of load take as long as the computing in them, and how fast the machine is, and
what else it does, changes no figure.
"""

from __future__ import annotations

import asyncio
import math
import mmap
import selectors
import struct
import time
from collections.abc import Callable
from pathlib import Path

import time_machine

#: The wall clock at the start: some seconds into a minute, and far from any midnight.
WALL = 1_767_268_807_000_000_000

#: Real seconds of silence after which nothing is on its way any more.
SILENCE = 0.001

HANDS = struct.Struct("=QQ")


def set_hands(file: Path) -> None:
    """Makes the file of a clock that has not moved yet."""
    # A thread that waits until a time by the kernel's clock must not find that it is long over.
    now = time.monotonic_ns()
    file.write_bytes(HANDS.pack(now, WALL - now))


class HandClock:
    """The clocks of this process, and of the daemon that reads `file`."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self.hands = mmap.mmap(opened.fileno(), HANDS.size)
        self.now, self.ahead = HANDS.unpack(self.hands)
        #: What a daemon is woken with, which does not know that its clock has moved.
        self.wake: Callable[[], None] = lambda: None
        self.wall = time_machine.travel((self.now + self.ahead) / 1e9, tick=False).start()
        # Before anything is imported that might keep the real ones.
        time.monotonic = lambda: self.now / 1e9  # type: ignore[assignment]
        time.monotonic_ns = lambda: self.now  # type: ignore[assignment]

    def move(self, seconds: float) -> None:
        """Moves all of them on."""
        self.now += math.ceil(seconds * 1e9)
        HANDS.pack_into(self.hands, 0, self.now, self.ahead)
        self.wall.move_to((self.now + self.ahead) / 1e9)
        self.wake()


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
        #: Jobs that threads have, and those of them that wait for something in this loop.
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
