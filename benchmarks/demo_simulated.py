"""Serves the demo's requests in the simulator: the same law or the same autoscaler, the same engines, the same times.

Only the way to the engines is left out (the client, the API server), and replicas start and stop when the simulator
says. So what it differs by is what the simulator does not know of a whole cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hack.demo.rival import WATERMARK
from hack.install import TICK_SECONDS

from andante.api.v1alpha1 import LLMService
from andante.domain.pace import QoEClass
from andante.domain.request_meter import Objective
from andante.domain.step_time import Profile
from andante.domain.trace import TraceRequest
from andante.profiles import load_profiles
from andante.sim.engine import Engine
from andante.sim.fleet.andante_scaler import AndanteScaler
from andante.sim.fleet.compiled.routing import Router
from andante.sim.fleet.law_scaler import LawScaler
from andante.sim.fleet.outcome import FleetOutcome
from andante.sim.fleet.run import run_fleet
from andante.sim.fleet.scaler import Scaler
from andante.sim.fleet.seen import Seen
from andante.sim.fleet.settings import Cluster, WarmUp
from andante.sim.laws.hpa import Actuator, Policy, Rules, Unit, average_of_total, most_of
from andante.sim.laws.parameters import total
from andante.sim.requests import Requests
from andante.sim.run import Scheduling


@dataclass(kw_only=True)
class QueueAutoscaler:
    """The demo's HorizontalPodAutoscaler as a law: waiting requests and requests in flight, each with its target."""

    waiting: float
    in_flight: float
    min_replicas: int
    max_replicas: int
    wait_to_shrink: float
    period: float = TICK_SECONDS
    _actuator: Actuator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        up, down = self.behavior()
        self._actuator = Actuator(min_replicas=self.min_replicas, max_replicas=self.max_replicas, up=up, down=down)

    def behavior(self) -> tuple[Rules, Rules]:
        """Up and down, as in the manifest (hack/demo/rival.py)."""
        return (
            Rules(window=0.0, policies=(Policy(Unit.PODS, self.max_replicas, 1),)),
            Rules(window=self.wait_to_shrink, policies=(Policy(Unit.PERCENT, 100, 15),)),
        )

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now."""
        figures = (
            (total(pod.waiting for pod in seen.ready_pods), self.waiting),
            (total(pod.open_requests for pod in seen.ready_pods), self.in_flight),
        )
        proposals = [average_of_total(value, target=target, pods=len(seen.pods)) for value, target in figures]
        return self._actuator.apply(most_of(proposals, current=seen.spec), current=seen.spec, now=seen.now)


def profile_of(service: LLMService) -> Profile:
    """The step times and limits of one engine of a service on the virtual GPU. Raises ValueError for another one."""
    virtual = service.spec.engine.virtual_gpu
    if virtual is None:
        raise ValueError("only engines on a virtual GPU have known step times")
    profile = load_profiles()[virtual.profile]
    return replace(
        profile,
        coefficients=profile.coefficients.scaled(virtual.time_scale),
        kv_capacity_tokens=virtual.kv_capacity_tokens or profile.kv_capacity_tokens,
        max_num_seqs=virtual.max_num_seqs or profile.max_num_seqs,
        max_num_batched_tokens=virtual.max_num_batched_tokens or profile.max_num_batched_tokens,
    )


def requests_of(trace: Sequence[TraceRequest], reader: QoEClass, *, most_tokens: int) -> Requests:
    """The demo's requests, all of one class. `most_tokens`: the model's longest context."""
    return Requests.of(
        arrival=np.array([each.arrival_s for each in trace]),
        prompt_tokens=[each.prompt_tokens for each in trace],
        output_tokens=[each.output_tokens for each in trace],
        classes=(reader,),
        class_of=0,
        most_tokens=most_tokens,
    )


def simulated(
    spec: Mapping[str, Any],
    trace: Sequence[TraceRequest],
    reader: QoEClass,
    *,
    warm_up: float,
    until: float,
    rival: Mapping[str, float] | None = None,
    seed: int = 0,
) -> FleetOutcome:
    """Serve the requests with the service's law, or with a `rival` autoscaler (`waiting`, `in_flight`).

    `spec`: of the LLMService. `warm_up`: seconds from a pod's creation until it serves. `until`: second until which
    replicas are paid. `seed`: of the routing.
    """
    service = LLMService.parse({"metadata": {"name": "demo", "namespace": "demo"}, "spec": spec})
    scaling, qoe = service.spec.scaling, service.spec.qoe
    scaler: Scaler
    if rival is None:
        scaler = AndanteScaler(service, tick=TICK_SECONDS)
    else:
        scaler = LawScaler(
            QueueAutoscaler(
                waiting=rival["waiting"],
                in_flight=rival["in_flight"],
                min_replicas=scaling.min_replicas,
                max_replicas=scaling.resolved_max_replicas,
                wait_to_shrink=scaling.behavior.scale_down_window_seconds,
            )
        )
    asynchronous = bool(service.spec.engine.virtual_gpu and service.spec.engine.virtual_gpu.async_scheduling)
    return run_fleet(
        requests_of(trace, reader, most_tokens=service.spec.model.max_model_len or 4096),
        Engine.of(
            profile_of(service),
            watermark=0.0 if rival is None else WATERMARK,
            steps_in_flight=2 if asynchronous else 1,
        ),
        scaler,
        start=scaling.min_replicas,
        # Each request opens a connection of its own, which kube-proxy sends to a replica at random.
        cluster=Cluster(
            warmup=WarmUp(median=warm_up),
            router=Router.RANDOM_PER_CONNECTION,
            connections=1,
            kept=0.0,
            drain_limit=service.spec.rollout.drain_timeout,
            scrape_every=TICK_SECONDS,
            scrape_lag=0.0,
        ),
        scheduling=Scheduling() if rival is None else None,
        objective=Objective(
            qoe=qoe.objective.qoe, tolerated_delay=qoe.objective.tolerated_delay, gave_up_after=qoe.gave_up_after
        ),
        end=until,
        seed=seed,
    )
