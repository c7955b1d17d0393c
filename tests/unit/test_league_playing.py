"""Tasks of the league, one after the other and two at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.league.playing import Progress, play
from benchmarks.league.season import Task


def _tasks(folder: Path, count: int = 5) -> list[Task]:
    return [Task(f"task {i}", 2, (folder / str(i)).touch, ()) for i in range(count)]


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_task_is_played_once_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: int) -> None:
    assert play(_tasks(tmp_path), jobs, Progress(10, 0.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 5
    assert told[-1].startswith("10 of 10 runs: task ")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stage_without_tasks_is_over(jobs: int) -> None:
    assert play([], jobs, Progress(0, 0.0))


def test_nothing_begins_when_the_time_is_up(tmp_path: Path) -> None:
    assert not play(_tasks(tmp_path), 1, Progress(10, 1e-9))
    assert not list(tmp_path.iterdir())


def test_a_task_that_fails_ends_the_league(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        play([Task("task", 1, (tmp_path / "none" / "x").touch, ())], 1, Progress(1, 0.0))
