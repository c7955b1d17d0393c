"""One HTTP request that asks the engine several times is one reader of one text, whatever vLLM does for it."""

from __future__ import annotations

import pytest

from andante.domain.request_meter import Outcome, RequestScore
from andante_vllm.expectations import BadExpectationError
from andante_vllm.metered_request import MeteredRequest
from unit.metered import metered_request

CHUNK = b"data: {}\n\n"


class Exchange:
    """A request, its engine and its connection."""

    def __init__(self) -> None:
        self.open: set[MeteredRequest] = set()
        self.request = metered_request(on_engine=self.open.add)

    def asks(self, prompt_tokens: int = 10) -> None:
        self.request.enters_engine(extra_args={}, prompt_tokens=prompt_tokens, form=None, count_tokens=len)

    def call(self, *, tokens: int, since: float | None = None, prompt_tokens: int = 10) -> None:
        """Asks and is answered; with `since`, each token is sent at once, at .1 s intervals from then."""
        self.asks(prompt_tokens)
        self.writes(tokens=tokens, since=since)

    def writes(self, *, tokens: int, since: float | None = None) -> None:
        first = self.request.call_began(1)
        for token in range(tokens):
            self.request.produced(first, 1, token == tokens - 1)
            if since is not None:
                self.request.body_sent(since + token / 10, CHUNK, False)
        self.request.call_ended(first, 1)

    def ends(self, at: float) -> tuple[Outcome | None, RequestScore]:
        self.request.reply_began(200, stream=False)
        self.request.body_sent(at, CHUNK, True)
        outcome = self.request.ended(at=at, draining=False)
        return outcome, self.request.score_ended(outcome or Outcome.COMPLETED, at)


def test_calls_that_follow_one_another_are_one_text() -> None:
    exchange = Exchange()
    exchange.call(tokens=25, since=0.1)
    exchange.call(tokens=25, since=2.7)
    outcome, score = exchange.ends(5.2)
    assert outcome is Outcome.COMPLETED
    assert (score.tokens, score.qoe, score.deficit) == (50, 1.0, 0.0)


def test_calls_asked_for_at_once_and_written_one_by_one_are_one_text() -> None:
    """A long recording: vLLM makes a generator for each part, and then goes through them."""
    exchange = Exchange()
    for _ in range(3):
        exchange.asks()
    for part in range(3):
        exchange.writes(tokens=10, since=0.1 + part)
    _, score = exchange.ends(3.0)
    assert (score.tokens, score.qoe, score.ttft) == (30, 1.0, 0.1)
    assert exchange.request.prompt_tokens == 30


def test_a_first_call_whose_token_nobody_sees_holds_nothing_up() -> None:
    """The language of a recording is a call of its own."""
    exchange = Exchange()
    exchange.call(tokens=1)
    exchange.call(tokens=50, since=0.3)
    _, score = exchange.ends(5.4)
    assert score.qoe == 1.0
    assert score.ttft == 0.3


def test_a_beam_search_is_one_text_of_as_many_tokens_as_it_has_steps() -> None:
    exchange = Exchange()
    exchange.call(tokens=1, prompt_tokens=100)
    for step in range(1, 20):
        for _ in range(4):
            exchange.asks(prompt_tokens=100 + step)
        firsts = [exchange.request.call_began(1) for _ in range(4)]
        assert firsts == [0, 1, 2, 3]
        for first in firsts:
            exchange.request.produced(first, 1, True)
            exchange.request.call_ended(first, 1)
    _, score = exchange.ends(1.0)
    assert score.tokens == 20
    assert exchange.request.prompt_tokens == 100


def test_prompts_written_side_by_side_wait_for_the_slowest() -> None:
    exchange = Exchange()
    for _ in range(2):
        exchange.asks()
    quick, slow = (exchange.request.call_began(1) for _ in range(2))
    exchange.request.produced(quick, 5, True)
    exchange.request.call_ended(quick, 1)
    exchange.request.produced(slow, 2, False)
    exchange.request.body_sent(1.0, CHUNK, False)
    assert exchange.request.score_now(1.0).tokens == 2
    exchange.request.produced(slow, 4, True)
    exchange.request.call_ended(slow, 1)
    _, score = exchange.ends(2.0)
    assert score.tokens == 6
    assert exchange.request.prompt_tokens == 20


@pytest.mark.parametrize("before_the_reply", [True, False])
def test_an_answer_in_the_background_is_neither_scored_nor_open(before_the_reply: bool) -> None:
    exchange = Exchange()
    if before_the_reply:
        exchange.asks()
        exchange.request.call_began(1)
    outcome, _ = exchange.ends(0.1)
    exchange.open.discard(exchange.request)
    exchange.call(tokens=5)
    assert outcome is None
    assert not exchange.open


def _arrivals() -> tuple[list[tuple[int, int]], MeteredRequest]:
    found: list[tuple[int, int]] = []
    return found, metered_request(on_arrival=lambda requests, tokens: found.append((requests, tokens)))


def _ask(request: MeteredRequest, prompt_tokens: int, **extra: object) -> None:
    request.enters_engine(extra_args=extra, prompt_tokens=prompt_tokens, form=None, count_tokens=len)


def test_a_request_with_several_prompts_arrives_once_with_all_of_them() -> None:
    arrived, request = _arrivals()
    _ask(request, 10)
    _ask(request, 30)
    assert arrived == [(1, 10), (0, 30)]


def test_a_prompt_that_repeats_earlier_text_does_not_arrive() -> None:
    arrived, request = _arrivals()
    _ask(request, 10)
    request.call_ended(request.call_began(1), 1)
    _ask(request, 25)
    assert arrived == [(1, 10)]


def test_a_request_that_the_meter_refuses_does_not_arrive() -> None:
    arrived, request = _arrivals()
    with pytest.raises(BadExpectationError):
        _ask(request, 10, andante_nothing="x")
    assert arrived == []
