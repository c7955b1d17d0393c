"""Laws by name and settings, and what a tuner is told of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from andante.sim.laws.aibrix import AibrixApa
from andante.sim.laws.llmd_latency import LlmdLatency, Predictor
from andante.sim.laws.registry import LAWS, build
from andante.sim.laws.static import Static

PAGE = Path(__file__).parents[2] / "docs/reference/rival-laws.md"


def test_settings_after_the_name() -> None:
    law = build("llmd-latency:ttft_target=2.5,clamped=true,predictor=warm", min_replicas=1, max_replicas=8)
    assert isinstance(law, LlmdLatency)
    assert (law.ttft_target, law.clamped, law.predictor) == (2.5, True, Predictor.WARM)


def test_static_takes_its_number_alone() -> None:
    law = build("static:4", min_replicas=1, max_replicas=8)
    assert isinstance(law, Static)
    assert law.replicas == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hpa", "no law is named 'hpa'"),
        ("aibrix-apa:goal=1", "'goal=1' is not setting=value"),
        ("aibrix-apa:target", "'target' is not setting=value"),
        ("aibrix-apa:target=much", "aibrix-apa: target: 'much'"),
        ("aibrix-apa:guard=yes", "aibrix-apa: guard: 'yes'"),
        ("aibrix-apa:period=0", "aibrix-apa: period must be a finite number > 0, got 0"),
        ("hpa-kv-use:target=0", "hpa-kv-use: target must be a finite number > 0, got 0"),
        ("hpa-kv-use:target=nan", "hpa-kv-use: target must be a finite number > 0, got nan"),
        ("dynamo-throughput:ttft=inf", "dynamo-throughput: ttft must be a finite number > 0, got inf"),
        ("capacity-planner:utilization=-1", "capacity-planner: utilization must be a finite number > 0, got -1"),
        ("hpa-waiting:down_window=-1", "hpa-waiting: down_window must be a finite number >= 0, got -1"),
        ("hpa-waiting:min_replicas=2", "'min_replicas=2' is not setting=value"),
        ("dynamo-easy-latency:up_at=0", "dynamo-easy-latency: up_at must be a finite number > 0, got 0"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        build(text, min_replicas=1, max_replicas=8)


def test_an_unknown_setting_of_a_built_law_is_named() -> None:
    with pytest.raises(ValueError, match="AibrixApa has no setting 'goal'"):
        LAWS["aibrix-apa"].build(min_replicas=1, max_replicas=8, goal=1)


def test_bounds_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="min_replicas <= max_replicas"):
        AibrixApa(min_replicas=4, max_replicas=3)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_law_can_be_tuned_around_its_defaults(name: str) -> None:
    entry = LAWS[name]
    defaults = entry.defaults()
    assert entry.parameters()
    for parameter in entry.parameters():
        assert parameter.low <= defaults[parameter.name] <= parameter.high
        for share in (0.0, 0.5, 1.0):
            value = parameter.at(share)
            assert parameter.low <= value <= parameter.high
            entry.build(min_replicas=1, max_replicas=8, **{parameter.name: value})


def test_a_tuner_starts_from_the_thresholds_of_dynamos_target() -> None:
    assert LAWS["dynamo-easy-latency"].defaults() == {"up_at": 0.4, "down_at": 0.1}
    assert LAWS["dynamo-easy-throughput"].defaults() == {"up_at": 1.0, "down_at": 0.6}


@pytest.mark.parametrize("name", sorted(LAWS))
def test_the_page_has_every_law(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text()
