"""Names the keys of a request's `vllm_xargs` by which the API server tells the scheduler the user's expectation.

`vllm_xargs` is vLLM's documented way for own values: the engine core gets them as `SamplingParams.extra_args`. The
delivery meter's middleware writes the keys, `andante_vllm.scheduler` reads them. Both processes use the same clock
(`time.time()`), so the scheduler and the meter count from the same arrival. No vLLM import here.
"""

from __future__ import annotations

from typing import Final

CLASS: Final = "andante_class"
"""Name of a QoE class of qoe.yaml; always set by the middleware (the default class when the client named none)."""
EXPECTED_TTFT: Final = "andante_expected_ttft"
"""Seconds, the client's own expectation; absent when the class's expectation applies."""
PACE: Final = "andante_pace"
"""Tokens per second, the client's own expectation; absent when the class's expectation applies."""
RECEIVED_AT: Final = "andante_received_at"
"""Unix time in seconds (float) at which the server began to receive the request; a client's own value is discarded."""
CHOICES: Final = "andante_choices"
"""Number of answers (`n`), if more than one; inside vLLM, each answer is a separate request."""

CLIENT_KEYS: Final = frozenset({CLASS, EXPECTED_TTFT, PACE})
"""Keys that a client may send in the body's `vllm_xargs`; other keys that begin with `andante_` are refused."""
PREFIX: Final = "andante_"
