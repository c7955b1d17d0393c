"""Gathers prefill into fewer steps, as a part of the decision of `qoe_policy`.

A step with any prefill takes some milliseconds longer than one without, however short the prompt. While requests wait,
every step would have some. So for a few steps after one with prefill no request is admitted, unless a new one is due.
Compiled. Times are in seconds.
"""

from __future__ import annotations

from andante.domain.compiled import Floats, Ints, Table, part
from andante.domain.scheduling.qoe_numbers import GATHERED_UNTIL, Settings
from andante.domain.scheduling.room import Room
from andante.domain.scheduling.view import (
    CONTEXT,
    DELIVERED,
    ELAPSED,
    EXPECTED_TTFT,
    KEPT,
    PREEMPTIONS,
    EngineView,
)


@part
def wait_for_more(
    requests: Table, engine: EngineView, running: Ints, admit: Ints, settings: Settings, memory: Floats
) -> bool:
    """Whether to admit none of `admit` in this step, as there was prefill a few steps ago."""
    if engine.now >= memory[GATHERED_UNTIL] or not running.size or not admit.size or engine.unfinished_prefill > 0:
        return False
    for i in admit:
        new = requests[PREEMPTIONS, i] == 0 and requests[DELIVERED, i] == 0
        if new and requests[EXPECTED_TTFT, i] - requests[ELAPSED, i] < settings.due_soon:
            return False
    return True


@part
def note_prefill(
    requests: Table, engine: EngineView, room: Room, admit: Ints, settings: Settings, memory: Floats
) -> None:
    """Remember until when to gather, if the next step has prefill: of running requests or of those in `admit`."""
    tokens = engine.unfinished_prefill
    for i in admit:
        tokens += requests[CONTEXT, i] - requests[KEPT, i]
    if tokens > 0 and settings.gathered_steps > 0:
        # Half a step less: times are predicted, and a decision comes between two steps.
        steps = room.step_seconds * (1 + settings.gathered_steps - 0.5)
        memory[GATHERED_UNTIL] = engine.now + steps + engine.step_time.prefill_token * tokens
