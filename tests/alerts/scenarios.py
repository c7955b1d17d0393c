"""All scenarios. In each of them no alert may fire that the scenario does not name."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.scenario import NAMESPACE, Fires, H, Operator, Scenario
from alerts.series import Engine, Phase
from andante.domain.slo.alerts import BUDGET_SPENT, BURN_FAST, BURN_SLOW, BURN_TREND
from andante.domain.slo.fleet_alerts import (
    AT_MAXIMUM,
    FLAPPING,
    METRICS_MISSING,
    METRICS_PARTIAL,
    OPERATOR_DOWN,
    OPERATOR_STUCK,
    PREEMPTION_BILL,
    SCALING_BLOCKED,
    STOCK_SCHEDULING,
    STREAMS_STALLED,
    UNSCHEDULABLE,
)


def _engine(*phases: Phase, **more: object) -> Engine:
    return Engine(phases=phases, **more)  # type: ignore[arg-type]


def _one(*phases: Phase) -> tuple[Engine, ...]:
    return (_engine(*phases),)


def _twice(*phases: Phase) -> tuple[Engine, ...]:
    """One engine, by two scrape jobs."""
    return tuple(_engine(*phases, job=job) for job in ("engines", "engines-again"))


def _calm(minutes: int, requests: float = 300) -> Phase:
    """Two bad answers of a thousand, as in a healthy service."""
    return Phase(minutes=minutes, requests=requests, bad=0.002)


def _all(after: int, *, fast: int, trend: int) -> dict[str, Fires]:
    """The burn alerts of a fault that pages fast, and so not slowly too; each some minutes after it began."""
    by = {BURN_FAST: fast, BURN_TREND: trend}
    return {name: Fires(after=after, by=after + minutes) for name, minutes in by.items()}


def _condition(kind: str, status: str, reason: str, *, good: float | None = None) -> Operator:
    return Operator(conditions=((kind, status, reason),), good=good)


_IDLE = _one(Phase(minutes=H))

# The rules of a promise, evaluated each minute as in a cluster.
BUDGET: Mapping[str, Scenario] = {
    "an outage": Scenario(
        engines=_one(_calm(3 * H), Phase(minutes=H, requests=300, bad=1)),
        fires=_all(3 * H, fast=5, trend=6),
    ),
    "a fifth of the answers is bad": Scenario(
        engines=_one(_calm(3 * H), Phase(minutes=80, requests=300, bad=0.2)),
        fires=_all(3 * H, fast=20, trend=30),
    ),
    "an outage through a restart of the engine": Scenario(
        engines=_one(
            _calm(3 * H), Phase(minutes=2, requests=300, bad=1), Phase(minutes=58, requests=300, bad=1, reset=True)
        ),
        fires=_all(3 * H, fast=6, trend=7),
    ),
    "an outage that Prometheus does not see for ten minutes": Scenario(
        engines=_one(
            _calm(3 * H),
            Phase(minutes=10, requests=300, bad=1, seen=False),
            Phase(minutes=50, requests=300, bad=1),
        ),
        fires=_all(3 * H + 10, fast=3, trend=6),
        operator=Operator(ready=((3 * H, 1), (10, 0), (50, 1))),
    ),
    "ten minutes without a scrape": Scenario(
        engines=_one(_calm(2 * H), Phase(minutes=10, requests=300, seen=False), _calm(H)),
        operator=Operator(ready=((2 * H, 1), (10, 0), (H, 1))),
    ),
    "all pods are replaced": Scenario(
        engines=(
            _engine(_calm(H), Phase(minutes=H, seen=False), pod="chat-old"),
            _engine(Phase(minutes=H, seen=False), _calm(H), pod="chat-new"),
        ),
        operator=Operator(ready=((2 * H, 1),)),
    ),
    "from zero to one and back": Scenario(
        engines=_one(Phase(minutes=H, seen=False), _calm(H), Phase(minutes=H, seen=False)),
        operator=Operator(ready=((H, 0), (H, 1), (H, 0))),
    ),
    "the first hour of a service": Scenario(engines=_one(Phase(minutes=H, requests=300, bad=0.01))),
    "an outage in the first hour": Scenario(
        engines=_one(_calm(20), Phase(minutes=40, requests=300, bad=1)),
        fires=_all(20, fast=3, trend=9),
    ),
    "ten times the traffic, and too few engines": Scenario(
        engines=_one(_calm(3 * H), Phase(minutes=H, requests=3000, bad=0.2)),
        fires=_all(3 * H, fast=10, trend=10),
    ),
    "an outage under a promise over two days": Scenario(
        service="two-days",
        engines=_one(_calm(3 * H), Phase(minutes=30, requests=300, bad=1), _calm(30)),
        fires={BURN_FAST: Fires(after=3 * H, by=3 * H + 8, over=4 * H - 1)},
    ),
    "an outage of a new engine beside one of an older version": Scenario(
        # The older one counts good requests, and no others that could be compared.
        engines=(
            _engine(_calm(4 * H, requests=3000), pod="chat-old", without=frozenset({"andante_requests_scored_total"})),
            _engine(_calm(3 * H), Phase(minutes=H, requests=300, bad=1), pod="chat-new"),
        ),
        fires=_all(3 * H, fast=5, trend=6),
    ),
    "three bad answers in an hour, scraped by two jobs": Scenario(
        engines=_twice(Phase(minutes=H), Phase(minutes=H, requests=3, bad=1)), operator=Operator(ready=((2 * H, 1),))
    ),
    "the same under a promise over two days": Scenario(
        service="two-days",
        engines=_twice(Phase(minutes=H), Phase(minutes=H, requests=3, bad=1)),
        operator=Operator(ready=((2 * H, 1),)),
    ),
    "an outage, scraped by two jobs, one of which begins with it": Scenario(
        engines=(
            _engine(_calm(3 * H), Phase(minutes=H, requests=300, bad=1), job="engines"),
            _engine(
                Phase(minutes=3 * H, requests=300, seen=False),
                Phase(minutes=H, requests=300, bad=1),
                job="engines-again",
            ),
        ),
        operator=Operator(ready=((4 * H, 1),)),
        fires=_all(3 * H, fast=5, trend=6),
    ),
    "batch alone": Scenario(
        engines=(_engine(Phase(minutes=2 * H, requests=300, bad=1, open=30), batch=True, qoe_class="batch"),),
    ),
    "a drain that cuts two streams": Scenario(
        engines=(
            _engine(
                _calm(3 * H),
                Phase(minutes=1, requests=120, bad=1),
                Phase(minutes=H - 1, seen=False),
            ),
            _engine(_calm(4 * H), pod="chat-1"),
        ),
        operator=Operator(ready=((3 * H, 2), (H, 1))),
    ),
    "a drain that cuts thirty streams": Scenario(
        engines=(
            _engine(
                _calm(3 * H, requests=150),
                Phase(minutes=1, requests=1800, bad=1),
                Phase(minutes=H - 1, seen=False),
            ),
            _engine(Phase(minutes=4 * H, requests=150), pod="chat-1"),
        ),
        operator=Operator(ready=((3 * H, 2), (H, 1))),
        fires={
            BURN_FAST: Fires(after=3 * H, by=3 * H + 2, over=3 * H + 20),
            BURN_TREND: Fires(after=3 * H, by=3 * H + 6),
        },
    ),
    "an outage that ended": Scenario(
        engines=_one(_calm(3 * H), Phase(minutes=20, requests=300, bad=1), _calm(100)),
        fires={
            BURN_FAST: Fires(after=3 * H, by=3 * H + 5, over=3 * H + 20 + 17),
            BURN_TREND: Fires(after=3 * H, by=3 * H + 6),
        },
    ),
    "two bad minutes of many": Scenario(
        engines=_one(_calm(3 * H, requests=3000), Phase(minutes=2, requests=3000, bad=0.25), _calm(20, requests=3000)),
    ),
    "ten bad minutes of many": Scenario(
        engines=_one(_calm(3 * H, requests=3000), Phase(minutes=10, requests=3000, bad=0.15), _calm(20, requests=3000)),
    ),
    "requests that are open and late": Scenario(
        # Few requests end any more: those that wait show that it goes on.
        engines=_one(
            _calm(3 * H),
            Phase(minutes=40, requests=300, bad=0.1),
            Phase(minutes=10, requests=30, open=40, open_bad=40, tokens=600),
            _calm(70),
        ),
        fires={
            BURN_FAST: Fires(after=3 * H + 30, by=3 * H + 46, over=4 * H + 30),
            BURN_TREND: Fires(after=3 * H, by=4 * H),
        },
    ),
    "more was bad than may be": Scenario(
        engines=_one(_calm(2 * H)),
        operator=Operator(remaining=((H, 1), (H, -1))),
        fires={BUDGET_SPENT: Fires(after=H + 10, by=H + 22)},
    ),
    "the budget is spent to the last request": Scenario(
        engines=_one(_calm(2 * H)), operator=Operator(remaining=((2 * H, 0),))
    ),
}

# The same over longer times, scraped each minute and evaluated each five: a minute more or less changes nothing here.
DAYS: Mapping[str, Scenario] = {
    "a healthy day": Scenario(engines=_one(_calm(12 * H))),
    "4 % for hours": Scenario(
        engines=_one(_calm(6 * H), Phase(minutes=12 * H, requests=300, bad=0.04), _calm(2 * H)),
        fires={
            BURN_SLOW: Fires(after=8 * H, by=12 * H, over=19 * H),
            BURN_TREND: Fires(after=6 * H, by=9 * H),
        },
    ),
    "an outage, and 4 % for hours after it": Scenario(
        engines=_one(_calm(6 * H), Phase(minutes=H, requests=300, bad=1), Phase(minutes=5 * H, requests=300, bad=0.04)),
        fires={
            BURN_FAST: Fires(after=6 * H, by=6 * H + 10, over=8 * H),
            BURN_SLOW: Fires(after=7 * H + 30, by=8 * H + 30),
            BURN_TREND: Fires(after=6 * H, by=6 * H + 15),
        },
    ),
    "almost 3 % for a day": Scenario(
        engines=_one(_calm(6 * H), Phase(minutes=24 * H, requests=300, bad=0.028)),
        fires={BURN_TREND: Fires(after=6 * H, by=10 * H)},
    ),
    "one bad answer at night": Scenario(
        engines=_one(_calm(6 * H), Phase(minutes=3 * H), Phase(minutes=H, requests=1, bad=1), Phase(minutes=2 * H)),
    ),
    "three bad answers of three": Scenario(engines=_one(Phase(minutes=11 * H), Phase(minutes=H, requests=3, bad=1))),
    "ten times the traffic": Scenario(engines=_one(_calm(6 * H), _calm(6 * H, requests=3000))),
    "8 % under a promise of 95 %": Scenario(
        service="s95",
        engines=_one(_calm(3 * H), Phase(minutes=9 * H, requests=300, bad=0.08)),
        fires={BURN_TREND: Fires(after=6 * H, by=11 * H)},
    ),
    "8 % under a promise of 99 %": Scenario(
        engines=_one(_calm(6 * H), Phase(minutes=6 * H, requests=300, bad=0.08)),
        fires=_all(6 * H, fast=55, trend=90),
    ),
    "2 % under a promise of 99.9 %": Scenario(
        service="s999",
        engines=_one(Phase(minutes=6 * H, requests=300), Phase(minutes=6 * H, requests=300, bad=0.02)),
        fires=_all(6 * H, fast=60, trend=150),
    ),
    "a few bad answers after days of much traffic": Scenario(
        engines=_one(_calm(24 * H, requests=6000), _calm(6 * H, requests=40), Phase(minutes=H, requests=100, bad=0.13)),
    ),
    "a quiet evening with a bad hour after days of much traffic": Scenario(
        engines=_one(
            _calm(24 * H, requests=6000), _calm(6 * H, requests=100), Phase(minutes=H, requests=100, bad=0.25)
        ),
        fires={BURN_FAST: Fires(after=30 * H, by=31 * H - 1)},
    ),
    "a bad quiet evening, too slow for the fast alert, after a day of much traffic": Scenario(
        engines=_one(Phase(minutes=24 * H, requests=6000), Phase(minutes=6 * H + 20, requests=100, bad=0.05)),
    ),
    "one class of two is served badly": Scenario(
        engines=(
            _engine(Phase(minutes=30 * H, requests=1000), qoe_class="reading"),
            _engine(
                Phase(minutes=2 * H, requests=30),
                Phase(minutes=16 * H, requests=30, bad=0.06),
                Phase(minutes=12 * H, requests=30),
                qoe_class="voice",
            ),
        ),
        operator=Operator(ready=((30 * H, 1),)),
        fires={BURN_TREND: Fires(after=3 * H, by=9 * H, over=26 * H)},
    ),
    "a few bad answers of a class": Scenario(
        engines=(
            _engine(Phase(minutes=12 * H, requests=1000), qoe_class="reading"),
            _engine(Phase(minutes=12 * H, requests=30, bad=0.02), qoe_class="voice"),
        ),
        operator=Operator(ready=((12 * H, 1),)),
    ),
    "a few bad answers of each of two classes": Scenario(
        engines=tuple(
            _engine(
                Phase(minutes=4 * H, requests=30),
                Phase(minutes=12 * H, requests=30, bad=0.02),
                qoe_class=qoe_class,
            )
            for qoe_class in ("reading", "voice")
        ),
        operator=Operator(ready=((16 * H, 1),)),
        fires={BURN_TREND: Fires(after=8 * H, by=16 * H)},
    ),
    "a class had a bad hour after a good day": Scenario(
        engines=(
            _engine(Phase(minutes=27 * H, requests=1000), qoe_class="reading"),
            _engine(
                Phase(minutes=25 * H, requests=100), Phase(minutes=2 * H, requests=100, bad=0.08), qoe_class="voice"
            ),
        ),
        operator=Operator(ready=((27 * H, 1),)),
    ),
    "a bad quarter of a day after two good days": Scenario(
        service="one-class",
        engines=_one(Phase(minutes=48 * H, requests=300), Phase(minutes=6 * H, requests=300, bad=0.05)),
        fires={BURN_SLOW: Fires(after=48 * H, by=53 * H)},
    ),
    "a few bad answers in a day": Scenario(
        service="one-class", engines=_one(Phase(minutes=24 * H, requests=25, bad=0.0135))
    ),
    "a trend that ended": Scenario(
        service="one-class",
        engines=_one(Phase(minutes=12 * H, requests=300, bad=0.025), Phase(minutes=12 * H, requests=300)),
        fires={BURN_TREND: Fires(after=60, by=4 * H, over=19 * H)},
    ),
    "few bad answers after a day of much traffic": Scenario(
        service="one-class",
        engines=_one(Phase(minutes=18 * H, requests=9000), Phase(minutes=74 * H, requests=20, bad=0.02)),
    ),
}

# The alerts beyond the budget.
FLEET: Mapping[str, Scenario] = (
    {
        "an engine hangs": Scenario(
            engines=_one(_calm(H), Phase(minutes=H, open=20, tokens=0)),
            fires={STREAMS_STALLED: Fires(after=H, by=H + 8)},
        ),
        "an engine is idle": Scenario(engines=_IDLE),
        "the first request has a long prompt": Scenario(
            engines=_one(Phase(minutes=30), Phase(minutes=1, open=1, tokens=0), Phase(minutes=29, requests=60)),
        ),
        "the engine's series have no label llmservice": Scenario(
            operator=Operator(ready=((10, 0), (50, 1))), fires={METRICS_MISSING: Fires(after=12, by=17)}
        ),
        "no replica": Scenario(operator=Operator(ready=((H, 0),))),
        "an engine is not scraped": Scenario(
            engines=_one(_calm(2 * H)),
            operator=Operator(ready=((H, 1), (H, 2))),
            fires={METRICS_PARTIAL: Fires(after=H + 5, by=H + 12)},
        ),
        "the operator is down": Scenario(
            engines=_one(_calm(H)),
            operator=Operator(ticks=None),
            fires={OPERATOR_DOWN: Fires(after=5, by=12)},
        ),
        "the operator is stuck": Scenario(
            engines=_one(_calm(H)),
            operator=Operator(ticks=False),
            fires={OPERATOR_STUCK: Fires(after=3, by=22)},
        ),
        "another writes the replicas": Scenario(
            engines=_one(_calm(H)),
            operator=_condition("AbleToScale", "False", "ForeignOwner"),
            fires={SCALING_BLOCKED: Fires(after=15, by=22)},
        ),
        "the scaler has no metrics": Scenario(
            engines=_one(_calm(H)),
            operator=_condition("ScalingActive", "False", "MetricsMissing"),
            fires={SCALING_BLOCKED: Fires(after=15, by=22)},
        ),
        "scaling is manual": Scenario(engines=_one(_calm(H)), operator=_condition("ScalingActive", "False", "Manual")),
        "at the maximum, and readers are served well": Scenario(
            engines=_one(_calm(H)), operator=_condition("AbleToScale", "False", "MaxReplicas", good=0.99)
        ),
        "at the maximum, and readers are served badly": Scenario(
            engines=_one(_calm(H)),
            operator=_condition("AbleToScale", "False", "MaxReplicas", good=0.9),
            fires={AT_MAXIMUM: Fires(after=15, by=22)},
        ),
        "not at the maximum, and readers are served badly": Scenario(
            engines=_one(_calm(H)), operator=_condition("AbleToScale", "False", "RateLimited", good=0.9)
        ),
        "no node has a GPU left": Scenario(
            engines=_one(_calm(H)),
            operator=_condition("Degraded", "True", "Unschedulable"),
            fires={UNSCHEDULABLE: Fires(after=15, by=22)},
        ),
        "an image that cannot be pulled": Scenario(
            engines=_one(_calm(H)), operator=_condition("Degraded", "True", "ImagePullFailed")
        ),
        "a vLLM that is not tested": Scenario(
            engines=_one(_calm(H)),
            operator=_condition("EngineCompatible", "False", "EngineVersionUntested"),
            fires={STOCK_SCHEDULING: Fires(after=10, by=17)},
        ),
        "vLLM's own scheduling, as asked for": Scenario(
            engines=_one(_calm(H)), operator=_condition("EngineCompatible", "True", "StockScheduling")
        ),
        "replicas go up and down": Scenario(
            engines=_one(_calm(3 * H)),
            operator=Operator(desired=tuple((10, 2 + step % 2) for step in range(18))),
            fires={FLAPPING: Fires(after=60, by=110)},
        ),
        "replicas go up for hours": Scenario(
            engines=_one(_calm(3 * H)),
            operator=Operator(desired=tuple((10, 2 + step) for step in range(18))),
        ),
        "replicas go down for hours": Scenario(
            engines=_one(_calm(3 * H)),
            operator=Operator(desired=tuple((10, 20 - step) for step in range(18))),
        ),
        "much is computed twice": Scenario(
            engines=_one(_calm(2 * H)),
            more={
                f'andante_scheduler_recomputed_tokens_total{{namespace="{NAMESPACE}",llmservice="s99"}}': "0+200x480"
            },
            fires={PREEMPTION_BILL: Fires(after=30, by=40)},
        ),
        "a little is computed twice": Scenario(
            engines=_one(_calm(2 * H)),
            more={f'andante_scheduler_recomputed_tokens_total{{namespace="{NAMESPACE}",llmservice="s99"}}': "0+20x480"},
        ),
    }
    | {
        f"Prometheus drops {name}": Scenario(
            engines=(_engine(_calm(H), without=frozenset({name})),),
            fires={METRICS_PARTIAL: Fires(after=5, by=12)},
        )
        for name in (
            "andante_open_bad_requests",
            "andante_requests_scored_total",
            "andante_requests_good_total",
            "vllm:generation_tokens_total",
        )
    }
    | {
        "Prometheus drops andante_open_requests": Scenario(
            engines=(_engine(_calm(H), without=frozenset({"andante_open_requests"})),),
            fires={METRICS_MISSING: Fires(after=3, by=7)},
        ),
    }
)

ALL: Mapping[str, Scenario] = {**BUDGET, **DAYS, **FLEET}
