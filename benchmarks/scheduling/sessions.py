"""Sessions of several turns: each prompt is all that was said before, and something new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.scheduling.workload import Lengths, Workload

from andante.domain.pace import PRESETS, QoEClass

MEAN_TURNS = 5.0
"""Of a session, geometric."""
MEAN_PAUSE = 15.0
"""Seconds between the last word that the reader read and their next prompt, exponential."""
LONGEST_SESSION = 12_000
"""Tokens; a session that would grow beyond ends."""
WARM_UP = 900.0
"""Seconds of sessions before the first arrival that counts: a session lasts minutes."""


@dataclass(frozen=True, slots=True)
class _Turn:
    at: float
    """Seconds."""
    prompt: int
    """Tokens, with all that was said before."""
    answer: int
    """Tokens."""
    before: int
    """Number of the session's turn before; -1: none."""


def session_workload(*, rate: float, duration: float, lengths: Lengths, seed: int, qoe_class: QoEClass) -> Workload:
    """Sessions that start at random, so many that about `rate` requests/s arrive for `duration` s.

    `lengths` are those of a turn's new part and of its answer. The reader of a turn reads its answer at the class's
    pace, from its expected TTFT on, and sends the next prompt after a pause: arrivals do not depend on the scheduler,
    so that all are given the same. A session that began before the first arrival comes with its history.
    """
    random = np.random.default_rng(seed)
    starts = random.uniform(-WARM_UP, duration, random.poisson(rate / MEAN_TURNS * (duration + WARM_UP)))
    turns: list[_Turn] = []
    for start, session in zip(starts.tolist(), _sessions(starts.size, lengths, random), strict=True):
        at, known, last = start, 0, -1
        for asked, answered in session:
            if known + asked + answered > LONGEST_SESSION or at >= duration:
                break
            if at >= 0:
                turns.append(_Turn(at, known + asked, answered, last))
                last = len(turns) - 1
            known += asked + answered
            at += qoe_class.expected_ttft + answered / qoe_class.pace + random.exponential(MEAN_PAUSE)
    return _workload(turns, qoe_class, duration)


def session_queue(*, requests: int, lengths: Lengths, seed: int) -> Workload:
    """About `requests` turns at once, each behind that which it follows."""
    random = np.random.default_rng(seed)
    turns: list[_Turn] = []
    for session in _sessions(round(requests / MEAN_TURNS), lengths, random):
        known, last = 0, -1
        for asked, answered in session:
            if known + asked + answered > LONGEST_SESSION:
                break
            turns.append(_Turn(0.0, known + asked, answered, last))
            last = len(turns) - 1
            known += asked + answered
    return _workload(turns, PRESETS["reading"], 0.0)


def _sessions(count: int, lengths: Lengths, random: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
    """Of each session, for each turn the tokens of its new part and of its answer."""
    turns = random.geometric(1 / MEAN_TURNS, count)
    new, answers = lengths.draw(int(turns.sum()), random)
    for first, end in zip(np.cumsum(turns) - turns, np.cumsum(turns), strict=True):
        yield list(zip(new[first:end].tolist(), answers[first:end].tolist(), strict=True))


def _workload(turns: list[_Turn], qoe_class: QoEClass, duration: float) -> Workload:
    order = np.argsort([turn.at for turn in turns], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    sorted_turns = [turns[number] for number in order]
    return Workload(
        arrival=np.asarray([turn.at for turn in sorted_turns]),
        prompt_tokens=np.asarray([turn.prompt for turn in sorted_turns], dtype=np.int64),
        output_tokens=np.asarray([turn.answer for turn in sorted_turns], dtype=np.int64),
        class_of=np.zeros(order.size, dtype=np.int64),
        classes=(qoe_class,),
        duration=duration,
        follows=np.asarray([-1 if turn.before < 0 else place[turn.before] for turn in sorted_turns], dtype=np.int64),
    )
