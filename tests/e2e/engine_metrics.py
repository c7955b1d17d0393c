"""Reads an engine's /metrics."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


def metrics(url: str) -> dict[str, float]:
    """Sums of the samples over labels, by sample name; requests by `name/outcome`, tokens by `name/kind`."""
    text = httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            part = sample.labels.get("outcome") or (sample.labels.get("kind") if "andante" in sample.name else None)
            key = f"{sample.name}/{part}" if part else sample.name
            sums[key] = sums.get(key, 0.0) + sample.value
    return sums
