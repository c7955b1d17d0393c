"""Dynamo's model of an aggregated engine: a regression of the step time, learned from steps.

Source: ai-dynamo/dynamo, `components/src/dynamo/planner/core/perf_model` (`base.py`, `agg.py`). Written anew from what
these files do.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from andante.domain.step_time import prefill_pairs
from andante.sim.fleet.seen import PodSeen, Replica, Seen
from andante.sim.laws.windows import Counters, lengths


class Step(NamedTuple):
    """One engine step as an engine reports it (forward pass metrics)."""

    prefill_tokens: int
    prefill_requests: int
    decode_kv_tokens: int
    decode_requests: int
    seconds: float


class StepSampler:
    """Makes the steps that engines would report, from what is seen of their pods.

    The fleet's model reports no single steps. In a steady state a batch of `running` sequences with answers of `output`
    tokens starts running/output prompts in a step; the sampler starts whole prompts at that rate.
    """

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}
        self._counters = Counters(300.0)

    def steps(self, seen: Seen) -> dict[str, Step]:
        """The newest step of each ready pod that can be read, by name."""
        self._counters.add(seen.now, seen.totals)
        if seen.source_down:
            return {}
        prompt, output = lengths(self._counters.traffic())
        found = {}
        for pod in seen.ready_pods:
            if pod.running is not None and pod.tokens_in_use is not None:
                found[pod.name] = self._step(pod, seen.replica, prompt=prompt, output=output)
        return found

    def _step(self, pod: PodSeen, replica: Replica, *, prompt: float, output: float) -> Step:
        running, kv = round(pod.running or 0.0), round(pod.tokens_in_use or 0.0)
        owed = self._owed.get(pod.name, 0.0) + (running / output if output > 0 else 0.0)
        starts = int(owed)
        self._owed[pod.name] = owed - starts
        tokens = min(int(starts * prompt), replica.max_num_batched_tokens)
        if tokens == 0:
            starts = 0
        return Step(tokens, starts, kv, running, step_seconds(replica, tokens, starts, kv, running))


def step_seconds(replica: Replica, prefill_tokens: int, prefills: int, decode_kv: int, decodes: int) -> float:
    """Seconds of such a step by the profile; 0 for an empty one."""
    pairs = prefill_pairs(tokens=prefill_tokens // prefills) * prefills if prefills else 0
    return replica.step_time.step_seconds(
        prefill_tokens=prefill_tokens, prefill_pairs=pairs, decode_seqs=decodes, context_tokens=decode_kv
    )


def benchmark_steps(replica: Replica, *, context: int = 1000, levels: int = 4) -> list[Step]:
    """The steps of a benchmark before deployment: prompts and KV from nothing to full, `levels` of each."""
    steps = []
    for prompts in range(levels):
        tokens = replica.max_num_batched_tokens * prompts // (levels - 1)
        for fill in range(levels):
            kv = replica.kv_tokens * fill // (levels - 1)
            sequences = min(replica.max_num_seqs, math.ceil(kv / context))
            if tokens or sequences:
                prefills = 1 if tokens else 0
                steps.append(
                    Step(tokens, prefills, kv, sequences, step_seconds(replica, tokens, prefills, kv, sequences))
                )
    return steps


@dataclass(slots=True)
class _MovingAverage:
    """Of the last `size` values; zeros before the first other value do not count."""

    size: int
    values: deque[float] = field(default_factory=deque)

    def add(self, value: float) -> None:
        if value == 0 and not self.values:
            return
        self.values.append(value)
        if len(self.values) > self.size:
            self.values.popleft()

    @property
    def value(self) -> float:
        return sum(self.values) / len(self.values) if self.values else 0.0


class AggregatedModel:
    """Step time = a + b · prefill tokens + c · decode KV tokens, by least squares over samples from all load levels."""

    def __init__(self, *, samples: int = 64, buckets: int = 16, least: int = 5) -> None:
        self._samples, self._per_axis, self._least = samples, math.isqrt(buckets), least
        self._buckets: dict[tuple[int, int], deque[tuple[tuple[float, float], float]]] = {}
        self._low, self._high = [math.inf, math.inf], [-math.inf, -math.inf]
        self._count = 0
        self._line: tuple[float, float, float] | None = None
        self._prompt = _MovingAverage(samples)
        self._decode_length = _MovingAverage(samples)
        self._prefill_tokens = _MovingAverage(samples)

    @property
    def has_enough(self) -> bool:
        return self._count >= self._least

    def observe(self, step: Step) -> None:
        """Learn from a step."""
        if step.prefill_requests > 0:
            self._prompt.add(step.prefill_tokens / step.prefill_requests)
        if step.decode_requests > 0:
            self._decode_length.add(step.decode_kv_tokens / step.decode_requests)
        self._prefill_tokens.add(float(step.prefill_tokens))
        if step.seconds == 0:
            return
        x = (float(step.prefill_tokens), float(step.decode_kv_tokens))
        low = [min(*pair) for pair in zip(self._low, x, strict=True)]
        high = [max(*pair) for pair in zip(self._high, x, strict=True)]
        moved = (low, high) != (self._low, self._high)
        self._low, self._high = low, high
        if moved and self._count:
            kept = [sample for bucket in self._buckets.values() for sample in bucket]
            self._buckets = {}
            for sample in kept:
                self._buckets.setdefault(self._bucket(sample[0]), deque()).append(sample)
        self._buckets.setdefault(self._bucket(x), deque()).append((x, step.seconds))
        self._count += 1
        if self._count > self._samples:
            # The oldest of the fullest bucket goes: a long time at one load must not push out what other loads taught.
            fullest = max(self._buckets, key=lambda key: len(self._buckets[key]))
            self._buckets[fullest].popleft()
            if not self._buckets[fullest]:
                del self._buckets[fullest]
            self._count -= 1
        self._line = None

    def _bucket(self, x: tuple[float, float]) -> tuple[int, int]:
        places = []
        for value, low, high in zip(x, self._low, self._high, strict=True):
            place = int((value - low) / (high - low) * self._per_axis) if high > low else 0
            places.append(max(0, min(place, self._per_axis - 1)))
        return places[0], places[1]

    def _fitted(self) -> tuple[float, float, float] | None:
        """Constant and both slopes; None with too few samples, or where a slope is negative."""
        if self._line is None and self.has_enough:
            samples = [sample for bucket in self._buckets.values() for sample in bucket]
            xs, ys = np.array([s[0] for s in samples]), np.array([s[1] for s in samples])
            middle_x, middle_y = xs.mean(axis=0), ys.mean()
            slopes = np.linalg.lstsq(xs - middle_x, ys - middle_y, rcond=None)[0]
            if (slopes >= 0).all():
                self._line = (float(middle_y - middle_x @ slopes), float(slopes[0]), float(slopes[1]))
        return self._line

    @staticmethod
    def _seconds(line: tuple[float, float, float], prefill: float, kv: float) -> float:
        return max(1e-6, line[0] + line[1] * prefill + line[2] * kv)

    def time_to_first_token(self, *, queued: int, decode_kv: int, step_tokens: int) -> float | None:
        """Seconds until a request behind `queued` prompt tokens has its first token; None: the model is not ready."""
        line = self._fitted()
        if line is None or step_tokens <= 0:
            return None
        remaining = queued + self._prompt.value
        seconds = 0.0
        for _ in range(math.ceil(remaining / step_tokens)):
            chunk = min(remaining, step_tokens)
            seconds += self._seconds(line, chunk, decode_kv)
            remaining -= chunk
        return seconds

    def inter_token_latency(self, *, decode_kv: float) -> float | None:
        """Seconds of a step with this KV, one more sequence and a usual prefill; None: the model is not ready."""
        line = self._fitted()
        if line is None:
            return None
        return self._seconds(line, self._prefill_tokens.value, decode_kv + self._decode_length.value)

    def best_rate(
        self,
        *,
        prompt: float,
        output: float,
        step_tokens: int,
        ttft: float,
        itl: float,
        kv_tokens: int,
        max_seqs: int,
    ) -> float:
        """Requests per second of the largest batch within both targets (seconds), by Little's law; 0: not ready.

        Where even one sequence misses a target, the rate of one sequence.
        """
        line = self._fitted()
        if line is None or prompt <= 0 or output <= 0 or step_tokens <= 0:
            return 0.0
        context = prompt + output / 2
        most = min(max(1, int(kv_tokens / max(1.0, context))), max_seqs, step_tokens - 1)
        low, high = 1, max(1, most)
        while low < high:  # the largest batch whose steps have room for the prompts that replace what ends
            middle = (low + high + 1) // 2
            if middle * prompt / max(1.0, output) <= step_tokens - middle:
                low = middle
            else:
                high = middle - 1
        best = 0.0
        for batch in range(1, low + 1):
            kv, prefill = batch * context, min(batch * prompt / max(1.0, output), float(step_tokens))
            step = self._seconds(line, prefill, kv)
            first = self.time_to_first_token(queued=int(prefill), decode_kv=int(kv), step_tokens=step_tokens) or 0.0
            if best and (step > itl or first > ttft):
                break
            best = min(batch / output, (step_tokens - batch) / prompt) / step
            if step > itl or first > ttft:
                break
        return best
