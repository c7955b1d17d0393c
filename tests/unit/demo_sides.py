"""Makes sides of a demo for tests: answers with given token times, pods with given lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hack.demo.outcome import ClientPoint, Demo, Side
from hack.demo.pod_lives import PodLife
from hack.demo.watch import Sample
from hack.demo.workload import Surge

from andante.cli.bench import Ending, RequestResult
from andante.cli.bench_scores import summarise
from andante.domain.pace import PRESETS
from andante.domain.request_meter import Outcome, RequestMeter

READER = PRESETS["reading"]
SURGE = Surge(base_rate=1, peak_rate=3, start=50, duration=100)
SMOOTH = tuple(0.5 + 0.1 * k for k in range(40))
LATE = tuple(9.0 + 0.1 * k for k in range(40))


def result(
    number: int,
    delivery: Sequence[float] = SMOOTH,
    *,
    arrival: float | None = None,
    ending: Ending = Ending.COMPLETED,
    error: str | None = None,
) -> RequestResult:
    """What a client saw of one request; it arrives at second `number` by default."""
    meter = RequestMeter(expectation=READER.expectation(100), fluidity=True)
    for at in delivery:
        meter.deliver(at)
    duration = delivery[-1] if delivery else 30.0
    outcome = Outcome.COMPLETED if ending is Ending.COMPLETED else Outcome.FAILED
    return RequestResult(
        number=number,
        arrival=float(number) if arrival is None else arrival,
        lateness=0.0,
        duration=duration,
        qoe_class="reading",
        ending=ending,
        error=error,
        wanted_tokens=len(delivery),
        delivery=tuple(delivery),
        score=meter.ended(outcome, at=duration),
        pace=READER.pace,
    )


def sample(at: float, *, replicas: int, desired: int, reason: str = "TargetMet") -> Sample:
    """The service at one moment; all its replicas are ready."""
    return Sample(
        at=at,
        replicas=replicas,
        ready=replicas,
        desired=desired,
        reason=reason,
        message=f"deficit < 1 & {reason}",
        mean_qoe=None,
        deficit=0.1,
        smooth_goodput=100.0,
    )


SAMPLES = (
    sample(0, replicas=1, desired=1),
    sample(60, replicas=1, desired=2, reason="QoEDeficit"),
    sample(120, replicas=2, desired=2),
    sample(180, replicas=2, desired=1, reason="OneFewerSuffices"),
    sample(240, replicas=1, desired=1),
)
FIRST = PodLife(name="chat-1", created=0.0, bought=False, ready=0.0)
SECOND = PodLife(name="chat-2", created=60.0, bought=True, ready=100.0, leaving=180.0, gone=240.0)


def side(
    name: str = "Andante",
    results: Sequence[RequestResult] = (result(0), result(60)),
    *,
    pods: Sequence[PodLife] = (FIRST, SECOND),
    samples: Sequence[Sample] = SAMPLES,
) -> Side:
    """One side; by default two good answers, and a second replica that was bought in the surge."""
    return Side(
        name=name,
        results=results,
        scores=summarise(results, interval=300.0),
        points=[ClientPoint(at=5, arrivals_per_second=1.0, mean_qoe=None, open_requests=3)],
        samples=samples,
        changes=[s for s in samples if s.reason != "TargetMet"],
        pods=pods,
    )


def demo(ours: Side | None = None, rival: Side | None = None, **fields: Any) -> Demo:
    """A demo without complaints."""
    given: dict[str, Any] = {"complaints": [], "surge": SURGE, "target_qoe": 0.95, **fields}
    return Demo(ours=ours or side(), rival=rival, **given)
