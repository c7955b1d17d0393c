"""What holds for every snapshot and every memory, however odd."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from andante.domain.scaling.decide import decide
from andante.domain.scaling.figures import Observed
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.snapshot import Mode, Snapshot
from unit.scaling_snapshots import NOW, blind_figures, memories, observed, shares, snapshot, snapshots


@given(snapshots(), memories)
def test_wanted_stays_within_the_bounds_unless_somebody_else_owns_the_replicas(s: Snapshot, memory: Memory) -> None:
    decision, _ = decide(s, memory, NOW)
    if s.replicas.foreign_owner is None:
        assert s.rules.min_replicas <= decision.wanted <= s.rules.max_replicas
    else:
        assert decision.wanted == s.replicas.spec


@given(snapshots(deficit=blind_figures), memories)
def test_missing_or_stale_metrics_never_take_a_replica_away(s: Snapshot, memory: Memory) -> None:
    decision, _ = decide(s, memory, NOW)
    assert decision.wanted >= min(s.replicas.spec, s.rules.max_replicas)


@given(snapshots(), memories)
def test_metrics_of_some_of_the_ready_pods_never_take_a_replica_away(s: Snapshot, memory: Memory) -> None:
    if s.pods_measured < s.replicas.ready:
        decision, _ = decide(s, memory, NOW)
        assert decision.wanted >= min(s.replicas.spec, s.rules.max_replicas)


@given(snapshots(), memories)
def test_no_more_than_one_replica_is_taken_away_at_a_time(s: Snapshot, memory: Memory) -> None:
    decision, _ = decide(s, memory, NOW)
    assert decision.wanted >= min(s.replicas.spec, s.rules.max_replicas) - 1


@given(snapshots(), memories, shares, shares)
def test_a_larger_deficit_never_asks_for_fewer_replicas(s: Snapshot, memory: Memory, one: float, two: float) -> None:
    small, _ = decide(dataclasses.replace(s, deficit=observed(min(one, two))), memory, NOW)
    large, _ = decide(dataclasses.replace(s, deficit=observed(max(one, two))), memory, NOW)
    assert large.wanted >= small.wanted


@given(snapshots(), memories)
def test_advisory_and_manual_change_nothing(s: Snapshot, memory: Memory) -> None:
    for mode in (Mode.ADVISORY, Mode.MANUAL):
        decision, _ = decide(dataclasses.replace(s, rules=dataclasses.replace(s.rules, mode=mode)), memory, NOW)
        assert decision.replicas == s.replicas.spec


@given(snapshots(), memories)
def test_the_steps_tell_how_it_came_about(s: Snapshot, memory: Memory) -> None:
    decision, _ = decide(s, memory, NOW)
    assert decision.steps[0].name == "law"
    assert decision.steps[-1].replicas == decision.wanted
    before = decision.steps[0].replicas
    for step in decision.steps[1:]:
        assert step.clamped == (step.replicas != before)
        assert step.reason.isidentifier()
        assert step.message
        before = step.replicas


@given(snapshots(), memories)
def test_the_memory_survives_a_restart(s: Snapshot, memory: Memory) -> None:
    _, learned = decide(s, memory, NOW)
    state = json.loads(json.dumps(learned.to_state(), allow_nan=False))
    assert Memory.from_state(VERSION, state) == learned


@given(snapshots(), memories, st.floats(0.1, 1e9))
def test_times_of_the_future_count_for_nothing(s: Snapshot, memory: Memory, ahead: float) -> None:
    def later(at: float | None) -> float | None:
        return None if at is None else NOW + 60 + ahead

    forged = dataclasses.replace(
        memory,
        ceiling=memory.ceiling and (NOW + 60 + ahead, memory.ceiling[1]),
        recent=tuple((NOW + 60 + ahead, load) for _, load in memory.recent),
        quiet_since=later(memory.quiet_since),
        blind_since=later(memory.blind_since),
        deficit_since=later(memory.deficit_since),
        peaks=tuple((NOW + 60 + ahead, load) for _, load in memory.peaks),
        ready_since=later(memory.ready_since),
        changes=tuple((NOW + 60 + ahead, before) for _, before in memory.changes),
    )
    assert decide(s, forged, NOW) == decide(s, Memory(carried=memory.carried, ready=memory.ready), NOW)


@given(st.dictionaries(st.text(max_size=12), st.recursive(st.none() | st.floats() | st.text(), st.lists)))
def test_a_broken_memory_is_dropped_not_raised(state: dict[str, object]) -> None:
    known = dict.fromkeys(Memory().to_state(), next(iter(state.values()), None))
    assert isinstance(Memory.from_state(VERSION, known), Memory)
    assert isinstance(Memory.from_state(VERSION, state), Memory)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4)), max_size=60))
def test_the_memory_stays_small(history: list[tuple[float, float]]) -> None:
    memory = Memory()
    for tick, (deficit, load) in enumerate(history):
        _, memory = decide(snapshot(deficit=deficit, open_requests=load), memory, NOW + 15 * tick)
    assert len(json.dumps(memory.to_state())) < 4096


@given(snapshots(), memories)
def test_the_same_input_gives_the_same_decision(s: Snapshot, memory: Memory) -> None:
    assert decide(s, memory, NOW) == decide(s, memory, NOW)


@settings(max_examples=25)
@given(st.floats(0.5, 400), st.floats(1, 40))
def test_a_constant_load_does_not_flap(load: float, capacity: float) -> None:
    """The plant: every replica carries `capacity` open requests on pace, those above are not served at all."""
    spec, ready, memory = 1, 1, Memory()
    changes: list[tuple[float, int]] = []
    for tick in range(480):
        now = NOW + 15 * tick
        share = min(1.0, capacity * ready / load)
        s = snapshot(
            spec=spec,
            ready=ready,
            deficit=0.95 * (1 - share),
            open_requests=load,
            max_replicas=1000,
            smooth_goodput=100 * share,
            throughput=100 * share,
        )
        assert isinstance(s.deficit, Observed)
        decision, memory = decide(s, memory, now)
        if decision.replicas != spec:
            changes.append((now, decision.replicas - spec))
        spec = ready = decision.replicas
    assert capacity * ready >= load * 0.98
    # Once what is known of a replica's capacity has faded, one fewer is tried with care; one that was too many comes
    # back at once, and is not tried again.
    late = [step for at, step in changes if at > NOW + 3600]
    assert sum(step > 0 for step in late) <= 1
