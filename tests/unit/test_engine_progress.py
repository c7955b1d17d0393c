"""An engine core that makes no step while requests are open is told from one that works, and from one that is idle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from andante_vllm.company import Company
from andante_vllm.engine_progress import DOUBTFUL_SECONDS, FORGOTTEN_SECONDS, CoreMessages, EngineProgress

PATIENCE = 60.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Core:
    """An engine as the middleware sees it."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self.clock, self.messages = Clock(), CoreMessages()
        self.messages.known = True
        self.company = Company(monotonic=self.clock)
        self.listed: dict[int, object] = {}
        self.client: Any = SimpleNamespace(log_stats=True, output_processor=SimpleNamespace(request_states=self.listed))
        self.progress = EngineProgress(self.messages, self.company, patience=patience, monotonic=self.clock)

    def asks(self) -> None:
        self.company.call_began()
        self.listed[len(self.listed)] = object()

    def leaves(self) -> None:
        self.company.call_ended()
        self.listed.popitem()

    def steps(self) -> None:
        self.messages.heard_at = self.clock.now

    @property
    def silent(self) -> float | None:
        return self.progress.silent_seconds(self.client)

    @property
    def hangs(self) -> bool:
        return self.progress.hangs(self.client)


def test_an_engine_without_requests_may_be_silent_for_ever() -> None:
    core = Core()
    core.clock.now += 10 * PATIENCE
    assert (core.silent, core.hangs) == (0.0, False)


def test_a_request_after_a_long_silence_begins_it_anew() -> None:
    core = Core()
    core.clock.now += 10 * PATIENCE
    core.asks()
    core.clock.now += PATIENCE
    assert (core.silent, core.hangs) == (PATIENCE, False)
    core.clock.now += 1
    assert core.hangs


def test_a_reader_who_takes_long_over_a_complete_answer_is_no_hang() -> None:
    core = Core()
    core.asks()
    core.steps()
    core.listed.clear()  # the core has said all; the call ends when the reader has read
    core.clock.now += 10 * PATIENCE
    assert (core.silent, core.hangs) == (0.0, False)


def test_a_request_that_vllm_forgot_is_no_hang() -> None:
    core = Core()
    core.asks()
    core.company.call_ended()
    core.clock.now += 10 * PATIENCE
    assert (core.silent, core.hangs) == (0.0, False)


def test_readers_who_leave_and_ask_again_do_not_make_a_hang_look_young() -> None:
    core = Core()
    core.steps()
    core.clock.now += 100
    for _ in range(3):
        core.asks()
        core.clock.now += 10
        assert core.silent is not None
        core.leaves()
        assert core.silent == 0
        core.clock.now += 10
    core.asks()
    assert core.silent == PATIENCE


def test_a_reader_who_left_before_the_core_began_is_forgotten() -> None:
    core = Core()
    core.asks()
    assert core.silent == 0
    core.leaves()
    core.clock.now += FORGOTTEN_SECONDS + 1
    assert core.silent == 0
    core.clock.now += PATIENCE
    core.asks()
    core.clock.now += 1
    assert core.silent == 1


def test_a_further_request_is_no_step() -> None:
    core = Core()
    core.asks()
    core.clock.now += PATIENCE
    core.asks()
    core.clock.now += 1
    assert core.hangs


def test_a_step_without_a_token_is_a_step() -> None:
    core = Core()
    core.asks()
    for _ in range(5):
        core.clock.now += PATIENCE
        core.steps()
        assert (core.silent, core.hangs) == (0.0, False)


def test_the_begin_and_the_end_of_a_hang_are_logged_once() -> None:
    core = Core()
    core.asks()
    core.clock.now += PATIENCE + 1
    told = [core.progress.turned(core.client) for _ in range(3)]
    assert told[1:] == [None, None]
    assert told[0] is not None
    assert "60 s while 1 requests are open" in told[0]
    core.steps()
    assert core.progress.turned(core.client) == "the engine core works again"
    assert core.progress.turned(core.client) is None


def test_a_patience_of_zero_never_ends() -> None:
    core = Core(patience=0)
    core.asks()
    core.clock.now += 1e6
    assert (core.silent, core.hangs) == (1e6, False)


def test_the_delay_of_readers_is_a_fault_long_before_the_engine_is_given_up() -> None:
    core = Core()
    core.asks()
    core.clock.now += DOUBTFUL_SECONDS + 0.1
    assert (core.progress.is_doubtful(core.client), core.hangs) == (True, False)


@pytest.mark.parametrize("lacks", ["messages", "statistics", "states", "client"])
def test_a_vllm_that_does_not_tell_is_not_judged(lacks: str) -> None:
    core = Core()
    core.asks()
    if lacks == "messages":
        core.messages.known = False
    elif lacks == "statistics":
        core.client.log_stats = False
    elif lacks == "states":
        core.client.output_processor = SimpleNamespace()
    else:
        core.client = None
    core.clock.now += 10 * PATIENCE
    assert (core.silent, core.hangs, core.progress.turned(core.client)) == (None, False, None)
