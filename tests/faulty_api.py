"""Runs a proxy in front of a real API server, which lets some requests fail as a busy server does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import ssl
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yarl
from aiohttp import web
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane
from hack.localcluster.kubeconfig import write_kubeconfig

ANSWERS = {"Conflict": 409, "TooManyRequests": 429, "ServiceUnavailable": 503}
"""Faults that the API server answers with, without doing anything: the reason of the Status, and its code. Only a
write can meet a conflict."""
WATCH_ERROR = "WatchError"
"""A watch is answered with an ERROR event of status 500, as by an API server that has lost its etcd."""
EXPIRED = "Expired"
"""A watch is answered with an ERROR event of status 410: its version is older than all that is remembered."""
STORMS = {"Unauthorized": 401, "InternalError": 500}
"""Faults that only come by `storm`: their reason and code."""
ANSWER_LOST = "AnswerLost"
"""The request is carried out, and the connection is cut before the answer."""
FORWARDED = ("Accept", "Authorization", "Content-Type")


class FaultyAPI:
    """Fails one of `every` requests on average, watches included. `faults` counts the faults by kind, which take turns.

    The requests are drawn at random: exactly each fifth request could always be the same call.

    `kubeconfig`: for a cluster-admin behind the proxy.
    """

    def __init__(self, plane: ControlPlane, folder: Path, *, every: int, token: str = "") -> None:
        """`token`: for the `kubeconfig`, in place of the cluster-admin's token."""
        self._server, self._tls = plane.server, ssl.create_default_context(cafile=str(plane.ca))
        self._every, self._draw = every, random.Random(5)  # noqa: S311  no secret
        self._kinds = itertools.cycle([*ANSWERS, ANSWER_LOST])
        self._owed = 0
        """1 where the turn of a conflict came at a read: the next write meets it."""
        self.faults: Counter[str] = Counter()
        self._open: dict[int, web.Request] = {}
        self.storm: str | None = None
        """The fault of every request, from `STORMS`, or of every watch: `WATCH_ERROR`, `EXPIRED`. None: no storm."""
        (self._port,) = free_ports(1)
        self.kubeconfig = folder / "faulty.kubeconfig"
        address = f"http://127.0.0.1:{self._port}"
        write_kubeconfig(self.kubeconfig, name="faulty", server=address, ca=plane.ca, token=token or plane.token)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _stop(self) -> None:
        server = self._runner.server
        await self._runner.cleanup()
        # Who was accepted as the site stopped is there only a moment later: an operator connects again and again.
        await asyncio.sleep(0.05)
        if server is not None:
            await server.shutdown(0)
            await asyncio.sleep(0)  # a transport is closed by the loop's next turn
        await self._session.close()

    def cut(self) -> None:
        """End all unfinished answers, above all those of watches."""

        def abort() -> None:
            for request in list(self._open.values()):
                if request.transport is not None:
                    request.transport.abort()

        self._loop.call_soon_threadsafe(abort)

    def _next_fault(self, request: web.Request) -> str | None:
        if self.storm is not None:
            if self.storm in (WATCH_ERROR, EXPIRED) and "watch=" not in request.query_string:
                return None
            self.faults[self.storm] += 1
            return self.storm
        write = request.method != "GET"
        if write and self._owed:
            self._owed = 0
            fault = "Conflict"
        elif self._draw.random() * self._every >= 1:
            return None
        else:
            fault = next(self._kinds)
            if fault == "Conflict" and not write:
                self._owed = 1
                return None
        self.faults[fault] += 1
        return fault

    def _forward(self, request: web.Request, body: bytes) -> contextlib.AbstractAsyncContextManager[Any]:
        """The API server's answer."""
        return self._session.request(
            request.method,
            yarl.URL(self._server + request.raw_path, encoded=True),
            data=body or None,
            headers={name: request.headers[name] for name in FORWARDED if name in request.headers},
        )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        fault = self._next_fault(request)
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        if fault == WATCH_ERROR:
            error = {**status, "code": 500, "reason": "InternalError", "message": "injected: etcd is away"}
            return web.json_response({"type": "ERROR", "object": error})
        if fault == EXPIRED:
            error = {**status, "code": 410, "reason": "Expired", "message": "injected: too old resource version"}
            return web.json_response({"type": "ERROR", "object": error})
        codes = ANSWERS | STORMS
        if fault in codes:
            return web.json_response(
                {**status, "code": codes[fault], "reason": fault, "message": f"injected: {fault}"},
                status=codes[fault],
                headers={"Retry-After": "1"} if fault == "TooManyRequests" else {},
            )
        async with self._forward(request, await request.read()) as answer:
            if fault == ANSWER_LOST:
                await answer.read() if "watch=" not in request.query_string else None
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            self._open[id(request)] = request
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            finally:
                self._open.pop(id(request), None)
            return response

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
