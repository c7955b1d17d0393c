"""What was handed to one client's connection, and when.

Tokens come from two sides: vLLM's engine client says which tokens a request got, the ASGI `send` of that request says
when the connection took what was written. This holds what lies between, for one request. No clock, no vLLM: times are
passed in as `time.monotonic()` seconds.

One request has one reader, whatever `n` is: they follow all choices side by side, so token i counts as delivered when
every choice that is still being written has its token i. (For n = 1 that is just token i.) What is written after all of
that has ended (the next part of a long recording, the answer after a tool's) is read after it.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from andante.domain.request_meter import Outcome
from andante_vllm.reply_forms import Part, ReplyForm


class EngineEnd(enum.Enum):
    """Why the engine ended a request without finishing it."""

    ERROR = enum.auto()
    ABORT = enum.auto()
    REJECTION = enum.auto()
    CLIENT_ERROR = enum.auto()
    DRAIN = enum.auto()
    """Cut when the time to drain was over."""


@dataclass(slots=True)
class _Choice:
    """One sequence of a request."""

    pending: int = 0
    """Tokens that the engine produced and no `send` has carried yet."""
    latest: int = 0
    """How many of those came last: the ones that the next chunk is about."""
    visible: int = 0
    """Visible tokens handed over."""
    hiding: bool = False
    """The stream is in a hidden part (reasoning)."""
    finished: bool = False

    @property
    def open(self) -> bool:
        """Whether its reader still waits for something of it."""
        return not self.finished or self.pending > 0


Deliver = Callable[[Sequence[float], Sequence[int]], None]
"""Told of deliveries: their times, and how many visible tokens came with each."""

_SETTLE_AT = 64
"""Deliveries that are kept before they are told of: enough to make the telling cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """Where a text goes on."""

    visible: int = 0
    """Tokens that the reader has."""
    pending: int = 0
    """Tokens that wait for the next `send`."""


class PlainDelivery:
    """One sequence, all of it visible: the usual request, and the path that costs every token of every user."""

    __slots__ = ("_deliver", "_pending", "_settled", "_times", "_tokens")

    def __init__(self, *, deliver: Deliver) -> None:
        self._deliver = deliver
        self._pending = 0
        self._settled = 0
        self._times: list[float] = []
        self._tokens: list[int] = []

    def produced(self, choice: int, tokens: int, finished: bool) -> None:
        """The engine handed `tokens` new tokens to the serving layer."""
        self._pending += tokens

    def sent(self, at: float, body: bytes, stream: bool, count_tokens: Callable[[str], int]) -> None:
        """The connection took `body` at `at`."""
        if self._pending and not body.startswith(b":"):
            self._times.append(at)
            self._tokens.append(self._pending)
            self._pending = 0
            if len(self._times) >= _SETTLE_AT:
                self.settle()

    def settle(self) -> None:
        """Tell of all that was delivered until now."""
        times, tokens = self._times, self._tokens
        if times:
            self._times, self._tokens = [], []
            self._settled += sum(tokens)
            self._deliver(times, tokens)

    def so_far(self) -> SoFar:
        """How far the reader's text has come."""
        self.settle()
        return SoFar(visible=self._settled, pending=self._pending)


class Delivery:
    """Counts the tokens of one request from the engine to the connection.

    `deliver` is told of the visible tokens that the reader got, `hide(tokens)` of hidden ones.
    """

    __slots__ = ("_begin", "_choices", "_deliver", "_form", "_frontier", "_hide", "_longest", "_touched", "_waited_for")

    def __init__(
        self,
        *,
        deliver: Deliver,
        hide: Callable[[int], None],
        form: ReplyForm | None = None,
        begin: SoFar | None = None,
    ) -> None:
        """`form`: the server splits reasoning from content, so that the reply must be looked into; None: all is seen.

        `begin`: where the text goes on, when there was some before.
        """
        self._deliver = deliver
        self._hide = hide
        self._form = form
        self._choices: dict[int, _Choice] = {}
        self._begin = begin or SoFar()
        self._frontier = self._longest = self._begin.visible
        self._touched: list[_Choice] = []
        """Those that got tokens since the last `send`; the others need no look, however many they are."""
        self._waited_for: list[tuple[int, int]] = []
        """A heap of the choices that are open: the tokens of each in sight, or fewer, and its number."""

    def expect(self, choices: int) -> int:
        """Announces `choices` more sequences; returns the number of the first."""
        first = len(self._choices)
        begin = self._begin
        for number in range(first, first + choices):
            state = self._choices[number] = _Choice(
                visible=begin.visible, pending=begin.pending, hiding=self._form is not None
            )
            if begin.pending:
                self._touched.append(state)
            heapq.heappush(self._waited_for, (begin.visible, number))
        return first

    def finish(self, first: int, choices: int) -> None:
        """Nothing more comes of these, however they ended."""
        for number in range(first, first + choices):
            self._choices[number].finished = True

    def follow(self) -> None:
        """All sequences have ended; those that are announced from now on go on where the longest is, from number 0."""
        longest = max(self._choices.values(), key=lambda state: state.visible + state.pending)
        self._begin = SoFar(visible=longest.visible, pending=longest.pending)
        self._longest = longest.visible
        self._choices, self._touched, self._waited_for = {}, [], []

    def produced(self, choice: int, tokens: int, finished: bool) -> None:
        """The engine handed `tokens` new tokens of `choice` to the serving layer."""
        state = self._choices[choice]
        if not state.pending:
            self._touched.append(state)
        state.pending += tokens
        state.latest = tokens
        state.finished |= finished

    def settle(self) -> None:
        """Nothing: each delivery is told of at once."""

    def sent(self, at: float, body: bytes, stream: bool, count_tokens: Callable[[str], int]) -> None:
        """The connection took `body` at `at`. `count_tokens` tokenizes text; used for replies with reasoning only."""
        if body.startswith(b":"):  # a keep-alive comment carries nothing
            return
        if self._form is None:
            for state in self._touched:
                self._hand_over(state, state.pending)
            self._touched.clear()
        elif stream:
            self._look_into_chunk(self._form, body)
        else:
            self._look_into_reply(self._form, body, count_tokens)
        self._advance(at)

    def _hand_over(self, state: _Choice, visible: int) -> None:
        """All pending tokens of a choice are gone, `visible` of them in sight."""
        if state.pending > visible:
            self._hide(state.pending - visible)
        state.visible += visible
        self._longest = max(self._longest, state.visible)
        state.pending = state.latest = 0

    def _advance(self, at: float) -> None:
        frontier = self._lowest()
        if frontier > self._frontier:
            self._deliver((at,), (frontier - self._frontier,))
            self._frontier = frontier

    def _lowest(self) -> int:
        """What every choice that is open has in sight; what the longest has where none is."""
        heap = self._waited_for
        while heap:
            level, number = heap[0]
            state = self._choices[number]
            if not state.open:
                heapq.heappop(heap)
            elif state.visible > level:
                heapq.heapreplace(heap, (state.visible, number))
            else:
                return level
        return self._longest

    def _look_into_chunk(self, form: ReplyForm, body: bytes) -> None:
        """Content and tool calls are visible, reasoning is not; a chunk with neither carries nothing."""
        for choice, part in form.chunk(body):
            state = self._choices.get(choice)
            if state is None:
                continue
            if part is Part.CALL:
                state.hiding = False
                self._hand_over(state, state.pending)
            elif part is Part.CONTENT:
                # What the parser swallowed before belongs to where the stream was then.
                visible = state.latest if state.hiding else state.pending
                state.hiding = False
                self._hand_over(state, visible)
            elif part is Part.REASONING:
                state.hiding = True
                self._hand_over(state, 0)
            else:
                self._hand_over(state, 0 if state.hiding else state.pending)

    def _look_into_reply(self, form: ReplyForm, body: bytes, count_tokens: Callable[[str], int]) -> None:
        for answer in form.reply(body):
            state = self._choices.get(answer.choice)
            if state is None:
                continue
            if answer.calls:
                visible = max(0, state.pending - (count_tokens(answer.reasoning) if answer.reasoning else 0))
            elif answer.content:
                visible = min(state.pending, count_tokens(answer.content))
            else:
                visible = 0
            self._hand_over(state, visible)


@dataclass(slots=True, kw_only=True)
class Ending:
    """The facts by which a request's outcome is told."""

    reached_engine: bool = False
    status: int | None = None
    """HTTP status sent, None when no reply began."""
    complete: bool = False
    """The connection took the last byte of the reply."""
    client_left: bool = False
    """The client was gone before the reply was complete."""
    engine_end: EngineEnd | None = None
    draining: bool = False
    """The engine was shutting down when the request ended."""
    goes_on: bool = False
    """The engine still writes: the answer is fetched later, by other requests."""
    counts: bool = True
    """It asked for tokens: a refusal of anything else (a tokenization, an upload) is not the service's."""


def tell_outcome(end: Ending) -> Outcome | None:
    """How a request ended; None for what never was one: the client's own mistakes (4xx), and clients that left sooner.

    A mistake does not count, since a hostile client could else make any service look bad, and grow.
    """
    if end.engine_end is EngineEnd.CLIENT_ERROR or not (end.counts or end.reached_engine):
        return None
    if end.engine_end is EngineEnd.DRAIN:
        return Outcome.DRAINED
    if end.engine_end is EngineEnd.REJECTION or end.status in (429, 503):
        return Outcome.REJECTED
    if end.status is not None and 400 <= end.status < 500:
        return None
    if end.client_left and end.engine_end in (None, EngineEnd.ABORT):
        return Outcome.ABORTED if end.reached_engine else None
    cut = end.engine_end is not None or not end.complete
    if cut or (end.status is not None and end.status >= 500):
        return Outcome.DRAINED if end.draining else Outcome.FAILED
    return Outcome.COMPLETED if end.reached_engine and not end.goes_on else None
