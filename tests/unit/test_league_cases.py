"""The league's workloads and scalers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.league import runs
from benchmarks.league.cases import RECORDINGS, TRACES, Case, engine_of, recording, scheduling_of
from benchmarks.league.hindsight import timetable
from benchmarks.league.players import OURS, Player, players
from benchmarks.league.promise import Promise
from benchmarks.league.runs import Result, packages, sources, start_of
from benchmarks.league.scalers import scaler_of

from andante.domain.step_time import DEFAULT_STEP_TIME
from andante.sim.fleet.law_scaler import LawScaler
from andante.sim.fleet.scaler import Static

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


def test_a_replica_learns_its_step_time_as_an_engine_on_a_gpu_does() -> None:
    found = scheduling_of(replace(CASE, scheduler="qoe"))
    assert found is not None
    assert found.learns_step_time
    assert found.step_time == DEFAULT_STEP_TIME


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


def test_a_window_that_the_tuner_did_not_move_is_left_to_the_operator() -> None:
    ours = next(player for player in players(full=False) if player.name == OURS)
    start = next(p for p in ours.parameters(Promise.MEAN_QOE) if p.name == "window")
    unmoved = start.at(start.share(ours.defaults(Promise.MEAN_QOE)["window"]))
    assert ours.scaler(Promise.MEAN_QOE, {"asked": 0.96, "window": unmoved}) == "andante:promise=mean-qoe,asked=0.96"
    moved = ours.scaler(Promise.MEAN_QOE, {"asked": 0.96, "window": 90.0})
    assert moved == "andante:promise=mean-qoe,asked=0.96,window=90"


def test_a_rivals_settings_reach_its_law() -> None:
    with scaler_of(replace(CASE, scaler="knative:period=7")) as scaler:
        assert isinstance(scaler, LawScaler)
        assert scaler.period == 7.0


@pytest.mark.parametrize("text", ["andante:goal=1", "andante:window", "hpa", "knative:target=1", "static:size=3"])
def test_a_scaler_that_cannot_be_built_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"goal|window|hpa|target|size"), scaler_of(replace(CASE, scaler=text)):
        pass


def files_of(name: str) -> set[str]:
    return {path.as_posix().split("/operator/andante/")[-1].split("/benchmarks/")[-1] for path in sources(name)}


@pytest.mark.parametrize("name", ["andante", "knative", "capacity-planner", "dynamo-planner", "static", "hindsight"])
def test_a_run_is_kept_by_all_that_it_depends_on(name: str) -> None:
    assert files_of(name) >= {
        "profiles/profiles.yaml", "domain/scheduling/qoe_plan.py", "sim/batch.py", "sim/fleet/run.py",
        "sim/fleet/compiled/serve.py", "sim/fleet/compiled/replicas.py", "sim/fleet/compiled/routing.py",
        "sim/workloads/rates.py", "domain/scaling/victims.py", "league/cases.py", "league/runs.py", "league/scalers.py",
        "scheduling/stock.py", "middle_rate.py",
    }  # fmt: skip
    assert {path for path in sources(name) if path.suffix == ".gz"} == set(TRACES.glob("*.gz"))
    assert {"numpy", "numba"} <= set(packages(name))


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("andante", {"app/scaling/judge.py", "domain/scaling/law.py", "sim/fleet/andante_scaler.py", "ports.py",
                     "api/v1alpha1/scaling.py", "api/rules.py", "api/values.py"}),
        ("capacity-planner", {"sim/fleet/law_scaler.py", "sim/laws/capacity_planner.py",
                              *(f"domain/scaling/{each}.py" for each in ("capacity", "demand", "figures", "numbers"))}),
        ("dynamo-planner", {"sim/fleet/law_scaler.py", "league/dynamo.py", "sim/laws/dynamo_model.py",
                            "league/requirements.lock"}),
    ],
)  # fmt: skip
def test_a_run_is_kept_by_the_files_of_its_law(name: str, needed: set[str]) -> None:
    assert files_of(name) >= needed


def test_only_the_planner_itself_depends_on_its_package() -> None:
    assert [name for name in ("andante", "knative", "dynamo-planner") if "ai-dynamo" in packages(name)] == [
        "dynamo-planner"
    ]


def test_another_version_of_a_package_is_another_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANDANTE_CACHE", str(tmp_path))
    result = Result(
        replica_hours=1.0, mean_qoe=1.0, share_good=1.0, smooth_goodput=1.0, share_left=0.0, errors=0, cut=0,
        turns=0, seconds=3600.0, most_replicas=1, p5_qoe=1.0,
    )  # fmt: skip
    made: list[Case] = []
    monkeypatch.setattr(runs, "run", lambda case: made.append(case) or result)
    for version in ("1.0", "1.0", "2.0"):
        monkeypatch.setattr(runs, "versions", lambda names, version=version: dict.fromkeys(names, version))
        assert runs.cached(CASE) == result
    assert len(made) == 2


def test_a_change_of_our_law_leaves_the_runs_of_others() -> None:
    law = {path.name for path in sources("andante")} - {path.name for path in sources("hpa-kv-use")}
    assert {"law.py", "forecast.py", "judge.py", "andante_scaler.py"} <= law
    assert {path.name for path in sources("capacity-planner")} >= {"capacity.py", "engine_capacity.py"}


@pytest.mark.parametrize(("text", "size"), [("static:7", 7), ("static:replicas=5", 5), ("static", 4)])
def test_a_static_fleet_starts_and_stays_at_its_size(text: str, size: int) -> None:
    case = replace(CASE, scaler=text)
    assert start_of(case) == size
    with scaler_of(case) as scaler:
        assert isinstance(scaler, Static)
        assert scaler.replicas == size


def test_a_timetable_starts_with_its_first_entry() -> None:
    for use in (0.25, 2.5):
        case = replace(CASE, scaler=f"hindsight:{use}")
        assert start_of(case) == timetable(case, use).timetable[0][1]


def test_fixed_fleets_and_both_variant_autoscalers_play() -> None:
    assert "static" in {player.name for player in players(full=False) if player.installable and player.tuned}
    assert {"static", "wva-v1", "wva-v2"} <= {player.name for player in players(full=True)}
