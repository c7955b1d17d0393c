"""Follows one HTTP request from the arrival of its last byte to the end of its reply. The middleware and the engine
client's hook report to it.

No vLLM import and no clock: times are passed in as `time.monotonic()` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from andante.domain.answer_length import AnswerLengths
from andante.domain.deficit_cause import NO_DEFICIT, DeficitByCause, split_deficit
from andante.domain.idle_replica import IdleReason, IdleReplica, IdleTimeline
from andante.domain.pace import QoEClass
from andante.domain.request_meter import Outcome, RequestMeter, RequestScore
from andante_vllm.company import Company
from andante_vllm.delivery import Delivery, Ending, EngineEnd, PlainDelivery, tell_outcome
from andante_vllm.expectations import (
    UNKNOWN_CLASS_HEADER,
    ClientExpectation,
    Effect,
    QoEClasses,
    ResolvedExpectation,
    class_field,
    from_body,
    scheduler_arguments,
)
from andante_vllm.reply_forms import ReplyForm


class MeteredRequest:
    """Collects the events of one request; `ended` returns the outcome to record."""

    __slots__ = (
        "_by_class", "_cached_tokens", "_calls_asked", "_calls_ended", "_calls_running", "_choices_running", "_classes",
        "_company", "_company_before", "_count_tokens", "_delivery", "_ending", "_form",
        "_lengths", "_longest", "_meter", "_on_arrival", "_on_engine", "_over", "_own_calls", "_resolved", "_said",
        "_streams", "_widest", "arrived_at", "hidden_tokens", "prompt_tokens", "received_at",
    )  # fmt: skip

    def __init__(
        self,
        *,
        said: ClientExpectation,
        classes: QoEClasses,
        arrived_at: float,
        received_at: float,
        counts: bool,
        on_engine: Callable[[MeteredRequest], None],
        on_arrival: Callable[[int, int], None],
        lengths: AnswerLengths,
        company: Company,
    ) -> None:
        """`said`: the headers' expectations. `counts`: the path asks for tokens.

        `arrived_at` (monotonic) and `received_at` (Unix time) are the same moment, in seconds.
        `on_engine` is called once, when the request first reaches the engine. `on_arrival` is called for each prompt
        that counts in `prompt_tokens`, with 1 for the request's first prompt, else 0, and with the prompt's tokens.
        `lengths`: of answers so far. `company`: what runs on the engine.
        Raises BadExpectationError when the headers name a class that does not exist.
        """
        self._said = said
        self._classes = classes
        self._on_engine = on_engine
        self._on_arrival = on_arrival
        self._delivery: PlainDelivery | Delivery | None = None
        self._ending = Ending(counts=counts)
        self._count_tokens: Callable[[str], int] = len
        self._streams = False
        self._lengths = lengths
        self._longest: int | None = None
        self._form: ReplyForm | None = None
        self._over = False
        self._calls_asked = self._calls_running = self._calls_ended = 0
        self._choices_running = self._widest = self._own_calls = 0
        self._company = company
        self._company_before = company.now()
        self._cached_tokens = 0
        self.arrived_at = arrived_at
        self.received_at = received_at
        self.prompt_tokens = 0
        self.hidden_tokens = 0
        self._resolve(said, prompt_tokens=0)

    def _resolve(self, said: ClientExpectation, *, prompt_tokens: int, whole: bool = False) -> None:
        field = class_field(self._said)
        self._resolved: ResolvedExpectation = self._classes.resolve(
            said, prompt_tokens=prompt_tokens, field=field, whole=whole
        )
        self._meter = RequestMeter(expectation=self._resolved.expectation, objective=self._classes.objective)
        self._by_class = (
            RequestMeter(expectation=self._resolved.of_class, objective=self._classes.objective)
            if self._resolved.beyond_class
            else None
        )
        self._comes(whole=whole)

    def _comes(self, *, whole: bool) -> None:
        expected = self._lengths.expected(self.qoe_class.name, longest=self._longest)
        for meter in self._meters:
            meter.expect_tokens(expected)
            if whole and self._classes.whole_is_due_whole:
                meter.comes_whole()
            else:
                meter.comes_as_stream()

    @property
    def _meters(self) -> tuple[RequestMeter, ...]:
        return (self._meter,) if self._by_class is None else (self._meter, self._by_class)

    @property
    def qoe_class(self) -> QoEClass:
        return self._resolved.qoe_class

    @property
    def unknown_class(self) -> bool:
        """Whether the client named an unknown class."""
        return self._resolved.unknown_class

    def reply_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Additional headers of the reply."""
        if self._resolved.unknown_class:
            yield UNKNOWN_CLASS_HEADER.lower().encode(), f"counted as {self.qoe_class.name}".encode()

    @property
    def effect(self) -> Effect | None:
        """How the client's own expectations were used; None: the client sent none."""
        return self._resolved.effect

    def score_now(self, at: float) -> RequestScore:
        """The score of the open request at `at`."""
        self._settle()
        return self._meter.open(at - self.arrived_at)

    def score_ended(self, outcome: Outcome, at: float) -> RequestScore:
        """The score of the request that ended at `at`."""
        self._settle()
        return self._meter.ended(outcome, at=at - self.arrived_at)

    def causes(
        self, score: RequestScore, outcome: Outcome | None, at: float, *, idle: IdleReplica
    ) -> tuple[DeficitByCause, IdleReason | None]:
        """The causes of the deficit of `score`, for a request that ended at `at` or, without an outcome, is open.

        `idle`: a replica like this one without other requests. The reason says why the request would be late there.
        """
        if not score.deficit:
            return NO_DEFICIT, None
        timeline = self._alone_on(idle, score)
        alone = self._alone
        since = at - self.arrived_at
        meter = self._meter if self._by_class is None else self._by_class
        by_class = outcome
        if outcome in (Outcome.ABORTED, Outcome.GAVE_UP):
            by_class = meter.left(since)
        beyond = 0.0
        if self._by_class is not None:
            judged = meter.open(since) if by_class is None else meter.ended(by_class, at=since)
            beyond = score.deficit - (judged.deficit or 0.0)
        reckoned = meter.idle_deficit(timeline, by_class, at=since)
        parts = split_deficit(score.deficit, outcome=outcome, idle_deficit=reckoned, beyond_class=beyond, alone=alone)
        if not parts.idle:
            return parts, None
        if alone and reckoned < parts.idle / 2:
            return parts, IdleReason.SLOW
        pace = self._resolved.of_class.pace
        return parts, timeline.reason(tokens=score.tokens, pace=pace, hidden_tokens=self.hidden_tokens)

    def unavoidable_penalty(self, score: RequestScore, outcome: Outcome, at: float, *, idle: IdleReplica) -> float:
        """The part of the idle penalty of `score`, in tokens, that an idle replica would have too."""
        if not score.idle_penalty or outcome.cut_by_server:
            return 0.0
        if self._alone:
            return score.idle_penalty
        alone = self._meter.idle_penalty(self._alone_on(idle, score), outcome, at=at - self.arrived_at)
        return min(score.idle_penalty, alone)

    @property
    def _alone(self) -> bool:
        """Whether nothing else ran on the engine since the request arrived."""
        return self._company.none_since(self._company_before, own=self._own_calls)

    def _alone_on(self, idle: IdleReplica, score: RequestScore) -> IdleTimeline:
        return idle.timeline(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self._cached_tokens,
            hidden_tokens=self.hidden_tokens,
            visible_tokens=score.tokens,
            sequences=max(1, self._widest),
        )

    def found_cached(self, tokens: int) -> None:
        """Note that a cache held `tokens` tokens of one of the request's prompts."""
        if self._calls_running or not self._calls_ended:  # only prompts that `prompt_tokens` counts
            self._cached_tokens = min(self._cached_tokens + tokens, self.prompt_tokens)

    def _settle(self) -> None:
        if self._delivery is not None:
            self._delivery.settle()

    def body_received(self, *, at: float, unix_time: float) -> None:
        """Note that the request's last byte has arrived; a slow upload does not count as the service's delay."""
        if not self._ending.reached_engine:
            self.arrived_at, self.received_at = at, unix_time
            self._company_before = self._company.now()

    def enters_engine(
        self,
        *,
        extra_args: Mapping[str, Any],
        prompt_tokens: int,
        form: ReplyForm | None,
        count_tokens: Callable[[str], int],
        whole: bool = False,
        longest: int | None = None,
    ) -> dict[str, Any]:
        """Note that the engine gets a prompt of the request; return arguments for the scheduler.

        `form`: how to read replies with separate reasoning; None: all is visible.
        `whole`: the answer does not stream. `longest`: most tokens of the answer, where known.

        The first prompt determines class and expectation; a request with several prompts is still one request. A prompt
        after an answer repeats earlier text, so it adds nothing to `prompt_tokens`.
        Raises BadExpectationError when the body's `vllm_xargs` are wrong.
        """
        said = self._said.over(from_body(extra_args))
        counts = self._calls_running > 0 or not self._calls_ended
        if counts:
            self.prompt_tokens += prompt_tokens
        self._calls_asked += 1
        first = not self._ending.reached_engine
        if first:
            self._longest = longest
            self._resolve(said, prompt_tokens=prompt_tokens, whole=whole)
            self._count_tokens = count_tokens
            self._form = form
            self._ending.reached_engine = True
            if not self._over:  # background work after the reply is not an open request
                self._on_engine(self)
        if counts:
            self._on_arrival(int(first), prompt_tokens)
        return scheduler_arguments(self._resolved, said, received_at=self.received_at)

    def call_began(self, choices: int) -> int:
        """Note that the engine begins `choices` sequences of one prompt; return the number of the first.

        The reader reads them side by side with the open sequences or, without open ones, after the earlier text.
        """
        follows = not self._calls_running
        self._company.call_began()
        self._own_calls += 1
        self._calls_running += 1
        self._choices_running += choices
        self._widest = max(self._widest, self._choices_running)
        delivery = self._delivery
        if choices == 1 and self._form is None and (delivery is None or follows):
            if delivery is None:
                self._delivery = PlainDelivery(deliver=self._deliver)
                return 0
            if isinstance(delivery, PlainDelivery):
                return 0
        if isinstance(delivery, Delivery):
            if follows:
                delivery.follow()
        else:
            begin = None if delivery is None else delivery.so_far()
            side_by_side = delivery is not None and not follows
            delivery = Delivery(deliver=self._deliver, hide=self._hide, form=self._form, begin=begin)
            if side_by_side:  # all sequences begin before the first token
                delivery.expect(1)
            self._delivery = delivery
        return delivery.expect(choices)

    def call_ended(self, first_choice: int, choices: int) -> None:
        """Note that the sequences of `call_began` have ended."""
        self._company.call_ended()
        self._calls_running -= 1
        self._choices_running -= choices
        self._calls_ended += 1
        if isinstance(self._delivery, Delivery):
            self._delivery.finish(first_choice, choices)

    def _deliver(self, times: Sequence[float], tokens: Sequence[int]) -> None:
        arrived_at = self.arrived_at
        since = [at - arrived_at for at in times]
        self._meter.deliver_all(since, tokens)
        if self._by_class is not None:
            self._by_class.deliver_all(since, tokens)

    def _hide(self, tokens: int) -> None:
        self.hidden_tokens += tokens

    def produced(self, choice: int, tokens: int, finished: bool) -> None:
        """Count new tokens of a choice from the engine."""
        if self._delivery is not None:
            self._delivery.produced(choice, tokens, finished)

    def engine_ended(self, end: EngineEnd) -> None:
        """Note that the engine ended the unfinished request."""
        if self._ending.engine_end is None:
            self._ending.engine_end = end

    def reply_began(self, status: int, *, stream: bool) -> None:
        self._ending.status = status
        self._streams = stream
        if self._ending.reached_engine and status < 400:  # the reply shows the real form
            self._comes(whole=not stream)

    def body_sent(self, at: float, body: bytes, last: bool) -> None:
        """Note that the connection took `body` at `at`."""
        if self._delivery is not None and body and not self._ending.client_left:
            self._delivery.sent(at, body, self._streams, self._count_tokens)
        if last:
            self._ending.complete = True

    def client_left(self) -> None:
        """Note that the client closed the connection."""
        if not self._ending.complete:
            self._ending.client_left = True

    def ended(self, *, at: float, draining: bool) -> Outcome | None:
        """The outcome of the request, which ended at `at`; None when it must not be counted."""
        self._over = True
        self._ending.draining = draining
        self._ending.goes_on = self._calls_asked > self._calls_ended
        outcome = tell_outcome(self._ending)
        if outcome is Outcome.ABORTED:
            self._settle()
            return self._meter.left(at - self.arrived_at)
        return outcome
