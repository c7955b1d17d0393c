"""What the meter adds to replies, and what asking for metrics makes it do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from contract.server.meter_app import Counted, configure, serving


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counted:
    return configure(monkeypatch, tmp_path)


async def _stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        yield "data: [DONE]\n\n"

    said = {"X-Accel-Buffering": "yes"} if "own" in request.url.path else {}
    kind = "application/json" if "whole" in request.url.path else "text/event-stream; charset=utf-8"
    return StreamingResponse(chunks(), media_type=kind, headers=said)


@pytest.mark.parametrize(("path", "header"), [("/v1/completions", ["no"]), ("/own", ["yes"]), ("/whole", [])])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stream_asks_gateways_not_to_hold_it_back(
    counted: Counted, method: str, path: str, header: list[str]
) -> None:
    async with serving(_stream) as url, httpx.AsyncClient() as client:
        reply = await client.request(method, url + path)
    assert reply.headers.get_list("x-accel-buffering") == header


async def _fine(_: Request) -> Response:
    return PlainTextResponse("fine")


@pytest.mark.parametrize(
    ("path", "times"), [("/metrics", 1), ("/metrics/", 1), ("/metrics?x=1", 1), ("/metricsx", 0), ("/metrics/x", 0)]
)
async def test_only_the_path_of_the_metrics_brings_gauges_up_to_date(counted: Counted, path: str, times: int) -> None:
    async with serving(_fine) as url, httpx.AsyncClient() as client:
        assert (await client.get(url + path)).text == "fine"
    assert len(counted.open) == times


async def test_who_names_series_is_answered_from_the_files_of_the_metrics(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tmp_path / "metrics"
    files.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(files))
    counted = configure(monkeypatch, tmp_path)
    async with serving(_fine) as url, httpx.AsyncClient() as client:
        some = await client.get(f"{url}/metrics", params={"name[]": "andante_open_requests"})
        assert (some.status_code, some.text) == (200, "")  # nobody has written any
        assert (await client.get(f"{url}/metrics", params={"names": "x"})).text == "fine"
    assert len(counted.open) == 2
