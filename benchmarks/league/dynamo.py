"""Drives the planner of ai-dynamo 1.4.2 itself, as a law of the league.

Not a copy: `OrchestratorEngineAdapter` with its plugins, predictors and compiled performance model, on a virtual clock,
as Dynamo's own replay drives it. It needs no GPU, no etcd and no cluster, but the environment of `make league-env`.
`docs/decisions/0026-the-real-planner.md` says what is driven and what is not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from andante.sim.fleet.seen import PodSeen, Seen, Totals
from andante.sim.laws.dynamo_model import Step, StepSampler, benchmark_steps
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.windows import between, scraped

os.environ.setdefault("DYN_LOG", "error")  # read when the package is imported

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from dynamo.common.forward_pass_metrics import ForwardPassMetrics, QueuedRequestMetrics, ScheduledRequestMetrics
    from dynamo.planner.config.planner_config import PlannerConfig
    from dynamo.planner.core.perf_model import AggRegressionModel, PlannerEngineCapacity
    from dynamo.planner.core.types import (
        EngineCapabilities,
        FpmObservations,
        ScheduledTick,
        TickInput,
        TrafficObservation,
        WorkerCapabilities,
        WorkerCounts,
    )
    from dynamo.planner.plugins.clock import VirtualClock
    from dynamo.planner.plugins.orchestrator.engine_adapter import OrchestratorEngineAdapter

logging.getLogger("dynamo").setLevel(logging.ERROR)


class PublishedModel:
    """The package's regression in Python behind the queries of the planner's compiled model.

    The compiled model's source is not in the package. Our laws follow the Python one, and are compared with the
    planner's decisions on it.
    """

    def __init__(self, config: PlannerConfig, limits: EngineCapabilities) -> None:
        self._limits = limits
        self._model = AggRegressionModel(
            config.max_num_fpm_samples, config.load_min_observations, config.fpm_sample_bucket_size
        )
        self.min_observations = config.load_min_observations

    @property
    def num_observations(self) -> int:
        return int(self._model.num_observations)

    def has_sufficient_data(self) -> bool:
        return bool(self._model.has_sufficient_data())

    def update_capabilities(self, capabilities: EngineCapabilities | None) -> None:
        """The limits come with each query."""

    def add_observations(self, stats: Mapping[tuple[str, int], ForwardPassMetrics]) -> None:
        self.load_benchmark_fpms(stats.values())

    def load_benchmark_fpms(self, metrics: Iterable[ForwardPassMetrics]) -> None:
        self._model.load_benchmark_fpms(list(metrics))

    def query_groups(
        self, stats: Mapping[tuple[str, int], ForwardPassMetrics]
    ) -> list[tuple[str, list[ForwardPassMetrics]]]:
        return [(worker, [metrics]) for (worker, _), metrics in stats.items()]

    def estimate_queued_prefill_time(
        self,
        group: list[ForwardPassMetrics],
        *,
        max_num_batched_tokens: int,
        kv_hit_rate: float | None = None,
        queue_scale: float = 1.0,
        decode_scale: float = 1.0,
        include_queued_decode: bool = False,
    ) -> float | None:
        scheduled, queued = group[0].scheduled_requests, group[0].queued_requests
        kv = scheduled.sum_decode_kv_tokens + (queued.sum_decode_kv_tokens if include_queued_decode else 0)
        found: float | None = self._model.estimate_next_ttft(
            int(queued.sum_prefill_tokens * queue_scale), max_num_batched_tokens, int(kv * decode_scale), kv_hit_rate
        )
        return found

    def estimate_scheduled_decode_itl(
        self,
        group: list[ForwardPassMetrics],
        *,
        decode_scale: float = 1.0,
        include_queued_decode: bool = True,
        include_queued_prefill_as_kv: bool = False,
    ) -> float | None:
        scheduled, queued = group[0].scheduled_requests, group[0].queued_requests
        kv = scheduled.sum_decode_kv_tokens
        kv += queued.sum_decode_kv_tokens if include_queued_decode else 0
        kv += queued.sum_prefill_tokens if include_queued_prefill_as_kv else 0
        found: float | None = self._model.estimate_next_itl(int(kv * decode_scale), 0)
        return found

    def find_engine_capacity_rps(
        self, *, isl: float, osl: float, ttft_sla_ms: float, itl_sla_ms: float, **_: Any
    ) -> PlannerEngineCapacity | None:
        rate, ttft, itl = self._model.find_best_engine_agg_rps(
            isl,
            osl,
            self._limits.max_num_batched_tokens,
            ttft_sla_ms,
            itl_sla_ms,
            self._limits.max_kv_tokens,
            self._limits.max_num_seqs,
        )
        return PlannerEngineCapacity(rps=rate, ttft_ms=ttft, itl_ms=itl)


@dataclass(kw_only=True)
class DynamoPlanner(RivalLaw):
    """One aggregated engine type: prefill and decode in each replica."""

    period: float = 5.0
    target: str = "sla"
    """`optimization_target`: sla, latency or throughput."""
    load: bool = False
    """`enable_load_scaling`; the targets latency and throughput switch it on by themselves."""
    throughput: bool = True
    """`enable_throughput_scaling`, with the target sla. With `load` too, it is the floor of load scaling."""
    predictor: str = "arima"
    """`load_predictor`: constant, arima, kalman or prophet."""
    ttft: float = 0.5
    itl: float = 0.05
    interval: int = 180
    sensitivity: float = 0.8
    """`load_scaling_down_sensitivity` as a share."""
    up_at: float | None = None
    """`decode_scale_up_kv_rate`, with the targets latency and throughput; None: the target's own."""
    down_at: float | None = None
    model: str = "compiled"
    """The performance model: the planner's own, compiled, or the package's regression in Python (published)."""
    benchmarked: bool = True
    """Whether the performance model starts from a benchmark of the profile, as Dynamo's profiler makes one."""
    _engine: Any = field(default=None, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)
    _tick: ScheduledTick | None = field(default=None, init=False, repr=False)
    _sampler: StepSampler = field(default_factory=StepSampler, init=False, repr=False)
    _traffic: tuple[float, Totals] | None = field(default=None, init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="ttft", low=0.05, high=10, logarithmic=True),
        Parameter(name="itl", low=0.005, high=0.5, logarithmic=True),
        Parameter(name="interval", low=15, high=600, logarithmic=True, whole=True),
        Parameter(name="sensitivity", low=0.2, high=1.0),
    )

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now; unchanged between the planner's own ticks."""
        if self._engine is None:
            self._start(seen)
        if self._traffic is None and seen.totals is not None:
            self._traffic = scraped(seen.now, seen.totals)
        steps = self._sampler.steps(seen)
        tick = self._tick
        if tick is None or self._loop is None or seen.now + 1e-6 < tick.at_s:
            return self.bounded(seen.spec)
        effects = self._loop.run_until_complete(self._engine.tick(tick, self._input(tick, steps, seen)))
        self._tick = effects.next_tick
        wanted = effects.scale_to.num_decode if effects.scale_to is not None else None
        return self.bounded(seen.spec if wanted is None else wanted)

    def close(self) -> None:
        """Let go of the planner's event loop."""
        if self._loop is not None:
            self._loop.run_until_complete(self._engine.shutdown())
            self._loop.close()
            self._loop = None

    def _start(self, seen: Seen) -> None:
        easy = self.target != "sla"
        config = PlannerConfig(
            mode="agg",
            optimization_target=self.target,
            enable_load_scaling=easy or self.load,
            enable_throughput_scaling=not easy and self.throughput,
            load_predictor=self.predictor,
            ttft_ms=self.ttft * 1000,
            itl_ms=self.itl * 1000,
            throughput_adjustment_interval_seconds=int(self.interval),
            load_scaling_down_sensitivity=round(self.sensitivity * 100),
            decode_scale_up_kv_rate=self.up_at,
            decode_scale_down_kv_rate=self.down_at,
            min_endpoint=max(1, self.min_replicas),
            max_gpu_budget=self.max_replicas,
            decode_engine_num_gpu=1,
        )
        replica = seen.replica
        capabilities = EngineCapabilities(
            num_gpu=1,
            max_num_batched_tokens=replica.max_num_batched_tokens,
            max_num_seqs=replica.max_num_seqs,
            context_length=replica.max_model_len,
            max_kv_tokens=replica.kv_tokens,
        )
        self._loop = asyncio.new_event_loop()
        self._engine = OrchestratorEngineAdapter(config, WorkerCapabilities(decode=capabilities), clock=VirtualClock())
        steps = benchmark_steps(replica) if self.benchmarked and not easy else []
        benchmark = [_metrics(f"benchmark-{index}", step) for index, step in enumerate(steps)]
        self._loop.run_until_complete(self._engine.bootstrap_from_fpms(agg_fpms=benchmark or None))
        if self.model == "published" and not easy:
            published = PublishedModel(config, capabilities)
            published.load_benchmark_fpms(benchmark)
            self._engine.install_regressions(agg=published)
        self._tick = self._engine.initial_tick(seen.now)

    def _input(self, tick: ScheduledTick, steps: Mapping[str, Step], seen: Seen) -> TickInput:
        counts = WorkerCounts(
            ready_num_decode=seen.ready,
            expected_num_decode=seen.spec,
            decode_scaling_in_progress=seen.spec != seen.ready,
        )
        return TickInput(
            now_s=seen.now,
            traffic=self._observed_traffic(seen) if tick.need_traffic_metrics else None,
            worker_counts=counts,
            fpm_observations=FpmObservations(decode=self._steps(steps, seen)) if tick.need_worker_fpm else None,
        )

    def _observed_traffic(self, seen: Seen) -> TrafficObservation | None:
        if seen.source_down or seen.totals is None or self._traffic is None:
            return None
        newest = scraped(seen.now, seen.totals)
        if newest[0] <= self._traffic[0]:
            return None
        found = between(self._traffic, newest)
        self._traffic = newest
        prompt, output = found.prompt_tokens or 0.0, found.output_tokens or 0.0
        return TrafficObservation(duration_s=found.seconds, num_req=found.arrived, isl=prompt, osl=output)

    def _steps(self, steps: Mapping[str, Step], seen: Seen) -> dict[tuple[str, int], ForwardPassMetrics]:
        return {
            (pod.name, 0): _metrics(pod.name, steps[pod.name], pod)
            for pod in seen.ready_pods
            if pod.name in steps and pod.queued_prompt_tokens is not None and pod.queued_kv_tokens is not None
        }


def _metrics(worker: str, step: Step, pod: PodSeen | None = None) -> ForwardPassMetrics:
    queued = QueuedRequestMetrics()
    if pod is not None:
        kv = round(pod.queued_kv_tokens or 0.0)
        queued = QueuedRequestMetrics(
            num_prefill_requests=round(pod.waiting or 0.0),
            sum_prefill_tokens=round(pod.queued_prompt_tokens or 0.0),
            num_decode_requests=1 if kv else 0,
            sum_decode_kv_tokens=kv,
        )
    scheduled = ScheduledRequestMetrics(
        num_prefill_requests=step.prefill_requests,
        sum_prefill_tokens=step.prefill_tokens,
        num_decode_requests=step.decode_requests,
        sum_decode_kv_tokens=step.decode_kv_tokens,
    )
    return ForwardPassMetrics(
        worker_id=worker, wall_time=step.seconds, scheduled_requests=scheduled, queued_requests=queued
    )
