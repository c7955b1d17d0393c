"""One HTTP request, from the arrival of its last byte to the end of its reply: what the middleware and the engine
client's hook know of it, brought together.

No vLLM import and no clock: times are passed in as `time.monotonic()` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from andante.domain.pace import QoEClass
from andante.domain.request_meter import Objective, Outcome, RequestMeter, RequestScore
from andante.engine_config import QoESettings
from andante_vllm.delivery import Delivery, Ending, EngineEnd, tell_outcome
from andante_vllm.expectations import (
    ClientExpectation,
    ResolvedExpectation,
    class_field,
    from_body,
    resolve,
    scheduler_arguments,
)


class MeteredRequest:
    """Collects what happens to one request; `ended` tells what to record."""

    def __init__(
        self,
        *,
        said: ClientExpectation,
        settings: QoESettings,
        arrived_at: float,
        received_at: float,
        arrived_draining: bool,
        on_engine: Callable[[MeteredRequest], None],
    ) -> None:
        """`said`: by the headers. `arrived_at`: monotonic, `received_at`: Unix seconds, both of the same moment.

        `on_engine` is called once, when the request first reaches the engine. Raises BadExpectationError when the
        headers name a class that does not exist.
        """
        self._said = said
        self._settings = settings
        self._on_engine = on_engine
        self._resolved: ResolvedExpectation = resolve(said, settings, prompt_tokens=0, field=class_field(said))
        self._meter: RequestMeter | None = None
        self._delivery: Delivery | None = None
        self._ending = Ending(arrived_draining=arrived_draining)
        self._count_tokens: Callable[[str], int] = len
        self._streams = False
        self.arrived_at = arrived_at
        self.received_at = received_at
        self.prompt_tokens = 0
        self.hidden_tokens = 0

    @property
    def qoe_class(self) -> QoEClass:
        return self._resolved.qoe_class

    def score_now(self, at: float) -> RequestScore:
        """The score at `at` of the request that goes on."""
        return self._request_meter().open(self._since_arrival(at))

    def score_ended(self, outcome: Outcome, at: float) -> RequestScore:
        """The score of the request that ended at `at`."""
        return self._request_meter().ended(outcome, at=self._since_arrival(at))

    def _since_arrival(self, at: float) -> float:
        return at - self.arrived_at

    def _hide(self, tokens: int) -> None:
        self.hidden_tokens += tokens

    def _request_meter(self) -> RequestMeter:
        if self._meter is None:
            objective = Objective(qoe=self._settings.objective, tolerated_delay=self._settings.tolerated_delay_seconds)
            self._meter = RequestMeter(expectation=self._resolved.expectation, objective=objective)
        return self._meter

    def body_received(self, *, at: float, unix_time: float) -> None:
        """The last byte of the request is here; how slowly a client uploads is not the service's delay."""
        if self._delivery is None:
            self.arrived_at, self.received_at = at, unix_time

    def enters_engine(
        self,
        *,
        extra_args: Mapping[str, Any],
        prompt_tokens: int,
        choices: int,
        hides_reasoning: bool,
        count_tokens: Callable[[str], int],
    ) -> tuple[int, dict[str, Any]]:
        """A prompt of the request goes to the engine: the number of its first choice, and arguments for the scheduler.

        The first prompt settles class and expectation; a request of several prompts is still one request.
        Raises BadExpectationError when the body's `vllm_xargs` are wrong.
        """
        said = self._said.over(from_body(extra_args))
        self.prompt_tokens += prompt_tokens
        if self._delivery is None:
            self._resolved = resolve(said, self._settings, prompt_tokens=prompt_tokens, field=class_field(self._said))
            meter = self._request_meter()
            self._delivery = Delivery(
                deliver=lambda at, tokens: meter.deliver(self._since_arrival(at), tokens),
                hide=self._hide,
                reasoning=hides_reasoning,
            )
            self._count_tokens = count_tokens
            self._ending.reached_engine = True
            self._on_engine(self)
        return (
            self._delivery.expect(choices),
            scheduler_arguments(self._resolved, said, received_at=self.received_at),
        )

    def produced(self, choice: int, tokens: int, *, finished: bool) -> None:
        """The engine handed over new tokens of a choice."""
        if self._delivery is not None:
            self._delivery.produced(choice, tokens, finished=finished)

    def engine_ended(self, end: EngineEnd) -> None:
        """The engine ended the request without finishing it."""
        if self._ending.engine_end is None:
            self._ending.engine_end = end

    def reply_began(self, status: int, *, stream: bool) -> None:
        self._ending.status = status
        self._streams = stream

    def body_sent(self, at: float, body: bytes, *, last: bool) -> None:
        """The connection took `body` at `at`."""
        if self._delivery is not None and body and not self._ending.client_left:
            self._delivery.sent(at, body, stream=self._streams, count_tokens=self._count_tokens)
        self._ending.complete |= last

    def client_left(self) -> None:
        """The client closed the connection."""
        if not self._ending.complete:
            self._ending.client_left = True

    def ended(self, *, draining: bool) -> Outcome | None:
        """How the request ended; None when it must not be counted."""
        self._ending.draining = draining
        return tell_outcome(self._ending)
