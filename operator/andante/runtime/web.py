"""Serves the operator's own HTTP: /healthz and /readyz for the kubelet, /metrics for Prometheus.

The server shares the event loop with the rest of the operator, so the number and the age of connections have limits. A
client that sends half a request holds one connection, not a thread.
"""

from __future__ import annotations

import asyncio
from typing import Any

import prometheus_client
from aiohttp import web

from andante.runtime.health import Health

MOST_CONNECTIONS = 64
"""Connections at each port. Only a kubelet and a few Prometheus servers connect."""
LONGEST_CONNECTION_SECONDS = 60.0
"""A connection is closed after this time, even within a request. The client opens a new one."""
_LOOK_SECONDS = 1.0


class PortError(Exception):
    """A port cannot be served, because another process has it or the port needs more rights."""


class OwnWeb:
    """Serves until `stop`."""

    def __init__(self, health: Health, registry: prometheus_client.CollectorRegistry) -> None:
        self._health, self._registry = health, registry
        self._runners: list[web.AppRunner] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self, *, health_port: int, metrics_port: int) -> None:
        """Serve on every address; `metrics_port` 0: no metrics. Raises PortError."""
        await self._serve(health_port, {"/healthz": self._alive, "/readyz": self._ready})
        if metrics_port:
            await self._serve(metrics_port, {"/metrics": self._metrics})
        self._watch = asyncio.create_task(self._bound_connections())

    async def stop(self) -> None:
        """Close everything."""
        if self._watch is not None:
            self._watch.cancel()
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, port: int, routes: dict[str, Any]) -> None:
        app = web.Application(client_max_size=1024)
        for path, handler in routes.items():
            app.router.add_get(path, handler)
        runner = web.AppRunner(app, access_log=None, max_line_size=4096, max_field_size=4096)
        self._runners.append(runner)
        await runner.setup()
        try:
            await web.TCPSite(runner, None, port, backlog=MOST_CONNECTIONS).start()
        except OSError as error:
            raise PortError(f"port {port} for {', '.join(routes)} cannot be served: {error.strerror}") from error

    async def _bound_connections(self) -> None:
        """Close connections above the limit, oldest first, and connections that are too old."""
        loop = asyncio.get_running_loop()
        since: dict[int, float] = {}
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = loop.time()
            for runner in self._runners:
                server = runner.server
                connections = [] if server is None else list(server.connections)
                for connection in connections:
                    since.setdefault(id(connection), now)
                connections.sort(key=lambda connection: since[id(connection)])
                for place, connection in enumerate(connections):
                    too_many = place < len(connections) - MOST_CONNECTIONS
                    if too_many or now - since[id(connection)] > LONGEST_CONNECTION_SECONDS:
                        connection.force_close()
            known = {id(c) for r in self._runners if r.server is not None for c in r.server.connections}
            since = {key: at for key, at in since.items() if key in known}

    async def _alive(self, _: web.Request) -> web.Response:
        overdue = {name: round(seconds) for name, seconds in self._health.overdue().items()}
        if overdue:
            return web.json_response({"alive": False, "silentForSeconds": overdue}, status=503)
        silences = {name: round(seconds) for name, seconds in self._health.silences().items()}
        return web.json_response({"alive": True, "silentForSeconds": silences})

    async def _ready(self, _: web.Request) -> web.Response:
        waiting_for = self._health.waiting_for
        if waiting_for:
            return web.json_response({"ready": False, "waitingFor": waiting_for}, status=503)
        return web.json_response({"ready": True})

    async def _metrics(self, _: web.Request) -> web.Response:
        text = await asyncio.to_thread(prometheus_client.generate_latest, self._registry)
        return web.Response(body=text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})
