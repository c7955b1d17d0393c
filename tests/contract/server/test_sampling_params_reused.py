"""Who calls `generate()` keeps their SamplingParams: vLLM's beam search, speech and tools use one object many times."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from vllm import SamplingParams

from andante_vllm import engine_client_hooks as hooks
from andante_vllm import request_args
from contract.server.meter_app import configure, serving


class StandInEngine:
    """Keeps what it is given."""

    vllm_config = SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_batched_tokens=2048),
        structured_outputs_config=SimpleNamespace(reasoning_parser=""),
    )

    def __init__(self) -> None:
        self.given: list[SamplingParams] = []

    async def generate(
        self, prompt: Any, sampling_params: SamplingParams, request_id: str
    ) -> AsyncGenerator[Any, None]:
        self.given.append(sampling_params)
        return
        yield


@pytest.mark.parametrize("skip_clone", [True, False])
async def test_the_same_object_serves_many_calls_and_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, skip_clone: bool
) -> None:
    configure(monkeypatch, tmp_path)
    engine = StandInEngine()
    generate = hooks.metered(StandInEngine.generate)
    said = {"other": 1, request_args.PACE: 3.5}
    params = SamplingParams(max_tokens=1, logprobs=4, stop=["."], extra_args=said, skip_clone=skip_clone)
    before = params.clone()

    async def searches(_: Request) -> Response:
        for step in range(3):
            async for _output in generate(engine, {"prompt_token_ids": [1, 2]}, params, f"step-{step}"):
                pass
        return PlainTextResponse("found")

    async with serving(searches) as url, httpx.AsyncClient() as client:
        reply = await client.post(f"{url}/v1/completions", headers={"X-Andante-Class": "hurried"})
    assert reply.status_code == 200
    assert params == before
    assert params.extra_args is said
    assert said == {"other": 1, request_args.PACE: 3.5}
    assert [given.extra_args[request_args.CLASS] for given in engine.given] == ["hurried"] * 3
    assert all((given.logprobs, given.stop, given.skip_clone) == (4, ["."], skip_clone) for given in engine.given)
