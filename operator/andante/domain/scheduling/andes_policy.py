"""Implements Andes (arXiv 2404.16283) as published: value and knapsack of v1, trigger and refiner of v2, recompute.

Kept beside `qoe_policy` for comparison in the same engine. Section numbers are the paper's.

    Q_wait   1 if E <= L, else 1 - ((E - L)/E)²           E = (x + Δt)/τ tokens due after the horizon
    Q_serve  1 if ahead, else min(1, (L'/E)²),            L' = L + Δt/max(τ, token latency(B))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from andante.domain.compiled import Floats, Ints
from andante.domain.scheduling.kv_groups import LEAST, MOST_STARTING, PER_TOKEN
from andante.domain.scheduling.view import NOBODY, EngineView, Objective, Plan, RequestView


@dataclass(frozen=True, slots=True, kw_only=True)
class AndesPolicySettings:
    """Settings as published."""

    objective: Objective = "mean"
    horizon: float = 30.0
    """Δt in seconds; the paper's results are flat from 10 to 50."""
    kv_trigger: float = 0.9
    """Share of the KV cache in use above which the knapsack is solved (v2)."""
    running_bonus: float = 0.1
    """Relative bonus of running requests against thrashing."""
    max_preemptions_per_request: float = 1.0
    """P: average number of preemptions for each request (v1, section 4.2)."""
    refine: bool = True
    """v2's refiner: a preemption must gain more QoE than its stall costs all running requests."""
    batch_sizes: int = 8
    """Number of batch sizes that are tried between B_min and B_max."""


class AndesPolicy:
    """The policy `andes`; counts preemptions against its limit."""

    def __init__(self, settings: AndesPolicySettings = AndesPolicySettings()) -> None:
        self._settings = settings
        self._preemptions = 0
        self._admissions = 0

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `SchedulingPolicy.decide`."""
        running = np.flatnonzero(requests.running)
        waiting = np.flatnonzero(~requests.running)
        step = engine.step_time.seconds(
            prefill_tokens=0, sequences=running.size, context_tokens=float(requests.context[running].sum())
        )
        needed = float(_kv(requests, engine)[waiting].sum())
        short = (
            engine.kv_free - needed < (1 - self._settings.kv_trigger) * engine.kv_capacity
            or len(requests) > engine.max_seqs  # vLLM's slots; the paper's engine has none
            or (engine.tightest_pace > 0 and step > engine.tokens_per_step / engine.tightest_pace)
        )
        if not short:
            self._admissions += waiting.size
            return None
        chosen = self._solve(requests, engine)
        serve = np.zeros(len(requests), dtype=np.bool_)
        serve[chosen] = True
        admit = chosen[~requests.running[chosen]]
        evict = running[~serve[running] & ~requests.prefilling[running]]
        preempt, admit = self._refine(requests, engine, admit, evict)
        self._preemptions += preempt.size
        self._admissions += admit.size
        return Plan(admit=admit, preempt=preempt)

    def _solve(self, requests: RequestView, engine: EngineView) -> Ints:
        """The batch with the highest value: greedy knapsack (v1, section 4.2) for each batch size tried."""
        length = _kv(requests, engine)
        capacity = engine.kv_capacity
        shortest_first = np.cumsum(np.sort(length))
        largest = min(int(np.searchsorted(shortest_first, capacity, side="right")), engine.max_seqs)
        smallest = min(self._keeps_pace(requests, engine), largest)
        wait = self._wait(requests)
        best, best_value = NOBODY, -1.0
        for size in np.unique(np.linspace(max(smallest, 1), max(largest, 1), self._settings.batch_sizes).astype(int)):
            serve = self._serve(requests, engine, int(size))
            value = self._value(requests, serve, wait)
            value = value * np.where(requests.running, 1 + self._settings.running_bonus, 1.0)
            order = np.argsort(-value / length, kind="stable")
            fits = (np.cumsum(length[order]) <= capacity) & (np.arange(1, order.size + 1) <= size)
            taken = order[: order.size if fits.all() else int(np.argmin(fits))]
            total = float(value[taken].sum())
            if total > best_value:
                best, best_value = taken, total
        return best.astype(np.int64)

    def _refine(self, requests: RequestView, engine: EngineView, admit: Ints, evict: Ints) -> tuple[Ints, Ints]:
        """Select the proposed exchanges: by the limit of v1, and by v2's cost of the stall for all requests."""
        length = _kv(requests, engine)
        free = engine.kv_free
        slots = engine.max_seqs - int(requests.running.sum())
        wait = self._wait(requests)
        serve = self._serve(requests, engine, max(int(requests.running.sum()), 1))
        gain = self._value(requests, serve, wait)
        victims = list(evict[np.argsort((gain / length)[evict], kind="stable")])
        allowed = self._settings.max_preemptions_per_request * (self._admissions + admit.size) - self._preemptions
        ongoing = max(int(requests.running.sum()), 1)
        # What the host's memory or the prefix cache keeps is not computed again; the paper's engine swaps.
        again = requests.context - np.maximum(requests.kept, requests.context * engine.cached_share)
        taken: list[int] = []
        admitted: list[int] = []
        for index in admit.tolist():
            needed: list[int] = []
            room, seats = free, slots
            while (room < length[index] or seats < 1) and victims and len(taken) + len(needed) < allowed:
                victim = int(victims[len(needed)]) if len(needed) < len(victims) else -1
                if victim < 0:
                    break
                needed.append(victim)
                room += length[victim]
                seats += 1
            if room < length[index] or seats < 1:
                break
            if needed and self._settings.refine:
                stall = engine.step_time.prefill_token * sum(float(again[v]) for v in needed)
                # A stall of s seconds delays each running stream by s: s/Δt of a horizon's tokens.
                lost = stall / self._settings.horizon * ongoing + sum(float(gain[v]) for v in needed)
                if float(gain[index]) <= lost:
                    break
            victims = victims[len(needed) :]
            taken.extend(needed)
            admitted.append(index)
            free, slots = room - length[index], seats - 1
        return np.array(taken, dtype=np.int64), np.array(admitted, dtype=np.int64)

    def _keeps_pace(self, requests: RequestView, engine: EngineView) -> int:
        """B_min: the largest batch that is still faster than the most demanding pace."""
        if engine.tightest_pace <= 0:
            return engine.max_seqs
        each = engine.step_time.sequence + engine.step_time.context_token * float(requests.context.mean())
        size = (engine.tokens_per_step / engine.tightest_pace - engine.step_time.base) / max(each, 1e-9)
        return int(min(max(size, 1.0), float(engine.max_seqs)))

    def _due(self, requests: RequestView) -> Floats:
        """E: tokens due after the horizon; 0 for batch requests."""
        period = np.where(requests.seconds_per_token > 0, requests.seconds_per_token, np.inf)
        return (requests.elapsed + self._settings.horizon) / period

    def _wait(self, requests: RequestView) -> Floats:
        due, have = self._due(requests), requests.delivered
        late = np.maximum(due - have, 0.0) / np.maximum(due, 1e-9)
        unserved = requests.elapsed + self._settings.horizon <= requests.expected_ttft
        return np.where(unserved & (have == 0), 1.0, np.where(due <= have, 1.0, 1 - late**2))

    def _serve(self, requests: RequestView, engine: EngineView, batch: int) -> Floats:
        latency = engine.step_time.seconds(
            prefill_tokens=0, sequences=batch, context_tokens=batch * float(requests.context.mean())
        )
        due = self._due(requests)
        between = np.maximum(requests.seconds_per_token, latency / engine.tokens_per_step)
        have = requests.delivered + self._settings.horizon / between
        return np.where(due <= have, 1.0, np.minimum(1.0, (have / np.maximum(due, 1e-9)) ** 2))

    def _value(self, requests: RequestView, serve: Floats, wait: Floats) -> Floats:
        """The item's value for the objective (v1, section 4.1 and appendix)."""
        match self._settings.objective:
            case "mean":
                value = serve - wait
            case "maxmin":
                value = np.maximum(float(wait.min()) - wait, 0.0) + 1e-3 * (serve - wait)
            case "perfect":
                value = ((serve >= 1).astype(np.float64) - (wait >= 1)) * (requests.lag <= 0) + 1e-3 * (serve - wait)
        # No value is 0: with equal values the shorter context comes first, as in the paper's ratio.
        return np.maximum(value, 0.0) + 1e-6


def _kv(requests: RequestView, engine: EngineView) -> Floats:
    """l_i: KV that each request needs, in whole blocks."""
    per_token = engine.kv_groups[:, PER_TOKEN, None]
    taken = np.ceil((requests.context + 1 + engine.draft_slots) * per_token / engine.block_size) * engine.block_size
    bounds = engine.kv_groups[:, LEAST, None], engine.kv_groups[:, MOST_STARTING, None]
    return np.asarray(np.maximum(np.minimum(taken, bounds[1]), bounds[0]).sum(axis=0))
