"""Records which tokens were delivered to one client's connection, and when.

Two sides report tokens: vLLM's engine client says which tokens a request got, and the ASGI `send` of the request says
when the connection took the written bytes. This module holds the tokens in between, for one request. No clock, no vLLM:
times are passed in as `time.monotonic()` seconds.

One request has one reader, for any `n`: the reader follows all choices side by side, so token i counts as delivered
when every open choice has its token i. (For n = 1 this is just token i.) Text that starts after all choices have ended
(the next part of a long recording, the answer after a tool call) is read after them.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from andante.domain.request_meter import Outcome
from andante_vllm.reply_forms import Part, ReplyForm


class EngineEnd(enum.Enum):
    """Why the engine ended an unfinished request."""

    ERROR = enum.auto()
    ABORT = enum.auto()
    REJECTION = enum.auto()
    CLIENT_ERROR = enum.auto()
    DRAIN = enum.auto()
    """Cut at the end of the drain time."""


@dataclass(slots=True)
class _Choice:
    """One sequence of a request."""

    pending: int = 0
    """Tokens that the engine produced and that no `send` has carried yet."""
    latest: int = 0
    """Number of the newest of these tokens, which the next chunk carries."""
    visible: int = 0
    """Delivered visible tokens."""
    hiding: bool = False
    """The stream is in a hidden part (reasoning)."""
    finished: bool = False

    @property
    def open(self) -> bool:
        """Whether the reader still waits for tokens of this choice."""
        return not self.finished or self.pending > 0


Deliver = Callable[[Sequence[float], Sequence[int]], None]
"""Called with deliveries: their times, and the number of visible tokens of each."""

_SETTLE_AT = 64
"""Deliveries that are collected before `deliver` is called: enough to make the calls cheap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """The point where a text continues."""

    visible: int = 0
    """Tokens that the reader already has."""
    pending: int = 0
    """Tokens that wait for the next `send`."""


class PlainDelivery:
    """Counts one sequence that is all visible: the usual request. This code runs for every token of every user."""

    __slots__ = ("_deliver", "_pending", "_settled", "_times", "_tokens")

    def __init__(self, *, deliver: Deliver) -> None:
        self._deliver = deliver
        self._pending = 0
        self._settled = 0
        self._times: list[float] = []
        self._tokens: list[int] = []

    def produced(self, choice: int, tokens: int, finished: bool) -> None:
        """Count `tokens` new tokens from the engine to the serving layer."""
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
        """Report all deliveries until now."""
        times, tokens = self._times, self._tokens
        if times:
            self._times, self._tokens = [], []
            self._settled += sum(tokens)
            self._deliver(times, tokens)

    def so_far(self) -> SoFar:
        """The point that the reader's text has reached."""
        self.settle()
        return SoFar(visible=self._settled, pending=self._pending)


class Delivery:
    """Counts the tokens of one request from the engine to the connection.

    `deliver` is called with the visible tokens that the reader got, `hide(tokens)` with hidden ones.
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
        """`form`: how to read replies in which the server splits reasoning from content; None: all is visible.

        `begin`: where the text continues, if there was text before.
        """
        self._deliver = deliver
        self._hide = hide
        self._form = form
        self._choices: dict[int, _Choice] = {}
        self._begin = begin or SoFar()
        self._frontier = self._longest = self._begin.visible
        self._touched: list[_Choice] = []
        """Choices that got tokens since the last `send`; only these are looked at."""
        self._waited_for: list[tuple[int, int]] = []
        """A heap of the open choices: the visible tokens of each (or fewer) and its number."""

    def expect(self, choices: int) -> int:
        """Announce `choices` more sequences; return the number of the first."""
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
        """Note that these choices have ended, in any way."""
        for number in range(first, first + choices):
            self._choices[number].finished = True

    def follow(self) -> None:
        """Note that all sequences have ended: sequences announced later continue after the longest, from number 0."""
        longest = max(self._choices.values(), key=lambda state: state.visible + state.pending)
        self._begin = SoFar(visible=longest.visible, pending=longest.pending)
        self._longest = longest.visible
        self._choices, self._touched, self._waited_for = {}, [], []

    def produced(self, choice: int, tokens: int, finished: bool) -> None:
        """Count `tokens` new tokens of `choice` from the engine to the serving layer."""
        state = self._choices[choice]
        if not state.pending:
            self._touched.append(state)
        state.pending += tokens
        state.latest = tokens
        state.finished |= finished

    def settle(self) -> None:
        """Do nothing: each delivery is reported at once."""

    def sent(self, at: float, body: bytes, stream: bool, count_tokens: Callable[[str], int]) -> None:
        """Count `body`, which the connection took at `at`. `count_tokens` is used only for replies with reasoning."""
        if body.startswith(b":"):  # a keep-alive comment carries no token
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
        """Count all pending tokens of a choice as delivered, `visible` of them as visible."""
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
        """Visible tokens that every open choice has; those of the longest choice where none is open."""
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
        """Read a chunk: content and tool calls are visible, reasoning is not; another chunk carries no tokens."""
        for choice, part in form.chunk(body):
            state = self._choices.get(choice)
            if state is None:
                continue
            if part is Part.CALL:
                state.hiding = False
                self._hand_over(state, state.pending)
            elif part is Part.CONTENT:
                # Tokens that the parser held back belong to the part before this chunk.
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
    """The facts that determine a request's outcome."""

    reached_engine: bool = False
    status: int | None = None
    """Sent HTTP status; None when no reply began."""
    complete: bool = False
    """The connection took the last byte of the reply."""
    client_left: bool = False
    """The client left before the reply was complete."""
    engine_end: EngineEnd | None = None
    draining: bool = False
    """The engine was shutting down when the request ended."""
    goes_on: bool = False
    """The engine still writes: other requests fetch the answer later."""
    counts: bool = True
    """The request asked for tokens: the refusal of another request (a tokenization, an upload) does not count."""


def tell_outcome(end: Ending) -> Outcome | None:
    """The outcome of a request; None for the client's own mistakes (4xx), and for clients that left earlier.

    A mistake does not count: otherwise a hostile client could make any service look bad and scale it up.
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
