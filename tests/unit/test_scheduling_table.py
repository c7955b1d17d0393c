"""What the scheduler's table says of requests is what the measures say of the same deliveries."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.pace import Expectation
from andante.domain.qoe import QoEState, score_timeline
from andante.domain.scheduling.lengths import LengthEstimator
from andante_vllm.scheduler_table import RequestTable


def enter(table: RequestTable, name: str, *, arrival: float = 0.0, pace: float = 4.8) -> None:
    table.add(
        name, arrival=arrival, expectation=Expectation(expected_ttft=1.0, pace=pace, deadline=None), weight=1.0,
        class_index=0, prompt_tokens=10, longest=1000,
    )  # fmt: skip


def table_of(names: Iterable[str], *, pace: float = 4.8) -> RequestTable:
    table = RequestTable(classes=1)
    for name in names:
        enter(table, name, pace=pace)
    return table


@given(
    st.lists(st.tuples(st.floats(0.001, 2.0), st.sets(st.sampled_from("abcd"), min_size=1), st.booleans()), max_size=90)
)
def test_lag_and_area_are_those_of_the_measure(steps: list[tuple[float, set[str], bool]]) -> None:
    table = table_of("abcd")
    deliveries: dict[str, list[float]] = {name: [] for name in "abcd"}
    now = 0.0
    for gap, batch, looked_at in steps:
        now += gap
        table.deliver_one_each(table.batch(sorted(batch)), now)
        for name in batch:
            deliveries[name].append(now)
        if looked_at:
            table.view(now, prefilling=[])
    view, rows = table.view(now, prefilling=[])
    for index, name in enumerate(table.names(rows)):
        delivery = deliveries[name]
        assert view.delivered[index] == len(delivery)
        if delivery:
            score = score_timeline(np.array(delivery), expected_ttft=1.0, pace=4.8)
            assert view.delay_area[index] == pytest.approx(score.mean_delay * len(delivery), abs=1e-6)


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 2.0),
            st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5), min_size=1),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_several_tokens_together_are_those_of_the_measure(steps: list[tuple[float, dict[str, int], bool]]) -> None:
    table = table_of("abcd")
    states = {name: QoEState(expected_ttft=1.0, pace=4.8) for name in "abcd"}
    for name in "abcd":
        table.started(name)
    now = 0.0
    for gap, batch, one_each in steps:
        now += gap
        counts = dict.fromkeys(batch, 1) if one_each else batch
        if one_each:
            table.deliver_one_each(table.batch(list(batch)), now)
        else:
            table.deliver(table.batch(list(batch)), np.array(list(batch.values()), dtype=np.int64), now)
        for name, count in counts.items():
            if count:
                states[name].deliver(now, count)
    view, rows = table.view(now, prefilling=[])
    for index, name in enumerate(table.names(rows)):
        assert view.delivered[index] == states[name].delivered_tokens
        assert view.lag[index] == pytest.approx(states[name].lag, abs=1e-9)
        assert view.delay_area[index] == pytest.approx(states[name].delay_area, abs=1e-6)
    assert table.running_context() == view.context.sum()


def test_an_answer_is_no_longer_than_what_was_handed_over_of_its_last_step() -> None:
    """Of five tokens of the last step two came after the end."""
    names = [f"answer {index}" for index in range(200)]
    table = table_of(names)
    table.deliver(table.batch(names), np.full(200, 5, dtype=np.int64), 1.0)
    for name in names:
        table.ended_at(name, known=13)
        table.remove(name, ended_itself=True)
    enter(table, "new", arrival=9.0)
    view, _ = table.view(10.0, prefilling=[])
    assert view.remaining.tolist() == [rest_after_answers_of_three_tokens(ended_itself=True)]


def test_a_row_that_is_used_again_starts_from_nothing() -> None:
    table = table_of("a")
    table.deliver_one_each(table.batch(["a"]), 9.0)
    table.remove("a", ended_itself=True)
    version = table.version
    table.add(
        "a", arrival=20.0, expectation=Expectation(expected_ttft=1.0, pace=4.8, deadline=None), weight=1.0,
        class_index=0, prompt_tokens=5, longest=10,
    )  # fmt: skip
    table.deliver_one_each(table.batch(["a"]), 20.5)
    view, _ = table.view(21.0, prefilling=[])
    assert table.version > version
    assert view.delivered.tolist() == [1.0]
    assert view.delay_area.tolist() == [0.0]


def test_a_token_of_somebody_who_is_gone_is_nobodys() -> None:
    table = table_of("ab")
    table.remove("a", ended_itself=False)
    table.deliver_one_each(table.batch(["a", "b"]), 0.5)
    view, rows = table.view(1.0, prefilling=[])
    assert table.names(rows) == ["b"]
    assert view.delivered.tolist() == [1.0]


def rest_after_answers_of_three_tokens(*, ended_itself: bool) -> float:
    names = [f"short {index}" for index in range(200)]
    table = table_of(names)
    batch = table.batch(names)
    for step in range(3):
        table.deliver_one_each(batch, 1.0 + step)
    for name in names:
        table.remove(name, ended_itself=ended_itself)
    table.deliver_one_each(batch, 9.0)  # was under way when they ended
    enter(table, "new", arrival=9.0)
    view, _ = table.view(10.0, prefilling=[])
    return float(view.remaining[0])


def test_answers_that_ended_tell_how_long_they_were() -> None:
    learned = LengthEstimator(1)
    for _ in range(200):
        learned.ended(class_index=0, tokens=3)
    (rest,) = learned.remaining(class_index=np.zeros(1, dtype=np.int64), delivered=np.zeros(1), longest=np.full(1, 1e3))
    assert rest_after_answers_of_three_tokens(ended_itself=True) == rest


def test_an_aborted_answer_tells_nothing_of_lengths() -> None:
    unlearned = LengthEstimator(1).remaining(
        class_index=np.zeros(1, dtype=np.int64), delivered=np.zeros(1), longest=np.full(1, 1e3)
    )
    assert rest_after_answers_of_three_tokens(ended_itself=False) == unlearned[0]


def test_who_is_in_the_middle_of_a_prefill_is_marked() -> None:
    table = table_of("abc")
    table.remove("a", ended_itself=True)
    view, rows = table.view(1.0, prefilling=["c"])
    assert dict(zip(table.names(rows), view.prefilling.tolist(), strict=True)) == {"b": False, "c": True}


def test_requests_keep_what_is_theirs_when_the_rows_are_used_up() -> None:
    table = table_of("ab")
    table.started("b")
    running = table.running()
    table.deliver_one_each(running, 1.5)
    expectation = Expectation(expected_ttft=1.0, pace=4.8, deadline=None)
    for index in range(3000):
        table.add(
            f"passing {index}", arrival=2.0, expectation=expectation, weight=1.0, class_index=0, prompt_tokens=index,
            longest=10,
        )  # fmt: skip
        if index < 2900:
            table.remove(f"passing {index}", ended_itself=False)
    assert running.layout != table.layout
    view, rows = table.view(3.0, prefilling=["b"])
    assert table.names(rows) == ["a", "b", *(f"passing {index}" for index in range(2900, 3000))]
    assert view.context[:3].tolist() == [10.0, 11.0, 2900.0]
    assert view.lag[:2].tolist() == [0.0, 0.5]
    assert view.running.nonzero()[0].tolist() == view.prefilling.nonzero()[0].tolist() == [1]
    assert table.names(table.running().rows) == table.names(table.batch(["b"]).rows) == ["b"]


def kept(table: RequestTable) -> list[float]:
    return table.view(0.0, prefilling=[])[0].kept.tolist()


def test_what_the_host_keeps_of_a_request_is_as_told_last_whether_it_runs_waits_or_is_new() -> None:
    table = table_of("abc")
    table.started("a")
    table.on_host("a", kept=4)
    table.on_host("b", kept=8)
    assert kept(table) == [4.0, 8.0, 0.0]
    table.preempted("a", kept=8)
    table.on_host("b", kept=4)
    assert kept(table) == [8.0, 4.0, 0.0]


def test_no_more_is_kept_than_a_request_has() -> None:
    table = table_of("a")
    table.on_host("a", kept=1000)
    assert kept(table) == [10.0]


def test_without_host_memory_nothing_is_kept() -> None:
    table = table_of("a")
    table.started("a")
    table.preempted("a")
    assert kept(table) == [0.0]


def test_what_others_hold_of_a_request_is_said_by_who_looks_it_up() -> None:
    table = table_of("ab")
    table.reuse("a", cached=8, shared=4)
    table.reuse("b", cached=1000, shared=1000)  # no more than it has
    view, _ = table.view(0.0, prefilling=[])
    assert (view.kept.tolist(), view.shared.tolist()) == ([8.0, 10.0], [4.0, 10.0])
    table.started("a")
    assert kept(table) == [8.0, 10.0]
    table.preempted("a", kept=4)  # the prefix cache still has more
    assert kept(table) == [8.0, 10.0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "take off", "deliver", "end", "enter"]), st.sampled_from("abcd")),
        max_size=60,
    )
)
def test_the_context_of_all_who_run_is_the_sum_of_theirs(events: list[tuple[str, str]]) -> None:
    table = table_of("abcd")
    running: set[str] = set()
    now = 0.0
    for event, name in events:
        now += 0.1
        if event == "start" and name in table:
            table.started(name)
            running.add(name)
        elif event == "take off" and name in running:
            table.preempted(name)
            running.discard(name)
        elif event == "deliver" and running:
            table.deliver_one_each(table.running(), now)
        elif event == "end" and name in table:
            table.remove(name, ended_itself=True)
            running.discard(name)
        elif event == "enter" and name not in table:
            enter(table, name)
        counted = table.running_context()
        view, _ = table.view(now, prefilling=[])
        assert counted == view.context[view.running].sum()
