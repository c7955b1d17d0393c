"""vLLM's own flags with which its scheduler is measured: by default, and at its best."""

from __future__ import annotations

from dataclasses import dataclass


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
