"""A stream that waits says so in comments, at ends of events only, and never while tokens flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contract.server.meter_app import Endpoint, configure, serving

COMMENT = ": waiting\n\n"
SHORT = 0.05


def _sends(
    *parts: str, headers: dict[str, str] | None = None, kind: str = "text/event-stream"
) -> tuple[Endpoint, Sequence[asyncio.Event]]:
    """An app that writes each part when its event is set."""
    gates = [asyncio.Event() for _ in parts]

    async def app(_: Request) -> Response:
        async def body() -> AsyncIterator[str]:
            for part, gate in zip(parts, gates, strict=True):
                await gate.wait()
                yield part

        return StreamingResponse(body(), media_type=kind, headers=headers)

    return app, gates


async def _until(seen: list[str], *, comments: int) -> None:
    while "".join(seen).count(COMMENT) < comments:
        await asyncio.sleep(0.01)


async def _read(reply: httpx.Response, into: list[str]) -> None:
    async for text in reply.aiter_text():
        into.append(text)  # noqa: PERF401  each as it comes


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, commentAfterSilenceSeconds=SHORT)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/messages"])
async def test_a_comment_comes_before_the_first_token_and_in_each_stall(path: str) -> None:
    app, gates = _sends("data: a\n\n", "data: b\r\n\r\n", "data: [DONE]\n\n")
    async with serving(app) as url, httpx.AsyncClient() as client, client.stream("POST", url + path) as reply:
        seen: list[str] = []
        reading = asyncio.create_task(_read(reply, seen))
        await _until(seen, comments=2)
        gates[0].set()
        await _until(seen, comments=4)
        gates[1].set()
        await _until(seen, comments=6)
        gates[2].set()
        await reading
    assert "".join(seen).replace(COMMENT, "") == "data: a\n\ndata: b\r\n\r\ndata: [DONE]\n\n"


@pytest.mark.usefixtures("settings")
async def test_no_comment_comes_within_an_event() -> None:
    app, gates = _sends("data: a\n\n", "data: half", " and half\n", "\n", "data: [DONE]\n\n")
    async with (
        serving(app) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/v1/completions") as reply,
    ):
        seen: list[str] = []
        reading = asyncio.create_task(_read(reply, seen))
        for gate in gates:
            gate.set()
            await asyncio.sleep(4 * SHORT)  # long enough for the comment that must not come
        await reading
    assert "data: half and half\n\n" in "".join(seen)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("application/json", {}),
        ("text/event-stream", {"content-length": "9"}),
        ("text/event-stream", {"content-encoding": "br"}),
    ],
)
async def test_what_is_no_plain_stream_stays_as_it_is(kind: str, headers: dict[str, str]) -> None:
    app, gates = _sends("data: a\n\n", headers=headers, kind=kind)
    async with (
        serving(app) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/v1/completions") as reply,
    ):
        await asyncio.sleep(4 * SHORT)
        gates[0].set()
        assert b"".join([part async for part in reply.aiter_raw()]) == b"data: a\n\n"


async def test_comments_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, commentAfterSilenceSeconds=0)
    app, gates = _sends("data: a\n\n")
    async with (
        serving(app) as url,
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/v1/completions") as reply,
    ):
        await asyncio.sleep(4 * SHORT)
        gates[0].set()
        assert [text async for text in reply.aiter_text()] == ["data: a\n\n"]


async def test_while_tokens_flow_there_is_no_comment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configure(monkeypatch, tmp_path, commentAfterSilenceSeconds=60)
    tokens = [f"data: {number}\n\n" for number in range(200)]
    app, gates = _sends(*tokens)
    for gate in gates:
        gate.set()
    async with serving(app) as url, httpx.AsyncClient() as client:
        assert (await client.post(f"{url}/v1/completions")).text == "".join(tokens)
