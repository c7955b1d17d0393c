"""Plays the tasks of a stage, some at a time, and says how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks.league.season import Task


class Progress:
    """Says how far the season is, and how long it still takes."""

    def __init__(self, games: int, seconds: float) -> None:
        self._games, self._limit, self._done, self._began = games, seconds, 0, time.monotonic()
        self._played, self._spent = 0, 0.0
        self.failed: list[str] = []
        """Names of the tasks that raised."""

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return 0 < self._limit < time.monotonic() - self._began

    def done(self, task: Task, seconds: float, error: str | None = None) -> None:
        """Tell of a task that took `seconds`; one that took none was kept from before. `error`: what it raised."""
        if error is not None:
            self.failed.append(task.name)
            print(f"{task.name} failed: {error}", flush=True)
        self._done += task.games
        if seconds > 0.5:
            self._played, self._spent = self._played + task.games, self._spent + seconds
        elapsed = time.monotonic() - self._began
        if self._played:
            left = (self._games - self._done) * elapsed / max(self._done, 1) / 60
            words = f"{seconds:.0f} s; about {left:.0f} minutes left"
        else:
            words = "kept"
        print(f"{self._done} of {self._games} runs: {task.name}: {words}", flush=True)


def play(stage: Sequence[Task], jobs: int, progress: Progress) -> bool:
    """Play the tasks; whether all were begun. When the time is up no further one begins. One that raises is told of."""
    for task, (seconds, error) in _played(stage, jobs, progress):
        progress.done(task, seconds, error)
    return not progress.over


def _played(stage: Sequence[Task], jobs: int, progress: Progress) -> Iterator[tuple[Task, tuple[float, str | None]]]:
    if jobs == 1:
        for task in stage:
            if progress.over:
                return
            yield task, _timed(task)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = list(reversed(stage))
        running = {pool.submit(_timed, task): task for task in [waiting.pop() for _ in range(min(jobs, len(waiting)))]}
        while running:
            future = next(as_completed(running))
            task = running.pop(future)
            if waiting and not progress.over:
                following = waiting.pop()
                running[pool.submit(_timed, following)] = following
            yield task, future.result()


def _timed(task: Task) -> tuple[float, str | None]:
    """Wall seconds of the task, and what it raised: one run that goes wrong must not end hours of others."""
    began, error = time.monotonic(), None
    try:
        task()
    except Exception as raised:  # noqa: BLE001  it is told, and is the league's exit status
        error = f"{type(raised).__name__}: {raised}"
    return time.monotonic() - began, error
