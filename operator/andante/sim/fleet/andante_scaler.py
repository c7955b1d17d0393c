"""Lets the production law decide: the same windows over counters, the same rules, snapshot, `decide` and memory."""

from __future__ import annotations

from collections.abc import Mapping

from andante.api.v1alpha1 import LLMService
from andante.app.scaling.demand import capacity_told
from andante.app.scaling.judge import classes_without_qoe, decided
from andante.app.scaling.measurement import Measurement
from andante.app.scaling.pod_history import COUNTERS, DEFICIT, IDLE_DEFICIT, VISIBLE_TOKENS
from andante.app.scaling.tick import measurements, window_seconds
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.request_meter import Objective
from andante.domain.scaling.decide import Decision
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.snapshot import Replicas
from andante.ports import PodAddress, PodSample, Unread
from andante.sim.engine import Engine
from andante.sim.fleet import meter as metered
from andante.sim.fleet.meter import Scrape
from andante.sim.fleet.pods import Phase, Pod, name_of
from andante.sim.fleet.scaler import Sight


class AndanteScaler:
    """The operator's decision for one service, tick by tick."""

    def __init__(self, service: LLMService, *, tick: float = 15.0, behind: float = 0.0) -> None:
        """`service`: as it would be deployed; its rules and its promise are what the operator makes of it. `tick`:
        seconds between two decisions. `behind`: seconds by which the metrics may be late, as the operator is told of
        its source. Raises ValueError where the service's mode is not Auto.
        """
        if service.spec.scaling.mode != "Auto":
            raise ValueError(f"spec.scaling.mode must be Auto, got {service.spec.scaling.mode}")
        self._service, self._tick = service, tick
        self._without_qoe = classes_without_qoe(service)
        self._measurements = measurements(tick_seconds=tick, behind_seconds=behind)
        self._memory = Memory()
        self.decisions: list[tuple[float, Decision]] = []
        """Those that changed the number of replicas, with their times."""

    @property
    def period(self) -> float:
        """Seconds between two decisions."""
        return self._tick

    def wanted(self, sight: Sight) -> int:
        """Replicas to ask for now. Raises ValueError where the fleet is scored by another objective than the service's,
        or serves batch requests that the service has no class for."""
        promised = _objective(self._service)
        if sight.objective != promised:
            raise ValueError(f"the fleet must be scored by the service's own {promised}, got {sight.objective}")
        decision, self._memory = decided(
            self._service,
            replicas=self._replicas(sight),
            measurement=self._measured(sight),
            memory=self._memory,
            window=window_seconds(self._tick),
            now=sight.now,
        )
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
            name, space = name_of(pod), self._service.namespace
            addresses.append(PodAddress(namespace=space, name=name, ip="", port=0, ready=pod.takes_requests))
            found = newest is not None and pod.number in newest.pods
            read[(space, name)] = (
                _sample(newest, pod, sight.engine, self._open_by_class(newest, pod))
                if newest and found
                else Unread(why="it was not scraped yet")
            )
        self._measurements.take(read)
        return self._measurements.measure(addresses, read, now=sight.now, without_qoe=self._without_qoe)

    def _replicas(self, sight: Sight) -> Replicas:
        """As the operator counts the pods that it watches."""
        now, pods = sight.now, sight.pods
        starting = [pod for pod in pods if pod.phase in (Phase.PENDING, Phase.STARTING)]
        bound = self._service.spec.rollout.startup_timeout
        return Replicas(
            spec=sight.spec,
            ready=sum(pod.takes_requests for pod in pods),
            starting_ages=tuple(now - pod.created for pod in starting),
            overdue_on_a_node=sum(now - p.created > bound and p.phase is Phase.STARTING for p in starting),
        )

    def _open_by_class(self, scrape: Scrape, pod: Pod) -> dict[str, float]:
        """Open requests of the classes without QoE, all in the first of them: only their sum matters."""
        batch = scrape.gauge(pod.number, metered.OPEN) - scrape.gauge(pod.number, metered.OPEN_COUNTED)
        if batch and not self._without_qoe:
            raise ValueError("the workload has batch requests: the service needs a class for them in spec.qoe.classes")
        return {self._without_qoe[0]: batch} if self._without_qoe else {}


def _objective(service: LLMService) -> Objective:
    qoe = service.spec.qoe
    return Objective(
        qoe=qoe.objective.qoe, tolerated_delay=qoe.objective.tolerated_delay, gave_up_after=qoe.gave_up_after
    )


def _sample(scrape: Scrape, pod: Pod, engine: Engine, open_by_class: Mapping[str, float]) -> PodSample:
    """What the engine's meter says of itself."""

    def counted(which: int) -> float:
        return scrape.counter(pod.number, which)

    def now(which: int) -> float:
        return scrape.gauge(pod.number, which)

    base, prefill, sequence, context = (now(metered.STEP_TIME + place) for place in range(4))
    capacity = capacity_told(
        kv_tokens=engine.blocks * engine.block_size,
        max_num_seqs=engine.max_seqs,
        max_step_tokens=engine.max_step_tokens,
        fit=(base, prefill, sequence, context),
        tokens_per_step=1.0,
    )
    counters = dict.fromkeys(COUNTERS, 0.0) | {
        metric_names.REQUESTS: counted(metered.OVER),
        metric_names.GOOD_REQUESTS: counted(metered.GOOD),
        metric_names.ENDED_QOE: counted(metered.QOE),
        metric_names.SCORED_REQUESTS: counted(metered.COUNTED),
        DEFICIT[Cause.LOAD]: counted(metered.LOAD),
        DEFICIT[Cause.IDLE]: counted(metered.IDLE),
        DEFICIT[Cause.FAILED]: counted(metered.LOST),
        IDLE_DEFICIT[IdleReason.PACE]: counted(metered.IDLE),
        VISIBLE_TOKENS: counted(metered.OVER_TOKENS),
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
        open_by_class=open_by_class,
        step_time_fitted=capacity.fitted,
        generated=counted(metered.TOKENS),
        arrived=(counted(metered.ARRIVED), counted(metered.PROMPT)),
        waiting=(now(metered.UNANSWERED), now(metered.UNANSWERED_PROMPT)),
        capacity=capacity,
    )
