"""Steps that are chosen and not over yet: one, or two where vLLM schedules asynchronously.

With two in flight the engine chooses a step while another one runs, so the GPU never waits for it. Who arrives then
waits for the running step and for the chosen one. A token counts in the next choice before it is delivered.
"""

from __future__ import annotations

from andante.domain.compiled import uncounted
from andante.sim.engine import Engine
from andante.sim.state import BUSY, CONTEXT, ENDS, FLIGHT, IN_BATCH, IN_FLIGHT, LASTS, NOW, OLDEST, RIDES, SEEN, State


@uncounted
def launch(engine: Engine, state: State, begins: float, seconds: float, seen: tuple[float, float, float]) -> None:
    """Start the chosen step as soon as the GPU has ended the others, at `begins` or later; it takes `seconds`.

    `seen`: see `_fit`.
    """
    counts, clocks, flights = state.counts, state.clocks, state.flights
    start = begins
    if counts[IN_FLIGHT]:
        newest = (counts[OLDEST] + counts[IN_FLIGHT] - 1) % engine.steps_in_flight
        start = max(start, flights[newest * FLIGHT + ENDS])
    place = (counts[OLDEST] + counts[IN_FLIGHT]) % engine.steps_in_flight
    counts[IN_FLIGHT] += 1
    batch, step_tokens, prefilling, ahead = state.batch, state.step_tokens, state.prefilling, state.ahead
    first = place * engine.max_seqs
    rides = 0
    for at in range(counts[IN_BATCH]):
        request = batch[at]
        if step_tokens[request] == 0:
            continue
        step_tokens[request] = 0
        if prefilling[request]:
            continue
        ahead[request] += 1
        state.passengers[first + rides] = request
        rides += 1
    counts[CONTEXT] += rides
    clocks[BUSY] += seconds
    at = place * FLIGHT
    flights[at + ENDS] = start + seconds
    flights[at + LASTS] = begins - clocks[NOW] + seconds
    flights[at + RIDES] = rides
    flights[at + SEEN], flights[at + SEEN + 1], flights[at + SEEN + 2] = seen


@uncounted
def land(engine: Engine, state: State) -> int:
    """Move the time to the end of the step that ends first; the place of the step, which is in flight no more."""
    counts = state.counts
    place = int(counts[OLDEST])
    counts[OLDEST] = (place + 1) % engine.steps_in_flight
    counts[IN_FLIGHT] -= 1
    state.clocks[NOW] = state.flights[place * FLIGHT + ENDS]
    return place
