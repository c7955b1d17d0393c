"""Sends open-loop load to an OpenAI-compatible endpoint, and scores it on the client's side.

Requests are sent at their trace times, independent of the server (open loop): a slow server cannot reduce its own load.
A generator that is late says so in its results. Each request opens its own connection, as independent users do: behind
a Kubernetes Service a pooled connection would stay with its first replica.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from andante.cli.openai_stream import EventParser, MalformedReplyError, read_chunk, request_body
from andante.domain.pace import QoEClass
from andante.domain.request_meter import Objective, Outcome, RequestMeter, RequestScore
from andante.domain.trace import TraceRequest

CLASS_HEADER = "X-Andante-Class"
CONNECT_SECONDS = 30.0
_DONE = b"[DONE]"
_WHOLE = ("stop", "length")


class Ending(enum.StrEnum):
    """How a request ended for the client."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    """The server answered 429 or 503."""
    REFUSED = "refused"
    """The server answered another error, could not be reached, or ended the stream before the first token."""
    CUT = "cut"
    """The stream ended too early, after its first token."""
    UNFINISHED = "unfinished"
    """Still open when the generator stopped waiting."""


_OUTCOME = {
    Ending.COMPLETED: Outcome.COMPLETED,
    Ending.REJECTED: Outcome.REJECTED,
    Ending.REFUSED: Outcome.FAILED,
    Ending.CUT: Outcome.FAILED,
}


def _outcome(ending: Ending, meter: RequestMeter, *, at: float) -> Outcome:
    """The outcome in the engine's meter for the ending `at` seconds after arrival."""
    if ending is Ending.UNFINISHED:  # the generator leaves, as a client does
        return meter.left(at)
    return _OUTCOME[ending]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """The load, and the readers' expectations."""

    url: str
    """Base address of the endpoint, without /v1."""
    model: str
    qoe_class: QoEClass
    """Class of requests whose trace line names no class."""
    classes: Mapping[str, QoEClass] = field(default_factory=dict)
    """Classes that trace lines may name."""
    objective: Objective = field(default_factory=Objective)
    vocabulary: int = 200
    """Prompts are token ids below this: their length is exact for any tokenizer with at least this many tokens."""
    send_class_header: bool = True
    api_key: str | None = field(default=None, repr=False)
    """Sent as a bearer token, if set."""
    drain_seconds: float = 300.0
    """How long to wait for open requests after the last arrival."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestResult:
    """One request on the client's side; seconds count from its sending."""

    number: int
    """Its place among the requests of the run, from 0."""
    arrival: float
    """Planned sending time, in seconds of the replay."""
    lateness: float
    """Seconds by which the generator was late."""
    duration: float
    """Seconds until the request ended."""
    qoe_class: str
    ending: Ending
    error: str | None
    """`kind: detail` if the request did not complete."""
    wanted_tokens: int
    delivery: tuple[float, ...]
    """Seconds at which each token arrived."""
    score: RequestScore
    """The request's measures; QoE measures are None for a batch request. In the results of the whole run, the idle time
    of a request that the server refused or cut lasts until the end of the run: its user still waits."""
    pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of the replay, for a progress bar or a live view."""

    at: float
    """Seconds since the replay began."""
    sent: int
    total: int
    open_requests: int
    ended: Sequence[RequestResult]
    """Requests that ended since the previous tick."""
    arrivals: int
    """Number of requests sent since the previous tick."""


class _Run:
    def __init__(self, *, options: BenchOptions, session: aiohttp.ClientSession, origin: float) -> None:
        self.options, self.session, self.origin = options, session, origin
        self.results: list[RequestResult] = []
        self.meters: list[RequestMeter] = []
        """The meter of each result."""
        self.sent = 0
        self.open = 0

    async def request(self, number: int, request: TraceRequest, body: bytes) -> None:
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
            ending, error = await self._stream(body, qoe_class.name, sent_at, meter, delivery)
        finally:
            self.open -= 1
            duration = time.monotonic() - sent_at
            self.meters.append(meter)
            self.results.append(
                RequestResult(
                    number=number,
                    arrival=request.arrival_s,
                    lateness=max(0.0, sent_at - self.origin - request.arrival_s),
                    duration=duration,
                    qoe_class=qoe_class.name,
                    ending=ending,
                    error=error,
                    wanted_tokens=request.output_tokens,
                    delivery=tuple(delivery),
                    score=meter.ended(_outcome(ending, meter, at=duration), at=duration),
                    pace=expectation.pace,
                )
            )

    async def _stream(
        self, body: bytes, class_name: str, sent_at: float, meter: RequestMeter, delivery: list[float]
    ) -> tuple[Ending, str | None]:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.options.send_class_header:
            headers[CLASS_HEADER] = class_name
        url = f"{self.options.url}/v1/completions"
        try:
            async with self.session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    text = (await response.content.read(300)).decode("utf-8", "replace")
                    rejected = response.status in (429, 503)
                    return (Ending.REJECTED if rejected else Ending.REFUSED), f"HTTP {response.status}: {text}"
                reason = await _read_stream(response.content, sent_at, meter, delivery)
        except (aiohttp.ClientError, MalformedReplyError, OSError, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is None:
            return Ending.COMPLETED, None
        return (Ending.CUT if delivery else Ending.REFUSED), reason

    def score_to_the_end(self) -> list[RequestResult]:
        """The results, in which refused or cut requests wait until the end of the run."""
        end = max((r.arrival + r.lateness + r.duration for r in self.results), default=0.0)
        return [
            dataclasses.replace(r, score=meter.ended(_OUTCOME[r.ending], at=end - r.arrival - r.lateness))
            if r.ending in _OUTCOME and _OUTCOME[r.ending].cut_by_server
            else r
            for r, meter in zip(self.results, self.meters, strict=True)
        ]


async def _read_stream(
    content: aiohttp.StreamReader, sent_at: float, meter: RequestMeter, delivery: list[float]
) -> str | None:
    """Meter the tokens of a stream; return None for a complete answer, else `kind: detail`."""
    parser, finish_reason = EventParser(), None
    async for block in content.iter_any():
        at = time.monotonic() - sent_at
        for data in parser.feed(block):
            if data == _DONE:
                return None if finish_reason in _WHOLE else f"not finished: finish_reason {finish_reason}"
            chunk = read_chunk(data)
            if chunk.error is not None:
                return f"error in the stream: {chunk.error}"
            finish_reason = chunk.finish_reason or finish_reason
            if chunk.tokens:
                meter.deliver(at, chunk.tokens)
                delivery.extend([at] * chunk.tokens)
    return "not finished: the stream ended without [DONE]"


def authorization(api_key: str | None) -> dict[str, str]:
    """The header with `api_key`; no header without a key."""
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


async def run_bench(
    requests: Sequence[TraceRequest],
    options: BenchOptions,
    *,
    on_tick: Callable[[Progress], Awaitable[None] | None] | None = None,
    tick_seconds: float = 1.0,
) -> list[RequestResult]:
    """Replay `requests` (arrival_s is the second of the replay) and return one result each, in order of their ends.

    Requests still open `drain_seconds` after the last arrival are closed and returned as unfinished: none is dropped.
    Raises KeyError before anything is sent when a request names a class that `options` lacks.
    """
    for request in requests:
        if request.qoe_class:
            options.classes[request.qoe_class]
    # One connection per request, no read timeout: a stream may pause as long as the server allows.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    tasks: set[asyncio.Task[None]] = set()
    headers = authorization(options.api_key)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        run = _Run(options=options, session=session, origin=time.monotonic())
        stop = asyncio.Event()
        reporter = asyncio.create_task(_report(run, len(requests), on_tick, tick_seconds, stop)) if on_tick else None
        try:
            for index, request in enumerate(requests):
                # Encode before the wait, so that a long prompt does not delay its own request.
                body = request_body(request, index=index, model=options.model, vocabulary=options.vocabulary)
                await asyncio.sleep(max(0.0, run.origin + request.arrival_s - time.monotonic()))
                tasks.add(asyncio.create_task(run.request(index, request, body)))
            await asyncio.sleep(0)  # let the last requests start, so that each has a result
            if tasks:
                await asyncio.wait(tasks, timeout=options.drain_seconds)
        finally:
            for task in tasks:
                task.cancel()
            endings = await asyncio.gather(*tasks, return_exceptions=True)
            stop.set()
            if reporter:
                await reporter
    for problem in endings:
        if isinstance(problem, Exception):
            raise problem
    return run.score_to_the_end()


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
