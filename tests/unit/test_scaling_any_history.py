"""What holds after any history: metrics that come and go, clocks that differ, restarts, edited memories, no GPUs."""

from __future__ import annotations

import base64
import copy
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.figures import Missing, Stale
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.snapshot import Snapshot
from unit.scaling_plant import PER_REPLICA, TICK
from unit.scaling_snapshots import NOW, snapshot

MOST = 12
"""maxReplicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What the scaler sees at one tick of a service whose load is the same all the time."""

    seen: str
    skew: float = 0.0
    """Seconds by which the engines' clocks are ahead."""
    restarts: bool = False
    jump: float = 0.0
    """Seconds by which the operator's clock is set."""


seen = st.sampled_from(["all", "all", "all", "missing", "stale", "half", "no demand"])
ticks = st.builds(
    Tick,
    seen=seen,
    skew=st.sampled_from([0.0, 0.0, -20.0, 20.0]),
    restarts=st.sampled_from([False, False, False, True]),
    jump=st.sampled_from([0.0] * 12 + [-3600.0, -90.0, 90.0, 3600.0]),
)
spells = st.lists(st.tuples(ticks, st.integers(1, 25)), min_size=1, max_size=10)


def _snapshot(tick: Tick, *, spec: int, ready: int, load: float, deficit: float, now: float, since: float) -> Snapshot:
    """`load`: replicas' worth of arrivals; `since`: when the replicas that are not ready were asked for."""
    gone = {"missing": Missing(why="Prometheus is down"), "stale": Stale(at=now - 500)}
    figure = gone.get(tick.seen)
    return snapshot(
        spec=spec,
        ready=ready,
        starting_ages=(now - since,) * (spec - ready),
        deficit=deficit if figure is None else figure,
        open_requests=5.0 * load if figure is None else figure,
        pods_measured=ready // 2 if tick.seen == "half" else ready,
        arrivals=None if figure or tick.seen == "no demand" else load * PER_REPLICA,
        loss=deficit,
        at=now + tick.skew,
        max_replicas=MOST,
    )


def _run(
    spells: list[tuple[Tick, int]], *, spec: int, load: float, gpus: int = MOST, deficit: float = 0.0
) -> Iterator[tuple[Snapshot, Decision, Memory]]:
    """Each tick's snapshot, decision and memory. New replicas are ready at the next tick, as far as there are GPUs."""
    memory, now, since = Memory(ready=spec), NOW, NOW
    for tick, number in spells:
        for first in (True, *[False] * (number - 1)):
            now += TICK
            if first and tick.jump:
                now, memory = now + tick.jump, memory.without_quiet()
            if tick.restarts:
                state = json.loads(json.dumps(memory.to_state(), allow_nan=False))
                assert Memory.from_state(VERSION, state) == memory
                memory = Memory.from_state(VERSION, state).without_quiet()
            ready = min(spec, gpus)
            short = deficit if ready < load else 0.0
            seen = _snapshot(tick, spec=spec, ready=ready, load=load, deficit=short, now=now, since=since)
            decision, memory = decide(seen, memory, now)
            yield seen, decision, memory
            if decision.replicas != spec:
                since = now
            spec = decision.replicas


@settings(max_examples=40, deadline=None)
@given(spells, st.integers(1, MOST), st.floats(0, 20))
def test_nothing_is_removed_on_missing_metrics_and_nothing_exceeds_the_bounds(
    spells: list[tuple[Tick, int]], spec: int, load: float
) -> None:
    for seen, decision, memory in _run(spells, spec=spec, load=load, deficit=0.2):
        if seen.blind or seen.pods_measured < seen.replicas.ready:
            assert decision.replicas >= seen.replicas.spec
        assert 1 <= decision.replicas <= MOST
        assert seen.replicas.spec - 1 <= decision.replicas
        assert len(json.dumps(memory.to_state())) < 4096


@settings(max_examples=40, deadline=None)
@given(spells, st.sampled_from([0.0, 0.1, 0.6, 1.7, 3.4]))
def test_a_load_that_stays_the_same_is_never_answered_with_more_than_one_replica_to_spare(
    spells: list[tuple[Tick, int]], load: float
) -> None:
    enough = max(1, math.ceil(load))
    for _, decision, _ in _run(spells, spec=enough, load=load):
        assert decision.replicas <= enough + 1


@settings(max_examples=25, deadline=None)
@given(spells, st.integers(1, 3))
def test_replicas_without_a_gpu_are_not_asked_for_again_and_again(spells: list[tuple[Tick, int]], gpus: int) -> None:
    for _, decision, _ in _run(spells, spec=gpus, load=gpus + 0.6, gpus=gpus, deficit=0.02):
        assert decision.replicas <= 2 * (gpus + 1)


def _leaves(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(state, dict):
        for name, value in state.items():
            yield from _leaves(value, (*path, name))
    elif isinstance(state, list) and state:
        for place, value in enumerate(state):
            yield from _leaves(value, (*path, place))
    else:
        yield path


def _grown() -> dict[str, Any]:
    """The state of a service that has seen everything that a memory notes."""
    memory, spec = Memory(ready=3), 3
    for tick in range(90):
        now, late = NOW - TICK * (90 - tick), 30 < tick < 60
        load = 2.0 if tick % 20 < 15 else 4.5
        s = snapshot(
            spec=spec, ready=3, starting_ages=(20.0,) * max(0, spec - 3), deficit=0.2 if late else 0.0,
            arrivals=load * PER_REPLICA, open_requests=50.0 * load, loss=0.1, at=now, max_replicas=MOST,
            open_on_each=(0.0, 9.0) if tick > 50 else (), throughput=0.0 if tick > 55 else 9.0,
        )  # fmt: skip
        decision, memory = decide(s, memory, now)
        spec = decision.replicas
    state: dict[str, Any] = json.loads(json.dumps(memory.to_state()))
    return state


GROWN = _grown()
PATHS = list(_leaves(GROWN))
numbers = st.sampled_from(
    [-1e308, -1.0, 0, 0.5, 1.0, 7, 1e6, 1e12, 1e308, math.inf, math.nan, NOW, NOW + 50, -(10**400)]
)
bytes_text = st.binary(max_size=120).map(lambda data: base64.b64encode(data).decode())
texts = st.sampled_from(["", "x", "1", "1 2", "1 2 3", "nan 1", "1e308 1e308", "-5 -7", f"{NOW} 9e99", "9 " * 400])
edits = st.one_of(st.none(), numbers, texts, bytes_text, st.just([]), st.just({}), st.just([1.0, 2.0]), st.booleans())


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), edits), min_size=1, max_size=3))
@example([(("plan", "lengths", "answer"), 1e308)])
@example([(("plan", "forecast", "filling", 0), -1e308)])
@example([(("plan", "forecast", "ahead"), -1e308)])
@example([(("plan", "forecast", "noise", 1), -0.02)])
@example([(("plan", "lost", 1), -8.0)])
@example([(("warmup", "seen"), [1e308])])
def test_an_edited_memory_neither_stops_the_scaler_nor_breaks_its_bounds(edited: list[tuple[Any, Any]]) -> None:
    state = copy.deepcopy(GROWN)
    for path, value in edited:
        at: Any = state
        *way, last = path
        for part in way:
            at = at[part]
            if not isinstance(at, dict | list):
                break
        else:
            at[last] = value
    memory = Memory.from_state(VERSION, state)
    before = memory.plan.forecast
    for tick, figure in enumerate([Missing(why="gone"), None, None, None, None, Missing(why="gone"), None]):
        now = NOW + TICK * tick
        s = snapshot(
            spec=4, arrivals=3.4 * PER_REPLICA, at=now, max_replicas=MOST,
            **({} if figure is None else {"deficit": figure, "open_requests": figure}),
        )  # fmt: skip
        decision, memory = decide(s, memory, now)
        assert 4 - 1 <= decision.replicas <= MOST
        assert figure is None or decision.replicas >= 4
        assert len(json.dumps(memory.to_state(), allow_nan=False)) < 4096
        assert all(len(step.message) < 500 for step in decision.steps)
    assert memory.plan.forecast.trail != before.trail  # it goes on learning
