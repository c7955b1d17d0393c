"""The league's workloads and scalers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.league.cases import RECORDINGS, TRACES, Case, engine_of, recording, scheduling_of
from benchmarks.league.players import Player, players
from benchmarks.league.promise import Promise
from benchmarks.league.runs import sources, start_of
from benchmarks.league.scalers import scaler_of

from andante.sim.fleet.law_scaler import LawScaler

CASE = Case(scaler="static:4", workload="step")


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_is_there(name: str) -> None:
    found = recording(name)
    assert found.arrival[0] == 0.0
    assert 1000 < found.arrival[-1] < found.seconds < 3600


def test_both_schedulers_have_vllms_best_flags() -> None:
    engine = engine_of("llama-3-8b-1xh100")
    assert engine.watermark_blocks == int(0.02 * (engine.blocks + 1))
    assert scheduling_of(replace(CASE, scheduler="stock")) is None
    assert scheduling_of(replace(CASE, scheduler="qoe")) is not None


def test_a_scheduler_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="no scheduler 'fcfs'"):
        scheduling_of(replace(CASE, scheduler="fcfs"))


@pytest.mark.parametrize("promise", Promise)
@pytest.mark.parametrize("player", [p for p in players(full=True) if p.name != "dynamo-planner"], ids=lambda p: p.name)
def test_every_player_can_be_built_with_defaults_and_at_the_ends_of_its_ranges(
    player: Player, promise: Promise
) -> None:
    parameters = player.parameters(promise)
    for settings in (
        {},
        player.defaults(promise),
        {p.name: p.low for p in parameters},
        {p.name: p.high for p in parameters},
    ):
        with scaler_of(replace(CASE, scaler=player.scaler(promise, settings))) as scaler:
            assert scaler.period > 0


def test_a_rivals_settings_reach_its_law() -> None:
    with scaler_of(replace(CASE, scaler="knative:period=7")) as scaler:
        assert isinstance(scaler, LawScaler)
        assert scaler.period == 7.0


@pytest.mark.parametrize("text", ["andante:goal=1", "andante:window", "hpa", "knative:target=1"])
def test_a_scaler_that_cannot_be_built_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"goal|window|hpa|target"), scaler_of(replace(CASE, scaler=text)):
        pass


def test_a_run_is_kept_by_all_that_it_depends_on() -> None:
    ours = {path.as_posix().split("/operator/")[-1] for path in sources("andante")}
    for needed in (
        "andante/profiles/profiles.yaml", "andante/app/scaling/judge.py", "andante/domain/scaling/law.py",
        "andante/domain/scheduling/qoe_plan.py", "andante/sim/fleet/run.py", "andante/sim/fleet/andante_scaler.py",
        "andante/sim/workloads/rates.py", "andante/api/v1alpha1/scaling.py",
    ):  # fmt: skip
        assert needed in ours
    assert {path for path in sources("knative") if path.suffix == ".gz"} == set(TRACES.glob("*.gz"))


def test_a_change_of_our_law_leaves_the_runs_of_others() -> None:
    law = {path.name for path in sources("andante")} - {path.name for path in sources("hpa-kv-use")}
    assert {"law.py", "forecast.py", "judge.py", "andante_scaler.py"} <= law
    assert {path.name for path in sources("capacity-planner")} >= {"capacity.py", "engine_capacity.py"}


def test_a_static_fleet_starts_at_its_size() -> None:
    assert start_of(replace(CASE, scaler="static:7")) == 7
