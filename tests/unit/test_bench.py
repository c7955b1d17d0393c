"""The load generator against a real HTTP server that behaves and misbehaves."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from andante.cli.bench import BenchOptions, Ending, Progress, RequestResult, run_bench
from andante.cli.bench_scores import per_class, summarise
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.trace import TraceRequest
from unit.sse_server import Handler, Reply, answer, serving

PATIENT = QoEClass(name="patient", expected_ttft=1000.0, pace=5.0)
HASTY = QoEClass(name="hasty", expected_ttft=0.0, pace=1e6)


def _requests(count: int, *, output_tokens: int = 4, **fields: Any) -> list[TraceRequest]:
    return [TraceRequest(arrival_s=0.0, prompt_tokens=8, output_tokens=output_tokens, **fields) for _ in range(count)]


async def _bench(
    handler: Handler, requests: list[TraceRequest], *, qoe_class: QoEClass = PATIENT, **options: Any
) -> list[RequestResult]:
    async with serving(handler) as server:
        return await run_bench(requests, BenchOptions(url=server.url, model="m", qoe_class=qoe_class, **options))


async def _one(handler: Handler, **options: Any) -> RequestResult:
    (result,) = await _bench(handler, _requests(1), **options)
    return result


async def test_every_token_of_every_answer_is_counted() -> None:
    results = await _bench(answer, _requests(20, output_tokens=30))
    assert {r.ending for r in results} == {Ending.COMPLETED}
    assert [r.score.tokens for r in results] == [30] * 20
    assert all(list(r.delivery) == sorted(r.delivery) for r in results)
    assert {r.score.qoe for r in results} == {1.0}


async def test_results_say_which_request_they_are_of_in_whatever_order_they_end() -> None:
    async def handler(body: dict[str, Any], reply: Reply) -> None:
        await asyncio.sleep(0.1 if body["max_tokens"] == 5 else 0)
        await answer(body, reply)

    results = await _bench(handler, [*_requests(1, output_tokens=5), *_requests(1, output_tokens=3)])
    assert [(r.number, r.score.tokens) for r in results] == [(1, 3), (0, 5)]


async def test_tokens_that_come_in_one_event_count_apart() -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        reply.begin()
        await reply.tokens(0)
        await reply.tokens(3)
        await reply.tokens(2, finish="stop")
        await reply.end()

    assert (await _one(handler)).score.tokens == 5


async def test_requests_leave_whatever_the_server_does() -> None:
    """Open loop: the server answers nobody until all have asked; a generator that waits for answers would never end."""
    everybody, asked = asyncio.Event(), 0

    async def handler(body: dict[str, Any], reply: Reply) -> None:
        nonlocal asked
        asked += 1
        if asked == 25:
            everybody.set()
        await everybody.wait()
        await answer(body, reply)

    assert {r.ending for r in await _bench(handler, _requests(25))} == {Ending.COMPLETED}


async def test_the_class_travels_as_a_header() -> None:
    async with serving() as server:
        options = BenchOptions(url=server.url, model="m", qoe_class=PATIENT, classes=PRESETS)
        results = await run_bench([*_requests(1), *_requests(1, qoe_class="voice")], options)
    assert sorted(r.headers["x-andante-class"] for r in server.received) == ["patient", "voice"]
    assert sorted(r.qoe_class for r in results) == ["patient", "voice"]


async def test_the_class_header_can_be_left_out() -> None:
    async with serving() as server:
        options = BenchOptions(url=server.url, model="m", qoe_class=PATIENT, send_class_header=False)
        await run_bench(_requests(1), options)
    assert "x-andante-class" not in server.received[0].headers


async def test_an_unknown_class_is_refused_before_anything_is_sent() -> None:
    async with serving() as server:
        options = BenchOptions(url=server.url, model="m", qoe_class=PATIENT)
        with pytest.raises(KeyError, match="nobody"):
            await run_bench([*_requests(1), *_requests(1, qoe_class="nobody")], options)
    assert server.received == []


@pytest.mark.parametrize(
    ("status", "ending"), [(503, Ending.REJECTED), (429, Ending.REJECTED), (400, Ending.REFUSED), (302, Ending.REFUSED)]
)
async def test_an_error_status_is_kept_with_its_text(status: int, ending: Ending) -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        await reply.error(status, "because")

    result = await _one(handler)
    assert (result.ending, result.error) == (ending, f"HTTP {status}: because")
    assert (result.score.qoe, result.score.good) == (0.0, False)


async def _cut(reply: Reply, how: str) -> None:
    if how == "connection":
        reply.break_off()
    elif how == "error":
        await reply.event('{"error": {"message": "engine died"}}')
    elif how == "done early":
        await reply.end()
    elif how == "aborted":
        await reply.tokens(1, finish="abort")
        await reply.end()
    elif how == "no done":
        await reply.raw(b"")
    else:
        await reply.event("not JSON")


@pytest.mark.parametrize("how", ["connection", "error", "done early", "aborted", "no done", "rubbish"])
async def test_a_stream_that_breaks_off_is_cut_and_worth_nothing(how: str) -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        reply.begin()
        await reply.tokens(2)
        await _cut(reply, how)

    result = await _one(handler)
    assert result.ending is Ending.CUT
    assert result.error
    assert result.score.qoe == 0.0
    assert result.score.tokens >= 2


async def test_a_server_that_is_not_there_refuses() -> None:
    async with serving() as server:
        url = server.url
    (result,) = await run_bench(_requests(1), BenchOptions(url=url, model="m", qoe_class=PATIENT))
    assert result.ending is Ending.REFUSED
    assert result.error is not None
    assert result.error.startswith("ClientConnectorError: ")


async def test_who_is_cut_waits_until_the_end_of_the_run() -> None:
    """Otherwise a server would gain by dropping whoever is late."""
    broken = asyncio.Event()

    async def handler(body: dict[str, Any], reply: Reply) -> None:
        if body["max_tokens"] == 1:
            broken.set()
            await reply.error(503, "full")
            return
        await broken.wait()
        await answer(body, reply)

    results = await _bench(handler, [*_requests(1, output_tokens=50), *_requests(1, output_tokens=1)], qoe_class=HASTY)
    dropped = next(r for r in results if r.ending is Ending.REJECTED)
    end = max(r.arrival + r.lateness + r.duration for r in results)
    assert dropped.score.idle_latency == pytest.approx(end - dropped.arrival - dropped.lateness, abs=1e-5)


async def test_requests_without_end_are_closed_and_counted() -> None:
    async def handler(_: dict[str, Any], reply: Reply) -> None:
        reply.begin()
        await reply.tokens(1)
        await reply.client_gone()

    results = await _bench(handler, _requests(3), drain_seconds=0.0)
    assert [r.ending for r in results] == [Ending.UNFINISHED] * 3


async def test_progress_adds_up_to_all_requests() -> None:
    seen: list[Progress] = []
    async with serving() as server:
        results = await run_bench(
            _requests(7),
            BenchOptions(url=server.url, model="m", qoe_class=PATIENT),
            on_tick=seen.append,
            tick_seconds=0.001,
        )
    assert sum(p.arrivals for p in seen) == 7
    assert sum(len(p.ended) for p in seen) == len(results) == 7
    assert (seen[-1].sent, seen[-1].open_requests) == (7, 0)


async def test_scores_leave_nobody_out() -> None:
    async def handler(body: dict[str, Any], reply: Reply) -> None:
        if body["max_tokens"] == 9:
            await reply.error(503, "full")
        else:
            await answer(body, reply)

    results = await _bench(handler, [*_requests(3, output_tokens=5), *_requests(1, output_tokens=9)])
    scores = summarise(results, interval=10.0)
    assert (scores["requests"], scores["answered"], scores["streams_cut"]) == (4, 3, 0)
    assert scores["endings"]["rejected"] == 1
    assert scores["errors"] == {"HTTP 503": 1}
    assert (scores["qoe"]["mean"], scores["share_good"]) == (0.75, 0.75)
    assert scores["deficit"] == pytest.approx(0.95 / 4)
    assert scores["smooth_goodput_tokens_per_s"]["alpha=0*pace"] == pytest.approx(1.5)


async def test_batch_requests_are_in_the_throughput_only() -> None:
    options = {"classes": PRESETS}
    results = await _bench(answer, [*_requests(2), *_requests(3, qoe_class="batch")], **options)
    scores = summarise(results, interval=10.0)
    assert (scores["output_tokens"], scores["throughput_tokens_per_s"]) == (20, 2.0)
    assert scores["smooth_goodput_tokens_per_s"]["alpha=1*pace"] == pytest.approx(0.8)
    assert per_class(results, interval=10.0)["batch"]["qoe"]["mean"] is None


def _result(lateness: float) -> RequestResult:
    from andante.domain.request_meter import Outcome, RequestMeter

    meter = RequestMeter(expectation=PATIENT.expectation())
    meter.deliver(1.0)
    return RequestResult(
        number=0, arrival=0.0, lateness=lateness, duration=1.0, qoe_class="patient", ending=Ending.COMPLETED,
        error=None, wanted_tokens=1, delivery=(1.0,), score=meter.ended(Outcome.COMPLETED, at=1.0), pace=5.0,
    )  # fmt: skip


@pytest.mark.parametrize(("lateness", "late"), [(0.049, False), (0.051, True)])
def test_a_late_generator_is_flagged(lateness: float, late: bool) -> None:
    assert summarise([_result(lateness)] * 20, interval=1.0)["generator_was_late"] is late


def test_no_request_leaves_every_figure_unknown() -> None:
    scores = summarise([], interval=1.0)
    assert scores["qoe"] == {"mean": None, "p1": None, "p5": None, "p50": None}
    assert scores["share_good"] is None
    assert scores["smooth_goodput_tokens_per_s"]["alpha=1*pace"] is None
    assert not any(isinstance(v, float) and math.isnan(v) for v in scores.values())
