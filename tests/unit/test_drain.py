"""A drain waits for the answers that were begun before it, for as long as it may, and nowhere where it would hang."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from andante_vllm import cli
from andante_vllm.drain import Announcement, Drain


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


def test_while_an_answer_is_written_new_requests_are_served_too_and_waited_for() -> None:
    drain, told = Drain(), threading.Event()

    def shut_down() -> None:
        drain.begin(600.0)
        told.set()

    thread = threading.Thread(target=shut_down)
    with drain.answering():
        thread.start()
        while not drain.draining:
            time.sleep(0.001)
        late = drain.answering()
        assert late.__enter__()
    assert not told.is_set()
    late.__exit__(None, None, None)
    assert told.wait(60.0)
    thread.join()
    assert drain.stopping


def test_once_the_last_answer_is_written_nothing_is_served() -> None:
    drain = Drain()
    drain.begin(60.0)
    with drain.answering() as in_time:
        assert not in_time


def test_who_came_before_the_door_closed_is_answered_too() -> None:
    drain = Drain()
    served: list[bool] = []

    def close_door() -> None:
        with drain.answering() as in_time:
            served.append(in_time)

    drain.begin(60.0, close_door=close_door)
    assert served == [True]


def test_what_would_likely_be_cut_is_not_begun() -> None:
    drain = Drain()
    with drain.answering():
        drain.begin(0.05)
        with drain.answering() as in_time:
            assert not in_time


def test_gateways_get_their_time_although_nothing_could_be_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    assert cli.main(["drain", "--config", "/missing/engine.yaml", "--wait", "10"]) != 0
    assert waited == [10.0]


def test_an_announcement_is_looked_for_once_a_second_and_stays(tmp_path: Path) -> None:
    now = 0.0
    file = tmp_path / "drain"
    announcement = Announcement(file, clock=lambda: now)
    assert not announcement.made()
    file.touch()
    now = 0.9
    assert not announcement.made()
    now = 1.0
    assert announcement.made()
    file.unlink()
    now = 9.0
    assert announcement.made()
