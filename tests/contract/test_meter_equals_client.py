"""The QoE that the engine reports is the QoE that its clients had."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hack.engine_process import EngineProcess

from andante.domain.qoe import score_timeline
from contract.conftest import CONFIG, QOE, VIRTUAL, counted, total
from contract.timed_stream import TimedConnection, TimedStream

READERS = 12
EXPECTATION = {"expectedTtftSeconds": 1.0, "pace": 4.8}
CLASSES = [f"reader-{number}" for number in range(READERS)]


@pytest.fixture(scope="module")
def slow_engine() -> Iterator[EngineProcess]:
    """0.4 s a token: slower than people read, so QoE is lost. Each reader is a class of their own, to be told apart."""
    qoe = {**QOE, "classes": [*QOE["classes"], *({"name": name, **EXPECTATION} for name in CLASSES)]}
    with EngineProcess({**CONFIG, "virtualGpu": {**VIRTUAL, "timeScale": 60.0}}, qoe=qoe) as process:
        yield process


def _read(engine: EngineProcess, number: int) -> TimedStream:
    connection = TimedConnection(engine)
    time.sleep(0.1 * number)  # open loop: arrivals spread over a second
    headers = {"X-Andante-Class": CLASSES[number]}
    try:
        return connection.stream(prompt=" the river", max_tokens=8 + number, headers=headers)
    finally:
        connection.close()


async def test_mean_qoe_is_the_clients_within_a_hundredth(slow_engine: EngineProcess) -> None:
    before = slow_engine.metrics()
    with ThreadPoolExecutor(READERS) as pool:
        streams = list(pool.map(lambda number: _read(slow_engine, number), range(READERS)))
    seen = [score_timeline(stream.delivery, expected_ttft=1.0, pace=4.8) for stream in streams]
    increase = await counted(slow_engine, before, requests=READERS)
    assert increase["andante_requests_scored_total"] == READERS
    samples = slow_engine.metrics()
    rows = []
    for number, (stream, score) in enumerate(zip(streams, seen, strict=True)):
        of_class = {"qoe_class": CLASSES[number]}
        qoe, ttft = (total(samples, f"andante_{m}_sum", **of_class) for m in ("request_qoe", "ttft_seconds"))
        rows.append(
            f"{CLASSES[number]}: QoE {qoe:.4f} counted, {score.qoe:.4f} at the client; first token after {ttft:.3f} s "
            f"counted, {stream.delivery[0]:.3f} s at the client; read up to {max(stream.read_later):.3f} s later"
        )
    told = "\n".join(rows)
    assert increase["andante_ended_qoe_total"] / READERS == pytest.approx(
        sum(score.qoe for score in seen) / READERS, abs=0.01
    ), told
    assert increase["andante_request_andes_qoe_sum"] / READERS == pytest.approx(
        sum(score.andes_qoe for score in seen) / READERS, abs=0.01
    ), told
    assert 0.5 < increase["andante_ended_qoe_total"] / READERS < 0.95  # there was something to tell


async def test_what_lies_in_buffers_for_a_reader_who_does_not_read_counts_as_delivered(
    slow_engine: EngineProcess,
) -> None:
    """docs/concepts/qoe.md says so: no server can see how far the person at the other end has read."""
    before = slow_engine.metrics()
    connection = TimedConnection(slow_engine, receive_buffer=4096)
    try:
        connection.send(prompt=" the river", max_tokens=10)
        increase = await counted(slow_engine, before, requests=1)
        assert increase["andante_tokens_total:visible"] == 10
        assert increase["andante_requests_total:completed"] == 1
        assert len(connection.read().delivery) == 10
    finally:
        connection.close()
