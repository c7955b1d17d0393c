"""An engine whose core hangs while it answers: its web server still says that all is well, as with a hung GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from e2e.on_call.live_services import LiveServices

_STOP = """
import os, pathlib, signal
processes = pathlib.Path("/proc").glob("[0-9]*/cmdline")
core, = [p.parent.name for p in processes if p.read_bytes().startswith(b"VLLM::EngineCore")]
os.kill(int(core), signal.SIGSTOP)
"""


@dataclass(frozen=True, slots=True)
class Hung:
    """The engine that hangs."""

    url: str
    since: float
    """Unix time."""

    def says_healthy(self) -> bool:
        return httpx.get(f"{self.url}/health", trust_env=False, timeout=30).status_code == 200


@contextmanager
def hung_engine(services: LiveServices, name: str) -> Iterator[Hung]:
    """The core of the service's only engine stops amid an answer, which its reader waits for."""
    url = services.url(name)
    body = {"model": name, "prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True}
    with (
        httpx.Client(timeout=httpx.Timeout(10, read=None), trust_env=False) as client,
        client.stream("POST", f"{url}/v1/completions", json=body) as reply,
    ):
        assert reply.status_code == 200
        lines = (line for line in reply.iter_lines() if line.startswith("data: "))
        for _ in range(5):
            next(lines)
        services.shared.kubectl("exec", services.pod(name), "-c", "engine", "--", "python3", "-c", _STOP)
        yield Hung(url, since=time.time())
