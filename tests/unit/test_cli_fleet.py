"""`andante plan`, `andante simulate --trace` and `andante compare` on a small service, through the command line."""

from __future__ import annotations

import json
import re
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.scheduling.stock import BEST, StockFlags

import andante
from andante.cli import compare_command
from andante.cli.fleet_case import VLLM_WATERMARK, Scheduler, read_case
from andante.cli.fleet_scores import minutes, per_class
from andante.sim.fleet.scaler import Static
from unit.run_cli import run_cli

PROFILE: dict[str, Any] = {
    "name": "small", "model": "m", "gpu": "g", "tensor_parallel": 2, "kv_capacity_tokens": 4_000, "block_size": 16,
    "max_num_seqs": 4, "max_num_batched_tokens": 512, "price_per_replica_hour": 3.6,
    "warmup_seconds": {"median": 10, "p95": 20},
    "coefficients": {
        "fixed_us": 50_000, "prefill_step_us": 0, "weight_floor_us": 0, "token_us": 1, "pair_us": 0, "decode_seq_us": 1,
        "context_token_us": 0,
    },
}  # fmt: skip
"""Serves four answers of 20 tokens a second."""


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a profile and a trace of 20 seconds with six requests each."""
    units = {"time": "us", "price": "USD per hour", "warmup": "s"}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({"version": 1, "units": units, "profiles": [PROFILE]}))
    lines = [f"{i / 6:.3f},50,20,{'voice' if i % 4 == 0 else ''}" for i in range(120)]
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,qoe_class", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ON = ("--trace", "trace.csv", "--profile", "small.yaml")


def test_plan_names_the_fewest_replicas_that_are_enough(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "plan", *ON, "--json", "plan.json") == 0
    assert "2 replicas: the fewest with which 99 % of the requests are good" in capsys.readouterr().out
    document = json.loads((files / "plan.json").read_text())
    assert document["replicas"] == 2
    curve = document["curve"]
    assert [row["replicas"] for row in curve] == [1, 2, 3, 4]
    assert [row["meets_objective"] for row in curve] == [False, True, True, True]
    assert curve[0]["mean_qoe"] < curve[1]["mean_qoe"]
    assert curve[0]["ttft_s"]["p95"] > 2 > curve[1]["ttft_s"]["p95"]
    assert curve[1]["cost_usd_per_hour"] == pytest.approx(2 * 3.6)
    assert curve[1]["cost_usd_per_1000_good"] == pytest.approx(1000 * 7.2 * (119 / 6 / 3600) / 120, rel=1e-3)


def test_plan_takes_another_price(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    given = ("--price-per-hour", 10, "--max", 2, "--json", "plan.json")
    assert run_cli(monkeypatch, "plan", *ON, *given) == 0
    assert json.loads((files / "plan.json").read_text())["curve"][0]["cost_usd_per_hour"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--max", 1), "A request that is alone is served in time: raise --max."),
        (
            ("--max", 2, "--class", "hasty", "--expected-ttft", 0.001, "--pace", 100),
            "% are good: more replicas do not help. Take a faster GPU",
        ),
    ],
    ids=["too few", "too slow"],
)
def test_plan_says_why_no_number_is_enough(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str],
    options: tuple[Any, ...], why: str,
) -> None:  # fmt: skip
    assert run_cli(monkeypatch, "plan", *ON, *options) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "No number of replicas up to" in said
    assert why in said


def test_simulate_writes_scores_and_every_minute(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    given = ("--scaler", "static:2", "--scheduler", "fcfs", "--seed", 7, "--json")
    assert run_cli(monkeypatch, "simulate", *ON, *given, "one.json") == 0
    assert run_cli(monkeypatch, "simulate", *ON, *given, "two.json") == 0
    assert (files / "one.json").read_text() == (files / "two.json").read_text()
    document = json.loads((files / "one.json").read_text())
    settings, scores = document["settings"], document["scores"]
    assert (settings["seed"], settings["scheduler"], settings["scaler"]) == (7, "fcfs", "static:2")
    assert settings["andante"] == andante.__version__
    assert scores["requests"] == 120 == sum(minute["requests"] for minute in document["minutes"])
    assert scores["gpu_hours"] == pytest.approx(2 * scores["replica_hours"])
    assert {name: found["requests"] for name, found in document["classes"].items()} == {"reading": 90, "voice": 30}
    assert document["minutes"][0]["replicas_ready"] == 2


def test_simulate_lets_a_law_add_replicas(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    lines = [f"{i / 8:.3f},50,20" for i in range(720)]
    (files / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *lines]) + "\n")
    given = ("--warmup", 1, "--max", 5, "--json", "run.json")
    for scaler in ("andante", "hpa-waiting"):
        assert run_cli(monkeypatch, "simulate", *ON, "--scaler", scaler, *given) == 0
        changes = json.loads((files / "run.json").read_text())["changes"]
        assert changes[0] == {"at_s": 0.0, "replicas": 1}
        assert 1 < changes[-1]["replicas"] <= 5


def test_compare_shows_each_pair_with_its_interval(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--scalers", "static:1,static:2", "--seeds", 2, "--jobs", 1, "--json", "all.json", "--report", "all.html")
    assert run_cli(monkeypatch, "compare", *ON, *given, columns=80) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.startswith("static:1   fcfs")]
    assert len(rows) == len([line for line in lines if line.startswith("scaler     scheduler")]) > 1
    assert "±" in rows[0]
    assert sum(len(re.split("  +", row)) - 2 for row in rows) == 8  # each score once, and whole
    document = json.loads((files / "all.json").read_text())
    summary = {(row["scaler"], row["scheduler"]): row for row in document["summary"]}
    assert set(summary) == {(f"static:{n}", s) for n in (1, 2) for s in ("fcfs", "qoe")}
    assert summary["static:1", "fcfs"]["mean_qoe"]["mean"] < summary["static:2", "fcfs"]["mean_qoe"]["mean"]
    assert summary["static:1", "fcfs"]["mean_qoe"]["half_width"] > 0
    assert [run["seed"] for run in document["runs"]] == [0, 1] * 4
    page = (files / "all.html").read_text()
    assert "<td>fcfs</td>" in page
    assert "vLLM&#x27;s own schedulers with its best flags (--watermark 0.02)" in page
    assert document["settings"]["fcfs_and_priority_flags"] == "--watermark 0.02"
    assert not any(f"{tag}=" in page.split("<script", 1)[0] for tag in ("src", "href"))


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("plan", ("--class", "quick"), "--class: no preset 'quick'"),
        ("plan", ("--duration", 0.1), "--rate-scale/--duration: fewer than two requests"),
        ("simulate", ("--scaler", "static"), "scaler 'static': give it a number of replicas from 1 to --max (16)"),
        ("simulate", ("--scaler", "static:17"), "scaler 'static:17': give it a number of replicas"),
        ("simulate", ("--scaler", "magic"), "scaler 'magic': no law is named 'magic'; there are"),
        ("simulate", ("--scaler", "andante:x=1"), "scaler andante: 'x=1' is not setting=value; settings are mean"),
        ("simulate", ("--min", 3, "--max", 2), "--min/--start/--max: must ascend, got 3, 3 and 2"),
        ("simulate", ("--warmup", "soon"), "--warmup: 'soon' is neither from-profile nor seconds > 0"),
        ("simulate", ("--predict", "p.csv"), "--trace: is not for a recorded run"),
        ("compare", ("--scalers", "static:1", "--schedulers", "lifo"), "--schedulers: 'lifo' is none of fcfs"),
        ("compare", ("--scalers", "andante,andante"), "--scalers: 'andante' comes twice"),
        ("compare", ("--scalers", "andante:mean=2"), "scaler andante: mean must be a QoE between 0 and 1, got 2"),
        ("plan", ("--rate-scale", "nan"), "--rate-scale"),
        ("plan", ("--rate-scale", "inf"), "--rate-scale: must be a finite number, got inf"),
        ("plan", ("--target-qoe", "nan"), "--target-qoe"),
        ("plan", ("--good-fraction", "nan"), "--good-fraction"),
        ("simulate", ("--duration", "inf"), "--duration: must be a finite number, got inf"),
        ("simulate", ("--price-per-hour", "nan"), "--price-per-hour"),
        ("compare", ("--scalers", "andante", "--report", "no/where.html"), "--report: there is no directory no"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str],
    command: str, options: tuple[Any, ...], message: str,
) -> None:  # fmt: skip
    assert run_cli(monkeypatch, command, *ON, *options) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_request_that_no_replica_can_hold_is_named(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = files / "trace.csv"
    trace.write_text(trace.read_text() + "30.0,4000,20,\n")
    assert run_cli(monkeypatch, "plan", *ON) == 2
    said = capsys.readouterr().err
    assert (
        "request 121 (after 30.000 s): its 4020 tokens do not fit into the 4000 tokens of the KV cache of small" in said
    )


def test_settings_stay_with_their_scaler(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    scalers = "andante:mean=0.9,down_window=60,static:2"
    given = ("--scalers", scalers, "--schedulers", "qoe", "--seeds", 1, "--jobs", 1, "--json", "all.json")
    assert run_cli(monkeypatch, "compare", *ON, *given) == 0
    settings = json.loads((files / "all.json").read_text())["settings"]
    assert settings["scalers"] == ["andante:mean=0.9,down_window=60", "static:2"]


@pytest.fixture
def overloaded(monkeypatch: pytest.MonkeyPatch, files: Path) -> Path:
    """With steps so slow that one replica is not through a day (here: 200 s) after the last arrival; two are."""
    monkeypatch.setattr("andante.sim.fleet.run._LONGEST_REST", 200.0)
    slow = {**PROFILE, "coefficients": {**PROFILE["coefficients"], "fixed_us": 500_000}}
    units = {"time": "us", "price": "USD per hour", "warmup": "s"}
    (files / "small.yaml").write_text(yaml.safe_dump({"version": 1, "units": units, "profiles": [slow]}))
    return files


def test_replicas_that_are_not_through_within_a_day_are_not_enough(
    monkeypatch: pytest.MonkeyPatch, overloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "plan", *ON, "--max", 2, "--json", "plan.json") == 1
    assert [row["replicas"] for row in json.loads((overloaded / "plan.json").read_text())["curve"]] == [2]
    assert "With 1 or fewer, requests are still open a day after the last arrival." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("plan", ("--max", 1), "--max: with 1 replica requests are still open a day after the last arrival"),
        ("simulate", ("--scaler", "static:1"), "scaler 'static:1' with qoe: requests are still open a day after"),
        (
            "compare",
            ("--scalers", "static:1", "--schedulers", "fcfs", "--seeds", 1),
            "scaler 'static:1' with fcfs: requests are still open a day after the last arrival; raise --min or --max",
        ),
    ],
)
def test_a_fleet_that_is_too_small_is_named(
    monkeypatch: pytest.MonkeyPatch, overloaded: Path, capsys: pytest.CaptureFixture[str],
    command: str, options: tuple[Any, ...], message: str,
) -> None:  # fmt: skip
    assert run_cli(monkeypatch, command, *ON, *options) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_defect_of_the_simulator_stays_one(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    from andante.sim.fleet import run
    from andante.sim.run import SimulationError

    def broken(*_: Any, **__: Any) -> None:
        raise SimulationError("3 KV blocks of a replica are lost")

    monkeypatch.setattr(run, "run_fleet", broken)
    with pytest.raises(SimulationError, match="KV blocks"):
        run_cli(monkeypatch, "plan", *ON)


def test_several_processes_give_the_same(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    given = ("--scalers", "static:1,static:2", "--schedulers", "fcfs", "--seeds", 2, "--json")
    for jobs in (1, 2):
        assert run_cli(monkeypatch, "compare", *ON, *given, f"{jobs}.json", "--jobs", jobs) == 0
    assert (files / "1.json").read_text() == (files / "2.json").read_text()


def test_a_process_that_the_system_ends_is_told(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended:
        def __init__(self, **_: Any) -> None:
            raise BrokenProcessPool

    monkeypatch.setattr(compare_command, "ProcessPoolExecutor", Ended)
    given = ("--scalers", "static:1", "--schedulers", "fcfs", "--seeds", 2, "--jobs", 2)
    assert run_cli(monkeypatch, "compare", *ON, *given) == 2
    assert "--jobs: a process of 2 was ended from outside" in capsys.readouterr().err


def test_there_is_no_plan_for_batch_requests_alone(
    monkeypatch: pytest.MonkeyPatch, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = files / "trace.csv"
    trace.write_text(trace.read_text().replace("voice", ""))
    assert run_cli(monkeypatch, "plan", *ON, "--class", "batch") == 2
    assert "--trace/--class: all requests are batch requests" in capsys.readouterr().err
    assert run_cli(monkeypatch, "simulate", *ON, "--class", "batch", "--scaler", "static:1", "--json", "b.json") == 0
    scores = json.loads((files / "b.json").read_text())["scores"]
    assert (scores["share_good"], scores["meets_objective"]) == (None, None)


def _case(**options: Any) -> Any:
    usual: dict[str, Any] = {
        "class_name": "reading", "expected_ttft": None, "pace": None, "target_qoe": 0.95, "good_fraction": 0.99,
        "rate_scale": 1.0, "duration": None, "price": None, "command": "andante plan",
    }  # fmt: skip
    return read_case(Path("trace.csv"), "small.yaml", **usual | options)


def test_the_usual_class_is_the_service_s_even_where_no_request_has_it(files: Path) -> None:
    lines = [f"{i},50,20,voice" for i in range(9)]
    (files / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,qoe_class", *lines]) + "\n")
    case = _case()
    assert [each.name for each in case.classes] == ["reading", "voice"]
    assert {case.classes[place].name for place in case.requests.class_index} == {"voice"}
    outcome = case.run(Static(1), start=1)
    assert list(per_class(case, outcome)) == ["voice"]


def test_stock_schedulers_have_the_flags_of_the_benchmarks(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from andante.sim.fleet import run

    assert StockFlags(watermark=VLLM_WATERMARK) == BEST
    case, engines = _case(), []
    monkeypatch.setattr(run, "run_fleet", lambda _, engine, *__, **___: engines.append(engine))
    for scheduler in Scheduler:
        case.run(Static(1), start=1, scheduler=scheduler)
    free = int(0.02 * 251)
    assert [(each.watermark_blocks, each.by_priority) for each in engines] == [(free, False), (free, True), (0, False)]


def test_the_last_arrivals_are_in_a_minute(files: Path) -> None:
    lines = [f"{i},50,20" for i in range(0, 121, 10)]
    (files / "trace.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *lines]) + "\n")
    found = minutes(_case().run(Static(1), start=1))
    assert [minute["requests"] for minute in found] == [6, 6, 1]
