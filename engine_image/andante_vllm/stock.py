"""Reports that vLLM runs without parts of Andante: in the log, and in a metric that the operator reads."""

from __future__ import annotations

import sys

from andante_vllm.compat import Compatibility


def report_stock(found: Compatibility, *, model_name: str, policy: str) -> None:
    """Log the parts that are left out, and set `andante_scheduler_active` to 0 with the reason.

    The metric is written to a file in PROMETHEUS_MULTIPROC_DIR, which must be set. vLLM's /metrics of any version shows
    the metric while this process lives, and this process becomes vLLM's API server.
    """
    from andante_vllm.scheduler_metrics import SchedulerMetrics  # reads PROMETHEUS_MULTIPROC_DIR when it is imported

    scheduler = found.scheduler if policy != "fcfs" else ""
    if scheduler:
        print(f"andante-engine: QoE scheduling OFF: {scheduler}; vLLM's own scheduling runs", file=sys.stderr)
    if found.meter:
        print(f"andante-engine: delivery meter OFF: {found.meter}; QoE is not measured", file=sys.stderr)
    reason = scheduler or found.meter
    if reason:
        SchedulerMetrics(model_name=model_name, policy=policy).set_active(False, reason)
