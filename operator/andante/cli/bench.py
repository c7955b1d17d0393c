"""Open-loop load on an OpenAI-compatible endpoint, scored as the client saw it.

Requests leave at their trace times whatever the server does (open loop): a slow server cannot slow its own load
down. A generator that falls behind says so in its results. Each request opens its own connection, as independent users
do: behind a Kubernetes Service a pooled connection would stay on the replica that it first met.
"""

from __future__ import annotations

import asyncio
import enum
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from andante.domain.pace import QoEClass
from andante.domain.request_meter import Objective, Outcome, RequestMeter, RequestScore
from andante.domain.trace import TraceRequest

CLASS_HEADER = "X-Andante-Class"


class Ending(enum.StrEnum):
    """How a request ended for the client."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    """The server answered 429 or 503."""
    REFUSED = "refused"
    """The server answered another error, or could not be reached."""
    CUT = "cut"
    """The stream broke off after it had begun."""
    UNFINISHED = "unfinished"
    """Still open when the generator stopped waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What to send, and what the readers expect."""

    url: str
    """Base address of the endpoint, without /v1."""
    model: str
    qoe_class: QoEClass
    """Class of requests whose trace line names none."""
    classes: Mapping[str, QoEClass] = field(default_factory=dict)
    """Classes that trace lines may name."""
    objective: Objective = field(default_factory=Objective)
    vocabulary: int = 200
    """Prompts are token ids below this: exact in length for any tokenizer that has as many."""
    send_class_header: bool = True
    drain_seconds: float = 300.0
    """How long to wait for open requests after the last arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestResult:
    """One request as the client saw it; seconds count from the moment it was sent."""

    arrival: float
    """Second of the replay at which it should have been sent."""
    lateness: float
    """Seconds by which the generator sent it late."""
    duration: float
    """Seconds until it ended."""
    qoe_class: str
    ending: Ending
    error: str | None
    wanted_tokens: int
    delivery: tuple[float, ...]
    """Seconds at which each token arrived."""
    score: RequestScore
    """Its measures; those of QoE are None for a batch request."""
    pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the replay stands, for a progress bar or a live view."""

    at: float
    """Seconds since the replay began."""
    sent: int
    total: int
    open_requests: int
    ended: Sequence[RequestResult]
    """Those that ended since the previous tick."""
    arrivals: int
    """Sent since the previous tick."""


class _Run:
    def __init__(self, *, options: BenchOptions, client: httpx.AsyncClient, origin: float) -> None:
        self.options, self.client, self.origin = options, client, origin
        self.results: list[RequestResult] = []
        self.sent = 0
        self.open = 0

    async def request(self, request: TraceRequest, index: int) -> None:
        options = self.options
        qoe_class = options.classes[request.qoe_class] if request.qoe_class else options.qoe_class
        expectation = qoe_class.expectation(request.prompt_tokens)
        meter = RequestMeter(expectation=expectation, objective=options.objective, fluidity=True)
        delivery: list[float] = []
        self.sent += 1
        self.open += 1
        sent_at = time.monotonic()
        ending, error = Ending.UNFINISHED, None
        try:
            ending, error = await self._stream(request, index, qoe_class.name, sent_at, meter, delivery)
        finally:
            self.open -= 1
            duration = time.monotonic() - sent_at
            outcome = Outcome.COMPLETED if ending is Ending.COMPLETED else Outcome.FAILED
            if ending is Ending.UNFINISHED:
                outcome = Outcome.ABORTED  # the generator leaves, as a client does
            self.results.append(
                RequestResult(
                    arrival=request.arrival_s,
                    lateness=max(0.0, sent_at - self.origin - request.arrival_s),
                    duration=duration,
                    qoe_class=qoe_class.name,
                    ending=ending,
                    error=error,
                    wanted_tokens=request.output_tokens,
                    delivery=tuple(delivery),
                    score=meter.ended(outcome, at=duration),
                    pace=expectation.pace,
                )
            )

    async def _stream(
        self,
        request: TraceRequest,
        index: int,
        class_name: str,
        sent_at: float,
        meter: RequestMeter,
        delivery: list[float],
    ) -> tuple[Ending, str | None]:
        options = self.options
        body = {
            "model": options.model,
            "prompt": _prompt(request, index, options.vocabulary),
            "max_tokens": request.output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            # Chunks are not tokens: about a third of a byte-level model's chunks hold no text.
            "return_token_ids": True,
        }
        headers = {CLASS_HEADER: class_name} if options.send_class_header else {}
        try:
            async with self.client.stream(
                "POST", f"{options.url}/v1/completions", json=body, headers=headers
            ) as response:
                if response.status_code != httpx.codes.OK:
                    text = (await response.aread()).decode("utf-8", "replace")[:300]
                    rejected = response.status_code in (429, 503)
                    return (Ending.REJECTED if rejected else Ending.REFUSED), f"HTTP {response.status_code}: {text}"
                async for line in response.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    if line == "data: [DONE]":
                        return Ending.COMPLETED, None
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        return Ending.CUT, str(chunk["error"])[:300]
                    tokens = sum(len(c.get("token_ids") or ()) for c in chunk.get("choices", ()))
                    if tokens:
                        at = time.monotonic() - sent_at
                        meter.deliver(at, tokens)
                        delivery.extend([at] * tokens)
                return Ending.CUT, "the stream ended without [DONE]"
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            reason = f"{type(error).__name__}: {error}"
            return (Ending.CUT if delivery else Ending.REFUSED), reason


def _prompt(request: TraceRequest, index: int, vocabulary: int) -> list[int]:
    """Token ids: requests of one prefix group begin alike, all others differ from their first token on."""
    seed = hash(request.prefix_group) if request.prefix_group else index * 7919
    base = 10 + seed % 89
    head = [base + (index // 89**k) % 89 for k in range(3)] if not request.prefix_group else [base] * 3
    tail = [10 + (base + i) % (vocabulary - 10) for i in range(request.prompt_tokens)]
    return (head + tail)[: request.prompt_tokens]


async def run_bench(
    requests: Sequence[TraceRequest],
    options: BenchOptions,
    *,
    on_tick: Callable[[Progress], Awaitable[None] | None] | None = None,
    tick_seconds: float = 1.0,
    client: httpx.AsyncClient | None = None,
) -> list[RequestResult]:
    """Replay `requests` (arrival_s is the second of the replay) and return one result each, in order of their ends.

    Requests still open `drain_seconds` after the last arrival are closed and returned as unfinished: none is dropped.
    """
    # No pooling across requests, no read limit: a stream may pause for as long as the server lets it.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(None, connect=30.0)
    owned = client is None
    http = client or httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
    run = _Run(options=options, client=http, origin=time.monotonic())
    tasks: set[asyncio.Task[None]] = set()
    stop = asyncio.Event()
    reporter = asyncio.create_task(_report(run, len(requests), on_tick, tick_seconds, stop)) if on_tick else None
    try:
        for index, request in enumerate(requests):
            delay = run.origin + request.arrival_s - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.add(asyncio.create_task(run.request(request, index)))
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=options.drain_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
    finally:
        stop.set()
        if reporter:
            await reporter
        if owned:
            await http.aclose()
    return run.results


async def _report(
    run: _Run,
    total: int,
    on_tick: Callable[[Progress], Awaitable[None] | None],
    tick_seconds: float,
    stop: asyncio.Event,
) -> None:
    seen_results = seen_sent = 0
    while True:
        try:
            await asyncio.wait_for(stop.wait(), tick_seconds)
        except TimeoutError:
            stopped = False
        else:
            stopped = True
        ended, sent = run.results[seen_results:], run.sent
        progress = Progress(
            at=time.monotonic() - run.origin,
            sent=sent,
            total=total,
            open_requests=run.open,
            ended=ended,
            arrivals=sent - seen_sent,
        )
        seen_results += len(ended)
        seen_sent = sent
        outcome = on_tick(progress)
        if outcome is not None:
            await outcome
        if stopped:
            return
