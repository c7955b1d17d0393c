"""Builds policy views for the scheduling tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from andante.domain.scheduling.kv_groups import ONE_GROUP
from andante.domain.scheduling.view import EngineView, RequestView
from andante.domain.step_time import LinearStepTime

EXACT: dict[str, Any] = {
    "block_size": int,
    "max_seqs": int,
    "max_step_tokens": int,
    "draft_slots": int,
    "step_time": lambda line: line,
    "kv_groups": lambda groups: groups,
}
"""Fields of an engine view that are no floats. Compiled code accepts no other types."""
STEP_TIME = LinearStepTime(base=0.02, prefill_token=1e-4, sequence=1.5e-4, context_token=3e-7)


def requests(count: int, **columns: Any) -> RequestView:
    """`count` reading requests that just came; `columns` replace arrays (a number fills one)."""
    values: dict[str, Any] = {
        "running": False, "elapsed": 0.0, "expected_ttft": 1.0, "seconds_per_token": 1 / 4.8, "deadline": np.nan,
        "weight": 1.0, "delivered": 0.0, "lag": 0.0, "delay_area": 0.0, "context": 200.0, "kept": 0.0,
        "shared": 0.0, "remaining": 200.0,
        "preemptions": 0.0, "prefilling": False,
    } | columns  # fmt: skip
    return RequestView.of(**{name: np.broadcast_to(np.asarray(value), (count,)) for name, value in values.items()})


def engine(**fields: Any) -> EngineView:
    """A roomy engine with 20,000 tokens of KV; `fields` replace."""
    values: dict[str, Any] = {
        "now": 0.0, "kv_capacity": 20_000.0, "kv_free": 20_000.0, "block_size": 16, "max_seqs": 256,
        "max_step_tokens": 2048, "unfinished_prefill": 0.0, "step_time": STEP_TIME, "cached_share": 0.0,
        "tightest_pace": 4.8, "admitted": np.nan, "kv_groups": ONE_GROUP,
    } | fields  # fmt: skip
    return EngineView(**{name: EXACT.get(name, float)(value) for name, value in values.items()})


def tokens_of(view: RequestView, indices: Sequence[int], block_size: int = 16) -> float:
    """KV tokens of their own, in whole blocks, that those requests need."""
    chosen = list(indices)
    return float((np.ceil((view.context[chosen] + 1) / block_size) * block_size - view.shared[chosen]).sum())
