"""Tasks of the league, one after the other and two at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.league import __main__
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


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: int
) -> None:
    progress = Progress(11, 0.0)
    assert play([Task("broken", 1, (tmp_path / "none" / "x").touch, ()), *_tasks(tmp_path)], jobs, progress)
    assert len(list(tmp_path.iterdir())) == 5
    assert progress.failed == ["broken"]
    assert "broken failed: FileNotFoundError" in capsys.readouterr().out


def test_a_league_with_a_run_that_failed_writes_its_report_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    monkeypatch.setattr(sys, "argv", ["league", "--jobs", "1"])
    monkeypatch.setattr(
        __main__, "tasks", lambda _: iter([[Task("broken", 1, (tmp_path / "none" / "x").touch, ())], _tasks(tmp_path)])
    )
    monkeypatch.setattr(__main__.report, "write", lambda _, *, name, command: written.append(name))
    assert __main__.main() == 1
    assert len(list(tmp_path.iterdir())) == 5
    assert set(written) == {"league"}
    assert "1 failed: broken" in capsys.readouterr().out
