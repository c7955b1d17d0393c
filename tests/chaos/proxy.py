"""Runs one operator's proxy to the API server: it breaks requests by rules, and reports all writes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from hack.localcluster.api import ControlPlane

from faulty_api import FaultyAPI

NEVER = 10**9
STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
LOGIN_PAGE = b"<!doctype html><title>Sign in</title>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The properties of a request that rules can use."""

    method: str
    path: str
    watch: bool

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    def within(self, namespace: str) -> bool:
        return f"/namespaces/{namespace}/" in f"{self.path}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write that the API server has carried out."""

    operator: str
    method: str
    path: str
    body: dict[str, Any]
    answer: dict[str, Any]

    @property
    def version(self) -> int:
        """Revision of the store after the write; 0: not known."""
        version: str = (self.answer.get("metadata") or {}).get("resourceVersion") or "0"
        return int(version)


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """Breaks the requests that it applies to, in one way, until it is removed."""

    how: str
    """An HTTP status code, or one of the ways that `ChaosAPI` knows."""
    applies: Callable[[Request], bool]
    share: float = 1.0
    """Share of these requests that is broken."""
    seconds: float = 1.0
    """Length of a delay."""
    met: int = 0
    over: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)


class ChaosAPI(FaultyAPI):
    """A proxy with rules. `on_write` gets every write that the API server carried out, in the proxy's own thread."""

    def __init__(
        self, plane: ControlPlane, folder: Path, *, operator: str, token: str, on_write: Callable[[Write], None]
    ) -> None:
        super().__init__(plane, folder, every=NEVER, token=token)
        self._operator, self._on_write = operator, on_write
        self._rules: tuple[Rule, ...] = ()
        self._gate, self._refusals = threading.Lock(), 0
        self._chance = random.Random(operator)  # noqa: S311  no secret

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[Rule]:
        """Use the rule inside the block. Open watches may continue."""
        self._rules = (*self._rules, rule)
        try:
            yield rule
        finally:
            self._rules = tuple(r for r in self._rules if r is not rule)
            self._loop.call_soon_threadsafe(rule.over.set)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections inside the block, and cut the open ones."""
        with self._gate:
            self._refusals += 1
            if self._refusals == 1:
                asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result(10)
        self.cut()
        try:
            yield
        finally:
            with self._gate:
                self._refusals -= 1
                if self._refusals == 0:
                    asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._site = web.SockSite(self._runner, self._listening)
        await self._site.start()

    async def _refuse(self) -> None:
        # asyncio never closes a connection that it has accepted and whose turn comes after the end of its server. So:
        # accept no more, let those have their turn, then end.
        self._loop.remove_reader(self._listening.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        await self._site.stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._refusals:  # the connection was open before
            return _abort(request)
        looked = Request(method=request.method, path=request.path, watch="watch=" in request.query_string)
        rule = next((r for r in self._rules if r.applies(looked) and self._chance.random() < r.share), None)
        if rule is not None:
            rule.met += 1
            if rule.how.isdigit():
                return _refusal(int(rule.how))
            if rule.how == "error-event":
                return web.json_response({"type": "ERROR", "object": _status(500)}) if looked.watch else _refusal(500)
            if rule.how == "login-page":
                return web.Response(body=LOGIN_PAGE, content_type="text/html")
            if rule.how == "reset":
                return _abort(request)
            if rule.how == "hang":
                await rule.over.wait()
                return _abort(request)
            if rule.how == "delay":
                await asyncio.sleep(rule.seconds)
        return await self._pass_on(request, looked, how=rule.how if rule is not None else "")

    async def _pass_on(self, request: web.Request, looked: Request, *, how: str) -> web.StreamResponse:
        body = await request.read()
        try:
            async with self._forward(request, body) as answer:
                if looked.watch:
                    return await self._stream(request, answer, half=how == "half")
                text = await answer.read()
                if looked.writes and answer.status < 300:
                    self._note(looked, body, text)
                if how == "lost":
                    return _abort(request)
                response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
                response.content_length = len(text)
                await response.prepare(request)
                if how == "half":
                    await response.write(text[: len(text) // 2])
                    return _abort(request)
                await response.write(text)
                return response
        except aiohttp.ClientError:  # the API server itself is away
            return _abort(request)

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse, *, half: bool) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        self._open[id(request)] = request
        try:
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if half:
                    await response.write(chunk[: len(chunk) // 2])
                    return _abort(request)
                await response.write(chunk)
        except aiohttp.ClientError:
            return _abort(request)
        finally:
            self._open.pop(id(request), None)
        return response

    def _note(self, looked: Request, body: bytes, text: bytes) -> None:
        with contextlib.suppress(ValueError):
            said = json.loads(body) if body else {}
            write = Write(
                operator=self._operator, method=looked.method, path=looked.path, body=said, answer=json.loads(text)
            )
            self._on_write(write)


def _status(code: int) -> dict[str, Any]:
    reasons = {410: "Expired", 429: "TooManyRequests", 401: "Unauthorized", 403: "Forbidden", 409: "Conflict"}
    return {**STATUS, "code": code, "reason": reasons.get(code, "InternalError"), "message": f"injected: {code}"}


def _refusal(code: int) -> web.Response:
    return web.json_response(_status(code), status=code, headers={"Retry-After": "1"} if code == 429 else {})


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
