"""vLLM's own flags with which its scheduler is measured: by default, and at its best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from andante.domain.step_time import Profile
from andante.sim.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class StockFlags:
    """Flags of `vllm serve`; 0 is vLLM's default, or the profile's."""

    watermark: float = 0.0
    """`--watermark`: the share of the KV blocks that vLLM's own admissions leave free."""
    max_num_seqs: int = 0
    """`--max-num-seqs`."""
    max_num_batched_tokens: int = 0
    """`--max-num-batched-tokens`."""
    long_prefill: int = 0
    """`--long-prefill-token-threshold`: a step computes at most so many tokens of one prompt."""


DEFAULT = StockFlags()
BEST = StockFlags(watermark=0.02)
"""The best of `make bench-stock`, or level with it: larger batches add .3 % of capacity. Whoever tunes vLLM has it, so
it is the rival, and its capacity is load 1.0."""


def engine_with(profile: Profile, stock: StockFlags, **settings: Any) -> Engine:
    """The compiled model's replica of `profile` with the flags `stock`; `settings` are those of `Engine.of`."""
    profile = replace(
        profile,
        max_num_seqs=stock.max_num_seqs or profile.max_num_seqs,
        max_num_batched_tokens=stock.max_num_batched_tokens or profile.max_num_batched_tokens,
    )
    return Engine.of(profile, watermark=stock.watermark, long_prefill=stock.long_prefill, **settings)
