"""Scheduled floors: cron lines in time zones, made into times where the snapshot is gathered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.api.v1alpha1 import LLMService
from andante.app.scaling.judge import decided
from andante.app.scaling.measurement import nothing_measured
from andante.app.scaling.schedule import floors
from andante.domain.scaling.decide import Decision
from andante.domain.scaling.floors import Floor
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Replicas
from andante.domain.scaling.warmup import Warmup

HOUR, DAY = 3600.0, 86_400.0


def _service(*schedule: dict[str, Any], **scaling: Any) -> LLMService:
    spec = {"model": {"id": "org/model"}, "scaling": {"maxReplicas": 20, "schedule": list(schedule), **scaling}}
    return LLMService.parse({"metadata": {"name": "chat"}, "spec": spec})


def _floor(start: str, *, name: str = "surge", duration: str = "1h", replicas: int = 5, zone: str = "UTC") -> Any:
    return {"name": name, "start": start, "duration": duration, "minReplicas": replicas, "timeZone": zone}


def _at(text: str) -> float:
    """Unix time of an ISO time, by default in UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _found(floor: dict[str, Any], text: str, *, ahead: float = 0.0) -> Sequence[Floor]:
    return floors(_service(floor).spec.scaling.schedule, now=_at(text), ahead=ahead)


def _holds(floor: dict[str, Any], text: str) -> bool:
    return bool(_found(floor, text))


def test_a_floor_is_there_from_its_start_until_its_duration_is_over() -> None:
    morning = _floor("0 8 * * 1-5", duration="2h")
    times = ("2026-11-30T07:59:59", "2026-11-30T08:00:00", "2026-11-30T09:59:59", "2026-11-30T10:00:00")
    assert [_holds(morning, at) for at in times] == [False, True, True, False]
    assert not _holds(morning, "2026-11-29T09:00:00")  # a Sunday


def test_a_floor_that_begins_within_the_warm_up_is_told_with_its_times() -> None:
    (found,) = _found(_floor("0 8 * * *"), "2026-11-30T07:58:30", ahead=120.0)
    start = _at("2026-11-30T08:00:00")
    assert found == Floor(name="surge", start=start, end=start + HOUR, replicas=5)


def test_the_running_floor_is_told_beside_the_next_one() -> None:
    found = _found(_floor("0 * * * *"), "2026-11-30T07:58:30", ahead=120.0)
    assert [floor.start for floor in found] == [_at("2026-11-30T07:00:00"), _at("2026-11-30T08:00:00")]


def test_a_floor_goes_on_across_midnight() -> None:
    night = _floor("30 23 * * 6", duration="3h")
    assert _holds(night, "2026-11-29T02:29:59")  # Sunday, from Saturday evening on
    assert not _holds(night, "2026-11-29T02:30:00")
    assert not _holds(night, "2026-11-29T23:45:00")


def test_a_floor_may_last_a_week() -> None:
    fair = _floor("0 6 1 12 *", duration="7d")
    assert [_holds(fair, f"2026-12-{day}T05:59:59") for day in ("01", "08", "09")] == [False, True, False]


def test_a_floor_that_starts_anew_before_it_ended_holds_from_its_newest_start() -> None:
    (found,) = _found(_floor("0 8 * * *", duration="2d"), "2026-11-30T12:00:00")
    assert found.start == _at("2026-11-30T08:00:00")


def test_a_time_zone_moves_the_start_with_its_summer() -> None:
    morning = _floor("0 8 * * *", zone="Europe/Berlin")
    assert _found(morning, "2026-07-01T06:30:00")[0].start == _at("2026-07-01T06:00:00")
    assert _found(morning, "2026-12-01T07:30:00")[0].start == _at("2026-12-01T07:00:00")


def test_a_start_that_the_clocks_skip_is_when_they_were_changed() -> None:
    (found,) = _found(_floor("30 2 * * *", zone="Europe/Berlin"), "2026-03-29T01:15:00")
    assert found.start == _at("2026-03-29T03:00:00+02:00")


@pytest.mark.parametrize("at", ["2026-10-25T02:40:00+02:00", "2026-10-25T02:10:00+01:00", "2026-10-25T02:44:59+01:00"])
def test_a_start_that_the_clocks_repeat_is_the_first_of_the_two(at: str) -> None:
    (found,) = _found(_floor("45 1 * * *", zone="Europe/Berlin"), "2026-10-25T02:40:00+02:00")
    assert found.start == _at("2026-10-25T01:45:00+02:00")
    repeated = _floor("30 2 * * *", duration="90m", zone="Europe/Berlin")
    (found,) = _found(repeated, at)
    assert found.start == _at("2026-10-25T02:30:00+02:00")


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    minute=st.integers(0, 59),
    hour=st.integers(4, 23),
    moment=st.integers(0, 366 * 24 * 60),
)
def test_a_daily_start_is_the_newest_that_a_wall_clock_of_the_zone_shows(
    zone: str, minute: int, hour: int, moment: int
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=moment)
    today = now.astimezone(ZoneInfo(zone)).replace(hour=hour, minute=minute, fold=0)
    shown = [(today - timedelta(days=back)).timestamp() for back in range(3)]
    newest = next(start for start in shown if start <= now.timestamp())
    floor = _floor(f"{minute} {hour} * * *", duration="2d", zone=zone)
    found = floors(_service(floor).spec.scaling.schedule, now=now.timestamp(), ahead=0.0)
    assert [one.start for one in found] == [newest]


@settings(max_examples=200, deadline=None)
@given(
    line=st.lists(st.text("0123456789*,/-", min_size=1, max_size=8), min_size=5, max_size=5).map(" ".join),
    now=st.floats(-1e9, 4e9),
)
def test_whatever_the_crd_lets_through_is_a_floor_or_none(line: str, now: float) -> None:
    floor = _floor(line if len(line) >= 9 else "0 0 * * *", duration="7d")
    for one in floors(_service(floor).spec.scaling.schedule, now=now, ahead=600.0):
        assert one.start <= now + 600.0
        assert now < one.end == one.start + 7 * DAY


@pytest.mark.parametrize(
    "bad", [{"start": "99 * * * *"}, {"start": "0 0 30 2 *"}, {"zone": "Mars/Olympus"}, {"zone": "Europe"}]
)
def test_a_bad_floor_costs_that_floor_only(bad: dict[str, str]) -> None:
    broken = _floor(**{"start": "0 8 * * *", **bad}, name="broken", replicas=9)
    schedule = _service(broken, _floor("0 8 * * *", name="good")).spec.scaling.schedule
    assert [floor.name for floor in floors(schedule, now=_at("2026-11-30T08:30:00"), ahead=0.0)] == ["good"]


def _decided(service: LLMService, text: str, *, present: int = 2, warmups: tuple[float, ...] = ()) -> Decision:
    memory = Memory(ready=present, warmup=Warmup(seen=warmups))
    return decided(
        service,
        replicas=Replicas(spec=present, ready=present),
        measurement=nothing_measured("Prometheus is down"),
        memory=memory,
        window=60.0,
        now=_at(text),
    )[0]


def test_a_floor_needs_no_metrics_and_names_itself() -> None:
    decision = _decided(_service(_floor("0 8 * * *")), "2026-11-30T08:30:00")
    assert (decision.replicas, decision.decisive.reason) == (5, "ScheduledFloor")
    assert "scaling.schedule[surge] asks for 5 replicas until 2026-11-30 09:00 UTC" in decision.decisive.message


@pytest.mark.parametrize(("warmup", "at", "replicas"), [(600.0, "07:49:59", 2), (600.0, "07:50:00", 5)])
def test_the_replicas_are_asked_for_one_learned_warm_up_ahead(warmup: float, at: str, replicas: int) -> None:
    decision = _decided(_service(_floor("0 8 * * *")), f"2026-11-30T{at}", warmups=(warmup,) * 4)
    assert decision.replicas == replicas


@pytest.mark.parametrize("mode", ["Advisory", "Manual"])
def test_outside_auto_a_floor_is_advice(mode: str) -> None:
    decision = _decided(_service(_floor("0 8 * * *"), mode=mode), "2026-11-30T08:30:00")
    assert (decision.replicas, decision.wanted) == (2, 5)


def test_no_time_of_a_simulator_s_clock_is_a_fault() -> None:
    service = _service(_floor("0 8 * * *", zone="Europe/Berlin"))
    assert _decided(service, "1970-01-01T00:00:00").replicas == 2
    assert _decided(service, "1970-01-01T07:00:00").replicas == 5
