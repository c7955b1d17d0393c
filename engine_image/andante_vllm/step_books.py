"""Records each step's result: tokens in the table, the step time in the fit, preemptions in the metrics."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

# isort: split
from andante.domain.scheduling.asking import FIT_EVERY
from andante.domain.scheduling.latency import OnlineStepTime
from andante.domain.scheduling.tokens_per_step import TokensPerStep
from andante_vllm.eligibility import Eligibility
from andante_vllm.scheduler_metrics import SchedulerMetrics
from andante_vllm.scheduler_table import Batch, RequestTable
from andante_vllm.scheduler_view import Gathering
from andante_vllm.vllm_seam import VLLMSeam

_EXPORT_EVERY = 64
_CACHED_SHARE_WEIGHT = 0.05
"""Weight of the newest comeback in the mean share of tokens that the prefix cache still held."""


class _Flight(NamedTuple):
    """A step between its scheduling and its output."""

    key: int
    scheduled_at: float
    prefill: float
    """Tokens."""
    decoding: float
    """Sequences, each with its draft tokens."""
    context: float
    """Total tokens of the decoding sequences."""
    whole: Batch | None
    """The batch, if the step serves all running requests."""


class StepBooks:
    """Follows steps from their scheduling to their output. Times are on the table's clock."""

    def __init__(
        self, seam: VLLMSeam, table: RequestTable, gathering: Gathering, eligibility: Eligibility,
        step_time: OnlineStepTime, metrics: SchedulerMetrics,
    ) -> None:  # fmt: skip
        self._seam, self._table, self._gathering, self._eligibility = seam, table, gathering, eligibility
        self._step_time, self._metrics = step_time, metrics
        self._flights: deque[_Flight] = deque()
        self._taken_off: dict[str, float] = {}
        self._from_host: set[str] = set()
        """Requests whose KV is on its way back from the host."""
        self._last_update = 0.0
        self._steps = 0
        self._speculative = seam.most_drafts > 0
        self._tokens_per_step = TokensPerStep()
        self.cached_share = 0.0
        """Running mean of the share of a preempted request's tokens that the prefix cache held at its comeback.

        Comebacks from the host do not count: `RequestView.kept` says what the host holds.
        """

    @property
    def tokens_per_step(self) -> float:
        """Running mean of the tokens per decoding sequence and step."""
        return self._tokens_per_step.mean

    def left(self, request: Request, now: float) -> None:
        """Note that the request ended or its client left."""
        self._eligibility.leaves(request)
        if self._speculative:
            self._table.ended_at(request.request_id, request.num_tokens)
        if self._seam.host is not None:
            self._seam.host.leaves(request)
        self._table.remove(
            request.request_id,
            ended_itself=_ended_itself(request),
            cut=request.status is RequestStatus.FINISHED_LENGTH_CAPPED,
        )
        self._from_host.discard(request.request_id)
        self._came_back(request.request_id, now)

    def taken_off(self, request: Request, now: float, *, by_policy: bool) -> None:
        """Note that the request was preempted, by the policy or because the engine was out of KV blocks."""
        self._table.preempted(request.request_id, kept=self._gathering.kept_by_host(request))
        self._eligibility.waits(request)
        self._taken_off[request.request_id] = now
        (self._metrics.preemptions if by_policy else self._metrics.out_of_blocks_preemptions).inc()

    def scheduled(self, batch: SchedulerOutput, now: float) -> None:
        """Remember the step's content, for the fit, and note started requests."""
        if self._seam.host is not None:
            self._seam.host.stepped()
        for request in self._seam.holding:
            if request.status is RequestStatus.WAITING_FOR_STREAMING_REQ:
                self._eligibility.waits(request)
            else:
                self._table.started(request.request_id)  # its KV is on its way back from the host
                self._from_host.add(request.request_id)
        tokens, drafts = batch.num_scheduled_tokens, batch.scheduled_spec_decode_tokens
        started = [new.req_id for new in batch.scheduled_new_reqs]
        started.extend(batch.scheduled_cached_reqs.resumed_req_ids)
        for request_id in started:
            self._started(request_id, tokens[request_id], now)
        total = batch.total_num_scheduled_tokens
        if not total:
            return
        if drafts:
            tokens = {request_id: number - len(drafts.get(request_id, ())) for request_id, number in tokens.items()}
            total = sum(tokens.values())
        prefill = sum(tokens[request_id] for request_id in started)
        sequences = len(tokens)
        decoding = sequences - len(started)
        prefilling = self._seam.prefilling.union(self._seam.requests(started))
        if total - prefill != decoding:  # a request is within its prefill
            new = set(started)
            middle = [(r, n) for r, n in tokens.items() if n > 1 and r not in new]
            prefill += sum(n for _, n in middle)
            decoding -= len(middle)
            prefilling.update(self._seam.requests(name for name, _ in middle))
        running = self._table.running()
        context = self._table.running_context() - sum(request.num_tokens for request in prefilling)
        self._flights.append(
            _Flight(
                key=id(batch),
                scheduled_at=now,
                prefill=float(prefill),
                decoding=float(decoding),
                context=max(context, 0.0),
                whole=running if running.rows.size == sequences else None,
            )
        )

    def brought(self, batch: SchedulerOutput, output: ModelRunnerOutput, now: float) -> None:
        """Count the tokens of this step, and fit the step time."""
        flight = self._landed(batch)
        if output.sampled_token_ids:
            self._deliver(flight, output, now)
        if flight is not None:
            seconds = now - max(flight.scheduled_at, self._last_update)
            self._metrics.stepped(seconds=max(seconds, 0.0))
            self._steps += 1
            # Most steps are plain decode steps, which give the fit no new information.
            if flight.prefill or self._steps % FIT_EVERY == 0:
                self._step_time.observe(
                    prefill_tokens=flight.prefill,
                    sequences=flight.decoding,
                    context_tokens=flight.context,
                    seconds=seconds,
                )
            if self._steps % _EXPORT_EVERY == 1:  # not in the steps that write times too
                self._metrics.set_fit(
                    self._step_time.line, self._step_time.relative_error, tokens_per_step=self.tokens_per_step
                )
        self._last_update = now

    def _started(self, request_id: str, tokens: int, now: float) -> None:
        request = self._seam.request(request_id)
        self._table.started(request_id)
        self._eligibility.starts(request)
        self._gathering.look_up(request)
        from_host = request_id in self._from_host
        self._from_host.discard(request_id)
        if request.num_preemptions:
            self._came_back(request_id, now)
            known = request.num_tokens
            found = request.num_computed_tokens - tokens
            if not from_host:
                self.cached_share += _CACHED_SHARE_WEIGHT * (found / known - self.cached_share)
            self._metrics.recomputed_tokens.inc(max(known - found, 0))

    def _came_back(self, request_id: str, now: float) -> None:
        """Count how long the request was preempted, if it was."""
        since = self._taken_off.pop(request_id, None)
        if since is not None:
            self._metrics.stalled_seconds.inc(max(now - since, 0.0))

    def _landed(self, batch: SchedulerOutput) -> _Flight | None:
        """The flight of `batch`; earlier flights are forgotten."""
        while self._flights:
            flight = self._flights.popleft()
            if flight.key == id(batch):
                return flight
        return None

    def _deliver(self, flight: _Flight | None, output: ModelRunnerOutput, now: float) -> None:
        if self._speculative:
            self._deliver_several(flight, output, now)
            return
        # Each request with tokens gets exactly one.
        if all(output.sampled_token_ids):
            whole = flight.whole if flight is not None else None
            if whole is None or whole.layout != self._table.layout:
                whole = self._table.batch(output.req_ids)
            self._table.deliver_one_each(whole, now)
            return
        some = [name for name, tokens in zip(output.req_ids, output.sampled_token_ids, strict=True) if tokens]
        if some:
            self._table.deliver_one_each(self._table.batch(some), now)

    def _deliver_several(self, flight: _Flight | None, output: ModelRunnerOutput, now: float) -> None:
        """Count deliveries with speculative decoding: the accepted draft tokens and one more."""
        counts = np.array([len(tokens) for tokens in output.sampled_token_ids], dtype=np.int64)
        self._table.deliver(self._table.batch(output.req_ids), counts, now)
        if flight is not None and flight.decoding > 0:
            # A request that ends its prefill has no draft tokens yet: only decoding requests get more than one token.
            held = np.maximum(counts - 1, 0).sum()
            self._tokens_per_step.observe(sequences=flight.decoding, held=float(held))


def _ended_itself(request: Request) -> bool:
    """Whether the answer ended by itself. The API server finds stop strings, and the engine core then sees an abort, as
    from a client that left. So a request with stop strings counts as ended by itself.
    """
    if request.status is RequestStatus.FINISHED_ABORTED:
        return bool(request.sampling_params and request.sampling_params.stop and request.num_output_tokens)
    return request.status is RequestStatus.FINISHED_STOPPED
