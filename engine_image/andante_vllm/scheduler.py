"""The scheduler class that `andante-engine` gives to `vllm serve --scheduler-cls`."""

from __future__ import annotations

from vllm.v1.core.sched.async_scheduler import AsyncScheduler


class QoEScheduler(AsyncScheduler):
    """vLLM's own scheduler, unchanged; the async base also runs right where async scheduling is off."""
