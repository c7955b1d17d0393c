"""Builds the scaler of a case from its text: a law of the registry, or one of the league's own.

`static:N` or `static:replicas=N`; `hindsight:USE`; `andante:promise=mean-qoe,asked=0.95,window=120`;
`dynamo-planner:ttft=0.5,…` (the planner of ai-dynamo itself, in the environment of `make league-env`); or any text of
`andante.sim.laws.registry`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.league.cases import CLASSES, Case, cluster_of
from benchmarks.league.hindsight import timetable
from benchmarks.league.promise import Promise

from andante.api.v1alpha1 import LLMService
from andante.domain.pace import QoEClass
from andante.sim.fleet.andante_scaler import AndanteScaler
from andante.sim.fleet.law_scaler import LawScaler
from andante.sim.fleet.scaler import Scaler, Static
from andante.sim.laws import static
from andante.sim.laws.registry import build

MOST_REPLICAS = 40


@contextmanager
def scaler_of(case: Case) -> Iterator[Scaler]:
    """The scaler of a case, new for each run. Raises ValueError naming what is wrong with its text."""
    name, _, rest = case.scaler.partition(":")
    if name == "static":
        yield Static(static_replicas(case.scaler))
    elif name == "hindsight":
        yield timetable(case, float(rest))
    elif name == "andante":
        yield production(settings_of(case.scaler), readers=CLASSES[case.workload], behind=cluster_of(case).scrape_lag)
    elif name == "dynamo-planner":
        from benchmarks.league.dynamo import DynamoPlanner

        numbers = {key: float(value) for key, value in settings_of(case.scaler).items()}
        planner = DynamoPlanner(min_replicas=1, max_replicas=MOST_REPLICAS, **numbers)
        try:
            yield LawScaler(planner)
        finally:
            planner.close()
    else:
        yield LawScaler(build(case.scaler, min_replicas=1, max_replicas=MOST_REPLICAS))


def static_replicas(text: str) -> int:
    """The replicas of a static fleet: `static:5`, `static:replicas=5`, or the registry's default."""
    rest = text.partition(":")[2]
    if rest.isdecimal():
        return int(rest)
    settings = settings_of(text)
    unknown = settings.keys() - {"replicas"}
    if unknown:
        raise ValueError(f"static has no setting {min(unknown)!r}")
    return min(MOST_REPLICAS, round(float(settings.get("replicas", static.Static().replicas))))


def settings_of(text: str) -> dict[str, str]:
    """The settings after a scaler's name. Raises ValueError for one without a value."""
    settings = {}
    for pair in filter(None, text.partition(":")[2].split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{text}: {pair!r} is not setting=value")
        settings[key] = value
    return settings


def production(settings: dict[str, str], *, readers: QoEClass, behind: float) -> AndanteScaler:
    """The operator's scaler for a service that promises `promise`, with what its owner may set: the quality that is
    `asked` of the scaler, and the stabilization `window` of the way down in seconds. Without these, the defaults.

    Raises ValueError for a setting that is none of these.
    """
    unknown = settings.keys() - {"promise", "asked", "window"}
    if unknown:
        raise ValueError(f"andante has no setting {min(unknown)!r}")
    promise = Promise(settings.get("promise", Promise.MEAN_QOE))
    asked = float(settings.get("asked", promise.least))
    mean = promise is Promise.MEAN_QOE
    scaling: dict[str, object] = {
        "minReplicas": 1, "maxReplicas": MOST_REPLICAS, "target": {"meanQoE" if mean else "goodFraction": asked}
    }  # fmt: skip
    if "window" in settings:
        scaling["behavior"] = {"scaleDown": {"stabilizationWindow": f"{float(settings['window']):.0f}s"}}
    service = LLMService.model_validate(
        {
            "metadata": {"name": "league", "namespace": "league"},
            "spec": {
                "model": {"id": "league", "source": {"synthetic": {}}},
                "engine": {"gpusPerReplica": 1},
                "qoe": {"classes": [_class_of(readers)]},
                "scaling": scaling,
            },
        }
    )
    return AndanteScaler(service, behind=behind)


def _class_of(readers: QoEClass) -> dict[str, object]:
    return {"name": readers.name, "expectedTTFT": f"{readers.expected_ttft:g}s", "pace": readers.pace}
