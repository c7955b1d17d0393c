"""A drain waits for the answers that were begun before it, for as long as it may, and nowhere where it would hang."""

from __future__ import annotations

import threading
import time

import pytest

from andante_vllm.drain import Drain


def test_the_engine_core_is_told_once_the_last_answer_is_written() -> None:
    drain, told = Drain(), threading.Event()

    def shut_down() -> None:
        drain.begin(60.0)
        told.set()

    thread = threading.Thread(target=shut_down)
    with drain.answering():
        with drain.answering():
            thread.start()
            while not drain.draining:
                time.sleep(0.001)
        assert not told.is_set()
    assert told.wait(60.0)
    thread.join()


def test_an_answer_that_takes_too_long_leaves_no_time() -> None:
    drain = Drain()
    with drain.answering():
        assert drain.begin(0.01) == 0.0
    assert drain.draining


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_where_there_is_no_time_nobody_is_waited_for(seconds: float | None) -> None:
    drain = Drain()
    with drain.answering():
        assert drain.begin(seconds) == seconds


def test_where_nobody_is_answered_the_time_is_left() -> None:
    left = Drain().begin(60.0)
    assert left is not None
    assert 0 < left <= 60.0


async def test_the_event_loop_is_never_held() -> None:
    drain = Drain()
    with drain.answering():
        assert drain.begin(60.0) == 60.0
