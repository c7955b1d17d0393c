"""Runs the real delivery meter in the real web server, around a test's app. It is assembled in the way of vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from andante.domain.request_meter import Outcome, RequestScore
from andante_vllm import middleware
from andante_vllm.meter_metrics import MeterMetrics, OpenRequests
from andante_vllm.settings import ENGINE_CONFIG_VARIABLE
from contract.conftest import CONFIG, QOE

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Counted:
    """Records everything that the meter counts."""

    outcomes: list[Outcome] = field(default_factory=list)
    """One for each request that ended."""
    scores: list[RequestScore] = field(default_factory=list)
    """Theirs."""
    open: list[int] = field(default_factory=list)
    """How many were open, each time that the gauges were set."""


def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, **http: float) -> Counted:
    """Write the meter's settings. `http`: fields of that section in engine.yaml."""
    (folder / "engine.yaml").write_text(yaml.safe_dump({**CONFIG, "http": http}))
    (folder / "qoe.yaml").write_text(yaml.safe_dump(QOE))
    monkeypatch.setenv(ENGINE_CONFIG_VARIABLE, str(folder / "engine.yaml"))
    counted = Counted()

    class Recording(MeterMetrics):
        def ended(self, qoe_class: str, outcome: Outcome, score: RequestScore, **rest: Any) -> None:
            counted.outcomes.append(outcome)
            counted.scores.append(score)
            super().ended(qoe_class, outcome, score, **rest)

        def set_open(self, by_class: Mapping[str, OpenRequests]) -> None:
            counted.open.append(sum(sums.requests for sums in by_class.values()))
            super().set_open(by_class)

    monkeypatch.setattr(middleware, "MeterMetrics", Recording)
    return counted


@contextlib.asynccontextmanager
async def serving(
    endpoint: Endpoint, *, http: str = "auto", made: Callable[[uvicorn.Server], None] = lambda _: None
) -> AsyncIterator[str]:
    """Serve `endpoint` at every path behind the meter; yield the server's address. `made` gets the server."""
    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
    app.add_middleware(middleware.DeliveryMeter)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None))
    made(server)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
