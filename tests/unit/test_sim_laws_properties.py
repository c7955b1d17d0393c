"""What holds of every law of the league, whatever it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andante.sim.fleet.seen import PodSeen, Seen
from andante.sim.laws.registry import LAWS, build
from unit.sim_seen import pod, pods, seen, starting, traffic

HOLD_WITHOUT_A_SOURCE = sorted(set(LAWS) - {"static", "overshoot-guard"})
"""The others ask for their number, or for KEDA's fallback, whatever they read."""
HOLD_WITHOUT_SERIES = (
    "hpa-kv-use", "knative", "aibrix-apa", "wva-v1", "wva-v2", "dynamo-easy-latency", "dynamo-easy-throughput",
    "dynamo-sla",
)  # fmt: skip
"""Laws to which a missing series is not 0. To KEDA it is, by default."""


def _some(random: np.random.Generator, most: float, *, missing: float = 0.2) -> float | None:
    """A figure up to `most`, which now and then is 0 and now and then is missing."""
    drawn = float(random.random())
    return None if drawn < missing else 0.0 if drawn < 0.4 else float(random.random()) * most


def _pod(random: np.random.Generator, index: int) -> PodSeen:
    if random.random() < 0.3:
        return starting(f"p{index}", pending=bool(random.random() < 0.5))
    use = _some(random, 1.0)
    figures = {"running": 500.0, "waiting": 500.0, "queued_prompt_tokens": 1e5}
    return pod(
        f"p{index}",
        kv_use=use,
        tokens_in_use=None if use is None else use * 1e5,
        **{name: _some(random, most) for name, most in figures.items()},
    )


@st.composite
def histories(draw: st.DrawFn) -> list[Seen]:
    """Up to 25 snapshots, 5 to 40 s apart, with figures that are missing here and there; counters never fall."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    now, requests, found = 0.0, 0.0, []
    for _ in range(draw(st.integers(1, 25))):
        now += float(random.uniform(5, 40))
        requests += float(random.uniform(0, 500))
        found.append(
            seen(
                now,
                tuple(_pod(random, i) for i in range(random.integers(6))),
                spec=int(random.integers(1, 13)),
                source_down=bool(random.random() < 0.2),
                totals=traffic(requests) if random.random() < 0.8 else None,
                ttft_p90=float("nan") if random.random() < 0.1 else _some(random, 30.0),
                tpot_p90=float("nan") if random.random() < 0.1 else _some(random, 1.0),
                router_waiting=_some(random, 500.0),
            )
        )
    return found


@given(histories(), st.sampled_from(sorted(LAWS)))
@settings(max_examples=150, deadline=None)
def test_every_law_keeps_its_bounds_and_answers_the_same_twice(history: list[Seen], name: str) -> None:
    one, other = (build(name, min_replicas=2, max_replicas=9) for _ in range(2))
    asked = [one.wanted(now) for now in history]
    assert all(isinstance(n, int) and 2 <= n <= 9 for n in asked)
    assert asked == [other.wanted(now) for now in history]


def _through_blindness(name: str, blind: dict[str, Any], figures: dict[str, Any]) -> tuple[int, int]:
    """What the law asked for after half a minute under load, and after ten more minutes in which it sees no load."""
    law = build(name, min_replicas=1, max_replicas=9)
    now, spec = 0.0, 6
    busy = {"running": 70.0, "kv_use": 0.6, "tokens_in_use": 60_000.0}
    while now < 30:
        spec = law.wanted(seen(now, pods(spec, **busy), totals=traffic(now), ttft_p90=1.4, tpot_p90=0.04))
        now += law.period
    before = spec
    while now < 660:
        spec = law.wanted(seen(now, pods(spec, **figures), **blind))
        now += law.period
    return before, spec


@pytest.mark.parametrize("name", HOLD_WITHOUT_A_SOURCE)
def test_no_replica_goes_while_the_source_does_not_answer(name: str) -> None:
    before, after = _through_blindness(name, {"source_down": True, "totals": None}, {})
    assert after >= before


@pytest.mark.parametrize("name", HOLD_WITHOUT_SERIES)
def test_no_replica_goes_on_missing_series_where_the_law_says_so(name: str) -> None:
    missing = {
        "kv_use": None, "running": None, "waiting": None, "tokens_in_use": None, "queued_prompt_tokens": None,
        "queued_kv_tokens": None,
    }  # fmt: skip
    before, after = _through_blindness(name, {"totals": None}, missing)
    assert after >= before


def test_keda_takes_missing_series_for_no_load() -> None:
    assert _through_blindness("hpa-waiting", {"totals": None}, {"waiting": None}) == (6, 1)
