"""Lets the production law decide: the same windows over counters, the same snapshot, `decide` and its memory."""

from __future__ import annotations

from andante.app.scaling.judge import snapshot_of
from andante.app.scaling.measurement import Measurement, Measurements
from andante.app.scaling.pod_history import COUNTERS, DEFICIT, IDLE_DEFICIT, VISIBLE_TOKENS
from andante.app.scaling.tick import STALE_TICKS, WINDOW_TICKS
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.decide import Decision, decide
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Replicas, ScalingRules, Snapshot
from andante.domain.step_time import LinearStepTime
from andante.ports import PodAddress, PodSample, Unread
from andante.sim.engine import Engine
from andante.sim.fleet import meter as metered
from andante.sim.fleet.meter import Scrape
from andante.sim.fleet.pods import Phase, Pod, name_of
from andante.sim.fleet.scaler import Sight

_SPACE = "fleet"
_PROGRAMS = "batch"
"""Name of the class without QoE."""


class AndanteScaler:
    """The operator's decision for one service, tick by tick."""

    def __init__(
        self, rules: ScalingRules, *, tick: float = 15.0, behind: float = 0.0, mean_target: float | None = None
    ) -> None:
        """`behind`: seconds by which the metrics may be late, as the operator is told of its source. `mean_target`:
        the mean QoE that is promised; None: a share of good requests is promised."""
        self._rules, self._tick, self._mean_target = rules, tick, mean_target
        self._measurements = Measurements(window=WINDOW_TICKS * tick, stale_after=STALE_TICKS * tick, behind=behind)
        self._memory = Memory()
        self.decisions: list[tuple[float, Decision]] = []
        """Those that changed the number of replicas, with their times."""

    @property
    def period(self) -> float:
        return self._tick

    def wanted(self, sight: Sight) -> int:
        snapshot = self._snapshot(sight, self._measured(sight))
        decision, self._memory = decide(snapshot, self._memory, sight.now)
        if decision.replicas != sight.spec:
            self.decisions.append((sight.now, decision))
        return decision.replicas

    def _measured(self, sight: Sight) -> Measurement:
        newest = sight.scrapes[-1] if sight.scrapes else None
        read: dict[tuple[str, str], PodSample | Unread] = {}
        addresses = []
        for pod in sight.pods:
            if pod.row < 0:
                continue
            name = name_of(pod)
            addresses.append(PodAddress(namespace=_SPACE, name=name, ip="", port=0, ready=pod.takes_requests))
            found = newest is not None and pod.number in newest.pods
            read[(_SPACE, name)] = (
                _sample(newest, pod, sight.engine) if newest and found else Unread(why="it was not scraped yet")
            )
        self._measurements.take(read)
        return self._measurements.measure(addresses, read, now=sight.now, without_qoe=(_PROGRAMS,))

    def _snapshot(self, sight: Sight, measured: Measurement) -> Snapshot:
        now, pods = sight.now, sight.pods
        starting = [pod for pod in pods if pod.phase in (Phase.PENDING, Phase.STARTING)]
        bound = self._rules.warmup_bound
        replicas = Replicas(
            spec=sight.spec,
            ready=sum(pod.takes_requests for pod in pods),
            starting_ages=tuple(now - pod.created for pod in starting),
            overdue_on_a_node=sum(now - p.created > bound and p.phase is Phase.STARTING for p in starting),
            draining=sum(pod.phase is Phase.DRAINING for pod in pods),
        )
        return snapshot_of(measured, rules=self._rules, replicas=replicas, mean_target=self._mean_target)


def _sample(scrape: Scrape, pod: Pod, engine: Engine) -> PodSample:
    """What the engine's meter says of itself."""

    def counted(which: int) -> float:
        return scrape.counter(pod.number, which)

    def now(which: int) -> float:
        return scrape.gauge(pod.number, which)

    counters = dict.fromkeys(COUNTERS, 0.0) | {
        metric_names.REQUESTS: counted(metered.OVER),
        metric_names.GOOD_REQUESTS: counted(metered.GOOD),
        metric_names.ENDED_QOE: counted(metered.QOE),
        metric_names.SCORED_REQUESTS: counted(metered.COUNTED),
        DEFICIT[Cause.LOAD]: counted(metered.LOAD),
        DEFICIT[Cause.IDLE]: counted(metered.IDLE),
        DEFICIT[Cause.FAILED]: counted(metered.LOST),
        IDLE_DEFICIT[IdleReason.PACE]: counted(metered.IDLE),
        VISIBLE_TOKENS: counted(metered.TOKENS),
        metric_names.IDLE_PENALTY_TOKENS: counted(metered.PENALTY),
        metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS: counted(metered.UNAVOIDABLE),
    }
    return PodSample(
        at=scrape.at,
        counters=counters,
        open_requests=now(metered.OPEN),
        open_qoe_sum=now(metered.OPEN_QOE),
        open_deficit={
            Cause.LOAD.value: now(metered.OPEN_LOAD),
            Cause.IDLE.value: now(metered.OPEN_IDLE),
            Cause.FAILED.value: now(metered.OPEN_LOST),
            Cause.CLIENT.value: 0.0,
        },
        open_by_class={_PROGRAMS: now(metered.OPEN) - now(metered.OPEN_COUNTED)},
        step_time_fitted=True,
        arrived=(counted(metered.ARRIVED), counted(metered.PROMPT)),
        waiting=(now(metered.UNANSWERED), now(metered.UNANSWERED_PROMPT)),
        capacity=EngineCapacity(
            kv_tokens=engine.blocks * engine.block_size,
            max_num_seqs=engine.max_seqs,
            max_step_tokens=engine.max_step_tokens,
            step_time=LinearStepTime(*(now(metered.STEP_TIME + place) for place in range(4))),
            fitted=True,
        ),
        scheduling="",
    )
