"""A body that vLLM's own checks stumble over is the client's mistake, not the server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel, TypeAdapter, model_validator

from andante_vllm.middleware import DeliveryMeter
from contract.server.meter_app import configure

app = FastAPI()
app.add_middleware(DeliveryMeter)


class Body(BaseModel):
    options: Any = None

    @model_validator(mode="before")
    @classmethod
    def takes_the_form_for_granted(cls, data: Any) -> Any:
        len(data["options"])
        return data


@app.post("/v1/completions")
async def complete(body: Body) -> dict[str, str]:
    if body.options == ["fail"]:
        raise TypeError("the server's own fault")
    return {}


@app.post("/invocations")
async def invoke(request: Request) -> dict[str, str]:
    """Reads and checks its body itself, as vLLM's does."""
    TypeAdapter(Body).validate_python(await request.json())
    return {}


@pytest.mark.parametrize("body", [b'{"options": 5}', b'"\xff"', b"[" * 100_000, b"5"])
async def test_an_endpoint_that_reads_its_body_itself_answers_400_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes
) -> None:
    configure(monkeypatch, tmp_path)
    app.middleware_stack = None  # the meter is made anew
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        reply = await client.post("/invocations", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("The request's body cannot be read: ")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"options": "\\ud83d"}', "it has half of a character (a surrogate) alone: \\ud83d."),
        (b'{"options": "\xed\xa0\xbd"}', "it has half of a character (a surrogate) as bytes."),
        ('{"options": "a"}'.encode("utf-16"), "it is not in UTF-8."),
    ],
)
async def test_a_body_that_no_engine_can_be_handed_gets_a_400(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes, problem: str
) -> None:
    counted = configure(monkeypatch, tmp_path)
    app.middleware_stack = None  # the meter is made anew
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        reply = await client.post("/v1/completions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == f"The request's body cannot be read: {problem}"
    assert counted.outcomes == []


@pytest.mark.parametrize(("options", "status"), [([], 200), (5, 400), (["fail"], 500)])
async def test_what_a_check_stumbles_over_gets_a_400(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: Any, status: int
) -> None:
    counted = configure(monkeypatch, tmp_path)
    app.middleware_stack = None  # the meter is made anew
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        reply = await client.post("/v1/completions", json={"options": options})
    assert reply.status_code == status
    if status == 400:
        assert reply.json()["error"]["message"].startswith("The request's body cannot be read: ")
        assert counted.outcomes == []
