"""Small replicas and workloads for tests of the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from andante.domain.pace import PRESETS, QoEClass
from andante.domain.step_time import StepTimeCoefficients
from andante.sim.engine import Engine, StepTime
from andante.sim.requests import Requests

COEFFICIENTS = StepTimeCoefficients(
    fixed_us=2_000, prefill_step_us=500, weight_floor_us=8_000, token_us=64, pair_us=0.25, decode_seq_us=32,
    context_token_us=0.5,
)  # fmt: skip
CLASSES: tuple[QoEClass, ...] = (
    PRESETS["reading"],
    PRESETS["chat-interactive"],
    PRESETS["batch"],
    replace(PRESETS["agent"], deadline=2.0),
)


def engine(**changes: Any) -> Engine:
    """40 blocks of 16 tokens, 8 sequences, 64 tokens in a step."""
    small = Engine(
        blocks=40, block_size=16, max_seqs=8, max_step_tokens=64, long_prefill=0, watermark_blocks=0,
        prefix_caching=True, by_priority=False, step_time=StepTime.of(COEFFICIENTS),
    )  # fmt: skip
    return small._replace(**changes)


def requests(arrival: Sequence[float], prompt: Sequence[int], output: Sequence[int], **more: Any) -> Requests:
    """Readers, unless `class_of` says otherwise."""
    given: dict[str, Any] = {"classes": CLASSES, "class_of": 0, "most_tokens": 4_096, **more}
    return Requests.of(arrival=np.array(arrival), prompt_tokens=prompt, output_tokens=output, **given)
