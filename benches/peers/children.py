"""The processes of a run: the contenders, and what runs beside them."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contenders import Contender
from eight_keys import KEYS, MODEL, deployments
from provider import OPEN

HERE = Path(__file__).parent

#: Seconds that a process may take to be ready: LiteLLM's proxy takes eight, or more if all start.
PATIENCE = 120.0


#: What all have in their environment, to the good of the contenders.
ENVIRONMENT = {
    # One authority instead of all: see `install`.
    "SSL_CERT_FILE": str(Path(sys.prefix) / "authority.pem"),
    # LiteLLM would fetch its price map from the network.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


class Failed(Exception):
    """A process is not what was hoped for, and why."""


class Child:
    """A process with a directory and a log of its own."""

    def __init__(self, command: list[str], directory: Path, speaks: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "log.txt"
        log = self.log.open("w")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if speaks else log,
            stderr=log,
            cwd=directory,
            env={**os.environ, **ENVIRONMENT},
            text=True,
        )

    def tell(self, what: dict[str, Any]) -> None:
        """Sends a line of JSON."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(self.last_words()) from None

    def answer(self) -> Any:
        """Waits for a line of JSON."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.last_words())
        return json.loads(line)

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Waits for it."""
        deadline = time.monotonic() + PATIENCE
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise Failed(self.last_words())
            time.sleep(0.05)

    def last_words(self) -> str:
        """Why it has ended."""
        self.process.wait()
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with {self.process.returncode}"

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


class Worker(Child):
    """A contender in a process of its own, which runs `worker.py`."""

    def __init__(self, contender: Contender, directory: Path, **task: Any) -> None:
        self.contender = contender
        task |= {"module": contender.module, "variant": contender.variant}
        command = [sys.executable, str(HERE / "worker.py"), json.dumps(task)]
        super().__init__(command, directory, speaks=True)


class Provider(Child):
    """The simulated provider without limits."""

    def __init__(self, directory: Path) -> None:
        super().__init__([sys.executable, str(HERE / "provider.py")], directory, speaks=True)
        self.address = f"http://{self.answer()}/{OPEN}"


SETTINGS = """
socket = "keypool.sock"
keys = "keys.json"
env_files = ["keys.env"]
state_dir = "state"
metrics_addr = "127.0.0.1:0"

[probe]
enabled = false
"""


def configure(directory: Path, factor: int = 1) -> None:
    """Makes a directory in which keypool can be started: with a state file, metrics, and the eight
    keys, their limits times `factor`.
    """
    directory.mkdir(parents=True)
    (directory / "keypool.toml").write_text(SETTINGS)
    entries = [
        {"key_id": key.name, "provider": "openai", "model_name": MODEL, "rpm": key.rpm * factor}
        for key in KEYS
    ]
    (directory / "keys.json").write_text(json.dumps({"keys": entries}))
    secrets = directory / "keys.env"
    secrets.touch(0o600)
    secrets.write_text("".join(f"OPENAI_KEY_{key.name}={key.secret}\n" for key in KEYS))


class Keypool(Child):
    """keypool, in a directory that is configured."""

    def __init__(self, binary: Path, directory: Path) -> None:
        super().__init__([str(binary), "--config", "keypool.toml", "serve"], directory)
        # As the contenders see it from their directories: the path of a socket must be short.
        self.socket = f"../{directory.name}/keypool.sock"
        self.wait_until((directory / "keypool.sock").exists)


class LitellmProxy(Child):
    """LiteLLM's proxy with one worker, as its command line starts it."""

    def __init__(self, directory: Path, provider: str) -> None:
        directory.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        # JSON is YAML, too.
        settings = {
            "model_list": deployments(provider),
            # It asks no key of its callers, as on a developer's machine.
            "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
        }
        (directory / "config.yaml").write_text(json.dumps(settings))
        command = [str(Path(sys.executable).with_name("litellm")), "--config", "config.yaml"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
        super().__init__(command, directory)
        self.wait_until(self.is_alive)

    def is_alive(self) -> bool:
        """Whether it answers."""
        connection = http.client.HTTPConnection(self.address)
        try:
            connection.request("GET", "/health/liveliness")
            return connection.getresponse().status == 200
        except OSError:
            return False
