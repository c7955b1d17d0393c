"""The QoE that the engine reports is the QoE that its clients had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from hack.engine_process import EngineProcess

from andante.domain.qoe import score_timeline
from contract.conftest import CONFIG, QOE, VIRTUAL, Stream, counted, stream_completion

READERS = 12


@pytest.fixture(scope="module")
def slow_engine() -> Iterator[EngineProcess]:
    """0.4 s a token: slower than people read, so QoE is lost."""
    with EngineProcess({**CONFIG, "virtualGpu": {**VIRTUAL, "timeScale": 60.0}}, qoe=QOE) as process:
        yield process


async def test_mean_qoe_is_the_clients_within_a_hundredth(
    slow_engine: EngineProcess, client: httpx.AsyncClient
) -> None:
    await stream_completion(client, slow_engine, prompt=" stone", max_tokens=2)  # the first request imports much

    async def read(number: int) -> Stream:
        await asyncio.sleep(0.1 * number)  # open loop: arrivals spread over a second
        return await stream_completion(client, slow_engine, prompt=" the river", max_tokens=8 + number)

    before = slow_engine.metrics()
    streams = await asyncio.gather(*(read(number) for number in range(READERS)))
    seen = [score_timeline(stream.delivery, expected_ttft=1.0, pace=4.8) for stream in streams]
    increase = await counted(slow_engine, before, requests=READERS)
    assert increase["andante_request_qoe_count"] == READERS
    assert increase["andante_request_qoe_sum"] / READERS == pytest.approx(
        sum(score.qoe for score in seen) / READERS, abs=0.01
    )
    assert increase["andante_request_andes_qoe_sum"] / READERS == pytest.approx(
        sum(score.andes_qoe for score in seen) / READERS, abs=0.01
    )
    assert 0.5 < increase["andante_request_qoe_sum"] / READERS < 0.95  # there was something to tell
