"""The demo in the simulator: the rival's autoscaler as a law, and the service's own engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.bench_demo import warm_up
from benchmarks.demo_simulated import QueueAutoscaler, profile_of, simulated
from hack.demo.rival import Targets, autoscaler

from andante.api.v1alpha1 import LLMService
from andante.domain.pace import PRESETS
from andante.domain.trace import TraceRequest
from andante.profiles import load_profiles
from unit.sim_seen import pod, seen, starting

EXAMPLE = yaml.safe_load((Path(__file__).parents[2] / "examples" / "llmservice.yaml").read_text())


def _law() -> QueueAutoscaler:
    return QueueAutoscaler(waiting=2, in_flight=32, min_replicas=1, max_replicas=3, wait_to_shrink=60)


@pytest.mark.parametrize(
    ("running", "waiting", "wanted"), [(30, 0, 1), (34, 0, 1), (36, 0, 2), (60, 3, 2), (60, 5, 3), (60, 90, 3)]
)
def test_the_larger_of_both_metrics_counts(running: float, waiting: float, wanted: int) -> None:
    assert _law().wanted(seen(0.0, (pod(running=running, waiting=waiting),))) == wanted


def test_a_pod_that_starts_counts_as_a_replica_and_has_no_requests() -> None:
    assert _law().wanted(seen(0.0, (pod(running=60.0), starting("pod-1")))) == 2


def test_it_shrinks_after_its_wait() -> None:
    law, quiet = _law(), (pod("a"), pod("b"))
    assert law.wanted(seen(0.0, (pod("a", running=40.0), pod("b", running=20.0)))) == 2
    assert [law.wanted(seen(at, quiet)) for at in (30.0, 55.0, 65.0)] == [2, 2, 1]


def test_it_has_the_rules_of_the_real_one() -> None:
    behavior = autoscaler(EXAMPLE, Targets())["spec"]["behavior"]
    up, down = _law().behavior()
    assert (up.window, down.window) == (0.0, behavior["scaleDown"]["stabilizationWindowSeconds"])
    for rules, told in ((up, behavior["scaleUp"]), (down, behavior["scaleDown"])):
        policies = [{"type": p.unit.value, "value": p.value, "periodSeconds": p.period} for p in rules.policies]
        assert policies == told["policies"]


def test_the_engine_is_the_services_virtual_gpu() -> None:
    profile = profile_of(LLMService.parse(EXAMPLE))
    plain = load_profiles()["llama-3-8b-1xa100"]
    assert profile.coefficients == plain.coefficients.scaled(4.0)
    assert (profile.kv_capacity_tokens, profile.max_num_seqs, profile.max_num_batched_tokens) == (61440, 64, 2048)


@pytest.mark.parametrize("rival", [None, {"waiting": 2.0, "in_flight": 32.0}], ids=["ours", "the rival"])
def test_every_replica_is_paid_until_the_end(rival: Any) -> None:
    requests = [TraceRequest(arrival_s=float(at), prompt_tokens=100, output_tokens=20) for at in range(30)]
    outcome = simulated(EXAMPLE["spec"], requests, PRESETS["reading"], warm_up=30.0, until=120.0, rival=rival)
    assert 60 * outcome.replica_hours == pytest.approx(2.0)
    assert outcome.mean_qoe == pytest.approx(1.0)


def test_the_warm_up_is_the_sides_own_where_it_bought_something() -> None:
    def bought(*seconds: float | None) -> dict[str, Any]:
        return {"purchases": [{"warm_up_s": each} for each in seconds]}

    sides = {"ours": bought(30.0, None, 40.0), "theirs": bought(None)}
    assert (warm_up(sides, "ours"), warm_up(sides, "theirs")) == (35.0, 35.0)
    with pytest.raises(ValueError, match="no warm-up"):
        warm_up({"ours": bought()}, "ours")
