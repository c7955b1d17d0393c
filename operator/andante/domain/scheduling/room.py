"""How much room an engine has for more requests, in each of its resources: KV memory, slots, step time, prefill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import Bools, EngineView, Ints, RequestView

_FEW = 32
"""Requests that are fitted one by one before arrays pay."""
_MEMORY_IS_SHORT = 0.8
"""Share of the KV cache in use from which memory, not the GPU's time, is taken to keep people waiting.

`Room.scarce` says what binds at this moment; in an engine short of memory that is time whenever a long prompt comes.
"""
_LONG_QUEUE = 5.0
"""Seconds of waiting prefill that are an overload, not a burst."""
_OFFLOAD_HEADROOM = 0.25
"""Share of the KV headroom that suffices where KV comes back from the host: that blocks run out costs little then."""


class Scarce(StrEnum):
    """The resource that binds."""

    MEMORY = "memory"
    SLOTS = "slots"
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is left of each resource for admissions."""

    kv: float
    """Tokens."""
    slots: int
    step_seconds: float
    """A decode step of the running requests."""
    step_cap: float
    """Longest decode step that keeps up with the most demanding reader."""
    prefill: float
    """Prompt tokens that may be admitted now."""
    interval: float
    """Seconds between two tokens of a request, prefills of others included."""
    block_size: int
    sequence_seconds: float
    context_seconds: float
    kv_used_share: float
    slots_used_share: float
    prefill_used_share: float
    step_tokens: int | None
    """Tokens of a step that leaves the most demanding reader his pace; None where the engine's limit does."""

    @classmethod
    def of(cls, requests: RequestView, engine: EngineView, running: Ints, settings: QoEPolicySettings) -> Room:
        step = engine.step_time
        context = float(requests.context.take(running).sum())
        seconds = step.seconds(prefill_tokens=0, sequences=running.size, context_tokens=context)
        headroom = settings.kv_headroom * (_OFFLOAD_HEADROOM if settings.kv_offload else 1.0)
        cap = settings.pace_margin / engine.tightest_pace if engine.tightest_pace > 0 else np.inf
        # Where nobody reads, nobody is kept waiting by a prefill.
        prefill = settings.prefill_cap / max(step.prefill_token, 1e-9) if engine.tightest_pace > 0 else np.inf
        return cls(
            kv=engine.kv_free - headroom * engine.kv_capacity,
            slots=engine.max_seqs - running.size,
            step_seconds=seconds,
            step_cap=cap,
            prefill=prefill - engine.unfinished_prefill,
            interval=seconds * 1.3 + 1e-4,
            block_size=engine.block_size,
            sequence_seconds=step.sequence,
            context_seconds=step.context_token,
            kv_used_share=1 - engine.kv_free / engine.kv_capacity,
            slots_used_share=running.size / engine.max_seqs,
            prefill_used_share=engine.unfinished_prefill / prefill,
            step_tokens=_step_tokens(engine, running.size, seconds, settings, settings.step_margin),
        )

    def prefill_keeps_pace(self, requests: RequestView, engine: EngineView, waiting: Ints) -> bool:
        """Whether a step that prefills all there is to prefill is short enough for the most demanding reader."""
        if self.step_tokens is None:
            return True
        tokens = engine.unfinished_prefill + float((requests.context - requests.kept)[waiting].sum())
        return engine.max_seqs * self.slots_used_share + min(tokens, engine.max_step_tokens) <= self.step_tokens

    def crowded_step_tokens(
        self, engine: EngineView, running: Ints, queued_prefill: float, settings: QoEPolicySettings
    ) -> int | None:
        """`step_tokens` where some must wait, for `queued_prefill` seconds of prefill in all.

        Each step's constant part is time in which nobody is let in. Where it is time that lacks, and not for a moment,
        steps are therefore longer and fewer; where memory lacks, that would only take the readers' time.
        """
        if self.kv_used_share >= _MEMORY_IS_SHORT or queued_prefill < _LONG_QUEUE:
            return self.step_tokens
        return _step_tokens(engine, running.size, self.step_seconds, settings, settings.crowded_step_margin)

    def blocks(self, context: float) -> int:
        """Tokens of KV, in whole blocks, that a request with so many takes when it starts."""
        return math.ceil((context + 1) / self.block_size) * self.block_size

    def fits_all(self, requests: RequestView, waiting: Ints) -> bool:
        """Whether every waiting request can start now: nothing is short."""
        if waiting.size == 0:
            return True
        if waiting.size > self.slots or float(requests.context.take(waiting).sum()) > self.kv:
            return False
        nobody = np.zeros(len(requests), dtype=np.bool_)
        return self.prefix(requests, waiting, nobody) == waiting.size

    def prefix(
        self, requests: RequestView, order: Ints, worth_it: Bools, *, more_kv: float = 0.0, more_slots: int = 0
    ) -> int:
        """How many of `order`, from its start, fit into every resource, and into what is given back to it.

        `worth_it`: shape (requests,), who may push the step past its cap.
        """
        kv, slots = self.kv + more_kv, self.slots + more_slots
        if order.size == 0 or slots <= 0:
            return 0
        # Hardly ever do more than a few fit.
        few = min(slots, _FEW)
        fit = self._first(requests, order[:few], worth_it, kv)
        return self._prefix(requests, order[:slots], worth_it, kv) if fit == few < order.size else fit

    def _first(self, requests: RequestView, order: Ints, worth_it: Bools, kv: float) -> int:
        """`_prefix` for a few, one by one: it ends with the first that does not fit."""
        total, prefill, blocks = 0.0, 0.0, 0
        willing = worth_it[order].tolist()
        for index, (tokens, kept) in enumerate(
            zip(requests.context[order].tolist(), requests.kept[order].tolist(), strict=True)
        ):
            total += tokens
            prefill += tokens - kept
            blocks += self.blocks(tokens)
            step = self.step_seconds + self.sequence_seconds * (index + 1) + self.context_seconds * total
            if blocks > kv or not (step <= self.step_cap or willing[index]):
                return index
            if prefill > self.prefill and (index > 0 or self.prefill <= 0):
                return index
        return int(order.size)

    def _prefix(self, requests: RequestView, order: Ints, worth_it: Bools, kv: float) -> int:
        context = requests.context[order]
        blocks = np.ceil((context + 1) / self.block_size) * self.block_size
        total = np.cumsum(context)
        count = np.arange(1, context.size + 1)
        step = self.step_seconds + self.sequence_seconds * count + self.context_seconds * total
        short = (step <= self.step_cap) | worth_it[order]
        fits = (np.cumsum(blocks) <= kv) & short
        # One prompt longer than the cap may start when no other prefill is under way.
        fits &= (np.cumsum(context - requests.kept[order]) <= self.prefill) | ((count == 1) & (self.prefill > 0))
        return int(context.size if fits.all() else np.argmin(fits))

    def scarce(self, worth_it: Bools) -> Scarce:
        """Which resource stops the admissions; `worth_it` says of each who waits whether the step's cap stops him."""
        step_share = 0.0 if 2 * np.count_nonzero(worth_it) > worth_it.size else self.step_seconds / self.step_cap
        time_share = max(step_share, self.prefill_used_share)
        if self.slots_used_share >= max(self.kv_used_share, time_share):
            return Scarce.SLOTS
        return Scarce.MEMORY if self.kv_used_share >= time_share else Scarce.TIME


def _step_tokens(
    engine: EngineView, running: int, seconds: float, settings: QoEPolicySettings, margin: float
) -> int | None:
    """Tokens of a step of `margin` times what the most demanding reader takes for one; None for the engine's limit."""
    if engine.tightest_pace <= 0 or not running:
        return None
    step = engine.step_time
    left = margin / engine.tightest_pace - seconds
    if left < settings.least_prefill * step.base:
        # The pace is out of reach with any chunk worth its step: then the prefill may as well be done soon.
        left = settings.long_prefill * step.base
    chunk = left / max(step.prefill_token, 1e-9)
    tokens = running + int(chunk)
    return tokens if tokens < engine.max_step_tokens else None
