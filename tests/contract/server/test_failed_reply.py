"""An app that fails hurts the request that it fails, and nobody who uses the connection after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from andante.domain.request_meter import Outcome
from contract.server.meter_app import Counted, configure, serving

COUNTED = "/v1/completions"
ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    return configure(monkeypatch, tmp_path)


async def _fails_when_asked(request: Request) -> Response:
    if b"fail" in await request.body() or "fail" in request.url.path:
        raise RuntimeError("a secret of the app")
    return PlainTextResponse("fine")


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


def _statuses(server: str, bodies: Sequence[str]) -> list[int]:
    """One request after the other, as a simple pool sends them: on the same connection until a reply closes it."""
    connection = HTTPConnection(server)
    statuses = []
    for body in bodies:
        connection.request("POST", COUNTED, body=body)
        reply = connection.getresponse()
        reply.read()
        statuses.append(reply.status)
    connection.close()
    return statuses


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_after_a_failure_a_pool_goes_on_without_an_error(counted: Counted, http: str) -> None:
    async with serving(_fails_when_asked, http=http) as url:
        statuses = await asyncio.to_thread(_statuses, urlsplit(url).netloc, ("go", "fail", "go") * 10)
    assert statuses == [200, 500, 200] * 10
    assert counted.outcomes == [Outcome.FAILED] * 10


@pytest.mark.parametrize(("method", "path"), [("POST", COUNTED), ("POST", "/fail"), ("GET", "/fail")])
async def test_a_failure_is_a_500_in_openais_form_that_closes_its_connection(
    counted: Counted, method: str, path: str
) -> None:
    async with serving(_fails_when_asked) as url, httpx.AsyncClient() as client:
        reply = await client.request(method, url + path, content="fail")
    assert reply.status_code == 500
    assert reply.headers["connection"] == "close"
    assert reply.json() == {
        "error": {
            "message": "The server failed to answer; its log says why.",
            "type": "InternalServerError",
            "param": None,
            "code": 500,
        }
    }


async def test_the_log_has_the_traceback_and_the_server_saw_no_exception(counted: Counted) -> None:
    # Each logger's own handler: whether a record of vLLM's loggers reaches the root depends on what was imported when.
    records = _Records()
    loggers = [logging.getLogger("vllm.andante.meter"), logging.getLogger("uvicorn.error")]
    for logger in loggers:
        logger.addHandler(records)
    try:
        async with serving(_fails_when_asked) as url, httpx.AsyncClient() as client:
            await client.post(url + COUNTED, content="fail")
    finally:
        for logger in loggers:
            logger.removeHandler(records)
    failures = [record for record in records.seen if record.exc_info]
    assert [record.name for record in failures] == ["vllm.andante.meter"]
    assert "a secret of the app" in logging.Formatter().format(failures[0])


@pytest.mark.parametrize("length", [{}, {"content-length": "100"}], ids=["chunked", "with a length"])
async def test_a_reply_that_fails_half_way_is_never_taken_for_complete(
    counted: Counted, length: dict[str, str]
) -> None:
    async def half(_: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            yield "data: 1\n\n"
            raise RuntimeError("half way")

        return StreamingResponse(chunks(), media_type="text/event-stream", headers=length)

    async with serving(half) as url, httpx.AsyncClient(limits=ONE_CONNECTION) as pool:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await pool.post(url + COUNTED)
    assert counted.outcomes == [Outcome.FAILED] * 2


async def test_a_failure_after_the_reply_leaves_the_connection_as_it_is(counted: Counted) -> None:
    ports: list[int] = []

    async def fails_later(request: Request) -> Response:
        async def fail() -> None:
            raise RuntimeError("in the background")

        assert request.client is not None
        ports.append(request.client.port)
        return PlainTextResponse("whole", background=BackgroundTask(fail))

    async with serving(fails_later) as url, httpx.AsyncClient(limits=ONE_CONNECTION) as pool:
        assert [(await pool.post(url + COUNTED)).text for _ in range(3)] == ["whole"] * 3
    assert len(set(ports)) == 1


async def test_a_cancelled_request_stays_cancelled(counted: Counted) -> None:
    from andante_vllm.middleware import DeliveryMeter

    sent: list[object] = []
    begun = asyncio.Event()

    async def waits(scope: object, receive: object, send: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def send(message: object) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": COUNTED, "headers": []}
    running = asyncio.create_task(DeliveryMeter(waits)(scope, receive, send))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sent == []
