"""What runs beside the contenders: the simulated provider, keypool itself, and LiteLLM's proxy."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from eight_keys import KEYS, MODEL
from workers import Failed

#: Seconds that a server may take to be ready: LiteLLM's proxy takes eight, and more on a busy machine.
PATIENCE = 120.0


class Server:
    """A process that is ended in the end."""

    def __init__(self, command: list[str], directory: Path, environment: dict[str, str]) -> None:
        directory.mkdir(parents=True)
        self.log = directory / "log.txt"
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            cwd=directory,
            env={**os.environ, **environment},
            text=True,
        )

    def wait_until(self, is_ready: Any) -> None:
        """Waits for it, or says why it does not come."""
        deadline = time.monotonic() + PATIENCE
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{self.process.args[0]} does not start, see {self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


class Provider(Server):
    """The simulated provider."""

    def __init__(self, directory: Path) -> None:
        script = str(Path(__file__).with_name("provider.py"))
        super().__init__([sys.executable, script], directory, {})
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def world(self, name: str) -> str:
        """The address of a world."""
        return f"http://{self.address}/{name}"

    def tally(self, world: str) -> list[tuple[float, int, bool]]:
        """What was seen in a world: when, which request, and whether it was served."""
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", f"/tally/{world}")
        return json.loads(connection.getresponse().read())


class Keypool(Server):
    """keypool with the eight keys, their limits times `factor`; state file and metrics as usual."""

    def __init__(self, binary: Path, directory: Path, factor: int = 1) -> None:
        # A socket's path must be short, and the directory's may not be.
        self.socket = f"\0keypool-peers-{os.getpid()}"
        raise NotImplementedError
