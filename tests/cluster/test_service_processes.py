"""Starting and stopping by pid file: never somebody else's process."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.errors import ClusterError
from hack.localcluster.processes import Service, kill_marked, marked_processes


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(name="sleeper", state=tmp_path)
    yield made
    made.stop(grace_seconds=0.0)
    kill_marked(tmp_path)


def test_started_process_is_alive_until_stopped(service: Service) -> None:
    service.start(["sleep", "600"])
    assert service.alive()
    service.stop()
    assert not service.alive()
    assert not service.pid_file.exists()


def test_second_start_keeps_the_running_process(service: Service) -> None:
    service.start(["sleep", "600"])
    first = service.handle()
    service.start(["sleep", "600"])
    assert service.handle() == first


def test_pid_that_belongs_to_somebody_else_now_is_left_alone(service: Service) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        service.pid_file.parent.mkdir(parents=True)
        service.pid_file.write_text(json.dumps({"pid": stranger.pid, "start_ticks": 1}))
        service.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_process_that_ignores_sigterm_is_killed(service: Service) -> None:
    service.start(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
    while "ready" not in (service.log.read_text() if service.log.exists() else ""):
        os.sched_yield()
    service.stop(grace_seconds=0.1)
    assert not service.alive()


def test_every_process_carries_the_mark_of_its_cluster(service: Service) -> None:
    service.start(["sh", "-c", "sleep 600 & wait"])
    handle = service.handle()
    assert handle is not None
    assert handle.pid in marked_processes(service.state)


@pytest.mark.parametrize(
    "content",
    [
        *("", '{"pid": 1', "[]", "7", '{"pid": "1", "start_ticks": 1}', '{"pid": -1, "start_ticks": 1}', "\0"),
        '{"pid": 1e999, "start_ticks": 1}',
    ],
)
def test_broken_pid_file_counts_as_not_running(service: Service, content: str) -> None:
    service.pid_file.parent.mkdir(parents=True)
    service.pid_file.write_text(content)
    assert not service.alive()


def test_process_holds_nothing_that_its_starter_was_given(service: Service) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # as a shell's `exec 3>file` and flock leave one
    service.start(["sleep", "600"])
    os.close(writer)
    with os.fdopen(reader, "rb") as left:
        assert left.read() == b""  # the end, as nobody else holds the other side


def test_process_that_nobody_wrote_down_gives_way_to_a_new_start(service: Service) -> None:
    service.start(["sleep", "600"])
    service.pid_file.unlink()
    service.start(["sleep", "600"])
    handle = service.handle()
    assert handle is not None
    assert marked_processes(service.state) == {handle.pid}


def test_process_with_other_arguments_gives_way_to_a_new_start(service: Service) -> None:
    service.start(["sleep", "600"])
    first = service.handle()
    service.start(["sleep", "601"])
    second = service.handle()
    assert first != second
    assert second is not None
    assert marked_processes(service.state) == {second.pid}


def test_missing_program_is_named(service: Service) -> None:
    with pytest.raises(ClusterError, match="no-such-program"):
        service.start(["no-such-program"])
